//! The keys of the API, in SQL over the OLTP engine. A key is looked up at each request, by its primary key, and remembered by nobody: so a
//! revocation holds from the next request on, on every instance.

use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::limits::Limits;
use super::{AccessError, Denied, Patterns, Principal, Role, Secret};
use crate::engine::oltp::{Oltp, Param};
use crate::error::DatabaseError;

const COLUMNS: &str = "id, name, role, tables, pg_role, requests_per_minute, loads_max, bytes_per_hour";
/// How many they are; a query may ask for more behind them.
const COLUMNS_COUNT: usize = 8;
/// Two columns, which [`check_validity`] looks at.
const VALIDITY: &str = "coalesce(expires_at <= clock_timestamp(), false), revoked_at IS NOT NULL";

/// A key that is to be made.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// what it is for
    pub name: String,
    /// what it may do
    pub role: Role,
    /// which tables it may use
    pub tables: Patterns,
    /// the role of PostgreSQL that its loads run in
    pub pg_role: Option<String>,
    /// how much it may ask for
    pub limits: Limits,
    /// how long it lasts; for ever if not given
    pub lifetime: Option<Duration>,
}

/// A key as it is listed.
#[derive(Debug, Clone)]
pub struct Key {
    /// whose it is, and what that one may do
    pub principal: Principal,
    /// RFC 3339, UTC
    pub created_at: String,
    /// RFC 3339, UTC
    pub expires_at: Option<String>,
    /// `active`, `expired` or `revoked`
    pub state: String,
}

/// The keys.
#[derive(Debug, Clone)]
pub struct Keys(Oltp);

impl Keys {
    /// Those in the metadata that this engine reaches.
    pub fn new(oltp: Oltp) -> Keys {
        Keys(oltp)
    }

    /// The key of that id is valid.
    ///
    /// # Errors
    /// It is not, or it cannot be found out.
    pub async fn is_valid(&self, id: &str) -> Result<(), AccessError> {
        let sql = format!("SELECT {VALIDITY} FROM pgsluice.keys WHERE id = $1");
        let rows = self.0.query(&sql, &[(&id, Type::TEXT)]).await?;
        check_validity(rows.first().ok_or(Denied::Unknown)?, 0)
    }

    /// Whoever holds this secret.
    ///
    /// # Errors
    /// Nobody does any more, or it cannot be found out.
    pub async fn find(&self, secret: &Secret) -> Result<Principal, AccessError> {
        let sql = format!("SELECT {COLUMNS}, {VALIDITY}, secret_sha256 FROM pgsluice.keys WHERE id = $1");
        let rows = self.0.query(&sql, &[(&secret.id(), Type::TEXT)]).await?;
        let row = rows.first().ok_or(Denied::Unknown)?;
        let kept: Vec<u8> = row.try_get(COLUMNS_COUNT + 2).map_err(DatabaseError::from)?;
        if !secret.is(&kept) {
            return Err(Denied::Unknown.into());
        }
        check_validity(row, COLUMNS_COUNT)?;
        Ok(principal(row)?)
    }

    /// Makes a key. This is the only time that it can be seen.
    ///
    /// # Errors
    /// The system has no randomness, or the metadata cannot be written.
    pub async fn create(&self, new: &NewKey) -> Result<Secret, DatabaseError> {
        let secret = Secret::generate().map_err(|message| DatabaseError { message, ..DatabaseError::default() })?;
        let (id, tables) = (secret.id().to_owned(), new.tables.texts());
        let kept = secret.sha256();
        let number = |value: Option<u32>| value.map(u32::cast_signed);
        let limits = new.limits;
        let (requests, loads, bytes) = (
            number(limits.requests_per_minute),
            number(limits.loads),
            limits.bytes_per_hour.map(u64::cast_signed),
        );
        let params: [Param<'_>; 10] = [
            (&id, Type::TEXT),
            (&new.name, Type::TEXT),
            (&kept.as_slice(), Type::BYTEA),
            (&new.role.name(), Type::TEXT),
            (&tables, Type::TEXT_ARRAY),
            (&new.pg_role, Type::TEXT),
            (&requests, Type::INT4),
            (&loads, Type::INT4),
            (&bytes, Type::INT8),
            (&new.lifetime.map(|lifetime| lifetime.as_secs_f64()), Type::FLOAT8),
        ];
        let sql = "INSERT INTO pgsluice.keys (id, name, secret_sha256, role, tables, pg_role, requests_per_minute, loads_max, \
                     bytes_per_hour, expires_at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, clock_timestamp() + make_interval(secs => $10))";
        self.0.query(sql, &params).await?;
        Ok(secret)
    }

    /// Every key, the newest first.
    ///
    /// # Errors
    /// The metadata cannot be read.
    pub async fn list(&self) -> Result<Vec<Key>, DatabaseError> {
        let time = |column| format!("to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')");
        let sql = format!(
            "SELECT {COLUMNS}, {}, {}, CASE WHEN revoked_at IS NOT NULL THEN 'revoked' \
                WHEN expires_at <= clock_timestamp() THEN 'expired' ELSE 'active' END \
             FROM pgsluice.keys ORDER BY keys.created_at DESC, id",
            time("created_at"),
            time("expires_at")
        );
        let rows = self.0.query(&sql, &[]).await?;
        let key = |row: &Row| {
            Ok(Key {
                principal: principal(row)?,
                created_at: row.try_get(COLUMNS_COUNT)?,
                expires_at: row.try_get(COLUMNS_COUNT + 1)?,
                state: row.try_get(COLUMNS_COUNT + 2)?,
            })
        };
        rows.iter().map(key).collect()
    }

    /// Withdraws a key; false when there is none of that id. One that is revoked already stays so.
    ///
    /// # Errors
    /// The metadata cannot be written.
    pub async fn revoke(&self, id: &str) -> Result<bool, DatabaseError> {
        let sql = "UPDATE pgsluice.keys SET revoked_at = coalesce(revoked_at, clock_timestamp()) WHERE id = $1 RETURNING id";
        Ok(!self.0.query(sql, &[(&id, Type::TEXT)]).await?.is_empty())
    }
}

/// The two columns of [`VALIDITY`], from this one on.
fn check_validity(row: &Row, first: usize) -> Result<(), AccessError> {
    let is_set = |index| row.try_get::<_, bool>(index).map_err(DatabaseError::from);
    if is_set(first + 1)? {
        return Err(Denied::Revoked.into());
    }
    if is_set(first)? {
        return Err(Denied::Expired.into());
    }
    Ok(())
}

fn principal(row: &Row) -> Result<Principal, DatabaseError> {
    let role: String = row.try_get(2)?;
    let tables: Vec<String> = row.try_get(3)?;
    // What is not understood must not be taken for a permission.
    let unreadable = |what: String| DatabaseError { message: format!("a key cannot be read: {what}"), ..DatabaseError::default() };
    let number = |index| row.try_get::<_, Option<i32>>(index).map(|value| value.map(i32::unsigned_abs));
    Ok(Principal {
        id: row.try_get(0)?,
        name: row.try_get(1)?,
        role: Role::from_name(&role).ok_or_else(|| unreadable(format!("its role is {role:?}")))?,
        tables: Patterns::parse(&tables).map_err(unreadable)?,
        pg_role: row.try_get(4)?,
        limits: Limits {
            requests_per_minute: number(5)?,
            loads: number(6)?,
            bytes_per_hour: row.try_get::<_, Option<i64>>(7)?.map(i64::unsigned_abs),
        },
    })
}
