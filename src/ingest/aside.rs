//! The server as a converter of encodings, on a connection beside the load's own: that one is busy with COPY.

use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::rows::Halt;
use super::transcode::{Convert, Refusal};
use crate::engine::bulk::{Bulk, Connection};
use crate::error::{DataError, DatabaseError};

/// What the server says of bytes that are no text (character_not_in_repertoire, untranslatable_character); everything else is its own
/// trouble.
const REFUSALS: [&str; 2] = ["22021", "22P05"];

/// Asks the server, from a thread that may block. The connection is made when it is first needed.
pub(super) struct Aside {
    bulk: Bulk,
    runtime: Handle,
    /// the load has ended otherwise, and nobody waits for the answer
    abandoned: CancellationToken,
    /// how long an answer may take; it is a matter of milliseconds
    stall: Duration,
    connection: Option<Connection>,
    waited: Duration,
}

impl Aside {
    pub(super) fn new(bulk: Bulk, runtime: Handle, abandoned: CancellationToken, stall: Duration) -> Aside {
        Aside { bulk, runtime, abandoned, stall, connection: None, waited: Duration::ZERO }
    }
}

impl Convert for Aside {
    fn to_utf8(&mut self, bytes: &[u8], encoding: &str) -> Result<String, Refusal> {
        let waiting_since = Instant::now();
        let (bulk, connection, abandoned, stall) = (&self.bulk, &mut self.connection, &self.abandoned, self.stall);
        let answer = self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = abandoned.cancelled() => None,
                answer = ask(bulk, connection, bytes, encoding) => Some(answer),
                () = tokio::time::sleep(stall) => Some(Err(silent(stall))),
            }
        });
        self.waited += waiting_since.elapsed();
        let Some(answer) = answer else {
            // Dropped in the middle of a question, a connection tells its server process to stop.
            self.connection = None;
            return Err(Refusal::Halt(Halt::Closed));
        };
        answer.map_err(|error| match REFUSALS.into_iter().find(|code| error.sqlstate.as_deref() == Some(code)) {
            Some(sqlstate) => Refusal::Bytes { sqlstate, reason: error.message },
            None => Refusal::Halt(DataError::Conversion(error).into()),
        })
    }

    fn waited(&self) -> Duration {
        self.waited
    }
}

async fn ask(bulk: &Bulk, connection: &mut Option<Connection>, bytes: &[u8], encoding: &str) -> Result<String, DatabaseError> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(bulk.connect_aside().await?),
    };
    connection.convert_from(bytes, encoding).await
}

fn silent(stall: Duration) -> DatabaseError {
    DatabaseError {
        message: format!("no answer within {} s to the question of what a text is in UTF-8", stall.as_secs()),
        ..DatabaseError::default()
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.release();
        }
    }
}
