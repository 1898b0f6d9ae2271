//! The other direction: values that come with a structure of their own (JSON, Arrow) and must become parts of a literal.
//!
//! Everything is quoted, whether it must be or not, so that no word, blank or number means more than itself in any version.

/// One element of an array literal, as `array_in` reads it back. The braces and the delimiters between are the caller's.
pub fn array_element(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        Some(value) => quoted(value, out),
        None => out.extend_from_slice(b"NULL"),
    }
}

/// One field of a row literal, as `record_in` reads it back. The parentheses and the commas between are the caller's.
pub fn record_field(out: &mut Vec<u8>, value: Option<&[u8]>) {
    // Nothing at all is NULL.
    if let Some(value) = value {
        quote(out, value, |special| special);
    }
}

/// In double quotes, with a backslash before whatever would end or escape them: `hstore_in` reads this too.
pub(super) fn quoted(value: &[u8], out: &mut Vec<u8>) {
    quote(out, value, |_| b'\\');
}

/// Puts `escape` before each quote and backslash.
fn quote(out: &mut Vec<u8>, value: &[u8], escape: impl Fn(u8) -> u8) {
    out.push(b'"');
    let mut rest = value;
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(&[escape(rest[at]), rest[at]]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_are_escaped_as_each_parser_writes_them() {
        let mut out = Vec::new();
        array_element(&mut out, Some(br#"a"b\c"#));
        array_element(&mut out, None);
        assert_eq!(out, br#""a\"b\\c"NULL"#);
        out.clear();
        record_field(&mut out, Some(br#"a"b\c"#));
        record_field(&mut out, None);
        record_field(&mut out, Some(b""));
        assert_eq!(out, br#""a""b\\c""""#);
    }
}
