//! Structured fields (RFC 9651) of requests: digests of the body (RFC 9530), and the idempotency key
//! (draft-ietf-httpapi-idempotency-key-header).
//!
//! The problems with digests are those of draft-ietf-httpapi-digest-fields-problem-types, with the names of their members; the digest that was
//! computed stands beside the one that was declared, because the client has the bytes that both are of.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use sfv::{Dictionary, Item, ItemSerializer, ListEntry, Parser};

use super::options::single;
use super::problem::Problem;
use crate::error::DigestMismatch;
use crate::ingest::digest::{Algorithm, Declared};

/// The two digests of RFC 9530, and with which field a server says which ones it wants. The body of a POST is a whole representation, so
/// both are of the same bytes.
const DIGESTS: [(&str, &str); 2] = [("Content-Digest", "want-content-digest"), ("Repr-Digest", "want-repr-digest")];

/// What is in them for us, the larger number the dearer.
const WANTED: &str = "sha-256=10, sha-512=5";

/// Digests that come behind the body, when the rows are loaded already and might as well have been checked.
const NOT_IN_TRAILERS: [&str; 4] = ["content-digest", "repr-digest", "digest", "content-md5"];

/// How long an idempotency key may be, in characters.
const KEY_CHARS_MAX: usize = 255;

/// `Idempotency-Key`.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let name = HeaderName::from_static("idempotency-key");
    single(headers, &name)?.map(key).transpose()
}

/// A key as the draft has it, in quotes, or without as most clients send it; both are the same key.
pub(super) fn key(text: &str) -> Result<String, Problem> {
    let invalid = |reason: &str| Problem::bad_request("invalid-idempotency-key", format!("the idempotency key {reason}"));
    let key = if text.starts_with('"') {
        let item = Parser::new(text).parse::<Item>();
        let item = item.map_err(|error| invalid(&format!("is no string: {error}")))?;
        let string = item.bare_item.as_string().filter(|_| item.params.is_empty());
        string.ok_or_else(|| invalid("is more than a string"))?.as_str().to_owned()
    } else if text.contains(['"', ',']) {
        // Where something on the way has put two headers together, there is a comma.
        return Err(invalid("has to be in quotes if it holds a quote or a comma"));
    } else {
        text.to_owned()
    };
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(invalid("may hold visible ASCII characters only"));
    }
    if !(1..=KEY_CHARS_MAX).contains(&key.len()) {
        return Err(invalid(&format!("has from 1 to {KEY_CHARS_MAX} characters")));
    }
    Ok(key)
}

/// Every digest that the client declares and that is to be checked.
pub(super) fn digests(headers: &HeaderMap) -> Result<Vec<Declared>, Problem> {
    refuse_trailers(headers)?;
    let mut all: Vec<Declared> = Vec::new();
    for (field, wanted) in DIGESTS {
        for digest in digests_of(headers, field, wanted)? {
            let same = |other: &&Declared| other.algorithm == digest.algorithm && other.value != digest.value;
            if let Some(other) = all.iter().find(same) {
                let reason = format!("{} declares another digest of the same bytes", other.field);
                return Err(invalid_digest(digest.field, digest.algorithm.name(), &reason));
            }
            all.push(digest);
        }
    }
    Ok(all)
}

/// Those of one field. Unknown algorithms are passed over beside a known one; by themselves they would leave the body unchecked.
fn digests_of(headers: &HeaderMap, field: &'static str, wanted: &'static str) -> Result<Vec<Declared>, Problem> {
    let Some(dictionary) = dictionary(headers, field)? else {
        return Ok(Vec::new());
    };
    let mut known = Vec::new();
    let mut unknown = Vec::new();
    for (key, entry) in &dictionary {
        let Some(algorithm) = Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == key.as_str()) else {
            unknown.push(json!({"algorithm": key.as_str(), "header": field}));
            continue;
        };
        let bytes = match entry {
            ListEntry::Item(item) => item.bare_item.as_byte_sequence(),
            ListEntry::InnerList(_) => None,
        };
        let value = bytes.ok_or_else(|| invalid_digest(field, key.as_str(), "the value is not a byte sequence (:base64:)"))?;
        if value.len() != algorithm.digest_bytes() {
            let reason = format!("the digest has {} bytes and not {}", value.len(), algorithm.digest_bytes());
            return Err(invalid_digest(field, key.as_str(), &reason));
        }
        known.push(Declared { field, algorithm, value: value.to_vec() });
    }
    if known.is_empty() {
        return Err(unsupported_algorithms(field, wanted, unknown));
    }
    Ok(known)
}

/// A field that is a dictionary; lines of the same name are one (RFC 9651, 4.2).
fn dictionary(headers: &HeaderMap, field: &'static str) -> Result<Option<Dictionary>, Problem> {
    if !headers.contains_key(field) {
        return Ok(None);
    }
    let lines = headers.get_all(field).iter().map(HeaderValue::to_str).collect::<Result<Vec<_>, _>>();
    let unreadable = |why: String| Problem::bad_request("unreadable-header", format!("{field} cannot be read: {why}"));
    let text = lines.map_err(|error| unreadable(error.to_string()))?.join(", ");
    let parsed = Parser::new(&text).parse::<Dictionary>();
    parsed.map(Some).map_err(|error| unreadable(error.to_string()))
}

/// A digest in a trailer could be checked; but nobody would know whether it was.
fn refuse_trailers(headers: &HeaderMap) -> Result<(), Problem> {
    for value in headers.get_all(header::TRAILER) {
        let names = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
        if let Some(name) = names.split(',').map(str::trim).find(|name| NOT_IN_TRAILERS.contains(name)) {
            let detail = format!("{name} is not supported in a trailer, and is not ignored either: send it in a header");
            return Err(Problem::bad_request("unsupported-header", detail));
        }
    }
    Ok(())
}

fn unsupported_algorithms(field: &str, wanted: &'static str, unknown: Vec<Value>) -> Problem {
    let (code, title) = ("digest-unsupported-algorithms", "Unsupported hashing algorithms");
    let detail = format!("{field} holds no digest that could be checked: send sha-256 or sha-512");
    Problem::new(StatusCode::BAD_REQUEST, code, title, detail)
        .with("unsupported-algorithms", unknown)
        .with_header(HeaderName::from_static(wanted), HeaderValue::from_static(WANTED))
}

fn invalid_digest(field: &str, algorithm: &str, reason: &str) -> Problem {
    let (code, title) = ("digest-invalid-values", "Invalid digest values");
    let detail = format!("{algorithm} in {field} cannot be right: {reason}");
    let invalid = json!([{"algorithm": algorithm, "header": field, "reason": reason}]);
    Problem::new(StatusCode::BAD_REQUEST, code, title, detail).with("invalid-digests", invalid)
}

/// The body was another than the one that was declared.
pub(super) fn mismatching_digests(mismatches: &[DigestMismatch], detail: String) -> Problem {
    let entries = mismatches.iter().map(|mismatch| {
        json!({
            "algorithm": mismatch.algorithm,
            "header": mismatch.field,
            "provided-digest": byte_sequence(&mismatch.declared),
            "calculated-digest": byte_sequence(&mismatch.computed),
        })
    });
    let (code, title) = ("digest-mismatching-values", "Mismatching digest values");
    Problem::new(StatusCode::BAD_REQUEST, code, title, detail).with("mismatching-digests", entries.collect::<Vec<_>>())
}

fn byte_sequence(bytes: &[u8]) -> String {
    ItemSerializer::new().bare_item(bytes).finish()
}
