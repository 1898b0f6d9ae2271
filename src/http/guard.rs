//! Keeps web pages in the same machine's browser away. Without keys, whoever reaches the port may load: on loopback that must not be
//! every page that somebody opens. Where keys are asked for, a page has none, and the service may stand behind a proxy by any name.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header, uri::Authority};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Edge;
use super::problem::Problem;
use super::upload::Upload;

/// What HTML forms can send (Fetch, "CORS-safelisted request-header").
const FORM_TYPES: [&str; 3] = ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"];

pub(super) async fn check(State(edge): State<Arc<Edge>>, request: Request, next: Next) -> Response {
    let only_loopback = edge.settings.listen.ip().is_loopback() && edge.gate.is_none();
    match refuse(request.uri(), request.headers(), only_loopback) {
        Some(problem) => {
            let (parts, body) = request.into_parts();
            drop(Upload::new(body, parts.version, &parts.headers, &edge.settings));
            problem.into_response()
        }
        None => next.run(request).await,
    }
}

fn refuse(uri: &Uri, headers: &HeaderMap, only_loopback: bool) -> Option<Problem> {
    // Of several, none.
    let text = |name| {
        let mut values = headers.get_all(name).iter();
        let first = values.next().and_then(|value| value.to_str().ok());
        first.filter(|_| values.next().is_none())
    };
    let forbidden = |detail: &str| Problem::new(StatusCode::FORBIDDEN, "foreign-origin", "Not from here", detail);
    // HTTP/2 names the host in the request's target (:authority), and so does HTTP/1.1 through a proxy. With a Host header beside that
    // says something else, it is anybody's guess.
    let host = match uri.authority() {
        None => text(header::HOST),
        Some(named) if !headers.contains_key(header::HOST) || text(header::HOST) == Some(named.as_str()) => Some(named.as_str()),
        Some(_) => return Some(forbidden("the request names one host in its target and another in its Host header")),
    };
    // A name that somebody points at 127.0.0.1 makes a browser believe that we are that somebody's.
    if only_loopback && !host.and_then(|host| host.parse().ok()).is_some_and(|host| is_loopback(&host)) {
        return Some(forbidden(
            "the service listens on loopback only, so the Host header must name localhost or a loopback address",
        ));
    }
    // What browsers say of where a request comes from (Fetch Metadata), with an Origin or without one.
    if headers.get_all("sec-fetch-site").iter().any(|site| site == "cross-site") {
        return Some(forbidden("requests from web pages of another site are refused"));
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        if origin.is_none_or(|(_, authority)| Some(authority) != host) {
            return Some(forbidden("requests from web pages of another origin are refused"));
        }
    }
    None
}

/// Refuses what a form on a web page can send without asking: such a request changes nothing here. (Loads take none of these types.)
pub(super) fn refuse_forms(headers: &HeaderMap) -> Result<(), Problem> {
    let is_form = |value: &HeaderValue| {
        let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        FORM_TYPES.iter().any(|form| essence.eq_ignore_ascii_case(form.as_bytes()))
    };
    if headers.get_all(header::CONTENT_TYPE).iter().any(is_form) {
        let detail = format!("a request of this kind has no body, and none of the types of forms: {}", FORM_TYPES.join(", "));
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Not a form", detail));
    }
    Ok(())
}

fn is_loopback(host: &Authority) -> bool {
    let name = host.host();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderName;

    fn refused(pairs: &[(HeaderName, &str)]) -> bool {
        refused_at("/", pairs)
    }

    fn refused_at(target: &str, pairs: &[(HeaderName, &str)]) -> bool {
        let headers = pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
        refuse(&target.parse().unwrap(), &headers.collect(), true).is_some()
    }

    #[test]
    fn only_loopback_hosts_and_own_origins_pass() {
        use header::{HOST, ORIGIN};
        for host in ["localhost:8080", "127.0.0.1:1", "[::1]:80", "LOCALHOST"] {
            assert!(!refused(&[(HOST, host)]), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "10.0.0.1"] {
            assert!(refused(&[(HOST, host)]), "{host}");
        }
        assert!(refused(&[]));
        assert!(!refused(&[(HOST, "localhost:1"), (ORIGIN, "http://localhost:1")]));
        assert!(refused(&[(HOST, "localhost:1"), (ORIGIN, "http://localhost:2")]));
        assert!(refused(&[(HOST, "localhost:1"), (ORIGIN, "null")]));
        let site = HeaderName::from_static("sec-fetch-site");
        assert!(refused(&[(HOST, "localhost:1"), (site.clone(), "cross-site")]));
        assert!(!refused(&[(HOST, "localhost:1"), (site, "none")]));
    }

    #[test]
    fn the_target_names_the_host_too() {
        use header::{HOST, ORIGIN};
        let target = "https://localhost:1/v1/jobs";
        assert!(!refused_at(target, &[]));
        assert!(!refused_at(target, &[(HOST, "localhost:1"), (ORIGIN, "https://localhost:1")]));
        assert!(refused_at(target, &[(HOST, "localhost:2")]));
        assert!(refused_at(target, &[(ORIGIN, "https://evil.example")]));
        assert!(refused_at("https://evil.example/", &[]));
        assert!(refused_at("https://evil.example/", &[(HOST, "localhost:1")]));
    }
}
