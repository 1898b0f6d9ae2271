//! The bulk engine: few, long, exclusive connections to the target database, for COPY only.
//!
//! A fixed number of slots and no overflow (`admission`). A connection goes back for another load only after a commit; after anything else
//! it is thrown away, and its backend is told to stop.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::try_join;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::admission::{Admission, Capacity, Occupancy, Place};
use super::hosts::{Hosts, Link};
use super::precedence::{Pacer, Precedence};
use super::timeline::Position;
use super::{in_time, quote_identifier, unreachable};
use crate::config;
use crate::error::{DatabaseError, Shortage, SlotError};

/// How long an idle connection may take to answer before it is given up.
const PING_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a thrown-away connection's cancel request may take.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// The bulk engine; cheap to clone.
#[derive(Debug, Clone)]
pub struct Bulk(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    hosts: Hosts,
    settings: config::Bulk,
    door: Admission,
    precedence: Precedence,
    idle: Mutex<Vec<Link>>,
    /// for questions about tables, one at a time, so that they cost no more than one connection
    asking: Arc<Semaphore>,
    /// for whoever wants to know whether the database answers, likewise
    pinging: Semaphore,
}

/// A server process, told apart from a later one with the same pid by its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backend {
    /// process id on the server
    pub pid: i32,
    /// `backend_start`, in microseconds since 1970
    pub start_micros: i64,
}

/// What a server process was seen to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// it works, or waits for anything but its client
    Working,
    /// it waits for its client
    Waiting,
    /// it is not there
    Gone,
}

/// A transaction and the server process that has it. Behind a pooler the next one may have another.
#[derive(Debug, Clone, Copy)]
struct Transaction {
    backend: Backend,
    start_micros: Option<i64>,
}

/// That a server process is the one of this pid ($1) and start ($2). Whose start this role may not see may be it, unless it is in no database
/// or another one, or the server itself has started since: pids are used again, and soon in a container.
const IS_BACKEND: &str = "pid = $1 AND datname = pg_catalog.current_database() AND \
    CASE WHEN backend_start IS NULL THEN $2 >= (extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint \
         ELSE (extract(epoch FROM backend_start) * 1000000)::bigint = $2 END";

/// Settings that a load asks for because they change what its text means; the session's own otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// `TimeZone`
    pub time_zone: Option<String>,
    /// `DateStyle`
    pub date_style: Option<String>,
}

/// `synchronous_commit`: what a COMMIT waits for before it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SynchronousCommit {
    /// nothing: a crash of the server may take back a load that was answered 201
    Off,
    /// the server's own disk
    Local,
    /// a synchronous standby has it in its operating system
    RemoteWrite,
    /// the disk, and that of a synchronous standby if there is one
    On,
    /// a synchronous standby shows it
    RemoteApply,
}

impl SynchronousCommit {
    /// Every value, by PostgreSQL's name.
    pub const ALL: [(&str, SynchronousCommit); 5] = [
        ("on", SynchronousCommit::On),
        ("off", SynchronousCommit::Off),
        ("local", SynchronousCommit::Local),
        ("remote_write", SynchronousCommit::RemoteWrite),
        ("remote_apply", SynchronousCommit::RemoteApply),
    ];

    fn name(self) -> &'static str {
        SynchronousCommit::ALL.iter().find(|(_, value)| *value == self).map_or("on", |(name, _)| name)
    }
}

/// What a connection is for. Dropped with it, it makes room for the next one.
#[derive(Debug)]
enum Purpose {
    Load(Place),
    /// about a table
    Question {
        _one_at_a_time: OwnedSemaphorePermit,
    },
    /// about an outcome
    Aside,
}

/// An exclusive connection; given back by [`release`](Self::release), thrown away when dropped.
#[derive(Debug)]
pub struct Connection {
    session: Option<Link>,
    purpose: Purpose,
    engine: Bulk,
    /// the one that has begun last
    transaction: Option<Transaction>,
}

impl Bulk {
    /// Prepares the engine; connects to nothing yet.
    ///
    /// # Errors
    /// The URL cannot be read.
    pub fn new(settings: config::Bulk) -> Result<Bulk, DatabaseError> {
        let name = format!("{} bulk", settings.application_name);
        Ok(Bulk(Arc::new(Inner {
            hosts: Hosts::to_write(&settings.url, &name, settings.connect_timeout)?,
            door: Admission::new(Capacity {
                slots: settings.slots,
                table_slots: settings.table_slots,
                memory_bytes: settings.memory_bytes,
                waiting_max: settings.waiting_loads,
                wait: settings.slot_wait,
            }),
            precedence: Precedence::new(settings.query_delay_max),
            settings,
            idle: Mutex::default(),
            asking: Arc::new(Semaphore::new(1)),
            pinging: Semaphore::new(1),
        })))
    }

    /// The most connections that may be open at once beside those of the slots: each load's second one, a question about a table,
    /// one whether the database answers, and one for recovery and old jobs, which take turns.
    pub fn connections_beside(slots: usize) -> usize {
        slots + 3
    }

    /// How long the target database may take to answer what a load has to know before it begins.
    pub fn answer_timeout(&self) -> Duration {
        self.0.settings.connect_timeout
    }

    /// Gives a question, its connection included, as long as the database may take for an answer.
    ///
    /// # Errors
    /// The question's own, or that there was no answer.
    pub async fn in_time<T>(&self, question: impl Future<Output = Result<T, DatabaseError>>) -> Result<T, DatabaseError> {
        in_time(self.answer_timeout(), question).await
    }

    /// What loads owe to queries.
    pub fn precedence(&self) -> &Precedence {
        &self.0.precedence
    }

    /// How full it is now.
    pub fn occupancy(&self) -> Occupancy {
        self.0.door.occupancy()
    }

    /// How many loads may run into one table at a time.
    pub fn table_slots(&self) -> usize {
        self.0.settings.table_slots
    }

    /// Waits a short while for a place for a load: see [`Admission::enter`].
    ///
    /// # Errors
    /// [`SlotError::Saturated`].
    pub async fn enter(&self, table: &str, bytes: u64) -> Result<Place, SlotError> {
        Ok(self.0.door.enter(table, bytes).await?)
    }

    /// A connection for questions about tables, beside the slots, so that an answer does not wait for loads.
    ///
    /// # Errors
    /// [`SlotError::Saturated`] when others ask for long, or the database cannot be reached.
    pub async fn connect_to_ask(&self) -> Result<Connection, SlotError> {
        let permit = tokio::time::timeout(self.0.settings.slot_wait, Arc::clone(&self.0.asking).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            return Err(Shortage::Questions.into());
        };
        let session = self.0.hosts.connect().await.map_err(SlotError::Database)?;
        Ok(self.connection(session, Purpose::Question { _one_at_a_time: permit }))
    }

    /// The target database answers, and could take a load.
    ///
    /// # Errors
    /// [`SlotError::Saturated`] when others ask the same for long, or it does not answer.
    pub async fn ping(&self) -> Result<(), SlotError> {
        let permit = tokio::time::timeout(self.0.settings.slot_wait, self.0.pinging.acquire()).await;
        let Ok(Ok(_one_at_a_time)) = permit else {
            return Err(Shortage::Questions.into());
        };
        // A pooler takes connections even if it has none itself, and a standby takes no loads: so something is asked.
        let answer = self.find_out(async |_| Ok(()));
        self.in_time(answer).await.map_err(SlotError::Database)
    }

    /// Opens a connection for a load that has been let in, or takes one that an earlier load left behind in good order.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn connect(&self, place: Place) -> Result<Connection, DatabaseError> {
        let purpose = Purpose::Load(place);
        while let Some(session) = self.take_idle() {
            // The server may have restarted since: ask before the load relies on it.
            let ping = tokio::time::timeout(PING_TIMEOUT, session.client.batch_execute(""));
            if !session.client.is_closed() && session.is_current() && matches!(ping.await, Ok(Ok(()))) {
                return Ok(self.connection(session, purpose));
            }
            // What has ended this one has most likely ended the others; and whoever owes an answer would stay for as long.
            session.io.abort();
            while let Some(other) = self.take_idle() {
                other.io.abort();
            }
        }
        let session = self.0.hosts.connect().await?;
        Ok(self.connection(session, purpose))
    }

    /// A connection beside the slots, for short questions.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn connect_aside(&self) -> Result<Connection, DatabaseError> {
        let session = self.0.hosts.connect().await?;
        Ok(self.connection(session, Purpose::Aside))
    }

    /// Asks a question about outcomes, on a connection of its own and in one transaction, so that behind a pooler too one server answers it.
    /// It must be one that can know: a standby in recovery may not have heard yet of a COMMIT that was answered, and an old primary
    /// will never hear of one on the new.
    ///
    /// # Errors
    /// The database cannot be asked, or the server that answers is none that can know.
    pub async fn find_out<T>(&self, question: impl AsyncFnOnce(&Connection) -> Result<T, DatabaseError>) -> Result<T, DatabaseError> {
        let connection = self.connect_aside().await?;
        let client = connection.client();
        let begin = async {
            connection.begin_to_ask().await?;
            // What is asked next sees all that was replayed before the recovery ended.
            Ok::<bool, DatabaseError>(client.query_typed_one("SELECT pg_catalog.pg_is_in_recovery()", &[]).await?.try_get(0)?)
        };
        let (position, in_recovery) = tokio::join!(Position::of(client), begin);
        if in_recovery? {
            return Err(unreachable("the server is a standby in recovery, and cannot know what was committed"));
        }
        position?.map(Position::admitted).transpose()?;
        let answer = question(&connection).await?;
        client.batch_execute("ROLLBACK").await?;
        connection.release();
        Ok(answer)
    }

    fn connection(&self, session: Link, purpose: Purpose) -> Connection {
        Connection { session: Some(session), purpose, engine: self.clone(), transaction: None }
    }

    fn take_idle(&self) -> Option<Link> {
        let mut idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop()
    }

    /// Tells the server to stop working for a session. Behind a pooler that is a question to the server, of just that transaction, once the
    /// session is closed: PgBouncer crashes by cancel requests whose client does not wait (1.18 to 1.20; its issues 801, 822, 904).
    async fn stop(&self, session: &Link, transaction: Option<Transaction>) -> Result<(), DatabaseError> {
        if !self.0.settings.behind_pooler {
            return Ok(session.client.cancel_token().cancel_query(self.0.hosts.tls()).await?);
        }
        session.io.abort();
        let Some(Transaction { backend, start_micros: Some(start_micros) }) = transaction else {
            return Ok(());
        };
        let aside = self.connect_aside().await?;
        let sql = "SELECT pg_catalog.pg_cancel_backend(pid) FROM pg_catalog.pg_stat_activity \
                   WHERE pid = $1 AND (extract(epoch FROM xact_start) * 1000000)::bigint = $2";
        aside.client().query_typed(sql, &[(&backend.pid, Type::INT4), (&start_micros, Type::INT8)]).await?;
        aside.release();
        Ok(())
    }
}

async fn which_transaction(client: &Client) -> Result<Transaction, DatabaseError> {
    let row = client
        .query_typed_one(
            "SELECT pid, (extract(epoch FROM backend_start) * 1000000)::bigint, (extract(epoch FROM xact_start) * 1000000)::bigint \
             FROM pg_catalog.pg_stat_activity WHERE pid = pg_catalog.pg_backend_pid()",
            &[],
        )
        .await?;
    let backend = Backend { pid: row.try_get(0)?, start_micros: row.try_get(1)? };
    // Not known where `track_activities` is off.
    Ok(Transaction { backend, start_micros: row.try_get(2)? })
}

/// A standby refuses what a load begins with as something that it does not know.
fn demoted(error: DatabaseError) -> DatabaseError {
    match error.sqlstate.as_deref() {
        Some("0A000") => DatabaseError { sqlstate: Some("25006".to_owned()), ..error },
        _ => error,
    }
}

async fn set_local(client: &Client, name: &str, value: Option<&String>) -> Result<(), DatabaseError> {
    if let Some(value) = value {
        let set = "SELECT pg_catalog.set_config($1, $2, true)";
        client.query_typed(set, &[(&name, Type::TEXT), (value, Type::TEXT)]).await?;
    }
    Ok(())
}

impl Connection {
    /// The driver's client.
    pub fn client(&self) -> &Client {
        // Only `release` and `drop` take the session, and both end the connection's life.
        &self.session.as_ref().expect("a live connection").client
    }

    /// The server process that has the load's transaction.
    pub fn backend(&self) -> Backend {
        self.transaction.expect("a transaction that has begun").backend
    }

    /// What makes a load on this connection rest while queries are late.
    pub fn pacer(&self) -> Pacer {
        self.engine.0.precedence.pacer()
    }

    /// Its server has not been left behind by a failover, as far as anybody in this process has seen.
    pub fn is_current(&self) -> bool {
        self.session.as_ref().is_none_or(Link::is_current)
    }

    /// Tells admission what the load's table is called: see [`Place::settle`].
    pub fn settle(&mut self, table: &str) -> bool {
        match &mut self.purpose {
            Purpose::Load(place) => place.settle(table),
            Purpose::Question { .. } | Purpose::Aside => true,
        }
    }

    /// Opens the load's transaction, in which everything happens that is to be known about the table and done to it. All settings are
    /// local to it, so that the next load starts afresh, and whoever else a pooler gives the connection to; and should a trigger have left
    /// the session in another role or with other settings, that ends here.
    ///
    /// # Errors
    /// 22023 for a setting that the server does not know.
    pub async fn begin(&mut self, reading: &Reading, synchronous_commit: Option<SynchronousCommit>) -> Result<(), DatabaseError> {
        let durable = match synchronous_commit {
            Some(wanted) => format!("SET LOCAL synchronous_commit = {}", wanted.name()),
            // What a load says is committed stays committed, unless the client has said that it need not.
            None => "SELECT pg_catalog.set_config('synchronous_commit', 'on', true) \
                     WHERE pg_catalog.current_setting('synchronous_commit') = 'off'"
                .to_owned(),
        };
        // Behind a pooler the settings of a session are the pooler's.
        let afresh = if self.engine.0.settings.behind_pooler { "" } else { "RESET ALL; " };
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; RESET ROLE; {afresh}\
             SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; \
             SET LOCAL lock_timeout = {}; {durable}",
            self.engine.0.settings.lock_timeout.as_millis(),
        );
        let client = self.client();
        // All of it in one flight.
        let ((), transaction, (), ()) = try_join!(
            async { client.batch_execute(&begin).await.map_err(|error| demoted(error.into())) },
            which_transaction(client),
            set_local(client, "TimeZone", reading.time_zone.as_ref()),
            set_local(client, "DateStyle", reading.date_style.as_ref()),
        )?;
        self.transaction = Some(transaction);
        Ok(())
    }

    /// Opens a transaction for questions only.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn begin_to_ask(&self) -> Result<(), DatabaseError> {
        Ok(self.client().batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY").await?)
    }

    /// Goes on as another role, up to the end of the transaction: PostgreSQL's own grants decide what may be done from here on.
    ///
    /// # Errors
    /// 22023: there is no such role. 42501: the service's own is no member of it.
    pub async fn take_role(&self, role: &str) -> Result<(), DatabaseError> {
        // Even in quotes this means the service's own role.
        if role == "none" {
            let message = "\"none\" is no role".to_owned();
            return Err(DatabaseError { sqlstate: Some("22023".to_owned()), message, ..DatabaseError::default() });
        }
        let set = format!("SET LOCAL ROLE {}", quote_identifier(role));
        Ok(self.client().batch_execute(&set).await?)
    }

    /// Goes on as the service's own role, having made sure that up to here it was the one that was taken: code in the database can change
    /// it.
    ///
    /// # Errors
    /// 42501: it was another role, so nobody knows who was allowed what.
    pub async fn leave_role(&self, role: &str) -> Result<(), DatabaseError> {
        let held = "SELECT current_user::text = $1";
        let held: bool = self.client().query_typed_one(held, &[(&role, Type::TEXT)]).await?.try_get(0)?;
        if !held {
            let message = format!("the load was to run as {role}, and something in it, a trigger for example, has changed that");
            return Err(DatabaseError { sqlstate: Some("42501".to_owned()), message, ..DatabaseError::default() });
        }
        Ok(self.client().batch_execute("RESET ROLE").await?)
    }

    /// Ends the transaction without a trace and gives the connection back: only the request was wrong.
    pub async fn roll_back(self) {
        let rolled_back = tokio::time::timeout(PING_TIMEOUT, self.client().batch_execute("ROLLBACK")).await;
        if matches!(rolled_back, Ok(Ok(()))) {
            self.release();
        }
    }

    /// Gives the connection back for the next load, or closes it in good order if it is none of a load's; no transaction may be open.
    pub fn release(mut self) {
        if let Some(session) = self.session.take()
            && matches!(self.purpose, Purpose::Load(_))
        {
            let mut idle = self.engine.0.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(session);
        }
    }

    /// What a server process does just now. Of one that belongs to another role, or where `track_activities` is off, less can be seen,
    /// and it counts as working.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn sight(&self, backend: Backend) -> Result<Sight, DatabaseError> {
        let row = self
            .client()
            .query_typed_opt(
                &format!(
                    "SELECT coalesce(wait_event_type, '') = 'Client' OR coalesce(state, '') LIKE 'idle%' \
                     FROM pg_catalog.pg_stat_activity WHERE {IS_BACKEND}"
                ),
                &[(&backend.pid, Type::INT4), (&backend.start_micros, Type::INT8)],
            )
            .await?;
        Ok(match row.map(|row| row.try_get(0)).transpose()? {
            None => Sight::Gone,
            Some(true) => Sight::Waiting,
            Some(false) => Sight::Working,
        })
    }

    /// Ends the server process of a dead instance; true once it is gone. One of which this role may not see the start is not known to be
    /// gone (and may not be ended either, which is an error).
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn terminate(&self, backend: Backend) -> Result<bool, DatabaseError> {
        let rows = self
            .client()
            .query_typed(
                &format!("SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE {IS_BACKEND}"),
                &[(&backend.pid, Type::INT4), (&backend.start_micros, Type::INT8)],
            )
            .await?;
        Ok(rows.is_empty())
    }
}

impl Connection {
    /// Text in one of the server's encodings, as UTF-8: with the server's own conversion, which is also that of `COPY … (ENCODING …)`.
    ///
    /// # Errors
    /// 22021 and 22P05: these bytes are no such text. Anything else: they could not be converted at all.
    pub async fn convert_from(&self, bytes: &[u8], encoding: &str) -> Result<String, DatabaseError> {
        let row = self
            .client()
            .query_typed_one("SELECT pg_catalog.convert_from($1, $2)", &[(&bytes, Type::BYTEA), (&encoding, Type::NAME)])
            .await?;
        row.try_get(0).map_err(|_| DatabaseError {
            sqlstate: Some("0A000".to_owned()),
            message: format!("the database does not convert from {encoding} to UTF-8: its own encoding is SQL_ASCII"),
            ..DatabaseError::default()
        })
    }
}

impl Drop for Connection {
    /// Tells the backend to stop, then closes the socket; its place is free only when that is done.
    fn drop(&mut self) {
        let Some(session) = self.session.take() else {
            return;
        };
        let purpose = std::mem::replace(&mut self.purpose, Purpose::Aside);
        let (engine, transaction) = (self.engine.clone(), self.transaction);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            session.io.abort();
            return;
        };
        runtime.spawn(async move {
            let _ = tokio::time::timeout(CANCEL_TIMEOUT, engine.stop(&session, transaction)).await;
            session.io.abort();
            drop(purpose);
        });
    }
}
