//! An OpenID provider, as far as a service sees it: keys, the file with their public halves, and tokens.

use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::certificates::write;

pub(crate) const ISSUER: &str = "https://id.example/realms/test";
pub(crate) const AUDIENCE: &str = "pgsluice-test";

/// A private key.
pub(crate) enum Signer {
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    /// Made by openssl: ring makes none. In which of two shapes it comes depends on openssl's version.
    pub(crate) fn rsa(bits: u32) -> Signer {
        let mut openssl = Command::new("openssl");
        openssl.args(["genpkey", "-algorithm", "RSA", "-outform", "DER", "-pkeyopt", &format!("rsa_keygen_bits:{bits}")]);
        let made = openssl.output().unwrap().stdout;
        let key = RsaKeyPair::from_der(&made).or_else(|_| RsaKeyPair::from_pkcs8(&made));
        Signer::Rsa(Box::new(key.unwrap()))
    }

    pub(crate) fn p256() -> Signer {
        let (algorithm, random) = (&signature::ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Signer::P256(EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap())
    }

    pub(crate) fn p384() -> Signer {
        let (algorithm, random) = (&signature::ECDSA_P384_SHA384_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Signer::P384(EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap())
    }

    pub(crate) fn ed25519() -> Signer {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Signer::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
    }

    /// The public half.
    pub(crate) fn jwk(&self, kid: &str) -> Value {
        let ec = |crv: &str, key: &EcdsaKeyPair| {
            let (x, y) = key.public_key().as_ref()[1..].split_at(key.public_key().as_ref().len() / 2);
            json!({ "kid": kid, "kty": "EC", "crv": crv, "x": base64url(x), "y": base64url(y) })
        };
        match self {
            Signer::Rsa(key) => {
                let PublicKeyComponents::<Vec<u8>> { n, e } = key.public().into();
                json!({ "kid": kid, "kty": "RSA", "n": base64url(&n), "e": base64url(&e) })
            }
            Signer::P256(key) => ec("P-256", key),
            Signer::P384(key) => ec("P-384", key),
            Signer::Ed25519(key) => json!({ "kid": kid, "kty": "OKP", "crv": "Ed25519", "x": base64url(key.public_key().as_ref()) }),
        }
    }

    fn sign(&self, alg: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Signer::P256(key) | Signer::P384(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Signer::Ed25519(key) => key.sign(message).as_ref().to_vec(),
            Signer::Rsa(key) => {
                let encoding: &dyn RsaEncoding = match alg {
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    "PS512" => &signature::RSA_PSS_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut signed = vec![0; key.public().modulus_len()];
                key.sign(encoding, &random, message, &mut signed).unwrap();
                signed
            }
        }
    }

    /// A token that is signed as its header says it is.
    pub(crate) fn token(&self, header: &Value, claims: &Value) -> String {
        let message = unsigned(header, claims);
        let signed = self.sign(header["alg"].as_str().unwrap_or_default(), message.as_bytes());
        format!("{message}.{}", base64url(&signed))
    }
}

/// A token without its last part, and without the dot before that.
pub(crate) fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(claims.to_string().as_bytes()))
}

pub(crate) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// So many seconds from now, as a claim has it.
pub(crate) fn seconds_from_now(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    now.cast_signed() + seconds
}

/// Claims that are all right, with those of `further`; one that is null there is left out.
pub(crate) fn claims(subject: &str, further: Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": subject, "iat": seconds_from_now(0), "exp": seconds_from_now(600),
        "scope": "openid pgsluice:load", "pgsluice_tables": ["*.*"],
    });
    for (name, value) in further.as_object().unwrap().clone() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(&name)),
            value => drop(claims.as_object_mut().unwrap().insert(name, value)),
        }
    }
    claims
}

/// One that signs with Ed25519, by the kid `ed`.
pub(crate) struct Provider {
    dir: TempDir,
    pub(crate) signer: Signer,
}

impl Provider {
    pub(crate) fn new() -> Provider {
        let provider = Provider { dir: tempfile::tempdir().unwrap(), signer: Signer::ed25519() };
        provider.publish(&[provider.signer.jwk("ed")]);
        provider
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("jwks.json")
    }

    pub(crate) fn publish(&self, keys: &[Value]) {
        self.write(&json!({ "keys": keys }).to_string());
    }

    pub(crate) fn write(&self, text: &str) {
        write(self.dir.path(), "jwks.json", text);
    }

    /// What the service has to be told.
    pub(crate) fn flags(&self) -> Vec<String> {
        let file = self.file().display().to_string();
        ["--jwks-file", &file, "--jwt-issuer", ISSUER, "--jwt-audience", AUDIENCE]
            .map(str::to_owned)
            .to_vec()
    }

    /// A token with [`claims`].
    pub(crate) fn token(&self, subject: &str, further: Value) -> String {
        self.signer
            .token(&json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": "ed" }), &claims(subject, further))
    }
}
