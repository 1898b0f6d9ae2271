//! The way back: a binary value as a literal that the type's own input function reads as just that value, under every setting of the
//! session.
//!
//! Rows that the server reads as text come from typed sources too. Their values are encoded first, with all checks, and shown then, so
//! that a value means the same and is refused for the same reasons in both forms.

use std::fmt::{Display, LowerExp};

use super::literal::quoted;
use super::numeric;
use super::temporal::{DAY_MICROS, SECOND_MICROS, civil};
use super::{FieldError, Kind};

/// Writes the literal of a value of one of the kinds that typed sources have: numbers, booleans, `bytea`, `uuid`, dates and times,
/// `interval`, JSON, `hstore`, text.
///
/// # Errors
/// [`FieldError::NotMine`] for another kind, or for bytes that are not of this one.
pub fn show(kind: &Kind, wire: &[u8], out: &mut Vec<u8>) -> Result<(), FieldError> {
    shown(kind, wire, out).ok_or(FieldError::NotMine)
}

fn shown(kind: &Kind, wire: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match kind {
        Kind::Bool => out.extend_from_slice(if word::<1>(wire)? == [0] { b"false" } else { b"true" }),
        Kind::Int2 => put(out, i16::from_be_bytes(word(wire)?)),
        Kind::Int4 => put(out, i32::from_be_bytes(word(wire)?)),
        Kind::Int8 => put(out, i64::from_be_bytes(word(wire)?)),
        Kind::Oid => put(out, u32::from_be_bytes(word(wire)?)),
        Kind::Float4 => {
            let value = f32::from_be_bytes(word(wire)?);
            float(value, value.into(), out);
        }
        Kind::Float8 => {
            let value = f64::from_be_bytes(word(wire)?);
            float(value, value, out);
        }
        Kind::Numeric(_) => numeric::show(wire, out)?,
        Kind::Text | Kind::Varchar(_) | Kind::Bpchar(_) | Kind::Json => out.extend_from_slice(wire),
        Kind::Jsonb => out.extend_from_slice(wire.get(1..)?),
        Kind::Bytea => {
            out.extend_from_slice(b"\\x");
            hex(wire, out);
        }
        Kind::Uuid => uuid(word(wire)?, out),
        Kind::Date => date(i32::from_be_bytes(word(wire)?).into(), "", out),
        Kind::Time => time(i64::from_be_bytes(word(wire)?), out),
        Kind::Timestamp => timestamp(i64::from_be_bytes(word(wire)?), "", out),
        Kind::Timestamptz => timestamp(i64::from_be_bytes(word(wire)?), "+00:00", out),
        Kind::Interval => interval(wire, out)?,
        Kind::Hstore => hstore(wire, out)?,
        _ => return None,
    }
    Some(())
}

fn word<const N: usize>(wire: &[u8]) -> Option<[u8; N]> {
    wire.try_into().ok()
}

fn put(out: &mut Vec<u8>, value: impl Display) {
    out.extend_from_slice(value.to_string().as_bytes());
}

/// The shortest digits that read back as the same number; with an exponent where plain digits would be mostly zeros.
fn float<F: Display + LowerExp>(value: F, magnitude: f64, out: &mut Vec<u8>) {
    let magnitude = magnitude.abs();
    if magnitude.is_infinite() {
        let word = value.to_string().replace("inf", "Infinity");
        out.extend_from_slice(word.as_bytes());
    } else if magnitude >= 1e15 || magnitude > 0.0 && magnitude < 1e-4 {
        put(out, format_args!("{value:e}"));
    } else {
        put(out, value);
    }
}

fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]));
}

fn uuid(value: [u8; 16], out: &mut Vec<u8>) {
    for (index, byte) in value.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        hex(&[*byte], out);
    }
}

/// ISO 8601, which means the same under every `DateStyle`; years before the first are counted backwards, and the era stands last.
fn date(days: i64, tail: &str, out: &mut Vec<u8>) {
    let (year, month, day) = civil(days);
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    put(out, format_args!("{year:04}-{month:02}-{day:02}{tail}{era}"));
}

fn time(micros: i64, out: &mut Vec<u8>) {
    put(out, clock(micros.unsigned_abs()));
}

fn timestamp(micros: i64, zone: &str, out: &mut Vec<u8>) {
    let clock = clock(micros.rem_euclid(DAY_MICROS).unsigned_abs());
    date(micros.div_euclid(DAY_MICROS), &format!("T{clock}{zone}"), out);
}

fn clock(micros: u64) -> String {
    let (seconds, fraction) = (micros / SECOND_MICROS.unsigned_abs(), micros % SECOND_MICROS.unsigned_abs());
    let whole = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction == 0 { whole } else { format!("{whole}.{fraction:06}") }
}

/// Every part has its sign, or `IntervalStyle` could have a word in it.
fn interval(wire: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let [micros @ .., d0, d1, d2, d3, m0, m1, m2, m3] = wire else {
        return None;
    };
    let micros = i64::from_be_bytes(word(micros)?);
    let (days, months) = (i32::from_be_bytes([*d0, *d1, *d2, *d3]), i32::from_be_bytes([*m0, *m1, *m2, *m3]));
    let time = match micros {
        // The only one of which the clock has no positive twin.
        i64::MIN => format!("{micros} microseconds"),
        _ => format!("{}{}", if micros < 0 { '-' } else { '+' }, clock(micros.unsigned_abs())),
    };
    put(out, format_args!("{months:+} mons {days:+} days {time}"));
    Some(())
}

/// `hstore_recv`: a count, then a length and bytes for each key and each value, of which a value may be NULL.
fn hstore(wire: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (_, mut rest) = wire.split_first_chunk::<4>()?;
    let mut first = true;
    while !rest.is_empty() {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        quoted(take_string(&mut rest)??, out);
        out.extend_from_slice(b"=>");
        match take_string(&mut rest)? {
            Some(value) => quoted(value, out),
            None => out.extend_from_slice(b"NULL"),
        }
    }
    Some(())
}

fn take_string<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let (length, tail) = rest.split_first_chunk::<4>()?;
    let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
        *rest = tail;
        return Some(None);
    };
    let (value, tail) = tail.split_at_checked(length)?;
    *rest = tail;
    Some(Some(value))
}

#[cfg(test)]
mod tests {
    use super::super::{Dialect, RowWriter, text_field};
    use super::*;
    use proptest::prelude::*;

    fn literal(kind: &Kind, wire: &[u8]) -> String {
        let mut out = Vec::new();
        show(kind, wire, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// What our own reader, which is held to the server's, makes of a literal.
    fn read(kind: &Kind, literal: &str) -> Vec<u8> {
        let dialect = Dialect {
            server_version: 150_000,
            time_zone_is_utc: false,
            money_is_plain: true,
            array_nulls: true,
        };
        let mut row = RowWriter::new(0, 0);
        row.scratch(|row| text_field(kind, dialect, literal.as_bytes(), row), |wire| Ok(wire.to_vec()))
            .unwrap()
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(int: i64, float: f64, small: f32, days in -730_000i32..2_900_000, micros in 0..DAY_MICROS, id: [u8; 16]) {
            let moment = i64::from(days) * DAY_MICROS + micros;
            let cases: [(Kind, Vec<u8>); 9] = [
                (Kind::Int8, int.to_be_bytes().into()),
                (Kind::Float8, float.to_be_bytes().into()),
                (Kind::Float4, small.to_be_bytes().into()),
                (Kind::Date, days.to_be_bytes().into()),
                (Kind::Time, micros.to_be_bytes().into()),
                (Kind::Timestamp, moment.to_be_bytes().into()),
                (Kind::Timestamptz, moment.to_be_bytes().into()),
                (Kind::Uuid, id.into()),
                (Kind::Bytea, id.into()),
            ];
            for (kind, wire) in cases {
                // NaNs differ in bits that no literal has.
                let nan = matches!(kind, Kind::Float8) && float.is_nan() || matches!(kind, Kind::Float4) && small.is_nan();
                prop_assert!(nan || read(&kind, &literal(&kind, &wire)) == wire, "{:?} {}", kind, literal(&kind, &wire));
            }
        }

        #[test]
        fn numerics_keep_every_digit(integer in "[1-9][0-9]{0,40}", fraction in "[0-9]{1,40}", sign in "-?") {
            let text = format!("{sign}{integer}.{fraction}");
            prop_assert_eq!(literal(&Kind::Numeric(None), &read(&Kind::Numeric(None), &text)), text);
        }
    }

    #[test]
    fn the_odd_ones() {
        let numeric = |text| literal(&Kind::Numeric(None), &read(&Kind::Numeric(None), text));
        for text in ["0", "0.00", "-0.0001", "10000", "NaN", "Infinity", "-Infinity", "1234567890123456789.5"] {
            assert_eq!(numeric(text), text);
        }
        assert_eq!(numeric("1e5"), "100000");
        for (value, shown) in
            [(f64::NEG_INFINITY, "-Infinity"), (f64::NAN, "NaN"), (-0.0, "-0"), (1e300, "1e300"), (5e-324, "5e-324"), (0.1, "0.1")]
        {
            assert_eq!(literal(&Kind::Float8, &value.to_be_bytes()), shown);
        }
        assert_eq!(literal(&Kind::Date, &(-730_120i32).to_be_bytes()), "0001-12-31 BC");
        assert_eq!(literal(&Kind::Date, &2_921_940i32.to_be_bytes()), "10000-01-01");
        assert_eq!(literal(&Kind::Timestamptz, &(-1i64).to_be_bytes()), "1999-12-31T23:59:59.999999+00:00");
        let interval = |micros: i64, days: i32, months: i32| {
            literal(&Kind::Interval, &[&micros.to_be_bytes()[..], &days.to_be_bytes(), &months.to_be_bytes()].concat())
        };
        assert_eq!(interval(-4_000_001, 3, -14), "-14 mons +3 days -00:00:04.000001");
        assert_eq!(interval(i64::MIN, 0, 0), "+0 mons +0 days -9223372036854775808 microseconds");
        assert_eq!(
            literal(&Kind::Hstore, b"\0\0\0\x02\0\0\0\x01a\xff\xff\xff\xff\0\0\0\x01b\0\0\0\x02\"\\"),
            r#""a"=>NULL,"b"=>"\"\\""#
        );
    }
}
