//! Conducts one load: slot, table, job row, pipeline, final state. What the answer says is what the database says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::instance::Identity;
use super::keys::{Claim, Difference, Key};
use super::progress::{Entry, Registry, Running};
use super::report::by_column;
use super::store::{Counts, Filter, NewJob, Store};
use super::tally::Outcome;
use super::{Job, Rejected, State, audit, rejects_url};
use crate::access::{Caller, Sight};
use crate::config::Limits;
use crate::engine::admission::Place;
use crate::engine::bulk::{Bulk, Connection, Reading, SynchronousCommit};
use crate::engine::catalog::{self, Table};
use crate::engine::oltp::Oltp;
use crate::error::{DatabaseError, LoadError, Shortage, SlotError, Stop, TableError};
use crate::ingest::commit::target_id;
use crate::ingest::digest::Declared;
use crate::ingest::meter::{Counter, Meter};
use crate::ingest::parquet::Spools;
use crate::ingest::rejects::{OnError, Rejects, Report};
use crate::ingest::{self, Coding, Encoding, Format, Frames, Load, Segments, Stopper, Witness};

/// The one mode there is: rows are added to those that are there.
const MODE: &str = "append";
/// How long a cancellation waits for the job's end before it answers.
const CANCEL_WAIT: Duration = Duration::from_secs(10);
const CANCEL_POLL: Duration = Duration::from_millis(50);
/// How long a load that is about to commit waits for a metadata database that is away for a moment.
const METADATA_PATIENCE: Duration = Duration::from_secs(20);
const METADATA_PAUSE: Duration = Duration::from_millis(250);

/// What a client asks for.
#[derive(Debug, Clone)]
pub struct Request {
    /// who asks for it
    pub caller: Caller,
    /// `name` or `schema.name`
    pub table: String,
    /// what the body is written in
    pub format: Format,
    /// what was applied to it, in this order
    pub codings: Vec<Coding>,
    /// what its text is encoded in
    pub encoding: Encoding,
    /// how to cut it
    pub segments: Segments,
    /// how its text is to be read
    pub reading: Reading,
    /// what its COMMIT waits for
    pub synchronous_commit: Option<SynchronousCommit>,
    /// what a bad row does
    pub on_error: OnError,
    /// how long it may take; the service's own limit otherwise
    pub timeout: Option<Duration>,
    /// what the body is declared to be
    pub digests: Vec<Declared>,
    /// how many rows it is declared to hold
    pub expected_rows: Option<u64>,
    /// under which it is loaded once
    pub key: Option<Key>,
}

/// Why a load was not committed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// no room
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// not such a table
    #[error(transparent)]
    Table(#[from] TableError),
    /// not a table for whoever asks
    #[error("this key is not for the table {table:?}")]
    Forbidden {
        /// which
        table: String,
    },
    /// the jobs' metadata cannot be written, so no load is begun
    #[error("the jobs' metadata cannot be reached: {0}")]
    Metadata(DatabaseError),
    /// stopped before it had a job
    #[error(transparent)]
    Stopped(Stop),
    /// its key is for another request
    #[error("the idempotency key was used before, {difference}")]
    KeyReused {
        /// the load that has it
        job: Uuid,
        /// what is not the same
        difference: Difference,
    },
    /// another load with its key runs
    #[error("a load with this idempotency key is in progress")]
    KeyInProgress {
        /// that load; `None` when there was a new one each time
        job: Option<Uuid>,
    },
    /// the load itself failed; its job has the document that describes it
    #[error("{error}")]
    Load {
        /// its job
        job: Uuid,
        /// why
        error: LoadError,
    },
}

/// Puts a failure into the document that the client gets; the job keeps the same one. It belongs to the edge, which knows the format.
pub trait Describe: Send + Sync {
    /// The problem's short name and the document.
    fn describe(&self, job: Uuid, error: &LoadError) -> (String, Value);
}

/// Whoever asked for a load. While that waits for a place, its body is not read, and a client that leaves is not noticed by that.
pub trait Client: Sync {
    /// Returns when the client has closed its end, or only its sending side: that cannot be told apart.
    fn gone(&self) -> impl Future<Output = ()> + Send;
}

/// Runs loads and answers questions about jobs.
#[derive(Debug, Clone)]
pub struct Conductor {
    pub(super) me: Arc<Identity>,
    pub(super) store: Store,
    pub(super) bulk: Bulk,
    pub(super) running: Registry,
    pub(super) replayed: Arc<Counter>,
    limits: Arc<Limits>,
    spools: Spools,
    /// nobody is let in any more
    closing: CancellationToken,
}

/// A load that was accepted: its job is on record and its body may be asked for.
#[derive(Debug)]
pub struct Accepted {
    job: Job,
    caller: Caller,
    load: Load,
    connection: Connection,
    running: Running,
    entry: Entry,
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
    /// A conductor on these engines, under a new identity.
    ///
    /// # Errors
    /// The target database cannot be asked which one it is.
    pub async fn new(bulk: Bulk, oltp: Oltp, limits: Limits) -> Result<Conductor, DatabaseError> {
        let target = target_id(&bulk).await?;
        Ok(Conductor {
            me: Arc::new(Identity::new()),
            store: Store::new(oltp, target),
            bulk,
            running: Registry::new(),
            replayed: Arc::default(),
            spools: Spools::new(limits.spool.clone()),
            limits: Arc::new(limits),
            closing: CancellationToken::new(),
        })
    }

    /// What a load may ask for.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The metadata database answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), DatabaseError> {
        self.store.ping().await
    }

    /// The target database answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping_target(&self) -> Result<(), Failure> {
        Ok(self.bulk.ping().await?)
    }

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
        let Some(job) = self.store.create(new).await.map_err(Failure::Metadata)? else {
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
            let place = self.wait_for_place(request, client, &running.meter).await?;
            // On the register first: an orphan is a job that is in the database and on no register.
            let entry = self.running.enter(job, running.clone());
            // Whoever shuts down looks at the register after having closed the door.
            if self.closing.is_cancelled() {
                return Err(Failure::Stopped(Stop::Shutdown));
            }
            let (mut connection, table) = self.find_table(place, request).await?;
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
        let table = self.in_time(look_up).await?;
        connection.roll_back().await;
        if tables.match_table(&table.schema, &table.name) { Ok(table) } else { Err(forbidden()) }
    }

    async fn in_time(&self, look_up: impl Future<Output = Result<Table, TableError>>) -> Result<Table, TableError> {
        let within = self.bulk.answer_timeout();
        tokio::time::timeout(within, look_up).await.unwrap_or_else(|_| {
            let message = format!("PostgreSQL did not say within {} s what the table is", within.as_secs());
            Err(DatabaseError { message, ..DatabaseError::default() }.into())
        })
    }

    /// Runs an accepted load to its final state. It must be let run to its end: dropped, it leaves the job to recovery.
    ///
    /// # Errors
    /// [`Failure::Load`].
    pub async fn run(&self, accepted: Accepted, frames: impl Frames + 'static, describe: &dyn Describe) -> Result<Job, Failure> {
        let Accepted { mut job, caller, load, connection, running, entry } = accepted;
        let rejects = load.rejects.clone();
        let witness = JobRow {
            id: job.id,
            store: &self.store,
            stopper: &running.stopper,
            rejects: rejects.as_deref(),
        };
        let loading = ingest::run(load, frames, &self.bulk, connection, &self.limits, &running.stopper, &witness);
        let outcome = Box::pin(loading).await;
        let mut counts = running.counts();
        let recorded = match &outcome {
            Ok(rows) => {
                counts.rows_loaded = *rows;
                self.store.committed(job.id, counts).await.map(Some)
            }
            // Nobody knows yet: the job stays as it is until recovery has found out.
            Err(LoadError::OutcomePending) => Ok(None),
            Err(error) => {
                let state = match error {
                    LoadError::Stopped(Stop::Cancelled) => State::Cancelled,
                    _ => State::Failed,
                };
                let (reason, document) = describe.describe(job.id, error);
                if let Err(error) = witness.keep_rejects().await {
                    tracing::error!(job = %job.id, %error, "a reject report could not be written down");
                }
                self.store.ended(job.id, state, &reason, &document, counts).await
            }
        };
        entry.end(Outcome::from(&outcome), *outcome.as_ref().unwrap_or(&0));
        audit::ended(&caller, &job, &outcome, counts);
        match recorded {
            Ok(Some(recorded)) => job = recorded,
            Ok(None) => {}
            // The load's own end stands in the ledger; the job row follows when recovery gets to it. The answer does not wait for that.
            Err(error) => {
                tracing::error!(job = %job.id, %error, "a job's end could not be written down yet");
                witness.show(counts, &mut job);
            }
        }
        match outcome {
            Ok(rows) => {
                job.state = State::Committed;
                job.rows_loaded = rows;
                Ok(job)
            }
            Err(error) => Err(Failure::Load { job: job.id, error }),
        }
    }

    /// One job, as of now; `None` also for one that is out of sight.
    ///
    /// # Errors
    /// The metadata cannot be read.
    pub async fn job(&self, id: Uuid, sight: &Sight) -> Result<Option<Job>, DatabaseError> {
        let mut job = self.store.get(id, sight).await?;
        if let Some(job) = &mut job {
            self.running.overlay(job);
        }
        Ok(job)
    }

    /// The next rejects of a job, after the one of that number; none at the end.
    ///
    /// # Errors
    /// The metadata cannot be read.
    pub async fn rejects(&self, id: Uuid, after: i32) -> Result<Vec<Rejected>, DatabaseError> {
        self.store.rejects(id, after).await
    }

    /// What stands before the records of a job's rejects: the header of a CSV.
    ///
    /// # Errors
    /// The metadata cannot be read.
    pub async fn rejects_header(&self, id: Uuid) -> Result<Option<Vec<u8>>, DatabaseError> {
        self.store.rejects_header(id).await
    }

    /// Jobs, newest first.
    ///
    /// # Errors
    /// The metadata cannot be read.
    pub async fn jobs(&self, filter: &Filter) -> Result<Vec<Job>, DatabaseError> {
        let mut jobs = self.store.list(filter).await?;
        for job in &mut jobs {
            self.running.overlay(job);
        }
        Ok(jobs)
    }

    /// Stops a running load, here or on another instance, and waits a while for its end. `None` when there is no such job in sight; false
    /// beside the job when there was nothing to stop any more.
    ///
    /// # Errors
    /// The metadata cannot be read or written.
    pub async fn cancel(&self, id: Uuid, caller: &Caller) -> Result<Option<(Job, bool)>, DatabaseError> {
        let sight = caller.principal.sight();
        let requested = self.store.request_cancel(id, &sight).await?;
        if requested && let Some(running) = self.running.get(id) {
            running.stopper.stop(Stop::Cancelled);
        }
        let deadline = Instant::now() + CANCEL_WAIT;
        loop {
            let Some(job) = self.job(id, &sight).await? else {
                return Ok(None);
            };
            if !requested || job.state.is_final() || Instant::now() > deadline {
                audit::cancelled(caller, &job, requested);
                return Ok(Some((job, requested)));
            }
            tokio::time::sleep(CANCEL_POLL).await;
        }
    }

    /// Turns away loads that wait for a place, and waits for running ones to end, for so long or until told to hurry; then stops those
    /// that still run and waits for that.
    pub async fn drain(&self, grace: Duration, hurry: &CancellationToken) {
        self.closing.cancel();
        let (loads, seconds) = (self.running.all().len(), grace.as_secs());
        if loads > 0 {
            tracing::warn!("shutting down: waiting up to {seconds} s for {loads} running load(s); a second signal stops them now");
        }
        tokio::select! {
            () = self.running.idle() => return,
            () = tokio::time::sleep(grace) => {}
            () = hurry.cancelled() => {}
        }
        self.running.stop_all(Stop::Shutdown);
        let _ = tokio::time::timeout(grace.max(CANCEL_WAIT), self.running.idle()).await;
    }
}

async fn take_role(connection: &Connection, caller: &Caller) -> Result<(), TableError> {
    match &caller.principal.pg_role {
        Some(role) => connection.take_role(role).await.map_err(|error| TableError::from_role(role, error)),
        None => Ok(()),
    }
}

/// The job's row in the metadata is the witness of the commit: whoever moves it out of `running` first has the word.
struct JobRow<'a> {
    id: Uuid,
    store: &'a Store,
    stopper: &'a Stopper,
    rejects: Option<&'a Rejects>,
}

impl JobRow<'_> {
    /// What was turned away, if anything was.
    fn report(&self) -> Option<Report> {
        self.rejects.map(Rejects::report).filter(|report| !report.rejects.is_empty())
    }

    async fn keep_rejects(&self) -> Result<(), DatabaseError> {
        match self.report() {
            Some(report) => self.store.keep_rejects(self.id, &report).await,
            None => Ok(()),
        }
    }

    /// What the row would say of the load, for an answer that cannot wait for it.
    fn show(&self, counts: Counts, job: &mut Job) {
        counts.put_into(job);
        if let Some(report) = self.report() {
            job.rejected_by_column = by_column(&report.rejects);
            job.rejects_url = Some(rejects_url(self.id));
        }
    }

    /// May be tried again.
    async fn try_committing(&self, xid: &str) -> Result<bool, DatabaseError> {
        // Whoever is told that rows are missing has to be able to see which.
        self.keep_rejects().await?;
        self.store.committing(self.id, xid).await
    }
}

impl Witness for JobRow<'_> {
    async fn committing(&self, xid: &str) -> Result<(), LoadError> {
        let since = Instant::now();
        let is_mine = loop {
            match self.try_committing(xid).await {
                Ok(is_mine) => break is_mine,
                // All the work is done: it would be a pity if it were for nothing because the metadata just restart.
                Err(error) if error.is_passing() && since.elapsed() < METADATA_PATIENCE => {
                    tracing::debug!(job = %self.id, %error, "a load is about to commit, and waits for the metadata");
                }
                Err(error) => return Err(LoadError::Metadata(error)),
            }
            tokio::time::sleep(METADATA_PAUSE).await;
        };
        if is_mine {
            return Ok(());
        }
        // Cancelled on another instance, or taken for dead and resolved by one.
        self.stopper.stop(Stop::Cancelled);
        Err(Stop::Cancelled.into())
    }
}
