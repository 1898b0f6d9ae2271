//! The extension type `hstore`: keys with values, in quotes or as plain words.

use super::FieldError;

/// `hstore_in`, written as `hstore_recv` reads it: the number of pairs, then each key and its value with their lengths.
///
/// A key that comes twice is not ours: which of its values the server keeps is up to an unstable sort.
pub(super) fn hstore(raw: &[u8], out: &mut Vec<u8>) -> Result<(), FieldError> {
    pairs(raw, out).ok_or(FieldError::NotMine)
}

fn pairs(raw: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let mut keys = Vec::new();
    let mut rest = skip_blanks(raw);
    while !rest.is_empty() {
        if !keys.is_empty() {
            rest = skip_blanks(rest.strip_prefix(b",")?);
        }
        keys.push(out.len());
        let (_, tail) = take_word(rest, out)?;
        let value = out.len();
        let (quoted, tail) = take_word(skip_blanks(skip_blanks(tail).strip_prefix(b"=>")?), out)?;
        if !quoted && out[value + 4..].eq_ignore_ascii_case(b"null") {
            out.truncate(value);
            out.extend_from_slice(&(-1i32).to_be_bytes());
        }
        rest = skip_blanks(tail);
    }
    let count = u32::try_from(keys.len()).ok()?;
    out[start..start + 4].copy_from_slice(&count.to_be_bytes());
    // With its length in front, a key is equal to another only as a whole.
    keys.sort_unstable_by_key(|at| key(out, *at));
    keys.windows(2).all(|pair| key(out, pair[0]) != key(out, pair[1])).then_some(())
}

/// The key whose length stands at `at`.
fn key(out: &[u8], at: usize) -> &[u8] {
    let length = out[at..].first_chunk().map_or(0, |length| u32::from_be_bytes(*length));
    &out[at + 4..at + 4 + length as usize]
}

/// The blanks of all versions; some know the vertical tab, too.
#[inline]
fn skip_blanks(text: &[u8]) -> &[u8] {
    let count = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0c)).count();
    &text[count..]
}

/// Writes a word with its length; answers whether it was quoted.
fn take_word<'t>(text: &'t [u8], out: &mut Vec<u8>) -> Option<(bool, &'t [u8])> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let rest = match text {
        [b'"', inside @ ..] => unquote(inside, out)?,
        _ => {
            let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':' | b'/' | b'@' | b'+');
            let length = text.iter().take_while(|byte| is_plain(byte)).count();
            out.extend_from_slice(&text[..length]);
            &text[length..]
        }
    };
    let quoted = text.first() == Some(&b'"');
    let length = out.len() - start - 4;
    if length == 0 && !quoted {
        return None;
    }
    out[start..start + 4].copy_from_slice(&u32::try_from(length).ok()?.to_be_bytes());
    Some((quoted, rest))
}

/// Up to the closing quote, each backslash making the character behind it a plain one.
fn unquote<'t>(text: &'t [u8], out: &mut Vec<u8>) -> Option<&'t [u8]> {
    let mut rest = text;
    loop {
        let (plain, tail) = rest.split_at(memchr::memchr2(b'"', b'\\', rest)?);
        out.extend_from_slice(plain);
        match tail {
            [b'\\', escaped, tail @ ..] => {
                out.push(*escaped);
                rest = tail;
            }
            [b'"', tail @ ..] => return Some(tail),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Pairs = Vec<(String, Option<String>)>;

    fn read(text: &str) -> Option<Pairs> {
        let mut out = Vec::new();
        hstore(text.as_bytes(), &mut out).ok()?;
        let mut rest = &out[4..];
        let mut words = Vec::new();
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let length = usize::try_from(i32::from_be_bytes(*length)).ok();
            let (word, tail) = tail.split_at(length.unwrap_or(0));
            words.push(length.map(|_| String::from_utf8(word.to_vec()).unwrap()));
            rest = tail;
        }
        assert_eq!(out[..4], (words.len() as u32 / 2).to_be_bytes());
        Some(words.chunks(2).map(|pair| (pair[0].clone().unwrap(), pair[1].clone())).collect())
    }

    fn pair(key: &str, value: &str) -> (String, Option<String>) {
        (key.to_owned(), Some(value.to_owned()))
    }

    #[test]
    fn words_are_quoted_or_plain() {
        assert_eq!(read(r#""a"=>"1", "b c"=>"x\"\\y""#), Some(vec![pair("a", "1"), pair("b c", "x\"\\y")]));
        assert_eq!(
            read(" a => 1.5,b=>NULL , c=>\"NULL\""),
            Some(vec![pair("a", "1.5"), ("b".to_owned(), None), pair("c", "NULL")])
        );
        assert_eq!(read(r#"""=>"""#), Some(vec![pair("", "")]));
        assert_eq!(read(""), Some(vec![]));
        assert_eq!(read(" \n"), Some(vec![]));
    }

    #[test]
    fn what_is_not_plain_is_left_alone() {
        for other in ["a", "a=>", "a=1", "=>1", "a=>1,", ",a=>1", "a=>1 b=>2", "a = > 1", "a=>1,,b=>2", r#""a=>1"#, r#"a=>"1"#, r#"a=>"\"#]
        {
            assert_eq!(read(other), None, "{other}");
        }
        for other in ["a\\b=>1", "a=>b=c", "é=>1", "a=>1,a=>2", r#"a=>1,"a"=>NULL"#, "a\u{b}=>1", r#"a"b"=>1"#, r#""a"b=>1"#] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_pairs_read_back(pairs in prop::collection::btree_map("[a-zé ,=>\"\\\\]{0,6}", prop::option::of("[a-zé ,=>\"\\\\]{0,6}"), 0..6)) {
            let quote = |word: &str| format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""));
            let value = |value: &Option<String>| value.as_deref().map_or("NULL".to_owned(), quote);
            let text: Vec<String> = pairs.iter().map(|(k, v)| format!("{}=>{}", quote(k), value(v))).collect();
            prop_assert_eq!(read(&text.join(", ")), Some(pairs.into_iter().collect()));
        }
    }
}
