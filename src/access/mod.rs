//! WHO: whoever asks, and what that one may do. Keys are in the metadata ([`keys`]), and tokens are an OpenID provider's ([`jwt`]); whoever
//! holds one is a [`Principal`]. Knows no HTTP.

mod claims;
mod jwks;
pub mod jwt;
pub mod keys;
pub mod limits;
mod patterns;
mod signatures;
mod token;

use std::net::SocketAddr;
use std::sync::Arc;

use self::jwt::{Flaw, Tokens};
use self::keys::Keys;
use self::limits::{Allowance, Allowances, Limits};
pub use self::patterns::Patterns;
pub use self::token::Secret;
use crate::error::DatabaseError;

/// What a principal may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// see the jobs and the columns of its tables, whoever loads them
    Read,
    /// load into its tables; see and cancel its own jobs
    Load,
    /// everything with its tables; see and cancel all jobs
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 3] = [Role::Read, Role::Load, Role::Admin];

    /// Its name on the command line, in the database and in tokens.
    pub fn name(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Load => "load",
            Role::Admin => "admin",
        }
    }

    /// The role of that name.
    pub fn from_name(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// Whoever asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// what its jobs are known by: a key's id, or a token's issuer and subject; nothing where nobody is asked who they are
    pub id: String,
    /// for people
    pub name: String,
    /// what it may do
    pub role: Role,
    /// which tables it may use
    pub tables: Patterns,
    /// the role of PostgreSQL that its loads run in; the service's own if none
    pub pg_role: Option<String>,
    /// how much it may ask for
    pub limits: Limits,
}

impl Principal {
    /// Whoever it is, where nobody is asked.
    pub fn anybody() -> Principal {
        Principal {
            id: String::new(),
            name: String::new(),
            role: Role::Admin,
            tables: Patterns::all(),
            pg_role: None,
            limits: Limits::default(),
        }
    }

    /// Which jobs it may see.
    pub fn sight(&self) -> Sight {
        match self.role {
            Role::Admin => Sight::default(),
            Role::Load => Sight { principal: Some(self.id.clone()), tables: None },
            Role::Read => Sight { principal: None, tables: Some(self.tables.as_regexes()) },
        }
    }
}

/// Which jobs somebody may see: those that both let through. By default all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Sight {
    /// only this one's
    pub principal: Option<String>,
    /// only those of tables that one of these regular expressions matches
    pub tables: Option<Vec<String>>,
}

/// What somebody has shown, as far as it may come to be worth nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// nothing: nobody was asked
    Nothing,
    /// the key whose id is the principal's
    Key,
    /// a token of an OpenID provider
    Token {
        /// in seconds since 1970
        expires_at: u64,
        /// the fingerprint of the key that has signed it
        signed_by: [u8; 32],
    },
}

/// A principal with where it asks from and what it has left to ask for.
#[derive(Debug, Clone)]
pub struct Caller {
    /// who
    pub principal: Arc<Principal>,
    /// by what that is known
    pub credential: Credential,
    /// from where, if that is known
    pub remote: Option<SocketAddr>,
    /// what is left of its limits on this instance; `None` where it has none
    pub allowance: Option<Arc<Allowance>>,
}

/// Why somebody is not let in. Only whoever has the secret of a key is told what became of the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// not one of ours
    #[error("the token is not a valid key")]
    Unknown,
    /// its time is over
    #[error("the key has expired")]
    Expired,
    /// somebody has withdrawn it
    #[error("the key has been revoked")]
    Revoked,
    /// it is no good as a token of an OpenID provider
    #[error(transparent)]
    Token(#[from] Flaw),
    /// it is good, and gives no right to anything
    #[error("the token grants no role: it needs pgsluice:read, pgsluice:load or pgsluice:admin where roles are looked for")]
    NoRole,
}

/// Why nobody can be told who asks.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// the token
    #[error(transparent)]
    Denied(#[from] Denied),
    /// the keys cannot be read
    #[error(transparent)]
    Metadata(#[from] DatabaseError),
}

/// Tells who somebody is by the token that comes with a request.
#[derive(Debug)]
pub struct Gate {
    keys: Keys,
    tokens: Option<Arc<Tokens>>,
    allowances: Allowances,
}

impl Gate {
    /// By these keys, and by tokens if there is somebody who makes them.
    pub fn new(keys: Keys, tokens: Option<Tokens>) -> Gate {
        Gate { keys, tokens: tokens.map(Arc::new), allowances: Allowances::default() }
    }

    /// By which tokens somebody is let in, if by any.
    pub fn tokens(&self) -> Option<Arc<Tokens>> {
        self.tokens.clone()
    }

    /// Somebody who was let in would be let in again, were the same key or token shown.
    ///
    /// # Errors
    /// It is worth nothing any more, or that cannot be found out.
    pub async fn still_lets_in(&self, caller: &Caller) -> Result<(), AccessError> {
        match (caller.credential, &self.tokens) {
            (Credential::Key, _) => self.keys.is_valid(&caller.principal.id).await,
            (Credential::Token { expires_at, signed_by }, Some(tokens)) => Ok(tokens.still_good(expires_at, &signed_by)?),
            (Credential::Token { .. } | Credential::Nothing, _) => Err(Denied::Unknown.into()),
        }
    }

    /// Whoever has that token.
    ///
    /// # Errors
    /// It is worth nothing, or that cannot be found out.
    pub async fn identify(&self, token: &str, remote: Option<SocketAddr>) -> Result<Caller, AccessError> {
        let secret = Secret::parse(token);
        let found = match (&secret, &self.tokens) {
            (Some(secret), _) => self.keys.find(secret).await.map(|principal| (principal, Credential::Key)),
            (None, Some(tokens)) if !Secret::is_meant(token) => tokens.find(token).map_err(AccessError::from),
            (None, _) => Err(Denied::Unknown.into()),
        };
        let (principal, credential) = found.inspect_err(|error| {
            // What was sent may be half a secret: only the public part of a key is written down.
            let (principal, reason) = (secret.as_ref().map(Secret::id), error.to_string());
            let remote = remote.map(tracing::field::display);
            tracing::info!(target: "audit", event = "access", outcome = "denied", principal, remote, reason = reason.as_str(), "access");
        })?;
        let allowance = self.allowances.of(&principal.id, principal.limits);
        Ok(Caller { principal: Arc::new(principal), credential, remote, allowance })
    }
}
