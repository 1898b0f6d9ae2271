//! A body that is not what the client says it is, is not committed: digests (RFC 9530), and the number of rows.

use sfv::ItemSerializer;
use sha2::{Digest, Sha256, Sha512};

use crate::support::arrow::{STREAM, batch, ints, stream};
use crate::support::coding::gzip;
use crate::support::{Answer, World, raw};

const FIELDS: [&str; 2] = ["Content-Digest", "Repr-Digest"];
const NDJSON: &str = "application/x-ndjson";

async fn world() -> World {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (id int)").await;
    world
}

fn bytes(digest: &[u8]) -> String {
    ItemSerializer::new().bare_item(digest).finish()
}

fn sha256(body: &[u8]) -> String {
    format!("sha-256={}", bytes(&Sha256::digest(body)))
}

fn sha512(body: &[u8]) -> String {
    format!("sha-512={}", bytes(&Sha512::digest(body)))
}

fn rows(count: u32) -> Vec<u8> {
    let rows: String = (0..count).map(|id| format!("{id}\n")).collect();
    format!("id\n{rows}").into_bytes()
}

/// Sends a CSV with headers; in many pieces, or as one of a known length.
async fn load(world: &World, headers: &[(&str, String)], body: &[u8], chunked: bool) -> Answer {
    let mut request = world.post("t", "text/csv");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request = if chunked {
        let pieces: Vec<_> = body.chunks(4001).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
        request.body(reqwest::Body::wrap_stream(futures::stream::iter(pieces)))
    } else {
        request.body(body.to_vec())
    };
    Answer::of(request.send().await.unwrap()).await
}

async fn nothing_is_there(world: &World) {
    assert_eq!((world.db.count("t").await, world.db.count("pgsluice.ledger").await), (0, 0));
}

#[tokio::test]
async fn a_body_with_its_digest_is_loaded() {
    let world = world().await;
    let body = rows(20_000);
    for field in FIELDS {
        for digest in [sha256(&body), sha512(&body), format!("{}, {}", sha512(&body), sha256(&body))] {
            for chunked in [false, true] {
                load(&world, &[(field, digest.clone())], &body, chunked).await.committed(20_000);
            }
        }
    }
    let both = [(FIELDS[0], sha256(&body)), (FIELDS[1], sha256(&body))];
    load(&world, &both, &body, true).await.committed(20_000);
    let twice = [(FIELDS[0], sha256(&body)), (FIELDS[0], sha512(&body))];
    load(&world, &twice, &body, true).await.committed(20_000);
}

#[tokio::test]
async fn a_body_that_was_changed_on_its_way_is_not_committed() {
    let world = world().await;
    let sent = rows(300_000);
    let mut body = sent.clone();
    // Still a good CSV.
    let changed = body.len() - 2;
    body[changed] = if body[changed] == b'1' { b'2' } else { b'1' };
    for field in FIELDS {
        for (name, digest, right) in [("sha-256", sha256(&sent), sha256(&body)), ("sha-512", sha512(&sent), sha512(&body))] {
            for chunked in [false, true] {
                let answer = load(&world, &[(field, digest.clone())], &body, chunked).await;
                let problem = answer.problem(400, "digest-mismatching-values");
                let wrong = problem["mismatching-digests"].as_array().unwrap();
                assert_eq!(wrong.len(), 1);
                assert_eq!((wrong[0]["algorithm"].as_str(), wrong[0]["header"].as_str()), (Some(name), Some(field)));
                assert_eq!(format!("{name}={}", wrong[0]["provided-digest"].as_str().unwrap()), digest);
                assert_eq!(format!("{name}={}", wrong[0]["calculated-digest"].as_str().unwrap()), right);
                let job = world.job(problem["job_id"].as_str().unwrap()).await;
                assert_eq!((job["state"].as_str(), job["reason"].as_str()), (Some("failed"), Some("digest-mismatching-values")));
                assert_eq!(job["error"]["mismatching-digests"], problem["mismatching-digests"]);
            }
        }
    }
    nothing_is_there(&world).await;
}

#[tokio::test]
async fn of_several_digests_each_one_counts() {
    let world = world().await;
    let (body, other) = (rows(3), rows(4));
    for (digest, wrong) in [
        (format!("{}, {}", sha256(&body), sha512(&other)), "sha-512"),
        (format!("{}, {}", sha256(&other), sha512(&body)), "sha-256"),
        // Of the same key, the last one counts (RFC 9651, 3.2).
        (format!("{}, {}", sha256(&body), sha256(&other)), "sha-256"),
    ] {
        let answer = load(&world, &[(FIELDS[0], digest)], &body, false).await;
        let wrong_ones = &answer.problem(400, "digest-mismatching-values")["mismatching-digests"];
        assert_eq!((wrong_ones[0]["algorithm"].as_str(), wrong_ones.as_array().unwrap().len()), (Some(wrong), 1));
    }
    let answer = load(&world, &[(FIELDS[0], sha256(&body)), (FIELDS[1], sha512(&other))], &body, false).await;
    assert_eq!(answer.problem(400, "digest-mismatching-values")["mismatching-digests"][0]["header"], "Repr-Digest");
    nothing_is_there(&world).await;
    let with_unknown = format!("md5=:1B2M2Y8AsgTpgAmY7PhCfg==:, {}, new-one=?1;x", sha256(&body));
    load(&world, &[(FIELDS[0], with_unknown)], &body, false).await.committed(3);
}

#[tokio::test]
async fn digests_are_of_the_bytes_as_they_are_sent() {
    let world = world().await;
    let plain = rows(5000);
    let packed = gzip(&plain);
    let coding = ("Content-Encoding", "gzip".to_owned());
    for field in FIELDS {
        load(&world, &[coding.clone(), (field, sha256(&packed))], &packed, true).await.committed(5000);
        let answer = load(&world, &[coding.clone(), (field, sha256(&plain))], &packed, true).await;
        answer.problem(400, "digest-mismatching-values");
    }
    assert_eq!(world.db.count("t").await, 10_000);
}

#[tokio::test]
async fn what_cannot_be_checked_is_refused_before_the_body_is_asked_for() {
    let world = world().await;
    let body = rows(1);
    let right = sha256(&body);
    let cases = [
        ("md5=:1B2M2Y8AsgTpgAmY7PhCfg==:".to_owned(), "digest-unsupported-algorithms"),
        (String::new(), "digest-unsupported-algorithms"),
        (right.trim_end_matches(':').to_owned(), "unreadable-header"),
        ("sha-256=:%%%:".to_owned(), "unreadable-header"),
        (format!("{right} {right}"), "unreadable-header"),
        (format!("{right},"), "unreadable-header"),
        ("SHA-256=:YWJj:".to_owned(), "unreadable-header"),
        ("sha-256=:YWJj:".to_owned(), "digest-invalid-values"),
        ("sha-256=abc".to_owned(), "digest-invalid-values"),
        ("sha-256".to_owned(), "digest-invalid-values"),
        ("sha-256=(:YWJj:)".to_owned(), "digest-invalid-values"),
        (right.replace("sha-256", "sha-512"), "digest-invalid-values"),
    ];
    let address = world.service.address();
    let request = |headers: &str| {
        format!(
            "POST /v1/tables/t/loads HTTP/1.1\r\nHost: {address}\r\nContent-Type: text/csv\r\nContent-Length: {}\r\n\
             Expect: 100-continue\r\n{headers}\r\n",
            body.len()
        )
    };
    for field in FIELDS {
        for (value, code) in &cases {
            let answer = raw(address, request(&format!("{field}: {value}\r\n")).as_bytes()).await;
            assert!(
                answer.starts_with("HTTP/1.1 400 ") && answer.contains(&format!("pgsluice:{code}\"")),
                "{value}: {answer}"
            );
            let hint = format!("want-{}: sha-256=", field.to_ascii_lowercase());
            assert_eq!(answer.contains(&hint), *code == "digest-unsupported-algorithms", "{value}: {answer}");
        }
    }
    // Known in the one field does not help the other; and the two are of the same bytes.
    let answer = raw(address, request(&format!("Content-Digest: {right}\r\nRepr-Digest: {}\r\n", cases[0].0)).as_bytes()).await;
    assert!(answer.contains("digest-unsupported-algorithms"), "{answer}");
    let answer = raw(address, request(&format!("Content-Digest: {right}\r\nRepr-Digest: {}\r\n", sha256(b""))).as_bytes()).await;
    assert!(answer.contains("digest-invalid-values"), "{answer}");
    for name in ["Content-Digest", "repr-digest", "X, Digest"] {
        let answer = raw(address, request(&format!("Trailer: {name}\r\n")).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("unsupported-header"), "{name}: {answer}");
    }
    assert_eq!(world.db.count("pgsluice.jobs").await, 0);
    // What the client would like of answers is no promise that a load could break.
    let wanted = [("Want-Content-Digest", "sha-256=1".to_owned()), ("Trailer", "X-Note".to_owned())];
    load(&world, &wanted, &body, true).await.committed(1);
}

#[tokio::test]
async fn the_number_of_rows_is_held_to_account() {
    let world = world().await;
    load(&world, &[], &rows(3), false).await.committed(3);
    world.load_csv("t?expected_rows=3", rows(3)).await.committed(3);
    let before = world.db.count("pgsluice.ledger").await;
    for (media, body) in [
        ("text/csv", rows(3)),
        (NDJSON, b"{\"id\":1}\n{\"id\":2}\n\n{\"id\":3}".to_vec()),
        (STREAM, stream(&[batch([("id", ints(&[1, 2, 3]))])])),
    ] {
        for expected in [0, 2, 4, u64::MAX] {
            let answer = world.load(&format!("t?expected_rows={expected}"), media, body.clone()).await;
            let problem = answer.problem(422, "row-count-mismatch");
            assert_eq!((problem["expected_rows"].as_u64(), problem["rows_received"].as_u64()), (Some(expected), Some(3)));
            let job = world.job(problem["job_id"].as_str().unwrap()).await;
            assert_eq!((job["state"].as_str(), job["rows_loaded"].as_u64()), (Some("failed"), Some(0)));
        }
    }
    assert_eq!((world.db.count("t").await, world.db.count("pgsluice.ledger").await), (6, before));
}

#[tokio::test]
async fn a_body_without_rows_is_loaded_if_that_is_what_is_expected() {
    let world = world().await;
    let nothing = stream(&[batch([("id", ints(&[]))])]);
    let schema_only = {
        let schema = batch([("id", ints(&[]))]).schema();
        let mut writer = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &schema).unwrap();
        writer.finish().unwrap();
        writer.into_inner().unwrap()
    };
    for (media, body, without) in [
        ("text/csv", b"id\n".to_vec(), "no-rows"),
        ("text/csv", Vec::new(), "empty-body"),
        ("text/tab-separated-values", Vec::new(), "empty-body"),
        (NDJSON, Vec::new(), "empty-body"),
        (NDJSON, b"\n\n".to_vec(), "no-rows"),
        (STREAM, nothing, "no-rows"),
        (STREAM, schema_only, "no-rows"),
    ] {
        world.load("t", media, body.clone()).await.problem(422, without);
        let answer = world.load("t?expected_rows=1", media, body.clone()).await;
        assert_eq!(answer.problem(422, "row-count-mismatch")["rows_received"], 0, "{media}");
        let job = world.load("t?expected_rows=0", media, body.clone()).await;
        job.committed(0);
        assert_eq!(job.json["rows_received"], 0);
        let request = world.post("t?expected_rows=0", media).header("Content-Digest", sha256(&body));
        Answer::of(request.body(body).send().await.unwrap()).await.committed(0);
    }
    // Nothing at all is no Arrow stream, however many rows it should have.
    world.load("t?expected_rows=0", STREAM, "").await.problem(422, "empty-body");
    assert_eq!(world.db.count("t").await, 0);
    assert_eq!(world.db.count("pgsluice.ledger").await, 14);
}
