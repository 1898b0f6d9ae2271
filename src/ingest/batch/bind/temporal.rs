//! Dates, times, timestamps and intervals. What is finer than a microsecond is refused, not rounded.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType,
    IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, Time32MillisecondType, Time32SecondType,
    Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};

use super::Append;
use super::scalar::primitive;
use crate::encode::{DATE_EPOCH_DAYS, FieldError, TIMESTAMP_EPOCH_MICROS, check_date_days, check_timestamp_micros};

const SECOND_MICROS: i64 = 1_000_000;
const MILLI_MICROS: i64 = 1000;
const DAY_MICROS: i64 = 86_400 * SECOND_MICROS;
const DAY_MILLIS: i64 = 86_400_000;

/// Dates, and wall clocks that show midnight.
pub(super) fn date(array: &dyn Array) -> Option<Append<'_>> {
    let days = |days: i64| check_date_days(days - i64::from(DATE_EPOCH_DAYS)).map(i32::to_be_bytes);
    match array.data_type() {
        DataType::Date32 => primitive(array.as_primitive::<Date32Type>(), move |v| days(v.into())),
        DataType::Date64 => primitive(array.as_primitive::<Date64Type>(), move |v| days(whole(v, DAY_MILLIS, "date")?)),
        DataType::Timestamp(unit, None) => timestamps(array, *unit, move |v| days(whole(v, DAY_MICROS, "date")?)),
        _ => None,
    }
}

pub(super) fn time(array: &dyn Array) -> Option<Append<'_>> {
    let check = |micros: i64| {
        if (0..=DAY_MICROS).contains(&micros) { Ok(micros.to_be_bytes()) } else { Err(out_of_range("time")) }
    };
    match array.data_type() {
        DataType::Time32(TimeUnit::Second) => {
            primitive(array.as_primitive::<Time32SecondType>(), move |v| check(i64::from(v) * SECOND_MICROS))
        }
        DataType::Time32(TimeUnit::Millisecond) => {
            primitive(array.as_primitive::<Time32MillisecondType>(), move |v| check(i64::from(v) * MILLI_MICROS))
        }
        DataType::Time64(TimeUnit::Microsecond) => primitive(array.as_primitive::<Time64MicrosecondType>(), check),
        DataType::Time64(TimeUnit::Nanosecond) => {
            primitive(array.as_primitive::<Time64NanosecondType>(), move |v| check(whole(v, 1000, "time")?))
        }
        _ => None,
    }
}

/// Without a zone an Arrow timestamp is a wall clock's reading, and a date is one at midnight.
pub(super) fn timestamp(array: &dyn Array) -> Option<Append<'_>> {
    let midnight = |days: i64| since_2000(times(days, DAY_MICROS, "timestamp")?);
    match array.data_type() {
        DataType::Timestamp(unit, None) => timestamps(array, *unit, since_2000),
        DataType::Date32 => primitive(array.as_primitive::<Date32Type>(), move |v| midnight(v.into())),
        DataType::Date64 => primitive(array.as_primitive::<Date64Type>(), move |v| midnight(whole(v, DAY_MILLIS, "date")?)),
        _ => None,
    }
}

/// With a zone it is an instant; which zone it is shown in makes no difference. Neither goes into the other's type.
pub(super) fn timestamptz(array: &dyn Array) -> Option<Append<'_>> {
    match array.data_type() {
        DataType::Timestamp(unit, Some(_)) => timestamps(array, *unit, since_2000),
        _ => None,
    }
}

fn since_2000(micros: i64) -> Result<[u8; 8], FieldError> {
    let micros = micros.checked_sub(TIMESTAMP_EPOCH_MICROS).ok_or_else(|| out_of_range("timestamp"))?;
    check_timestamp_micros(micros).map(i64::to_be_bytes)
}

/// Each timestamp's microseconds since 1970, converted.
fn timestamps<'a, const N: usize>(
    array: &'a dyn Array,
    unit: TimeUnit,
    convert: impl Fn(i64) -> Result<[u8; N], FieldError> + 'a,
) -> Option<Append<'a>> {
    const NAME: &str = "timestamp";
    match unit {
        TimeUnit::Second => primitive(array.as_primitive::<TimestampSecondType>(), move |v| convert(times(v, SECOND_MICROS, NAME)?)),
        TimeUnit::Millisecond => {
            primitive(array.as_primitive::<TimestampMillisecondType>(), move |v| convert(times(v, MILLI_MICROS, NAME)?))
        }
        TimeUnit::Microsecond => primitive(array.as_primitive::<TimestampMicrosecondType>(), convert),
        TimeUnit::Nanosecond => primitive(array.as_primitive::<TimestampNanosecondType>(), move |v| convert(whole(v, 1000, NAME)?)),
    }
}

/// Months, days and microseconds are kept apart on both sides; a duration is microseconds only.
pub(super) fn interval(array: &dyn Array) -> Option<Append<'_>> {
    const NAME: &str = "interval";
    match array.data_type() {
        DataType::Interval(IntervalUnit::YearMonth) => {
            primitive(array.as_primitive::<IntervalYearMonthType>(), |months| Ok(interval_wire(0, 0, months)))
        }
        DataType::Interval(IntervalUnit::DayTime) => primitive(array.as_primitive::<IntervalDayTimeType>(), |v| {
            Ok(interval_wire(i64::from(v.milliseconds) * MILLI_MICROS, v.days, 0))
        }),
        DataType::Interval(IntervalUnit::MonthDayNano) => primitive(array.as_primitive::<IntervalMonthDayNanoType>(), |v| {
            Ok(interval_wire(whole(v.nanoseconds, 1000, NAME)?, v.days, v.months))
        }),
        DataType::Duration(TimeUnit::Second) => primitive(array.as_primitive::<DurationSecondType>(), |v| {
            Ok(interval_wire(times(v, SECOND_MICROS, NAME)?, 0, 0))
        }),
        DataType::Duration(TimeUnit::Millisecond) => primitive(array.as_primitive::<DurationMillisecondType>(), |v| {
            Ok(interval_wire(times(v, MILLI_MICROS, NAME)?, 0, 0))
        }),
        DataType::Duration(TimeUnit::Microsecond) => {
            primitive(array.as_primitive::<DurationMicrosecondType>(), |v| Ok(interval_wire(v, 0, 0)))
        }
        DataType::Duration(TimeUnit::Nanosecond) => {
            primitive(array.as_primitive::<DurationNanosecondType>(), |v| Ok(interval_wire(whole(v, 1000, NAME)?, 0, 0)))
        }
        _ => None,
    }
}

/// `interval_recv`.
fn interval_wire(micros: i64, days: i32, months: i32) -> [u8; 16] {
    let mut wire = [0; 16];
    wire[..8].copy_from_slice(&micros.to_be_bytes());
    wire[8..12].copy_from_slice(&days.to_be_bytes());
    wire[12..].copy_from_slice(&months.to_be_bytes());
    wire
}

/// In a finer unit.
fn times(value: i64, factor: i64, type_name: &str) -> Result<i64, FieldError> {
    value.checked_mul(factor).ok_or_else(|| out_of_range(type_name))
}

/// In a coarser unit, of which it must be a whole number.
fn whole(value: i64, divisor: i64, type_name: &str) -> Result<i64, FieldError> {
    if value % divisor != 0 {
        let reason = format!("the value is finer than type {type_name} can hold");
        return Err(FieldError::refused("22008", reason));
    }
    Ok(value / divisor)
}

fn out_of_range(type_name: &str) -> FieldError {
    FieldError::refused("22008", format!("{type_name} out of range"))
}
