//! Who asks (RFC 6750): `Authorization: Bearer`, before anything else is looked at. And how much they may ask for
//! (draft-ietf-httpapi-ratelimit-headers).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Edge;
use super::problem::{Problem, metadata};
use super::upload::Upload;
use crate::access::limits::{Allowance, Exceeded, Quota};
use crate::access::{AccessError, Caller, Credential, Denied, Gate, Principal, Role};

const REALM: &str = "Bearer realm=\"pgsluice\"";
/// After which time whoever has too many loads at work may ask again.
const LOADS_RETRY: Duration = Duration::from_secs(2);

/// The other end of the connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Remote(pub(super) SocketAddr);

/// Tells the handlers who asks, and turns away whoever may not.
pub(super) async fn check(State((edge, roles)): State<(Arc<Edge>, &'static [Role])>, mut request: Request, next: Next) -> Response {
    let remote = request.extensions().get::<Remote>().map(|remote| remote.0);
    let caller = match identify(edge.gate.as_ref(), request.headers_mut(), remote).await {
        Ok(caller) => caller,
        Err(problem) => return turn_away(&edge, request, problem),
    };
    let allowance = caller.allowance.clone();
    let mut response = match admit(&caller, roles) {
        Ok(()) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => turn_away(&edge, request, problem),
    };
    if let Some(allowance) = allowance {
        response.headers_mut().extend(rate_limit_fields(&allowance));
    }
    response
}

/// Whoever still sends a body has to be able to read the answer.
fn turn_away(edge: &Edge, request: Request, problem: Problem) -> Response {
    let (parts, body) = request.into_parts();
    drop(Upload::new(body, parts.version, &parts.headers, &edge.settings));
    problem.into_response()
}

fn admit(caller: &Caller, roles: &[Role]) -> Result<(), Problem> {
    if let Some(allowance) = &caller.allowance {
        allowance.request().map_err(exceeded)?;
    }
    let role = caller.principal.role;
    if !roles.contains(&role) {
        let needed: Vec<&str> = roles.iter().map(|role| role.name()).collect();
        let detail = format!("this is for the role {}, and yours is {}", needed.join(" or "), role.name());
        return Err(insufficient_scope(detail));
    }
    Ok(())
}

/// Takes the token out of the request: nothing behind this line has it, so nothing can write it down.
async fn identify(gate: Option<&Gate>, headers: &mut HeaderMap, remote: Option<SocketAddr>) -> Result<Caller, Problem> {
    let mut fields = take_all(headers);
    let Some(gate) = gate else {
        return Ok(Caller {
            principal: Arc::new(Principal::anybody()),
            credential: Credential::Nothing,
            remote,
            allowance: None,
        });
    };
    if fields.len() > 1 {
        return Err(Problem::bad_request("repeated-header", "there is more than one Authorization header"));
    }
    let field = fields
        .pop()
        .ok_or_else(|| unauthenticated("there is no Authorization header with a key or a token: Authorization: Bearer …"))?;
    let token = bearer(&field).ok_or_else(|| unauthenticated("the Authorization header is not of the form: Bearer …"))?;
    gate.identify(token, remote).await.map_err(|error| match error {
        AccessError::Denied(Denied::NoRole) => insufficient_scope(Denied::NoRole.to_string()),
        AccessError::Denied(denied) => {
            let title = "The token is not valid";
            let challenge = format!("{REALM}, error=\"invalid_token\"");
            Problem::new(StatusCode::UNAUTHORIZED, "invalid-token", title, denied.to_string()).with_header(
                header::WWW_AUTHENTICATE,
                HeaderValue::try_from(challenge).unwrap_or(HeaderValue::from_static(REALM)),
            )
        }
        AccessError::Metadata(error) => metadata(&error),
    })
}

fn take_all(headers: &mut HeaderMap) -> Vec<HeaderValue> {
    match headers.entry(header::AUTHORIZATION) {
        header::Entry::Occupied(fields) => fields.remove_entry_mult().1.collect(),
        header::Entry::Vacant(_) => Vec::new(),
    }
}

/// The token of `Bearer` credentials; the scheme's case does not count.
fn bearer(field: &HeaderValue) -> Option<&str> {
    let (scheme, token) = field.to_str().ok()?.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && !token.contains(' ')).then_some(token)
}

fn unauthenticated(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", "Say who you are", detail)
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(REALM))
}

/// Whoever it is, this is not for them.
pub(super) fn insufficient_scope(detail: String) -> Problem {
    const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"pgsluice\", error=\"insufficient_scope\"");
    Problem::new(StatusCode::FORBIDDEN, "insufficient-scope", "Not with this key", detail).with_header(header::WWW_AUTHENTICATE, CHALLENGE)
}

/// Whoever it is has asked for too much.
pub(super) fn exceeded(exceeded: Exceeded) -> Problem {
    let detail = format!("{exceeded}; nothing was done");
    match exceeded {
        Exceeded::Never { .. } => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "Over a limit", detail),
        _ => quota_exceeded(detail, exceeded.quota(), exceeded.after()),
    }
}

/// The problem of draft-ietf-httpapi-ratelimit-headers, with its member.
pub(super) fn quota_exceeded(detail: String, quota: &'static str, after: Option<Duration>) -> Problem {
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "quota-exceeded", "Too much for this key", detail)
        .with("violated-policies", vec![quota])
        .with_header(header::RETRY_AFTER, HeaderValue::from(seconds(after.unwrap_or(LOADS_RETRY)).max(1)))
}

fn rate_limit_fields(allowance: &Allowance) -> Vec<(HeaderName, HeaderValue)> {
    let quotas = allowance.quotas();
    let field = |name, show: fn(&Quota) -> String| {
        let members: Vec<String> = quotas.iter().map(show).collect();
        HeaderValue::try_from(members.join(", ")).ok().map(|value| (HeaderName::from_static(name), value))
    };
    [field("ratelimit-policy", policy), field("ratelimit", state)].into_iter().flatten().collect()
}

fn policy(quota: &Quota) -> String {
    let window = quota.window.map(|window| format!(";w={}", window.as_secs())).unwrap_or_default();
    format!("\"{}\";q={}{window};qu=\"{}\"", quota.name, quota.size, quota.unit)
}

fn state(quota: &Quota) -> String {
    let reset = quota.full_after.map(|after| format!(";t={}", seconds(after))).unwrap_or_default();
    format!("\"{}\";r={}{reset}", quota.name, quota.left)
}

/// Rounded up: a second too early is too early.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearer_credentials() {
        let token = |text: &'static str| bearer(&HeaderValue::from_static(text)).map(str::to_owned);
        assert_eq!(token("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(token("bearer  abc").as_deref(), Some("abc"));
        for text in ["", "abc", "Bearer", "Bearer ", "Basic abc", "Bearer a b"] {
            assert_eq!(token(text), None, "{text:?}");
        }
    }

    #[test]
    fn fields_of_limits() {
        let quota = Quota {
            name: "bytes",
            unit: "content-bytes",
            size: 1000,
            window: Some(Duration::from_secs(3600)),
            left: 10,
            full_after: Some(Duration::from_millis(3500)),
        };
        assert_eq!(policy(&quota), "\"bytes\";q=1000;w=3600;qu=\"content-bytes\"");
        assert_eq!(state(&quota), "\"bytes\";r=10;t=4");
    }
}
