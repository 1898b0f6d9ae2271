//! The connection budget: what all pools of all instances may open at once, against what the server should be asked for. Found out at the
//! start, and not in the night when every pool is full.

use std::time::Duration;

use super::hosts::Hosts;
use super::in_time;
use crate::error::DatabaseError;

/// The part of `max_connections` that pools may take; the rest is for people, monitoring and backups.
const PART_PERCENT: u64 = 80;

/// So many connections, and what for.
pub type Part = (u64, &'static str);

/// What one instance may open at once on one database.
#[derive(Debug, Clone)]
pub struct Demand {
    /// `postgresql://…`
    pub url: String,
    /// by what may open them
    pub parts: Vec<Part>,
    /// the service can do without it: if it is not there, nothing is held against it
    pub dispensable: bool,
}

/// Why the pools do not fit.
#[derive(Debug, thiserror::Error)]
pub enum BudgetError {
    /// the server could not be asked
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// more than there is room for
    #[error("{0}")]
    Over(String),
}

/// A server's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    max_connections: u64,
    superuser_reserved: u64,
    /// from PostgreSQL 16 on
    reserved: u64,
}

/// Holds that so many instances with these demands fit into the servers that the URLs lead to.
///
/// # Errors
/// [`BudgetError::Over`] with the arithmetic, for the first server on which they do not.
pub async fn check(demands: Vec<Demand>, instances: u64, connect_timeout: Duration) -> Result<(), BudgetError> {
    let mut servers: Vec<(i64, Room, Vec<Part>)> = Vec::new();
    for Demand { url, parts, dispensable } in demands {
        let hosts = if dispensable { Hosts::to_read } else { Hosts::to_write };
        let (server, room) = match ask(hosts(&url, "pgsluice start", connect_timeout)?, connect_timeout).await {
            Err(error) if dispensable => {
                tracing::warn!(%error, "the read replica does not answer: its connections are not in the budget");
                continue;
            }
            asked => asked?,
        };
        // Two databases of one server share its connections.
        match servers.iter_mut().find(|(known, ..)| *known == server) {
            Some((.., all)) => all.extend(parts),
            None => servers.push((server, room, parts)),
        }
    }
    for (_, room, parts) in &servers {
        room.holds(parts, instances).map_err(BudgetError::Over)?;
    }
    Ok(())
}

const ROOM: &str = "SELECT (extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint, \
                pg_catalog.current_setting('max_connections')::int8, \
                pg_catalog.current_setting('superuser_reserved_connections')::int8, \
                coalesce(pg_catalog.current_setting('reserved_connections', true)::int8, 0)";

/// Which server it is, told by the moment of its start, and what it has room for.
async fn ask(hosts: Hosts, connect_timeout: Duration) -> Result<(i64, Room), DatabaseError> {
    let asking = async { Ok(hosts.connect().await?.client.query_typed_one(ROOM, &[]).await?) };
    let row = in_time(connect_timeout, asking).await?;
    let number = |index| row.try_get::<_, i64>(index).map(i64::unsigned_abs);
    let room = Room {
        max_connections: number(1)?,
        superuser_reserved: number(2)?,
        reserved: number(3)?,
    };
    Ok((row.try_get(0)?, room))
}

impl Room {
    fn connections(self) -> u64 {
        (self.max_connections * PART_PERCENT / 100).saturating_sub(self.superuser_reserved + self.reserved)
    }

    fn holds(self, parts: &[Part], instances: u64) -> Result<(), String> {
        let wanted = parts.iter().map(|(connections, _)| connections).sum::<u64>() * instances;
        let room = self.connections();
        if wanted <= room {
            return Ok(());
        }
        let parts: Vec<String> = parts.iter().map(|(connections, what)| format!("{what} {connections}")).collect();
        let parts = parts.join(" + ");
        let all = if instances == 1 { parts } else { format!("({parts}) × {instances} instances") };
        let Room { max_connections, superuser_reserved, reserved } = self;
        let reserved = if reserved == 0 { String::new() } else { format!(" − reserved_connections {reserved}") };
        Err(format!(
            "the pools may open {wanted} connections ({all}), and PostgreSQL has room for {room} (max_connections {max_connections} × \
             0.8 − superuser_reserved_connections {superuser_reserved}{reserved}): make the pools smaller, raise max_connections, or pass \
             --allow-oversubscription"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_connections_count_and_a_tiny_server_has_no_room() {
        let room = Room { max_connections: 101, superuser_reserved: 3, reserved: 5 };
        assert_eq!(room.connections(), 72);
        assert_eq!(room.holds(&[(12, "--pool-size")], 6), Ok(()));
        let refusal = room.holds(&[(12, "--pool-size"), (1, "--bulk-slots")], 6).unwrap_err();
        for text in [
            "open 78 connections ((--pool-size 12 + --bulk-slots 1) × 6 instances)",
            "72 (max_connections 101 × 0.8 − superuser_reserved_connections 3 − reserved_connections 5)",
        ] {
            assert!(refusal.contains(text), "{refusal}");
        }
        let tiny = Room { max_connections: 5, superuser_reserved: 3, reserved: 5 };
        assert_eq!(tiny.connections(), 0);
    }
}
