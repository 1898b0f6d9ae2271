//! The table in `docs/ARROW.md`, made by asking `bind` about every pair of types, each with the values at the edges of the source.

use std::sync::Arc;

use arrow::array::types::{IntervalDayTime, IntervalMonthDayNano};
use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Date64Array, Decimal32Array,
    Decimal64Array, Decimal128Array, Decimal256Array, DictionaryArray, DurationMicrosecondArray, DurationMillisecondArray,
    DurationNanosecondArray, DurationSecondArray, FixedSizeBinaryArray, Float16Array, Float32Array, Float64Array, Int32Array,
    IntervalDayTimeArray, IntervalMonthDayNanoArray, IntervalYearMonthArray, LargeBinaryArray, LargeStringArray, ListArray, MapBuilder,
    NullArray, PrimitiveArray, RunArray, StringArray, StringBuilder, StringViewArray, StructArray, Time32MillisecondArray,
    Time32SecondArray, Time64MicrosecondArray, Time64NanosecondArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    TimestampNanosecondArray, TimestampSecondArray, UnionArray, new_empty_array,
};
use arrow::buffer::ScalarBuffer;
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowNativeTypeOp, DataType, Field, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    UnionFields, i256,
};

use super::*;
use crate::encode::{Attribute, Element, Shape};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ARROW.md");
const BEGIN: &str = "<!-- what follows is made by `make docs` -->\n";
const END: &str = "<!-- up to here -->\n";

const CONTEXT: Context = Context {
    dialect: Dialect {
        server_version: 150_000,
        time_zone_is_utc: false,
        money_is_plain: true,
        array_nulls: true,
    },
    value_bytes_max: 1 << 20,
};

struct Target {
    name: &'static str,
    kind: Option<Kind>,
    shape: Shape,
}

fn targets() -> Vec<Target> {
    let scalars = [
        ("boolean", Kind::Bool),
        ("smallint", Kind::Int2),
        ("integer", Kind::Int4),
        ("bigint", Kind::Int8),
        ("oid", Kind::Oid),
        ("real", Kind::Float4),
        ("double precision", Kind::Float8),
        ("numeric", Kind::Numeric(None)),
        ("numeric(p,s)", Kind::Numeric(Some((4, 2)))),
        ("text", Kind::Text),
        ("bytea", Kind::Bytea),
        ("uuid", Kind::Uuid),
        ("date", Kind::Date),
        ("time", Kind::Time),
        ("timestamp", Kind::Timestamp),
        ("timestamptz", Kind::Timestamptz),
        ("interval", Kind::Interval),
        ("json", Kind::Json),
        ("jsonb", Kind::Jsonb),
        ("hstore", Kind::Hstore),
        ("money", Kind::Money),
        ("inet", Kind::Inet),
        ("bit varying", Kind::Varbit(None)),
        ("an enumeration", Kind::Enum(Arc::new(["a".into()]))),
        ("a range", Kind::Range(Arc::new(Kind::Int4))),
    ];
    let scalar = |(name, kind): (&'static str, Kind)| Target { name, shape: Shape::Scalar(kind.clone()), kind: Some(kind) };
    let mut targets: Vec<Target> = scalars.into_iter().map(scalar).collect();
    let int4 = || Shape::Scalar(Kind::Int4);
    targets.push(Target {
        name: "integer[]",
        kind: Some(Kind::Array(Arc::new(Element { oid: 23, delimiter: b',', kind: Kind::Int4 }))),
        shape: Shape::Array { delimiter: b',', element: Arc::new(int4()) },
    });
    targets.push(Target {
        name: "a composite (a integer)",
        kind: Some(Kind::Composite(Arc::new([Attribute { name: "a".into(), oid: 23, kind: Kind::Int4 }]))),
        shape: Shape::Composite(Arc::new([("a".into(), int4())])),
    });
    targets.push(Target { name: "what only the server knows", kind: None, shape: Shape::Opaque });
    targets
}

fn integers<T: ArrowPrimitiveType>() -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::from_iter_values([
        T::Native::MIN_TOTAL_ORDER,
        T::default_value(),
        T::Native::MAX_TOTAL_ORDER,
    ]))
}

/// Every type once, with the values at its edges.
fn sources() -> Vec<(&'static str, ArrayRef)> {
    let words = ["", "x", "\\x0", "a much longer string than that"];
    let bytes: [&[u8]; 3] = [b"", b"\0", b"\xff\\x"];
    let mut sources: Vec<(&'static str, ArrayRef)> = vec![
        ("null", Arc::new(NullArray::new(2))),
        ("bool", Arc::new(BooleanArray::from(vec![true, false]))),
        ("int8", integers::<Int8Type>()),
        ("int16", integers::<Int16Type>()),
        ("int32", integers::<Int32Type>()),
        ("int64", integers::<Int64Type>()),
        ("uint8", integers::<UInt8Type>()),
        ("uint16", integers::<UInt16Type>()),
        ("uint32", integers::<UInt32Type>()),
        ("uint64", integers::<UInt64Type>()),
        ("utf8", Arc::new(StringArray::from_iter_values(words))),
        ("large_utf8", Arc::new(LargeStringArray::from_iter_values(words))),
        ("utf8_view", Arc::new(StringViewArray::from_iter_values(words))),
        ("binary", Arc::new(BinaryArray::from_iter_values(bytes))),
        ("large_binary", Arc::new(LargeBinaryArray::from_iter_values(bytes))),
        ("binary_view", Arc::new(BinaryViewArray::from_iter_values(bytes))),
        (
            "fixed_size_binary(16), arrow.uuid",
            Arc::new(FixedSizeBinaryArray::try_from_iter([[0; 16], [255; 16]].into_iter()).unwrap()),
        ),
        (
            "fixed_size_binary",
            Arc::new(FixedSizeBinaryArray::try_from_iter([[0; 3], [255; 3]].into_iter()).unwrap()),
        ),
    ];
    sources.extend(fractions());
    sources.extend(times());
    sources.extend(nested());
    sources
}

fn fractions() -> Vec<(&'static str, ArrayRef)> {
    let floats = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.1, 5e-324, f64::MAX];
    let wide = Float64Array::from_iter_values(floats);
    let narrow: Float32Array = floats.iter().map(|value| Some(*value as f32)).collect();
    let half: Float16Array = cast(&narrow, &DataType::Float16).unwrap().as_primitive().clone();
    vec![
        ("float16", Arc::new(half)),
        ("float32", Arc::new(narrow)),
        ("float64", Arc::new(wide)),
        (
            "decimal32",
            Arc::new(Decimal32Array::from(vec![999_999_999, -1]).with_precision_and_scale(9, 3).unwrap()),
        ),
        (
            "decimal64",
            Arc::new(Decimal64Array::from(vec![999_999_999, -1]).with_precision_and_scale(18, 3).unwrap()),
        ),
        (
            "decimal128",
            Arc::new(Decimal128Array::from(vec![i128::from(i64::MAX), -1]).with_precision_and_scale(38, 3).unwrap()),
        ),
        (
            "decimal256",
            Arc::new(
                Decimal256Array::from(vec![i256::from_i128(i128::MAX), i256::MINUS_ONE])
                    .with_precision_and_scale(76, 3)
                    .unwrap(),
            ),
        ),
    ]
}

fn times() -> Vec<(&'static str, ArrayRef)> {
    const ALL: [i64; 3] = [i64::MIN, 1, i64::MAX];
    let zone = "Europe/Berlin";
    let day = 86_400;
    vec![
        ("date32", Arc::new(Date32Array::from(vec![i32::MIN, 0, i32::MAX]))),
        ("date64", Arc::new(Date64Array::from(ALL.to_vec()))),
        ("time32(s)", Arc::new(Time32SecondArray::from(vec![0, day - 1]))),
        ("time32(ms)", Arc::new(Time32MillisecondArray::from(vec![0, day * 1000 - 1]))),
        ("time64(us)", Arc::new(Time64MicrosecondArray::from(vec![0, i64::from(day) * 1_000_000 - 1]))),
        ("time64(ns)", Arc::new(Time64NanosecondArray::from(vec![0, i64::from(day) * 1_000_000_000 - 1]))),
        ("timestamp(s)", Arc::new(TimestampSecondArray::from(ALL.to_vec()))),
        ("timestamp(ms)", Arc::new(TimestampMillisecondArray::from(ALL.to_vec()))),
        ("timestamp(us)", Arc::new(TimestampMicrosecondArray::from(ALL.to_vec()))),
        ("timestamp(ns)", Arc::new(TimestampNanosecondArray::from(ALL.to_vec()))),
        ("timestamp(s, zone)", Arc::new(TimestampSecondArray::from(ALL.to_vec()).with_timezone(zone))),
        ("timestamp(ms, zone)", Arc::new(TimestampMillisecondArray::from(ALL.to_vec()).with_timezone(zone))),
        ("timestamp(us, zone)", Arc::new(TimestampMicrosecondArray::from(ALL.to_vec()).with_timezone(zone))),
        ("timestamp(ns, zone)", Arc::new(TimestampNanosecondArray::from(ALL.to_vec()).with_timezone(zone))),
        ("duration(s)", Arc::new(DurationSecondArray::from(ALL.to_vec()))),
        ("duration(ms)", Arc::new(DurationMillisecondArray::from(ALL.to_vec()))),
        ("duration(us)", Arc::new(DurationMicrosecondArray::from(ALL.to_vec()))),
        ("duration(ns)", Arc::new(DurationNanosecondArray::from(ALL.to_vec()))),
        ("interval(year_month)", Arc::new(IntervalYearMonthArray::from(vec![i32::MIN, i32::MAX]))),
        (
            "interval(day_time)",
            Arc::new(IntervalDayTimeArray::from(vec![
                IntervalDayTime::new(i32::MIN, i32::MIN),
                IntervalDayTime::new(i32::MAX, i32::MAX),
            ])),
        ),
        (
            "interval(month_day_nano)",
            Arc::new(IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(1, i32::MIN, i64::MAX)])),
        ),
    ]
}

fn nested() -> Vec<(&'static str, ArrayRef)> {
    let ints = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None, Some(i32::MAX)]), Some(vec![])]);
    let as_list = |data_type: fn(Arc<Field>) -> DataType| {
        let field = Arc::new(Field::new_list_field(DataType::Int32, true));
        cast(&ints, &data_type(field)).unwrap()
    };
    let pairs: ArrayRef = cast(
        &ints.slice(1, 1),
        &DataType::FixedSizeList(Arc::new(Field::new_list_field(DataType::Int32, true)), 0),
    )
    .unwrap();
    let ragged = {
        let field = Arc::new(Field::new_list_field(ints.data_type().clone(), true));
        ListArray::new(field, arrow::buffer::OffsetBuffer::from_lengths([2]), Arc::new(ints.clone()), None)
    };
    let number: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let field = Arc::new(Field::new("a", DataType::Int32, true));
    let union_fields = UnionFields::from_fields(vec![Field::new("a", DataType::Int32, true)]);
    let union = UnionArray::try_new(union_fields, ScalarBuffer::from(vec![0i8]), None, vec![Arc::clone(&number)]).unwrap();
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for _ in 0..2 {
        map.keys().append_value("same key");
        map.values().append_null();
    }
    map.append(true).unwrap();
    let mut numbers = MapBuilder::new(None, StringBuilder::new(), Int32Array::builder(0));
    for _ in 0..2 {
        numbers.keys().append_value("same key");
        numbers.values().append_value(1);
    }
    numbers.append(true).unwrap();
    let dictionary: DictionaryArray<Int8Type> = ["", "\\x0"].into_iter().collect();
    let runs = RunArray::<Int32Type>::try_new(&Int32Array::from(vec![2, 3]), &StringArray::from(vec!["", "\\x0"])).unwrap();
    vec![
        ("dictionary of utf8", Arc::new(dictionary)),
        ("run_end_encoded of utf8", Arc::new(runs)),
        ("list of int32", Arc::new(ints.clone())),
        ("large_list of int32", as_list(DataType::LargeList)),
        ("list_view of int32", as_list(DataType::ListView)),
        ("large_list_view of int32", as_list(DataType::LargeListView)),
        ("fixed_size_list of int32", pairs),
        ("list of list of int32", Arc::new(ragged)),
        ("struct of a: int32", Arc::new(StructArray::from(vec![(field, number)]))),
        ("map of utf8 to utf8", Arc::new(map.finish())),
        ("map of utf8 to int32", Arc::new(numbers.finish())),
        ("union", Arc::new(union)),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fits {
    Always,
    ByValue,
    Never,
}

fn fits(array: &dyn Array, target: &Target) -> Fits {
    let nulls = array.logical_nulls();
    let mut values = (0..array.len()).filter(|index| !nulls.as_ref().is_some_and(|nulls| nulls.is_null(*index)));
    let all_go = match &target.kind {
        Some(kind) => {
            let mut row = RowWriter::new(0, 0);
            bind(kind, array, CONTEXT).map(|append| values.all(|index| append(index, &mut row).is_ok()))
        }
        // Nobody but the server knows.
        None => render(&target.shape, array, CONTEXT).map(|_| values.next().is_none()),
    };
    // JSON in strings is for the server to judge.
    let judged = matches!(target.kind, Some(Kind::Json | Kind::Jsonb)) && is_text(array.data_type());
    match all_go {
        Some(true) if !judged => Fits::Always,
        Some(_) => Fits::ByValue,
        None => Fits::Never,
    }
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_text(values),
        DataType::RunEndEncoded(_, values) => is_text(values.data_type()),
        other => other.is_string(),
    }
}

/// Sources that go to the same places share a line.
fn table() -> String {
    let targets = targets();
    let mut lines: Vec<(Vec<&str>, Vec<Fits>)> = Vec::new();
    for (name, array) in sources() {
        let fits: Vec<Fits> = targets.iter().map(|target| fits(array.as_ref(), target)).collect();
        match lines.iter_mut().find(|(_, other)| *other == fits) {
            Some((names, _)) => names.push(name),
            None => lines.push((vec![name], fits)),
        }
    }
    let mut page = String::from("| from Arrow | into PostgreSQL, always | value by value |\n|---|---|---|\n");
    for (names, fits) in lines {
        let of = |wanted: Fits| {
            let names: Vec<&str> = targets
                .iter()
                .zip(&fits)
                .filter(|(_, fits)| **fits == wanted)
                .map(|(target, _)| target.name)
                .collect();
            match names.len() {
                0 => "–".to_owned(),
                count if count == targets.len() => "everything".to_owned(),
                count if count > targets.len() - 3 && wanted == Fits::ByValue => "everything else".to_owned(),
                _ => names.join(", "),
            }
        };
        page.push_str(&format!("| {} | {} | {} |\n", names.join(", "), of(Fits::Always), of(Fits::ByValue)));
    }
    page
}

fn page_around() -> (String, String, String) {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (head, rest) = page.split_once(BEGIN).unwrap();
    let (table, tail) = rest.split_once(END).unwrap();
    (head.to_owned(), table.to_owned(), tail.to_owned())
}

/// With `PGSLUICE_WRITE_DOCS`, as `make docs` has it, the page is written first.
#[test]
fn the_page_says_what_the_code_does() {
    let (head, printed, tail) = page_around();
    if option_env!("PGSLUICE_WRITE_DOCS").is_some() {
        std::fs::write(PAGE, [&head, BEGIN, &table(), END, &tail].concat()).unwrap();
        return;
    }
    assert!(printed == table(), "docs/ARROW.md is out of date: `make docs` makes it anew");
}

/// A schema is accepted or refused before the first batch, and for both forms at once.
#[test]
fn an_empty_array_and_both_forms_say_the_same() {
    for (name, array) in sources() {
        let empty = new_empty_array(array.data_type());
        for target in targets() {
            let into = format!("{name} into {}", target.name);
            let rendered = render(&target.shape, array.as_ref(), CONTEXT).is_some();
            assert_eq!(rendered, render(&target.shape, empty.as_ref(), CONTEXT).is_some(), "{into}");
            let Some(kind) = &target.kind else { continue };
            assert_eq!(rendered, bind(kind, array.as_ref(), CONTEXT).is_some(), "{into}");
            assert_eq!(rendered, bind(kind, empty.as_ref(), CONTEXT).is_some(), "{into}");
        }
    }
}

/// What goes as binary goes as text, and what is refused is refused for the same reason.
#[test]
fn both_forms_refuse_the_same_values() {
    let mut checked = 0;
    for (name, array) in sources().into_iter().filter(|(_, array)| !is_text(array.data_type())) {
        let nulls = array.logical_nulls();
        for target in targets() {
            let Some(append) = target.kind.as_ref().and_then(|kind| bind(kind, array.as_ref(), CONTEXT)) else { continue };
            let render = render(&target.shape, array.as_ref(), CONTEXT).unwrap();
            for index in (0..array.len()).filter(|index| !nulls.as_ref().is_some_and(|nulls| nulls.is_null(*index))) {
                let binary = append(index, &mut RowWriter::new(0, 0));
                assert_eq!(binary, render(index, &mut Vec::new()), "{name} into {}, value {index}", target.name);
                checked += 1;
            }
        }
    }
    assert!(checked > 300, "only {checked} values");
}
