//! Text in another encoding is stored as the server's own `COPY … (ENCODING '…')` stores it, byte for byte, or refused as it refuses it.

use bytes::Bytes;
use futures::{SinkExt, stream};
use serde_json::Value;

use crate::support::coding::zstd;
use crate::support::{Answer, Trickle, World, signal};

/// Every encoding of the server that it can convert to UTF-8, and whether its characters can have several bytes.
const ENCODINGS: &str = "SELECT name || CASE WHEN pg_encoding_max_length(code) > 1 THEN '+' ELSE '' END \
     FROM (SELECT code, pg_encoding_to_char(code) FROM generate_series(0, 50) code) AS encoding (code, name) \
     WHERE name NOT IN ('', 'UTF8', 'SQL_ASCII', 'MULE_INTERNAL') ORDER BY code";

/// Bytes that may or may not be a character: all of one byte and of two, and those longer ones that EUC_JP, EUC_TW and GB18030 have.
const SEQUENCES: &str = "CREATE TABLE sequences AS \
     WITH byte AS (SELECT value, set_byte('\\x00', 0, value) AS b FROM generate_series(0, 255) value) \
     SELECT b FROM byte \
     UNION ALL SELECT first.b || second.b FROM byte first, byte second WHERE first.value >= 128 \
     UNION ALL SELECT '\\x8f'::bytea || second.b || third.b FROM byte second, byte third WHERE second.value > 160 AND third.value > 160 \
     UNION ALL SELECT '\\x8ea2'::bytea || third.b || fourth.b FROM byte third, byte fourth WHERE third.value > 160 AND fourth.value > 160 \
     UNION ALL SELECT first.b || '\\x30'::bytea || third.b || '\\x35'::bytea FROM byte first, byte third \
                WHERE first.value > 128 AND third.value > 128; \
     CREATE FUNCTION decoded(b bytea, encoding text) RETURNS text LANGUAGE plpgsql AS \
     $$ BEGIN RETURN convert_from(b, encoding::name); EXCEPTION WHEN OTHERS THEN RETURN NULL; END $$; \
     CREATE TABLE ours (id int, text text); CREATE TABLE theirs (LIKE ours)";

async fn world() -> World {
    let world = World::new().await;
    world.db.sql(SEQUENCES).await;
    world
}

/// `id,"bytes"` on a line each.
fn csv<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut body = b"id,text\n".to_vec();
    for (id, text) in texts.into_iter().enumerate() {
        body.extend_from_slice(format!("{id},\"").as_bytes());
        body.extend_from_slice(text);
        body.extend_from_slice(b"\"\n");
    }
    body
}

/// What COPY says to a body: nothing, or SQLSTATE, message and line.
async fn copy(world: &World, encoding: &str, body: &[u8]) -> Option<(String, String, Value)> {
    let attempt = async {
        let copy = format!("COPY theirs FROM STDIN (FORMAT csv, HEADER, ENCODING '{encoding}')");
        let mut sink = std::pin::pin!(world.db.client.copy_in(&copy).await?);
        sink.send(Bytes::copy_from_slice(body)).await?;
        sink.finish().await
    };
    let error = attempt.await.err()?;
    let error = error.as_db_error().unwrap();
    let line = error.where_().and_then(|context| context.split("line ").nth(1));
    let line = line.map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
    Some((
        error.code().code().to_owned(),
        error.message().to_owned(),
        line.and_then(|line| line.parse().ok()).unwrap_or(Value::Null),
    ))
}

fn in_frames(body: &[u8], frame_bytes: usize) -> reqwest::Body {
    let frames: Vec<_> = body.chunks(frame_bytes).map(|frame| Ok::<_, std::io::Error>(frame.to_vec())).collect();
    reqwest::Body::wrap_stream(stream::iter(frames))
}

/// Both tables hold the same, of which they are then rid.
async fn both_alike(world: &World, rows: usize, what: &str) {
    assert_eq!((world.db.count("ours").await, world.db.count("theirs").await), (rows as i64, rows as i64), "{what}");
    let differences = world
        .db
        .rows("(TABLE ours EXCEPT ALL TABLE theirs) UNION ALL (TABLE theirs EXCEPT ALL TABLE ours)")
        .await;
    assert!(differences.is_empty(), "{what}: {} rows differ, {:?}", differences.len(), differences[0]);
    world.db.sql("TRUNCATE ours, theirs").await;
}

#[tokio::test]
async fn every_character_of_every_encoding_is_stored_as_copy_stores_it() {
    let world = world().await;
    let encodings = world.db.texts(ENCODINGS).await;
    assert!(encodings.len() >= 38, "{encodings:?}");
    let mut characters = 0;
    for encoding in encodings.iter().flatten() {
        let name = encoding.trim_end_matches('+');
        let length_max = if encoding.ends_with('+') { 4 } else { 1 };
        // What CSV has a use for itself is left out.
        let valid = format!("SELECT b FROM sequences WHERE length(b) <= {length_max} AND decoded(b, '{name}') !~ '[\"\\r\\n]' ORDER BY b");
        let valid: Vec<Vec<u8>> = world.db.rows(&valid).await.iter().map(|row| row.get(0)).collect();
        assert!(valid.len() > 150, "{name}: {}", valid.len());
        let body = csv(valid.iter().map(Vec::as_slice));
        assert_eq!(copy(&world, name, &body).await, None, "{name}");
        world.load_csv(&format!("ours?encoding={name}"), body).await.committed(valid.len() as u64);
        both_alike(&world, valid.len(), name).await;
        characters += valid.len();
    }
    assert!(characters > 100_000, "only {characters} characters in {} encodings", encodings.len());
}

#[tokio::test]
async fn bytes_that_are_no_text_are_refused_as_copy_refuses_them() {
    let world = world().await;
    let mut refused = 0;
    for encoding in world.db.texts(ENCODINGS).await.iter().flatten() {
        let name = encoding.trim_end_matches('+');
        let invalid = format!(
            "(SELECT b FROM sequences WHERE length(b) = 1 AND decoded(b, '{name}') IS NULL ORDER BY md5(b) LIMIT 5) UNION ALL \
             (SELECT b FROM sequences WHERE length(b) > 1 AND get_byte(b, 1) > 34 AND decoded(b, '{name}') IS NULL \
              ORDER BY md5(b) LIMIT 10)"
        );
        let invalid: Vec<Vec<u8>> = world.db.rows(&invalid).await.iter().map(|row| row.get(0)).collect();
        let before_a_newline = b"\x8e\n".to_vec();
        for bytes in invalid.into_iter().chain([before_a_newline]) {
            let body = csv([&b"a"[..], b"b\xa1\xa1", b"c", &bytes, b"d", b"e"]);
            let theirs = copy(&world, name, &body).await;
            let ours = world.load_csv(&format!("ours?encoding={name}"), body).await;
            match theirs {
                None => {
                    ours.committed(6);
                    both_alike(&world, 6, name).await;
                }
                Some((sqlstate, message, line)) => {
                    let problem = ours.problem(422, "bad-row");
                    assert_eq!((&problem["sqlstate"], &problem["line"]), (&Value::from(sqlstate), &line), "{name} {bytes:x?}");
                    // How many bytes it shows depends on how many there are in its buffer.
                    let (said, _) = message.split_once(" 0x").unwrap();
                    assert!(problem["detail"].as_str().unwrap().starts_with(said), "{name} {bytes:x?}: {message}: {problem:#}");
                    assert_eq!(world.db.count("ours").await, 0);
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 300, "only {refused} refusals");
}

#[tokio::test]
async fn chunks_may_be_cut_anywhere() {
    let world = world().await;
    let texts = ["\u{3042}\u{30bd}\u{8868}", "plain", "\u{30bd}\n\u{80fd}", "\u{ff71}\\", "x\r\ny\u{4e88}"];
    let sjis = world.db.client.query_one("SELECT convert_to($1, 'SJIS')", &[&texts.join("|")]).await.unwrap();
    let sjis: Vec<u8> = sjis.get(0);
    let parts: Vec<&[u8]> = sjis.split(|byte| *byte == b'|').collect();
    for (rows, frames) in [(400, &[1, 2, 3, 7][..]), (60_000, &[1000, 65_537, 1 << 20])] {
        let body = csv(parts.iter().copied().cycle().take(rows));
        for frame_bytes in frames {
            assert_eq!(copy(&world, "SJIS", &body).await, None);
            let answer = world.load_csv("ours?encoding=SJIS", in_frames(&body, *frame_bytes)).await;
            answer.committed(rows as u64);
            both_alike(&world, rows, &format!("{rows} rows in frames of {frame_bytes}")).await;
        }
        let zipped = world
            .post("ours?encoding=Shift_JIS", "text/csv")
            .header("Content-Encoding", "zstd")
            .body(zstd(&body));
        Answer::of(zipped.send().await.unwrap()).await.committed(rows as u64);
        world.db.sql("TRUNCATE ours").await;
    }
}

#[tokio::test]
async fn a_bad_line_deep_in_the_body_is_named_by_line_and_offset() {
    let world = world().await;
    let good = b"1,\"\x82\xa0\"\n".as_slice();
    for (good_lines, line_end) in [(100_000, &b"\n"[..]), (100_000, b"\r\n"), (100_000, b"\r"), (3, b"\n")] {
        let good = [&good[..good.len() - 1], line_end].concat();
        let mut body = [b"id,text", line_end].concat();
        body.extend_from_slice(&good.repeat(good_lines));
        let byte_offset = body.len();
        body.extend_from_slice(&[b"2,\"\x82\"", line_end].concat());
        body.extend_from_slice(&good.repeat(1000));
        let theirs = copy(&world, "SJIS", &body).await.unwrap();
        let ours = world.load_csv("ours?encoding=SJIS", in_frames(&body, 70_000)).await;
        let problem = ours.problem(422, "bad-row");
        assert_eq!((&problem["line"], &problem["byte_offset"]), (&theirs.2, &Value::from(byte_offset)), "{line_end:?}");
        // An earlier mistake is the one that counts, whatever finds it.
        let at = body.len() / 2;
        let at = at + body[at..].iter().position(|byte| *byte == b'1').unwrap();
        body[at] = b'x';
        let ours = world.load_csv("ours?encoding=SJIS", body).await;
        assert_eq!(ours.problem(422, "bad-row")["sqlstate"], if good_lines > 3 { "22P02" } else { "22021" });
        assert_eq!(world.db.count("ours").await, 0);
    }
}

fn utf16(text: &str, little: bool) -> Vec<u8> {
    let bytes = |unit: u16| if little { unit.to_le_bytes() } else { unit.to_be_bytes() };
    text.encode_utf16().flat_map(bytes).collect()
}

#[tokio::test]
async fn utf16_holds_every_character() {
    let world = world().await;
    let characters = (1..0x11_0000).filter(|code| *code < 0x3000 || code % 61 == 0).filter_map(char::from_u32);
    let characters: Vec<String> = characters.filter(|c| !matches!(c, '"' | '\r' | '\n')).map(String::from).collect();
    let text = String::from_utf8(csv(characters.iter().map(String::as_bytes))).unwrap();
    let rows = characters.len();
    for (name, little, mark) in [("UTF-16", true, true), ("UTF-16", false, true), ("UTF-16LE", true, false), ("utf16be", false, true)] {
        let marked = if mark { format!("\u{feff}{text}") } else { text.clone() };
        for frame_bytes in [1001, 1 << 20] {
            assert_eq!(copy(&world, "UTF8", text.as_bytes()).await, None);
            let body = in_frames(&utf16(&marked, little), frame_bytes);
            world.load_csv(&format!("ours?encoding={name}"), body).await.committed(rows as u64);
            both_alike(&world, rows, name).await;
        }
    }
}

#[tokio::test]
async fn utf16_that_is_none() {
    let world = world().await;
    let good = utf16("id,text\r\n1,\u{1f600}\r\n", true);
    let with = |tail: &[u8]| [&[0xFF, 0xFE], good.as_slice(), tail].concat();
    let lone = |units: &[u16]| units.iter().flat_map(|unit| unit.to_le_bytes()).collect::<Vec<u8>>();
    let cases = [
        (with(&[0x32]), "bad-row"),
        (with(&lone(&[0x32, 0x2C, 0xD83D])), "bad-row"),
        (with(&lone(&[0x32, 0x2C, 0xDE00, 0x0A])), "bad-row"),
        (with(&lone(&[0x32, 0x2C, 0xD83D, 0x0D, 0x0A])), "bad-row"),
        (good.clone(), "byte-order-unknown"),
        (vec![0xFF], "byte-order-unknown"),
        (vec![0xFF, 0xFE], "no-rows"),
        (vec![], "empty-body"),
    ];
    for (body, name) in cases {
        let answer = world.load_csv("ours?encoding=UTF-16", body).await;
        let problem = answer.problem(422, name);
        if name == "bad-row" {
            assert_eq!((&problem["sqlstate"], &problem["line"]), (&Value::from("22021"), &Value::from(3)), "{problem:#}");
            assert_eq!(problem["byte_offset"], 2 + good.len());
        }
    }
    world.load_csv("ours?encoding=UTF-16BE", with(b"")).await.problem(422, "byte-order-unknown");
    world.load_csv("ours?encoding=UTF-16LE", with(b"")).await.committed(1);
    let unsaid = world.load_csv("ours", with(b"")).await;
    let detail = unsaid.problem(422, "bad-row")["detail"].as_str().unwrap();
    assert!(detail.contains("say encoding=UTF-16"), "{detail}");
}

#[tokio::test]
async fn encodings_have_many_names() {
    let world = world().await;
    let body = b"id,text\n1,\xe4\n";
    for (options, media) in [
        ("ours?encoding=latin1", "text/csv"),
        ("ours?encoding=ISO-8859-1", "text/csv; charset=iso_8859-1"),
        ("ours", "text/csv; charset=\"Windows-1252\""),
        ("ours?encoding=cp1252", "text/csv"),
    ] {
        world.load(options, media, &body[..]).await.committed(1);
    }
    assert_eq!(world.db.count("ours WHERE text = 'ä'").await, 4);
    world
        .load("ours?encoding=utf8", "text/csv; charset=utf-8", "\u{feff}id,text\n1,ä\n")
        .await
        .committed(1);

    for (options, media) in [
        ("ours?encoding=latin0", "text/csv"),
        ("ours?encoding=", "text/csv"),
        ("ours?encoding=MULE_INTERNAL", "text/csv"),
        ("ours", "text/csv; charset=klingon"),
        ("ours?encoding=UTF8", "text/csv; charset=latin1"),
        ("ours?encoding=latin1", crate::support::arrow::STREAM),
        ("ours", "application/vnd.apache.arrow.stream; charset=latin1"),
    ] {
        let answer = world.load(options, media, &body[..]).await;
        assert_eq!(answer.problem(400, "invalid-option").get("job_id"), None);
    }
}

#[tokio::test]
async fn a_line_that_never_ends_is_refused() {
    let world = World::with(&["--record-bytes-max", "300000"]).await;
    world.db.sql("CREATE TABLE ours (id int, text text)").await;
    let long = [&b"id,text\n1,"[..], &[0xE4; 1 << 20]].concat();
    for encoding in ["LATIN1", "WIN1252", "SJIS"] {
        let answer = world.load_csv(&format!("ours?encoding={encoding}"), in_frames(&long, 10_000)).await;
        assert_eq!(answer.problem(413, "record-too-large")["line"], 2);
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_does_not_keep_a_load_from_being_cancelled() {
    let world = world().await;
    let load = Trickle::begin(&world, "ours?encoding=SJIS");
    load.send("id,text\n");
    load.send(b"1,\x82\xa0\n".repeat(60_000));
    let job = world.wait_for_job(|job| job["rows_received"].as_u64() > Some(0)).await;
    let aside =
        "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'pgsluice bulk' AND query LIKE '%convert_from%'";
    world.db.wait_until(&format!("SELECT count(*) = 1 {aside} AND state = 'idle'")).await;
    let backend = world.db.rows(&format!("SELECT pid {aside}")).await[0].get::<_, i32>(0).cast_unsigned();
    signal(backend, "STOP");
    load.send(b"1,\x82\xa0\n".repeat(60_000));
    assert_eq!(world.cancel(job["id"].as_str().unwrap()).await.json["state"], "cancelled");
    load.answer().await.problem(409, "cancelled");
    signal(backend, "CONT");
    world.db.wait_until(&format!("SELECT count(*) = 0 {aside}")).await;
    world.load_csv("ours?encoding=SJIS", b"id,text\n1,\x82\xa0\n".as_slice()).await.committed(1);
}

#[tokio::test]
async fn a_line_that_is_no_text_is_turned_away_by_itself() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (id int, text text)").await;
    // What is no text; a character that is some, with a byte of ASCII in it where the encoding has such; what that is.
    let cases: [(&str, &[u8], &[u8], &str); 6] = [
        ("SJIS", b"\x81", b"\x95\x5c", "表"),
        ("GB18030", b"\x81\x30\x81", b"\x81\x30\x8c\x30", "ă"),
        ("EUC_JP", b"\xa4", b"\xc9\xbd", "表"),
        ("WIN1252", b"\x81", b"\xe4", "ä"),
        ("KOI8R", b"\0", b"\xd1", "я"),
        ("LATIN1", b"\0", b"\xe4", "ä"),
    ];
    for (encoding, none, good, text) in cases {
        world.db.sql("TRUNCATE t").await;
        let mut body = b"id,text\n".to_vec();
        let mut bad = Vec::new();
        for id in 0..40_000 {
            let (line, is_bad) = (id + 2, [0, 1, 777, 20_000, 39_999].contains(&id));
            let field = if is_bad { [good, none].concat() } else { good.to_vec() };
            body.extend_from_slice(&[format!("{id},\"").as_bytes(), &field, b"\"\n"].concat());
            bad.extend(is_bad.then_some(line));
        }
        let answer = world.load_csv(&format!("t?on_error=skip&encoding={encoding}"), body.clone()).await;
        let job = answer.committed(39_995);
        assert_eq!(
            world.db.rows(&format!("SELECT count(*) FROM t WHERE text = '{text}'")).await[0].get::<_, i64>(0),
            39_995,
            "{encoding}"
        );
        let url = world.url(job["rejects_url"].as_str().unwrap());
        let report = world.http.get(url).send().await.unwrap().text().await.unwrap();
        let refused = world.load_csv(&format!("t?encoding={encoding}"), body).await.problem(422, "bad-row").clone();
        for (reject, line) in report.lines().zip(&bad) {
            let reject: Value = serde_json::from_str(reject).unwrap();
            let found = (&reject["line"], &reject["column"], &reject["sqlstate"]);
            assert_eq!(found, (&Value::from(*line), &Value::from("text"), &refused["sqlstate"]), "{encoding}: {reject}");
        }
        assert_eq!(report.lines().count(), bad.len(), "{encoding}");
        let first: Value = serde_json::from_str(report.lines().next().unwrap()).unwrap();
        assert_eq!(
            (&first["reason"], &first["byte_offset"]),
            (&refused["detail"], &refused["byte_offset"]),
            "{encoding}"
        );
    }
}

#[tokio::test]
async fn records_of_many_lines_and_halves_of_characters_are_turned_away_too() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (id int, text text)").await;
    let body = b"id,text\n1,a\n2,\"a\nb\x81\nc\"\n3,\x95\x5c\x81\n4,b\n\x815,c\n".to_vec();
    let answer = world.load_csv("t?on_error=skip&encoding=SJIS", body.clone()).await;
    let url = world.url(answer.committed(2)["rejects_url"].as_str().unwrap());
    let records = world.http.get(url).header("Accept", "text/csv").send().await.unwrap().bytes().await.unwrap();
    assert_eq!(records, b"id,text\n2,\"a\nb\xff\nc\"\n3,\xff\xff\xff\n\xff\xff,c\n".as_slice());

    let lines = ["{\"id\": 1, \"text\": \"ä\"}\r\n", "{\"id\": 2, \"text\": \"?\"}\r\n", "{\"id\": 3}\r\n"].concat();
    let units = lines.encode_utf16().map(|unit| if unit == u16::from(b'?') { 0xD800 } else { unit });
    let body: Vec<u8> = units.flat_map(u16::to_le_bytes).chain(*b"x").collect();
    let answer = world.load("t?on_error=skip&encoding=UTF-16LE", "application/x-ndjson", body).await;
    let job = answer.committed(2);
    assert_eq!((&job["rows_received"], &job["rows_rejected"]), (&Value::from(4), &Value::from(2)));

    let header = world.load_csv("t?on_error=skip&encoding=SJIS", b"id,text\x81\n1,a\n".to_vec()).await;
    let detail = header.problem(422, "bad-row")["detail"].as_str().unwrap();
    assert!(detail.contains("SJIS"), "{detail}");
}
