//! The faults: each with its name, what it does, when it can strike, and what a client may be told because of it.

use std::time::Duration;

use fastrand::Rng;

use crate::plan::{Moment, Way};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    ServiceKilled,
    InstanceKilled,
    InstancePaused,
    ServiceTerminated,
    BackendKilled,
    BackendTerminated,
    QueryCancelled,
    ServerRestarted,
    StatementTimeout,
    TableLocked,
    ConnectionsExhausted,
    DiskFull,
    LinkCut,
    LinkDelayed,
    LinkBlackHoled,
    CommitAnswerSwallowed,
    ClientReset,
    ClientClosed,
    ClientSilent,
    BodyCut,
    BodyTruncated,
    BodyFlipped,
    BodyGarbled,
}

/// Everything a load can be refused with because PostgreSQL or the way to it is in trouble.
const DATABASE: &[&str] =
    &["database-unavailable", "metadata-unavailable", "database-timeout", "interrupted", "saturated", "outcome-pending"];

impl Fault {
    pub(crate) const ALL: [Fault; 23] = [
        Fault::ServiceKilled,
        Fault::BodyFlipped,
        Fault::LinkCut,
        Fault::BackendKilled,
        Fault::ClientReset,
        Fault::CommitAnswerSwallowed,
        Fault::BodyTruncated,
        Fault::InstanceKilled,
        Fault::QueryCancelled,
        Fault::TableLocked,
        Fault::LinkDelayed,
        Fault::ServerRestarted,
        Fault::BodyGarbled,
        Fault::ConnectionsExhausted,
        Fault::ClientSilent,
        Fault::LinkBlackHoled,
        Fault::BackendTerminated,
        Fault::DiskFull,
        Fault::ServiceTerminated,
        Fault::BodyCut,
        Fault::StatementTimeout,
        Fault::InstancePaused,
        Fault::ClientClosed,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Fault::ServiceKilled => "service-killed",
            Fault::InstanceKilled => "instance-killed",
            Fault::InstancePaused => "instance-paused",
            Fault::ServiceTerminated => "service-terminated",
            Fault::BackendKilled => "backend-killed",
            Fault::BackendTerminated => "backend-terminated",
            Fault::QueryCancelled => "query-cancelled",
            Fault::ServerRestarted => "server-restarted",
            Fault::StatementTimeout => "statement-timeout",
            Fault::TableLocked => "table-locked",
            Fault::ConnectionsExhausted => "connections-exhausted",
            Fault::DiskFull => "disk-full",
            Fault::LinkCut => "link-cut",
            Fault::LinkDelayed => "link-delayed",
            Fault::LinkBlackHoled => "link-black-holed",
            Fault::CommitAnswerSwallowed => "commit-answer-swallowed",
            Fault::ClientReset => "client-reset",
            Fault::ClientClosed => "client-closed",
            Fault::ClientSilent => "client-silent",
            Fault::BodyCut => "body-cut",
            Fault::BodyTruncated => "body-truncated",
            Fault::BodyFlipped => "body-flipped",
            Fault::BodyGarbled => "body-garbled",
        }
    }

    pub(crate) fn about(self) -> &'static str {
        match self {
            Fault::ServiceKilled => "kill -9 of the service, which is then started again",
            Fault::InstanceKilled => "two instances on the same metadata: kill -9 of the one that loads, the retry goes to the other",
            Fault::InstancePaused => "two instances: the one that loads stands still, is taken for dead perhaps, and goes on later",
            Fault::ServiceTerminated => "SIGTERM with a short grace, and a new one is started",
            Fault::BackendKilled => "kill -9 of a server process, at which PostgreSQL ends all of them",
            Fault::BackendTerminated => "pg_terminate_backend",
            Fault::QueryCancelled => "pg_cancel_backend",
            Fault::ServerRestarted => "PostgreSQL stopped in immediate mode and started again after a while",
            Fault::StatementTimeout => "a statement_timeout of some milliseconds for all sessions",
            Fault::TableLocked => "ACCESS EXCLUSIVE held on the table, the ledger or the jobs by another session",
            Fault::ConnectionsExhausted => "max_connections reached by others, some of the service's own ended",
            Fault::DiskFull => "no room in the table's tablespace",
            Fault::LinkCut => "all connections to PostgreSQL closed, new ones too for a while",
            Fault::LinkDelayed => "every piece to and from PostgreSQL some milliseconds late",
            Fault::LinkBlackHoled => "nothing passes to and from PostgreSQL, and nobody is told",
            Fault::CommitAnswerSwallowed => "COMMIT reaches PostgreSQL, the answer does not come; or the connection ends instead",
            Fault::ClientReset => "the client resets its connection",
            Fault::ClientClosed => "the client closes its connection, or its half of it",
            Fault::ClientSilent => "the client sends nothing any more and leaves the connection open",
            Fault::BodyCut => "the body ends before its announced length, or without its last chunk",
            Fault::BodyTruncated => "the end of the body is missing, and its length says so not",
            Fault::BodyFlipped => "one bit of the body is another, under a checksum or a digest",
            Fault::BodyGarbled => "a text value that is no UTF-8",
        }
    }

    pub(crate) fn by_name(name: &str) -> Option<Fault> {
        Fault::ALL.into_iter().find(|fault| fault.name() == name)
    }

    /// Whether a client may be told this because of it.
    pub(crate) fn explains(self, status: u16, problem: &str) -> bool {
        let problems: &[&str] = match self {
            Fault::ServiceKilled | Fault::InstanceKilled | Fault::ClientReset => &[],
            // Another has resolved its job, or has loaded meanwhile what it was asked to load.
            Fault::InstancePaused => return matches!(problem, "cancelled" | "idempotency-key-in-progress") || DATABASE.contains(&problem),
            Fault::ServiceTerminated => &["shutdown", "shutting-down"],
            Fault::BackendKilled | Fault::BackendTerminated | Fault::ServerRestarted | Fault::QueryCancelled => DATABASE,
            Fault::ConnectionsExhausted => DATABASE,
            // DDL in another session, too.
            Fault::StatementTimeout | Fault::TableLocked => return problem == "table-changed" || DATABASE.contains(&problem),
            Fault::LinkCut | Fault::LinkDelayed | Fault::LinkBlackHoled | Fault::CommitAnswerSwallowed => DATABASE,
            Fault::DiskFull => &["disk-full"],
            Fault::ClientClosed | Fault::BodyCut => &["truncated-body", "client-disconnected"],
            Fault::ClientSilent => &["client-stalled"],
            // Any of the decoders may be the first to see it.
            Fault::BodyTruncated | Fault::BodyFlipped | Fault::BodyGarbled => return matches!(status, 400 | 413 | 422),
        };
        problems.contains(&problem)
    }

    /// A damaged body must not be loaded.
    pub(crate) fn never_succeeds(self) -> bool {
        matches!(self, Fault::BodyCut | Fault::BodyTruncated | Fault::BodyFlipped | Fault::BodyGarbled)
    }

    /// When it strikes.
    pub(crate) fn moment(self, rng: &mut Rng, way: Way) -> Moment {
        let body = Moment::Body(rng.f64());
        let any = [
            Moment::Before,
            body,
            body,
            Moment::After(Duration::from_millis(rng.u64(..150))),
            Moment::BodySent,
            Moment::Ledger,
            Moment::Committing,
            Moment::CommitAsked,
            Moment::CommitSent,
            Moment::CommitDone,
            Moment::Recording,
            Moment::Answered,
        ];
        let moment = any[rng.usize(..any.len())];
        let is_clients = matches!(self, Fault::ClientReset | Fault::ClientClosed);
        match self {
            // There has to be a client, and one that has no answer yet.
            _ if is_clients && matches!(moment, Moment::Before | Moment::Answered) => body,
            Fault::CommitAnswerSwallowed => [Moment::CommitSent, Moment::CommitDone][rng.usize(..2)],
            Fault::BodyCut | Fault::BodyTruncated | Fault::BodyFlipped | Fault::BodyGarbled => body,
            Fault::ClientSilent => body,
            // What fills a disk or locks a table early is felt; later, only sometimes.
            Fault::DiskFull if rng.bool() => Moment::Before,
            Fault::TableLocked | Fault::ConnectionsExhausted if rng.bool() => [Moment::Before, body][rng.usize(..2)],
            Fault::LinkBlackHoled if way == Way::Target && rng.bool() => Moment::CommitAsked,
            _ => moment,
        }
    }
}
