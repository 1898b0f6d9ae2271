//! UTF-16, which PostgreSQL does not know: every surrogate must have its other half.

use super::{ByteOrder, Refusal};

/// The text of whole lines, or of the body's last part.
pub(super) fn decode(bytes: &[u8], order: ByteOrder) -> Result<String, Refusal> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let mut text = String::with_capacity(bytes.len());
    for decoded in char::decode_utf16(pairs.iter().map(|pair| order.unit(*pair))) {
        match decoded {
            Ok(character) => text.push(character),
            Err(error) => return Err(invalid(&format!("the surrogate 0x{:04x} without its other half", error.unpaired_surrogate()))),
        }
    }
    if rest.is_empty() { Ok(text) } else { Err(invalid("half of a character at the end of the body")) }
}

/// In the words that PostgreSQL has for its own encodings.
#[cold]
fn invalid(what: &str) -> Refusal {
    Refusal::Bytes {
        sqlstate: "22021",
        reason: format!("invalid byte sequence for encoding \"UTF16\": {what}"),
    }
}
