//! Dates and times in the ISO 8601 forms that mean the same under every `DateStyle`. Whatever else PostgreSQL reads is not ours.

use super::scalar::trim;
use super::{Dialect, FieldError};

/// Days from 1970-01-01 to 2000-01-01, where PostgreSQL counts from.
pub const DATE_EPOCH_DAYS: i32 = 10_957;
/// Microseconds from 1970-01-01 to 2000-01-01.
pub const TIMESTAMP_EPOCH_MICROS: i64 = DATE_EPOCH_DAYS as i64 * DAY_MICROS;

pub(super) const SECOND_MICROS: i64 = 1_000_000;
pub(super) const DAY_MICROS: i64 = 86_400 * SECOND_MICROS;
/// `MIN_TIMESTAMP`: 4714-11-24 00:00:00 BC.
const TIMESTAMP_MIN: i64 = -211_813_488_000_000_000;
/// `END_TIMESTAMP`: 294277-01-01, exclusive.
const TIMESTAMP_END: i64 = 9_223_371_331_200_000_000;
/// `DATETIME_MIN_JULIAN` and `DATE_END_JULIAN`, counted from 2000-01-01.
const DATE_MIN: i32 = -2_451_545;
const DATE_END: i32 = 2_147_483_494 - 2_451_545;

/// Checks a day number (from 2000-01-01) against PostgreSQL's range of dates.
///
/// # Errors
/// 22008 outside of it.
pub fn check_date_days(days: i64) -> Result<i32, FieldError> {
    i32::try_from(days)
        .ok()
        .filter(|days| (DATE_MIN..DATE_END).contains(days))
        .ok_or_else(|| FieldError::refused("22008", "date out of range"))
}

/// Checks microseconds (from 2000-01-01) against PostgreSQL's range of timestamps.
///
/// # Errors
/// 22008 outside of it.
pub fn check_timestamp_micros(micros: i64) -> Result<i64, FieldError> {
    if (TIMESTAMP_MIN..TIMESTAMP_END).contains(&micros) { Ok(micros) } else { Err(FieldError::refused("22008", "timestamp out of range")) }
}

/// Days from 2000-01-01.
pub(super) fn date(raw: &[u8]) -> Result<i32, FieldError> {
    let text = trim(raw);
    match take_date(text)? {
        Some((days, [])) => Ok(days),
        Some(_) => Err(FieldError::NotMine),
        None => match infinity(text)? {
            Infinity::Later => Ok(i32::MAX),
            Infinity::Earlier => Ok(i32::MIN),
        },
    }
}

/// Microseconds since midnight.
pub(super) fn time(raw: &[u8]) -> Result<i64, FieldError> {
    match take_time(trim(raw))? {
        (micros, []) => Ok(micros),
        _ => Err(FieldError::NotMine),
    }
}

/// Microseconds since midnight, then seconds west of Greenwich. Without a zone it would be the session's, on this day.
pub(super) fn timetz(raw: &[u8]) -> Result<[u8; 12], FieldError> {
    // What is out of range here is the server's business too: which of its codes comes first depends on the zone.
    let (micros, zone) = take_time(trim(raw)).map_err(|_| FieldError::NotMine)?;
    // UTC in letters is left out: from PostgreSQL 18 on, the session's zone may have an abbreviation of that name.
    let east = plain_offset_micros(zone.strip_prefix(b" ").unwrap_or(zone))? / SECOND_MICROS;
    let mut wire = [0; 12];
    wire[..8].copy_from_slice(&micros.to_be_bytes());
    wire[8..].copy_from_slice(&(-east as i32).to_be_bytes());
    Ok(wire)
}

/// Microseconds from 2000-01-01 00:00.
pub(super) fn timestamp(raw: &[u8]) -> Result<i64, FieldError> {
    match take_timestamp(raw)? {
        Moment::At(micros, []) => check_timestamp_micros(micros),
        Moment::At(..) => Err(FieldError::NotMine),
        Moment::Never(micros) => Ok(micros),
    }
}

/// Microseconds from 2000-01-01 00:00 UTC.
pub(super) fn timestamptz(raw: &[u8], dialect: Dialect) -> Result<i64, FieldError> {
    match take_timestamp(raw)? {
        Moment::At(micros, []) if dialect.time_zone_is_utc => check_timestamp_micros(micros),
        Moment::At(micros, zone) => check_timestamp_micros(micros - offset_micros(zone, dialect)?),
        Moment::Never(micros) => Ok(micros),
    }
}

enum Infinity {
    Later,
    Earlier,
}

enum Moment<'a> {
    At(i64, &'a [u8]),
    Never(i64),
}

#[cold]
fn infinity(text: &[u8]) -> Result<Infinity, FieldError> {
    match text.to_ascii_lowercase().as_slice() {
        b"infinity" => Ok(Infinity::Later),
        b"-infinity" => Ok(Infinity::Earlier),
        b"" => Err(FieldError::refused("22007", "invalid input syntax for a date or time: \"\"")),
        _ => Err(FieldError::NotMine),
    }
}

#[inline]
fn take_timestamp(raw: &[u8]) -> Result<Moment<'_>, FieldError> {
    let text = trim(raw);
    let Some((days, rest)) = take_date(text)? else {
        return Ok(Moment::Never(match infinity(text)? {
            Infinity::Later => i64::MAX,
            Infinity::Earlier => i64::MIN,
        }));
    };
    let midnight = i64::from(days) * DAY_MICROS;
    match rest {
        [] => Ok(Moment::At(midnight, rest)),
        [b' ' | b'T', tail @ ..] => {
            let (micros, zone) = take_time(tail)?;
            Ok(Moment::At(midnight + micros, zone))
        }
        _ => Err(FieldError::NotMine),
    }
}

/// `YYYY-MM-DD`, month and day of one or two digits; `None` where the text does not begin so.
#[inline]
fn take_date(text: &[u8]) -> Result<Option<(i32, &[u8])>, FieldError> {
    let [a, b, c, d, b'-', rest @ ..] = text else {
        return Ok(None);
    };
    let Some(year) = digits(&[*a, *b, *c, *d]) else {
        return Ok(None);
    };
    let (month, rest) = take_number(rest).ok_or(FieldError::NotMine)?;
    let [b'-', rest @ ..] = rest else {
        return Err(FieldError::NotMine);
    };
    let (day, rest) = take_number(rest).ok_or(FieldError::NotMine)?;
    if year == 0 || !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
        return Err(out_of_range(text, rest));
    }
    Ok(Some((days_from_civil(year, month, day), rest)))
}

/// `HH:MM[:SS[.ffffff…]]`.
#[inline]
fn take_time(text: &[u8]) -> Result<(i64, &[u8]), FieldError> {
    let (hour, rest) = take_number(text).ok_or(FieldError::NotMine)?;
    let [b':', rest @ ..] = rest else {
        return Err(FieldError::NotMine);
    };
    let (minute, rest) = take_two(rest).ok_or(FieldError::NotMine)?;
    let (second, micros, rest) = match rest {
        [b':', tail @ ..] => {
            let (second, tail) = take_two(tail).ok_or(FieldError::NotMine)?;
            let (micros, tail) = take_fraction(tail)?;
            (second, micros, tail)
        }
        _ => (0, 0, rest),
    };
    // 24:00:00 is the end of the day; a 60th second rolls over in a way that is the server's business; "45:30.5" are minutes.
    if second == 60 || rest.starts_with(b".") || (hour == 24 && minute == 0 && second == 0 && micros > 0) {
        return Err(FieldError::NotMine);
    }
    let end_of_day = hour == 24 && minute == 0 && second == 0;
    if (hour > 23 && !end_of_day) || minute > 59 || second > 59 {
        return Err(out_of_range(text, rest));
    }
    let seconds = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
    Ok((seconds * SECOND_MICROS + micros, rest))
}

/// Only where nothing follows that could change the meaning of what was read (an era, a name), it can be refused.
#[cold]
fn out_of_range(text: &[u8], rest: &[u8]) -> FieldError {
    if rest.iter().any(u8::is_ascii_alphabetic) && !rest.starts_with(b"T") {
        return FieldError::NotMine;
    }
    let shown = String::from_utf8_lossy(text);
    FieldError::refused("22008", format!("date/time field value out of range: \"{shown}\""))
}

/// `ParseFractionalSecond`: up to six digits are exact; beyond, the server goes through a double and so do we.
#[inline]
fn take_fraction(text: &[u8]) -> Result<(i64, &[u8]), FieldError> {
    let [b'.', tail @ ..] = text else {
        return Ok((0, text));
    };
    let length = tail.iter().take_while(|b| b.is_ascii_digit()).count();
    let (fraction, rest) = tail.split_at(length);
    match length {
        0 => Err(FieldError::NotMine),
        // The server's own work buffer has an end somewhere.
        40.. => Err(FieldError::NotMine),
        1..=6 => {
            let value = digits(fraction).ok_or(FieldError::NotMine)?;
            Ok((i64::from(value) * 10i64.pow(6 - length as u32), rest))
        }
        _ => {
            let value: f64 = fast_float2::parse(&text[..=length]).map_err(|_| FieldError::NotMine)?;
            Ok(((value * 1e6).round_ties_even() as i64, rest))
        }
    }
}

/// `UTC` or a plain offset; what to subtract to get to UTC. From PostgreSQL 18 on the session's zone may give the word another meaning.
#[inline]
fn offset_micros(zone: &[u8], dialect: Dialect) -> Result<i64, FieldError> {
    match zone.strip_prefix(b" ").unwrap_or(zone) {
        b"UTC" | b"utc" if dialect.time_zone_is_utc => Ok(0),
        zone => plain_offset_micros(zone),
    }
}

/// `Z` or `±HH[[:]MM[:SS]]`.
#[inline]
fn plain_offset_micros(zone: &[u8]) -> Result<i64, FieldError> {
    let (sign, rest) = match zone {
        b"Z" | b"z" => return Ok(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return Err(FieldError::NotMine),
    };
    let (hours, minutes, seconds) = match rest {
        [_, _] => (digits(rest), Some(0), Some(0)),
        [_, _, _, _] => (digits(&rest[..2]), digits(&rest[2..]), Some(0)),
        [_, _, b':', _, _] => (digits(&rest[..2]), digits(&rest[3..]), Some(0)),
        [_, _, b':', _, _, b':', _, _] => (digits(&rest[..2]), digits(&rest[3..5]), digits(&rest[6..])),
        _ => return Err(FieldError::NotMine),
    };
    match (hours, minutes, seconds) {
        // Up to 15 hours (`MAX_TZDISP_HOUR`); beyond that the server has the word.
        (Some(h @ 0..=15), Some(m @ 0..=59), Some(s @ 0..=59)) => Ok(sign * i64::from(h * 3600 + m * 60 + s) * SECOND_MICROS),
        _ => Err(FieldError::NotMine),
    }
}

/// One or two digits, not followed by a third.
#[inline]
fn take_number(text: &[u8]) -> Option<(u32, &[u8])> {
    match text {
        [a @ b'0'..=b'9', b @ b'0'..=b'9', rest @ ..] => match rest.first() {
            Some(b'0'..=b'9') => None,
            _ => Some((u32::from(a - b'0') * 10 + u32::from(b - b'0'), rest)),
        },
        [a @ b'0'..=b'9', rest @ ..] => Some((u32::from(a - b'0'), rest)),
        _ => None,
    }
}

/// Just two digits.
#[inline]
fn take_two(text: &[u8]) -> Option<(u32, &[u8])> {
    take_number(text).filter(|(_, rest)| text.len() - rest.len() == 2)
}

#[inline]
fn digits(text: &[u8]) -> Option<u32> {
    text.iter().try_fold(0u32, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit <= 9).then(|| value * 10 + u32::from(digit))
    })
}

fn days_in_month(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 2000-01-01 of a date in the proleptic Gregorian calendar; the year begins in March, so that leap days come last.
#[inline]
fn days_from_civil(year: u32, month: u32, day: u32) -> i32 {
    let year = year as i32 - i32::from(month <= 2);
    let month_from_march = (month as i32 + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day as i32 - 1;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + day_of_year;
    // 2000-01-01 by the same count.
    days - 730_425
}

/// The other way: year (0 is 1 BC), month and day of a number of days from 2000-01-01.
pub(super) fn civil(days: i64) -> (i64, i64, i64) {
    const ERA_DAYS: i64 = 146_097;
    let days = days + 730_425;
    let (era, day_of_era) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UTC: Dialect = Dialect {
        server_version: 150_000,
        time_zone_is_utc: true,
        money_is_plain: true,
        array_nulls: true,
    };
    const ELSEWHERE: Dialect = Dialect { time_zone_is_utc: false, ..UTC };

    #[test]
    fn dates_count_from_the_year_2000() {
        assert_eq!(date(b"2000-01-01"), Ok(0));
        assert_eq!(date(b"1970-01-01"), Ok(-DATE_EPOCH_DAYS));
        assert_eq!(date(b" 2000-3-1 "), Ok(60));
        assert_eq!(date(b"0001-01-01"), Ok(-730_119));
        assert_eq!(date(b"9999-12-31"), Ok(2_921_939));
        assert_eq!(date(b"infinity"), Ok(i32::MAX));
    }

    #[test]
    fn impossible_dates_are_refused_and_foreign_ones_left_alone() {
        for bad in ["2023-02-29", "2024-13-01", "0000-01-01", "2024-00-10", "2024-01-32"] {
            assert!(matches!(date(bad.as_bytes()), Err(FieldError::Refused { sqlstate: "22008", .. })), "{bad}");
        }
        for other in ["Jan 8, 1999", "1999-01-08 BC", "19990108", "2024-001", "today", "2024-01-01 00:00"] {
            assert_eq!(date(other.as_bytes()), Err(FieldError::NotMine), "{other}");
        }
    }

    #[test]
    fn times_and_fractions() {
        assert_eq!(time(b"00:00"), Ok(0));
        assert_eq!(time(b"24:00:00"), Ok(DAY_MICROS));
        assert_eq!(time(b"01:02:03.5"), Ok(3_723_500_000));
        assert_eq!(time(b"00:00:00.0000005"), Ok(0));
        assert_eq!(time(b"00:00:00.0000015"), Ok(2));
        assert_eq!(time(b"23:59:60"), Err(FieldError::NotMine));
        assert!(matches!(time(b"25:00"), Err(FieldError::Refused { .. })));
    }

    #[test]
    fn zones_shift_towards_utc() {
        let noon = timestamp(b"2024-02-29 12:00:00");
        assert!(noon.is_ok());
        for same in ["2024-02-29T12:00:00Z", "2024-02-29 14:00:00+02", "2024-02-29 06:30:00-05:30", "2024-02-29 12:00:00"] {
            assert_eq!(timestamptz(same.as_bytes(), UTC), noon, "{same}");
        }
        assert_eq!(timestamptz(b"2024-02-29 12:00:00", ELSEWHERE), Err(FieldError::NotMine));
        assert_eq!(timestamptz(b"2024-02-29 12:00:00 Europe/Berlin", UTC), Err(FieldError::NotMine));
        assert_eq!(timestamp(b"2024-02-29 12:00:00+02"), Err(FieldError::NotMine));
    }

    #[test]
    fn a_time_with_zone_keeps_its_zone() {
        let wire = |micros: i64, west: i32| Ok([&micros.to_be_bytes()[..], &west.to_be_bytes()].concat().try_into().unwrap());
        assert_eq!(timetz(b"04:05:06.5-08:00"), wire(14_706_500_000, 8 * 3600));
        assert_eq!(timetz(b" 04:05+05:30 "), wire(14_700_000_000, -19_800));
        assert_eq!(timetz(b"24:00:00Z"), wire(DAY_MICROS, 0));
        assert_eq!(timetz(b"23:59:59 +15:59:59"), wire(86_399_000_000, -57_599));
        for other in ["04:05:06", "25:00+02", "04:05:06 PST", "04:05 UTC", "04:05 Asia/Tokyo", "04:05+16", "2024-01-01 04:05+02"] {
            assert_eq!(timetz(other.as_bytes()), Err(FieldError::NotMine), "{other}");
        }
    }
}
