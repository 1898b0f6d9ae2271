//! HTTP/2 over TLS, frame by frame where that matters.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use reqwest::StatusCode;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificates::Certified;
use super::{Answer, Service};

/// What a client knows: whom it trusts, and perhaps who it is.
pub(crate) fn client(root: &str, identity: Option<&Certified>, protocol: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(Certified { chain, key }) => {
            let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().unwrap();
            builder
                .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
                .unwrap()
        }
    };
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    TlsConnector::from(Arc::new(config))
}

/// A TLS connection to the service, under the name that is in its certificate.
pub(crate) async fn connect(service: &Service, connector: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(service.address()).await?;
    connector.connect("localhost".try_into().unwrap(), stream).await
}

/// One connection with many requests.
pub(crate) struct Http2 {
    requests: SendRequest<Bytes>,
    authority: String,
    connection: JoinHandle<Result<(), h2::Error>>,
}

/// A load whose body is not at its end.
pub(crate) struct Upload {
    pub(crate) body: SendStream<Bytes>,
    answer: ResponseFuture,
}

impl Http2 {
    pub(crate) async fn connect(service: &Service, root: &str) -> Http2 {
        let stream = connect(service, &client(root, None, "h2")).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        let (requests, connection) = h2::client::handshake(stream).await.unwrap();
        let (_, port) = service.address().rsplit_once(':').unwrap();
        Http2 {
            requests,
            authority: format!("localhost:{port}"),
            connection: tokio::spawn(connection),
        }
    }

    pub(crate) async fn send(&self, request: http::request::Builder, path: &str, ends: bool) -> Upload {
        self.send_to(&self.authority, request, path, ends).await
    }

    /// A request that names this host.
    pub(crate) async fn send_to(&self, authority: &str, request: http::request::Builder, path: &str, ends: bool) -> Upload {
        let mut requests = self.requests.clone().ready().await.unwrap();
        let request = request.uri(format!("https://{authority}{path}")).body(()).unwrap();
        let (answer, body) = requests.send_request(request, ends).unwrap();
        Upload { body, answer }
    }

    /// Begins a CSV load.
    pub(crate) async fn load(&self, table_and_options: &str) -> Upload {
        let (table, options) = table_and_options.split_once('?').unwrap_or((table_and_options, ""));
        let request = http::Request::post("/").header("Content-Type", "text/csv");
        self.send(request, &format!("/v1/tables/{table}/loads?{options}"), false).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(http::Request::get("/"), path, true).await.answer().await.unwrap()
    }

    /// The client is gone, without a word.
    pub(crate) async fn abandon(self) {
        self.connection.abort();
        let _ = self.connection.await;
    }
}

impl Upload {
    /// Sends this, or has it sent as soon as the windows allow.
    pub(crate) fn push(&mut self, piece: impl Into<Bytes>) {
        self.body.send_data(piece.into(), false).unwrap();
    }

    /// The rest of the body, and its answer.
    pub(crate) async fn finish(mut self, piece: impl Into<Bytes>) -> Answer {
        self.body.send_data(piece.into(), true).unwrap();
        self.answer().await.unwrap()
    }

    pub(crate) async fn answer(self) -> Result<Answer, h2::Error> {
        self.answer_and_body().await.map(|(answer, _)| answer)
    }

    /// The answer, and what is left of the request.
    pub(crate) async fn answer_and_body(self) -> Result<(Answer, SendStream<Bytes>), h2::Error> {
        let response = self.answer.await?;
        let (head, mut body) = response.into_parts();
        let mut bytes = Vec::new();
        while let Some(piece) = body.data().await {
            let piece = piece?;
            body.flow_control().release_capacity(piece.len())?;
            bytes.extend_from_slice(&piece);
        }
        let text = String::from_utf8(bytes).unwrap();
        let header = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let answer = Answer {
            status: StatusCode::from_u16(head.status.as_u16()).unwrap(),
            content_type: header("content-type").unwrap_or_default(),
            headers: head.headers,
            json: serde_json::from_str(&text).unwrap_or(Value::String(text)),
        };
        Ok((answer, self.body))
    }
}

/// Why the other side ended the stream.
pub(crate) async fn reset(body: &mut SendStream<Bytes>) -> Reason {
    poll_fn(|context| body.poll_reset(context)).await.unwrap()
}
