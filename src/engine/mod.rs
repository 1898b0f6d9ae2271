//! DATABASE: the two engines and what they share, which is how to reach a PostgreSQL and how to read its errors.

pub mod admission;
pub mod budget;
pub mod bulk;
pub mod catalog;
pub mod embedded;
mod hosts;
pub mod migrate;
pub mod oltp;
pub mod pooler;
pub mod precedence;
mod timeline;
mod tls;
mod types;
mod url;

use std::error::Error as _;
use std::time::Duration;

use crate::error::{DatabaseError, Position};

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
    // To a tenth: of several hosts each has a part of the time.
    let seconds = (within.as_secs_f64() * 10.0).round() / 10.0;
    answer.unwrap_or_else(|_| Err(unreachable(format!("PostgreSQL did not answer within {seconds} s"))))
}

/// An error of our own making on the way to the database.
fn unreachable(message: impl Into<String>) -> DatabaseError {
    DatabaseError { message: message.into(), ..DatabaseError::default() }
}

/// Quotes an SQL identifier.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
