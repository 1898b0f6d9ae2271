//! Parquet files by those who write them, read back as what they hold; kept on disk meanwhile, within limits and without a trace.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::support::{Service, Trickle, World, python, run};

const MEDIA: &str = "application/vnd.apache.parquet";

/// Runs a Python script that writes files into a directory, and gives them with their names.
fn written_by(script: &str) -> Vec<(String, Vec<u8>)> {
    let dir = tempfile::tempdir().unwrap();
    run(Command::new(python()).args(["-c", script]).arg(dir.path()));
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    paths.iter().map(|path| (name(path), std::fs::read(path).unwrap())).collect()
}

async fn same_rows(world: &World, what: &str) {
    for (one, other) in [("t", "expected"), ("expected", "t")] {
        let difference = format!("SELECT t::text FROM {one} t EXCEPT ALL SELECT t::text FROM {other} t LIMIT 2");
        let rows = world.db.texts(&difference).await;
        assert!(rows.is_empty(), "{what}: {one} has rows that {other} has not: {rows:#?}");
    }
}

const PYARROW: &str = r#"
import sys, datetime, decimal, uuid
import pyarrow as pa, pyarrow.parquet as pq
n = 3000
D = decimal.Decimal
when = lambda i: datetime.datetime(2024, 1, 1) + datetime.timedelta(minutes=i)
def wall(unit, zone=None):
    return pa.array([when(i) if i % 5 else None for i in range(n)], pa.timestamp(unit, zone))
table = pa.table({
    "i": pa.array(range(n), pa.int32()),
    "i1": pa.array([i % 100 for i in range(n)], pa.int8()),
    "u2": pa.array([i * 20 for i in range(n)], pa.uint16()),
    "u8": pa.array([2**64 - 1 - i for i in range(n)], pa.uint64()),
    "f2": pa.array([i % 8 / 4 for i in range(n)], pa.float16()),
    "f4": pa.array([i / 8 for i in range(n)], pa.float32()),
    "f8": pa.array([i / 3 if i % 7 else None for i in range(n)]),
    "d9": pa.array([D(i) / 100 for i in range(n)], pa.decimal128(9, 2)),
    "d18": pa.array([D(-i) / 1000 for i in range(n)], pa.decimal128(18, 3)),
    "d38": pa.array([D(i) * 10**30 for i in range(n)], pa.decimal128(38, 4)),
    "d60": pa.array([D(i) * 10**40 if i % 3 else None for i in range(n)], pa.decimal256(60, 3)),
    "name": pa.array([f"näme {i}" for i in range(n)]),
    "same": pa.array(["a", "b" * 300, "", None][i % 4] for i in range(n)),
    "kind": pa.array(["x", "y"][i % 2] for i in range(n)).dictionary_encode(),
    "raw": pa.array([bytes([i % 256]) * 3 for i in range(n)], pa.large_binary()),
    "day": pa.array([datetime.date(1969, 1, 1) + datetime.timedelta(i) for i in range(n)]),
    "clock": pa.array([datetime.time(i % 24, 5, 7, 9000) for i in range(n)], pa.time32("ms")),
    "clock6": pa.array([datetime.time(i % 24, 5, 7, 9) for i in range(n)]),
    "ms": wall("ms"), "us": wall("us"), "ns": wall("ns"), "s": wall("s"),
    "msz": wall("ms", "Asia/Tokyo"), "usz": wall("us", "UTC"), "nsz": wall("ns", "America/New_York"),
    "u": pa.array([uuid.UUID(int=i).bytes for i in range(n)], pa.uuid()),
    "j": pa.array(['{"a": %d}' % i for i in range(n)], pa.json_(pa.string())),
    "flag": pa.array([i % 3 == 0 for i in range(n)]),
    "nothing": pa.nulls(n),
})
deltas = {"name": "DELTA_BYTE_ARRAY", "same": "DELTA_BYTE_ARRAY", "j": "DELTA_LENGTH_BYTE_ARRAY", "u": "DELTA_BYTE_ARRAY",
          "i": "DELTA_BINARY_PACKED", "us": "DELTA_BINARY_PACKED", "f8": "BYTE_STREAM_SPLIT", "d38": "BYTE_STREAM_SPLIT"}
layouts = {codec: {"compression": codec} for codec in ["none", "snappy", "gzip", "brotli", "zstd", "lz4"]}
layouts |= {"v2-" + codec: {"compression": codec, "data_page_version": "2.0"} for codec in ["none", "snappy", "gzip"]}
layouts |= {
    "groups": {"row_group_size": 170}, "pages": {"data_page_size": 300, "write_batch_size": 20, "dictionary_pagesize_limit": 500},
    "plain": {"use_dictionary": False}, "deltas": {"use_dictionary": False, "column_encoding": deltas},
    "v2-deltas": {"use_dictionary": False, "column_encoding": deltas, "data_page_version": "2.0"},
    "no-schema": {"store_schema": False}, "checksums": {"write_page_checksum": True}, "index": {"write_page_index": True},
    "decimals": {"store_decimal_as_integer": True}, "bare": {"write_statistics": False, "version": "2.4", "coerce_timestamps": "us"},
}
for name, layout in layouts.items():
    pq.write_table(table, f"{sys.argv[1]}/{name}.parquet", **layout)
"#;

#[tokio::test]
async fn pyarrow_files_in_every_layout() {
    let world = World::new().await;
    let columns = "(i int, i1 int2, u2 int, u8 numeric, f2 real, f4 real, f8 float8, d9 numeric(9,2), d18 numeric, d38 numeric, d60 numeric, \
         name text, same text, kind char(1), raw bytea, day date, clock time, clock6 time, ms timestamp, us timestamp, ns timestamp, \
         s timestamp, msz timestamptz, usz timestamptz, nsz timestamptz, u uuid, j jsonb, flag bool, nothing int)";
    // The same by PostgreSQL's own means. pyarrow keeps seconds as milliseconds.
    let wall = "CASE WHEN i % 5 > 0 THEN timestamp '2024-01-01' + make_interval(mins => i) END";
    let walls = [wall; 4].join(", ");
    let instants = [format!("({wall}) AT TIME ZONE 'UTC'").as_str(); 3].join(", ");
    world
        .db
        .sql(&format!(
            "CREATE TABLE expected {columns}; CREATE TABLE t {columns}; INSERT INTO expected SELECT i, i % 100, i * 20, 18446744073709551615 - i, \
             i % 8 / 4.0, i / 8.0, CASE WHEN i % 7 > 0 THEN i / 3::float8 END, i / 100.0, (-i / 1000.0)::numeric(18,3), \
             (i * 1e30::numeric)::numeric(38,4), CASE WHEN i % 3 > 0 THEN (i * 1e40::numeric)::numeric(60,3) END, 'näme ' || i, \
             CASE i % 4 WHEN 0 THEN 'a' WHEN 1 THEN repeat('b', 300) WHEN 2 THEN '' END, CASE i % 2 WHEN 0 THEN 'x' ELSE 'y' END, \
             decode(repeat(lpad(to_hex(i % 256), 2, '0'), 3), 'hex'), date '1969-01-01' + i, make_time(i % 24, 5, 7.009), \
             make_time(i % 24, 5, 7.000009), {walls}, {instants}, lpad(to_hex(i), 32, '0')::uuid, jsonb_build_object('a', i), i % 3 = 0 \
             FROM generate_series(0, 2999) i"
        ))
        .await;
    let files = written_by(PYARROW);
    assert_eq!(files.len(), 19);
    for (name, file) in files {
        world.db.sql("TRUNCATE t").await;
        let answer = world.load("t", MEDIA, file).await;
        assert_eq!(answer.committed(3000)["format"], "parquet", "{name}");
        same_rows(&world, &name).await;
    }
}

const OTHERS: &str = r#"
import sys, datetime, duckdb, pandas, polars
out = sys.argv[1]
query = """
    SELECT i::INTEGER AS id, 'name ' || i AS name, ['lo', 'hi'][1 + i % 2] AS kind, (i / 4)::DECIMAL(12, 2) AS price,
           DATE '2024-02-29' + i::INTEGER AS day, TIMESTAMP '2024-01-01 00:00:00.000001' + to_seconds(i) AS wall,
           CASE WHEN i % 3 > 0 THEN i / 2 END AS half
    FROM range(4000) t(i)"""
duckdb.sql(query).write_parquet(f"{out}/duckdb.parquet", compression="zstd", row_group_size=2048)
duckdb.sql(f"COPY ({query}) TO '{out}/duckdb-v2.parquet' (FORMAT parquet, PARQUET_VERSION v2, COMPRESSION lz4_raw)")
frame = duckdb.sql(query).pl()
frame = frame.with_columns(polars.col("kind").cast(polars.Categorical))
for codec in ["uncompressed", "snappy", "gzip", "brotli", "lz4", "zstd"]:
    frame.write_parquet(f"{out}/polars-{codec}.parquet", compression=codec, row_group_size=1500, data_page_size=5000)
frame.write_parquet(f"{out}/polars-pyarrow.parquet", use_pyarrow=True)
frame = duckdb.sql(query).df()
frame["kind"] = frame["kind"].astype("category")
frame["day"] = frame["day"].dt.date
frame.to_parquet(f"{out}/pandas.parquet", index=False)
"#;

#[tokio::test]
async fn files_by_duckdb_polars_and_pandas() {
    let world = World::new().await;
    // pandas makes floats of decimals.
    let columns = "(id int, name text, kind text, price numeric(12,2), day date, wall timestamp, half float8)";
    world
        .db
        .sql(&format!(
            "CREATE TABLE expected {columns}; CREATE TABLE t {columns}; INSERT INTO expected SELECT i, 'name ' || i, \
             CASE i % 2 WHEN 0 THEN 'lo' ELSE 'hi' END, i / 4.0, date '2024-02-29' + i, \
             timestamp '2024-01-01 00:00:00.000001' + make_interval(secs => i), CASE WHEN i % 3 > 0 THEN i / 2.0 END \
             FROM generate_series(0, 3999) i"
        ))
        .await;
    for (name, file) in written_by(OTHERS) {
        world.db.sql("TRUNCATE t").await;
        world.load("t", MEDIA, file).await.committed(4000);
        same_rows(&world, &name).await;
    }
}

const NESTED: &str = r#"
import sys, datetime, duckdb, polars, pyarrow as pa, pyarrow.parquet as pq
out, n = sys.argv[1], 2000
point = pa.struct([("x", pa.int32()), ("label", pa.string())])
table = pa.table({
    "id": pa.array(range(n), pa.int32()),
    "numbers": pa.array([None if i % 5 == 0 else [i, None, i + 1][:i % 4] for i in range(n)], pa.list_(pa.int64())),
    "words": pa.array([["a" * 20, f"w{i}"] for i in range(n)], pa.large_list(pa.string())),
    "pair": pa.array([[i / 2, -i / 2] for i in range(n)], pa.list_(pa.float64(), 2)),
    "grid": pa.array([[[i, 1], [2, 3]] for i in range(n)], pa.list_(pa.list_(pa.int32()))),
    "place": pa.array([{"x": i, "label": f"p{i}"} if i % 3 else None for i in range(n)], point),
    "places": pa.array([[{"x": j, "label": None} for j in range(i % 3)] for i in range(n)], pa.list_(point)),
    "tags": pa.array([[("k", i), ("l", None)] for i in range(n)], pa.map_(pa.string(), pa.int64())),
    "took": pa.array([datetime.timedelta(days=1, seconds=i) for i in range(n)], pa.duration("ms")),
})
layouts = {"v1": {}, "v2": {"data_page_version": "2.0", "compression": "zstd"},
           "pages": {"data_page_size": 200, "write_batch_size": 30, "row_group_size": 600, "write_page_checksum": True},
           "plain": {"use_dictionary": False, "data_page_version": "2.0", "data_page_size": 500,
                     "column_encoding": {"words.list.element": "DELTA_BYTE_ARRAY"}}}
for name, layout in layouts.items():
    pq.write_table(table, f"{out}/pyarrow-{name}.parquet", **layout)
nested = table
polars.from_arrow(table.drop_columns(["tags"])).write_parquet(f"{out}/polars.parquet", row_group_size=700)
duckdb.sql("SELECT * EXCLUDE took, to_days(1) + to_seconds(id) AS took FROM nested").write_parquet(f"{out}/duckdb.parquet")
"#;

#[tokio::test]
async fn nested_columns_go_where_those_of_arrow_go() {
    let world = World::new().await;
    let columns = "(id int, numbers int8[], words text[], pair float8[], grid int[], place spot, places jsonb, tags jsonb, took interval)";
    world
        .db
        .sql(&format!(
            "CREATE TYPE spot AS (x int, label text); CREATE TABLE expected {columns}; CREATE TABLE t {columns}; \
             INSERT INTO expected SELECT i, CASE WHEN i % 5 > 0 THEN (ARRAY[i, NULL, i + 1])[:i % 4] END, ARRAY[repeat('a', 20), 'w' || i], \
             ARRAY[i / 2.0, -i / 2.0], ARRAY[[i, 1], [2, 3]], CASE WHEN i % 3 > 0 THEN (i, 'p' || i)::spot END, \
             (SELECT coalesce(jsonb_agg(jsonb_build_object('x', j, 'label', NULL)), '[]') FROM generate_series(0, i % 3 - 1) j), \
             jsonb_build_object('k', i, 'l', NULL), make_interval(days => 1, secs => i) FROM generate_series(0, 1999) i"
        ))
        .await;
    for (name, file) in written_by(NESTED) {
        world.db.sql("TRUNCATE t").await;
        world.load("t", MEDIA, file.clone()).await.committed(2000);
        // A duration has no days of its own, and polars no maps.
        world.db.sql("UPDATE t SET took = justify_hours(took)").await;
        if name == "polars" {
            world.db.sql("UPDATE t SET tags = e.tags FROM expected e WHERE e.id = t.id").await;
        }
        same_rows(&world, &name).await;
        let one = world.load("t?columns=grid,id&segments=one", MEDIA, file).await;
        one.committed(2000);
    }
}

const SMALL: &str = r#"
import sys, datetime, pyarrow as pa, pyarrow.parquet as pq
out = sys.argv[1]
day = datetime.datetime
us = pa.array([day(1, 1, 1), day(2024, 1, 2, 3, 4, 5, 678901), None, day(9999, 12, 31, 23, 59, 59)], pa.timestamp("us"))
int96 = {"use_deprecated_int96_timestamps": True}
pq.write_table(pa.table({"wall": us, "at": us}), f"{out}/int96.parquet", **int96)
pq.write_table(pa.table({"wall": us, "at": us}), f"{out}/int96-plain.parquet", use_dictionary=False, **int96)
pq.write_table(pa.table({"wall": pa.array([1001], pa.timestamp("ns"))}), f"{out}/int96-fine.parquet", **int96)
pq.write_table(pa.table({"wall": pa.array([1001], pa.timestamp("ns"))}), f"{out}/fine.parquet")
pq.write_table(pa.table({"wall": us.cast(pa.timestamp("us", "UTC"))}), f"{out}/zone.parquet")
wide = pa.table({"id": pa.array(range(500)), "name": [f"n{i}" for i in range(500)], "other": [{"a": [i]} for i in range(500)]})
pq.write_table(wide, f"{out}/wide.parquet")
pq.write_table(wide.slice(0, 0), f"{out}/empty.parquet")
pq.write_table(pa.table({"id": pa.array([1, 2, 2**40, 4])}), f"{out}/large.parquet", row_group_size=2)
pq.write_table(pa.table([[1], [2]], names=["id", "id"]), f"{out}/twice.parquet")
pq.write_metadata(wide.schema, f"{out}/metadata.parquet")
"#;

fn small(files: &[(String, Vec<u8>)], name: &str) -> Vec<u8> {
    files.iter().find(|(found, _)| found == name).unwrap().1.clone()
}

#[tokio::test]
async fn int96_is_what_it_stands_for_or_refused() {
    let world = World::new().await;
    let files = written_by(SMALL);
    world.db.sql("CREATE TABLE t (wall timestamp, at timestamptz)").await;
    let (expected, zone) = (
        "SELECT wall::text FROM t ORDER BY 1",
        "SELECT count(*) FROM t WHERE at AT TIME ZONE 'UTC' IS DISTINCT FROM wall",
    );
    for name in ["int96", "int96-plain"] {
        world.db.sql("TRUNCATE t").await;
        world.load("t", MEDIA, small(&files, name)).await.committed(4);
        let found: Vec<Option<String>> = world.db.texts(expected).await;
        let shown: Vec<Option<&str>> = found.iter().map(Option::as_deref).collect();
        assert_eq!(
            shown,
            [Some("0001-01-01 00:00:00"), Some("2024-01-02 03:04:05.678901"), Some("9999-12-31 23:59:59"), None]
        );
        assert_eq!(world.db.rows(zone).await[0].get::<_, i64>(0), 0);
    }
    let fine = world.load("t", MEDIA, small(&files, "int96-fine")).await;
    let problem = fine.problem(422, "bad-row");
    assert_eq!((&problem["column"], &problem["sqlstate"]), (&json!("wall"), &json!("22008")));
    let fine = world.load("t", MEDIA, small(&files, "fine")).await;
    assert_eq!(fine.problem(422, "bad-row")["row"], 1);
    world.load("t", MEDIA, small(&files, "zone")).await.problem(422, "columns-mismatch");
}

#[tokio::test]
async fn columns_are_chosen_by_name_and_bad_rows_are_named() {
    let world = World::new().await;
    let files = written_by(SMALL);
    world.db.sql("CREATE TABLE t (name text, id int, must int NOT NULL DEFAULT 7)").await;
    let wide = || small(&files, "wide");
    let answer = world.load("t", MEDIA, wide()).await;
    assert_eq!(
        answer.problem(422, "columns-mismatch")["misfits"],
        json!(["table public.t has no column \"other\""])
    );
    world.load("t?columns=name,id", MEDIA, wide()).await.committed(500);
    world.load("t?columns=id&format=parquet", "application/octet-stream", wide()).await.committed(500);
    let sums = world
        .db
        .texts("SELECT format('%s %s %s %s', count(*), sum(id), count(name), sum(must)) FROM t")
        .await;
    assert_eq!(sums[0].as_deref(), Some("1000 249500 500 7000"));

    let cases = [
        ("t?columns=id,must", "wide", 422, "columns-mismatch", "the file has no column \"must\""),
        ("t?columns=id,nope", "wide", 422, "columns-mismatch", "table public.t has no column \"nope\""),
        ("t?columns=id,", "wide", 400, "invalid-option", "columns is a list of names"),
        ("t?header=absent", "wide", 400, "invalid-option", "unknown option \"header\""),
        ("t?columns=id", "empty", 422, "no-rows", "no rows"),
        ("t", "twice", 422, "columns-mismatch", "given more than once"),
        ("t?columns=id", "metadata", 422, "no-rows", "no rows"),
    ];
    for (target, file, status, name, detail) in cases {
        let answer = world.load(target, MEDIA, small(&files, file)).await;
        let said = answer.problem(status, name)["detail"].as_str().unwrap();
        assert!(said.contains(detail), "{target}: {said}");
    }
    let answer = world.load("t", MEDIA, small(&files, "large")).await;
    let problem = answer.problem(422, "bad-row");
    assert_eq!(
        (&problem["row"], &problem["column"], &problem["sqlstate"]),
        (&json!(3), &json!("id"), &json!("22003"))
    );
    assert_eq!(world.db.count("t").await, 1000);
}

/// Files that the service holds open in a directory, with or without a name.
fn open_in(dir: &Path, service: &Service) -> usize {
    let links = std::fs::read_dir(format!("/proc/{}/fd", service.pid())).unwrap();
    let targets = links.filter_map(|link| std::fs::read_link(link.unwrap().path()).ok());
    targets.filter(|target| target.starts_with(dir)).count()
}

async fn nothing_is_left(dir: &Path, service: &Service) {
    for _ in 0..200 {
        if open_in(dir, service) == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(open_in(dir, service), 0, "the service holds on to a file");
    assert_eq!(std::fs::read_dir(dir).unwrap().count(), 0, "a file was left");
}

#[tokio::test]
async fn disk_space_is_limited_and_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().to_str().unwrap();
    let world = World::with(&["--spool-dir", spool, "--spool-bytes-max", "10000", "--spool-total-bytes-max", "15000"]).await;
    world.db.sql("CREATE TABLE t (id int, name text)").await;
    let file = small(&written_by(SMALL), "wide");
    assert!((8000..10_000).contains(&file.len()), "the test is about a file of {} bytes", file.len());
    let load = || world.load("t?columns=id,name", MEDIA, file.clone());
    load().await.committed(500);
    nothing_is_left(dir.path(), &world.service).await;

    // One that waits on disk leaves no room for the other, until it is gone.
    let waiting = Trickle::begin_as(&world, "t?columns=id,name", MEDIA);
    waiting.send(&file[..file.len() - 100]);
    let job = world
        .wait_for_job(|job| job["state"] == "running" && job["bytes_received"].as_u64() > Some(5000))
        .await;
    assert_eq!(job["rows_received"], 0);
    assert_eq!(open_in(dir.path(), &world.service), 1);
    let full = load().await;
    assert!(full.problem(507, "spool-full")["detail"].as_str().unwrap().contains("--spool-total-bytes-max"));
    waiting.abandon().await;
    nothing_is_left(dir.path(), &world.service).await;
    load().await.committed(500);

    // Too much for one body, with and without a length that says so beforehand.
    let long = [file.as_slice(), &[0; 2000]].concat();
    let told = world.load("t", MEDIA, long.clone()).await;
    assert_eq!(told.problem(413, "body-too-large").get("job_id"), None);
    let untold = Trickle::begin_as(&world, "t", MEDIA);
    untold.send(long);
    let untold = untold.finish().await;
    assert!(untold.problem(413, "body-too-large")["detail"].as_str().unwrap().contains("10000"));
    nothing_is_left(dir.path(), &world.service).await;
    assert_eq!(world.db.count("t").await, 1000);
    load().await.committed(500);
}

#[tokio::test]
async fn nothing_is_left_after_a_kill_or_a_cancellation() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().to_str().unwrap();
    let mut world = World::with(&["--spool-dir", spool]).await;
    world.db.sql("CREATE TABLE t (id int, name text)").await;
    let file = small(&written_by(SMALL), "wide");
    let load = Trickle::begin_as(&world, "t?columns=id,name", MEDIA);
    load.send(&file[..5000]);
    world.wait_for_job(|job| job["bytes_received"] == 5000).await;
    world.service.kill();
    load.abandon().await;
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);

    world.service = Service::start(&world.db.url, &["--spool-dir", spool]).await;
    let interrupted = world.wait_for_job(|job| job["state"] == "failed").await;
    assert_eq!(interrupted["reason"], "interrupted");
    // Cancelled while its rows are on their way: somebody's lock holds them up.
    let blocker = world.db.connect().await;
    blocker.batch_execute("BEGIN; LOCK TABLE t").await.unwrap();
    let load = Trickle::begin_as(&world, "t?columns=id,name", MEDIA);
    load.send(file.as_slice());
    let load = tokio::spawn(load.finish());
    let job = world.wait_for_job(|job| job["state"] == "running" && job["rows_received"] == 500).await;
    assert_eq!(world.cancel(job["id"].as_str().unwrap()).await.status, 200);
    load.await.unwrap().problem(409, "cancelled");
    blocker.batch_execute("ROLLBACK").await.unwrap();
    nothing_is_left(dir.path(), &world.service).await;
    assert_eq!(world.db.count("t").await, 0);
    world.load("t?columns=id,name", MEDIA, file).await.committed(500);
}

#[tokio::test]
async fn a_spool_directory_that_is_not_there() {
    let world = World::new().await;
    let mut command = Service::command();
    command.args(["--database-url", &world.db.url, "--spool-dir", "/nowhere/at/all"]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && errors.contains("--spool-dir /nowhere/at/all"), "{errors}");

    // The default directory is looked at when it is needed, and CSV does not need it.
    let mut command = Service::command();
    command.args(["--database-url", &world.db.url]).env("TMPDIR", "/nowhere");
    let world = World { service: Service::spawn(command).await, ..world };
    world.db.sql("CREATE TABLE t (id int)").await;
    let answer = world.load("t", MEDIA, b"PAR1".as_slice()).await;
    assert!(answer.problem(500, "spool-failed")["detail"].as_str().unwrap().contains("/nowhere"));
    world.load_csv("t", "id\n1\n").await.committed(1);
}
