//! Arrow's types: each goes into every sensible type without loss or is refused, whatever way it is laid out.

use std::sync::Arc;

use arrow::array::types::IntervalDayTime;
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, DurationSecondArray, FixedSizeBinaryArray,
    FixedSizeListArray, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, IntervalDayTimeArray, IntervalYearMonthArray,
    LargeListViewArray, ListArray, MapArray, RecordBatch, RunArray, StringArray, StructArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray, UInt64Array, UnionArray,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Int8Type, Int16Type, Int32Type, UnionFields};
use serde_json::{Value, json};

use crate::support::arrow::{FILE, STREAM, batch, file, ints, lists, stream, strings};
use crate::support::{World, python};

async fn written_by_pyarrow(arguments: &[&str]) -> Vec<u8> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/arrow_types.py");
    let mut command = std::process::Command::new(python());
    command.arg(script).args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[tokio::test]
async fn every_type_of_pyarrow_reads_back() {
    let world = World::new().await;
    let ddl = String::from_utf8(written_by_pyarrow(&["ddl"]).await).unwrap();
    world.db.sql(&format!("CREATE EXTENSION hstore; {ddl}")).await;
    let expected: Value = serde_json::from_slice(&written_by_pyarrow(&["expected"]).await).unwrap();
    let expected = expected.as_object().unwrap();
    assert!(expected.len() > 70);
    for (container, media, compression) in [("stream", STREAM, "none"), ("file", FILE, "lz4"), ("stream", STREAM, "zstd")] {
        let body = written_by_pyarrow(&[container, compression]).await;
        // A single COPY takes every row as text: what is in the table must be the same.
        for table in ["t", "t?segments=one"] {
            world.load(table, media, body.clone()).await.committed(8);
            for (column, values) in expected {
                let shown = world.db.texts(&format!("SELECT \"{column}\"::text FROM t ORDER BY nr")).await;
                assert_eq!(&json!(shown), values, "{column} of {table} by {container} {compression}");
            }
            world.db.sql("TRUNCATE t").await;
        }
    }
}

#[tokio::test]
async fn layouts_that_pyarrow_does_not_write() {
    let world = World::new().await;
    world
        .db
        .sql("CREATE TABLE t (nr int, months interval, days interval, runs text, deep date, shared int[], slice int[], twin int[])")
        .await;
    // Runs of a dictionary's values, with a NULL in each place where there can be one.
    let dates: DictionaryArray<Int16Type> = DictionaryArray::new(
        Int16Array::from(vec![Some(0), Some(1), None, Some(0)]),
        Arc::new(Date32Array::from(vec![Some(0), None])),
    );
    let deep = RunArray::<Int16Type>::try_new(&Int16Array::from(vec![1, 3, 4, 5]), &dates).unwrap();
    let runs = RunArray::<Int32Type>::try_new(&Int32Array::from(vec![2, 5, 9]), &StringArray::from(vec![Some("a"), None, Some("b")]));
    let item = || Arc::new(Field::new_list_field(DataType::Int32, true));
    let shared = LargeListViewArray::new(
        item(),
        ScalarBuffer::from(vec![0, 0, 1, 3, 2]),
        ScalarBuffer::from(vec![3, 1, 2, 0, 1]),
        ints(&[1, 2, 3]),
        None,
    );
    let pairs = FixedSizeListArray::new(item(), 2, ints(&[9, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), None);
    let columns: [(&str, ArrayRef); 8] = [
        ("nr", ints(&[0, 1, 2, 3, 4])),
        ("months", Arc::new(IntervalYearMonthArray::from(vec![14, -1, i32::MAX, i32::MIN, 0]))),
        ("days", Arc::new(IntervalDayTimeArray::from(vec![IntervalDayTime::new(-1, 1); 5]))),
        ("runs", Arc::new(runs.unwrap().slice(1, 5))),
        ("deep", Arc::new(deep)),
        ("shared", Arc::new(shared)),
        ("slice", Arc::new(pairs.slice(1, 5))),
        ("twin", lists(&[0, 2, 0, 2, 2], ints(&[1, 2, 3, 4, 5, 6]))),
    ];
    let whole = batch(columns);
    let expected = [
        "0|1 year 2 mons|-1 days +00:00:00.001|a|1970-01-01|{1,2,3}|{1,2}|{}",
        "1|-1 mons|-1 days +00:00:00.001|||{1}|{3,4}|{1,2}",
        "2|178956970 years 7 mons|-1 days +00:00:00.001|||{2,3}|{5,6}|{}",
        "3|-178956970 years -8 mons|-1 days +00:00:00.001|||{}|{7,8}|{3,4}",
        "4|00:00:00|-1 days +00:00:00.001|b|1970-01-01|{3}|{9,10}|{5,6}",
    ];
    // Slices begin in the middle of runs, of lists and of bytes of bits.
    let sliced = [whole.slice(0, 2), whole.slice(2, 2), whole.slice(4, 1)];
    for (media, body) in [(STREAM, stream(std::slice::from_ref(&whole))), (STREAM, stream(&sliced))] {
        for table in ["t", "t?segments=one"] {
            world.load(table, media, body.clone()).await.committed(5);
            let rows = world.db.texts("SELECT concat_ws('|', nr, months, days, coalesce(runs, ''), coalesce(deep::text, ''), shared, slice, twin) FROM t ORDER BY nr").await;
            assert_eq!(rows, expected.map(|row| Some(row.to_owned())));
            world.db.sql("TRUNCATE t").await;
        }
    }
}

#[tokio::test]
async fn types_that_only_the_server_knows() {
    let world = World::new().await;
    world
        .db
        .sql(
            "CREATE TYPE place AS (at point, floor int); CREATE TABLE t (nr int, document tsvector, x xml, spot point, spots point[], \
             boxes box[], home place, tags int[], at timestamptz, wait interval(0), day date)",
        )
        .await;
    let home_fields = Fields::from(vec![Field::new("floor", DataType::Int32, true), Field::new("at", DataType::Utf8, true)]);
    let home = StructArray::new(home_fields, vec![ints(&[3, 4]), strings(&["(1,2)", "(3,4)"])], None);
    let whole = batch([
        ("nr", ints(&[1, 2])),
        ("document", strings(&["a fat cat", "'it''s' x\\y"])),
        ("x", strings(&["<a>\n\t&amp;</a>", "<b/>"])),
        ("spot", strings(&["(1,2)", "3,4"])),
        ("spots", lists(&[2, 0], strings(&["(1,2)", "3,4"]))),
        ("boxes", lists(&[2, 0], strings(&["(1,1),(0,0)", "(2,2),(1,1)"]))),
        ("home", Arc::new(home)),
        ("tags", lists(&[2, 1], Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])))),
        ("at", Arc::new(TimestampMicrosecondArray::from(vec![1, -1]).with_timezone("+02:00"))),
        ("wait", Arc::new(IntervalYearMonthArray::from(vec![1, -1]))),
        ("day", strings(&["Jan 8, 1999", "1999-01-08"])),
    ]);
    world.load("t", STREAM, stream(std::slice::from_ref(&whole))).await.committed(2);
    let rows = world
        .db
        .texts(
            "SELECT concat_ws('|', nr, document, x, spot, spots, boxes, home, tags, at AT TIME ZONE 'UTC', wait, day) FROM t ORDER BY nr",
        )
        .await;
    let expected = [
        "1|'a' 'cat' 'fat'|<a>\n\t&amp;</a>|(1,2)|{\"(1,2)\",\"(3,4)\"}|{(1,1),(0,0);(2,2),(1,1)}|(\"(1,2)\",3)|{1,NULL}|1970-01-01 00:00:00.000001|1 mon|1999-01-08",
        "2|'it''s' 'xy'|<b/>|(3,4)|{}|{}|(\"(3,4)\",4)|{3}|1969-12-31 23:59:59.999999|-1 mons|1999-01-08",
    ];
    assert_eq!(rows, expected.map(|row| Some(row.to_owned())));

    // A bad value is named by the server, and one that we refuse is refused in text as well.
    let bad_spot = batch([("nr", ints(&[1, 2])), ("spot", strings(&["(1,2)", "(1,"]))]);
    let answer = world.load("t", STREAM, stream(&[bad_spot])).await;
    let problem = answer.problem(422, "bad-row");
    assert_eq!(json!([problem["row"], problem["column"], problem["sqlstate"]]), json!([2, "spot", "22P02"]));
    let fine: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1000, 1]).with_timezone("UTC"));
    let answer = world.load("t", STREAM, stream(&[batch([("spot", strings(&["1,2", "1,2"])), ("at", fine)])])).await;
    let problem = answer.problem(422, "bad-row");
    assert_eq!(json!([problem["row"], problem["column"], problem["sqlstate"]]), json!([2, "at", "22008"]));

    let numbers = batch([("spot", ints(&[1])), ("spots", lists(&[1], ints(&[1]))), ("document", lists(&[1], strings(&["a"])))]);
    let answer = world.load("t", STREAM, stream(&[numbers])).await;
    assert_eq!(answer.problem(422, "columns-mismatch")["misfits"].as_array().unwrap().len(), 3);
    assert_eq!(world.db.count("t").await, 2);
}

#[tokio::test]
async fn rare_literals_in_strings_are_loaded_in_their_place() {
    let world = World::new().await;
    world
        .db
        .sql("CREATE TABLE t (nr serial, id int, day date, tags text[], days date[], note text)")
        .await;
    let days: Vec<&str> = (0..50_000)
        .map(|id| match id {
            7 | 8 | 20_000 | 49_999 => "Jan 8, 1999",
            id if id % 5000 == 0 => "19990108",
            _ => "1999-01-08",
        })
        .collect();
    let whole = batch([
        ("id", Arc::new(Int32Array::from_iter_values(0..50_000))),
        ("day", strings(&days)),
        ("tags", lists(&vec![2; 50_000], strings(&["a\tb\\", "{\"\n"].repeat(50_000)))),
        ("days", lists(&vec![1; 50_000], strings(&days))),
        ("note", strings(&vec!["\\N"; 50_000])),
    ]);
    world
        .load("t", STREAM, stream(&[whole.slice(0, 30_000), whole.slice(30_000, 20_000)]))
        .await
        .committed(50_000);
    let good = "nr = id + 1 AND day = '1999-01-08' AND tags = ARRAY[E'a\\tb\\\\', E'{\"\\n'] AND days = ARRAY[day] AND note = E'\\\\N'";
    assert_eq!(world.db.count(&format!("t WHERE {good}")).await, 50_000);

    let answer = world
        .load("t", STREAM, stream(&[batch([("day", strings(&["1999-01-08", "Jan 8, 1999", "Foo 8"]))])]))
        .await;
    let problem = answer.problem(422, "bad-row");
    assert_eq!(json!([problem["row"], problem["column"], problem["sqlstate"]]), json!([3, "day", "22007"]));
}

#[tokio::test]
async fn values_that_would_lose_something_are_refused() {
    let world = World::new().await;
    world
        .db
        .sql(
            "CREATE EXTENSION hstore; CREATE DOMAIN list AS int[]; CREATE TYPE pair AS (a int, b int); \
             CREATE TABLE t (i int, b bool, r real, f float8, d date, at timestamp, wait interval, a int[], lists list[], h hstore, j jsonb, p pair)",
        )
        .await;
    let nested = |lengths: &[usize], inner: &[usize]| lists(lengths, lists(inner, ints(&[1, 2, 3])));
    let with_null_list = {
        let field = Arc::new(Field::new_list_field(DataType::Int32, true));
        let inner = ListArray::new(field, OffsetBuffer::from_lengths([1, 0]), ints(&[1]), Some(vec![true, false].into()));
        lists(&[2], Arc::new(inner))
    };
    let nan = lists(&[1], Arc::new(Float64Array::from(vec![f64::NAN])));
    let map = |key: &'static str| {
        let fields = Fields::from(vec![Field::new("keys", DataType::Utf8, false), Field::new("values", DataType::Utf8, true)]);
        let entries = StructArray::new(fields.clone(), vec![strings(&["a", key]), strings(&["x", "y"])], None);
        let field = Arc::new(Field::new("entries", DataType::Struct(fields), false));
        Arc::new(MapArray::new(field, OffsetBuffer::from_lengths([2]), entries, None, false)) as ArrayRef
    };
    let decimal = |value: &str| cast(&strings(&[value]), &DataType::Decimal128(38, 2)).unwrap();
    let cases: [(&str, ArrayRef, &str); 17] = [
        ("i", Arc::new(UInt64Array::from(vec![1 << 31])), "22003"),
        ("i", decimal("1.50"), "22P02"),
        ("i", decimal("2147483648.00"), "22003"),
        ("b", Arc::new(Int8Array::from(vec![2])), "22P02"),
        ("r", Arc::new(Float64Array::from(vec![0.1])), "22003"),
        ("f", Arc::new(Int64Array::from(vec![(1 << 53) + 1])), "22003"),
        ("d", Arc::new(TimestampMillisecondArray::from(vec![1])), "22008"),
        ("d", cast(&Int64Array::from(vec![86_400_001]), &DataType::Date64).unwrap(), "22008"),
        ("at", Arc::new(TimestampMillisecondArray::from(vec![i64::MAX])), "22008"),
        ("at", Arc::new(TimestampNanosecondArray::from(vec![-1])), "22008"),
        ("wait", Arc::new(DurationSecondArray::from(vec![i64::MAX])), "22008"),
        ("a", nested(&[2], &[1, 2]), "22P02"),
        ("a", nested(&[2], &[3, 0]), "22P02"),
        ("a", with_null_list, "22P02"),
        ("h", map("a"), "22023"),
        ("j", map("a"), "22023"),
        ("j", nan, "22P02"),
    ];
    for (column, array, sqlstate) in cases {
        let body = stream(&[batch([(column, array)])]);
        for table in ["t", "t?segments=one"] {
            let answer = world.load(table, STREAM, body.clone()).await;
            let problem = answer.problem(422, "bad-row");
            let place = json!([problem["row"], problem["column"], problem["sqlstate"]]);
            assert_eq!(place, json!([1, column, sqlstate]), "{problem:#}");
        }
    }
    let shifted = |zone: Option<&str>| Arc::new(TimestampMicrosecondArray::from(vec![0]).with_timezone_opt(zone)) as ArrayRef;
    let wrong_field = StructArray::from(vec![(Arc::new(Field::new("c", DataType::Int32, true)), ints(&[1]))]);
    let union = UnionArray::try_new(
        UnionFields::from_fields(vec![Field::new("a", DataType::Int32, true)]),
        ScalarBuffer::from(vec![0i8]),
        None,
        vec![ints(&[1])],
    );
    let misfits: [(&str, ArrayRef); 5] = [
        ("at", shifted(Some("UTC"))),
        ("p", Arc::new(wrong_field)),
        ("j", lists(&[1], Arc::new(BinaryArray::from_vec(vec![b"x"])))),
        ("i", Arc::new(union.unwrap())),
        ("b", lists(&[1], ints(&[1]))),
    ];
    let answer = world.load("t", STREAM, stream(&[batch(misfits)])).await;
    assert_eq!(answer.problem(422, "columns-mismatch")["misfits"].as_array().unwrap().len(), 5, "{:#}", answer.json);
    assert_eq!(world.db.count("t").await, 0);

    // A domain over arrays is no further dimension, so its lists may differ.
    world.load("t", STREAM, stream(&[batch([("lists", nested(&[2], &[1, 2]))])])).await.committed(1);
    assert_eq!(world.db.texts("SELECT lists::text FROM t").await[0].as_deref(), Some("{\"{1}\",\"{2,3}\"}"));
}

fn sample() -> RecordBatch {
    let dictionary: DictionaryArray<Int8Type> = [Some("red"), None, Some("red")].into_iter().collect();
    let column = |name: &str, array: ArrayRef| (name.to_owned(), array, true);
    RecordBatch::try_from_iter_with_nullable([
        column("i4", Arc::new(Int64Array::from(vec![Some(1), None, Some(-2_147_483_648)]))),
        column("f8", Arc::new(Float64Array::from(vec![0.1, f64::NEG_INFINITY, -0.0]))),
        column("num", Arc::new(Decimal128Array::from(vec![12_345, -1, 0]).with_precision_and_scale(15, 2).unwrap())),
        column("big", Arc::new(UInt64Array::from(vec![u64::MAX, 0, 1]))),
        column("day", Arc::new(Date32Array::from(vec![0, 19_000, -1]))),
        column("at", Arc::new(TimestampMicrosecondArray::from(vec![0, 1, -1]).with_timezone("Europe/Berlin"))),
        column("flag", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]))),
        column("color", Arc::new(dictionary)),
        column(
            "raw",
            Arc::new(FixedSizeBinaryArray::try_from_iter([[0u8; 3], [255; 3], [7; 3]].into_iter()).unwrap()),
        ),
        column("js", Arc::new(StringArray::from(vec!["{\"a\": 1}", "[]", "null"]))),
        column("small", Arc::new(Int32Array::from(vec![1, 2, 3]))),
    ])
    .unwrap()
}

#[tokio::test]
async fn arrow_streams_and_files_of_several_batches() {
    let world = World::new().await;
    let columns = "i4 int, f8 float8, num numeric(15,2), big numeric, day date, at timestamptz, flag bool, color varchar(3), raw bytea, js jsonb, small float8";
    world.db.sql(&format!("CREATE TABLE s ({columns}); CREATE TABLE f ({columns})")).await;
    let batches = [sample(), sample().slice(1, 0), sample().slice(1, 2)];
    world.load("s", STREAM, stream(&batches)).await.committed(5);
    world.load("f", FILE, file(&batches)).await.committed(5);
    assert_eq!(world.db.count("(TABLE s EXCEPT ALL TABLE f) x").await, 0);
    let first =
        "SELECT format('%s|%s|%s|%s|%s|%s|%s|%s|%s|%s', i4, f8, num, big, day, at AT TIME ZONE 'UTC', flag, color, raw, js) FROM f LIMIT 1";
    assert_eq!(
        world.db.texts(first).await[0].as_deref(),
        Some("1|0.1|123.45|18446744073709551615|1970-01-01|1970-01-01 00:00:00|t|red|\\x000000|{\"a\": 1}")
    );
    assert_eq!(world.db.count("s WHERE i4 IS NULL AND color IS NULL AND f8 = '-infinity'").await, 2);
}
