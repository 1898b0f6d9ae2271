//! Bodies written by the clients that people have.

use crate::support::arrow::{FILE, STREAM};
use crate::support::{World, python, run};

const PYARROW: &str = r#"
import sys, datetime, decimal, uuid
import pyarrow as pa
n = 5000
D = decimal.Decimal
table = pa.table({
    "i2": pa.array([i % 100 for i in range(n)], pa.int16()),
    "i4": pa.array([i - 2500 if i % 7 else None for i in range(n)], pa.int64()),
    "i8": pa.array([i * 10**14 for i in range(n)], pa.uint64()),
    "f4": pa.array([i / 8 for i in range(n)], pa.float32()),
    "f8": pa.array([i / 3 for i in range(n)]),
    "num": pa.array([D(i) / 100 for i in range(n)], pa.decimal128(15, 2)),
    "wide": pa.array([D(i) * 10**40 for i in range(n)], pa.decimal256(60, 3)),
    "flt": pa.array([i / 100 for i in range(n)]),
    "name": pa.array([f"näme {i}" for i in range(n)], pa.large_string()),
    "kind": pa.array(["ab"[i % 2] for i in range(n)]).dictionary_encode(),
    "raw": pa.array([bytes([i % 256]) for i in range(n)], pa.binary()),
    "day": pa.array([datetime.date(1970, 1, 1) + datetime.timedelta(i) for i in range(n)]),
    "clock": pa.array([datetime.time(i % 24, 5, 7, 9) for i in range(n)]),
    "wall": pa.array([datetime.datetime(2024, 1, 1, 0, i % 60) for i in range(n)], pa.timestamp("ms")),
    "at": pa.array([datetime.datetime(2024, 1, 1, 0, i % 60) for i in range(n)], pa.timestamp("ns", "America/New_York")),
    "u": pa.array([uuid.UUID(int=i).bytes for i in range(n)], pa.binary(16)),
    "j": pa.array(['{"a": %d}' % i for i in range(n)], pa.string_view()),
    "flag": pa.array([i % 3 == 0 for i in range(n)]),
})
options = pa.ipc.IpcWriteOptions(compression=None if sys.argv[2] == "none" else sys.argv[2], emit_dictionary_deltas=False)
new = pa.ipc.new_stream if sys.argv[1] == "stream" else pa.ipc.new_file
with new(sys.stdout.buffer, table.schema, options=options) as writer:
    writer.write_table(table, max_chunksize=700)
"#;

const TABLE: &str = "(i2 int2, i4 int4, i8 numeric, f4 real, f8 float8, num numeric(15,2), wide numeric, flt numeric(15,2), name text, \
     kind char(1), raw bytea, day date, clock time, wall timestamp, at timestamptz, u uuid, j jsonb, flag bool)";

/// The same table by PostgreSQL's own means.
const EXPECTED: &str = "INSERT INTO expected SELECT i % 100, CASE WHEN i % 7 <> 0 THEN i - 2500 END, i * 100000000000000::numeric, i / 8.0, i / 3::float8, \
     i / 100.0, (i * 1e40)::numeric(60,3), i / 100.0, 'näme ' || i, CASE i % 2 WHEN 0 THEN 'a' ELSE 'b' END, set_byte('\\x00', 0, i % 256), \
     date '1970-01-01' + i, make_time(i % 24, 5, 7.000009), timestamp '2024-01-01' + make_interval(mins => i % 60), \
     (timestamp '2024-01-01' + make_interval(mins => i % 60)) AT TIME ZONE 'UTC', lpad(to_hex(i), 32, '0')::uuid, \
     jsonb_build_object('a', i), i % 3 = 0 FROM generate_series(0, 4999) i";

#[tokio::test]
async fn pyarrow_streams_and_files() {
    let world = World::new().await;
    world.db.sql(&format!("CREATE TABLE expected {TABLE}; {EXPECTED}")).await;
    for (container, media, compression) in
        [("stream", STREAM, "none"), ("file", FILE, "none"), ("file", FILE, "lz4"), ("stream", STREAM, "zstd")]
    {
        let mut writer = std::process::Command::new(python());
        let output = writer.args(["-c", PYARROW, container, compression]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        world.db.sql(&format!("DROP TABLE IF EXISTS t; CREATE TABLE t {TABLE}")).await;
        world.load("t", media, output.stdout).await.committed(5000);
        for (one, other) in [("t", "expected"), ("expected", "t")] {
            let difference = format!("SELECT t::text FROM {one} t EXCEPT ALL SELECT t::text FROM {other} t LIMIT 2");
            let rows = world.db.texts(&difference).await;
            assert!(rows.is_empty(), "{container} {compression}: {one} has rows that {other} has not: {rows:#?}");
        }
    }
}

const POLARS: &str = r#"
import sys, polars, datetime
frame = polars.DataFrame({"id": list(range(3000)), "name": [f"n{i}" for i in range(3000)]})
frame = frame.with_columns(day=polars.lit(datetime.date(2024, 2, 29)), kind=polars.lit("x"))
if sys.argv[1] in ("stream", "categorical file"):
    frame = frame.with_columns(polars.col("kind").cast(polars.Categorical))
if sys.argv[1].endswith("file"):
    frame.write_ipc(sys.stdout.buffer)
elif sys.argv[1] == "zstd":
    frame.write_ipc(sys.stdout.buffer, compression="zstd", record_batch_size=700)
elif sys.argv[1] == "stream":
    frame.write_ipc_stream(sys.stdout.buffer)
else:
    frame.write_csv(sys.stdout.buffer)
"#;

#[tokio::test]
async fn polars_files_streams_and_csv() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (id int8, name text, day date, kind text)").await;
    for (how, media) in [("file", FILE), ("zstd", FILE), ("stream", STREAM), ("csv", "text/csv")] {
        let output = std::process::Command::new(python()).args(["-c", POLARS, how]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        world.load("t", media, output.stdout.clone()).await.committed(3000);
        let sums = world
            .db
            .texts("SELECT format('%s %s %s', sum(id), count(DISTINCT name), min(day)) FROM t WHERE kind = 'x'")
            .await;
        assert_eq!(sums[0].as_deref(), Some("4498500 3000 2024-02-29"), "{how}");
        world.db.sql("TRUNCATE t").await;
        if media == FILE {
            let cut = output.stdout[..output.stdout.len() - 20].to_vec();
            assert_eq!(world.load("t", media, cut).await.status, 422, "{how}");
        }
    }
    // Its dictionaries are numbered in the footer only, so read in order the values could be another column's.
    let output = std::process::Command::new(python()).args(["-c", POLARS, "categorical file"]).output().unwrap();
    let answer = world.load("t", FILE, output.stdout).await;
    assert!(answer.problem(422, "malformed-arrow")["detail"].as_str().unwrap().contains("write_ipc_stream"));
    assert_eq!(world.db.count("t").await, 0);
}

#[tokio::test]
async fn curl_with_a_file_and_from_a_pipe() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (id int, name text)").await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.csv");
    let rows: String = (0..100_000).map(|id| format!("{id},name {id}\n")).collect();
    std::fs::write(&file, format!("id,name\n{rows}")).unwrap();
    let url = world.url("/v1/tables/t/loads");
    let script = format!(
        "curl -fsS -X POST -T '{0}' -H 'Content-Type: text/csv' '{url}' && cat '{0}' | curl -fsS -X POST -T - -H 'Content-Type: text/csv' '{url}'",
        file.display()
    );
    let printed = tokio::task::spawn_blocking(move || run(std::process::Command::new("sh").args(["-c", &script])))
        .await
        .unwrap();
    assert_eq!(printed.matches("\"rows_loaded\":100000").count(), 2, "{printed}");
    assert_eq!(world.db.count("t").await, 200_000);
}

const NDJSON: &str = r#"
import sys, datetime, json, os, tempfile
rows = [{
    "id": i, "name": f'n\u00e4me "{i}"\\/\n\t\u2028😀', "ratio": i / 8, "flag": None if i % 3 == 0 else i % 2 == 0,
    "day": datetime.date(2024, 1, 1) + datetime.timedelta(i % 60), "at": datetime.datetime(2024, 1, 1, 12, i % 60, 1, 500000),
    "tags": [f"t{i}", 'a"b', "c,d"][: i % 4], "pos": {"x": i, "label": None if i % 2 else f"l{i}"},
} for i in range(3000)]
out = sys.stdout.buffer
if sys.argv[1] == "json":
    for row in rows:
        out.write((json.dumps(row, default=str) + "\n").encode())
elif sys.argv[1] == "pandas":
    import pandas
    frame = pandas.DataFrame(rows)
    frame["day"] = pandas.to_datetime(frame["day"])
    frame.to_json(out, orient="records", lines=True, date_format="iso", date_unit="us")
elif sys.argv[1] == "polars":
    import polars
    polars.DataFrame(rows).write_ndjson(out)
else:
    import duckdb, pyarrow
    written = pyarrow.Table.from_pylist(rows)
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "rows.json")
        duckdb.sql(f"COPY (SELECT * FROM written) TO '{path}' (FORMAT json)")
        out.write(open(path, "rb").read())
"#;

#[tokio::test]
async fn ndjson_of_python_pandas_polars_and_duckdb() {
    let world = World::new().await;
    let table = "(id int8, name text, ratio float8, flag bool, day date, at timestamp, tags text[], pos place)";
    world.db.sql("CREATE TYPE place AS (x int, label text)").await;
    world.db.sql(&format!("CREATE TABLE expected {table}; CREATE TABLE t {table}")).await;
    let expected = "INSERT INTO expected SELECT i, 'näme \"' || i || E'\"\\\\/\\n\\t\\u2028😀', i / 8.0, \
         CASE WHEN i % 3 <> 0 THEN i % 2 = 0 END, date '2024-01-01' + i % 60, \
         timestamp '2024-01-01 12:00:01.5' + make_interval(mins => i % 60), (ARRAY['t' || i, 'a\"b', 'c,d'])[: i % 4], \
         ROW(i, CASE WHEN i % 2 = 0 THEN 'l' || i END)::place FROM generate_series(0, 2999) i";
    world.db.sql(expected).await;
    for client in ["json", "pandas", "polars", "duckdb"] {
        let output = std::process::Command::new(python()).args(["-c", NDJSON, client]).output().unwrap();
        assert!(output.status.success(), "{client}: {}", String::from_utf8_lossy(&output.stderr));
        world.load("t", "application/x-ndjson", output.stdout).await.committed(3000);
        for (one, other) in [("t", "expected"), ("expected", "t")] {
            let difference = format!("SELECT t::text FROM {one} t EXCEPT ALL SELECT t::text FROM {other} t LIMIT 2");
            let rows = world.db.texts(&difference).await;
            assert!(rows.is_empty(), "{client}: {one} has rows that {other} has not: {rows:#?}");
        }
        world.db.sql("TRUNCATE t").await;
    }
}
