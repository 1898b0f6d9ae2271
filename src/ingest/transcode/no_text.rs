//! A line that is no text in its encoding, where bad rows are turned away: it goes on as one that the parser is sure to refuse, and of
//! which it still sees the delimiters and quotes.

use super::Charset;

/// In the place of what is no text; UTF-8 has no such byte.
const MARK: u8 = 0xFF;

/// Encodings in which the second byte of a character can be an ASCII letter or a backslash (`encoding_embeds_ascii` in PostgreSQL's COPY).
const EMBEDS_ASCII: [&str; 7] = ["SJIS", "BIG5", "GBK", "UHC", "GB18030", "JOHAB", "SHIFT_JIS_2004"];
/// The first of those bytes; all of them are above quotes, commas and line ends.
const EMBEDDED_MIN: u8 = b'0';

/// The line with all marked that may be no text. What is left is ASCII, or what is sure to be text.
pub(super) fn marked(line: &[u8], charset: Charset) -> Vec<u8> {
    match charset {
        // Only a NUL is no text, and that the parser refuses.
        Charset::Latin1 => line.iter().copied().map(char::from).collect::<String>().into_bytes(),
        Charset::Utf16(order) => {
            let (pairs, rest) = line.as_chunks::<2>();
            let mut text = Vec::with_capacity(line.len());
            for decoded in char::decode_utf16(pairs.iter().map(|pair| order.unwrap_or_default().unit(*pair))) {
                match decoded {
                    Ok(character) => text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
                    Err(_) => text.push(MARK),
                }
            }
            text.extend(rest.iter().map(|_| MARK));
            text
        }
        Charset::Server(name) => {
            let pairs = EMBEDS_ASCII.contains(&name);
            let mut first = false;
            let mark = |byte: &u8| {
                let second = std::mem::take(&mut first) && *byte >= EMBEDDED_MIN;
                first = pairs && !second && !byte.is_ascii();
                if second || !byte.is_ascii() { MARK } else { *byte }
            };
            line.iter().map(mark).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ByteOrder;
    use super::*;

    #[test]
    fn structure_is_kept() {
        assert_eq!(marked(b"1,\"\x81\\\x81\"\n", Charset::Server("SJIS")), b"1,\"\xFF\xFF\xFF\"\n");
        assert_eq!(marked(b"1,\x81\\,\x80", Charset::Server("EUC_JP")), b"1,\xFF\\,\xFF");
        assert_eq!(marked(b"\x811\x812|", Charset::Server("GB18030")), b"\xFF\xFF\xFF\xFF|");
        assert_eq!(marked(b"a\0\xE4", Charset::Latin1), "a\0ä".as_bytes());
        assert_eq!(marked(b"a\0\0\xD8,\0\xE4\0x", Charset::Utf16(Some(ByteOrder::Little))), b"a\xFF,\xC3\xA4\xFF");
    }
}
