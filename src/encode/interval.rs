//! `interval`: months, days and microseconds, from the forms which mean the same under every `IntervalStyle` and in every column, be it
//! declared `interval`, `interval(3)` or `interval minute to second`.
//!
//! These are numbers with units (`1 year 2 mons -3 days`, with `@` before and `ago` behind), a time `04:05:06.7` alone or as the last of
//! them, and ISO 8601 with designators (`P1Y2M3DT4H5M6.7S`). A number without unit and a time of two parts take their meaning from the
//! column; a lone minus in front changes its reach under `sql_standard`; and fractions of months or years were computed in different
//! ways by different versions: all that is not ours.

use super::FieldError;
use super::scalar::{is_space, trim};

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// The server's own work buffer for a literal ends at 256 bytes.
const LENGTH_MAX: usize = 200;
/// Digits that overflow nothing, neither here nor in the 32 bits of older servers.
const DIGITS_MAX: usize = 9;

/// Microseconds, days and months, as `interval_recv` reads them.
pub(super) fn interval(raw: &[u8]) -> Result<[u8; 16], FieldError> {
    let span = match raw {
        [b'P', rest @ ..] => iso_8601(rest),
        _ if raw.len() <= LENGTH_MAX => Listing::read(trim(raw)),
        _ => None,
    };
    span.map(Span::wire).ok_or(FieldError::NotMine)
}

#[derive(Default)]
struct Span {
    months: i32,
    days: i32,
    micros: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Unit {
    Year,
    Month,
    Week,
    Day,
    Hour,
    Minute,
    Second,
    Millisecond,
    Microsecond,
}

impl Span {
    fn add(&mut self, number: Number, unit: Unit) -> Option<()> {
        let whole = number.whole;
        if number.millionths != 0 && !matches!(unit, Unit::Day | Unit::Hour | Unit::Minute | Unit::Second) {
            return None;
        }
        match unit {
            Unit::Year => self.add_months(whole * 12),
            Unit::Month => self.add_months(whole),
            Unit::Week => self.add_days(whole * 7),
            Unit::Day => {
                // A part of a day is time, and no day.
                self.micros += number.millionths * (DAY / 1_000_000);
                self.add_days(whole)
            }
            Unit::Hour => self.add_micros(number, HOUR),
            Unit::Minute => self.add_micros(number, MINUTE),
            Unit::Second => self.add_micros(number, SECOND),
            Unit::Millisecond => self.add_micros(number, 1000),
            Unit::Microsecond => self.add_micros(number, 1),
        }
    }

    fn add_months(&mut self, months: i64) -> Option<()> {
        self.months = self.months.checked_add(i32::try_from(months).ok()?)?;
        Some(())
    }

    fn add_days(&mut self, days: i64) -> Option<()> {
        self.days = self.days.checked_add(i32::try_from(days).ok()?)?;
        Some(())
    }

    /// Nine digits of hours are less than half of what fits, and all smaller units together much less.
    fn add_micros(&mut self, number: Number, scale: i64) -> Option<()> {
        self.micros += number.whole * scale + number.millionths * scale / 1_000_000;
        Some(())
    }

    fn negate(&mut self) -> Option<()> {
        self.months = self.months.checked_neg()?;
        self.days = self.days.checked_neg()?;
        self.micros = -self.micros;
        Some(())
    }

    fn wire(self) -> [u8; 16] {
        let mut wire = [0; 16];
        wire[..8].copy_from_slice(&self.micros.to_be_bytes());
        wire[8..12].copy_from_slice(&self.days.to_be_bytes());
        wire[12..].copy_from_slice(&self.months.to_be_bytes());
        wire
    }
}

/// Up to six decimal places, so that every version of the server computes the same, exactly; both parts have the sign.
#[derive(Clone, Copy)]
struct Number {
    whole: i64,
    millionths: i64,
}

impl Number {
    /// Digits, and after a point more digits; the sign has been read.
    fn take(text: &[u8], negative: bool) -> Option<(Number, &[u8])> {
        let sign = if negative { -1 } else { 1 };
        let (whole, rest) = take_digits(text, DIGITS_MAX)?;
        let (millionths, rest) = match rest {
            [b'.', tail @ ..] => {
                let (value, rest) = take_digits(tail, 6)?;
                (value * 10i64.pow(6 - (tail.len() - rest.len()) as u32), rest)
            }
            _ => (0, rest),
        };
        Some((Number { whole: sign * whole, millionths: sign * millionths }, rest))
    }
}

/// At least one digit and at most so many.
#[inline]
fn take_digits(text: &[u8], most: usize) -> Option<(i64, &[u8])> {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(count);
    let value = digits.iter().take(most).fold(0, |value, byte| value * 10 + i64::from(byte - b'0'));
    (1..=most).contains(&count).then_some((value, rest))
}

#[inline]
fn take_two(text: &[u8]) -> Option<(i64, &[u8])> {
    take_digits(text, 2).filter(|(_, rest)| text.len() - rest.len() == 2)
}

/// Blanks, and the comma that some programs write between a day and its time.
#[inline]
fn skip_separators(text: &[u8]) -> &[u8] {
    let count = text.iter().take_while(|byte| is_space(**byte) || **byte == b',').count();
    &text[count..]
}

/// A word of `deltatktbl`, with or without blanks before it and with something else than a letter behind it.
fn take_unit(text: &[u8]) -> Option<(Unit, &[u8])> {
    let blanks = text.iter().take_while(|byte| is_space(**byte)).count();
    let text = &text[blanks..];
    let length = text.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let (word, rest) = text.split_at(length);
    let mut lower = [0; 12];
    lower.get_mut(..length)?.copy_from_slice(word);
    lower.make_ascii_lowercase();
    let unit = match &lower[..length] {
        b"y" | b"yr" | b"yrs" | b"year" | b"years" => Unit::Year,
        b"mon" | b"mons" | b"month" | b"months" => Unit::Month,
        b"w" | b"week" | b"weeks" => Unit::Week,
        b"d" | b"day" | b"days" => Unit::Day,
        b"h" | b"hr" | b"hrs" | b"hour" | b"hours" => Unit::Hour,
        b"m" | b"min" | b"mins" | b"minute" | b"minutes" => Unit::Minute,
        b"s" | b"sec" | b"secs" | b"second" | b"seconds" => Unit::Second,
        b"ms" | b"msec" | b"msecs" | b"millisecond" | b"milliseconds" => Unit::Millisecond,
        b"us" | b"usec" | b"usecs" | b"microsecond" | b"microseconds" => Unit::Microsecond,
        _ => return None,
    };
    (rest.is_empty() || skip_separators(rest).len() < rest.len()).then_some((unit, rest))
}

/// `DecodeISO8601Interval`, after the `P`: designators in their order, each at most once.
fn iso_8601(text: &[u8]) -> Option<Span> {
    let mut span = Span::default();
    let mut last = None;
    let mut in_time = false;
    let mut rest = text;
    while !rest.is_empty() {
        if let [b'T', tail @ ..] = rest
            && !in_time
        {
            in_time = true;
            rest = tail;
        }
        let (negative, tail) = match rest {
            [b'-', tail @ ..] => (true, tail),
            _ => (false, rest),
        };
        let (number, tail) = Number::take(tail, negative)?;
        let (designator, tail) = tail.split_first()?;
        let unit = match (designator, in_time) {
            (b'Y', false) => Unit::Year,
            (b'M', false) => Unit::Month,
            (b'W', false) => Unit::Week,
            (b'D', false) => Unit::Day,
            (b'H', true) => Unit::Hour,
            (b'M', true) => Unit::Minute,
            (b'S', true) => Unit::Second,
            _ => return None,
        };
        // The server reads these numbers as one double: only fractions of a second come out of it unharmed.
        if last >= Some(unit) || (number.millionths != 0 && unit != Unit::Second) {
            return None;
        }
        span.add(number, unit)?;
        last = Some(unit);
        rest = tail;
    }
    last.map(|_| span)
}

/// `DecodeInterval`: numbers with units in any order, then perhaps a time.
#[derive(Default)]
struct Listing {
    span: Span,
    /// a bit for each unit that had its number
    seen: u16,
    values: u32,
    first_is_negative: bool,
    later_sign: bool,
}

impl Listing {
    fn read(text: &[u8]) -> Option<Span> {
        let mut listing = Listing::default();
        let mut rest = skip_separators(text.strip_prefix(b"@").unwrap_or(text));
        while !rest.is_empty() {
            if listing.values > 0 && rest.eq_ignore_ascii_case(b"ago") {
                listing.span.negate()?;
                break;
            }
            rest = skip_separators(listing.take_value(rest)?);
        }
        // Under sql_standard a minus in front goes for all that follows, unless something that follows has a sign, too.
        let style_decides = listing.first_is_negative && listing.values > 1 && !listing.later_sign;
        (listing.values > 0 && !style_decides).then_some(listing.span)
    }

    fn take_value<'a>(&mut self, text: &'a [u8]) -> Option<&'a [u8]> {
        let (negative, unsigned) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        if self.values == 0 {
            self.first_is_negative = negative;
        } else {
            self.later_sign |= unsigned.len() < text.len();
        }
        self.values += 1;
        let (number, rest) = Number::take(unsigned, negative)?;
        match rest {
            [b':', tail @ ..] if number.millionths == 0 => self.take_time(number, negative, tail),
            _ => {
                let (unit, rest) = take_unit(rest)?;
                self.claim(unit)?;
                // With a fraction, seconds stand for what is smaller, too.
                if unit == Unit::Second && number.millionths != 0 {
                    self.claim(Unit::Millisecond)?;
                    self.claim(Unit::Microsecond)?;
                }
                self.span.add(number, unit)?;
                Some(rest)
            }
        }
    }

    /// `MM:SS[.ffffff]` after the hours. It is the last value, because the server would forget fractions of days behind it.
    fn take_time<'a>(&mut self, hours: Number, negative: bool, text: &'a [u8]) -> Option<&'a [u8]> {
        let (minutes, rest) = take_two(text)?;
        let rest = rest.strip_prefix(b":")?;
        let (seconds, _) = take_two(rest)?;
        if minutes > 59 || seconds > 59 {
            return None;
        }
        let minutes = Number { whole: if negative { -minutes } else { minutes }, millionths: 0 };
        let (seconds, rest) = Number::take(rest, negative)?;
        for unit in [Unit::Hour, Unit::Minute, Unit::Second, Unit::Millisecond, Unit::Microsecond] {
            self.claim(unit)?;
        }
        self.span.add(hours, Unit::Hour)?;
        self.span.add(minutes, Unit::Minute)?;
        self.span.add(seconds, Unit::Second)?;
        let rest = skip_separators(rest);
        (rest.is_empty() || rest.eq_ignore_ascii_case(b"ago")).then_some(rest)
    }

    /// A unit has one number only.
    fn claim(&mut self, unit: Unit) -> Option<()> {
        let bit = 1 << unit as u16;
        let free = self.seen & bit == 0;
        self.seen |= bit;
        free.then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(text: &str) -> Option<(i32, i32, i64)> {
        let wire = interval(text.as_bytes()).ok()?;
        let (micros, rest) = wire.split_at(8);
        let (days, months) = rest.split_at(4);
        let int = |bytes: &[u8]| i32::from_be_bytes(bytes.try_into().unwrap());
        Some((int(months), int(days), i64::from_be_bytes(micros.try_into().unwrap())))
    }

    #[test]
    fn all_styles_that_the_server_writes_are_read() {
        assert_eq!(parts("1 year 2 mons -3 days +04:05:06.789"), Some((14, -3, 14_706_789_000)));
        assert_eq!(parts("-1 years -2 mons +3 days -04:05:06.789"), Some((-14, 3, -14_706_789_000)));
        assert_eq!(parts("@ 1 year 2 mons -3 days 4 hours 5 mins 6.789 secs ago"), Some((-14, 3, -14_706_789_000)));
        assert_eq!(parts("P1Y2M-3DT4H5M6.789S"), Some((14, -3, 14_706_789_000)));
        assert_eq!(parts("00:00:00"), Some((0, 0, 0)));
        assert_eq!(parts("PT0S"), Some((0, 0, 0)));
        assert_eq!(parts("-00:00:00.000001"), Some((0, 0, -1)));
    }

    #[test]
    fn units_come_in_many_spellings() {
        assert_eq!(parts("1day"), parts("1 D"));
        assert_eq!(parts("2 Weeks"), Some((0, 14, 0)));
        assert_eq!(parts("1 day, 2:03:04"), Some((0, 1, 7_384_000_000)));
        assert_eq!(parts("1.5 hours"), Some((0, 0, 5_400_000_000)));
        assert_eq!(parts("-0.5 days"), Some((0, 0, -43_200_000_000)));
        assert_eq!(parts("1500 milliseconds 7 us"), Some((0, 0, 1_500_007)));
        assert_eq!(parts("PT-0.5S"), Some((0, 0, -500_000)));
        assert_eq!(parts("100:00:00 ago"), Some((0, 0, -360_000_000_000)));
    }

    #[test]
    fn what_column_style_or_version_decides_is_left_alone() {
        for other in ["", "1", "1-2", "1-2 3 4:05:06", "1 04:05:06", "04:05", "04:05.6", "-1 days 02:03:04", "-1 year 2 mons", "infinity"] {
            assert_eq!(parts(other), None, "{other}");
        }
        for other in
            ["1.5 months", "0.5 years", "1.5 weeks", "P0.5Y", "P0.5D", "PT1.5H", "P1", "P", "PT", "P1DT", "P0001-02-03", " P1D", "p1d"]
        {
            assert_eq!(parts(other), None, "{other}");
        }
        assert_eq!(parts("-1 days +02:03:04"), Some((0, -1, 7_384_000_000)));
        assert_eq!(parts("-1 year 2 mons +3 days"), Some((-10, 3, 0)));
    }

    #[test]
    fn nonsense_is_left_alone() {
        for other in ["1 day 1 day", "1 day 04:05:06 1 hour", "04:05:06 1 day", "ago", "1 day ago ago", "1 day2 hours", "1h30m", "- 1 day"]
        {
            assert_eq!(parts(other), None, "{other}");
        }
        for other in
            ["04:60:00", "04:05:60", "4:5:6", "1.5:00:00", "1 dayz", "day", "1 5 days", "1.1234567 s", "6.5 s 1 ms", ".5 days", "1. day"]
        {
            assert_eq!(parts(other), None, "{other}");
        }
        for other in ["P1M1Y", "P1Y1Y", "PT1D", "P1DT1HT1M", "P+1D", "2147483648 days", "178956971 years 8 mons", "900000000 weeks"] {
            assert_eq!(parts(other), None, "{other}");
        }
    }

    fn signed(value: i64, unit: &str) -> String {
        format!("{}{} {unit}", if value < 0 { "-" } else { "+" }, value.abs())
    }

    proptest! {
        #[test]
        fn any_span_reads_back_from_units(months in -99_999i32..99_999, days in -99_999_999i32..99_999_999, micros in -999_999_999_999i64..999_999_999_999) {
            let time = micros.abs();
            let (hours, minutes) = (time / HOUR, time / MINUTE % 60);
            let (seconds, fraction) = (time / SECOND % 60, time % SECOND);
            let sign = if micros < 0 { "-" } else { "+" };
            let clock = format!("{sign}{hours:02}:{minutes:02}:{seconds:02}.{fraction:06}");
            let text = format!("{} {} {clock}", signed(months.into(), "mons"), signed(days.into(), "days"));
            prop_assert_eq!(parts(&text), Some((months, days, micros)));
        }

        #[test]
        fn any_span_reads_back_from_designators(years in -999i32..999, days in -99_999i32..99_999, hours in -999i64..999, millis in 0i64..999_999) {
            let text = format!("P{years}Y{days}DT{hours}H{}.{:03}S", millis / 1000, millis % 1000);
            prop_assert_eq!(parts(&text), Some((years * 12, days, hours * HOUR + millis * 1000)));
        }

        #[test]
        fn nothing_makes_it_panic(text in "[-+P@ ]?([0-9]{1,12}[.:TYMWDHS, -]?( ?(years?|mons?|d|hours?|m|s|us|ago))?){0,5}") {
            let _ = parts(&text);
        }
    }
}
