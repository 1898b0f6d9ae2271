//! Digests that a client declares of its body (RFC 9530), computed while the body comes: over the bytes as they are sent, with their
//! Content-Encoding and without the transfer coding.

use sha2::{Digest as _, Sha256, Sha512};

use crate::error::DigestMismatch;

/// A hash algorithm that is good enough to tell two bodies apart: those that RFC 9530 calls active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// `sha-256`
    Sha256,
    /// `sha-512`
    Sha512,
}

impl Algorithm {
    /// All there are.
    pub const ALL: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

    /// Its key in the registry of hash algorithms for HTTP digest fields.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha-256",
            Algorithm::Sha512 => "sha-512",
        }
    }

    /// How long its digests are, in bytes.
    pub fn digest_bytes(self) -> usize {
        match self {
            Algorithm::Sha256 => 32,
            Algorithm::Sha512 => 64,
        }
    }
}

/// What a client says about its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// the header that says so
    pub field: &'static str,
    /// how it was computed
    pub algorithm: Algorithm,
    /// the digest
    pub value: Vec<u8>,
}

/// The SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

/// Computes what was declared, and nothing where nothing was.
pub(super) struct Check {
    declared: Vec<Declared>,
    sha256: Option<Sha256>,
    sha512: Option<Sha512>,
}

impl Check {
    pub(super) fn new(declared: &[Declared]) -> Check {
        let wanted = |algorithm| declared.iter().any(|digest| digest.algorithm == algorithm);
        Check {
            declared: declared.to_vec(),
            sha256: wanted(Algorithm::Sha256).then(Sha256::new),
            sha512: wanted(Algorithm::Sha512).then(Sha512::new),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        if let Some(hash) = &mut self.sha256 {
            hash.update(bytes);
        }
        if let Some(hash) = &mut self.sha512 {
            hash.update(bytes);
        }
    }

    /// Every declared digest that is not that of the bytes so far.
    pub(super) fn mismatches(&self) -> Vec<DigestMismatch> {
        let sha256 = self.sha256.clone().map(|hash| hash.finalize().to_vec()).unwrap_or_default();
        let sha512 = self.sha512.clone().map(|hash| hash.finalize().to_vec()).unwrap_or_default();
        let computed = |algorithm| match algorithm {
            Algorithm::Sha256 => &sha256,
            Algorithm::Sha512 => &sha512,
        };
        let wrong = self.declared.iter().filter(|digest| *computed(digest.algorithm) != digest.value);
        wrong
            .map(|digest| DigestMismatch {
                field: digest.field,
                algorithm: digest.algorithm.name(),
                declared: digest.value.clone(),
                computed: computed(digest.algorithm).clone(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_have_the_digest_of_the_whole() {
        let declared = |algorithm, value| Declared { field: "Content-Digest", algorithm, value };
        let whole = b"id\n1\n2\n";
        let mut check = Check::new(&[declared(Algorithm::Sha256, sha256(whole)), declared(Algorithm::Sha512, vec![0; 64])]);
        whole.chunks(2).for_each(|piece| check.update(piece));
        let wrong = check.mismatches();
        assert_eq!(wrong.len(), 1);
        assert_eq!((wrong[0].algorithm, wrong[0].computed.len()), ("sha-512", Algorithm::Sha512.digest_bytes()));
        assert!(Check::new(&[]).mismatches().is_empty());
    }
}
