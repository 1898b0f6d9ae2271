//! NDJSON: objects to rows, keys to columns, defaults for what is missing, and a place for everything that is bad.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::support::{Answer, World};

const NDJSON: &str = "application/x-ndjson";

async fn load(world: &World, table_and_options: &str, body: impl Into<reqwest::Body>) -> Answer {
    world.load(table_and_options, NDJSON, body).await
}

async fn rows(world: &World, table: &str) -> Vec<String> {
    let rows = world.db.texts(&format!("SELECT t::text FROM {table} t ORDER BY ctid")).await;
    rows.into_iter().flatten().collect()
}

#[tokio::test]
async fn each_line_is_a_row() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (id int, name text, \"Ä b\" bool)").await;
    let bodies = [
        "{\"id\":1,\"name\":\"a\"}\n{\"name\":\"b\",\"id\":2}\n",
        "{\"id\":1,\"name\":\"a\"}\r\n\r\n{\"name\":\"b\",\"id\":2}",
        "\u{feff}\n \t\r\n  {\"id\" :\t1 ,\r \"name\":\"a\"} \n{\"na\\u006de\":\"b\",\"Ä b\":null,\"id\":\"2\"}",
    ];
    for body in bodies {
        load(&world, "t", body).await.committed(2);
        assert_eq!(rows(&world, "t").await, ["(1,a,)", "(2,b,)"], "{body:?}");
        world.db.sql("TRUNCATE t").await;
    }
    load(&world, "t", r#"{"Ä b":true}"#).await.committed(1);
    assert_eq!(rows(&world, "t").await, ["(,,t)"]);
    for (option, media) in [("", "application/jsonl"), ("", "application/ndjson"), ("?format=ndjson", "application/octet-stream")] {
        let answer = world.load(&format!("t{option}"), media, "{\"id\":1}").await;
        assert_eq!(answer.committed(1)["format"], "ndjson");
    }
}

#[tokio::test]
async fn a_missing_key_is_the_columns_default_and_null_is_null() {
    let world = World::new().await;
    world
        .db
        .sql(
            "CREATE DOMAIN level AS int DEFAULT 7; \
             CREATE TABLE t (nr int GENERATED ALWAYS AS IDENTITY, id serial, kind text DEFAULT 'x', level level, note text, \
             spot point DEFAULT '(1,2)', twice int GENERATED ALWAYS AS (level * 2) STORED)",
        )
        .await;
    let lines = [
        (r#"{"note":"a"}"#, "(1,1,x,7,a,\"(1,2)\",14)"),
        (r#"{}"#, "(2,2,x,7,,\"(1,2)\",14)"),
        (r#"{"kind":null,"level":null}"#, "(3,3,,,,\"(1,2)\",)"),
        (r#"{"kind":"y","id":100}"#, "(4,100,y,7,,\"(1,2)\",14)"),
        (r#"{"spot":"(3,4)"}"#, "(5,4,x,7,,\"(3,4)\",14)"),
        (r#"{"spot":null,"nr":50}"#, "(50,5,x,7,,,14)"),
        (r#"{"note":"z"}"#, "(6,6,x,7,z,\"(1,2)\",14)"),
    ];
    let body: String = lines.iter().map(|(line, _)| format!("{line}\n")).collect();
    load(&world, "t", body).await.committed(7);
    assert_eq!(rows(&world, "t").await, lines.map(|(_, row)| row));
    for option in ["segments=one", "segments=adaptive"] {
        world.db.sql("TRUNCATE t RESTART IDENTITY").await;
        load(&world, &format!("t?{option}"), "{\"note\":\"a\"}\n{}\n{\"note\":\"b\"}\n").await.committed(3);
        assert_eq!(
            rows(&world, "t").await,
            ["(1,1,x,7,a,\"(1,2)\",14)", "(2,2,x,7,,\"(1,2)\",14)", "(3,3,x,7,b,\"(1,2)\",14)"]
        );
    }
    let answer = load(&world, "t?segments=one", "{\"note\":\"a\"}\n{\"id\":5}\n").await;
    let problem = answer.problem(422, "bad-row");
    assert_eq!(json!([problem["line"], problem["column"], problem["sqlstate"]]), json!([2, "id", "0A000"]));
}

#[tokio::test]
async fn rows_keep_their_order_whatever_they_give() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (nr serial, id int, d date, spot point, kind text DEFAULT 'x')").await;
    let mut body = String::new();
    for id in 1..=3000 {
        let kind = if id % 50 < 3 { ",\"kind\":\"y\"" } else { "" };
        let date = if id % 700 == 0 { "Jan 8, 1999" } else { "1999-01-08" };
        let spot = if id > 2000 && id % 9 == 0 { ",\"spot\":\"(1,2)\"" } else { "" };
        writeln!(body, "{{\"id\":{id},\"d\":\"{date}\"{kind}{spot}}}").unwrap();
    }
    load(&world, "t", body).await.committed(3000);
    assert_eq!(world.db.count("t WHERE nr <> id OR d <> '1999-01-08'").await, 0);
    assert_eq!(world.db.count("t WHERE kind = CASE WHEN id % 50 < 3 THEN 'y' ELSE 'x' END").await, 3000);
    assert_eq!(world.db.count("t WHERE (spot IS NOT NULL) = (id > 2000 AND id % 9 = 0)").await, 3000);
}

#[tokio::test]
async fn numbers_are_exact() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (i int8, n numeric, j json, b jsonb, s text)").await;
    let digits = format!("1{}.{}5", "0".repeat(3000), "0".repeat(3000));
    let body = format!(
        "{{\"i\":9007199254740993,\"n\":{digits},\"j\":{digits},\"b\":0.1000000000000000000001,\"s\":{digits}}}\n{{\"n\":1e4000,\"j\":1e4000,\"b\":-0.0}}\n"
    );
    load(&world, "t", body).await.committed(2);
    assert_eq!(
        world
            .db
            .count("t WHERE i = 9007199254740993 AND n::text = s AND j::text = s AND b::text = '0.1000000000000000000001'")
            .await,
        1
    );
    assert_eq!(world.db.count("t WHERE n = 1e4000 AND j::text = '1e4000' AND b::text = '0.0'").await, 1);
    let answer = load(&world, "t", format!("{{\"n\":{}}}", "9".repeat(200_000))).await;
    assert_eq!(answer.problem(422, "bad-row")["sqlstate"], "22003");
}

#[tokio::test]
async fn bad_lines_are_named() {
    let world = World::with(&["--record-bytes-max", "2000"]).await;
    world
        .db
        .sql(
            "CREATE TABLE t (id int, name varchar(3), must text NOT NULL DEFAULT 'x', need text NOT NULL, ia int[], \
             twice int GENERATED ALWAYS AS (id * 2) STORED)",
        )
        .await;
    let deep = format!("{{\"need\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    let deep_object = format!("{{\"need\":{}", "{\"a\":".repeat(300));
    // Each after a good line.
    let cases: [(&[u8], [Value; 2], &str); 32] = [
        (br#"{"id":1.0,"need":"a"}"#, [json!("id"), json!("22P02")], "integer"),
        (br#"{"id":"x","need":"a"}"#, [json!("id"), json!("22P02")], "integer"),
        (br#"{"id":{"a":1},"need":"a"}"#, [json!("id"), json!("22P02")], "integer"),
        (br#"{"id":99999999999,"need":"a"}"#, [json!("id"), json!("22003")], "integer"),
        (br#"{"name":"abcd","need":"a"}"#, [json!("name"), json!("22001")], "too long"),
        (br#"{"id":1}"#, [json!("need"), json!("23502")], "null value"),
        (br#"{"need":null}"#, [json!("need"), json!("23502")], "null value"),
        (br#"{"need":"a","must":null}"#, [json!("must"), json!("23502")], "null value"),
        (br#"{"need":"a","ia":{}}"#, [json!("ia"), json!("22P02")], "JSON array"),
        (br#"{"need":"a","ia":[1,"x"]}"#, [json!("ia"), json!("22P02")], "integer"),
        (br#"{"need":"a","nope":1}"#, [Value::Null, json!("42703")], "no column \"nope\""),
        (br#"{"need":"a","ID":1}"#, [Value::Null, json!("42703")], "but \"id\""),
        (br#"{"need":"a","twice":1}"#, [Value::Null, json!("42P10")], "generated"),
        (br#"{"need":"a","need":"a"}"#, [json!("need"), json!("22030")], "duplicate"),
        (br#"{"need":"a","\u006eeed":"a"}"#, [json!("need"), json!("22030")], "duplicate"),
        (br#"{"need":"\u0000"}"#, [json!("need"), json!("22P05")], "\\u0000"),
        (br#"{"need":"\ud83d"}"#, [json!("need"), json!("22P02")], "surrogate"),
        (br#"{"need":"\ud83d\n"}"#, [json!("need"), json!("22P02")], "surrogate"),
        (br#"{"need":"a"}{"need":"b"}"#, [Value::Null, json!("22P02")], "trailing characters at byte 13"),
        (br#"{"need":"a"}, "#, [Value::Null, json!("22P02")], "trailing characters"),
        (br#"{"need":"a",}"#, [Value::Null, json!("22P02")], "key must be a string at byte 13"),
        (br#"{"need":"a" "id":1}"#, [Value::Null, json!("22P02")], "expected `,` or `}`"),
        (br#"{"need":a}"#, [Value::Null, json!("22P02")], "expected value at byte 9"),
        (br#"{"need":"a"#, [Value::Null, json!("22P02")], "must not go beyond its line"),
        (b"{\"need\":\"a\"}\r{\"need\":\"a\"}", [Value::Null, json!("22P02")], "trailing characters"),
        (b"{\"need\":\"a\tb\"}", [Value::Null, json!("22P02")], "control character"),
        (b"{\"need\":\"a\0b\"}", [Value::Null, json!("22021")], "0x00"),
        (b"{\"need\":\"a\xffb\"}", [Value::Null, json!("22021")], "0xff"),
        (br#"[{"need":"a"}]"#, [Value::Null, json!("22023")], "jq"),
        (b"null", [Value::Null, json!("22023")], "JSON object"),
        (deep.as_bytes(), [json!("need"), json!("54001")], "128 levels"),
        (deep_object.as_bytes(), [json!("need"), json!("54001")], "128 levels"),
    ];
    let good = b"{\"id\":1,\"need\":\"a\"}\r\n\n";
    for (bad, place, words) in cases {
        for end in [&b""[..], b"\n{\"need\":\"z\"}\n"] {
            let body = [good, bad, end].concat();
            let answer = load(&world, "t", body).await;
            let problem = answer.problem(422, "bad-row");
            let shown = String::from_utf8_lossy(bad).into_owned();
            assert_eq!(json!([problem["line"], problem["byte_offset"]]), json!([3, good.len()]), "{shown}: {problem:#}");
            assert_eq!(json!([problem["column"], problem["sqlstate"]]), json!(place), "{shown}: {problem:#}");
            assert!(problem["detail"].as_str().unwrap().contains(words), "{words}: {problem:#}");
        }
    }
    let long = format!("{{\"need\":\"{}\"}}", "x".repeat(2000));
    for body in [long.clone(), format!("{{\"need\":\"a\"}}\n{long}\n"), format!("\n{{{}", "x".repeat(1_000_000))] {
        let answer = load(&world, "t", body).await;
        answer.problem(413, "record-too-large");
    }
    assert_eq!(world.db.count("t").await, 0);
    load(&world, "t", "{\"need\":\"a\"}").await.committed(1);
}

#[tokio::test]
async fn a_line_that_only_the_server_can_refuse_is_named_too() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (nr serial, id int PRIMARY KEY, d date)").await;
    let many: String = (1..20_000).map(|id| format!("{{\"id\":{id}}}\n")).collect();
    for (bad, sqlstate) in [("{\"id\":7}", "23505"), ("{\"id\":0,\"d\":\"Jan 32, 1999\"}", "22008"), ("{\"nr\":1,\"id\":7}", "23505")] {
        let answer = load(&world, "t", format!("{many}{bad}\n{{\"id\":-1}}\n")).await;
        let problem = answer.problem(422, "bad-row");
        assert_eq!(
            json!([problem["line"], problem["byte_offset"], problem["sqlstate"]]),
            json!([20_000, many.len(), sqlstate])
        );
    }
    assert_eq!(world.db.count("t").await, 0);
}

#[tokio::test]
async fn bodies_without_a_row() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (id int); CREATE TABLE s (id serial)").await;
    load(&world, "t", "").await.problem(422, "empty-body");
    for body in ["\n", " \r\n\n", "\u{feff}"] {
        load(&world, "t", body).await.problem(422, "no-rows");
    }
    // COPY has no way to say it.
    let answer = load(&world, "s", "{\"id\":5}\n{}\n").await;
    assert_eq!(answer.problem(422, "bad-row")["sqlstate"], "0A000");
    let gzipped = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03".to_vec();
    let answer = load(&world, "t", gzipped).await;
    assert!(answer.problem(422, "bad-row")["detail"].as_str().unwrap().contains("gzip"));
}

#[tokio::test]
async fn columns_are_the_only_keys_that_may_come() {
    let world = World::new().await;
    world
        .db
        .sql("CREATE TABLE t (id int, name text, must text NOT NULL DEFAULT 'x', twice int GENERATED ALWAYS AS (1) STORED)")
        .await;
    load(&world, "t?columns=name,id", "{\"id\":1}\n{\"name\":\"a\",\"id\":2}\n").await.committed(2);
    assert_eq!(rows(&world, "t").await, ["(1,,x,1)", "(2,a,x,1)"]);
    let answer = load(&world, "t?columns=name,id", "{\"id\":1}\n{\"must\":\"a\"}\n").await;
    let problem = answer.problem(422, "bad-row");
    assert_eq!(json!([problem["line"], problem["sqlstate"]]), json!([2, "42703"]));
    assert!(problem["detail"].as_str().unwrap().contains("columns="));
    for columns in ["nope", "twice", "id,id"] {
        let answer = load(&world, &format!("t?columns={columns}"), "{\"id\":1}").await;
        assert_eq!(answer.problem(422, "columns-mismatch").get("job_id"), None);
    }
    for option in ["columns=id,", "header=absent", "delimiter=;", "null=x", "format=csv"] {
        load(&world, &format!("t?{option}"), "{\"id\":1}").await.problem(400, "invalid-option");
    }
    assert_eq!(world.db.count("t").await, 2);
}

#[tokio::test]
async fn keys_that_come_in_any_order_and_look_odd() {
    let world = World::new().await;
    let names = ["plain", "with \"quotes\"", "back\\slash", "tab\there", "sPaCe d", "ключ", "plai", "plain2"];
    let list: Vec<String> = names.iter().map(|name| format!("\"{}\" text", name.replace('"', "\"\""))).collect();
    world.db.sql(&format!("CREATE TABLE t ({})", list.join(", "))).await;
    let mut body = String::new();
    for turn in 0..names.len() {
        let members = (0..names.len()).map(|at| names[(at * 3 + turn) % names.len()]);
        let object: Vec<String> = members.map(|name| format!("{}:{}", json!(name), json!(format!("{turn} {name}")))).collect();
        writeln!(body, "{{{}}}", object.join(",")).unwrap();
    }
    load(&world, "t", body).await.committed(8);
    for name in names {
        let quoted = name.replace('"', "\"\"");
        let wrong = format!(
            "t WHERE \"{quoted}\" NOT LIKE '_ %' OR substr(\"{quoted}\", 3) <> E'{}'",
            name.replace('\\', "\\\\")
        );
        assert_eq!(world.db.count(&wrong).await, 0, "{name}");
    }
}

#[tokio::test]
async fn a_huge_value_and_hostile_nesting() {
    let world = World::new().await;
    world
        .db
        .sql("CREATE TYPE c AS (a text); CREATE TYPE d AS (c c); CREATE TYPE e AS (d d); CREATE TABLE t (s text, e e)")
        .await;
    let text = "ä\\n".repeat(3 << 20);
    load(&world, "t", format!("{{\"s\":\"{text}\"}}\n")).await.committed(1);
    assert_eq!(world.db.count("t WHERE length(s) = 6 * 1024 * 1024 AND s LIKE E'ä\\n%'").await, 1);
    // Eight times as long as a literal, and that is over the limit.
    let quotes = "\\\"".repeat(3 << 20);
    let answer = load(&world, "t", format!("{{\"e\":{{\"d\":{{\"c\":{{\"a\":\"{quotes}\"}}}}}}}}")).await;
    assert_eq!(answer.problem(422, "bad-row")["sqlstate"], "54000");
    let answer = load(&world, "t", format!("{{\"s\":{}", "[".repeat(10 << 20))).await;
    assert_eq!(answer.problem(422, "bad-row")["sqlstate"], "54001");
}
