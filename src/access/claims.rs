//! What the claims of a token come to: whose it is, and what that one may do here.

use serde_json::Value;

use super::jwt::{Flaw, Provider};
use super::{Denied, Patterns, Principal, Role};

/// What a role is called in a token, before its name: others are other services'.
const ROLE_PREFIX: &str = "pgsluice:";
const TABLES: &str = "pgsluice_tables";
const PG_ROLE: &str = "pgsluice_pg_role";
/// OpenID Connect Core, section 2: `sub` has no more.
const SUBJECT_BYTES_MAX: usize = 255;

/// Whoever the claims of a valid token are about.
///
/// # Errors
/// They do not say it, or give no role.
pub(super) fn principal(provider: &Provider, claims: &Value) -> Result<Principal, Denied> {
    let subject = claims
        .get("sub")
        .and_then(Value::as_str)
        .filter(|subject| is_name(subject))
        .ok_or(Flaw::Claim("sub"))?;
    let username = claims.get("preferred_username").and_then(Value::as_str).filter(|name| is_name(name));
    let role = role(provider.role_claim.as_deref(), claims).ok_or(Denied::NoRole)?;
    Ok(Principal {
        id: id(&provider.issuer, subject),
        name: username.unwrap_or(subject).to_owned(),
        role,
        tables: tables(provider, claims)?,
        pg_role: pg_role(provider, claims)?,
        limits: provider.limits,
    })
}

/// An issuer has no `#` in it, so its first one ends it; and the id of a key has none at all.
fn id(issuer: &str, subject: &str) -> String {
    format!("{issuer}#{subject}")
}

fn is_name(text: &str) -> bool {
    (1..=SUBJECT_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control)
}

/// The strongest of those that are granted.
fn role(claim: Option<&str>, claims: &Value) -> Option<Role> {
    let granted: Vec<&str> = match claim {
        Some(name) => words(find(claims, name)),
        None => [words(claims.get("scope")), words(claims.get("scp"))].concat(),
    };
    let is_granted = |role: &Role| granted.iter().any(|word| word.strip_prefix(ROLE_PREFIX) == Some(role.name()));
    Role::ALL.into_iter().rev().find(is_granted)
}

/// A claim by its name, or by a JSON pointer (RFC 6901), which begins with a slash: some providers put roles deeper.
fn find<'a>(claims: &'a Value, name: &str) -> Option<&'a Value> {
    if name.starts_with('/') { claims.pointer(name) } else { claims.get(name) }
}

/// Words with spaces between them (RFC 8693, 4.2), or an array of them.
fn words(claim: Option<&Value>) -> Vec<&str> {
    match claim {
        Some(Value::String(text)) => text.split(' ').collect(),
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Whoever says nothing about tables gets what the settings say, and that is none if they say nothing either.
fn tables(provider: &Provider, claims: &Value) -> Result<Patterns, Flaw> {
    let unreadable = || Flaw::Claim(TABLES);
    match claims.get(TABLES) {
        None => Ok(provider.default_tables.clone().unwrap_or_else(Patterns::none)),
        Some(Value::Array(patterns)) if patterns.is_empty() => Ok(Patterns::none()),
        Some(Value::Array(patterns)) => {
            let texts = patterns.iter().map(Value::as_str).collect::<Option<Vec<_>>>().ok_or_else(unreadable)?;
            Patterns::parse(texts).map_err(|_| unreadable())
        }
        Some(_) => Err(unreadable()),
    }
}

fn pg_role(provider: &Provider, claims: &Value) -> Result<Option<String>, Flaw> {
    match claims.get(PG_ROLE) {
        None => Ok(provider.default_pg_role.clone()),
        Some(Value::String(role)) if is_name(role) => Ok(Some(role.clone())),
        // Without it the load would run in the service's own role, which may more.
        Some(_) => Err(Flaw::Claim(PG_ROLE)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn provider() -> Provider {
        Provider { issuer: "https://id.example".to_owned(), ..Provider::default() }
    }

    fn role_of(claim: Option<&str>, claims: &Value) -> Option<&'static str> {
        role(claim, claims).map(Role::name)
    }

    #[test]
    fn the_strongest_role_counts_and_only_a_whole_word_is_one() {
        for (claims, expected) in [
            (json!({ "scope": "openid pgsluice:read" }), Some("read")),
            (json!({ "scope": "pgsluice:load pgsluice:read" }), Some("load")),
            (json!({ "scope": "pgsluice:read", "scp": ["pgsluice:admin"] }), Some("admin")),
            (json!({ "scp": "pgsluice:load" }), Some("load")),
            (json!({ "scope": "admin xpgsluice:admin pgsluice:admins pgsluice:Admin pgsluice:\tadmin" }), None),
            (json!({ "scope": ["pgsluice:load pgsluice:admin"] }), None),
            (json!({ "scope": { "pgsluice:admin": true }, "roles": ["pgsluice:admin"] }), None),
            (json!({}), None),
        ] {
            assert_eq!(role_of(None, &claims), expected, "{claims}");
        }
    }

    #[test]
    fn a_role_is_found_where_the_setting_says_and_nowhere_else() {
        let claims = json!({
            "scope": "pgsluice:admin", "roles": ["pgsluice:read"], "https://x.example/roles": "pgsluice:load",
            "realm_access": { "roles": ["offline_access", "pgsluice:load"] },
        });
        for (claim, expected) in [
            ("roles", Some("read")),
            ("https://x.example/roles", Some("load")),
            ("/realm_access/roles", Some("load")),
            ("realm_access", None),
            ("/realm_access", None),
            ("nothing", None),
        ] {
            assert_eq!(role_of(Some(claim), &claims), expected, "{claim}");
        }
    }

    #[test]
    fn tables_are_those_of_the_claim_or_else_of_the_setting_or_else_none() {
        let texts = |provider: &Provider, claims: Value| tables(provider, &claims).map(|tables| tables.texts());
        let open = Provider { default_tables: Some(Patterns::all()), ..provider() };
        assert_eq!(texts(&provider(), json!({})).unwrap(), [""; 0]);
        assert_eq!(texts(&open, json!({})).unwrap(), ["*.*"]);
        assert_eq!(texts(&open, json!({ TABLES: ["t", "app.*"] })).unwrap(), ["public.t", "app.*"]);
        assert_eq!(texts(&open, json!({ TABLES: [] })).unwrap(), [""; 0]);
        for wrong in [json!("*.*"), json!(null), json!([1]), json!([""]), json!({}), json!(["t", null])] {
            assert_eq!(texts(&open, json!({ TABLES: wrong })), Err(Flaw::Claim(TABLES)), "{wrong}");
        }
    }

    #[test]
    fn who_it_is_is_told_apart() {
        let who = |claims: Value| principal(&provider(), &claims);
        let mut claims = json!({ "sub": "a#b", "scope": "pgsluice:load", "preferred_username": "Ann" });
        let ann = who(claims.clone()).unwrap();
        assert_eq!((ann.id.as_str(), ann.name.as_str(), ann.pg_role), ("https://id.example#a#b", "Ann", None));
        for wrong in [json!(""), json!(7), json!(null), json!("a\0"), json!("a\nb"), json!("x".repeat(256))] {
            claims["sub"] = wrong;
            assert_eq!(who(claims.clone()), Err(Flaw::Claim("sub").into()), "{claims}");
        }
        claims["sub"] = json!("x".repeat(255));
        claims["preferred_username"] = json!("two\nlines");
        assert_eq!(who(claims.clone()).unwrap().name.len(), 255);
        claims["scope"] = json!("openid");
        assert_eq!(who(claims), Err(Denied::NoRole));
    }

    #[test]
    fn a_role_of_postgresql_that_cannot_be_read_is_not_none() {
        let confined = Provider { default_pg_role: Some("loader".to_owned()), ..provider() };
        assert_eq!(pg_role(&confined, &json!({})).unwrap().as_deref(), Some("loader"));
        assert_eq!(pg_role(&confined, &json!({ PG_ROLE: "sales" })).unwrap().as_deref(), Some("sales"));
        for wrong in [json!(null), json!(""), json!(["sales"]), json!("a\0")] {
            assert_eq!(pg_role(&confined, &json!({ PG_ROLE: wrong })), Err(Flaw::Claim(PG_ROLE)), "{wrong}");
        }
    }
}
