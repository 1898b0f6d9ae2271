//! Booleans, integers, floating point numbers and UUIDs, each as its input function in PostgreSQL reads it.

use super::FieldError;

/// C's `isspace` in the C locale, which PostgreSQL's number parsers skip around a value.
#[inline]
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

#[inline]
pub(super) fn trim(raw: &[u8]) -> &[u8] {
    match (raw.first(), raw.last()) {
        (Some(&first), Some(&last)) if is_space(first) || is_space(last) => trim_slow(raw),
        _ => raw,
    }
}

#[cold]
fn trim_slow(mut raw: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = raw
        && is_space(*first)
    {
        raw = rest;
    }
    while let [rest @ .., last] = raw
        && is_space(*last)
    {
        raw = rest;
    }
    raw
}

/// `boolin`: any unique prefix of true, false, yes, no, on, off, or 1 or 0, in either case.
pub(super) fn boolean(raw: &[u8]) -> Result<bool, FieldError> {
    match raw {
        b"t" | b"true" | b"1" => return Ok(true),
        b"f" | b"false" | b"0" => return Ok(false),
        _ => {}
    }
    let word = trim(raw).to_ascii_lowercase();
    let prefix_of = |full: &str, least: usize| word.len() >= least && full.as_bytes().starts_with(&word);
    if prefix_of("true", 1) || prefix_of("yes", 1) || prefix_of("on", 2) || word == b"1" {
        Ok(true)
    } else if prefix_of("false", 1) || prefix_of("no", 1) || prefix_of("off", 2) || word == b"0" {
        Ok(false)
    } else {
        Err(FieldError::syntax("boolean"))
    }
}

pub(super) fn int2(raw: &[u8]) -> Result<i16, FieldError> {
    i16::try_from(integer(raw, "smallint")?).map_err(|_| FieldError::range("smallint"))
}

pub(super) fn int4(raw: &[u8]) -> Result<i32, FieldError> {
    i32::try_from(integer(raw, "integer")?).map_err(|_| FieldError::range("integer"))
}

pub(super) fn int8(raw: &[u8]) -> Result<i64, FieldError> {
    integer(raw, "bigint")
}

/// `pg_strtoint`: blanks, a sign, decimal digits, blanks. PostgreSQL 16 also reads `0x1f` and `1_000`: those are not ours.
#[inline]
fn integer(raw: &[u8], type_name: &'static str) -> Result<i64, FieldError> {
    let text = trim(raw);
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    // 18 digits cannot overflow, and nearly every number ends here.
    if digits.len() > 18 || digits.is_empty() {
        return integer_slow(negative, digits, type_name);
    }
    let mut value: i64 = 0;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return integer_slow(negative, digits, type_name);
        }
        value = value * 10 + i64::from(digit);
    }
    Ok(if negative { -value } else { value })
}

#[cold]
fn integer_slow(negative: bool, digits: &[u8], type_name: &str) -> Result<i64, FieldError> {
    let leading = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if leading < digits.len() || digits.is_empty() {
        let looks_newer = leading > 0 && digits.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
        // The server complains of what comes first: that the digits are too many, or what stands behind them.
        let may_overflow = leading > 4;
        return Err(if looks_newer || may_overflow { FieldError::NotMine } else { FieldError::syntax(type_name) });
    }
    digits
        .iter()
        .try_fold(0i64, |value, byte| {
            // Downwards, because i64::MIN has no positive twin.
            value.checked_mul(10)?.checked_sub(i64::from(byte - b'0'))
        })
        .and_then(|value| if negative { Some(value) } else { value.checked_neg() })
        .ok_or_else(|| FieldError::range(type_name))
}

pub(super) fn float8(raw: &[u8]) -> Result<f64, FieldError> {
    const NAME: &str = "double precision";
    match decimal_float(raw, NAME)? {
        Float::Digits(text) => {
            let value: f64 = fast_float2::parse(text).map_err(|_| FieldError::syntax(NAME))?;
            check_float_range(value.is_infinite(), value == 0.0, text, NAME)?;
            Ok(value)
        }
        Float::Word(value) => Ok(value),
    }
}

pub(super) fn float4(raw: &[u8]) -> Result<f32, FieldError> {
    const NAME: &str = "real";
    match decimal_float(raw, NAME)? {
        Float::Digits(text) => {
            // Straight to 32 bits: by way of 64 it would be rounded twice.
            let value: f32 = fast_float2::parse(text).map_err(|_| FieldError::syntax(NAME))?;
            check_float_range(value.is_infinite(), value == 0.0, text, NAME)?;
            Ok(value)
        }
        Float::Word(value) => Ok(value as f32),
    }
}

enum Float<'a> {
    Digits(&'a [u8]),
    Word(f64),
}

/// Sorts out what `strtod` would read: decimal digits, a word, or (hexadecimal, `nan(…)`) something that is not ours.
#[inline]
fn decimal_float<'a>(raw: &'a [u8], type_name: &str) -> Result<Float<'a>, FieldError> {
    let text = trim(raw);
    let unsigned = match text {
        [b'-' | b'+', rest @ ..] => rest,
        _ => text,
    };
    match unsigned {
        [b'0', b'x' | b'X', ..] => Err(FieldError::NotMine),
        [b'0'..=b'9' | b'.', ..] => Ok(Float::Digits(text)),
        _ => float_word(text, type_name),
    }
}

#[cold]
fn float_word<'a>(text: &[u8], type_name: &str) -> Result<Float<'a>, FieldError> {
    let word = text.to_ascii_lowercase();
    Ok(Float::Word(match word.as_slice() {
        b"nan" => f64::NAN,
        b"inf" | b"+inf" | b"infinity" | b"+infinity" => f64::INFINITY,
        b"-inf" | b"-infinity" => f64::NEG_INFINITY,
        _ if word.windows(3).any(|w| w == b"nan") => return Err(FieldError::NotMine),
        _ => return Err(FieldError::syntax(type_name)),
    }))
}

/// PostgreSQL refuses what `strtod` reports as ERANGE with a result of zero or infinity.
#[inline]
fn check_float_range(infinite: bool, zero: bool, text: &[u8], type_name: &str) -> Result<(), FieldError> {
    if infinite || (zero && mantissa_has_digit(text)) {
        return Err(FieldError::range(type_name));
    }
    Ok(())
}

fn mantissa_has_digit(text: &[u8]) -> bool {
    text.iter().take_while(|b| !matches!(b, b'e' | b'E')).any(|b| matches!(b, b'1'..=b'9'))
}

/// `string_to_uuid`: 32 hexadecimal digits, a hyphen allowed after every fourth, all of it in braces or not.
pub(super) fn uuid(raw: &[u8]) -> Result<[u8; 16], FieldError> {
    let syntax = || FieldError::syntax("uuid");
    let mut rest = match raw {
        [b'{', inner @ .., b'}'] => inner,
        _ => raw,
    };
    let mut value = [0u8; 16];
    for (index, byte) in value.iter_mut().enumerate() {
        let [high, low, tail @ ..] = rest else {
            return Err(syntax());
        };
        *byte = hex_digit(*high).ok_or_else(syntax)? << 4 | hex_digit(*low).ok_or_else(syntax)?;
        rest = match tail {
            [b'-', after @ ..] if index % 2 == 1 && index < 15 => after,
            _ => tail,
        };
    }
    if rest.is_empty() { Ok(value) } else { Err(syntax()) }
}

#[inline]
pub(super) fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// `oidin`: decimal digits, without zeros in front (from PostgreSQL 16 on those would make it octal).
pub(super) fn oid(raw: &[u8]) -> Result<u32, FieldError> {
    let digits = match raw {
        b"0" | [b'1'..=b'9', ..] if raw.len() <= 10 => raw,
        _ => return Err(FieldError::NotMine),
    };
    let value = unsigned(digits, 10).ok_or(FieldError::NotMine)?;
    u32::try_from(value).map_err(|_| FieldError::NotMine)
}

/// `charin`, the type `"char"`: one ASCII byte. What longer texts mean depends on the server's version.
pub(super) fn char_type(raw: &[u8]) -> Result<u8, FieldError> {
    match raw {
        [byte] if byte.is_ascii() => Ok(*byte),
        _ => Err(FieldError::NotMine),
    }
}

/// `pg_lsn_in`: two numbers of up to eight hexadecimal digits.
pub(super) fn pg_lsn(raw: &[u8]) -> Result<u64, FieldError> {
    let slash = memchr::memchr(b'/', raw).ok_or(FieldError::NotMine)?;
    let half = |digits: &[u8]| match digits.len() {
        1..=8 => unsigned(digits, 16).ok_or(FieldError::NotMine),
        _ => Err(FieldError::NotMine),
    };
    Ok(half(&raw[..slash])? << 32 | half(&raw[slash + 1..])?)
}

/// So few digits that the value cannot overflow.
#[inline]
fn unsigned(digits: &[u8], radix: u64) -> Option<u64> {
    digits.iter().try_fold(0u64, |value, byte| {
        let digit = u64::from(hex_digit(*byte)?);
        (digit < radix).then(|| value * radix + digit)
    })
}

/// `cash_in` where `lc_monetary` has a point, two digits after it and the dollar: `-$1,234.56`, the sign, the dollar and the commas
/// there or not. It counts in cents; a third digit after the point rounds, and no further one is looked at.
pub(super) fn money(raw: &[u8]) -> Result<i64, FieldError> {
    let (negative, text) = match raw {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, raw),
    };
    let text = text.strip_prefix(b"$").unwrap_or(text);
    let point = memchr::memchr(b'.', text).unwrap_or(text.len());
    let (whole, fraction) = (&text[..point], text.get(point + 1..).unwrap_or_default());
    if !whole.first().is_some_and(u8::is_ascii_digit) || !fraction.iter().all(u8::is_ascii_digit) {
        return Err(FieldError::NotMine);
    }
    let cents = [0, 1].map(|index| fraction.get(index).copied().unwrap_or(b'0'));
    let mut value = 0i64;
    for byte in whole.iter().filter(|byte| **byte != b',').chain(&cents) {
        if !byte.is_ascii_digit() {
            return Err(FieldError::NotMine);
        }
        // Downwards, because i64::MIN has no positive twin.
        let lower = value.checked_mul(10).and_then(|value| value.checked_sub(i64::from(byte - b'0')));
        value = lower.ok_or(FieldError::NotMine)?;
    }
    let rounding = i64::from(fraction.get(2).is_some_and(|digit| *digit >= b'5'));
    let value = value.checked_sub(rounding).ok_or(FieldError::NotMine)?;
    if negative { Ok(value) } else { value.checked_neg().ok_or(FieldError::NotMine) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sqlstate<T: std::fmt::Debug>(result: Result<T, FieldError>) -> &'static str {
        match result {
            Err(FieldError::Refused { sqlstate, .. }) => sqlstate,
            Err(FieldError::NotMine) => "not mine",
            Ok(value) => panic!("accepted as {value:?}"),
        }
    }

    #[test]
    fn integers_are_read_to_their_last_digit() {
        assert_eq!(int8(b"-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(int8(b" +9223372036854775807\t"), Ok(i64::MAX));
        assert_eq!(int8(b"000000000000000000000000012"), Ok(12));
        assert_eq!(sqlstate(int8(b"9223372036854775808")), "22003");
        assert_eq!(sqlstate(int4(b"2147483648")), "22003");
        assert_eq!(sqlstate(int2(b"")), "22P02");
        assert_eq!(sqlstate(int2(b"-")), "22P02");
        assert_eq!(sqlstate(int2(b"1 2")), "22P02");
        assert_eq!(sqlstate(int4(b"1_000")), "not mine");
        assert_eq!(sqlstate(int4(b"0x1F")), "not mine");
    }

    #[test]
    fn floats_overflow_and_underflow_as_strtod_does() {
        assert_eq!(float8(b"5e-324"), Ok(5e-324));
        assert_eq!(float8(b" -0 ").map(f64::to_bits), Ok((-0.0f64).to_bits()));
        assert_eq!(float8(b"0e-999"), Ok(0.0));
        assert_eq!(float8(b"1e400"), Err(FieldError::range("double precision")));
        assert_eq!(sqlstate(float8(b"1e-400")), "22003");
        assert_eq!(sqlstate(float4(b"1e39")), "22003");
        assert_eq!(sqlstate(float8(b"1e")), "22P02");
        assert_eq!(sqlstate(float8(b"0x1p3")), "not mine");
        assert!(float8(b"NaN").is_ok_and(f64::is_nan));
        assert_eq!(float8(b"-Infinity"), Ok(f64::NEG_INFINITY));
    }

    #[test]
    fn booleans_take_unique_prefixes_only() {
        for yes in ["t", "tr", "TRUE", "y", "on", " 1 "] {
            assert_eq!(boolean(yes.as_bytes()), Ok(true), "{yes}");
        }
        for no in ["f", "No", "of", "off", "0"] {
            assert_eq!(boolean(no.as_bytes()), Ok(false), "{no}");
        }
        for bad in ["", "o", "2", "truer", "01"] {
            assert_eq!(sqlstate(boolean(bad.as_bytes())), "22P02", "{bad}");
        }
    }

    #[test]
    fn uuids_take_hyphens_after_each_fourth_digit() {
        let plain = uuid(b"a0eebc999c0b4ef8bb6d6bb9bd380a11");
        assert!(plain.is_ok());
        assert_eq!(plain, uuid(b"{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}"));
        assert_eq!(plain, uuid(b"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"));
        for bad in
            ["", "a0eebc99", "a-0eebc999c0b4ef8bb6d6bb9bd380a11", "a0eebc999c0b4ef8bb6d6bb9bd380a11-", "{a0eebc999c0b4ef8bb6d6bb9bd380a11"]
        {
            assert_eq!(sqlstate(uuid(bad.as_bytes())), "22P02", "{bad}");
        }
    }

    #[test]
    fn oids_are_unsigned_and_plainly_decimal() {
        assert_eq!(oid(b"0"), Ok(0));
        assert_eq!(oid(b"4294967295"), Ok(u32::MAX));
        for other in ["", "4294967296", "010", "00", "-1", " 1", "0x1f", "1_000", "42949672950", "1a"] {
            assert_eq!(oid(other.as_bytes()), Err(FieldError::NotMine), "{other}");
        }
    }

    #[test]
    fn char_is_one_ascii_byte() {
        assert_eq!(char_type(b"a"), Ok(b'a'));
        assert_eq!(char_type(b" "), Ok(b' '));
        for other in ["", "ab", "é", "\\101"] {
            assert_eq!(char_type(other.as_bytes()), Err(FieldError::NotMine), "{other}");
        }
    }

    #[test]
    fn log_positions_have_two_halves() {
        assert_eq!(pg_lsn(b"16/B374D848"), Ok(0x16_B374_D848));
        assert_eq!(pg_lsn(b"FFFFFFFF/ffffffff"), Ok(u64::MAX));
        for other in ["", "0", "/0", "0/", "100000000/0", "0/100000000", "G/0", " 0/0", "0/0/0"] {
            assert_eq!(pg_lsn(other.as_bytes()), Err(FieldError::NotMine), "{other}");
        }
    }

    #[test]
    fn money_counts_cents_and_rounds_by_the_third_digit() {
        for (text, cents) in [("12", 1200), ("-$1,234.56", -123_456), ("1.5", 150), ("0.995", 100), ("-0.995", -100), ("1.", 100)] {
            assert_eq!(money(text.as_bytes()), Ok(cents), "{text}");
        }
        assert_eq!(money(b"0.9949"), Ok(99));
        assert_eq!(money(b"92233720368547758.07"), Ok(i64::MAX));
        assert_eq!(money(b"-92233720368547758.08"), Ok(i64::MIN));
        for other in ["", "-", "$", ".5", "92233720368547758.08", "$-1", "1.2.3", "+1", "(1)", "1 ", "1e3", ",1", "--1", "1.2,3"] {
            assert_eq!(money(other.as_bytes()), Err(FieldError::NotMine), "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_money_reads_back(cents: i64) {
            let sign = if cents < 0 { "-" } else { "" };
            let (whole, fraction) = (cents.unsigned_abs() / 100, cents.unsigned_abs() % 100);
            prop_assert_eq!(money(format!("{sign}{whole}.{fraction:02}").as_bytes()), Ok(cents));
        }

        #[test]
        fn any_log_position_reads_back(position: u64) {
            prop_assert_eq!(pg_lsn(format!("{:X}/{:X}", position >> 32, position as u32).as_bytes()), Ok(position));
        }
    }
}
