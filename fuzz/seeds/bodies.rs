//! Bodies for the table of `pgsluice_fuzz::bodies`.

use std::io;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Decimal128Array, DictionaryArray, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array,
    IntervalMonthDayNanoArray, ListArray, RecordBatch, StringArray, StringViewArray, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int32Type, IntervalMonthDayNano};
use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use arrow::ipc::{CompressionType, MetadataVersion};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::{WriterProperties, WriterVersion};
use pgsluice::ingest::Coding;
use pgsluice_fuzz::codings::encoded;

use crate::Corpus;
use crate::texts::{data, sections};

/// Columns, and the sections of tests/data/types with texts for them.
const COLUMNS: [(&str, &[&str]); 11] = [
    ("a", &["integers"]),
    ("b", &["strings"]),
    ("c", &["timestamps"]),
    ("d", &["numeric"]),
    ("e", &["arrays"]),
    ("f", &["json"]),
    ("g", &["floats"]),
    ("h", &["pair"]),
    ("i", &["bytea"]),
    ("j", &["uuid"]),
    ("k", &["interval"]),
];

/// A column's texts, some at a time.
fn texts_by_column() -> io::Result<Vec<(&'static str, Vec<String>)>> {
    let mut all = Vec::new();
    for (column, wanted) in COLUMNS {
        all.extend(sections(wanted)?.chunks(20).map(|texts| (column, texts.to_vec())));
    }
    Ok(all)
}

pub(crate) fn csv(corpus: &mut Corpus) -> io::Result<()> {
    for entry in data("csv-spectrum").read_dir()? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "csv") {
            let file = std::fs::read(path)?;
            let mut names = file.splitn(2, |byte| *byte == b'\n');
            let (header, rows) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
            // With names that the table has, the rows are read too.
            let columns = ["b", "f", "i", "d", "g"][..header.split(|byte| *byte == b',').count().min(5)].join(",");
            for flags in [0, 4, 16, 64] {
                corpus.add(&[flags, 9, 0], &file)?;
                corpus.add(&[flags, 9, 0], &[columns.as_bytes(), b"\n", rows].concat())?;
            }
        }
    }
    for (column, texts) in texts_by_column()? {
        let quoted: Vec<String> = texts.iter().map(|text| format!("\"{}\"", text.replace('"', "\"\""))).collect();
        corpus.add(&[0, 30, 0], format!("{column}\n{}\n", quoted.join("\n")).as_bytes())?;
        corpus.add(&[0, 30, 0], format!("{column}\r\n{}\r\n", texts.join("\r\n")).as_bytes())?;
        let escape = |text: &String| text.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t");
        let escaped: Vec<String> = texts.iter().map(escape).collect();
        corpus.add(&[1, 30, 0], format!("{column}\n{}\n\\.\n", escaped.join("\n")).as_bytes())?;
    }
    let row = "1,x,2024-02-29 12:00:00+01,12.345,\"{1,NULL,3}\",\"{\"\"a\"\": [1]}\",1e5,\"(1,\"\"a b\"\")\",\\x00ff,\
               00000000-0000-4000-8000-000000000001,1 day 04:05:06\n";
    corpus.add(&[2, 7, 0], row.repeat(3).as_bytes())?;
    corpus.add(&[0x82, 7, 0], row.replace('\n', ",\"(1,2)\"\n").repeat(3).as_bytes())?;
    corpus.add(&[0x82, 7, 0], b"\xef\xbb\xbf1,,,,,,,,,,,\n")
}

pub(crate) fn ndjson(corpus: &mut Corpus) -> io::Result<()> {
    for (column, texts) in texts_by_column()? {
        let quoted = texts.iter().map(|text| format!("{{\"{column}\": {}}}\n", serde_json::Value::from(text.as_str())));
        corpus.add(&[0, 30, 0], quoted.collect::<String>().as_bytes())?;
        let bare = texts.iter().map(|text| format!("{{\"{column}\": {text}}}\n"));
        corpus.add(&[2, 30, 0], bare.collect::<String>().as_bytes())?;
    }
    let line = r#"{"a": 1, "b": "\u00e4\ud83d\ude00\n", "c": "2024-02-29T12:00:00Z", "d": 12345678.90, "e": [1, null, 3], "f": {"x": [1.50, {}]},
        "g": -1e-3, "h": {"y": "a \"b\"", "x": 2}, "i": "\\x00ff", "j": "00000000-0000-4000-8000-000000000001", "k": "1 day", "l": [1]}"#;
    let line = line.replace('\n', " ");
    corpus.add(&[2, 99, 0], format!("{line}\n\n \r\n{line}").as_bytes())?;
    corpus.add(&[0, 99, 0], line.replace("\"l\"", "\"\\u0061\"").as_bytes())?;
    corpus.add(&[1, 9, 0], br#"{"a":1,"h":{"x":1,"y":null,"x":2}}"#)?;
    corpus.add(&[0, 9, 0], br#"{"a":null,"e":"{1,2}","h":"(1,x)","e":[[1,2],[3,4]]}"#)?;
    corpus.add(&[0, 40, 0], ["[".repeat(40), "]".repeat(40)].concat().replacen('[', "{\"f\":[", 1).as_bytes())
}

/// Some rows for all columns but the last.
fn batch() -> RecordBatch {
    let pair: Vec<(Arc<Field>, ArrayRef)> = vec![
        (
            Field::new("x", DataType::Int32, true).into(),
            Arc::new(Int32Array::from(vec![Some(1), None, Some(3)])),
        ),
        (Field::new("y", DataType::Utf8, true).into(), Arc::new(StringArray::from(vec!["a", "b c", ""]))),
    ];
    let lists = [Some(vec![Some(1), None, Some(3)]), Some(vec![]), None];
    let ids = [[1u8; 16], [2; 16], [3; 16]];
    let spans = [(1, 2, 3_000), (-1, 0, 0), (0, 0, 0)].map(|(months, days, nanos)| IntervalMonthDayNano::new(months, days, nanos));
    let columns: [(&str, ArrayRef); 11] = [
        ("a", Arc::new(Int64Array::from(vec![Some(1), Some(-2), None]))),
        ("b", Arc::new(["x", "y", "x"].into_iter().collect::<DictionaryArray<Int32Type>>())),
        (
            "c",
            Arc::new(TimestampMicrosecondArray::from(vec![0, -1, 1_700_000_000_000_000]).with_timezone("UTC")),
        ),
        (
            "d",
            Arc::new(Decimal128Array::from(vec![1250, -1, 0]).with_precision_and_scale(10, 2).expect("ten digits")),
        ),
        ("e", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists))),
        ("f", Arc::new(StringArray::from(vec!["{}", "[1]", "null"]))),
        ("g", Arc::new(Float64Array::from(vec![1.5, f64::NAN, -0.0]))),
        ("h", Arc::new(StructArray::from(pair))),
        ("i", Arc::new(BinaryArray::from_vec(vec![b"\0\xff", b"", b"abc"]))),
        ("j", Arc::new(FixedSizeBinaryArray::try_from_iter(ids.into_iter()).expect("of one size"))),
        ("k", Arc::new(IntervalMonthDayNanoArray::from(spans.to_vec()))),
    ];
    RecordBatch::try_from_iter(columns).expect("of one length")
}

/// The batch, and parts of it, so that less stands in the way.
fn batches() -> Vec<RecordBatch> {
    let whole = batch();
    let strings: ArrayRef = Arc::new(StringViewArray::from(vec!["1", "a value of more than twelve bytes", ""]));
    let strings = RecordBatch::try_from_iter([("b", strings.clone()), ("l", strings)]).expect("of one length");
    let single = (0..whole.num_columns()).map(|column| whole.project(&[column]).expect("a column"));
    let single: Vec<RecordBatch> = single.collect();
    [vec![whole.clone(), strings, whole.slice(1, 1), whole.slice(0, 0)], single].concat()
}

pub(crate) fn arrow(corpus: &mut Corpus) -> io::Result<()> {
    for batch in batches() {
        for compression in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
            let options = IpcWriteOptions::try_new(8, false, MetadataVersion::V5).map_err(io::Error::other)?;
            let options = options.try_with_compression(compression).map_err(io::Error::other)?;
            let mut stream = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options.clone()).map_err(io::Error::other)?;
            let mut file = FileWriter::try_new_with_options(Vec::new(), &batch.schema(), options).map_err(io::Error::other)?;
            for _ in 0..2 {
                stream.write(&batch).map_err(io::Error::other)?;
                file.write(&batch).map_err(io::Error::other)?;
            }
            corpus.add(&[2, 200, 0], &stream.into_inner().map_err(io::Error::other)?)?;
            corpus.add(&[3, 200, 0], &file.into_inner().map_err(io::Error::other)?)?;
        }
    }
    Ok(())
}

pub(crate) fn parquet(corpus: &mut Corpus) -> io::Result<()> {
    let codecs = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(Default::default()),
        Compression::BROTLI(Default::default()),
        Compression::ZSTD(Default::default()),
        Compression::LZ4_RAW,
    ];
    for (nth, batch) in batches().into_iter().enumerate() {
        for codec in codecs {
            for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
                let properties = WriterProperties::builder()
                    .set_compression(codec)
                    .set_writer_version(version)
                    .set_dictionary_enabled(nth % 2 == 0)
                    .set_max_row_group_row_count(Some(2));
                write_parquet(corpus, &batch, properties.build())?;
            }
        }
    }
    // Encodings that are not their columns' usual ones.
    let encodings = [(0, Encoding::DELTA_BINARY_PACKED), (5, Encoding::DELTA_BYTE_ARRAY), (5, Encoding::DELTA_LENGTH_BYTE_ARRAY)];
    for (column, encoding) in encodings.into_iter().chain([(6, Encoding::BYTE_STREAM_SPLIT)]) {
        let properties = WriterProperties::builder().set_dictionary_enabled(false).set_encoding(encoding);
        write_parquet(corpus, &batch().project(&[column]).map_err(io::Error::other)?, properties.build())?;
    }
    Ok(())
}

/// A batch that has no form in Parquet makes no seed.
fn write_parquet(corpus: &mut Corpus, batch: &RecordBatch, properties: WriterProperties) -> io::Result<()> {
    let columns: Vec<usize> = (0..batch.num_columns()).filter(|column| batch.schema().field(*column).name() != "k").collect();
    let batch = batch.project(&columns).map_err(io::Error::other)?;
    if columns.is_empty() {
        return Ok(());
    }
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).map_err(io::Error::other)?;
    writer.write(&batch).map_err(io::Error::other)?;
    corpus.add(&[2, 200, 0], &writer.into_inner().map_err(io::Error::other)?)
}

pub(crate) fn decompress(corpus: &mut Corpus) -> io::Result<()> {
    let rows: String = (0..60u32)
        .map(|row| format!("{row},{},\"word {}\"\n", row.wrapping_mul(2_654_435_761), row % 7))
        .collect();
    let zeros = vec![0; 3000];
    for data in [b"", b"a\n".as_slice(), rows.as_bytes(), &zeros] {
        for (name, coding) in [Coding::Gzip, Coding::Zstd, Coding::Lz4, Coding::Brotli].into_iter().enumerate() {
            for way in 0..8u8 {
                corpus.add(&[4 | way << 3, name as u8, 50, 17, 0], data)?;
                corpus.add(&[0, name as u8, 6, 0, 0], &encoded(coding, data, way))?;
            }
            let two = [encoded(coding, data, 0), encoded(coding, data, 7)].concat();
            corpus.add(&[0, name as u8, 0, 0, 0], &two)?;
            corpus.add(&[1, name as u8 * 5, 0, 0, 0], &encoded(coding, &two, 0))?;
        }
        for names in [0b0001_1011, 0b1110_0100, 0b0101_0101] {
            corpus.add(&[4 | 3, names, 100, 9, 1], data)?;
        }
    }
    // 64 MiB of window, and twice as much.
    for window in [0x80, 0x88] {
        corpus.add(&[0, 1, 0, 0, 0], &[0x28, 0xB5, 0x2F, 0xFD, 0x00, window, 0x01, 0x00, 0x00])?;
    }
    Ok(())
}
