//! What a page claims about its values, held against its bytes before the decoders of the parquet crate are given it: they reserve memory
//! for as many values as a page says that it has, and what is small on disk can be large when it is read.

use parquet::basic::{ConvertedType, Encoding, Type};
use parquet::schema::types::ColumnDescriptor;

use super::delta;
use super::header::{Header, Kind};

/// Of a decimal, in bytes; the largest that is read has 32.
const DECIMAL_BYTES_MAX: usize = 64;

/// INT96: the Julian day of 1970-01-01, and the days around it that a timestamp can have anyway.
const JULIAN_DAY_OF_1970: i64 = 2_440_588;
const DAYS_FROM_1970: std::ops::RangeInclusive<i64> = -2_500_000..=106_800_000;

/// Why a page is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// it is not what it says that it is
    Malformed(String),
    /// one of its values does not go into a column of PostgreSQL's
    Value(&'static str),
}

impl From<String> for Refusal {
    fn from(reason: String) -> Refusal {
        Refusal::Malformed(reason)
    }
}

/// Looks at a page as it is after decompression. Returns how many bytes its values take once they are read, beyond those that
/// [`read_bytes`] counts.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(header: &Header, bytes: &[u8], column: &ColumnDescriptor) -> Result<u64, Refusal> {
    let count = header.values as usize;
    if header.is_dictionary() {
        return check_dictionary(count, bytes, column).map(|()| 0);
    }
    let values = after_levels(header, bytes, column).ok_or_else(|| "a page is shorter than its levels".to_owned())?;
    match header.encoding {
        Encoding::PLAIN if column.physical_type() == Type::INT96 => return check_int96(values).map(|()| 0),
        Encoding::DELTA_LENGTH_BYTE_ARRAY => delta::lengths(values, count, |_| {}).map(|_| 0),
        Encoding::DELTA_BYTE_ARRAY => delta::expanded_bytes(values, count),
        _ => Some(0),
    }
    .ok_or_else(|| "the lengths of a page's values cannot be read".to_owned().into())
}

/// What a page takes in memory while it is being read, from its header alone.
pub(super) fn read_bytes(header: &Header, column: &ColumnDescriptor) -> u64 {
    let per_value = match header.encoding {
        // In a nested column, all values of a page may belong to one row.
        _ if column.max_rep_level() > 0 => 16 + value_bytes(column),
        _ if header.is_dictionary() => value_bytes(column),
        Encoding::DELTA_LENGTH_BYTE_ARRAY | Encoding::DELTA_BYTE_ARRAY => 8,
        _ => 0,
    };
    header.compressed.max(header.uncompressed) as u64 + u64::from(header.values) * per_value
}

/// What one value takes in memory, without the bytes of a string.
pub(super) fn value_bytes(column: &ColumnDescriptor) -> u64 {
    match column.physical_type() {
        Type::FIXED_LEN_BYTE_ARRAY => 16 + u64::from(column.type_length().unsigned_abs()),
        _ => 32,
    }
}

/// A dictionary has its values one after the other, in as many bytes as they take.
fn check_dictionary(count: usize, bytes: &[u8], column: &ColumnDescriptor) -> Result<(), Refusal> {
    let least = match column.physical_type() {
        Type::BOOLEAN => count.div_ceil(8),
        Type::INT32 | Type::FLOAT | Type::BYTE_ARRAY => count.saturating_mul(4),
        Type::INT64 | Type::DOUBLE => count.saturating_mul(8),
        Type::INT96 => count.saturating_mul(12),
        Type::FIXED_LEN_BYTE_ARRAY => count.saturating_mul(column.type_length().unsigned_abs() as usize),
    };
    if least > bytes.len() {
        return Err(format!("a dictionary says that it has {count} values, for which it is too small").into());
    }
    match column.physical_type() {
        Type::INT96 => check_int96(bytes),
        Type::BYTE_ARRAY if column.converted_type() == ConvertedType::DECIMAL => check_decimals(bytes),
        _ => Ok(()),
    }
}

/// These are copied for every row that has them, so none of them may be long.
fn check_decimals(mut bytes: &[u8]) -> Result<(), Refusal> {
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        if length > DECIMAL_BYTES_MAX || length > rest.len() {
            return Err(format!("a decimal has {length} bytes").into());
        }
        bytes = &rest[length..];
    }
    Ok(())
}

/// Nanoseconds of the day and the Julian day. What is finer than a microsecond, or so far away that the crate's arithmetic would wrap
/// around, would become another timestamp.
fn check_int96(bytes: &[u8]) -> Result<(), Refusal> {
    for value in bytes.as_chunks::<12>().0 {
        let [a, b, c, d, e, f, g, h, day @ ..] = *value;
        let nanos = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let day = i64::from(i32::from_le_bytes(day)) - JULIAN_DAY_OF_1970;
        if nanos > 86_400_000_000_000 || !DAYS_FROM_1970.contains(&day) {
            return Err(Refusal::Value("timestamp out of range"));
        }
        if !nanos.is_multiple_of(1000) {
            return Err(Refusal::Value("an INT96 timestamp is finer than a microsecond"));
        }
    }
    Ok(())
}

/// The part of a data page that holds its values.
fn after_levels<'a>(header: &Header, bytes: &'a [u8], column: &ColumnDescriptor) -> Option<&'a [u8]> {
    match header.kind {
        Kind::DataV2 { definition_bytes, repetition_bytes, .. } => bytes.get(definition_bytes as usize + repetition_bytes as usize..),
        Kind::Data { definition, repetition } => {
            let bytes = after_level(bytes, column.max_rep_level(), repetition, header.values)?;
            after_level(bytes, column.max_def_level(), definition, header.values)
        }
        _ => None,
    }
}

fn after_level(bytes: &[u8], level_max: i16, encoding: Encoding, count: u32) -> Option<&[u8]> {
    match (level_max, encoding) {
        (0, _) => Some(bytes),
        (_, Encoding::RLE) => {
            let (length, rest) = bytes.split_first_chunk::<4>()?;
            rest.get(u32::from_le_bytes(*length) as usize..)
        }
        // The old way: bits without a length in front.
        _ => {
            let bits = 16 - level_max.leading_zeros() as usize;
            bytes.get((count as usize * bits).div_ceil(8)..)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parquet::schema::parser::parse_message_type;
    use parquet::schema::types::SchemaDescriptor;

    use super::*;

    fn column(leaf: &str) -> Arc<ColumnDescriptor> {
        let message = parse_message_type(&format!("message m {{ {leaf}; }}")).unwrap();
        SchemaDescriptor::new(Arc::new(message)).column(0)
    }

    fn header(kind: Kind, values: u32, encoding: Encoding) -> Header {
        Header { kind, compressed: 0, uncompressed: 0, crc: None, values, encoding }
    }

    #[test]
    fn dictionaries_have_room_for_what_they_claim() {
        let dictionary = |values| header(Kind::Dictionary { sorted: false }, values, Encoding::PLAIN);
        for (leaf, bytes_each) in [
            ("required int32 a", 4),
            ("required int64 a", 8),
            ("required binary a", 4),
            ("required int96 a", 12),
            ("required fixed_len_byte_array(5) a", 5),
        ] {
            let (column, bytes) = (column(leaf), vec![0; 7 * bytes_each]);
            assert!(check(&dictionary(7), &bytes, &column).is_ok(), "{leaf}");
            assert!(check(&dictionary(8), &bytes, &column).is_err(), "{leaf}");
            assert!(check(&dictionary(i32::MAX as u32), &bytes, &column).is_err(), "{leaf}");
        }
    }

    #[test]
    fn int96_that_would_become_another_timestamp_is_refused() {
        let column = column("optional int96 a");
        let page = header(Kind::Data { definition: Encoding::RLE, repetition: Encoding::RLE }, 1, Encoding::PLAIN);
        let bytes = |nanos: i64, day: i32| [&2u32.to_le_bytes()[..], &[2, 1], &nanos.to_le_bytes(), &day.to_le_bytes()].concat();
        // 1970, 4713 BC, the year 294276
        for day in [2_440_588, 0, 109_203_527] {
            assert!(check(&page, &bytes(86_399_999_999_000, day), &column).is_ok(), "{day}");
        }
        for (nanos, day) in [(1, 2_440_588), (-1000, 2_440_588), (i64::MAX / 1000 * 1000, 0), (0, i32::MAX), (0, i32::MIN)] {
            assert!(check(&page, &bytes(nanos, day), &column).is_err(), "{nanos} {day}");
        }
        assert!(check(&page, &[255, 0, 0, 0], &column).is_err(), "levels beyond the page");
    }
}
