//! `on_error=skip`: bad rows are turned away and named, one by one, and all others are loaded; or there are too many, and nothing is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use reqwest::header::ACCEPT;
use serde_json::{Value, json};

use crate::support::arrow::{self, batch, ints, strings};
use crate::support::{Answer, Trickle, World};

const TSV: &str = "text/tab-separated-values";
const NDJSON: &str = "application/x-ndjson";

/// A job's report, line by line.
async fn report(world: &World, job: &Value) -> Vec<Value> {
    let url = world.url(job["rejects_url"].as_str().unwrap_or_else(|| panic!("no rejects_url: {job:#}")));
    let response = world.http.get(url).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], NDJSON);
    let text = response.text().await.unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The records that were turned away, and what they are written in.
async fn records(world: &World, job: &Value, accept: &str) -> (String, Vec<u8>) {
    let url = world.url(job["rejects_url"].as_str().unwrap());
    let response = world.http.get(url).header(ACCEPT, accept).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    (content_type, response.bytes().await.unwrap().to_vec())
}

fn pick(report: &[Value], fields: &[&str]) -> Value {
    let row = |reject: &Value| Value::from(fields.iter().map(|field| reject[*field].clone()).collect::<Vec<_>>());
    report.iter().map(row).collect()
}

#[tokio::test]
async fn every_kind_of_bad_row_that_we_find_is_turned_away() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (id int2 NOT NULL, d date, note varchar(3))").await;
    let mut body = b"id,d,note\n1,2024-01-01,a\nx,2024-01-01,b\n70000,2024-01-01,c\n,2024-01-01,d\n5,2024-02-30,e\n6,,four\n7,2024-01-01\n\
                     8,,a,b\n9,2024-01-01,\"multi\nline\"\n10,,ok\n"
        .to_vec();
    body.extend_from_slice(b"11,,\xff\xfe\n12,,a\0b\n13,\"Jan 8, 1999\",yes\n14,\"Jan 32, 1999\",no\n");
    let answer = world.load_csv("t?on_error=skip", body.clone()).await;
    let job = answer.committed(3);
    assert_eq!((&job["rows_received"], &job["rows_rejected"]), (&json!(14), &json!(11)), "{job:#}");
    assert_eq!(job["rejected_by_column"], json!({"id": 3, "d": 2, "note": 5}));
    let report = report(&world, job).await;
    let expected = json!([
        [3, "id", "x", "int2", "22P02"],
        [4, "id", "70000", "int2", "22003"],
        [5, "id", null, "int2", "23502"],
        [6, "d", "2024-02-30", "date", "22008"],
        [7, "note", "four", "varchar(3)", "22001"],
        [8, "note", "7,2024-01-01", null, "22P04"],
        [9, null, "8,,a,b", null, "22P04"],
        [10, "note", "multi\nline", "varchar(3)", "22001"],
        [13, "note", null, "varchar(3)", "22021"],
        [14, "note", null, "varchar(3)", "22021"],
        [16, "d", "Jan 32, 1999", "date", "22008"],
    ]);
    let types = [("smallint", "int2"), ("character varying(3)", "varchar(3)")];
    let found = pick(&report, &["line", "column", "value", "type", "sqlstate"]).to_string();
    let found = types.iter().fold(found, |text, (long, short)| text.replace(long, short));
    assert_eq!(serde_json::from_str::<Value>(&found).unwrap(), expected);
    for reject in &report {
        let offset = reject["byte_offset"].as_u64().unwrap() as usize;
        let lines_before = body[..offset].iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(lines_before as u64 + 1, reject["line"], "{reject}");
        assert!(reject["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
    }
    assert_eq!(world.db.count("t WHERE id IN (1, 10, 13)").await, 3);
    assert_eq!(world.db.count("t").await, 3);
    assert_eq!(world.job(job["id"].as_str().unwrap()).await["rows_rejected"], 11);
}

#[tokio::test]
async fn the_records_can_be_corrected_and_sent_again() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (id int PRIMARY KEY, note text)").await;
    let body = "id;note\r\n1;a\r\n1;\"b;\r\n\"\"c\"\"\"\r\nx3;d\r\n";
    let answer = world.load_csv("t?on_error=skip&delimiter=;", body).await;
    let job = answer.committed(1);
    let (content_type, bytes) = records(&world, job, "text/csv").await;
    assert_eq!(content_type, "text/csv; charset=utf-8; header=present");
    let text = String::from_utf8(bytes).unwrap();
    assert_eq!(text, "id;note\n1;\"b;\r\n\"\"c\"\"\"\nx3;d\n");
    let corrected = text.replace("\n1;", "\n2;").replace("x3", "3");
    world.load_csv("t?delimiter=;", corrected).await.committed(2);
    assert_eq!(world.db.count("t WHERE (id, note) IN ((1, 'a'), (2, E'b;\\r\\n\"c\"'), (3, 'd'))").await, 3);

    let answer = world.load("t?on_error=skip&header=absent", "text/csv", "1,again\n4,e\n").await;
    let (content_type, bytes) = records(&world, answer.committed(1), "text/csv").await;
    assert_eq!(
        (content_type.as_str(), bytes.as_slice()),
        ("text/csv; charset=utf-8; header=absent", &b"1,again\n"[..])
    );
}

#[tokio::test]
async fn what_only_the_server_refuses_is_turned_away_by_its_own_words() {
    let world = World::new().await;
    world
        .db
        .sql(
            "CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent SELECT generate_series(1, 100); \
             CREATE DOMAIN even AS int CHECK (VALUE % 2 = 0); \
             CREATE TABLE t (id int PRIMARY KEY, parent int REFERENCES parent, c int CHECK (c > 0), e even, \
                             span int4range, note text, EXCLUDE USING gist (span WITH &&)); \
             CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
               IF NEW.note = 'before' THEN RAISE EXCEPTION 'not before'; END IF; \
               IF NEW.note = 'own' THEN RAISE EXCEPTION 'our own' USING ERRCODE = 'ABC01'; END IF; \
               IF NEW.note = 'null' THEN NEW.id := NULL; END IF; RETURN NEW; END $$; \
             CREATE TRIGGER guard BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION guard(); \
             CREATE FUNCTION after() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
               IF NEW.note = 'after' THEN RAISE EXCEPTION 'not after'; END IF; RETURN NULL; END $$; \
             CREATE TRIGGER after AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION after()",
        )
        .await;
    let rows = [
        ("1,1,1,2,\"[1,2)\",a", None),
        ("1,1,1,2,,b", Some("23505")),
        ("3,999,1,2,,c", Some("23503")),
        ("4,1,0,2,,d", Some("23514")),
        ("5,1,1,3,,e", Some("23514")),
        ("6,1,1,2,\"[1,5)\",f", Some("23P01")),
        ("7,1,1,2,,before", Some("P0001")),
        ("8,1,1,2,,own", Some("ABC01")),
        ("9,1,1,2,,null", Some("23502")),
        ("10,1,1,2,,after", Some("P0001")),
        ("11,1,1,2,\"[7,8)\",g", None),
        ("12,1,1,2,\"[9,8)\",h", Some("22000")),
        ("4,1,1,2,,free again", None),
        ("999,999,1,2,,i", Some("23503")),
    ];
    let mut body = String::from("id,parent,c,e,span,note\n");
    rows.iter().for_each(|(row, _)| writeln!(body, "{row}").unwrap());
    let answer = world.load_csv("t?on_error=skip", body).await;
    let job = answer.committed(3);
    let report = report(&world, job).await;
    let expected: Value = (2u64..).zip(rows).filter_map(|(line, (_, state))| Some(json!([line, state?]))).collect();
    assert_eq!(pick(&report, &["line", "sqlstate"]), expected, "{report:#?}");
    assert!(report[0]["reason"].as_str().unwrap().contains("(id)=(1)"), "the server's detail: {}", report[0]);
    let (_, bytes) = records(&world, job, "text/csv").await;
    let records = String::from_utf8(bytes).unwrap();
    let expected: Vec<&str> = rows.iter().filter(|(_, state)| state.is_some()).map(|(row, _)| *row).collect();
    assert_eq!(records.lines().skip(1).collect::<Vec<_>>(), expected);
    assert_eq!(world.db.count("t WHERE id IN (1, 11, 4)").await, 3);
}

/// The oracle sends row by row, each under a savepoint, to a twin of the table.
#[tokio::test]
async fn the_outcome_is_that_of_sending_row_by_row() {
    let world = World::new().await;
    world
        .db
        .sql("CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent SELECT generate_series(1, 90)")
        .await;
    for (round, rows) in [30, 300, 3_000].into_iter().enumerate() {
        for name in ["t", "oracle"] {
            let sql = format!(
                "DROP TABLE IF EXISTS {name}; CREATE TABLE {name} (id int PRIMARY KEY, parent int REFERENCES parent, \
                 c int CHECK (c <> 7), other int UNIQUE, d date)"
            );
            world.db.sql(&sql).await;
        }
        let mut random = Random(round as u64 + 1);
        let mut body = String::from("id,parent,c,other,d\n");
        for _ in 0..rows {
            let id = random.below(rows * 4 / 3);
            let date = ["2024-01-01", "2024-01-01", "\"Jan 8, 1999\"", "2024-13-01", "\"Jan 32, 1999\""][random.below(5) as usize];
            let (parent, c, other) = (1 + random.below(94), random.below(30), random.below(rows * 2));
            writeln!(body, "{id},{parent},{c},{other},{date}").unwrap();
        }
        let answer = world.load_csv("t?on_error=skip&reject_limit=10000", body.clone()).await;
        assert_eq!(answer.status, 201, "{:#}", answer.json);
        let found: BTreeSet<u64> = report(&world, &answer.json).await.iter().map(|reject| reject["line"].as_u64().unwrap()).collect();
        let expected = one_by_one(&world, &body).await;
        assert_eq!(found, expected, "lines that were turned away, of {rows}");
        assert_eq!(answer.json["rows_rejected"], expected.len());
        assert_eq!(answer.json["rows_loaded"], rows - expected.len() as u64);
        assert_eq!(world.db.count("(TABLE t EXCEPT ALL TABLE oracle) x").await, 0);
        assert_eq!(world.db.count("(TABLE oracle EXCEPT ALL TABLE t) x").await, 0);
    }
}

/// The lines that the server refuses when each row comes by itself.
async fn one_by_one(world: &World, body: &str) -> BTreeSet<u64> {
    let client = world.db.connect().await;
    client.batch_execute("BEGIN").await.unwrap();
    let mut refused = BTreeSet::new();
    for (line, record) in (1u64..).zip(body.lines()).skip(1) {
        let values: Vec<String> = record.splitn(5, ',').map(|field| format!("'{}'", field.trim_matches('"'))).collect();
        let insert = format!("SAVEPOINT s; INSERT INTO oracle VALUES ({}); RELEASE SAVEPOINT s", values.join(", "));
        if client.batch_execute(&insert).await.is_err() {
            client.batch_execute("ROLLBACK TO SAVEPOINT s").await.unwrap();
            refused.insert(line);
        }
    }
    client.batch_execute("COMMIT").await.unwrap();
    refused
}

/// A linear congruential generator (Knuth's MMIX): the same rows in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

#[tokio::test]
async fn many_duplicates_among_very_many_rows() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (id int PRIMARY KEY, pad text)").await;
    let mut body = String::from("id,pad\n");
    let mut bad = Vec::new();
    for line in 2..=300_001u64 {
        let twice = line % 601 == 0;
        let id = if twice { line - 1 } else { line };
        let id = if line % 7001 == 0 { "nonsense".to_owned() } else { id.to_string() };
        if twice || line % 7001 == 0 {
            bad.push(line);
        }
        writeln!(body, "{id},{:060}", line).unwrap();
    }
    let answer = world.load_csv("t?on_error=skip", body).await;
    let job = answer.committed(300_000 - bad.len() as u64);
    let lines: Vec<u64> = report(&world, job).await.iter().map(|reject| reject["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, bad);
    assert_eq!(world.db.count("t WHERE pad::int <> id").await, 0);
}

#[tokio::test]
async fn too_many_are_too_many_and_nothing_is_loaded() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (0)").await;
    let mut body = String::from("id\n");
    for line in 2..1002 {
        let id = if line % 50 == 2 { "x".to_owned() } else { (line - line % 50).to_string() };
        writeln!(body, "{id}").unwrap();
    }
    // 20 are no numbers; the other 980 have 21 values, of which one was there already.
    for (options, rejected) in [("reject_limit=979", 980), ("reject_limit=0", 1), ("reject_limit=10", 11)] {
        let answer = world.load_csv(&format!("t?on_error=skip&{options}"), body.clone()).await;
        let problem = answer.problem(422, "too-many-rejects");
        assert_eq!(problem["rejects_url"], format!("/v1/jobs/{}/rejects", problem["job_id"].as_str().unwrap()));
        let job = world.job(problem["job_id"].as_str().unwrap()).await;
        assert_eq!(
            (&job["state"], &job["rows_loaded"], &job["rows_rejected"]),
            (&json!("failed"), &json!(0), &json!(rejected)),
            "{job:#}"
        );
        assert_eq!(report(&world, &job).await.len(), rejected);
        assert_eq!(world.db.count("t").await, 1);
    }
    world.load_csv("t?on_error=skip&reject_limit=980", body.clone()).await.committed(20);
    world.db.sql("DELETE FROM t").await;
    let answer = world.load_csv("t?on_error=skip&reject_ratio=0.5", body.clone()).await;
    let problem = answer.problem(422, "too-many-rejects");
    assert!(problem["detail"].as_str().unwrap().contains("979 of 1000"), "{problem:#}");
    assert_eq!(world.db.count("t").await, 0);
    world.load_csv("t?on_error=skip&reject_ratio=0.98", body).await.committed(21);
}

#[tokio::test]
async fn a_report_that_grows_too_large_ends_the_load() {
    let world = World::with(&["--reject-report-bytes-max", "100000"]).await;
    world.db.sql("CREATE TABLE t (id int, pad text)").await;
    let bad = format!("x,{}\n", "p".repeat(30_000));
    world.load_csv("t?on_error=skip", format!("id,pad\n1,\n{}", bad.repeat(3))).await.committed(1);
    let answer = world.load_csv("t?on_error=skip", format!("id,pad\n1,\n{}", bad.repeat(4))).await;
    let problem = answer.problem(422, "too-many-rejects");
    assert!(problem["detail"].as_str().unwrap().contains("--reject-report-bytes-max"), "{problem:#}");
    assert_eq!(world.db.count("t").await, 1);
}

#[tokio::test]
async fn lines_of_json_are_turned_away_and_can_be_sent_again() {
    let world = World::new().await;
    world
        .db
        .sql("CREATE TABLE t (id int PRIMARY KEY, tags text[], made timestamp DEFAULT '2024-01-01')")
        .await;
    let lines = [
        r#"{"id":1,"tags":["a"]}"#,
        r#"{"id":1,"tags":["b"]}"#,
        r#"{"id":3,"tags":["#,
        "[4]",
        r#"{"id":5,"unknown":1}"#,
        r#"{"id":6,"id":6}"#,
        "",
        r#"{"id":1e99}"#,
        r#"{"id":8,"made":"2023-01-01"}"#,
        r#"{"id":9,"made":"2023-01-99"}"#,
        "{}",
        r#"{"id":12}"#,
        r#"{"id":8}"#,
    ];
    let answer = world.load("t?on_error=skip", NDJSON, lines.join("\n")).await;
    let job = answer.committed(3);
    let found = pick(&report(&world, job).await, &["line"]);
    assert_eq!(found, json!([[2], [3], [4], [5], [6], [8], [10], [11], [13]]));
    let (content_type, bytes) = records(&world, job, "application/jsonl").await;
    assert_eq!(content_type, "application/jsonl");
    let bad: Vec<&str> = [2, 3, 4, 5, 6, 8, 10, 11, 13].iter().map(|line| lines[line - 1]).collect();
    assert_eq!(String::from_utf8(bytes).unwrap(), bad.join("\n") + "\n");
    assert_eq!(world.db.count("t WHERE id IN (1, 8, 12)").await, 3);
}

#[tokio::test]
async fn the_text_format_too() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (id int PRIMARY KEY, note text)").await;
    let answer = world.load("t?on_error=skip", TSV, "id\tnote\n1\ta\\tb\n1\tc\\\\\nx\t\\N\n2\td\n").await;
    let job = answer.committed(2);
    let (content_type, bytes) = records(&world, job, TSV).await;
    assert_eq!((content_type.as_str(), bytes.as_slice()), (TSV, &b"id\tnote\n1\tc\\\\\nx\t\\N\n"[..]));
    let response = world
        .http
        .get(world.url(job["rejects_url"].as_str().unwrap()))
        .header(ACCEPT, "text/csv")
        .send()
        .await
        .unwrap();
    Answer::of(response).await.problem(406, "not-acceptable");
}

#[tokio::test]
async fn values_of_arrow_are_shown_as_csv() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (id int2 PRIMARY KEY, note text, d date)").await;
    let first = batch([
        ("id", ints(&[1, 70_000, 3, 3])),
        ("note", strings(&["a", "b,\"c\"", "", "e"])),
        ("d", strings(&["2024-01-01", "2024-01-01", "Jan 8, 1999", "2024-01-01"])),
    ]);
    let second = batch([
        ("id", ints(&[1, 6, 7])),
        ("note", strings(&["x", "y", "z\n"])),
        ("d", strings(&["2024-01-01", "2024-01-01", "2024-99-01"])),
    ]);
    let answer = world.load("t?on_error=skip", arrow::STREAM, arrow::stream(&[first, second])).await;
    let job = answer.committed(3);
    let report = report(&world, job).await;
    let found = pick(&report, &["row", "line", "column", "sqlstate"]);
    assert_eq!(
        found,
        json!([[2, null, "id", "22003"], [4, null, null, "23505"], [5, null, null, "23505"], [7, null, "d", "22008"]])
    );
    let (content_type, bytes) = records(&world, job, "text/csv").await;
    assert_eq!(content_type, "text/csv; charset=utf-8; header=present");
    let text = String::from_utf8(bytes).unwrap();
    assert_eq!(
        text,
        "id,note,d\n70000,\"b,\"\"c\"\"\",2024-01-01\n3,e,2024-01-01\n1,x,2024-01-01\n7,\"z\n\",2024-99-01\n"
    );
    let corrected = text.replace("70000", "10").replace("\n3,", "\n4,").replace("\n1,", "\n5,").replace("-99-", "-09-");
    world.load_csv("t", corrected).await.committed(4);
    assert_eq!(world.db.count("t").await, 7);
}

#[tokio::test]
async fn the_report_outlives_a_load_that_fails_for_another_reason() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (id int, note text)").await;
    let answer = world.load_csv("t?on_error=skip", "id,note\n1,a\nx,b\n3,\"never closed").await;
    let problem = answer.problem(422, "unterminated-quote");
    let job = world.job(problem["job_id"].as_str().unwrap()).await;
    assert_eq!((&job["rows_rejected"], &job["rows_loaded"]), (&json!(1), &json!(0)));
    assert_eq!(pick(&report(&world, &job).await, &["line", "value"]), json!([[3, "x"]]));
    assert_eq!(world.db.count("t").await, 0);

    world.db.sql("CREATE TABLE late (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)").await;
    let answer = world.load_csv("late?on_error=skip", "id\n1\nx\n1\n").await;
    let problem = answer.problem(422, "bad-row");
    assert_eq!(problem["sqlstate"], "23505", "{problem:#}");
    assert_eq!(world.job(problem["job_id"].as_str().unwrap()).await["rows_rejected"], 1);
    assert_eq!(world.db.count("late").await, 0);
}

#[tokio::test]
async fn while_a_load_runs_its_rejects_are_counted_and_not_yet_shown() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (id int)").await;
    let load = Trickle::begin(&world, "t?on_error=skip");
    load.send("id\nx\ny\n1\n");
    let job = world.wait_for_job(|job| job["rows_rejected"] == 2).await;
    let answer = world.get(&format!("/v1/jobs/{}/rejects", job["id"].as_str().unwrap())).await;
    answer.problem(409, "still-running");
    let answer = load.finish().await;
    assert_eq!(report(&world, answer.committed(1)).await.len(), 2);
}

#[tokio::test]
async fn without_rejects_the_report_is_empty() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (id int)").await;
    let answer = world.load_csv("t?on_error=skip", "id\n1\n").await;
    let job = answer.committed(1);
    assert_eq!(
        (&job["rows_rejected"], &job["rejects_url"], &job["rejected_by_column"]),
        (&json!(0), &Value::Null, &json!({}))
    );
    let answer = world.get(&format!("/v1/jobs/{}/rejects", job["id"].as_str().unwrap())).await;
    assert_eq!((answer.status.as_u16(), answer.json), (200, json!("")));
    world
        .get("/v1/jobs/0193a0ce-0000-7000-8000-000000000000/rejects")
        .await
        .problem(404, "job-not-found");
    world.load_csv("t?on_error=skip", "id\n").await.problem(422, "no-rows");
    let answer = world.load_csv("t?on_error=skip", "id\nx\n").await;
    assert_eq!(answer.committed(0)["rows_rejected"], 1);
}

#[tokio::test]
async fn options_that_make_no_sense_are_refused() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (id int)").await;
    for options in [
        "on_error=ignore",
        "reject_limit=5",
        "on_error=abort&reject_ratio=0.1",
        "on_error=skip&reject_limit=-1",
        "on_error=skip&reject_limit=1000001",
        "on_error=skip&reject_ratio=1.5",
        "on_error=skip&reject_ratio=NaN",
        "on_error=skip&segments=one",
    ] {
        world.load_csv(&format!("t?{options}"), "id\n1\n").await.problem(400, "invalid-option");
    }
    assert_eq!(world.db.count("t").await, 0);
}

/// Rows of one page of the report and those of the next, and records large and small.
#[tokio::test]
async fn a_long_report_is_whole_and_in_order() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (id int, pad text)").await;
    let mut body = String::from("id,pad\n");
    let mut expected = BTreeMap::new();
    for line in 2..3_000u64 {
        let pad = "p".repeat(if line % 400 == 0 { 700_000 } else { 10 });
        expected.insert(line, format!("x{line},{pad}"));
        writeln!(body, "x{line},{pad}").unwrap();
    }
    let answer = world.load_csv("t?on_error=skip&reject_limit=5000", body).await;
    let job = answer.committed(0);
    let lines: Vec<u64> = report(&world, job).await.iter().map(|reject| reject["line"].as_u64().unwrap()).collect();
    assert!(lines.iter().eq(expected.keys()), "{} lines", lines.len());
    let (_, bytes) = records(&world, job, "text/csv").await;
    assert!(String::from_utf8(bytes).unwrap().lines().skip(1).eq(expected.values().map(String::as_str)));
}
