//! The instances that share the metadata, and what each has open.

use std::time::Instant;

use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::Store;
use crate::engine::bulk::Backend;
use crate::engine::oltp::Param;
use crate::error::DatabaseError;
use crate::jobs::instance::Identity;

/// A job that is not at its end although nobody works on it.
#[derive(Debug, Clone, Copy)]
pub(in crate::jobs) struct Orphan {
    pub(in crate::jobs) id: Uuid,
    pub(in crate::jobs) backend: Backend,
}

impl Store {
    /// Jobs of this instance that somebody wants stopped.
    pub(in crate::jobs) async fn cancel_requests(&self, instance: Uuid) -> Result<Vec<Uuid>, DatabaseError> {
        let rows = self
            .oltp
            .query(
                "SELECT id FROM pgsluice.jobs WHERE instance = $1 AND state = 'running' AND cancel_requested",
                &[(&instance, Type::UUID)],
            )
            .await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Says that this instance lives.
    pub(in crate::jobs) async fn heartbeat(&self, me: &Identity) -> Result<(), DatabaseError> {
        let params: [Param<'_>; 4] = [(&me.id, Type::UUID), (&me.host, Type::TEXT), (&me.pid, Type::INT4), (&me.process_start, Type::INT8)];
        let began = Instant::now();
        let sql = "INSERT INTO pgsluice.instances (id, host, pid, process_start) VALUES ($1, $2, $3, $4) \
                   ON CONFLICT (id) DO UPDATE SET heartbeat_at = clock_timestamp() \
                   RETURNING (extract(epoch FROM heartbeat_at) * 1000000)::bigint";
        let rows = self.oltp.query(sql, &params).await?;
        if let (Some(replica), Some(row)) = (self.replica(), rows.first()) {
            replica.written(row.try_get(0)?, began);
        }
        Ok(())
    }

    /// Every other instance, and whether it has been silent for longer than its lease; and those that are on no list and still have open
    /// jobs: taken for dead and forgotten, then back for a moment.
    pub(in crate::jobs) async fn others(&self, me: Uuid, lease_seconds: f64) -> Result<(Vec<(Identity, bool)>, Vec<Uuid>), DatabaseError> {
        let known = "SELECT id, host, pid, process_start, heartbeat_at < clock_timestamp() - make_interval(secs => $2) \
                     FROM pgsluice.instances WHERE id <> $1";
        let unknown = "SELECT DISTINCT instance FROM pgsluice.jobs WHERE state IN ('running', 'committing') AND instance <> $1 \
                         AND instance NOT IN (SELECT id FROM pgsluice.instances)";
        let params: [Param<'_>; 2] = [(&me, Type::UUID), (&lease_seconds, Type::FLOAT8)];
        let (known, unknown) = self.oltp.query_both((known, &params), (unknown, &params[..1])).await?;
        let identity = |row: &Row| {
            let identity = Identity {
                id: row.try_get(0)?,
                host: row.try_get(1)?,
                pid: row.try_get(2)?,
                process_start: row.try_get(3)?,
            };
            Ok((identity, row.try_get(4)?))
        };
        let known = known.iter().map(identity).collect::<Result<_, DatabaseError>>()?;
        let unknown = unknown.iter().map(|row| Ok(row.try_get(0)?)).collect::<Result<_, DatabaseError>>()?;
        Ok((known, unknown))
    }

    /// Forgets an instance, unless it has jobs that are not at their end.
    pub(in crate::jobs) async fn forget(&self, instance: Uuid) -> Result<(), DatabaseError> {
        self.run(
            "DELETE FROM pgsluice.instances i WHERE id = $1 AND NOT EXISTS \
               (SELECT FROM pgsluice.jobs j WHERE j.instance = i.id AND j.state IN ('running', 'committing'))",
            &[(&instance, Type::UUID)],
        )
        .await
    }

    /// The jobs of an instance that are not at their end, as far as this target's ledger can tell of them.
    pub(in crate::jobs) async fn unfinished(&self, instance: Uuid) -> Result<Vec<Orphan>, DatabaseError> {
        let rows = self
            .oltp
            .query(
                "SELECT id, backend_pid, backend_start FROM pgsluice.jobs \
                 WHERE instance = $1 AND target = $2 AND state IN ('running', 'committing')",
                &[(&instance, Type::UUID), (&self.target, Type::UUID)],
            )
            .await?;
        rows.iter()
            .map(|row| {
                let backend = Backend { pid: row.try_get(1)?, start_micros: row.try_get(2)? };
                Ok(Orphan { id: row.try_get(0)?, backend })
            })
            .collect()
    }
}
