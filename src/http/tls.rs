//! HTTPS: the handshake, and certificates that are replaced while the service runs.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config;

/// The names by which a client is offered HTTP/2 and HTTP/1.1 in the handshake, the better first (RFC 7301).
const HTTP_2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";
/// What every TLS handshake begins with, and no HTTP request does: the content type of its first record.
const HANDSHAKE: u8 = 22;

/// A file that cannot be served with. It is named, and nothing of what is in it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(String);

/// What the service shows its clients, and asks of them.
#[derive(Debug)]
pub struct Tls {
    files: config::Tls,
    current: RwLock<Current>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    digests: Vec<Vec<u8>>,
}

impl Tls {
    /// Reads certificate and key, and the authorities of clients.
    ///
    /// # Errors
    /// They cannot be read, or do not go together.
    pub fn load(files: config::Tls) -> Result<Tls, TlsError> {
        let contents = Contents::read(&files)?;
        let current = Current { config: contents.to_config(&files)?, digests: contents.digests() };
        Ok(Tls { files, current: RwLock::new(current) })
    }

    /// Uses the files' new contents for new connections if they have changed; true if so. They are compared by what is in them: a file may
    /// be replaced, written to, or be a link that is turned elsewhere.
    pub(super) fn look(&self) -> Result<bool, TlsError> {
        let contents = Contents::read(&self.files)?;
        let digests = contents.digests();
        if self.current.read().unwrap_or_else(PoisonError::into_inner).digests == digests {
            return Ok(false);
        }
        let config = contents.to_config(&self.files)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Current { config, digests };
        Ok(true)
    }

    /// Shakes hands with a client.
    pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> std::io::Result<TlsStream<S>> {
        let config = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).config);
        TlsAcceptor::from(config).accept(stream).await
    }
}

/// The client wants to speak HTTP/2.
pub(super) fn is_http2<S>(stream: &TlsStream<S>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(HTTP_2)
}

/// Whether this is how a TLS client begins.
pub(super) fn is_handshake(first_byte: u8) -> bool {
    first_byte == HANDSHAKE
}

/// What was in the files at one moment.
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Contents {
    fn read(files: &config::Tls) -> Result<Contents, TlsError> {
        let read = |flag: &str, path: &Path| std::fs::read(path).map_err(|error| unusable(flag, path, error));
        Ok(Contents {
            certificate: read("--tls-cert", &files.certificate)?,
            key: read("--tls-key", &files.key)?,
            client_ca: files.client_ca.as_deref().map(|path| read("--tls-client-ca", path)).transpose()?,
        })
    }

    fn digests(&self) -> Vec<Vec<u8>> {
        let all = [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()];
        all.into_iter().flatten().map(|bytes| Sha256::digest(bytes).to_vec()).collect()
    }

    fn to_config(&self, files: &config::Tls) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let chain = certificates("--tls-cert", &files.certificate, &self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| match error {
            rustls::pki_types::pem::Error::NoItemsFound => {
                unusable("--tls-key", &files.key, "there is no private key in it (PEM is read, without a passphrase)")
            }
            other => unusable("--tls-key", &files.key, other),
        })?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError(error.to_string()))?;
        let builder = match (&files.client_ca, &self.client_ca) {
            (Some(path), Some(bytes)) => builder.with_client_cert_verifier(client_verifier(path, bytes, provider)?),
            _ => builder.with_no_client_auth(),
        };
        // This also holds that the key is the certificate's.
        let mut config = builder.with_single_cert(chain, key).map_err(|error| {
            let key = files.key.display();
            unusable("--tls-cert", &files.certificate, format!("with --tls-key {key}: {error}"))
        })?;
        config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1_1.to_vec()];
        Ok(Arc::new(config))
    }
}

type ClientVerifier = Arc<dyn rustls::server::danger::ClientCertVerifier>;

fn client_verifier(path: &Path, bytes: &[u8], provider: Arc<CryptoProvider>) -> Result<ClientVerifier, TlsError> {
    let refused = |error: &dyn std::fmt::Display| unusable("--tls-client-ca", path, error);
    let mut roots = RootCertStore::empty();
    for certificate in certificates("--tls-client-ca", path, bytes)? {
        roots.add(certificate).map_err(|error| refused(&error))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    builder.build().map_err(|error| refused(&error))
}

fn certificates(flag: &str, path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(bytes).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| unusable(flag, path, error))?;
    if certificates.is_empty() {
        return Err(unusable(flag, path, "there is no certificate in it (PEM is read)"));
    }
    Ok(certificates)
}

fn unusable(flag: &str, path: &Path, why: impl std::fmt::Display) -> TlsError {
    TlsError(format!("{flag} {}: {why}", path.display()))
}
