//! The keys of an OpenID provider (RFC 7517), and which of them a token is held against. A key is bound to the algorithms that its type and
//! what else it says allow (RFC 8725, 3.1), so no token can have a public key taken for a secret.

use std::fmt;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::jwt::Flaw;

/// What makes a key a secret. It does not belong where only public keys are needed, and whoever put it there has to know.
const SECRET_MEMBERS: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];
const RSA_BITS_MIN: usize = 2048;
const RSA_BITS_MAX: usize = 8192;

/// Tells a key from every other one.
pub(super) type Fingerprint = [u8; 32];

/// A key that signs tokens.
pub(super) struct SigningKey {
    kid: Option<String>,
    /// what it may have signed by
    algorithms: Vec<Algorithm>,
    pub(super) key: DecodingKey,
    pub(super) fingerprint: Fingerprint,
}

/// Those that are of use.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<SigningKey>,
    /// why the others are of none
    pub(super) left_out: Vec<String>,
}

/// Why a key is not used.
enum Unfit {
    /// others of its set can be
    LeftOut(String),
    /// the file must not be used at all
    Refused(String),
}

impl KeySet {
    /// Reads a key set. What is wrong is said without a word of what is in it.
    ///
    /// # Errors
    /// It is none, or holds what it must not.
    pub(super) fn parse(text: &[u8]) -> Result<KeySet, String> {
        let set: Value = serde_json::from_slice(text).map_err(|error| format!("it is not JSON: {error}"))?;
        let entries = set.get("keys").and_then(Value::as_array);
        let entries = entries.ok_or("it is no key set: there is no array \"keys\" in it (RFC 7517)")?;
        let (mut keys, mut left_out) = (Vec::<SigningKey>::new(), Vec::new());
        for (at, entry) in entries.iter().enumerate() {
            let named = |reason| format!("key {} of {}{}: {reason}", at + 1, entries.len(), shown_id(entry));
            match SigningKey::read(entry) {
                Ok(key) if key.kid.is_some() && keys.iter().any(|known| known.kid == key.kid) => {
                    return Err(named("another key has the same kid".to_owned()));
                }
                Ok(key) => keys.push(key),
                Err(Unfit::LeftOut(reason)) => left_out.push(named(reason)),
                Err(Unfit::Refused(reason)) => return Err(named(reason)),
            }
        }
        Ok(KeySet { keys, left_out })
    }

    /// There is a key in it that can have signed a token.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn of_use(&self) -> Result<(), String> {
        if !self.keys.is_empty() {
            return Ok(());
        }
        let reasons = if self.left_out.is_empty() { String::new() } else { format!(" ({})", self.left_out.join("; ")) };
        Err(format!("there is no key in it that could have signed a token{reasons}"))
    }

    /// The key that a token says it is signed with; if it says nothing, the only one that can be meant.
    pub(super) fn choose(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<&SigningKey, Flaw> {
        let fits = |key: &&SigningKey| key.algorithms.contains(&algorithm);
        if kid.is_some() {
            let named = self.keys.iter().find(|key| key.kid.as_deref() == kid);
            return named.ok_or(Flaw::UnknownKey).and_then(|key| Some(key).filter(fits).ok_or(Flaw::Algorithm));
        }
        let mut fitting = self.keys.iter().filter(fits);
        let key = fitting.next().ok_or(Flaw::Algorithm)?;
        if fitting.next().is_some() { Err(Flaw::WhichKey) } else { Ok(key) }
    }

    /// The key is still in it.
    pub(super) fn has(&self, fingerprint: &Fingerprint) -> bool {
        self.keys.iter().any(|key| key.fingerprint == *fingerprint)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}

impl SigningKey {
    fn read(entry: &Value) -> Result<SigningKey, Unfit> {
        if let Some(member) = SECRET_MEMBERS.iter().find(|member| entry.get(**member).is_some()) {
            let reason = format!("it is private, by its {member:?}; only public keys belong into the file, and this one is one no longer");
            return Err(Unfit::Refused(reason));
        }
        let left_out = |reason: &str| Unfit::LeftOut(reason.to_owned());
        let jwk: Jwk = serde_json::from_value(entry.clone()).map_err(|_| left_out("it is no key of RFC 7517"))?;
        let common = &jwk.common;
        if common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
            return Err(left_out("its use is not sig"));
        }
        if common
            .key_operations
            .as_ref()
            .is_some_and(|operations| !operations.contains(&KeyOperations::Verify))
        {
            return Err(left_out("its key_ops do not have verify"));
        }
        let mut algorithms = algorithms(&jwk.algorithm).ok_or_else(|| left_out("its kty or crv is not known here"))?;
        if let Some(alg) = common.key_algorithm {
            algorithms.retain(|algorithm| alg == (*algorithm).into());
        }
        if algorithms.is_empty() {
            return Err(left_out("its alg is not known here, or does not go with its kty and crv"));
        }
        let key = decoding_key(&jwk)?;
        let kid = common.key_id.clone();
        Ok(SigningKey { kid, algorithms, key, fingerprint: Sha256::digest(entry.to_string()).into() })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// By which of several keys somebody finds it in the file.
fn shown_id(entry: &Value) -> String {
    let kid = entry.get("kid").and_then(Value::as_str);
    kid.map(|kid| format!(" (kid {kid:?})")).unwrap_or_default()
}

/// What a key of that type can have signed by, if its owner does not say more.
fn algorithms(key: &AlgorithmParameters) -> Option<Vec<Algorithm>> {
    match key {
        AlgorithmParameters::RSA(_) => Some(AlgorithmFamily::Rsa.algorithms().to_vec()),
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => Some(vec![Algorithm::ES256]),
            EllipticCurve::P384 => Some(vec![Algorithm::ES384]),
            _ => None,
        },
        AlgorithmParameters::OctetKeyPair(key) => (key.curve == EllipticCurve::Ed25519).then(|| vec![Algorithm::EdDSA]),
        _ => None,
    }
}

fn decoding_key(jwk: &Jwk) -> Result<DecodingKey, Unfit> {
    let unreadable = || Unfit::LeftOut("its numbers cannot be read".to_owned());
    let key = DecodingKey::from_jwk(jwk).map_err(|_| unreadable())?;
    let bytes_expected = match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => 1 + 2 * 32,
        AlgorithmParameters::EllipticCurve(_) => 1 + 2 * 48,
        _ => 32,
    };
    match key.kind() {
        DecodingKeyKind::SecretOrDer(point) if point.len() == bytes_expected => Ok(key),
        DecodingKeyKind::SecretOrDer(_) => Err(unreadable()),
        DecodingKeyKind::RsaModulusExponent { n, e } => rsa_key(n, e),
    }
}

/// Some write a zero in front of the number, which is one too many (RFC 7518, 6.3.1.1).
fn rsa_key(modulus: &[u8], exponent: &[u8]) -> Result<DecodingKey, Unfit> {
    let number = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<u8>>();
    let (modulus, exponent) = (number(modulus), number(exponent));
    let bits = modulus.len() * 8 - modulus.first().map_or(0, |first| first.leading_zeros() as usize);
    match bits {
        0..RSA_BITS_MIN => Err(Unfit::Refused(format!("an RSA key of {bits} bits is too weak: {RSA_BITS_MIN} are the least"))),
        RSA_BITS_MIN..=RSA_BITS_MAX => Ok(DecodingKey::from_rsa_raw_components(&modulus, &exponent)),
        _ => Err(Unfit::LeftOut(format!(
            "an RSA key of {bits} bits is more than the {RSA_BITS_MAX} that are checked"
        ))),
    }
}
