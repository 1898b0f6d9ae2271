//! Arrow's messages: dictionaries that come piece by piece, footers, and lengths that are not true.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, LargeListViewArray, NullArray, TimestampMicrosecondArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::writer::StreamWriter;

use crate::support::arrow::{FILE, STREAM, batch, file, ints, lists, stream};
use crate::support::{World, python};

const DICTIONARIES: &str = r#"
import sys, pyarrow as pa
def batch(words, nested):
    d = pa.DictionaryArray.from_arrays(pa.array(range(len(words)), pa.int8()), pa.array(words))
    inner = pa.DictionaryArray.from_arrays(pa.array([0] * len(words), pa.int32()), pa.array([nested]))
    l = pa.ListArray.from_arrays(pa.array(range(len(words) + 1), pa.int32()), inner)
    s = pa.StructArray.from_arrays([inner], ["a"])
    return pa.record_batch({"word": d, "list": l, "struct": s})
batches = [batch(["a", "b"], "x"), batch(["a", "b", "c"], "x"), batch(["a", "b", "c", "d"], "x")]
if sys.argv[2] == "replaced":
    batches += [batch(["z"], "y")]
options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=sys.argv[2] == "deltas")
new = pa.ipc.new_stream if sys.argv[1] == "stream" else pa.ipc.new_file
with new(sys.stdout.buffer, batches[0].schema, options=options) as writer:
    for b in batches:
        writer.write_batch(b)
"#;

#[tokio::test]
async fn dictionaries_that_grow_and_are_replaced() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (word text, list text[], struct jsonb)").await;
    for (container, media, how, rows) in [("stream", STREAM, "deltas", 9), ("file", FILE, "deltas", 9), ("stream", STREAM, "replaced", 10)]
    {
        let output = std::process::Command::new(python()).args(["-c", DICTIONARIES, container, how]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        world.load("t", media, output.stdout).await.committed(rows);
        let words = world
            .db
            .texts("SELECT string_agg(concat(word, list[1], struct->>'a'), ' ' ORDER BY word) FROM t")
            .await;
        let expected = "axx axx axx bxx bxx bxx cxx cxx dxx";
        let expected = if how == "replaced" { format!("{expected} zyy") } else { expected.to_owned() };
        assert_eq!(words[0].as_deref(), Some(expected.as_str()), "{container} {how}");
        world.db.sql("TRUNCATE t").await;
    }
}

#[tokio::test]
async fn a_footer_that_contradicts_the_file() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (at timestamp)").await;
    let micros = file(&[batch([("at", Arc::new(TimestampMicrosecondArray::from(vec![0, 1])))])]);
    let millis = file(&[batch([("at", Arc::new(TimestampMillisecondArray::from(vec![0, 1])))])]);
    assert_eq!(micros.len(), millis.len());
    world.load("t", FILE, micros.clone()).await.committed(2);
    let footer = u32::from_le_bytes(micros[micros.len() - 10..][..4].try_into().unwrap()) as usize + 10;
    let (front, end) = (&micros[..micros.len() - footer], &millis[millis.len() - footer..]);
    let answer = world.load("t", FILE, [front, end].concat()).await;
    assert!(answer.problem(422, "malformed-arrow")["detail"].as_str().unwrap().contains("schema in the footer"));
    assert_eq!(world.db.count("t").await, 2);
}

/// Every place in a message that says how much there is, made to claim 2^62, -1 and -2^62.
#[tokio::test]
async fn messages_that_claim_more_than_there_is() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (id bigint, tags int[], none int)").await;
    const ROWS: usize = 12_345;
    let whole = batch([
        ("id", Arc::new(Int64Array::from_iter_values(0..ROWS as i64))),
        ("tags", lists(&[1; ROWS], Arc::new(NullArray::new(ROWS)))),
        ("none", Arc::new(NullArray::new(ROWS))),
    ]);
    let options = arrow::ipc::writer::IpcWriteOptions::default();
    let compressed = options.clone().try_with_compression(Some(arrow::ipc::CompressionType::LZ4_FRAME)).unwrap();
    let mut tried = 0;
    for options in [options, compressed] {
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), &whole.schema(), options).unwrap();
        writer.write(&whole).unwrap();
        writer.finish().unwrap();
        let body = writer.into_inner().unwrap();
        world.load("t", STREAM, body.clone()).await.committed(ROWS as u64);
        // Lengths are multiples of rows or of offsets; the message's own stands among them, and in front of compressed buffers theirs.
        let lengths = [ROWS as i64, 8 * ROWS as i64, 4 * (ROWS as i64 + 1)];
        let places = (0..body.len() - 8).step_by(8).filter(|at| {
            let word = i64::from_le_bytes(body[*at..at + 8].try_into().unwrap());
            lengths.contains(&word) && *at < 2000 || *at > 300 && *at < 800 && word > ROWS as i64 && word < 200_000
        });
        for place in places {
            for claim in [1i64 << 62, -1, -(1 << 62), i64::MAX] {
                let mut hostile = body.clone();
                hostile[place..place + 8].copy_from_slice(&claim.to_le_bytes());
                let answer = world.load("t", STREAM, hostile).await;
                assert!([413, 422].contains(&answer.status.as_u16()), "{claim} at {place}: {:#}", answer.json);
                assert!(
                    answer.json["byte_offset"].as_u64().is_some() || answer.json["row"].as_u64().is_some(),
                    "{:#}",
                    answer.json
                );
                tried += 1;
            }
        }
        world.db.sql("TRUNCATE t").await;
    }
    assert!(tried >= 40, "only {tried} claims were made");
    assert!(world.service.rss_kib() < 160 << 10, "{} KiB", world.service.rss_kib());
}

/// Lists may share their elements, so a message of a few bytes can describe values without end.
#[tokio::test]
async fn lists_that_would_become_huge() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (a int[], j jsonb)").await;
    let mut values: ArrayRef = ints(&[7; 1000]);
    for _ in 0..5 {
        let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
        let (offsets, sizes) = (vec![0i64; 1000], vec![values.len() as i64; 1000]);
        values = Arc::new(LargeListViewArray::new(field, offsets.into(), sizes.into(), values, None));
    }
    for column in ["a", "j"] {
        let body = stream(&[batch([(column, values.slice(0, 1))])]);
        assert!(body.len() < 200_000, "{}", body.len());
        for table in ["t", "t?segments=one"] {
            let answer = world.load(table, STREAM, body.clone()).await;
            assert_eq!(answer.problem(422, "bad-row")["sqlstate"], "54000");
        }
    }
    assert!(world.service.rss_kib() < 160 << 10, "{} KiB", world.service.rss_kib());
}

/// Found by fuzzing: here arrow's own reader panics. That is a bad message like any other, and not the end of the service.
#[tokio::test]
async fn messages_that_the_library_does_not_survive() {
    const ROWS: usize = 1000;
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (raw bytea, tags int[])").await;

    let width = Field::new("raw", DataType::FixedSizeBinary(-5), true);
    let mut writer = StreamWriter::try_new(Vec::new(), &Schema::new(vec![width])).unwrap();
    writer.finish().unwrap();
    world.load("t", STREAM, writer.into_inner().unwrap()).await.problem(422, "malformed-arrow");

    let body = stream(&[batch([("tags", lists(&[1; ROWS], ints(&[7; ROWS])))])]);
    let length = (4 * (ROWS as i64 + 1)).to_le_bytes();
    let at = body.windows(8).position(|word| word == length).unwrap();
    let mut half_an_offset = body.clone();
    half_an_offset[at] += 2;
    world.load("t", STREAM, half_an_offset).await.problem(422, "malformed-arrow");

    assert_eq!(world.db.count("t").await, 0);
    world.load("t", STREAM, body).await.committed(ROWS as u64);
}
