//! Whatever is wrong with a body or a request is said, with its place; the table stays as it was and the next load goes through.

use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Float64Array, Int64Array, NullArray, RecordBatch, StringArray};
use arrow::datatypes::Int8Type;
use serde_json::{Value, json};

use crate::support::arrow::{FILE, STREAM, file, stream};
use crate::support::{Answer, World};

async fn world() -> World {
    let world = World::with(&["--record-bytes-max", "1000", "--arrow-message-bytes-max", "100000"]).await;
    world
        .db
        .sql(
            "CREATE TABLE t (id int, name varchar(3), n numeric(4,1), d date, must text NOT NULL DEFAULT 'x', \
             twice int GENERATED ALWAYS AS (id * 2) STORED, spot point, j json); INSERT INTO t (id) VALUES (0)",
        )
        .await;
    world
}

/// Nothing was loaded, the job (if there is one) has failed with the same document, and the service takes the next load.
async fn nothing_happened(world: &World, answer: &Answer) {
    assert_eq!(world.db.count("t").await, 1, "{:#}", answer.json);
    if let Some(id) = answer.json["job_id"].as_str() {
        let job = world.job(id).await;
        assert_eq!((&job["state"], &job["rows_loaded"]), (&json!("failed"), &json!(0)));
        assert_eq!(job["error"], answer.json);
        assert!(answer.json["type"].as_str().unwrap().ends_with(job["reason"].as_str().unwrap()));
    }
    world.load_csv("t", "id\n1\n").await.committed(1);
    world.db.sql("DELETE FROM t WHERE id = 1").await;
}

fn fields(problem: &Value, names: &[&str]) -> Value {
    names.iter().map(|name| problem[*name].clone()).collect()
}

#[tokio::test]
async fn bad_rows_are_named_by_line_offset_and_column() {
    let world = world().await;
    let cases: [(&[u8], [Value; 4]); 15] = [
        (b"id\n1\nx7\n", [json!(3), json!(5), json!("id"), json!("22P02")]),
        (b"id\n99999999999\n", [json!(2), json!(3), json!("id"), json!("22003")]),
        (b"id,n\n1,1\n2,1000\n", [json!(3), json!(9), json!("n"), json!("22003")]),
        (b"id,n\n1,999.96\n", [json!(2), json!(5), json!("n"), json!("22003")]),
        (b"id,name\n1,abc\n2,abcd\n", [json!(3), json!(14), json!("name"), json!("22001")]),
        (b"id,d\n1,2023-02-29\n", [json!(2), json!(5), json!("d"), json!("22008")]),
        (b"id,must\n1,a\n2,\n", [json!(3), json!(12), json!("must"), json!("23502")]),
        (b"id,name\n1\n", [json!(2), json!(8), json!("name"), json!("22P04")]),
        (b"id,name\n1,a,b\n", [json!(2), json!(8), Value::Null, json!("22P04")]),
        (b"id,name\n1,a\n\n", [json!(3), json!(12), json!("name"), json!("22P04")]),
        (b"id,name\n1,\"a\nb\"\n2,\xff\n", [json!(4), json!(16), json!("name"), json!("22021")]),
        (b"id,name\n1,a\0\n", [json!(2), json!(8), json!("name"), json!("22021")]),
        (b"id,must,j\n1,a,{}\n1,b,{bad\n", [json!(3), json!(17), json!("j"), json!("22P02")]),
        (b"id\r\n1\r\n \r\n", [json!(3), json!(7), json!("id"), json!("22P02")]),
        (b"id\n1\n\"\"\n", [json!(3), json!(5), json!("id"), json!("22P02")]),
    ];
    for (body, expected) in cases {
        let answer = world.load_csv("t", body.to_vec()).await;
        let problem = answer.problem(422, "bad-row");
        assert_eq!(fields(problem, &["line", "byte_offset", "column", "sqlstate"]), json!(expected), "{:#}", problem);
        nothing_happened(&world, &answer).await;
    }
}

#[tokio::test]
async fn a_row_that_only_the_server_can_refuse_is_named_too() {
    let world = world().await;
    world
        .db
        .sql("ALTER TABLE t ADD CONSTRAINT positive CHECK (id >= 0); CREATE UNIQUE INDEX ON t (id)")
        .await;
    let many: String = (1..50_000).map(|id| format!("{id}\n")).collect();
    for (tail, sqlstate) in [("-1\n", "23514"), ("7\n", "23505")] {
        let answer = world.load_csv("t", format!("id\n{many}{tail}99999\n")).await;
        let problem = answer.problem(422, "bad-row");
        assert_eq!(problem["sqlstate"], sqlstate);
        assert_eq!(problem["line"], 50_001);
        assert_eq!(problem["byte_offset"], 3 + many.len());
        nothing_happened(&world, &answer).await;
    }
}

#[tokio::test]
async fn a_constraint_that_speaks_at_commit_only() {
    let world = world().await;
    world.db.sql("ALTER TABLE t ADD UNIQUE (id) DEFERRABLE INITIALLY DEFERRED").await;
    let answer = world.load_csv("t", "id\n5\n5\n").await;
    assert_eq!(answer.problem(422, "bad-row")["sqlstate"], "23505");
    nothing_happened(&world, &answer).await;
}

#[tokio::test]
async fn csv_bodies_that_are_no_table() {
    let world = world().await;
    let long = format!("id,must\n1,a\n2,{}\n", "x".repeat(1200));
    let endless = format!("id,must\n1,a\n2,\"{}", "x\n".repeat(100_000));
    let commas = format!("id\n{}\n", ",".repeat(900));
    let many_commas = ",".repeat(5000);
    let cases: [(&[u8], u16, &str, Value); 10] = [
        (commas.as_bytes(), 422, "bad-row", json!([2, 3])),
        (many_commas.as_bytes(), 422, "too-many-fields", json!([1, 0])),
        (b"", 422, "empty-body", json!([null, null])),
        (b"id\n", 422, "no-rows", json!([null, null])),
        (b"id", 422, "no-rows", json!([null, null])),
        (b"id,name\n1,a\n2,\"b\nc", 422, "unterminated-quote", json!([3, 12])),
        (b"id\n1\r\n", 422, "mixed-line-ends", json!([2, 3])),
        (b"id\n1\n\\.\n2\n", 422, "end-of-data-marker", json!([4, 8])),
        (long.as_bytes(), 413, "record-too-large", json!([3, 12])),
        (endless.as_bytes(), 413, "record-too-large", json!([3, 12])),
    ];
    for (body, status, name, place) in cases {
        let answer = world.load_csv("t", body.to_vec()).await;
        let problem = answer.problem(status, name);
        assert_eq!(fields(problem, &["line", "byte_offset"]), place, "{:#}", problem);
        nothing_happened(&world, &answer).await;
    }
}

#[tokio::test]
async fn columns_that_do_not_fit_are_listed_at_once() {
    let world = world().await;
    let answer = world.load_csv("t", "id,wrong,id,twice,spot\n1,2,3,4,5\n").await;
    let misfits = answer.problem(422, "columns-mismatch")["misfits"].as_array().unwrap();
    for part in ["no column \"wrong\"", "\"id\" is given more than once", "\"twice\" is generated"] {
        assert!(misfits.iter().any(|misfit| misfit.as_str().unwrap().contains(part)), "{part}: {misfits:?}");
    }
    nothing_happened(&world, &answer).await;

    world
        .db
        .sql("CREATE TABLE strict (a int NOT NULL, b int NOT NULL DEFAULT 1, c int GENERATED ALWAYS AS IDENTITY, d int)")
        .await;
    let missing = world.load_csv("strict", "d\n1\n").await;
    let expected = "column \"a\" is NOT NULL without a default, and is not given";
    assert_eq!(missing.problem(422, "columns-mismatch")["misfits"][0], expected);
    world.load_csv("strict", "a\n1\n").await.committed(1);

    let answer = world.load_csv("t?columns=id,nope", "id\n1\n").await;
    assert_eq!(answer.problem(422, "columns-mismatch").get("job_id"), None);
    let without_header = world.load_csv("t?header=absent", "1,a,1,2024-01-01,x,5,{}\n").await;
    assert_eq!(without_header.problem(422, "bad-row")["column"], "spot");
    nothing_happened(&world, &answer).await;
}

#[tokio::test]
async fn arrow_schemas_that_do_not_fit_are_listed_at_once() {
    let world = world().await;
    let array = |value: f64| Arc::new(Float64Array::from(vec![value])) as ArrayRef;
    let batch = RecordBatch::try_from_iter([
        ("id", array(1.0)),
        ("d", array(1.0)),
        ("wrong", array(1.0)),
        ("twice", array(1.0)),
        ("must", Arc::new(NullArray::new(1)) as ArrayRef),
    ])
    .unwrap();
    for (content_type, body) in [(STREAM, stream(std::slice::from_ref(&batch))), (FILE, file(std::slice::from_ref(&batch)))] {
        let answer = world.load("t", content_type, body).await;
        let misfits = answer.problem(422, "columns-mismatch")["misfits"].as_array().unwrap();
        for part in
            ["\"id\" of type integer does not take Arrow's Float64", "\"d\" of type date", "no column \"wrong\"", "\"twice\" is generated"]
        {
            assert!(misfits.iter().any(|misfit| misfit.as_str().unwrap().contains(part)), "{part}: {misfits:?}");
        }
        nothing_happened(&world, &answer).await;
    }
}

fn ids(values: Vec<Option<i64>>) -> RecordBatch {
    let musts = StringArray::from(vec!["m"; values.len()]);
    RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(Int64Array::from(values)) as ArrayRef, true),
        ("must", Arc::new(musts) as ArrayRef, true),
    ])
    .unwrap()
}

#[tokio::test]
async fn arrow_values_that_do_not_fit_are_named_by_row() {
    let world = world().await;
    let good = ids(vec![Some(1); 10]);
    let answer = world.load("t", STREAM, stream(&[good.clone(), ids(vec![None, Some(1 << 40)])])).await;
    let problem = answer.problem(422, "bad-row");
    assert_eq!(
        fields(problem, &["row", "column", "sqlstate", "value"]),
        json!([12, "id", "22003", "1099511627776"])
    );
    nothing_happened(&world, &answer).await;

    world.db.sql("ALTER TABLE t ADD CONSTRAINT positive CHECK (id >= 0)").await;
    let answer = world.load("t", STREAM, stream(&[good, ids(vec![Some(2), Some(-2)])])).await;
    assert_eq!(fields(answer.problem(422, "bad-row"), &["row", "sqlstate"]), json!([12, "23514"]));
    nothing_happened(&world, &answer).await;
}

#[tokio::test]
async fn arrow_bodies_that_are_cut_short_or_no_arrow_at_all() {
    let world = world().await;
    let batches = [ids(vec![Some(1); 100]), ids(vec![Some(2); 100])];
    let (whole_stream, whole_file) = (stream(&batches), file(&batches));
    for (content_type, whole) in [(STREAM, &whole_stream), (FILE, &whole_file)] {
        for kept in [4, 9, 100, whole.len() / 2, whole.len() - 8, whole.len() - 1] {
            let answer = world.load("t", content_type, whole[..kept].to_vec()).await;
            answer.problem(422, "truncated-arrow");
            nothing_happened(&world, &answer).await;
        }
        let answer = world.load("t", content_type, [whole.as_slice(), b"more"].concat()).await;
        assert_eq!(answer.status, 422, "{:#}", answer.json);
        nothing_happened(&world, &answer).await;
    }
    let stream_as_file = world.load("t", FILE, whole_stream.clone()).await;
    assert!(
        stream_as_file.problem(422, "not-arrow")["detail"]
            .as_str()
            .unwrap()
            .contains("looks like an Arrow IPC stream")
    );
    let file_as_stream = world.load("t", STREAM, whole_file).await;
    assert!(
        file_as_stream.problem(422, "not-arrow")["detail"]
            .as_str()
            .unwrap()
            .contains("looks like an Arrow IPC file")
    );
    for body in ["id\n1\n", "{}", "PAR1 and so on", "\0\0\0\0\0\0\0\0"] {
        let answer = world.load("t", STREAM, body).await;
        answer.problem(422, "not-arrow");
        nothing_happened(&world, &answer).await;
    }
    world.load("t", STREAM, "").await.problem(422, "empty-body");
    world.load("t", STREAM, stream(&[batches[0].slice(0, 0)])).await.problem(422, "no-rows");
}

#[tokio::test]
async fn hostile_arrow_lengths_and_flipped_bytes_do_no_harm() {
    let world = world().await;
    let huge_metadata = [&[0xFF; 4][..], &0x7FFF_FFF0u32.to_le_bytes(), &[0; 64]].concat();
    world.load("t", STREAM, huge_metadata).await.problem(413, "record-too-large");
    let large = ids(vec![Some(1); 20_000]);
    world.load("t", STREAM, stream(&[large])).await.problem(413, "record-too-large");

    // Every byte of the schema and of the first batch's head, flipped: refused or (names and padding) not, but never a panic or a hang.
    let body = stream(&[ids(vec![Some(1); 3])]);
    for at in (0..body.len()).step_by(7) {
        let mut flipped = body.clone();
        flipped[at] ^= 0x55;
        let answer = world.load("t", STREAM, flipped).await;
        assert!([201, 413, 422].contains(&answer.status.as_u16()), "byte {at}: {:#}", answer.json);
        world.db.sql("DELETE FROM t WHERE id IS DISTINCT FROM 0").await;
    }
    world.load_csv("t", "id\n1\n").await.committed(1);
}

#[tokio::test]
async fn small_arrow_bodies_that_would_become_huge() {
    let world = world().await;
    // One value that every column and row shares: the message is small, a row is not.
    let long: DictionaryArray<Int8Type> = [Some("x".repeat(600).as_str())].into_iter().collect();
    let long: ArrayRef = Arc::new(long);
    world.db.sql("CREATE TABLE wide (a text, b text)").await;
    let batch = RecordBatch::try_from_iter([("a", Arc::clone(&long)), ("b", long)]).unwrap();
    let answer = world.load("wide", STREAM, stream(&[batch])).await;
    assert_eq!(answer.problem(413, "record-too-large")["row"], 1);

    let none = RecordBatch::try_new_with_options(
        Arc::new(arrow::datatypes::Schema::empty()),
        vec![],
        &arrow::array::RecordBatchOptions::new().with_row_count(Some(3)),
    );
    let answer = world.load("t", STREAM, stream(&[none.unwrap()])).await;
    assert_eq!(answer.problem(422, "columns-mismatch")["misfits"], json!(["the body has no columns"]));
    nothing_happened(&world, &answer).await;
}

#[tokio::test]
async fn a_nul_in_arrow_is_refused_and_its_job_says_the_same() {
    let world = world().await;
    let text =
        |name: &str, value: &str| RecordBatch::try_from_iter([(name, Arc::new(StringArray::from(vec![value])) as ArrayRef)]).unwrap();
    for (batch, name) in [(text("must", "a\0b"), "bad-row"), (text("id", "1\0"), "bad-row"), (text("mu\0st", "a"), "columns-mismatch")] {
        let answer = world.load("t", STREAM, stream(&[batch])).await;
        answer.problem(422, name);
        nothing_happened(&world, &answer).await;
    }
}

#[tokio::test]
async fn tables_that_cannot_be_loaded() {
    let world = world().await;
    world
        .db
        .sql(
            "CREATE VIEW v AS SELECT 1 AS a; CREATE SCHEMA other; CREATE TABLE other.t (a int); \
             CREATE TABLE \"other.t\" (a int)",
        )
        .await;
    let injection = "%22%3B%20drop%20table%20t%3B%20--";
    for name in ["nope", "public.nope", injection, "t%27%20OR%201=1", "pgsluice.jobs", "pg_catalog.pg_class", "T", "%00"] {
        let answer = world.load_csv(name, "id\n1\n").await;
        assert_eq!(answer.problem(404, "table-not-found").get("job_id"), None);
        nothing_happened(&world, &answer).await;
    }
    world.load_csv("v", "a\n1\n").await.problem(422, "unsupported-table");
    world.load_csv("other.t", "a\n1\n").await.problem(400, "ambiguous-table");
    world.load_csv("%FF", "a\n1\n").await.problem(400, "invalid-path");
}

#[tokio::test]
async fn tables_that_the_role_may_not_load() {
    let world = world().await;
    world
        .db
        .sql(
            "DROP ROLE IF EXISTS loader; CREATE ROLE loader LOGIN; CREATE TABLE walled (id int); ALTER TABLE walled ENABLE ROW LEVEL SECURITY; \
             GRANT INSERT ON walled TO loader; GRANT ALL ON SCHEMA pgsluice TO loader; GRANT ALL ON ALL TABLES IN SCHEMA pgsluice TO loader",
        )
        .await;
    let url = world.db.url.replacen("postgres@", "loader@", 1);
    let service = crate::support::Service::start(&url, &[]).await;
    let restricted = World { service, http: world.http.clone(), db: crate::support::Database::create().await };
    restricted.load_csv("t", "id\n1\n").await.problem(403, "table-forbidden");
    let walled = restricted.load_csv("walled", "id\n1\n").await;
    assert!(walled.problem(422, "unsupported-table")["detail"].as_str().unwrap().contains("row-level security"));
    world.db.sql("GRANT INSERT ON t TO loader").await;
    restricted.load_csv("t", "id\n1\n").await.committed(1);
    drop(restricted);
    world.db.sql("DROP OWNED BY loader").await;
}
