//! Tokens of an OpenID provider: JWTs (RFC 7519) that a key of its key set has signed, held to RFC 8725. The key set is a file, which is
//! looked at again and again; nobody is asked anything over the network, and a token is remembered by nobody.

use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Header, Validation, decode, decode_header, get_current_timestamp};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::jwks::{Fingerprint, KeySet};
use super::limits::Limits;
use super::{Credential, Denied, Patterns, Principal, claims, signatures};

/// Tokens are less than a quarter of that, but where somebody is in a great many groups.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// No provider has so many keys.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// By how many seconds the provider's clock and this one may differ.
const LEEWAY: u64 = 30;
/// What a token may say that it is (RFC 7519, RFC 9068), if it says it.
const TYPES: [&str; 2] = ["jwt", "at+jwt"];

/// Who makes the tokens, and what those get who have one.
#[derive(Debug, Clone, Default)]
pub struct Provider {
    /// the file with its keys
    pub jwks_file: PathBuf,
    /// what its tokens have as `iss`
    pub issuer: String,
    /// what those for this service have in `aud`
    pub audience: String,
    /// the claim that roles are in; `scope` and `scp` if none
    pub role_claim: Option<String>,
    /// the tables of those whose token names none; none if none
    pub default_tables: Option<Patterns>,
    /// the role of PostgreSQL of those whose token names none
    pub default_pg_role: Option<String>,
    /// how much each of them may ask for
    pub limits: Limits,
}

/// What is wrong with a token. It is said as far as it helps whoever has come by it honestly, and never in the token's own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// no key either
    #[error("the token is neither a key nor a JWT")]
    Malformed,
    /// JWE
    #[error("the token is encrypted (JWE), and only signed ones (JWS) are read")]
    Encrypted,
    /// nobody has to read that
    #[error("the token is longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// what comes before its claims
    #[error("the token's header cannot be read, or its alg is not one that is accepted")]
    Header,
    /// it asks for what nobody here understands
    #[error("the token's header has a crit, and no extension is understood")]
    Critical,
    /// it is for something else
    #[error("the token's typ is neither JWT nor at+jwt")]
    Type,
    /// a token in a token
    #[error("the token holds another token, and only plain claims are read")]
    Nested,
    /// the provider has others, or has them no longer
    #[error("the key set has no key with the token's kid")]
    UnknownKey,
    /// it names none, and several would do
    #[error("the token has no kid, and more than one key could have signed it")]
    WhichKey,
    /// the key is for others
    #[error("the key is not one for the token's alg")]
    Algorithm,
    /// somebody else's, or changed
    #[error("the token's signature is wrong")]
    Signature,
    /// its time is over
    #[error("the token has expired")]
    Expired,
    /// its time has not come
    #[error("the token is not valid yet")]
    Early,
    /// another provider's
    #[error("the token is not of the issuer that is trusted here")]
    Issuer,
    /// another service's
    #[error("the token is not for this service: its aud does not have what is expected here")]
    Audience,
    /// one that is needed
    #[error("the token has no {0}, or one that cannot be read")]
    Claim(&'static str),
}

/// Tells who somebody is by such tokens.
#[derive(Debug)]
pub struct Tokens {
    provider: Provider,
    current: RwLock<Current>,
}

#[derive(Debug)]
struct Current {
    keys: Arc<KeySet>,
    digest: Fingerprint,
}

impl Tokens {
    /// Reads the provider's keys.
    ///
    /// # Errors
    /// They cannot be read, must not be used, or there are none.
    pub fn load(provider: Provider) -> Result<Tokens, String> {
        signatures::install();
        let text = read(&provider)?;
        let keys = parse(&provider, &text)?;
        keys.of_use().map_err(|reason| unusable(&provider, reason))?;
        let current = RwLock::new(Current { keys: Arc::new(keys), digest: Sha256::digest(&text).into() });
        Ok(Tokens { provider, current })
    }

    /// Uses what is in the file from now on, if it is something else; true if so. What cannot be used leaves all as it was; a set without
    /// keys can be, for that is how the last one is withdrawn.
    ///
    /// # Errors
    /// They cannot be read, or must not be used.
    pub fn look(&self) -> Result<bool, String> {
        let text = read(&self.provider)?;
        let digest: Fingerprint = Sha256::digest(&text).into();
        if self.current.read().unwrap_or_else(PoisonError::into_inner).digest == digest {
            return Ok(false);
        }
        let keys = parse(&self.provider, &text)?;
        if let Err(reason) = keys.of_use() {
            tracing::error!(file = %self.provider.jwks_file.display(), reason, "from now on no token is valid");
        }
        let keys = Arc::new(keys);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Current { keys, digest };
        Ok(true)
    }

    /// Whoever has that token.
    ///
    /// # Errors
    /// It is worth nothing.
    pub(super) fn find(&self, token: &str) -> Result<(Principal, Credential), Denied> {
        check_shape(token)?;
        let header = decode_header(token).map_err(|_| Flaw::Header)?;
        check_header(&header)?;
        let keys = self.keys();
        let key = keys.choose(header.kid.as_deref(), header.alg)?;
        let read = decode::<Value>(token, &key.key, &self.validation(&header));
        let claims = read.map_err(|error| flaw(error.kind()))?.claims;
        let expires_at = self.check_claims(&claims)?;
        let principal = claims::principal(&self.provider, &claims)?;
        Ok((principal, Credential::Token { expires_at, signed_by: key.fingerprint }))
    }

    /// A token that was good is good still: it has not expired, and the provider has its key.
    pub(super) fn still_good(&self, expires_at: u64, signed_by: &Fingerprint) -> Result<(), Denied> {
        if expires_at + LEEWAY < get_current_timestamp() {
            return Err(Flaw::Expired.into());
        }
        if self.keys().has(signed_by) { Ok(()) } else { Err(Flaw::UnknownKey.into()) }
    }

    fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).keys)
    }

    fn validation(&self, header: &Header) -> Validation {
        let mut validation = Validation::new(header.alg);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[&self.provider.issuer]);
        validation.set_audience(&[&self.provider.audience]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY;
        validation
    }

    /// What jsonwebtoken does not look at, or takes in more than one shape. Returns when the token expires.
    fn check_claims(&self, claims: &Value) -> Result<u64, Flaw> {
        if claims.get("iss").and_then(Value::as_str) != Some(&self.provider.issuer) {
            return Err(Flaw::Issuer);
        }
        let seconds = |name| claims.get(name).map(|value| value.as_f64().ok_or(Flaw::Claim(name)));
        if seconds("iat").transpose()?.is_some_and(|iat| iat > (get_current_timestamp() + LEEWAY) as f64) {
            return Err(Flaw::Early);
        }
        let expires_at = seconds("exp").unwrap_or(Err(Flaw::Claim("exp")))?;
        // The year 9999: what is beyond would overflow, and nobody asks then.
        Ok(expires_at.min(253_402_300_799.0) as u64)
    }
}

fn read(provider: &Provider) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    let file = std::fs::File::open(&provider.jwks_file);
    let read = file.and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text));
    read.map_err(|error| unusable(provider, error))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(unusable(provider, format!("it is longer than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

fn parse(provider: &Provider, text: &[u8]) -> Result<KeySet, String> {
    let keys = KeySet::parse(text).map_err(|reason| unusable(provider, reason))?;
    for reason in &keys.left_out {
        tracing::warn!(file = %provider.jwks_file.display(), reason = reason.as_str(), "a key of the key set is not used");
    }
    tracing::info!(file = %provider.jwks_file.display(), keys = keys.len(), "the key set was read");
    Ok(keys)
}

fn unusable(provider: &Provider, why: impl std::fmt::Display) -> String {
    format!("--jwks-file {}: {why}", provider.jwks_file.display())
}

fn check_shape(token: &str) -> Result<(), Flaw> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Flaw::TooLong);
    }
    match token.split('.').count() {
        3 => Ok(()),
        5 => Err(Flaw::Encrypted),
        _ => Err(Flaw::Malformed),
    }
}

/// Keys that the header names or holds itself (`jku`, `jwk`, `x5u`, `x5c`) are not so much as looked at.
fn check_header(header: &Header) -> Result<(), Flaw> {
    if header.crit.is_some() {
        return Err(Flaw::Critical);
    }
    if header.enc.is_some() {
        return Err(Flaw::Encrypted);
    }
    if header.cty.as_ref().is_some_and(|cty| TYPES.contains(&media_type(cty).as_str())) {
        return Err(Flaw::Nested);
    }
    if header.typ.as_ref().is_some_and(|typ| !TYPES.contains(&media_type(typ).as_str())) {
        return Err(Flaw::Type);
    }
    Ok(())
}

/// A media type may be written without its `application/`, and in any case (RFC 7515, 4.1.9).
fn media_type(text: &str) -> String {
    let text = text.to_ascii_lowercase();
    text.strip_prefix("application/").unwrap_or(&text).to_owned()
}

fn flaw(kind: &ErrorKind) -> Flaw {
    let claim = |name: &str| ["exp", "nbf", "iss", "aud", "sub"].into_iter().find(|known| *known == name);
    match kind {
        ErrorKind::InvalidSignature => Flaw::Signature,
        ErrorKind::InvalidAlgorithm => Flaw::Algorithm,
        ErrorKind::ExpiredSignature => Flaw::Expired,
        ErrorKind::ImmatureSignature => Flaw::Early,
        ErrorKind::InvalidIssuer => Flaw::Issuer,
        ErrorKind::InvalidAudience => Flaw::Audience,
        ErrorKind::MissingRequiredClaim(name) | ErrorKind::InvalidClaimFormat(name) => claim(name).map_or(Flaw::Malformed, Flaw::Claim),
        _ => Flaw::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_token_says_that_it_is() {
        for (typ, expected) in [
            (None, Ok(())),
            (Some("JWT"), Ok(())),
            (Some("at+jwt"), Ok(())),
            (Some("application/at+JWT"), Ok(())),
            (Some("dpop+jwt"), Err(Flaw::Type)),
            (Some(""), Err(Flaw::Type)),
            (Some("logout+jwt"), Err(Flaw::Type)),
        ] {
            let header = Header { typ: typ.map(str::to_owned), ..Header::default() };
            assert_eq!(check_header(&header), expected, "{typ:?}");
        }
        let nested = Header { cty: Some("JWT".to_owned()), ..Header::default() };
        assert_eq!(check_header(&nested), Err(Flaw::Nested));
        let critical = Header { crit: Some(Vec::new()), ..Header::default() };
        assert_eq!(check_header(&critical), Err(Flaw::Critical));
    }

    #[test]
    fn what_has_not_three_parts_is_no_token() {
        assert_eq!(check_shape("a.b.c"), Ok(()));
        assert_eq!(check_shape("a.b.c.d.e"), Err(Flaw::Encrypted));
        for text in ["", "a", "a.b", "a.b.c.d", "......"] {
            assert_eq!(check_shape(text), Err(Flaw::Malformed), "{text:?}");
        }
        assert_eq!(check_shape(&format!("a.{}.c", "b".repeat(TOKEN_BYTES_MAX - 4))), Ok(()));
        assert_eq!(check_shape(&format!("a.{}.c", "b".repeat(TOKEN_BYTES_MAX - 3))), Err(Flaw::TooLong));
    }
}
