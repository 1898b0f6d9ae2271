//! The way to the collector: HTTP/1.1, with TLS where its URL says so, on the service's own runtime. The exporter's thread only waits.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Uri;
use hyper::http::uri::Scheme;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_rustls::TlsConnector;
use tower::Service;

use super::collector::Collector;

/// What a collector may have to say to a batch.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// What has last gone wrong, in the words of whoever saw it.
#[derive(Debug, Clone, Default)]
pub(super) struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    fn note(&self, what: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
    }

    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[derive(Debug)]
pub(super) struct Client {
    client: legacy::Client<Connector, Full<Bytes>>,
    runtime: Handle,
    timeout: Duration,
    trouble: Trouble,
}

impl Client {
    /// To be made on the runtime that it is to use.
    ///
    /// # Errors
    /// There is no runtime, or there are no certificates for TLS.
    pub(super) fn new(collector: &Collector, trouble: Trouble) -> Result<Client, HttpError> {
        // A scheme may be written in any case.
        let tls = match collector.url.parse::<Uri>()?.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => Some(TlsConnector::from(Arc::new(tls(collector)?))),
            _ => None,
        };
        Ok(Client {
            client: legacy::Client::builder(TokioExecutor::new()).build(Connector { tls }),
            runtime: Handle::try_current()?,
            timeout: collector.timeout,
            trouble,
        })
    }
}

fn tls(collector: &Collector) -> Result<ClientConfig, HttpError> {
    let mut roots = RootCertStore::empty();
    match &collector.authorities {
        Some(file) => {
            let named = |error: &dyn Error| format!("{}: {error}", file.display());
            let certificates = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            for certificate in certificates.map_err(|error| named(&error))? {
                roots.add(certificate).map_err(|error| named(&error))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err("there are no authorities to trust the collector's certificate by".into());
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, timeout) = (self.client.clone(), self.timeout);
        let sending = self.runtime.spawn(async move {
            let sent = tokio::time::timeout(timeout, send(client, request)).await;
            sent.unwrap_or_else(|_| Err(format!("no answer within {} ms", timeout.as_millis()).into()))
        });
        let answer = sending.await.map_err(HttpError::from).and_then(|sent| sent);
        match &answer {
            Ok(answer) if answer.status().is_success() => {}
            Ok(answer) => self.trouble.note(format!("it answered {}", answer.status())),
            Err(error) => self.trouble.note(chain(error.as_ref())),
        }
        answer
    }
}

async fn send(client: legacy::Client<Connector, Full<Bytes>>, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let (head, body) = client.request(request.map(Full::new)).await?.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
    Ok(Response::from_parts(head, body))
}

/// An error with what it comes from: the reason is in the innermost.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

#[derive(Clone)]
struct Connector {
    tls: Option<TlsConnector>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Link>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Link>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tls = self.tls.clone();
        Box::pin(async move { Ok(TokioIo::new(connect(&uri, tls).await?)) })
    }
}

async fn connect(uri: &Uri, tls: Option<TlsConnector>) -> io::Result<Link> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await?;
    let Some(tls) = tls else {
        return Ok(Link(Box::new(stream)));
    };
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    Ok(Link(Box::new(tls.connect(name, stream).await?)))
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection, with TLS or without.
struct Link(Box<dyn Duplex>);

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Link {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut tokio::io::ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl AsyncWrite for Link {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
