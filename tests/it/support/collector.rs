//! An OpenTelemetry collector, as far as traces need one: it keeps what it is sent, and some do not even do that.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::certificates::Certified;

pub(crate) struct Collector {
    pub(crate) url: String,
    received: Arc<Mutex<Received>>,
}

#[derive(Default)]
struct Received {
    spans: Vec<Span>,
    resources: Vec<KeyValue>,
    headers: Vec<HeaderMap>,
    bytes: Vec<u8>,
}

impl Collector {
    pub(crate) async fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Received::default()));
        let kept = Arc::clone(&received);
        let keep = async move |headers: HeaderMap, body: Bytes| {
            let batch = ExportTraceServiceRequest::decode(body.clone()).unwrap();
            let mut kept = kept.lock().unwrap();
            kept.headers.push(headers);
            kept.bytes.extend_from_slice(&body);
            for of_resource in batch.resource_spans {
                kept.resources.extend(of_resource.resource.unwrap().attributes);
                kept.spans.extend(of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
            }
            [("Content-Type", "application/x-protobuf")]
        };
        let router = axum::Router::new().route("/v1/traces", post(keep.clone())).route("/as/it/is", post(keep));
        tokio::spawn(async { axum::serve(listener, router).await });
        Collector { url, received }
    }

    /// One with TLS, which says the first line that it is sent.
    pub(crate) async fn secured(certified: &Certified) -> (String, oneshot::Receiver<String>) {
        let chain = CertificateDer::pem_slice_iter(certified.chain.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(certified.key.as_bytes()).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let (line, heard) = oneshot::channel();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(acceptor.accept(stream).await.unwrap());
            let mut first = String::new();
            stream.read_line(&mut first).await.unwrap();
            line.send(first).unwrap();
        });
        (url, heard)
    }

    /// One that takes connections, and nothing else ever happens.
    pub(crate) async fn hanging() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                held.push(stream);
            }
        });
        url
    }

    /// A port at which nobody is.
    pub(crate) async fn nobody() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.received.lock().unwrap().spans.clone()
    }

    /// The spans of a trace, once there is one of that name among them.
    pub(crate) async fn trace(&self, id: &str, name: &str) -> Vec<Span> {
        for _ in 0..600 {
            let spans: Vec<Span> = self.spans().into_iter().filter(|span| hexadecimal(&span.trace_id) == id).collect();
            if spans.iter().any(|span| span.name == name) {
                return spans;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no span {name:?} of {id} within 30 s: {:#?}", self.spans());
    }

    /// What the service says of itself.
    pub(crate) fn resource(&self, key: &str) -> Option<String> {
        text(&self.received.lock().unwrap().resources, key)
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let received = self.received.lock().unwrap();
        Some(received.headers.first()?.get(name)?.to_str().unwrap().to_owned())
    }

    /// Whether this is anywhere in what was sent.
    pub(crate) fn has_seen(&self, secret: &str) -> bool {
        let received = self.received.lock().unwrap();
        received.bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
    }
}

pub(crate) fn hexadecimal(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An attribute as text.
pub(crate) fn attribute(span: &Span, key: &str) -> Option<String> {
    text(&span.attributes, key)
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    Some(match found.value.clone()?.value? {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => panic!("{key} is {other:?}"),
    })
}
