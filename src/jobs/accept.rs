//! Accepts a load: everything that can be refused before its body is asked for, and the job row.

use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use super::Job;
use super::conduct::Conductor;
use super::keys::Claim;
use super::progress::{Entry, Running};
use super::request::{Client, Failure, Request};
use super::store::NewJob;
use crate::access::Caller;
use crate::engine::admission::Place;
use crate::engine::bulk::Connection;
use crate::engine::catalog::{self, Table};
use crate::error::{DatabaseError, Shortage, SlotError, Stop, TableError};
use crate::ingest::meter::Meter;
use crate::ingest::rejects::{OnError, Rejects};
use crate::ingest::{self, Load, Stopper};

/// The one mode there is: rows are added to those that are there.
const MODE: &str = "append";

/// A load that was accepted: its job is on record and its body may be asked for.
#[derive(Debug)]
pub struct Accepted {
    pub(super) job: Job,
    pub(super) caller: Caller,
    pub(super) load: Load,
    pub(super) connection: Connection,
    pub(super) running: Running,
    pub(super) entry: Entry,
}

impl Accepted {
    /// The job that the load was given.
    pub fn job_id(&self) -> Uuid {
        self.job.id
    }
}

/// What came of the attempt to accept a load.
#[derive(Debug)]
pub(super) enum Attempt {
    Accepted(Box<Accepted>),
    /// another load holds its key
    KeyHeld {
        /// the table, as the catalogue has it
        table: String,
    },
}

impl Conductor {
    /// Everything that can be refused before the body is asked for, and the job row.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(super) async fn accept(
        &self,
        request: Request,
        claim: Option<&Claim>,
        client: &impl Client,
        stopper: Stopper,
    ) -> Result<Attempt, Failure> {
        let meter = Arc::new(Meter::default());
        let id = Uuid::now_v7();
        let running = Running { meter: Arc::clone(&meter), stopper, since: Instant::now() };
        let (entry, connection, table) = tokio::select! {
            stop = running.stopper.stopped() => return Err(Failure::Stopped(stop)),
            let_in = self.let_in(id, &request, client, &running) => let_in?,
        };
        let (name, format) = (table.display_name(), request.format.name());
        let (instance, backend) = (self.me.id, connection.backend());
        let new = NewJob {
            id,
            instance,
            principal: &request.caller.principal.id,
            table: &name,
            format,
            mode: MODE,
            backend,
            claim,
        };
        let creating = request.trace.database_stage("create job", &name);
        let created = creating.end(self.store.create(new).await);
        let Some(job) = created.map_err(Failure::Metadata)? else {
            connection.roll_back().await;
            return Ok(Attempt::KeyHeld { table: name });
        };
        entry.begin(format);
        let rejects = match request.on_error {
            OnError::Abort => None,
            OnError::Skip(tolerance) => Some(Arc::new(Rejects::new(tolerance, self.limits.reject_report_bytes_max))),
        };
        Ok(Attempt::Accepted(Box::new(Accepted {
            job,
            load: Load {
                trace: request.trace.load(id, &name, format),
                pg_role: request.caller.principal.pg_role.clone(),
                job: id,
                table,
                format: request.format,
                codings: request.codings,
                encoding: request.encoding,
                segments: request.segments,
                timeout: request.timeout.unwrap_or(self.limits.load_timeout),
                digests: request.digests,
                expected_rows: request.expected_rows,
                meter,
                rejects,
                spools: self.spools.clone(),
            },
            caller: request.caller,
            connection,
            running,
            entry,
        })))
    }

    /// A place, a connection, and the table.
    async fn let_in(
        &self,
        job: Uuid,
        request: &Request,
        client: &impl Client,
        running: &Running,
    ) -> Result<(Entry, Connection, Table), Failure> {
        let mut taken = None;
        // Under another spelling of the table's name a load may be let in although the table has no slot left; but only once.
        for _ in 0..2 {
            let waiting = request.trace.stage("wait for slot");
            let place = waiting.end(self.wait_for_place(request, client, &running.meter).await)?;
            // On the register first: an orphan is a job that is in the database and on no register.
            let entry = self.running.enter(job, running.clone());
            // Whoever shuts down looks at the register after having closed the door.
            if self.closing.is_cancelled() {
                return Err(Failure::Stopped(Stop::Shutdown));
            }
            let finding = request.trace.database_stage("find table", &request.table);
            let (mut connection, table) = finding.end(self.find_table(place, request).await)?;
            if connection.settle(&table.display_name()) {
                return Ok((entry, connection, table));
            }
            connection.roll_back().await;
            taken = Some(table.display_name());
        }
        let shortage = Shortage::Table { table: taken.unwrap_or_default(), slots: self.bulk.table_slots() };
        Err(SlotError::from(shortage).into())
    }

    async fn wait_for_place(&self, request: &Request, client: &impl Client, meter: &Meter) -> Result<Place, Failure> {
        let bytes = ingest::memory_bytes(&request.format, &request.codings, request.encoding, request.on_error, &self.limits);
        let waiting_since = Instant::now();
        let place = tokio::select! {
            biased;
            () = self.closing.cancelled() => return Err(Failure::Stopped(Stop::Shutdown)),
            place = self.bulk.enter(&request.table, bytes) => place?,
            () = client.gone() => return Err(Failure::Stopped(Stop::Disconnected)),
        };
        meter.queue.add_since(waiting_since);
        Ok(place)
    }

    async fn find_table(&self, place: Place, request: &Request) -> Result<(Connection, Table), Failure> {
        let mut connection = self.bulk.connect(place).await.map_err(SlotError::Database)?;
        let look_up = async {
            connection
                .begin(&request.reading, request.synchronous_commit)
                .await
                .map_err(TableError::from_setting)?;
            take_role(&connection, &request.caller).await?;
            let table = catalog::find(connection.client(), &request.table).await?;
            ingest::check_columns(&table, &request.format)?;
            Ok(table)
        };
        match self.in_time(look_up).await {
            Ok(table) if request.caller.principal.tables.match_table(&table.schema, &table.name) => Ok((connection, table)),
            // By its name it could have been one for this caller, and by the catalogue it is not.
            Ok(_) => {
                connection.roll_back().await;
                Err(Failure::Forbidden { table: request.table.clone() })
            }
            Err(error) => {
                // Only the request was wrong: the connection is as good as before. (A refused setting or role has ended its transaction.)
                if !matches!(error, TableError::Database(_) | TableError::Setting(_) | TableError::Role { .. }) {
                    connection.roll_back().await;
                }
                Err(error.into())
            }
        }
    }

    /// A table as the target database has it now, for whoever may use it.
    ///
    /// # Errors
    /// [`Failure::Forbidden`], [`Failure::Slot`] or [`Failure::Table`].
    pub async fn table(&self, name: &str, caller: &Caller) -> Result<Table, Failure> {
        let tables = &caller.principal.tables;
        let forbidden = || Failure::Forbidden { table: name.to_owned() };
        if !tables.may_match(name) {
            return Err(forbidden());
        }
        let connection = self.bulk.connect_to_ask().await?;
        let look_up = async {
            connection.begin_to_ask().await?;
            take_role(&connection, caller).await?;
            catalog::find(connection.client(), name).await
        };
        let found = self.in_time(look_up).await;
        // Thrown away, it would hold up the next question until the server has been told to stop.
        if !matches!(found, Err(TableError::Database(_))) {
            connection.roll_back().await;
        }
        let table = found?;
        if tables.match_table(&table.schema, &table.name) { Ok(table) } else { Err(forbidden()) }
    }

    async fn in_time(&self, look_up: impl Future<Output = Result<Table, TableError>>) -> Result<Table, TableError> {
        let within = self.bulk.answer_timeout();
        tokio::time::timeout(within, look_up).await.unwrap_or_else(|_| {
            let message = format!("PostgreSQL did not say within {} s what the table is", within.as_secs());
            Err(DatabaseError { message, ..DatabaseError::default() }.into())
        })
    }
}

async fn take_role(connection: &Connection, caller: &Caller) -> Result<(), TableError> {
    match &caller.principal.pg_role {
        Some(role) => connection.take_role(role).await.map_err(|error| TableError::from_role(role, error)),
        None => Ok(()),
    }
}
