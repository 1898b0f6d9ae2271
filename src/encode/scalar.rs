//! Booleans, integers, floating point numbers and UUIDs, each as its input function in PostgreSQL reads it.

use super::FieldError;

/// C's `isspace` in the C locale, which PostgreSQL's number parsers skip around a value.
#[inline]
fn is_space(byte: u8) -> bool {
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
    let looks_newer = digits.first().is_some_and(u8::is_ascii_digit) && digits.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(if looks_newer { FieldError::NotMine } else { FieldError::syntax(type_name) });
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
