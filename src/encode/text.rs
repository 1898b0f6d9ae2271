//! Character strings, `bytea` and JSON.

use super::FieldError;
use super::scalar::hex_digit;

/// `jsonb_recv` reads one version byte before the text.
pub(super) const JSONB_VERSION: u8 = 1;

/// Checks that text is UTF-8 and holds no NUL, which no PostgreSQL text can hold.
///
/// # Errors
/// 22021, with the offset of the first byte that is wrong.
pub fn check_text(raw: &[u8]) -> Result<(), (usize, FieldError)> {
    if let Err(error) = std::str::from_utf8(raw) {
        let offset = error.valid_up_to();
        let shown: Vec<String> = raw[offset..]
            .iter()
            .take(error.error_len().unwrap_or(4))
            .map(|byte| format!("0x{byte:02x}"))
            .collect();
        let reason = format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" "));
        return Err((offset, FieldError::refused("22021", reason)));
    }
    match memchr::memchr(0, raw) {
        Some(offset) => {
            let reason = "invalid byte sequence for encoding \"UTF8\": 0x00";
            Err((offset, FieldError::refused("22021", reason)))
        }
        None => Ok(()),
    }
}

/// `varchar_input` and `bpchar_input`: too long is an error unless everything beyond the limit is spaces, which the server cuts.
pub(super) fn check_length(raw: &[u8], max_chars: u32, type_name: &str) -> Result<(), FieldError> {
    let max = max_chars as usize;
    if raw.len() <= max {
        return Ok(());
    }
    let is_char_start = |byte: &u8| *byte & 0xC0 != 0x80;
    let excess = raw
        .iter()
        .enumerate()
        .filter(|(_, byte)| is_char_start(byte))
        .nth(max)
        .map_or(&[][..], |(offset, _)| &raw[offset..]);
    if excess.iter().all(|byte| *byte == b' ') {
        return Ok(());
    }
    Err(FieldError::refused("22001", format!("value too long for type {type_name}({max_chars})")))
}

/// `byteain`: `\x` and pairs of hexadecimal digits with white space between pairs, else the escape format.
pub(super) fn bytea(raw: &[u8], out: &mut Vec<u8>) -> Result<(), FieldError> {
    match raw {
        [b'\\', b'x', digits @ ..] => bytea_hex(digits, out),
        _ => bytea_escape(raw, out),
    }
}

fn bytea_hex(digits: &[u8], out: &mut Vec<u8>) -> Result<(), FieldError> {
    let mut rest = digits;
    loop {
        match rest {
            [] => return Ok(()),
            [b' ' | b'\n' | b'\t' | b'\r', tail @ ..] => rest = tail,
            [high, tail @ ..] => {
                let high = hex_digit(*high).ok_or_else(|| bad_hex(*high))?;
                let [low, tail @ ..] = tail else {
                    let reason = "invalid hexadecimal data: odd number of digits";
                    return Err(FieldError::refused("22023", reason));
                };
                out.push(high << 4 | hex_digit(*low).ok_or_else(|| bad_hex(*low))?);
                rest = tail;
            }
        }
    }
}

fn bad_hex(byte: u8) -> FieldError {
    let shown = byte.escape_ascii();
    FieldError::refused("22023", format!("invalid hexadecimal digit: \"{shown}\""))
}

fn bytea_escape(raw: &[u8], out: &mut Vec<u8>) -> Result<(), FieldError> {
    let mut rest = raw;
    loop {
        match rest {
            [] => return Ok(()),
            [b'\\', b'\\', tail @ ..] => {
                out.push(b'\\');
                rest = tail;
            }
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = tail;
            }
            [b'\\', ..] => return Err(FieldError::syntax("bytea")),
            [byte, tail @ ..] => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
}

/// `namein`: what does not fit `NAMEDATALEN` is cut off after the last whole character, of which the server's own encoding knows the
/// bytes.
pub(super) fn name(raw: &[u8]) -> Result<&[u8], FieldError> {
    const MAX: usize = 63;
    match raw.get(..MAX) {
        Some(kept) if raw.is_ascii() => Ok(kept),
        Some(_) if raw.len() > MAX => Err(FieldError::NotMine),
        _ => Ok(raw),
    }
}

/// `enum_in` and `enum_recv` take the same text: one of the labels.
pub(super) fn label(raw: &[u8], labels: &[Box<str>]) -> Result<(), FieldError> {
    if labels.iter().any(|label| label.as_bytes() == raw) {
        return Ok(());
    }
    Err(FieldError::refused("22P02", "invalid input value for enum"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(raw: &[u8]) -> Result<Vec<u8>, FieldError> {
        let mut out = Vec::new();
        bytea(raw, &mut out).map(|()| out)
    }

    #[test]
    fn bytea_reads_both_formats() {
        assert_eq!(decoded(b"\\x00 fF"), Ok(vec![0, 255]));
        assert_eq!(decoded(b"a\\\\b\\000\\377"), Ok(b"a\\b\0\xff".to_vec()));
        for bad in [&b"\\x0"[..], b"\\x0 0", b"\\xzz", b"\\400", b"\\9", b"tail\\"] {
            assert!(decoded(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn length_is_counted_in_characters_and_spaces_may_overhang() {
        assert!(check_length("äöü".as_bytes(), 3, "character varying").is_ok());
        assert!(check_length("äöü  ".as_bytes(), 3, "character varying").is_ok());
        assert!(check_length("äöüx".as_bytes(), 3, "character varying").is_err());
        assert!(check_length(b"ab c", 2, "character").is_err());
    }

    #[test]
    fn text_errors_carry_their_offset() {
        assert_eq!(check_text(b"ab\xffc").map_err(|e| e.0), Err(2));
        assert_eq!(check_text(b"abc\0").map_err(|e| e.0), Err(3));
        assert_eq!(check_text("ä".as_bytes()), Ok(()));
    }

    #[test]
    fn long_names_are_cut() {
        for kept in [&b"short"[..], &[b'x'; 63], "€".repeat(21).as_bytes()] {
            assert_eq!(name(kept), Ok(kept));
        }
        assert_eq!(name(&[b'x'; 64]), Ok(&[b'x'; 63][..]));
        assert_eq!(name("€".repeat(22).as_bytes()), Err(FieldError::NotMine));
    }

    #[test]
    fn labels_are_known_to_the_letter() {
        let labels = [Box::from("sad"), Box::from("Öde")];
        assert_eq!(label("Öde".as_bytes(), &labels), Ok(()));
        for bad in ["", "SAD", "sad ", "sa"] {
            assert!(
                matches!(label(bad.as_bytes(), &labels), Err(FieldError::Refused { sqlstate: "22P02", .. })),
                "{bad}"
            );
        }
    }
}
