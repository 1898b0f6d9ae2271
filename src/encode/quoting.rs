//! The quoting that `record_in` and `range_parse_bound` share: quotes anywhere in a value, a doubled one inside of quotes for one of its
//! own, a backslash before any character.

use super::FieldError;

/// Takes one value, up to one of `ends` that stands outside of quotes, and takes the quotes off. `None` where nothing stands at all.
///
/// `buffer` is for the values that are not in the text as they are.
#[inline]
pub(super) fn take<'t: 'v, 'v>(text: &'t [u8], ends: &[u8], buffer: &'v mut Vec<u8>) -> Result<(Option<&'v [u8]>, &'t [u8]), FieldError> {
    let plain = text.iter().position(|byte| matches!(byte, b'"' | b'\\') || ends.contains(byte));
    match plain.map(|length| text.split_at(length)) {
        None => Err(FieldError::NotMine),
        Some(([], rest)) if ends.contains(&rest[0]) => Ok((None, rest)),
        Some((value, rest)) if ends.contains(&rest[0]) => Ok((Some(value), rest)),
        Some(_) => {
            buffer.clear();
            let rest = unquote(text, ends, buffer)?;
            Ok((Some(buffer), rest))
        }
    }
}

fn unquote<'t>(text: &'t [u8], ends: &[u8], buffer: &mut Vec<u8>) -> Result<&'t [u8], FieldError> {
    let mut quoted = false;
    let mut rest = text;
    loop {
        rest = match rest {
            [byte, ..] if !quoted && ends.contains(byte) => return Ok(rest),
            [b'"', b'"', tail @ ..] if quoted => {
                buffer.push(b'"');
                tail
            }
            [b'"', tail @ ..] => {
                quoted = !quoted;
                tail
            }
            [] | [b'\\'] => return Err(FieldError::NotMine),
            [b'\\', byte, tail @ ..] | [byte, tail @ ..] => {
                buffer.push(*byte);
                tail
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(text: &str) -> Option<(Option<String>, String)> {
        let mut buffer = b"left over".to_vec();
        let (value, rest) = take(text.as_bytes(), b",)", &mut buffer).ok()?;
        let shown = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Some((value.map(shown), shown(rest)))
    }

    #[test]
    fn values_end_outside_of_quotes() {
        let value = |value: &str, rest: &str| Some((Some(value.to_owned()), rest.to_owned()));
        assert_eq!(taken(",x"), Some((None, ",x".to_owned())));
        assert_eq!(taken(" a b ,c"), value(" a b ", ",c"));
        assert_eq!(taken("\"\")"), value("", ")"));
        assert_eq!(taken("\"a,)\"\"b\"\"\")"), value("a,)\"b\"", ")"));
        assert_eq!(taken("a\"b,\"c,d"), value("ab,c", ",d"));
        assert_eq!(taken("\\,\\\\\\\"é)"), value(",\\\"é", ")"));
        assert_eq!(taken("\"a\\\"b\\\\\",x"), value("a\"b\\", ",x"));
        // Two quotes in a row outside of quotes open and close.
        assert_eq!(taken("a\"\"b,"), value("ab", ","));
    }

    #[test]
    fn values_without_an_end_are_left_alone() {
        for open in ["", "a", "\"a,", "a\\", "\"a\\", "\"a\"\"", "a\\)"] {
            assert_eq!(taken(open), None, "{open}");
        }
    }
}
