//! `numeric`: base-10000 digits with a weight, a sign and a display scale, as `numeric_recv` reads them.
//!
//! The server itself rounds to the column's scale (`numeric_recv` applies the typmod); what cannot fit is refused here.

use super::FieldError;
use super::scalar::trim;

const NAME: &str = "numeric";
const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;

/// Digits that one `u64` holds without a thought of overflow.
const FAST_DIGITS: usize = 18;
/// `NUMERIC_DSCALE_MAX`: digits after the point that the stored form can show.
const DSCALE_MAX: i64 = 0x3FFF;
/// The wire's weight is an `i16`, in groups of four digits.
const EXPONENT_MAX: i64 = 4 * 32_767;

const POWERS: [u64; FAST_DIGITS + 1] = {
    let mut powers = [1u64; FAST_DIGITS + 1];
    let mut index = 1;
    while index <= FAST_DIGITS {
        powers[index] = powers[index - 1] * 10;
        index += 1;
    }
    powers
};

/// `(precision, scale)` of a `numeric` typmod; the scale is an 11-bit signed number (`numeric_typmod_scale`).
pub(super) fn typmod(typmod: i32) -> Option<(u16, i16)> {
    let packed = typmod.checked_sub(4).filter(|packed| *packed >= 0)?;
    let precision = (packed >> 16) as u16;
    let scale = (((packed & 0x7FF) ^ 1024) - 1024) as i16;
    Some((precision, scale))
}

/// `numeric_in`, without the forms that only newer servers know (those are not ours).
#[inline]
pub(super) fn from_text(raw: &[u8], limit: Option<(u16, i16)>, out: &mut Vec<u8>) -> Result<(), FieldError> {
    if let Some(parts) = Parts::scan(raw) {
        check_limit(integer_digits(parts.integer), limit)?;
        parts.write(out);
        return Ok(());
    }
    from_text_slow(raw, limit, out)
}

/// A decimal integer with a scale, as Arrow has it.
#[derive(Debug, Clone, Copy)]
pub struct Decimal<V> {
    /// the unscaled value
    pub unscaled: V,
    /// how many of its digits stand after the point; negative for trailing zeros left out
    pub scale: i8,
}

impl Decimal<i128> {
    /// Writes the value in `numeric`'s binary form.
    ///
    /// # Errors
    /// 22003 when it cannot fit the column.
    #[inline]
    pub fn write(self, limit: Option<(u16, i16)>, out: &mut Vec<u8>) -> Result<(), FieldError> {
        let magnitude = u64::try_from(self.unscaled.unsigned_abs()).ok();
        match (magnitude, usize::try_from(self.scale)) {
            (Some(value), Ok(scale)) if scale <= FAST_DIGITS => {
                let parts = Parts {
                    negative: self.unscaled < 0,
                    integer: value / POWERS[scale],
                    fraction: value % POWERS[scale],
                    scale,
                };
                check_limit(integer_digits(parts.integer), limit)?;
                parts.write(out);
                Ok(())
            }
            _ => from_digits(&self.unscaled.to_string(), self.scale, limit, out),
        }
    }
}

impl Decimal<arrow::datatypes::i256> {
    /// Writes the value in `numeric`'s binary form.
    ///
    /// # Errors
    /// 22003 when it cannot fit the column.
    pub fn write(self, limit: Option<(u16, i16)>, out: &mut Vec<u8>) -> Result<(), FieldError> {
        from_digits(&self.unscaled.to_string(), self.scale, limit, out)
    }
}

#[cold]
fn from_digits(digits: &str, scale: i8, limit: Option<(u16, i16)>, out: &mut Vec<u8>) -> Result<(), FieldError> {
    let text = format!("{digits}e{}", -i32::from(scale));
    from_text_slow(text.as_bytes(), limit, out)
}

/// A number of at most 18 digits on each side of the point.
struct Parts {
    negative: bool,
    integer: u64,
    fraction: u64,
    scale: usize,
}

impl Parts {
    /// Reads `[+-]digits[.digits]`; `None` for whatever needs a closer look.
    #[inline]
    fn scan(raw: &[u8]) -> Option<Parts> {
        let (negative, digits) = match raw {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, raw),
        };
        let (integer, rest) = leading_digits(digits);
        let integer_length = digits.len() - rest.len();
        let (fraction, scale) = match rest {
            [] => (0, 0),
            [b'.', tail @ ..] => {
                let (fraction, rest) = leading_digits(tail);
                if !rest.is_empty() {
                    return None;
                }
                (fraction, tail.len())
            }
            _ => return None,
        };
        let fits = integer_length <= FAST_DIGITS && scale <= FAST_DIGITS;
        (fits && integer_length + scale > 0).then_some(Parts { negative, integer, fraction, scale })
    }

    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        // At most five groups on each side; groups[5] is the first after the point.
        let mut groups = [0u16; 10];
        let mut first = 5;
        let mut integer = self.integer;
        while integer > 0 {
            first -= 1;
            groups[first] = (integer % 10_000) as u16;
            integer /= 10_000;
        }
        let fraction_groups = self.scale.div_ceil(4);
        let mut end = 5 + fraction_groups;
        if self.fraction > 0 {
            let padding = fraction_groups * 4 - self.scale;
            let mut fraction = u128::from(self.fraction) * u128::from(POWERS[padding]);
            for group in groups[5..end].iter_mut().rev() {
                *group = (fraction % 10_000) as u16;
                fraction /= 10_000;
            }
        }
        while end > first && groups[end - 1] == 0 {
            end -= 1;
        }
        while first < end && groups[first] == 0 {
            first += 1;
        }
        write_groups(self.negative, 4 - first as i16, self.scale as u16, &groups[first..end], out);
    }
}

#[inline]
fn leading_digits(text: &[u8]) -> (u64, &[u8]) {
    let mut value = 0u64;
    for (index, byte) in text.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return (value, &text[index..]);
        }
        // More than 18 digits wrap here and are turned away by the caller.
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    (value, &[])
}

/// A zero has no digits, no weight and no sign.
#[inline]
fn write_groups(negative: bool, weight: i16, dscale: u16, groups: &[u16], out: &mut Vec<u8>) {
    let sign = if negative && !groups.is_empty() { NEGATIVE } else { POSITIVE };
    let weight = if groups.is_empty() { 0 } else { weight };
    write_head(groups.len() as u16, weight, sign, dscale, out);
    for group in groups {
        out.extend_from_slice(&group.to_be_bytes());
    }
}

#[inline]
fn write_head(count: u16, weight: i16, sign: u16, dscale: u16, out: &mut Vec<u8>) {
    let mut head = [0u8; 8];
    head[0..2].copy_from_slice(&count.to_be_bytes());
    head[2..4].copy_from_slice(&weight.to_be_bytes());
    head[4..6].copy_from_slice(&sign.to_be_bytes());
    head[6..8].copy_from_slice(&dscale.to_be_bytes());
    out.extend_from_slice(&head);
}

#[inline]
fn integer_digits(integer: u64) -> i64 {
    if integer == 0 { 0 } else { i64::from(integer.ilog10()) + 1 }
}

/// `apply_typmod` looks after rounding, which only ever adds a digit: so one too many now is one too many then. What rounding alone
/// would push over the edge, and scales beyond the precision, the server judges.
#[inline]
fn check_limit(integer_digits: i64, limit: Option<(u16, i16)>) -> Result<(), FieldError> {
    let Some((precision, scale)) = limit else {
        return Ok(());
    };
    let most = i64::from(precision) - i64::from(scale);
    if most > 0 && integer_digits > most {
        return Err(overflow());
    }
    Ok(())
}

fn overflow() -> FieldError {
    FieldError::refused("22003", "numeric field overflow")
}

/// Any number of digits, exponents, words.
#[cold]
fn from_text_slow(raw: &[u8], limit: Option<(u16, i16)>, out: &mut Vec<u8>) -> Result<(), FieldError> {
    let text = trim(raw);
    let (negative, unsigned) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    match unsigned {
        [b'0'..=b'9' | b'.', ..] => long_decimal(negative, unsigned, limit, out),
        _ => word(text, limit, out),
    }
}

fn word(text: &[u8], limit: Option<(u16, i16)>, out: &mut Vec<u8>) -> Result<(), FieldError> {
    let sign = match text.to_ascii_lowercase().as_slice() {
        b"nan" => NAN,
        b"inf" | b"+inf" | b"infinity" | b"+infinity" => INFINITY,
        b"-inf" | b"-infinity" => NEGATIVE_INFINITY,
        _ => return Err(FieldError::syntax(NAME)),
    };
    if sign != NAN && limit.is_some() {
        return Err(overflow());
    }
    write_head(0, 0, sign, 0, out);
    Ok(())
}

fn long_decimal(negative: bool, text: &[u8], limit: Option<(u16, i16)>, out: &mut Vec<u8>) -> Result<(), FieldError> {
    let Scanned { digits, point, scale } = scan_decimal(text)?;
    // Strip zeros in front so that what is left begins with a digit that counts.
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    let digits = &digits[zeros..];
    let point = point - zeros as i64;
    if digits.is_empty() && scale <= DSCALE_MAX {
        write_groups(false, 0, scale as u16, &[], out);
        return Ok(());
    }
    if !digits.is_empty() {
        check_limit(point.max(0), limit)?;
    }
    if digits.is_empty() || scale > DSCALE_MAX || point.abs() > EXPONENT_MAX {
        return Err(FieldError::NotMine);
    }
    let weight = (point + 3).div_euclid(4) - 1;
    let lead = (weight + 1) * 4 - point;
    let mut groups: Vec<u16> = Vec::with_capacity(digits.len() / 4 + 2);
    let padded = std::iter::repeat_n(0u8, lead as usize).chain(digits.iter().copied());
    for (index, digit) in padded.enumerate() {
        match groups.last_mut() {
            Some(group) if index % 4 != 0 => *group = *group * 10 + u16::from(digit),
            _ => groups.push(u16::from(digit)),
        }
    }
    let last_length = (lead as usize + digits.len() - 1) % 4;
    if let Some(group) = groups.last_mut() {
        *group *= 10u16.pow(3 - last_length as u32);
    }
    while groups.last() == Some(&0) {
        groups.pop();
    }
    if groups.len() > i16::MAX as usize {
        return Err(FieldError::NotMine);
    }
    write_groups(negative, weight as i16, scale as u16, &groups, out);
    Ok(())
}

struct Scanned {
    digits: Vec<u8>,
    /// where the point stands, counted in digits from the front; may lie outside
    point: i64,
    /// digits to show after the point
    scale: i64,
}

/// `set_var_from_str`.
fn scan_decimal(text: &[u8]) -> Result<Scanned, FieldError> {
    let mut digits = Vec::with_capacity(text.len());
    let mut point = None;
    let mut rest = text;
    while let [byte, tail @ ..] = rest {
        match byte {
            b'0'..=b'9' => digits.push(byte - b'0'),
            b'.' if point.is_none() => point = Some(digits.len() as i64),
            _ => break,
        }
        rest = tail;
    }
    if digits.is_empty() {
        return Err(FieldError::syntax(NAME));
    }
    let count = digits.len() as i64;
    let exponent = match rest {
        [] => 0,
        [b'e' | b'E', tail @ ..] => exponent(tail)?,
        [b'_' | b'x' | b'X' | b'o' | b'O' | b'b' | b'B', ..] => return Err(FieldError::NotMine),
        _ => return Err(FieldError::syntax(NAME)),
    };
    let point = point.unwrap_or(count);
    Ok(Scanned { point: point + exponent, scale: (count - point - exponent).max(0), digits })
}

fn exponent(text: &[u8]) -> Result<i64, FieldError> {
    let digits = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) || digits.len() > 9 {
        // `strtol` also skips blanks here and newer servers allow underscores.
        return Err(if digits.iter().any(u8::is_ascii_digit) { FieldError::NotMine } else { FieldError::syntax(NAME) });
    }
    let value = digits.iter().fold(0i64, |value, byte| value * 10 + i64::from(byte - b'0'));
    Ok(if text[0] == b'-' { -value } else { value })
}

/// Reads the wire form back into plain decimal notation; `None` for bytes that are no numeric.
pub(super) fn show(wire: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let word = |at: usize| wire.get(at..)?.first_chunk().copied().map(u16::from_be_bytes);
    let (count, weight, sign, dscale) = (i64::from(word(0)?), i64::from(word(2)? as i16), word(4)?, usize::from(word(6)?));
    match sign {
        POSITIVE => {}
        NEGATIVE => out.push(b'-'),
        NAN => out.extend_from_slice(b"NaN"),
        INFINITY => out.extend_from_slice(b"Infinity"),
        NEGATIVE_INFINITY => out.extend_from_slice(b"-Infinity"),
        _ => return None,
    }
    if sign & NAN == NAN {
        return Some(());
    }
    // Groups of four digits by their place: 0 is the one before the point.
    let group = |place: i64| match weight - place {
        index if (0..count).contains(&index) => word(8 + 2 * index as usize),
        _ => Some(0),
    };
    out.extend_from_slice(group(weight.max(0))?.to_string().as_bytes());
    for place in (0..weight).rev() {
        out.extend_from_slice(format!("{:04}", group(place)?).as_bytes());
    }
    if dscale > 0 {
        out.push(b'.');
        let end = out.len() + dscale;
        for place in 1..=dscale.div_ceil(4) as i64 {
            out.extend_from_slice(format!("{:04}", group(-place)?).as_bytes());
        }
        out.truncate(end);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(text: &str) -> Result<Vec<u8>, FieldError> {
        let mut out = Vec::new();
        from_text(text.as_bytes(), None, &mut out).map(|()| out)
    }

    fn shown(wire: &[u8]) -> String {
        let mut out = Vec::new();
        show(wire, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn small_fractions_keep_their_place() {
        assert_eq!(encoded("0.00001"), Ok(vec![0, 1, 0xff, 0xfe, 0, 0, 0, 5, 0x03, 0xe8]));
        assert_eq!(encoded("10000"), Ok(vec![0, 1, 0, 1, 0, 0, 0, 0, 0, 1]));
        assert_eq!(encoded("-0.00"), Ok(vec![0, 0, 0, 0, 0, 0, 0, 2]));
    }

    #[test]
    fn words_and_nonsense() {
        assert_eq!(encoded(" nan "), Ok(vec![0, 0, 0, 0, 0xC0, 0, 0, 0]));
        assert!(encoded("-Infinity").is_ok());
        for bad in ["", ".", "-", "1.2.3", "1e", "abc", "1 2", "--1"] {
            assert!(matches!(encoded(bad), Err(FieldError::Refused { sqlstate: "22P02", .. })), "{bad}");
        }
        assert_eq!(encoded("1_000"), Err(FieldError::NotMine));
        assert_eq!(encoded("0x10"), Err(FieldError::NotMine));
    }

    #[test]
    fn the_integer_part_must_fit_the_precision() {
        let fits = |text: &str| from_text(text.as_bytes(), Some((5, 2)), &mut Vec::new()).is_ok();
        assert!(fits("999.99") && fits("0000999.99") && fits("9.99e2"));
        assert!(!fits("1000") && !fits("1e3") && !fits("Infinity"));
        assert_eq!(typmod(((15 << 16) | 2) + 4), Some((15, 2)));
        assert_eq!(typmod(((5 << 16) | (-3i32 & 0x7FF)) + 4), Some((5, -3)));
        assert_eq!(typmod(-1), None);
    }

    proptest! {
        #[test]
        fn fast_and_slow_paths_agree(integer in "[0-9]{0,18}", fraction in "[0-9]{1,18}", sign in "-?") {
            let text = format!("{sign}{integer}.{fraction}");
            let mut slow = Vec::new();
            from_text_slow(text.as_bytes(), None, &mut slow).unwrap();
            prop_assert_eq!(encoded(&text).unwrap(), slow);
        }

        #[test]
        fn any_decimal_reads_back(integer in "[1-9][0-9]{0,60}", fraction in "[0-9]{1,60}") {
            let text = format!("{integer}.{fraction}");
            prop_assert_eq!(shown(&encoded(&text).unwrap()), text);
        }

        #[test]
        fn arrow_decimals_equal_their_text(unscaled: i64, scale in 0i8..=18) {
            let mut binary = Vec::new();
            let decimal = Decimal { unscaled: i128::from(unscaled), scale };
            Decimal::<i128>::write(decimal, None, &mut binary).unwrap();
            prop_assert_eq!(binary, encoded(&format!("{unscaled}e-{scale}")).unwrap());
        }
    }
}
