//! How a key is written: `pgsluice_`, its id, `_`, its secret, both in hexadecimal. The prefix lets scanners find keys that were left lying
//! about; the id is public and finds the key's row, and the secret is compared with what is kept there.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const PREFIX: &str = "pgsluice_";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;

/// A key as its holder has it. What [`Debug`](std::fmt::Debug) shows of it is its id.
#[derive(Clone)]
pub struct Secret {
    id: String,
    secret: [u8; SECRET_BYTES],
}

impl Secret {
    /// A new one, of 256 random bits.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn generate() -> Result<Secret, String> {
        let (mut id, mut secret) = ([0; ID_BYTES], [0; SECRET_BYTES]);
        for bytes in [&mut id[..], &mut secret[..]] {
            getrandom::fill(bytes).map_err(|error| format!("the system gives no random bytes: {error}"))?;
        }
        Ok(Secret { id: hexadecimal(&id), secret })
    }

    /// Reads a key; `None` for what is not written like one.
    pub fn parse(text: &str) -> Option<Secret> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        bytes::<ID_BYTES>(id)?;
        Some(Secret { id: id.to_owned(), secret: bytes(secret)? })
    }

    /// Whether this was to be a key, and not something else.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// The key, to be shown once.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}_{}", self.id, hexadecimal(&self.secret))
    }

    /// Its public part.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What is kept of its secret.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.secret).into()
    }

    /// Whether this is the secret that `kept` was kept of, in a time that does not depend on where they differ.
    pub fn is(&self, kept: &[u8]) -> bool {
        self.sha256().as_slice().ct_eq(kept).into()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret").field("id", &self.id).finish_non_exhaustive()
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes in lower-case hexadecimal: a key has one spelling.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_digit = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
    if text.len() != 2 * N || !text.bytes().all(is_digit) {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_shown_and_in_no_other_spelling() {
        let key = Secret::generate().unwrap();
        let text = key.reveal();
        let read = Secret::parse(&text).unwrap();
        assert_eq!(read.id(), key.id());
        assert!(read.is(&key.sha256()));
        assert!(!read.is(&Secret::generate().unwrap().sha256()) && !read.is(b"") && !read.is(&key.sha256()[..31]));
        let wrong = [
            text.to_uppercase(),
            text.replace("pgsluice_", "pgsluice-"),
            format!("{text}0"),
            text[..text.len() - 1].to_owned(),
            format!(" {text}"),
            "pgsluice__".to_owned(),
            text.replace(key.id(), "+000000000000000"),
        ];
        for text in wrong {
            assert!(Secret::parse(&text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_secret_is_not_shown_by_accident() {
        let key = Secret::generate().unwrap();
        assert!(!format!("{key:?}").contains(&hexadecimal(&key.secret)[..8]));
    }
}
