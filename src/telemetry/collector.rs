//! Where traces go.

use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;

/// What is appended to a collector's base URL, by OTLP.
const TRACES: &str = "v1/traces";

/// An OpenTelemetry collector that takes OTLP over HTTP, as protobuf.
#[derive(Debug, Clone)]
pub struct Collector {
    /// the setting that names it
    pub origin: &'static str,
    /// where the spans are posted to
    pub url: String,
    /// how long one batch of them may take
    pub timeout: Duration,
    /// PEM file with the authorities of its certificate, if they are not the system's
    pub authorities: Option<PathBuf>,
}

impl Collector {
    /// Holds a URL to what can be sent to; `is_base` when the path of traces has yet to be appended.
    ///
    /// # Errors
    /// It is none. What it says is not repeated: it may hold a secret.
    pub fn check(origin: &'static str, url: &str, is_base: bool) -> Result<String, String> {
        let wrong = |why: &str| format!("{origin}: {why}; it looks like http://collector:4318");
        let uri: Uri = url.parse().map_err(|error| wrong(&format!("no URL ({error})")))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(wrong("the URL begins with http:// or https://"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("the URL names no host"))?;
        if authority.as_str().contains('@') {
            return Err(format!("{origin}: no user and password in the URL; OTEL_EXPORTER_OTLP_HEADERS is for them"));
        }
        if uri.host().is_none_or(str::is_empty) {
            return Err(wrong("the URL names no host"));
        }
        if authority.port().is_none() && authority.as_str() != authority.host() {
            return Err(wrong("the URL's port is no number up to 65535"));
        }
        if is_base && uri.query().is_some() {
            return Err(wrong("a base URL has no query, for a path is appended to it"));
        }
        Ok(match is_base {
            true => format!("{}/{TRACES}", url.trim_end_matches('/')),
            false => url.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Collector;

    #[test]
    fn only_a_base_is_appended_to() {
        let check = |url, is_base| Collector::check("x", url, is_base).unwrap();
        assert_eq!(check("http://c:4318", true), "http://c:4318/v1/traces");
        assert_eq!(check("https://[::1]:4318/otlp/", true), "https://[::1]:4318/otlp/v1/traces");
        assert_eq!(check("http://c:4318/else", false), "http://c:4318/else");
    }

    #[test]
    fn what_cannot_be_sent_to_is_refused_without_being_repeated() {
        for url in [
            "",
            "c",
            "c:4318",
            "/v1",
            "grpc://geheim",
            "http://",
            "http://:4318",
            "http://u:geheim@c",
            "http://c:99999",
            "http://c d",
            "http://c?key=geheim",
        ] {
            let error = Collector::check("--x", url, true).unwrap_err();
            assert!(error.starts_with("--x: ") && !error.contains("geheim"), "{url}: {error}");
        }
    }
}
