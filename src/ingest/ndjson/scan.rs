//! Reads JSON (RFC 8259) where it stands: each value by its place, nothing copied and nothing built. Strings are checked down to their
//! last escape, so that a text which was read once can be unescaped without a second thought.

use wide::u8x16;

use crate::encode::FieldError;

/// Levels of nesting, that of the row's own object included; as in `serde_json`.
const DEPTH_MAX: u32 = 128;

/// What a value is, as far as its first look says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Null,
    /// a number, `true` or `false`: its text is its value
    Plain,
    /// a string without an escape
    String,
    /// a string with one
    Escaped,
    Array,
    Object,
}

/// A value by its place in the text; quotes, brackets and braces included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) token: Token,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Value {
    #[inline]
    pub(super) fn raw<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.start..self.end]
    }

    /// What a string says (in `scratch` where it has an escape).
    #[inline]
    pub(super) fn string<'s>(&self, text: &'s [u8], scratch: &'s mut Vec<u8>) -> Result<&'s [u8], Flaw> {
        let inner = &text[self.start + 1..self.end - 1];
        if self.token == Token::String {
            return Ok(inner);
        }
        scratch.clear();
        unescape(inner, scratch)?;
        Ok(scratch)
    }
}

/// What is wrong with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// it is no JSON
    Syntax,
    /// half of a character
    Surrogate,
    /// `\u0000`, which no PostgreSQL text can hold
    Nul,
    /// nested too deeply
    Depth,
}

impl From<Flaw> for FieldError {
    /// With the codes of PostgreSQL's own JSON parser.
    fn from(flaw: Flaw) -> FieldError {
        let (sqlstate, reason) = match flaw {
            Flaw::Syntax => ("22P02", "invalid input syntax for type json"),
            Flaw::Surrogate => ("22P02", "invalid input syntax for type json: half of a Unicode surrogate pair"),
            Flaw::Nul => ("22P05", "unsupported Unicode escape sequence: \\u0000 cannot be converted to text"),
            Flaw::Depth => ("54001", "the JSON is nested deeper than 128 levels"),
        };
        FieldError::refused(sqlstate, reason)
    }
}

/// A place in a text.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a [u8]) -> Cursor<'a> {
        Cursor { text, at: 0 }
    }

    /// The next byte that is not blank.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        loop {
            match self.text.get(self.at) {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    #[inline]
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Nothing but blanks may follow.
    #[inline]
    pub(super) fn end(&mut self) -> Result<(), Flaw> {
        if self.peek().is_none() { Ok(()) } else { Err(Flaw::Syntax) }
    }

    /// Steps over the bracket or brace that is next; whether it has anything in it.
    #[inline]
    pub(super) fn enter(&mut self, close: u8) -> bool {
        self.at += 1;
        !self.take(close)
    }

    /// After an element or a member: whether another follows.
    #[inline]
    pub(super) fn goes_on(&mut self, close: u8) -> Result<bool, Flaw> {
        if self.take(b',') {
            Ok(true)
        } else if self.take(close) {
            Ok(false)
        } else {
            Err(Flaw::Syntax)
        }
    }

    /// A member's key, up to its value.
    #[inline]
    pub(super) fn key(&mut self) -> Result<Value, Flaw> {
        if self.peek() != Some(b'"') {
            return Err(Flaw::Syntax);
        }
        let key = self.string()?;
        self.colon()?;
        Ok(key)
    }

    /// Steps over the key that comes next if it is written just so, in quotes.
    #[inline]
    pub(super) fn key_is(&mut self, quoted: &[u8]) -> Result<bool, Flaw> {
        self.peek();
        let found = self.text[self.at..].starts_with(quoted);
        if found {
            self.at += quoted.len();
            self.colon()?;
        }
        Ok(found)
    }

    #[inline]
    fn colon(&mut self) -> Result<(), Flaw> {
        if self.take(b':') { Ok(()) } else { Err(Flaw::Syntax) }
    }

    /// The value that comes next.
    #[inline]
    pub(super) fn value(&mut self) -> Result<Value, Flaw> {
        match self.peek() {
            Some(b'{' | b'[') => self.nested(),
            _ => self.scalar(),
        }
    }

    #[inline]
    fn scalar(&mut self) -> Result<Value, Flaw> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word(b"true", Token::Plain),
            Some(b'f') => self.word(b"false", Token::Plain),
            Some(b'n') => self.word(b"null", Token::Null),
            _ => Err(Flaw::Syntax),
        }
    }

    fn word(&mut self, word: &[u8], token: Token) -> Result<Value, Flaw> {
        let start = self.at;
        if !self.text[start..].starts_with(word) {
            return Err(Flaw::Syntax);
        }
        self.at += word.len();
        Ok(Value { token, start, end: self.at })
    }

    #[inline]
    fn number(&mut self) -> Result<Value, Flaw> {
        let start = self.at;
        self.at += usize::from(self.text[start] == b'-');
        let leading_zero = self.text.get(self.at) == Some(&b'0');
        let digits = self.digits()?;
        if leading_zero && digits > 1 {
            return Err(Flaw::Syntax);
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.text.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.text.get(self.at), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(Value { token: Token::Plain, start, end: self.at })
    }

    #[inline]
    fn digits(&mut self) -> Result<usize, Flaw> {
        let rest = &self.text[self.at..];
        let count = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        self.at += count;
        if count > 0 { Ok(count) } else { Err(Flaw::Syntax) }
    }

    #[inline]
    fn string(&mut self) -> Result<Value, Flaw> {
        let start = self.at;
        let mut token = Token::String;
        self.at += 1;
        loop {
            self.at += plain_run(&self.text[self.at..]);
            match self.text.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Value { token, start, end: self.at });
                }
                Some(b'\\') => {
                    token = Token::Escaped;
                    self.at += escaped(&self.text[self.at..])?.1;
                }
                _ => return Err(Flaw::Syntax),
            }
        }
    }

    /// An array or an object, checked to its end and without recursion.
    fn nested(&mut self) -> Result<Value, Flaw> {
        let start = self.at;
        let token = if self.text[start] == b'{' { Token::Object } else { Token::Array };
        // One bit for each level: whether it is an object, the innermost one lowest.
        let (mut objects, mut depth) = (0u128, 0u32);
        let close = |objects: u128| if objects & 1 == 1 { b'}' } else { b']' };
        loop {
            let mut more = false;
            if let Some(open @ (b'{' | b'[')) = self.peek() {
                depth += 1;
                if depth == DEPTH_MAX {
                    return Err(Flaw::Depth);
                }
                objects = objects << 1 | u128::from(open == b'{');
                more = self.enter(close(objects));
                if !more {
                    (objects, depth) = (objects >> 1, depth - 1);
                }
            } else {
                self.scalar()?;
            }
            while !more {
                if depth == 0 {
                    return Ok(Value { token, start, end: self.at });
                }
                more = self.goes_on(close(objects))?;
                if !more {
                    (objects, depth) = (objects >> 1, depth - 1);
                }
            }
            if objects & 1 == 1 {
                self.key()?;
            }
        }
    }
}

/// How many bytes of a string mean nothing but themselves.
#[inline]
fn plain_run(text: &[u8]) -> usize {
    let quote = u8x16::new([b'"'; 16]);
    let backslash = u8x16::new([b'\\'; 16]);
    let last_control = u8x16::new([0x1F; 16]);
    let (blocks, rest) = text.as_chunks::<16>();
    for (index, block) in blocks.iter().enumerate() {
        let bytes = u8x16::new(*block);
        let hits = bytes.simd_eq(quote) | bytes.simd_eq(backslash) | bytes.min(last_control).simd_eq(bytes);
        let hits = hits.to_bitmask();
        if hits != 0 {
            return index * 16 + hits.trailing_zeros() as usize;
        }
    }
    let means_more = |byte: &u8| matches!(byte, b'"' | b'\\' | ..=0x1F);
    text.len() - rest.len() + rest.iter().position(means_more).unwrap_or(rest.len())
}

/// The character that the escape at the beginning of the text stands for, and how many bytes the escape has.
fn escaped(text: &[u8]) -> Result<(char, usize), Flaw> {
    let character = match text.get(1) {
        Some(b'u') => return escaped_unit(text),
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{C}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(same @ (b'"' | b'\\' | b'/')) => char::from(*same),
        _ => return Err(Flaw::Syntax),
    };
    Ok((character, 2))
}

/// `\u` and four hexadecimal digits, or two of them for one character.
fn escaped_unit(text: &[u8]) -> Result<(char, usize), Flaw> {
    let (mut code, mut length) = (hexadecimal(text, 2)?, 6);
    if let 0xD800..=0xDBFF = code {
        if text.get(6..8) != Some(b"\\u") {
            return Err(Flaw::Surrogate);
        }
        let low = hexadecimal(text, 8)?;
        if !(0xDC00..=0xDFFF).contains(&low) {
            return Err(Flaw::Surrogate);
        }
        (code, length) = (0x10000 + ((code - 0xD800) << 10 | (low - 0xDC00)), 12);
    }
    match char::from_u32(code) {
        Some('\0') => Err(Flaw::Nul),
        Some(character) => Ok((character, length)),
        None => Err(Flaw::Surrogate),
    }
}

fn hexadecimal(text: &[u8], at: usize) -> Result<u32, Flaw> {
    let digits = text.get(at..at + 4).ok_or(Flaw::Syntax)?;
    digits.iter().try_fold(0, |code, digit| {
        let digit = char::from(*digit).to_digit(16).ok_or(Flaw::Syntax)?;
        Ok(code << 4 | digit)
    })
}

/// Appends what the inner part of a string stands for.
fn unescape(inner: &[u8], out: &mut Vec<u8>) -> Result<(), Flaw> {
    let mut rest = inner;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let (character, length) = escaped(&rest[at..])?;
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        rest = &rest[at + length..];
    }
    out.extend_from_slice(rest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    fn whole(text: &str) -> Result<Value, Flaw> {
        let mut cursor = Cursor::new(text.as_bytes());
        let value = cursor.value()?;
        cursor.end().map(|()| value)
    }

    fn string(text: &str) -> Result<String, Flaw> {
        let value = whole(text)?;
        let mut scratch = Vec::new();
        Ok(String::from_utf8(value.string(text.as_bytes(), &mut scratch)?.to_vec()).unwrap())
    }

    #[test]
    fn escapes_stand_for_characters() {
        assert_eq!(
            string(r#""\"\\\/\b\f\n\r\t\u00E4\ud83d\uDE00\uffff""#),
            Ok("\"\\/\u{8}\u{c}\n\r\tä😀\u{ffff}".to_owned())
        );
        for half in [r"\ud800", r"\ud800x", r"\ud800\n", r"\ud800\ud800", r"\udc00", r"\udc00\ud800", r"x\udfff"] {
            assert_eq!(string(&format!("\"{half}\"")), Err(Flaw::Surrogate), "{half}");
        }
        assert_eq!(string(r#""\u0000""#), Err(Flaw::Nul));
        for bad in [r"\u00", r"\u+123", r"\x41", r"\", r"\ud800\u00", "\t", "\u{1f}"] {
            assert_eq!(string(&format!("\"{bad}\"")), Err(Flaw::Syntax), "{bad}");
        }
    }

    #[test]
    fn flaws_are_found_in_what_is_nested_too() {
        assert_eq!(whole(r#"[{"a": "\u0000"}]"#).map(|_| ()), Err(Flaw::Nul));
        assert_eq!(whole(r#"{"a": {"\ud800": 1}}"#).map(|_| ()), Err(Flaw::Surrogate));
    }

    #[test]
    fn nesting_is_bounded_and_costs_no_stack() {
        let nested = |open: &str, close: &str, depth| format!("{}1{}", open.repeat(depth), close.repeat(depth));
        assert!(whole(&nested("[", "]", 127)).is_ok());
        assert!(whole(&nested("{\"a\":", "}", 127)).is_ok());
        assert_eq!(whole(&nested("[", "]", 128)).map(|_| ()), Err(Flaw::Depth));
        assert_eq!(whole(&"[{\"a\":".repeat(1_000_000)).map(|_| ()), Err(Flaw::Depth));
    }

    #[test]
    fn large_values_are_read_to_their_end() {
        let number = format!("-{}.{}E+{}", "9".repeat(100_000), "7".repeat(100_000), "1".repeat(100_000));
        assert_eq!(whole(&number).map(|value| value.end), Ok(number.len()));
        let text = "ä".repeat(8 << 20);
        assert_eq!(string(&format!("\"{text}\"")), Ok(text));
    }

    #[test]
    fn strings_end_where_they_end_whatever_their_length() {
        for length in 0..70 {
            let text = format!("\"{}\",\"", "x".repeat(length));
            let mut cursor = Cursor::new(text.as_bytes());
            assert_eq!(cursor.value().map(|value| value.end), Ok(length + 2));
            assert_eq!(whole(&text[..length + 1]).map(|_| ()), Err(Flaw::Syntax), "unterminated");
        }
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let scalar = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            any::<f64>().prop_map(serde_json::Value::from),
            any::<String>().prop_map(serde_json::Value::from),
        ];
        scalar.prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// Another parser accepts the same texts; but for what no PostgreSQL text can hold.
    fn agrees(text: &str) -> Result<(), TestCaseError> {
        match whole(text) {
            Ok(value) => {
                prop_assert!(serde_json::from_str::<IgnoredAny>(text).is_ok(), "only accepted here: {}", text);
                prop_assert_eq!(text[value.start..value.end].trim(), text.trim());
            }
            Err(Flaw::Syntax) => prop_assert!(serde_json::from_str::<IgnoredAny>(text).is_err(), "only refused here: {}", text),
            Err(_) => {}
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn texts_like_json_are_judged_as_another_parser_judges_them(text in r#"([\[\]{},: "\-.\\eE0-9]|true|false|null|"a"|\\u[0-9a-f]{4}){0,12}"#) {
            agrees(&text)?;
        }

        #[test]
        fn json_is_json_until_a_byte_is_changed(value in json(), pretty: bool, at: prop::sample::Index, byte in "[\\[\\]{},:\"0-9 a-z\u{0}-\u{1f}]") {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            agrees(&text)?;
            let places: Vec<usize> = text.char_indices().map(|(place, _)| place).collect();
            let place = *at.get(&places);
            let (before, after) = text.split_at(place);
            agrees(&format!("{before}{byte}{after}"))?;
            let length = after.chars().next().map_or(0, char::len_utf8);
            agrees(&format!("{before}{byte}{}", &after[length..]))?;
            agrees(before)?;
        }

        #[test]
        fn any_text_comes_through_its_escapes(text: String) {
            let written = serde_json::to_string(&text).unwrap();
            let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            for json in [written, format!("\"{escaped}\"")] {
                let expected = if text.contains('\0') { Err(Flaw::Nul) } else { Ok(text.clone()) };
                prop_assert_eq!(string(&json), expected);
            }
        }
    }
}
