//! DATABASE: the two engines and what they share, which is how to reach a PostgreSQL and how to read its errors.

pub mod admission;
pub mod budget;
pub mod bulk;
pub mod catalog;
pub mod embedded;
pub mod migrate;
pub mod oltp;
pub mod pooler;
mod tls;
mod types;
mod url;

use std::error::Error as _;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::Config;

pub use self::tls::Tls;
use crate::error::{DatabaseError, Position};

const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;

/// Reads a `postgresql://…` URL: how to connect, and by what TLS. TCP keepalives find a dead peer; a `tcp_user_timeout` is not set, because on Linux it also ends a
/// connection whose peer is alive and just does not read, which is what a PostgreSQL that is held up looks like.
///
/// # Errors
/// The URL is not one, without repeating it (it may hold a password), or a file that it names cannot be used.
pub fn connection_config(url: &str, application_name: &str, connect_timeout: Duration) -> Result<(Config, Tls), DatabaseError> {
    if !url.starts_with("postgresql://") && !url.starts_with("postgres://") {
        return Err(unreachable("the database URL must begin with postgresql://"));
    }
    let unreadable = |why: String| unreachable(format!("the database URL cannot be read: {why}"));
    let (url, parameters) = url::split(url).map_err(unreadable)?;
    let mut config = Config::from_str(&url).map_err(|error| unreadable(causes(&error)))?;
    // A server that is named by its address alone shows a certificate for its address.
    if config.get_hosts().is_empty() {
        for address in config.get_hostaddrs().to_vec() {
            config.host(address.to_string());
        }
    }
    let tls = Tls::new(parameters, &mut config).map_err(|error| unreachable(error.to_string()))?;
    if config.get_application_name().is_none() {
        config.application_name(application_name);
    }
    config
        .connect_timeout(connect_timeout)
        .keepalives(true)
        .keepalives_idle(KEEPALIVE_IDLE)
        .keepalives_interval(KEEPALIVE_INTERVAL)
        .keepalives_retries(KEEPALIVE_RETRIES);
    Ok((config, tls))
}

impl From<tokio_postgres::Error> for DatabaseError {
    fn from(error: tokio_postgres::Error) -> DatabaseError {
        let Some(server) = error.as_db_error() else {
            return DatabaseError { message: tls::with_advice(causes(&error)), ..DatabaseError::default() };
        };
        let notes: Vec<&str> = [server.detail(), server.hint()].into_iter().flatten().collect();
        DatabaseError {
            sqlstate: Some(server.code().code().to_owned()),
            message: server.message().to_owned(),
            detail: (!notes.is_empty()).then(|| notes.join(" ")),
            context: server.where_().map(str::to_owned),
            position: Position { column: server.column().map(str::to_owned), ..Position::default() },
            value: None,
        }
    }
}

/// The driver's errors say "error connecting to server" and keep the reason to themselves, one source deeper.
fn causes(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Gives a question to the database so long, whatever holds it up: the driver's own limit is one for the socket only.
async fn in_time<T>(within: Duration, question: impl Future<Output = Result<T, DatabaseError>>) -> Result<T, DatabaseError> {
    let answer = tokio::time::timeout(within, question).await;
    answer.unwrap_or_else(|_| Err(unreachable(format!("PostgreSQL did not answer within {} s", within.as_secs()))))
}

/// An error of our own making on the way to the database.
fn unreachable(message: impl Into<String>) -> DatabaseError {
    DatabaseError { message: message.into(), ..DatabaseError::default() }
}

/// Quotes an SQL identifier.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
