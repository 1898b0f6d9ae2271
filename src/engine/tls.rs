//! TLS to PostgreSQL: the one connector of every connection and every cancel request.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Config, Socket, config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::url::{Identity, Mode, Parameters, Roots};

/// By this name servers from version 17 on know what is spoken.
const PROTOCOL: &[u8] = b"postgresql";

/// Why there is no TLS to be had. It names files and never what is in them.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub(super) struct TlsError {
    what: String,
    why: String,
}

impl TlsError {
    fn new(what: impl Into<String>, why: impl fmt::Display) -> TlsError {
        TlsError { what: what.into(), why: why.to_string() }
    }
}

/// Makes the TLS of connections, as a database URL asks for it; cheap to clone.
///
/// The files are read for each connection, so that a certificate which is replaced is in use from the next connection on.
#[derive(Debug, Clone)]
pub(super) struct Tls(Arc<Parameters>);

impl Tls {
    /// Sets the driver's part, and holds that the files can be read and used.
    ///
    /// # Errors
    /// A file cannot.
    pub(super) fn new(parameters: Parameters, driver: &mut Config) -> Result<Tls, TlsError> {
        let hosts = driver.get_hosts();
        let on_sockets_only =
            !hosts.is_empty() && driver.get_hostaddrs().is_empty() && hosts.iter().all(|host| matches!(host, config::Host::Unix(_)));
        // A server has no TLS on a unix socket, and nobody is in between. Files that are not needed are not read.
        let parameters = if on_sockets_only || parameters.mode == Mode::Disable { Parameters::NONE } else { parameters };
        driver.ssl_mode(match parameters.mode {
            Mode::Disable => config::SslMode::Disable,
            Mode::Prefer => config::SslMode::Prefer,
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => config::SslMode::Require,
        });
        let tls = Tls(Arc::new(parameters));
        tls.client_config()?;
        Ok(tls)
    }

    fn client_config(&self) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let verifier = Verifier::new(&self.0, Arc::clone(&provider))?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::new("TLS", error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &self.0.identity {
            None => builder.with_no_client_auth(),
            Some(Identity { certificate, key }) => {
                let chain = read_certificates("sslcert", certificate)?;
                let names = format!("sslcert={} sslkey={}", certificate.display(), key.display());
                let key = read_key("sslkey", key)?;
                builder.with_client_auth_cert(chain, key).map_err(|error| TlsError::new(names, error))?
            }
        };
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(config)
    }
}

impl MakeTlsConnect<Socket> for Tls {
    type Stream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;
    type TlsConnect = <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect;
    type Error = TlsError;

    fn make_tls_connect(&mut self, hostname: &str) -> Result<Self::TlsConnect, TlsError> {
        let mut connector = MakeRustlsConnect::new(self.client_config()?);
        let Ok(connect) = MakeTlsConnect::<Socket>::make_tls_connect(&mut connector, hostname);
        Ok(connect)
    }
}

fn read_certificates(name: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let what = || format!("{name}={}", path.display());
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| TlsError::new(what(), error))?;
    if certificates.is_empty() {
        return Err(TlsError::new(what(), "there is no certificate in it (PEM is read)"));
    }
    Ok(certificates)
}

fn read_key(name: &str, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let what = format!("{name}={}", path.display());
    PrivateKeyDer::from_pem_file(path).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => {
            TlsError::new(what, "there is no private key in it (PEM is read, without a passphrase)")
        }
        other => TlsError::new(what, other),
    })
}

/// Holds a server to what the mode asks for. libpq's rules: without roots nothing is verified; with roots the chain is, whatever the mode;
/// the host name is by `verify-full` alone.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    roots: Option<Trusted>,
    checks_name: bool,
}

#[derive(Debug)]
struct Trusted {
    certificates: Vec<CertificateDer<'static>>,
    store: RootCertStore,
}

impl Trusted {
    fn read(roots: &Roots) -> Result<Trusted, TlsError> {
        let mut store = RootCertStore::empty();
        let certificates = match roots {
            Roots::System => {
                let found = rustls_native_certs::load_native_certs();
                let (added, _) = store.add_parsable_certificates(found.certs.clone());
                if added == 0 {
                    let why = found
                        .errors
                        .first()
                        .map_or_else(|| "the platform has no certificates".to_owned(), ToString::to_string);
                    return Err(TlsError::new("sslrootcert=system", why));
                }
                found.certs
            }
            Roots::File(path) => {
                let certificates = read_certificates("sslrootcert", path)?;
                for certificate in &certificates {
                    let added = store.add(certificate.clone());
                    added.map_err(|error| TlsError::new(format!("sslrootcert={}", path.display()), error))?;
                }
                certificates
            }
        };
        Ok(Trusted { certificates, store })
    }
}

impl Verifier {
    fn new(parameters: &Parameters, provider: Arc<CryptoProvider>) -> Result<Verifier, TlsError> {
        Ok(Verifier {
            provider,
            roots: parameters.roots.as_ref().map(Trusted::read).transpose()?,
            checks_name: parameters.mode == Mode::VerifyFull,
        })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(roots) = &self.roots else {
            return Ok(ServerCertVerified::assertion());
        };
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        let signed = verify_server_cert_signed_by_trust_anchor(&certificate, &roots.store, intermediates, now, algorithms);
        match signed {
            // What `openssl req -x509` makes, and PostgreSQL's manual shows, is server and authority in one. Its dates have been
            // looked at before that is found.
            Err(error) if is_authority(&error) && roots.certificates.iter().any(|root| root == end_entity) => {}
            other => other?,
        }
        if self.checks_name {
            verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The certificate is an authority's and not a server's.
fn is_authority(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return false;
    };
    other.0.downcast_ref::<webpki::Error>() == Some(&webpki::Error::CaUsedAsEndEntity)
}

/// Adds to an error of the driver what can be done about it.
pub(super) fn with_advice(mut text: String) -> String {
    const ADVICE: [(&str, &str); 6] = [
        (
            "server does not support TLS",
            "sslmode asks for it; switch it on there (ssl = on), or say sslmode=disable",
        ),
        ("UnknownIssuer", "the server's certificate is not signed by one in sslrootcert"),
        ("CaUsedAsEndEntity", "the server's certificate is an authority's own and not in sslrootcert"),
        ("fatal alert: UnknownCA", "the server does not know who signed the client certificate, sslcert"),
        ("fatal alert: CertificateExpired", "the client certificate, sslcert, is no longer valid"),
        (
            "not valid for name",
            "sslmode=verify-full asks for the host's name or address in the certificate's subjectAltName",
        ),
    ];
    for (sign, advice) in ADVICE {
        if text.contains(sign) {
            text.push_str(" (");
            text.push_str(advice);
            text.push(')');
            break;
        }
    }
    text
}
