//! Ranges and multiranges. The server itself puts their bounds in order and into canonical form, from either format.

use super::scalar::{is_space, trim};
use super::{FieldError, RowWriter, quoting};

const EMPTY: u8 = 0x01;
const LOWER_INCLUSIVE: u8 = 0x02;
const UPPER_INCLUSIVE: u8 = 0x04;
const LOWER_INFINITE: u8 = 0x08;
const UPPER_INFINITE: u8 = 0x10;

/// What writes one bound's field, with its length word, from its text.
type Bound<'b> = dyn FnMut(&[u8], &mut RowWriter) -> Result<(), FieldError> + 'b;

/// `range_in`, written as `range_recv` reads it: flags, then the bounds that there are. Whatever is wrong within a bound, the server is
/// to say what.
pub(super) fn range(raw: &[u8], row: &mut RowWriter, bound: &mut Bound<'_>) -> Result<(), FieldError> {
    let text = trim(raw);
    if text.eq_ignore_ascii_case(b"empty") {
        row.put(&[EMPTY]);
        return Ok(());
    }
    match take_range(text, row, bound) {
        Ok([]) => Ok(()),
        _ => Err(FieldError::NotMine),
    }
}

/// `multirange_in`, written as `multirange_recv` reads it: the number of ranges, then each as a field. Backslashes are not ours, because
/// `multirange_in` and `range_in` do not agree about them.
pub(super) fn multirange(raw: &[u8], row: &mut RowWriter, bound: &mut Bound<'_>) -> Result<(), FieldError> {
    let written = row.nested(|row| {
        if memchr::memchr(b'\\', raw).is_some() {
            return Err(FieldError::NotMine);
        }
        let inside = trim(raw).strip_prefix(b"{").and_then(|text| text.strip_suffix(b"}")).map(trim);
        let mut rest = inside.ok_or(FieldError::NotMine)?;
        let start = row.len();
        row.part(&[0; 4]);
        let mut count = 0u32;
        while !rest.is_empty() {
            if count > 0 {
                rest = skip_blanks(rest.strip_prefix(b",").ok_or(FieldError::NotMine)?);
            }
            rest = skip_blanks(take_range(rest, row, bound)?);
            count += 1;
        }
        row.overwrite(start, &count.to_be_bytes());
        Ok(())
    });
    written.map_err(|_| FieldError::NotMine)
}

#[inline]
fn skip_blanks(text: &[u8]) -> &[u8] {
    let count = text.iter().take_while(|byte| is_space(**byte)).count();
    &text[count..]
}

/// One range as a field of its own; answers what stands behind it.
fn take_range<'t>(text: &'t [u8], row: &mut RowWriter, bound: &mut Bound<'_>) -> Result<&'t [u8], FieldError> {
    let mut rest = text;
    row.nested(|row| {
        rest = write_range(text, row, bound)?;
        Ok(())
    })?;
    Ok(rest)
}

/// `range_parse`, but for the word `empty`: two bounds, each inclusive or not, or absent for infinity, which is never inclusive.
fn write_range<'t>(text: &'t [u8], row: &mut RowWriter, bound: &mut Bound<'_>) -> Result<&'t [u8], FieldError> {
    let start = row.len();
    row.part(&[0]);
    let mut buffer = Vec::new();
    let (lower, rest) = match text {
        [b'[', rest @ ..] => (LOWER_INCLUSIVE, rest),
        [b'(', rest @ ..] => (0, rest),
        _ => return Err(FieldError::NotMine),
    };
    let (value, rest) = quoting::take(rest, b",])", &mut buffer)?;
    let lower = write_bound(value, lower, LOWER_INFINITE, row, bound)?;
    let rest = rest.strip_prefix(b",").ok_or(FieldError::NotMine)?;
    let (value, rest) = quoting::take(rest, b",])", &mut buffer)?;
    let (upper, rest) = match rest {
        [b']', rest @ ..] => (UPPER_INCLUSIVE, rest),
        [b')', rest @ ..] => (0, rest),
        _ => return Err(FieldError::NotMine),
    };
    let upper = write_bound(value, upper, UPPER_INFINITE, row, bound)?;
    row.overwrite(start, &[lower | upper]);
    Ok(rest)
}

/// Writes a bound that there is; answers its flags.
fn write_bound(value: Option<&[u8]>, flags: u8, infinite: u8, row: &mut RowWriter, bound: &mut Bound<'_>) -> Result<u8, FieldError> {
    match value {
        Some(value) => bound(value, row).map(|()| flags),
        None => Ok(infinite),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn put(value: &[u8], row: &mut RowWriter) -> Result<(), FieldError> {
        row.put(value);
        Ok(())
    }

    fn wire(text: &str) -> Option<Vec<u8>> {
        let mut row = RowWriter::new(1, 64);
        range(text.as_bytes(), &mut row, &mut put).ok()?;
        let wire = row.take();
        assert_eq!(wire[..4], (wire.len() as u32 - 4).to_be_bytes());
        Some(wire[4..].to_vec())
    }

    fn multi(text: &str) -> Option<Vec<u8>> {
        let mut row = RowWriter::new(1, 64);
        multirange(text.as_bytes(), &mut row, &mut put).ok()?;
        Some(row.take()[4..].to_vec())
    }

    #[test]
    fn flags_say_which_bounds_there_are() {
        assert_eq!(wire("[1,5)"), Some(vec![LOWER_INCLUSIVE, 0, 0, 0, 1, b'1', 0, 0, 0, 1, b'5']));
        assert_eq!(wire("(1,5]"), Some(vec![UPPER_INCLUSIVE, 0, 0, 0, 1, b'1', 0, 0, 0, 1, b'5']));
        assert_eq!(wire(" [,\"\") "), Some(vec![LOWER_INFINITE, 0, 0, 0, 0]));
        assert_eq!(wire("[,]"), Some(vec![LOWER_INFINITE | UPPER_INFINITE]));
        assert_eq!(wire("[ a,)"), Some(vec![LOWER_INCLUSIVE | UPPER_INFINITE, 0, 0, 0, 2, b' ', b'a']));
        assert_eq!(wire(" Empty\n"), Some(vec![EMPTY]));
        assert_eq!(
            wire("[\"a,]\",b\\))"),
            Some(vec![LOWER_INCLUSIVE, 0, 0, 0, 3, b'a', b',', b']', 0, 0, 0, 2, b'b', b')'])
        );
    }

    #[test]
    fn what_is_no_range_is_left_alone() {
        for other in ["", "1,5", "[1,5", "[1]", "[1,2,3]", "[1,5) x", "empty x", "[1;5)", "[\"1,5)", "1,5)", "[a](b,c)"] {
            assert_eq!(wire(other), None, "{other}");
        }
        for other in ["", "[1,2)", "{[1,2)", "{,}", "{[1,2),}", "{[1,2)[3,4)}", "{[1,2)}x", "{[a\\ ,b)}", "{1}", "{empty}", "}"] {
            assert_eq!(multi(other), None, "{other}");
        }
    }

    #[test]
    fn a_multirange_counts_its_ranges() {
        assert_eq!(multi("{}"), Some(vec![0; 4]));
        assert_eq!(multi(" { } "), Some(vec![0; 4]));
        let two = multi("{[1,2), (3,]}").unwrap();
        assert_eq!(two[..4], [0, 0, 0, 2]);
        assert_eq!(two[4..8], [0, 0, 0, 11]);
        assert_eq!(two[19..], [0, 0, 0, 6, UPPER_INFINITE, 0, 0, 0, 1, b'3']);
    }

    proptest! {
        #[test]
        fn any_bounds_read_back(lower in "[a-z ,\\[\\]\"]{0,6}", upper in "[a-z ,()\"]{0,6}") {
            let quote = |value: &str| format!("\"{}\"", value.replace('"', "\"\""));
            let text = format!("[{},{}]", quote(&lower), quote(&upper));
            let mut bounds = Vec::new();
            let mut row = RowWriter::new(1, 64);
            range(text.as_bytes(), &mut row, &mut |value, row| {
                bounds.push(String::from_utf8(value.to_vec()).unwrap());
                put(value, row)
            }).unwrap();
            prop_assert_eq!(bounds, [lower, upper]);
        }

        #[test]
        fn nothing_makes_it_panic(text in "[{]?[\\[\\](),\"\\\\a1 }]{0,16}") {
            let _ = (wire(&text), multi(&text));
        }
    }
}
