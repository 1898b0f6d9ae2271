//! A JSON value is either stored as exactly the value that `json_populate_record` makes of it, or it is refused, and then by PostgreSQL
//! too, with the same SQLSTATE. The oracle is the server, on the same lines; docs/NDJSON.md lists the exceptions.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::json;

use crate::support::{Database, World};

const NDJSON: &str = "application/x-ndjson";

const TYPES: &str = "
    CREATE EXTENSION hstore;
    CREATE EXTENSION citext;
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'very happy');
    CREATE TYPE pair AS (a int, \"B b\" text);
    CREATE TYPE deep AS (id numeric(6,2), pairs pair[], doc json, tags text[], one pair, spot point);
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE DOMAIN given AS text NOT NULL;
    CREATE DOMAIN document AS json;
    CREATE DOMAIN few AS int[] CHECK (array_length(VALUE, 1) < 3);
    CREATE DOMAIN whole AS pair CHECK ((VALUE).a IS NOT NULL);
    CREATE TYPE strict AS (p positive, g given);";

/// Tried on every type.
const COMMON: [&str; 30] = [
    "null",
    "true",
    "false",
    "0",
    "1",
    "-7",
    "1.5",
    "1e2",
    "1e400",
    "123456789012345678901234567890.5",
    r#""""#,
    r#"" 1 ""#,
    r#""x""#,
    r#""null""#,
    r#""ä\u00e9\/\ud83d\ude00""#,
    r#""\u0000""#,
    r#""\ud800""#,
    r#""a\tb\\c\nd\re\"f""#,
    "[]",
    "[[]]",
    "[1, 2]",
    "[1,[2]]",
    "[[1],2]",
    r#"["x", null, "NULL", "a,b", "{", "\"\\"]"#,
    "{}",
    r#"{"a": 1}"#,
    r#"{"a" :"x","B b": [1, null]}"#,
    "01",
    "nul",
    "\"open",
];

const CASES: [(&str, &[&str]); 55] = [
    ("bool", &[r#""yes""#, r#""of""#, "2"]),
    ("\"char\"", &[r#""abc""#]),
    ("int2", &["32767", "32768", "32767.5", "99999.5", "-0", r#""0x1F""#, "1E1"]),
    ("int4", &["2147483647", "2147483648", r#""1_000""#]),
    ("int8", &["9223372036854775807", "-9223372036854775808", "9223372036854775808"]),
    ("oid", &["4294967295", "4294967296"]),
    ("float4", &["16777217", "3.5e38", "1e-46", r#""NaN""#, r#""-inf""#, "-0.0"]),
    ("float8", &["0.1", "5e-324", "1e-400", "2.2250738585072011e-308", r#""Infinity""#]),
    ("numeric", &["1.50", "-0.00", "1e-20", "1E+5", "9e131071", "9e131072", r#""NaN""#]),
    ("numeric(4,1)", &["999.94", "999.95", "0.05"]),
    ("money", &["12.34", r#""$1,234.56""#]),
    ("text", &[r#"{ "kept" : [ 1.0 , "as it" ] }"#]),
    ("varchar(3)", &[r#""abcd""#, r#""abc  ""#, r#""äöü""#, "[1]", "1234"]),
    ("char(3)", &[r#""a""#, r#""abcd""#]),
    ("name", &[r#""a name""#]),
    ("citext", &[r#""AbC""#]),
    ("bytea", &[r#""\\x00ff""#, r#""\\001a""#, r#""\\xzz""#]),
    ("date", &[r#""2024-02-29""#, r#""2023-02-29""#, r#""Jan 8, 1999""#, r#""infinity""#, "20240229"]),
    ("time", &[r#""24:00:00""#, r#""12:00 PM""#, r#""25:00""#]),
    ("timetz", &[r#""12:00:00+02""#]),
    ("timestamp", &[r#""2024-02-29T12:34:56.789""#, r#""2024-02-29 12:34:56Z""#, r#""yesterday-ish""#]),
    ("timestamp(3)", &[r#""2024-02-29 12:34:56.7895""#]),
    (
        "timestamptz",
        &[r#""2024-02-29T12:34:56.789Z""#, r#""2024-02-29 12:34 Europe/Berlin""#, r#""2024-02-29 12:34""#],
    ),
    ("interval", &[r#""P1DT2H""#, r#""4 months""#]),
    ("uuid", &[r#""a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11""#]),
    (
        "json",
        &[r#"{"a":1,"a":2,"b":"\u0041\/"}"#, r#""\b\f\u001f\u007f\u2028""#, r#"{"a":{"b":"\u0000"}}"#],
    ),
    ("jsonb", &[r#"{"a":1,"a":2,"b":"\u0041\/"}"#, "1e200000", r#""\u00e9""#]),
    ("inet", &[r#""10.0.0.1/8""#]),
    ("macaddr", &[r#""08:00:2b:01:02:03""#]),
    ("bit(3)", &["101", r#""101""#, r#""10""#]),
    ("varbit", &["101"]),
    ("pg_lsn", &[r#""16/B374D848""#]),
    ("int4range", &["[1,5]", r#""[1,5)""#, r#""empty""#]),
    ("int4multirange", &[r#""{[1,5),[7,9)}""#]),
    ("point", &[r#""(1,2)""#]),
    ("tsvector", &[r#""a fat cat""#]),
    ("mood", &[r#""very happy""#, r#""glad""#]),
    ("positive", &["-1", "5"]),
    ("given", &[r#""ok""#]),
    ("document", &[r#""\u0041""#]),
    ("few", &["[1,2,3]", "[7]"]),
    ("whole", &[r#"{"a":null}"#, r#"{"a":5,"B b":"x"}"#, r#""(1,x)""#]),
    (
        "int[]",
        &["[[1,2],[3,4]]", "[[1],[2,3]]", "[[[[[[[1]]]]]]]", r#""{1,2}""#, "[null]", r#"["1", 2]"#, "[[],[]]"],
    ),
    ("numeric(4,1)[]", &["[1.25, 999.95]", "[1.25, 999.94]"]),
    ("text[]", &[r#"[1.0, true, {"a": [1]}, " x "]"#, "[[1,null],[\"a\",{}]]"]),
    ("json[]", &[r#"["\u0041\"", 1, {"a" : 1}, null, [1]]"#, r#"[[{"a":1}],[2]]"#]),
    ("mood[]", &[r#"["sad", null, "very happy"]"#, r#"["glad"]"#]),
    ("point[]", &[r#"["(1,2)", null]"#]),
    ("box[]", &[r#"["(1,2),(3,4)", "(0,0),(1,1)"]"#]),
    ("pair", &[r#"{"B b": {"x": "\""}, "a": "12"}"#, r#"{"a": "x"}"#, r#""(7,\"x y\")""#, r#"{"a": {}}"#]),
    (
        "pair[]",
        &[r#"[{"a":1,"B b":"q\"(\\,"},null,"(2,z)",{}]"#, r#"[[{"a":1}],[{"a":2}]]"#, r#"[1]"#, r#"[{"a":[]}]"#],
    ),
    (
        "deep",
        &[
            r#"{"id": 12.345, "pairs": [{"a": 1, "B b": "x\"y"}, null], "doc": {"k": "\u0041\/ \""}, "tags": ["a\"", null], "one": {"a": 5}}"#,
            r#"{"spot": "(1,2)", "doc": "a \"word\"", "tags": [["a","b"],["c","d"]]}"#,
            r#"{"one": [1]}"#,
            r#"{"pairs": {"a": 1}}"#,
            r#"{"id": 12345.678}"#,
        ],
    ),
    ("strict", &[r#"{"p": 1, "g": "x"}"#, r#"{"p": 1}"#, r#"{"p": -1, "g": "x"}"#]),
    ("strict[]", &[r#"[{"p": 1, "g": "x"}]"#, r#"[{"p": 1}]"#]),
    ("hstore", &[r#""a=>1""#]),
];

/// Where we are stricter, by the type and the value: `json_populate_record` ignores such keys.
const ONLY_OURS_REFUSES: [(&str, &str); 5] = [
    ("pair", r#"{"a": 1, "c": 2}"#),
    ("pair", r#"{"a": 1, "a": 2}"#),
    ("pair[]", r#"[{"A": 1}]"#),
    ("deep", r#"{"a": 1}"#),
    ("strict[]", r#"[{"p": 1, "g": "x", "h": 1}]"#),
];

/// What `json_populate_record` says to a line: nothing, or a SQLSTATE.
async fn populate(db: &Database, line: &str) -> Option<String> {
    let sql = "INSERT INTO theirs SELECT * FROM json_populate_record(NULL::theirs, $1::text::json)";
    let result = db.client.execute(sql, &[&line]).await;
    result.err().map(|error| error.as_db_error().unwrap().code().code().to_owned())
}

/// The stored values in their binary form, because 1.0 and 1.00 are equal and not the same.
async fn stored(db: &Database, table: &str) -> Vec<Option<String>> {
    let send = "SELECT typsend::regproc::text FROM pg_type JOIN pg_attribute ON atttypid = pg_type.oid \
                WHERE attrelid = 'theirs'::regclass AND attname = 'v'";
    let send = db.texts(send).await.remove(0).unwrap();
    db.texts(&format!("SELECT encode({send}(v), 'hex') FROM {table} ORDER BY ctid")).await
}

async fn create(db: &Database, type_name: &str) {
    db.sql(&format!(
        "DROP TABLE IF EXISTS ours, theirs; CREATE TABLE ours (v {type_name}); CREATE TABLE theirs (v {type_name})"
    ))
    .await;
}

#[tokio::test]
async fn every_value_is_what_json_populate_record_makes_of_it() {
    let world = World::new().await;
    world.db.sql(TYPES).await;
    let (mut accepted, mut refused, mut differences) = (0, 0, Vec::new());
    for (type_name, values) in CASES {
        create(&world.db, type_name).await;
        for value in COMMON.iter().chain(values) {
            if ONLY_OURS_REFUSES.contains(&(type_name, value)) || differs(type_name, value) {
                continue;
            }
            let line = format!("{{\"v\": {value} }}");
            let theirs = populate(&world.db, &line).await;
            let ours = world.load("ours", NDJSON, line).await;
            let sqlstate = (ours.status != 201).then(|| ours.json["sqlstate"].as_str().unwrap_or("?").to_owned());
            let values = (stored(&world.db, "ours").await, stored(&world.db, "theirs").await);
            if sqlstate != theirs || values.0 != values.1 {
                differences.push(format!(
                    "{type_name} {value}: {sqlstate:?} {:?}, and the server {theirs:?} {:?}",
                    values.0, values.1
                ));
            } else if theirs.is_none() {
                accepted += 1;
            } else {
                refused += 1;
            }
            world.db.sql("TRUNCATE ours, theirs").await;
        }
    }
    println!("{} types: stored alike {accepted}, refused alike {refused}", CASES.len());
    assert!(differences.is_empty(), "{differences:#?}");
    assert!(accepted > 500 && refused > 500, "accepted {accepted}, refused {refused}");
}

/// The exceptions of docs/NDJSON.md.
fn differs(type_name: &str, value: &str) -> bool {
    let has_stranger = value.contains("\"a\"") && matches!(type_name, "deep" | "strict");
    let opens_object = value.starts_with('{');
    opens_object && (has_stranger || type_name == "hstore")
}

#[tokio::test]
async fn the_exceptions_are_those_that_are_documented() {
    let world = World::new().await;
    world.db.sql(TYPES).await;
    for (type_name, value) in ONLY_OURS_REFUSES {
        create(&world.db, type_name).await;
        let line = format!("{{\"v\": {value} }}");
        assert_eq!(populate(&world.db, &line).await, None, "{type_name} {value}");
        let answer = world.load("ours", NDJSON, line).await;
        let problem = answer.problem(422, "bad-row");
        assert_eq!(problem["column"], "v");
        assert!(matches!(problem["sqlstate"].as_str(), Some("42703" | "22030")), "{type_name} {value}: {problem:#}");
    }
    create(&world.db, "hstore").await;
    world.load("ours", NDJSON, r#"{"v": {"a": 1.50, "b\"": null, "c": "x\\y"}}"#).await.committed(1);
    assert_eq!(world.db.count("ours WHERE v = hstore(ARRAY['a', '1.50', 'b\"', NULL, 'c', 'x\\y'])").await, 1);
    for (value, sqlstate) in [(r#"{"a": [1]}"#, "22P02"), (r#"{"a": 1, "a": 2}"#, "22030")] {
        let answer = world.load("ours", NDJSON, format!("{{\"v\": {value}}}")).await;
        assert_eq!(answer.problem(422, "bad-row")["sqlstate"], sqlstate, "{value}");
    }
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let text = "[ -~äé😀\u{1}-\u{1f}\u{2028}]{0,12}";
    let scalar = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<f64>().prop_map(serde_json::Value::from),
        text.prop_map(serde_json::Value::from),
    ];
    scalar.prop_recursive(4, 30, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::btree_map(text, inner, 0..4).prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

#[tokio::test]
async fn values_that_nobody_thought_of() {
    let world = World::new().await;
    world.db.sql(TYPES).await;
    let mut runner = TestRunner::deterministic();
    for (type_name, wrapped) in [
        ("json", "{}"),
        ("jsonb", "{}"),
        ("text", "{}"),
        ("text[]", "[{}, {}]"),
        ("json[]", "[{}]"),
        ("pair[]", "[{\"a\": 1, \"B b\": {}}]"),
    ] {
        create(&world.db, type_name).await;
        let mut body = String::new();
        let mut rows = 0;
        while rows < 300 {
            // An element of an array must not be one itself, or the dimensions may not match.
            let (one, other) = (
                any_json().new_tree(&mut runner).unwrap().current(),
                any_json().new_tree(&mut runner).unwrap().current(),
            );
            if type_name == "text[]" && (one.is_array() || other.is_array()) || type_name == "json[]" && one.is_array() {
                continue;
            }
            let value = wrapped.replacen("{}", &one.to_string(), 1);
            let value = if type_name == "text[]" { format!("[{one}, {other}]") } else { value };
            body.push_str(&format!("{}\n", format_args!("{{\"v\":{value}}}")));
            rows += 1;
        }
        let sql = "INSERT INTO theirs SELECT r.* FROM string_to_table($1, E'\\n') l, json_populate_record(NULL::theirs, l::json) r";
        world.db.client.execute(sql, &[&body.trim_end()]).await.unwrap();
        world.load("ours", NDJSON, body.clone()).await.committed(300);
        let (ours, theirs) = (stored(&world.db, "ours").await, stored(&world.db, "theirs").await);
        for (line, (ours, theirs)) in body.lines().zip(ours.iter().zip(&theirs)) {
            assert_eq!(ours, theirs, "{type_name}: {line}");
        }
    }
}

#[tokio::test]
async fn rows_with_many_columns_are_what_json_populate_record_makes_of_them() {
    let world = World::new().await;
    world.db.sql(TYPES).await;
    world
        .db
        .sql("CREATE TABLE theirs (id int, name text, at timestamptz, pay numeric, doc jsonb, tags text[], who pair, spot point); CREATE TABLE ours (LIKE theirs)")
        .await;
    let rows = [
        json!({"id": 1, "name": "a\tb\n\"", "at": "2024-02-29T12:00:00Z", "pay": 1.5, "doc": {"a": [1]}, "tags": ["x"], "who": {"a": 1}}),
        json!({"spot": "(1,2)", "who": null, "tags": [], "id": 2}),
        json!({}),
        json!({"at": "Feb 29 2024 12:00 Europe/Berlin", "name": "\\N", "doc": null, "tags": ["\\", "\"", "{}", "NULL", null, ""]}),
        json!({"doc": "text", "name": "\\.", "who": {"B b": "\\ \" ( ) ,"}, "pay": 1e300}),
    ];
    let body: String = rows.iter().map(|row| format!("{row}\n")).collect();
    for line in body.lines() {
        assert_eq!(populate(&world.db, line).await, None, "{line}");
    }
    world.load("ours", NDJSON, body).await.committed(5);
    let texts = async |table: &str| world.db.texts(&format!("SELECT t::text FROM {table} t ORDER BY ctid")).await;
    assert_eq!(texts("ours").await, texts("theirs").await);
}
