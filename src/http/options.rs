//! A load's options: query parameters and headers into one request. An option that is unknown, or given twice, is an error and never
//! ignored.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::fields;
use super::problem::Problem;
use crate::access::Caller;
use crate::config::Limits;
use crate::engine::bulk::{Reading, SynchronousCommit};
use crate::ingest::arrow::Container;
use crate::ingest::csv::{self, Columns, Syntax};
use crate::ingest::rejects::{OnError, Tolerance};
use crate::ingest::{Coding, Encoding, Format, Segments, ndjson, parquet};
use crate::jobs::{Key, Request};
use crate::telemetry::Trace;

/// What `Accept-Post` (W3C LDP) says.
const ACCEPTED: &str = "text/csv, text/tab-separated-values, application/x-ndjson, application/jsonl, \
                        application/vnd.apache.arrow.stream, application/vnd.apache.arrow.file, application/vnd.apache.parquet";

/// Promises that a client asks for by header and that are not kept (RFC 9530 has made the digests of old obsolete), and a body that is
/// only a part: ignoring one would be a lie.
const UNSUPPORTED_HEADERS: [&str; 3] = ["digest", "content-md5", "content-range"];

/// Formats: the value of `format=`, and the media types.
const FORMATS: [(&str, &[&str]); 6] = [
    ("csv", &["text/csv"]),
    ("text", &["text/tab-separated-values"]),
    // None of the three is registered; all are in use.
    ("ndjson", &["application/x-ndjson", "application/jsonl", "application/ndjson"]),
    ("arrow-stream", &["application/vnd.apache.arrow.stream"]),
    ("arrow-file", &["application/vnd.apache.arrow.file"]),
    ("parquet", &["application/vnd.apache.parquet"]),
];

/// Content codings, by their names in HTTP (RFC 9110, RFC 8878; `lz4` is not registered, and used all the same).
const CODINGS: [(&str, Coding); 5] =
    [("gzip", Coding::Gzip), ("x-gzip", Coding::Gzip), ("zstd", Coding::Zstd), ("lz4", Coding::Lz4), ("br", Coding::Brotli)];

/// How many rows are turned away where the request names no number.
const REJECT_LIMIT_DEFAULT: u64 = 1000;

/// How many codings a body may have on top of each other: each takes memory of its own.
const CODINGS_MAX: usize = 4;

/// What `Accept-Encoding` says (RFC 7694).
const ACCEPTED_CODINGS: &str = "gzip, zstd, lz4, br, identity";

/// Query parameters, each taken out once.
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    pub(super) fn parse(raw: Option<&str>) -> Result<Query, Problem> {
        let mut pairs = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(raw.unwrap_or_default().as_bytes()) {
            if value.contains('\0') {
                return Err(invalid(format!("the option {name:?} holds a NUL")));
            }
            if pairs.insert(name.to_string(), value.into_owned()).is_some() {
                return Err(invalid(format!("the option {name:?} is given twice")));
            }
        }
        Ok(Query(pairs))
    }

    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// Nothing may be left over.
    pub(super) fn finish(self, known: &str) -> Result<(), Problem> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(invalid(format!("unknown option {name:?}; there are: {known}"))),
        }
    }
}

pub(super) fn invalid(detail: impl Into<String>) -> Problem {
    Problem::bad_request("invalid-option", detail)
}

/// Reads everything that a load's request says about itself.
pub(super) fn load_request(
    caller: Caller,
    table: String,
    query: Option<&str>,
    headers: &HeaderMap,
    limits: &Limits,
) -> Result<Request, Problem> {
    check_headers(headers, limits)?;
    let digests = fields::digests(headers)?;
    let declared_bytes = declared_bytes(headers)?;
    let codings = content_codings(headers)?;
    let mut query = Query::parse(query)?;
    let media = MediaType::of(headers)?;
    let key = fields::idempotency_key(headers)?.map(|name| Key::new(name, &canonical(&query, &media, &codings)));
    let format = match format_name(query.take("format"), &media)? {
        "csv" => Format::Csv(csv_options(Syntax::Csv, &mut query, &media)?),
        "text" => Format::Csv(csv_options(Syntax::Text, &mut query, &media)?),
        "ndjson" => Format::Ndjson(ndjson::Options { columns: names(&mut query)? }),
        "arrow-stream" => Format::Arrow(Container::Stream),
        "parquet" => Format::Parquet(parquet_options(&mut query, headers, limits)?),
        _ => Format::Arrow(Container::File),
    };
    let encoding = match format {
        Format::Csv(_) | Format::Ndjson(_) => encoding(query.take("encoding"), &media)?,
        Format::Arrow(_) | Format::Parquet(_) if encoding(None, &media)? == Encoding::Utf8 => Encoding::Utf8,
        Format::Arrow(_) | Format::Parquet(_) => return Err(invalid("the format has no charset: its text is UTF-8")),
    };
    let segments = match query.take("segments").as_deref() {
        None | Some("adaptive") => Segments::Adaptive,
        Some("one") => Segments::One,
        Some(_) => return Err(invalid("segments is adaptive or one")),
    };
    let reading = Reading { time_zone: query.take("timezone"), date_style: query.take("datestyle") };
    let synchronous_commit = query.take("synchronous_commit").map(|text| synchronous_commit(&text)).transpose()?;
    let timeout = query.take("timeout").map(|text| seconds(&text, limits.load_timeout)).transpose()?;
    let expected_rows = query.take("expected_rows").map(|text| count(&text)).transpose()?;
    let on_error = on_error(&mut query, segments, limits)?;
    let (own, hint) = match format {
        Format::Csv(csv::Options { syntax: Syntax::Text, .. }) => ("columns, header, delimiter, null, encoding, ", ""),
        Format::Csv(_) => ("columns, header, delimiter, quote, escape, null, force_null, force_not_null, encoding, ", ""),
        Format::Ndjson(_) => ("columns, encoding, ", " (the keys of each object name its columns)"),
        Format::Parquet(_) => ("columns, ", ""),
        Format::Arrow(_) => ("", " (an Arrow schema names its own columns)"),
    };
    query.finish(&format!(
        "format, {own}timezone, datestyle, segments, on_error, reject_limit, reject_ratio, expected_rows, synchronous_commit, \
         timeout{hint}"
    ))?;
    Ok(Request {
        caller,
        table,
        format,
        codings,
        encoding,
        segments,
        reading,
        synchronous_commit,
        on_error,
        timeout,
        digests,
        declared_bytes,
        expected_rows,
        key,
        trace: Trace::NONE,
    })
}

/// What a request asks for, the same for all that ask for the same. What a key was used for is known by the hash of this text, and keys
/// outlive versions of this program: of a request that was possible before, it must not change.
fn canonical(query: &Query, media: &MediaType, codings: &[Coding]) -> String {
    let mut text = form_urlencoded::Serializer::new(String::new());
    for (name, value) in &query.0 {
        text.append_pair(&format!("?{name}"), value);
    }
    for (name, value) in [("type", &media.essence), ("charset", &media.charset), ("header", &media.header)] {
        if let Some(value) = value {
            text.append_pair(name, value);
        }
    }
    for coding in codings {
        if let Some((name, _)) = CODINGS.iter().find(|(_, known)| known == coding) {
            text.append_pair("coding", name);
        }
    }
    text.finish()
}

fn check_headers(headers: &HeaderMap, limits: &Limits) -> Result<(), Problem> {
    for name in UNSUPPORTED_HEADERS {
        if headers.contains_key(name) {
            let detail = format!("{name} is not supported by this version, and is not ignored either");
            return Err(Problem::bad_request("unsupported-header", detail));
        }
    }
    if let Some(coding) = single(headers, &header::TRANSFER_ENCODING)?
        && !coding.eq_ignore_ascii_case("chunked")
    {
        let detail = format!("the transfer coding {coding:?} is not supported: send chunked");
        return Err(Problem::bad_request("unsupported-header", detail));
    }
    check_length(headers, limits.body_bytes_max, "--body-bytes-max")
}

/// A body that says how large it is need not come to be refused.
fn check_length(headers: &HeaderMap, limit: u64, flag: &str) -> Result<(), Problem> {
    match declared_bytes(headers)? {
        Some(bytes) if bytes > limit => {
            let detail = format!("the body has {bytes} bytes, and the limit is {limit} ({flag})");
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            Err(Problem::new(status, "body-too-large", "Over a limit", detail))
        }
        _ => Ok(()),
    }
}

/// `Content-Length`, which hyper has found to be a number.
fn declared_bytes(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    Ok(single(headers, &header::CONTENT_LENGTH)?.and_then(|value| value.parse().ok()))
}

/// `Content-Encoding`: a list, in one header or several, in the order in which the codings were applied (RFC 9110, 8.4).
fn content_codings(headers: &HeaderMap) -> Result<Vec<Coding>, Problem> {
    let mut codings = Vec::new();
    for value in headers.get_all(header::CONTENT_ENCODING) {
        let names = value.to_str().map_err(|_| unreadable(&header::CONTENT_ENCODING))?;
        let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
        for name in names.filter(|name| !name.eq_ignore_ascii_case("identity")) {
            let coding = CODINGS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            let (_, coding) = coding.ok_or_else(|| unsupported_coding(format!("Content-Encoding: {name} is not supported")))?;
            codings.push(*coding);
        }
    }
    if codings.len() > CODINGS_MAX {
        let count = codings.len();
        return Err(unsupported_coding(format!("{count} content codings are more than {CODINGS_MAX}")));
    }
    Ok(codings)
}

fn unsupported_coding(detail: String) -> Problem {
    let (status, title) = (StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported Content-Encoding");
    Problem::new(status, "unsupported-content-encoding", title, detail)
        .with_header(header::ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED_CODINGS))
}

/// A header that may be given once. Two of them, and one reader would believe the one and the next the other.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| unreadable(name)),
        (Some(_), Some(_)) => Err(Problem::bad_request("repeated-header", format!("{name} is given more than once"))),
    }
}

pub(super) fn unreadable(name: &HeaderName) -> Problem {
    Problem::bad_request("unreadable-header", format!("{name} cannot be read"))
}

/// `Content-Type`, with the two parameters of `text/csv` (RFC 4180, RFC 7111).
struct MediaType {
    essence: Option<String>,
    charset: Option<String>,
    header: Option<String>,
}

impl MediaType {
    fn of(headers: &HeaderMap) -> Result<MediaType, Problem> {
        let mut media = MediaType { essence: None, charset: None, header: None };
        let Some(value) = single(headers, &header::CONTENT_TYPE)? else {
            return Ok(media);
        };
        let mut parts = value.split(';').map(str::trim);
        if value.to_ascii_lowercase().starts_with("multipart/") {
            return Err(unsupported(
                "multipart forms are not taken: send the file itself as the body (curl -X POST -T file)",
            ));
        }
        media.essence = parts.next().map(str::to_ascii_lowercase).filter(|text| !text.is_empty());
        for part in parts.filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim_matches('"').to_ascii_lowercase();
            match name.to_ascii_lowercase().as_str() {
                "charset" => media.charset = Some(value),
                "header" => media.header = Some(value),
                other => {
                    return Err(unsupported(format!("unknown parameter {other:?} in Content-Type")));
                }
            }
        }
        Ok(media)
    }
}

fn format_name(option: Option<String>, media: &MediaType) -> Result<&'static str, Problem> {
    let by_option = match &option {
        Some(name) => {
            let found = FORMATS.iter().find(|(known, _)| known == name);
            let found = found.ok_or_else(|| invalid(format!("format is one of {}", FORMATS.map(|(name, _)| name).join(", "))))?;
            Some(found.0)
        }
        None => None,
    };
    match media.essence.as_deref() {
        None | Some("application/octet-stream") => {
            by_option.ok_or_else(|| unsupported("say what the body is: Content-Type: text/csv, say, or format=csv"))
        }
        Some(essence) => {
            let by_type = FORMATS.iter().find(|(_, known)| known.contains(&essence));
            let (by_type, _) = by_type.ok_or_else(|| unsupported(format!("{essence} is not a format of loads; send one of {ACCEPTED}")))?;
            match by_option {
                Some(name) if name != *by_type => Err(invalid(format!("format={name} contradicts Content-Type: {essence}"))),
                _ => Ok(by_type),
            }
        }
    }
}

fn unsupported(detail: impl Into<String>) -> Problem {
    let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    Problem::new(status, "unsupported-media-type", "Unsupported media type", detail)
        .with_header(HeaderName::from_static("accept-post"), HeaderValue::from_static(ACCEPTED))
}

/// `encoding=`, for which `charset` in Content-Type is another way of saying it.
fn encoding(option: Option<String>, media: &MediaType) -> Result<Encoding, Problem> {
    let named = |name: &String| {
        let unknown = || {
            invalid(format!(
                "the encoding {name:?} is not known: PostgreSQL's names are, and UTF-16, UTF-16LE, UTF-16BE"
            ))
        };
        Encoding::from_name(name).ok_or_else(unknown)
    };
    let option = option.as_ref().map(named).transpose()?;
    let charset = media.charset.as_ref().map(named).transpose()?;
    match (option, charset) {
        (Some(option), Some(charset)) if option != charset => Err(invalid("encoding= contradicts the charset of Content-Type")),
        (option, charset) => Ok(option.or(charset).unwrap_or(Encoding::Utf8)),
    }
}

fn csv_options(syntax: Syntax, query: &mut Query, media: &MediaType) -> Result<csv::Options, Problem> {
    let default = csv::Options::new(syntax);
    let header = match (query.take("header"), media.header.clone()) {
        (Some(option), Some(parameter)) if option != parameter => {
            return Err(invalid("header= contradicts the header parameter of Content-Type"));
        }
        (option, parameter) => option.or(parameter),
    };
    let mut options = csv::Options {
        header: match header.as_deref() {
            None | Some("present") => true,
            Some("absent") => false,
            Some(_) => return Err(invalid("header is present or absent")),
        },
        delimiter: byte(query, "delimiter")?.unwrap_or(default.delimiter),
        null: query.take("null").unwrap_or(default.null.clone()),
        columns: names(query)?,
        ..default
    };
    if syntax == Syntax::Csv {
        options.quote = byte(query, "quote")?.unwrap_or(options.quote);
        options.escape = byte(query, "escape")?.unwrap_or(options.quote);
        options.force_null = some_columns(query.take("force_null"));
        options.force_not_null = some_columns(query.take("force_not_null"));
    }
    check_csv(&options)?;
    Ok(options)
}

/// The value of `columns=`.
fn names(query: &mut Query) -> Result<Option<Vec<String>>, Problem> {
    let names: Option<Vec<String>> = query.take("columns").map(|names| names.split(',').map(str::to_owned).collect());
    match names {
        Some(names) if names.iter().any(String::is_empty) => Err(invalid("columns is a list of names: a,b,c")),
        names => Ok(names),
    }
}

/// `*`, or a list of names.
fn some_columns(option: Option<String>) -> Columns {
    match option.as_deref() {
        None => Columns::None,
        Some("*") => Columns::All,
        Some(names) => Columns::Named(names.split(',').map(str::to_owned).collect()),
    }
}

fn parquet_options(query: &mut Query, headers: &HeaderMap, limits: &Limits) -> Result<parquet::Options, Problem> {
    check_length(headers, limits.spool.bytes_max, "--spool-bytes-max")?;
    Ok(parquet::Options { columns: names(query)? })
}

/// `ProcessCopyOptions` in PostgreSQL's `src/backend/commands/copy.c`.
fn check_csv(options: &csv::Options) -> Result<(), Problem> {
    let null = options.null.as_bytes();
    if options.delimiter == options.quote {
        return Err(invalid("delimiter and quote must be different"));
    }
    if options.syntax == Syntax::Text && b"\\.abcdefghijklmnopqrstuvwxyz0123456789".contains(&options.delimiter) {
        return Err(invalid(
            "in the text format the delimiter cannot be a backslash, a dot, a lower-case letter or a digit",
        ));
    }
    if null.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return Err(invalid("null cannot hold a newline or a carriage return"));
    }
    if null.contains(&options.delimiter) || options.syntax == Syntax::Csv && null.contains(&options.quote) {
        return Err(invalid("null cannot hold the delimiter or the quote"));
    }
    Ok(())
}

fn on_error(query: &mut Query, segments: Segments, limits: &Limits) -> Result<OnError, Problem> {
    let (limit, ratio) = (query.take("reject_limit"), query.take("reject_ratio"));
    match query.take("on_error").as_deref() {
        None | Some("abort") if limit.is_none() && ratio.is_none() => return Ok(OnError::Abort),
        None | Some("abort") => return Err(invalid("reject_limit and reject_ratio need on_error=skip")),
        Some("skip") if segments == Segments::One => {
            return Err(invalid("on_error=skip takes bad rows back, which segments=one, a single COPY, does not allow"));
        }
        Some("skip") => {}
        Some(_) => return Err(invalid("on_error is abort or skip")),
    }
    let most = limits.reject_limit_max;
    let limit = limit.map(|text| text.parse().ok().filter(|limit| *limit <= most));
    let limit = limit.unwrap_or(Some(REJECT_LIMIT_DEFAULT.min(most)));
    let limit = limit.ok_or_else(|| invalid(format!("reject_limit is a whole number from 0 to {most} (--reject-limit-max)")))?;
    let ratio = ratio.map(|text| text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio)));
    let ratio = ratio
        .map(|ratio| ratio.ok_or_else(|| invalid("reject_ratio is a number from 0 to 1")))
        .transpose()?;
    Ok(OnError::Skip(Tolerance { limit, ratio }))
}

fn byte(query: &mut Query, name: &'static str) -> Result<Option<u8>, Problem> {
    let Some(text) = query.take(name) else {
        return Ok(None);
    };
    match text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0) => Ok(Some(*byte)),
        _ => Err(invalid(format!("{name} is a single one-byte character, and no line end"))),
    }
}

fn synchronous_commit(text: &str) -> Result<SynchronousCommit, Problem> {
    let known = SynchronousCommit::ALL;
    let found = known.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    found.ok_or_else(|| invalid(format!("synchronous_commit is one of {}", known.map(|(name, _)| name).join(", "))))
}

/// The value of `expected_rows=`.
fn count(text: &str) -> Result<u64, Problem> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let rows = text.parse().ok().filter(|_| digits);
    rows.ok_or_else(|| invalid("expected_rows is a whole number of rows"))
}

fn seconds(text: &str, most: Duration) -> Result<Duration, Problem> {
    let value = text.parse().ok().filter(|seconds| (1..=most.as_secs()).contains(seconds));
    let value = value.ok_or_else(|| invalid(format!("timeout is a whole number of seconds from 1 to {}", most.as_secs())))?;
    Ok(Duration::from_secs(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical_of(query: &str, headers: &[(&'static str, &'static str)]) -> String {
        let headers = headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let headers: HeaderMap = headers.collect();
        let query = Query::parse(Some(query)).unwrap();
        canonical(&query, &MediaType::of(&headers).unwrap(), &content_codings(&headers).unwrap())
    }

    /// Whoever changes this text takes every key that is in use for reused.
    #[test]
    fn the_canonical_text_stays_as_it_is() {
        let headers = [("content-type", "Text/CSV; Header=absent;charset=\"UTF-8\""), ("content-encoding", "x-gzip, zstd")];
        let text = "%3Fdelimiter=%3B&%3Fnull=a%26b&type=text%2Fcsv&charset=utf-8&header=absent&coding=gzip&coding=zstd";
        assert_eq!(canonical_of("null=a%26b&delimiter=;", &headers), text);
        assert_eq!(canonical_of("delimiter=%3b&null=a%26b", &headers), text);
        assert_eq!(canonical_of("", &[]), "");
        assert_ne!(canonical_of("header=absent", &[]), canonical_of("", &[("content-type", ";header=absent")]));
    }
}
