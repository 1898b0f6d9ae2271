//! What a field says: a text, or NULL.

use super::scan::Record;
use super::{Options, Syntax};
use crate::encode::{FieldError, check_text};

/// Whether what looks like NULL is NULL, for one column.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct NullRule {
    /// `force_null`: even in quotes
    pub(super) force_null: bool,
    /// `force_not_null`: not even without
    pub(super) force_not_null: bool,
}

/// The field's text as the type's input function is to see it (in `scratch` where it is not in the body so), or `None` for NULL.
#[inline]
pub(super) fn value<'s, 'a: 's>(
    options: &Options,
    rule: NullRule,
    record: &Record<'a>,
    index: usize,
    scratch: &'s mut Vec<u8>,
) -> Result<Option<&'s [u8]>, FieldError> {
    let null = options.null.as_bytes();
    if options.syntax == Syntax::Csv {
        let (text, quoted) = record.csv_field(index, scratch);
        let is_null = text == null && if quoted { rule.force_null } else { !rule.force_not_null };
        return Ok((!is_null).then_some(text));
    }
    let (raw, escaped) = record.text_field(index);
    if raw == null {
        return Ok(None);
    }
    if !escaped {
        return Ok(Some(raw));
    }
    unescape_text(raw, scratch)?;
    Ok(Some(scratch))
}

/// `CopyReadAttributesText`, for one field.
fn unescape_text(raw: &[u8], out: &mut Vec<u8>) -> Result<(), FieldError> {
    out.clear();
    let mut made_bytes = false;
    let mut rest = raw;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let [escaped, tail @ ..] = tail else {
            break;
        };
        rest = tail;
        let byte = match escaped {
            b'0'..=b'7' => number(*escaped - b'0', &mut rest, 8, 2),
            b'x' if rest.first().is_some_and(u8::is_ascii_hexdigit) => number(0, &mut rest, 16, 2),
            b'b' => 0x08,
            b'f' => 0x0C,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 0x0B,
            b'.' => return Err(FieldError::refused("22P04", "end-of-copy marker corrupt: \\. does not stand on a line of its own")),
            other => *other,
        };
        made_bytes |= matches!(escaped, b'0'..=b'7' | b'x') && (byte == 0 || byte >= 0x80);
        out.push(byte);
    }
    if made_bytes { check_text(out).map_err(|(_, error)| error) } else { Ok(()) }
}

/// Goes on with a number of at most so many further digits; what is too large for a byte wraps, as in COPY.
fn number(first: u8, rest: &mut &[u8], radix: u32, digits_max: usize) -> u8 {
    let mut value = u32::from(first);
    for _ in 0..digits_max {
        let Some(digit) = rest.first().and_then(|byte| char::from(*byte).to_digit(radix)) else {
            break;
        };
        value = value * radix + digit;
        *rest = &rest[1..];
    }
    value as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unescaped(raw: &[u8]) -> Result<Vec<u8>, FieldError> {
        let mut out = Vec::new();
        unescape_text(raw, &mut out).map(|()| out)
    }

    #[test]
    fn backslashes_work_as_in_copy() {
        assert_eq!(unescaped(br"a\tb\\\N\x4\101\1018\q\").as_deref(), Ok(&b"a\tb\\N\x04AA8q"[..]));
        assert_eq!(unescaped(br"\303\244").as_deref(), Ok("ä".as_bytes()));
        assert_eq!(unescaped(br"\xzz\777").map_err(|_| ()), Err(()), "0xFF is no UTF-8");
        for bad in [&br"\303"[..], br"\0", br"\x00", br"x\."] {
            assert!(matches!(unescaped(bad), Err(FieldError::Refused { .. })), "{bad:?}");
        }
    }
}
