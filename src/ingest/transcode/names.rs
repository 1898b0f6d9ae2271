//! The encodings, by PostgreSQL's names for them and by those that IANA and Windows have.

/// What a text body is encoded in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// needs no conversion
    Utf8,
    /// anything else
    Foreign(Charset),
}

/// An encoding that has to be converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charset {
    /// ISO 8859-1
    Latin1,
    /// RFC 2781; without a byte order, a byte order mark has to tell it
    Utf16(Option<ByteOrder>),
    /// what PostgreSQL's server converts, by its name there
    Server(&'static str),
}

/// Of UTF-16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ByteOrder {
    /// the high byte first
    #[default]
    Big,
    /// the low byte first
    Little,
}

impl ByteOrder {
    /// What two bytes make.
    #[inline]
    pub(super) fn unit(self, bytes: [u8; 2]) -> u16 {
        match self {
            ByteOrder::Big => u16::from_be_bytes(bytes),
            ByteOrder::Little => u16::from_le_bytes(bytes),
        }
    }

    /// What a byte order mark says, if these two bytes are one.
    pub(super) fn of_mark(bytes: [u8; 2]) -> Option<ByteOrder> {
        [ByteOrder::Big, ByteOrder::Little].into_iter().find(|order| order.unit(bytes) == 0xFEFF)
    }
}

/// PostgreSQL's encodings that have a conversion to UTF-8, and the names beside their own. `src/common/encnames.c`, to which the code
/// pages of Windows and IBM are added.
const SERVER: [(&str, &[&str]); 39] = [
    ("SQL_ASCII", &[]),
    ("EUC_JP", &[]),
    ("EUC_CN", &["gb2312"]),
    ("EUC_KR", &[]),
    ("EUC_TW", &[]),
    ("EUC_JIS_2004", &[]),
    ("LATIN2", &["iso88592"]),
    ("LATIN3", &["iso88593"]),
    ("LATIN4", &["iso88594"]),
    ("LATIN5", &["iso88599"]),
    ("LATIN6", &["iso885910"]),
    ("LATIN7", &["iso885913"]),
    ("LATIN8", &["iso885914"]),
    ("LATIN9", &["iso885915"]),
    ("LATIN10", &["iso885916"]),
    ("WIN1250", &[]),
    ("WIN1251", &["win"]),
    ("WIN1252", &[]),
    ("WIN1253", &[]),
    ("WIN1254", &[]),
    ("WIN1255", &[]),
    ("WIN1256", &[]),
    ("WIN1257", &[]),
    ("WIN1258", &["abc", "tcvn", "tcvn5712", "vscii"]),
    ("WIN866", &["alt", "ibm866"]),
    ("WIN874", &[]),
    ("KOI8R", &["koi8"]),
    ("KOI8U", &[]),
    ("ISO_8859_5", &[]),
    ("ISO_8859_6", &[]),
    ("ISO_8859_7", &[]),
    ("ISO_8859_8", &[]),
    ("SJIS", &["shiftjis", "mskanji", "win932", "win31j"]),
    ("BIG5", &["win950"]),
    ("GBK", &["win936"]),
    ("UHC", &["win949"]),
    ("GB18030", &[]),
    ("JOHAB", &[]),
    ("SHIFT_JIS_2004", &["shiftjis2004"]),
];

impl Encoding {
    /// The encoding of that name. As in PostgreSQL, only letters and digits count, and case does not.
    pub fn from_name(name: &str) -> Option<Encoding> {
        let plain = plain(name);
        let named = match plain.as_str() {
            "utf8" | "unicode" | "usascii" | "ascii" => return Some(Encoding::Utf8),
            "latin1" | "iso88591" => Some(Charset::Latin1),
            "utf16" => Some(Charset::Utf16(None)),
            "utf16be" => Some(Charset::Utf16(Some(ByteOrder::Big))),
            "utf16le" => Some(Charset::Utf16(Some(ByteOrder::Little))),
            _ => None,
        };
        let page = plain.strip_prefix("windows").or(plain.strip_prefix("cp")).filter(|page| !page.is_empty());
        let name = page.map_or_else(|| plain.clone(), |page| format!("win{page}"));
        let is_it = |(own, others): &&(&str, &[&str])| self::plain(own) == name || others.contains(&name.as_str());
        let by_server = || SERVER.iter().find(is_it).map(|(own, _)| Charset::Server(own));
        named.or_else(by_server).map(Encoding::Foreign)
    }
}

fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_however_they_are_written() {
        let server = |name| Some(Encoding::Foreign(Charset::Server(name)));
        for (name, encoding) in [
            ("UTF-8", Some(Encoding::Utf8)),
            ("ISO-8859-1", Some(Encoding::Foreign(Charset::Latin1))),
            ("utf_16LE", Some(Encoding::Foreign(Charset::Utf16(Some(ByteOrder::Little))))),
            ("windows-1252", server("WIN1252")),
            ("cp1252", server("WIN1252")),
            ("Shift_JIS", server("SJIS")),
            ("Windows-31J", server("SJIS")),
            ("shift-jis-2004", server("SHIFT_JIS_2004")),
            ("ISO-8859-15", server("LATIN9")),
            ("iso-8859-5", server("ISO_8859_5")),
            ("euc-jp", server("EUC_JP")),
            ("KOI8-R", server("KOI8R")),
            ("windows", None),
            ("", None),
            ("MULE_INTERNAL", None),
            ("utf-7", None),
        ] {
            assert_eq!(Encoding::from_name(name), encoding, "{name}");
        }
    }
}
