//! Makes the benchmark's data: TPC-H `lineitem` and a narrow sensor table, as CSV or as an Arrow
//! IPC stream. The same arguments always give the same bytes, and rows are written as they are
//! made, so that memory does not depend on the size of the table.
//!
//! ```text
//! bench_data lineitem --scale 1        --format csv   --out lineitem.csv
//! bench_data sensor   --rows 3000000   --format arrow --out sensor.arrow
//! ```

use std::error::Error;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use std::sync::Arc;

use arrow::array::temporal_conversions::timestamp_us_to_datetime;
use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::ipc::writer::StreamWriter;
use tpchgen::csv::LineItemCsv;
use tpchgen::dates::TPCHDate;
use tpchgen::generators::{LineItem, LineItemGenerator};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: bench_data (lineitem --scale N | sensor --rows N) --format (csv|arrow) --out FILE";

/// Rows in one Arrow record batch: about 2 MiB of either table.
const BATCH_ROWS: usize = 16_384;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench_data: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let table = args.first().ok_or(USAGE)?;
    let options = Options(&args[1..]);
    match table.as_str() {
        "lineitem" => {
            let scale = options.get("--scale")?.parse()?;
            write(LineItemGenerator::new(scale, 1, 1).iter(), &options)
        }
        "sensor" => {
            let rows = options.get("--rows")?.parse()?;
            write(Sensors::new().take(rows), &options)
        }
        _ => Err(USAGE.into()),
    }
}

/// The command line after the table's name: pairs of a flag and its value.
struct Options<'a>(&'a [String]);

impl Options<'_> {
    fn get(&self, flag: &str) -> Result<&str> {
        self.0
            .chunks_exact(2)
            .find(|pair| pair[0] == flag)
            .map(|pair| pair[1].as_str())
            .ok_or_else(|| format!("{flag} is missing\n{USAGE}").into())
    }
}

/// A row of one of the tables.
trait Row: Sized {
    fn schema() -> Schema;
    fn write_csv(self, out: &mut impl Write) -> io::Result<()>;
    fn columns(rows: &[Self]) -> Vec<ArrayRef>;
}

fn write<R: Row>(rows: impl Iterator<Item = R>, options: &Options<'_>) -> Result<()> {
    let format = options.get("--format")?;
    let out = BufWriter::with_capacity(1 << 20, File::create(options.get("--out")?)?);
    match format {
        "csv" => write_csv(rows, out),
        "arrow" => write_arrow(rows, out),
        _ => Err(USAGE.into()),
    }
}

fn write_csv<R: Row>(rows: impl Iterator<Item = R>, mut out: impl Write) -> Result<()> {
    let schema = R::schema();
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    writeln!(out, "{}", names.join(","))?;
    for row in rows {
        row.write_csv(&mut out)?;
    }
    Ok(out.flush()?)
}

fn write_arrow<R: Row>(mut rows: impl Iterator<Item = R>, out: impl Write) -> Result<()> {
    let schema = Arc::new(R::schema());
    let mut writer = StreamWriter::try_new(out, &schema)?;
    loop {
        let batch: Vec<R> = rows.by_ref().take(BATCH_ROWS).collect();
        if batch.is_empty() {
            break;
        }
        writer.write(&RecordBatch::try_new(schema.clone(), R::columns(&batch))?)?;
    }
    writer.finish()?;
    Ok(writer.into_inner()?.flush()?)
}

fn field(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, false)
}

impl Row for LineItem<'static> {
    fn schema() -> Schema {
        use DataType::{Date32, Decimal128, Int32, Int64, Utf8};
        Schema::new(vec![
            field("l_orderkey", Int64),
            field("l_partkey", Int64),
            field("l_suppkey", Int64),
            field("l_linenumber", Int32),
            field("l_quantity", Decimal128(15, 2)),
            field("l_extendedprice", Decimal128(15, 2)),
            field("l_discount", Decimal128(15, 2)),
            field("l_tax", Decimal128(15, 2)),
            field("l_returnflag", Utf8),
            field("l_linestatus", Utf8),
            field("l_shipdate", Date32),
            field("l_commitdate", Date32),
            field("l_receiptdate", Date32),
            field("l_shipinstruct", Utf8),
            field("l_shipmode", Utf8),
            field("l_comment", Utf8),
        ])
    }

    fn write_csv(self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{}", LineItemCsv::new(self))
    }

    fn columns(rows: &[Self]) -> Vec<ArrayRef> {
        vec![
            int8(rows, |r| r.l_orderkey),
            int8(rows, |r| r.l_partkey),
            int8(rows, |r| r.l_suppkey),
            int4(rows, |r| r.l_linenumber),
            // The generator counts whole pieces; the column has two decimals.
            cents(rows, |r| r.l_quantity * 100),
            cents(rows, |r| r.l_extendedprice.into_inner()),
            cents(rows, |r| r.l_discount.into_inner()),
            cents(rows, |r| r.l_tax.into_inner()),
            text(rows, |r| r.l_returnflag),
            text(rows, |r| r.l_linestatus),
            date(rows, |r| r.l_shipdate),
            date(rows, |r| r.l_commitdate),
            date(rows, |r| r.l_receiptdate),
            text(rows, |r| r.l_shipinstruct),
            text(rows, |r| r.l_shipmode),
            text(rows, |r| r.l_comment),
        ]
    }
}

/// One reading of a device: the first value has the digits that a converter prints, the other two
/// those of an average, so that short and long floats are both in the table.
struct Sensor {
    /// Microseconds since 1970, in UTC.
    ts: i64,
    device: i32,
    temperature: f64,
    pressure: f64,
    load: f64,
    seq: i64,
    ok: bool,
}

impl Row for Sensor {
    fn schema() -> Schema {
        use DataType::{Boolean, Float64, Int32, Int64, Timestamp};
        Schema::new(vec![
            field("ts", Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
            field("device", Int32),
            field("v1", Float64),
            field("v2", Float64),
            field("v3", Float64),
            field("seq", Int64),
            field("ok", Boolean),
        ])
    }

    fn write_csv(self, out: &mut impl Write) -> io::Result<()> {
        let ts = timestamp_us_to_datetime(self.ts).expect("the clock stays within this century");
        writeln!(
            out,
            "{},{},{},{},{},{},{}",
            ts.format("%Y-%m-%d %H:%M:%S%.6f+00"),
            self.device,
            self.temperature,
            self.pressure,
            self.load,
            self.seq,
            self.ok,
        )
    }

    fn columns(rows: &[Self]) -> Vec<ArrayRef> {
        let ts = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.ts));
        let ok: BooleanArray = rows.iter().map(|r| Some(r.ok)).collect();
        vec![
            Arc::new(ts.with_timezone("UTC")),
            int4(rows, |r| r.device),
            float8(rows, |r| r.temperature),
            float8(rows, |r| r.pressure),
            float8(rows, |r| r.load),
            int8(rows, |r| r.seq),
            Arc::new(ok),
        ]
    }
}

/// The endless stream of readings, in the order of their time.
struct Sensors {
    ts: i64,
    seq: i64,
    random: SplitMix64,
}

impl Sensors {
    fn new() -> Self {
        Sensors {
            ts: 1_735_689_600_000_000, // 2025-01-01 00:00:00 UTC
            seq: 7_000_000_000,
            random: SplitMix64(20_250_101),
        }
    }
}

impl Iterator for Sensors {
    type Item = Sensor;

    fn next(&mut self) -> Option<Sensor> {
        let random = &mut self.random;
        self.ts += 1 + random.below(40_000);
        self.seq += 1;
        Some(Sensor {
            ts: self.ts,
            device: 10_000 + random.below(20_000) as i32,
            temperature: (random.below(6_000) - 1_500) as f64 / 100.0,
            pressure: 950.0 + random.unit() * 90.0,
            load: random.unit() * 100.0,
            seq: self.seq,
            ok: random.below(50) != 0,
        })
    }
}

/// Sebastiano Vigna's SplitMix64: a few lines that give the same numbers everywhere, for ever.
struct SplitMix64(u64);

impl SplitMix64 {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A whole number from 0 up to, not including, `bound`.
    fn below(&mut self, bound: i64) -> i64 {
        (self.bits() % bound as u64) as i64
    }

    /// A float in [0, 1) with all its 53 bits in use.
    fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn int4<R>(rows: &[R], value: impl Fn(&R) -> i32) -> ArrayRef {
    Arc::new(Int32Array::from_iter_values(rows.iter().map(value)))
}

fn int8<R>(rows: &[R], value: impl Fn(&R) -> i64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(rows.iter().map(value)))
}

fn float8<R>(rows: &[R], value: impl Fn(&R) -> f64) -> ArrayRef {
    Arc::new(Float64Array::from_iter_values(rows.iter().map(value)))
}

fn text<R>(rows: &[R], value: impl Fn(&R) -> &str) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(rows.iter().map(value)))
}

fn date<R>(rows: &[R], value: impl Fn(&R) -> TPCHDate) -> ArrayRef {
    let days = rows.iter().map(|r| value(r).to_unix_epoch());
    Arc::new(Date32Array::from_iter_values(days))
}

fn cents<R>(rows: &[R], value: impl Fn(&R) -> i64) -> ArrayRef {
    let cents = rows.iter().map(|r| i128::from(value(r)));
    Arc::new(
        Decimal128Array::from_iter_values(cents)
            .with_precision_and_scale(15, 2)
            .expect("15 digits with 2 decimals is a valid decimal"),
    )
}
