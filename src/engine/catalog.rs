//! What the target table is, by the catalogue of the server that will check it.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::quote_identifier;
use super::types::types;
use crate::encode::{Dialect, Kind, Shape, Types};
use crate::error::{DatabaseError, TableError};

/// What no load may write: the system's tables, and our own.
fn is_reserved(schema: &str, name: &str) -> bool {
    let own = ["jobs", "rejects", "keys", "instances", "ledger", "target", "metadata_migrations", "target_migrations"];
    matches!(schema, "pg_catalog" | "information_schema") || schema == "pgsluice" && own.contains(&name)
}

/// A table as it stands. Two look-ups that are equal mean that nothing of importance to a load has changed in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// `pg_class.oid`
    pub oid: u32,
    /// its schema
    pub schema: String,
    /// its name
    pub name: String,
    /// its columns in their order
    pub columns: Vec<Column>,
    /// no trigger can put a value where a NULL came, so a NULL for a NOT NULL column is an error here and now
    pub null_is_final: bool,
    /// how the session reads text
    pub dialect: Dialect,
    /// the database holds text in UTF-8, as loads send it: nothing has to be converted before an input function sees it
    pub is_utf8: bool,
    /// partitions of it are foreign tables, so that one COMMIT is several, of which each can fail by itself
    pub has_foreign_parts: bool,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// its name
    pub name: String,
    /// its type, as `format_type` shows it
    pub type_name: String,
    /// how it is encoded; `None` for a type without a binary encoder
    pub kind: Option<Kind>,
    /// how its literals are put together, where it goes as text
    pub shape: Shape,
    /// declared NOT NULL
    pub not_null: bool,
    /// `GENERATED ALWAYS AS (…) STORED`: nobody may write it
    pub generated: bool,
    /// gets a value by itself when none is given: a default, an identity, a domain's default
    pub has_default: bool,
    /// takes NULL: neither the column nor its domain is NOT NULL
    pub nullable: bool,
    /// the default, as an SQL expression
    pub default: Option<String>,
    /// `ALWAYS` or `BY DEFAULT`; COPY takes a value for either
    pub identity: Option<String>,
    type_oid: u32,
    typmod: i32,
}

impl Table {
    /// A table that is on no server, for what reads bodies without one.
    #[cfg(any(test, fuzzing))]
    pub fn of_columns(columns: &[(&str, Option<Kind>)]) -> Table {
        let column = |(name, kind): &(&str, Option<Kind>)| Column {
            name: (*name).to_owned(),
            type_name: format!("{kind:?}"),
            kind: kind.clone(),
            shape: kind.as_ref().map_or(Shape::Opaque, Shape::of_kind),
            not_null: false,
            generated: false,
            has_default: false,
            nullable: true,
            default: None,
            identity: None,
            type_oid: 0,
            typmod: -1,
        };
        Table {
            oid: 0,
            schema: "public".to_owned(),
            name: "t".to_owned(),
            columns: columns.iter().map(column).collect(),
            null_is_final: true,
            dialect: Dialect {
                server_version: 170_000,
                time_zone_is_utc: true,
                money_is_plain: true,
                array_nulls: true,
            },
            is_utf8: true,
            has_foreign_parts: false,
        }
    }

    /// `schema.name`, for people and for the jobs' metadata.
    pub fn display_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// `"schema"."name"`, for SQL.
    pub fn quoted_name(&self) -> String {
        format!("{}.{}", quote_identifier(&self.schema), quote_identifier(&self.name))
    }
}

/// Finds the table that is called `name` or `schema.name`. The name is a value and never a part of an SQL text.
///
/// # Errors
/// See [`TableError`]: not there, ambiguous, not for this role, or not a thing that COPY can load.
pub async fn find(client: &Client, name: &str) -> Result<Table, TableError> {
    // No name in PostgreSQL holds a NUL, and no text sent to it may.
    if name.contains('\0') {
        return Err(TableError::NotFound(name.to_owned()));
    }
    let rows = client
        .query_typed(
            "SELECT c.oid, n.nspname::text, c.relname::text \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') \
               AND (n.nspname::text || '.' || c.relname::text = $1 \
                    OR c.relname::text = $1 AND pg_catalog.pg_table_is_visible(c.oid))",
            &[(&name, Type::TEXT)],
        )
        .await
        .map_err(DatabaseError::from)?;
    let oid: u32 = match rows.as_slice() {
        [] => return Err(TableError::NotFound(name.to_owned())),
        [row] => row.try_get(0).map_err(DatabaseError::from)?,
        _ => return Err(TableError::Ambiguous(name.to_owned())),
    };
    match look_up(client, oid).await? {
        Some(table) => Ok(table),
        None => Err(TableError::NotFound(name.to_owned())),
    }
}

/// Reads a table by its object identifier; `None` when it is gone.
///
/// # Errors
/// See [`TableError`].
pub async fn look_up(client: &Client, oid: u32) -> Result<Option<Table>, TableError> {
    let facts = client
        .query_typed_opt(
            "SELECT n.nspname::text, c.relname::text, c.relkind::text, \
                    pg_catalog.has_table_privilege(c.oid, 'INSERT'), \
                    pg_catalog.row_security_active(c.oid), \
                    c.relkind = 'p' OR EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND t.tgtype & 7 = 7), \
                    pg_catalog.pg_is_in_recovery(), \
                    pg_catalog.current_setting('server_version_num')::int4, \
                    upper(pg_catalog.current_setting('TimeZone')) IN ('UTC', 'ETC/UTC', 'UCT', 'ETC/UCT', 'ZULU', 'GMT', 'ETC/GMT'), \
                    pg_catalog.current_setting('lc_monetary') ~ '^(C|POSIX|C\\.(UTF-8|utf8)|en_US(\\.(UTF-8|utf8))?)$', \
                    pg_catalog.current_setting('array_nulls')::bool, \
                    pg_catalog.current_setting('server_encoding') = 'UTF8', \
                    c.relkind = 'p' AND EXISTS (SELECT FROM pg_catalog.pg_partition_tree(c.oid) part \
                      JOIN pg_catalog.pg_class there ON there.oid = part.relid WHERE there.relkind = 'f') \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1",
            &[(&oid, Type::OID)],
        )
        .await
        .map_err(DatabaseError::from)?;
    let Some(facts) = facts else {
        return Ok(None);
    };
    let mut table = read_facts(&facts, oid)?;
    table.columns = columns(client, oid).await?;
    Ok(Some(table))
}

fn read_facts(row: &Row, oid: u32) -> Result<Table, TableError> {
    let get_text = |index| row.try_get::<_, String>(index).map_err(DatabaseError::from);
    let get_flag = |index| row.try_get::<_, bool>(index).map_err(DatabaseError::from);
    let table = Table {
        oid,
        schema: get_text(0)?,
        name: get_text(1)?,
        columns: Vec::new(),
        null_is_final: !get_flag(5)?,
        dialect: Dialect {
            server_version: row.try_get::<_, i32>(7).map_err(DatabaseError::from)?.unsigned_abs(),
            time_zone_is_utc: get_flag(8)?,
            money_is_plain: get_flag(9)?,
            array_nulls: get_flag(10)?,
        },
        is_utf8: get_flag(11)?,
        has_foreign_parts: get_flag(12)?,
    };
    let shown = table.display_name();
    if is_reserved(&table.schema, &table.name) {
        return Err(TableError::NotFound(shown));
    }
    let relkind = get_text(2)?;
    if relkind != "r" && relkind != "p" {
        let reason = format!("{shown} is not a table, so COPY cannot load it");
        return Err(TableError::Unsupported(reason));
    }
    if !get_flag(3)? {
        return Err(TableError::Forbidden(shown));
    }
    if get_flag(4)? {
        let reason =
            format!("row-level security is active on {shown} for the role that loads, and PostgreSQL refuses COPY FROM on such tables");
        return Err(TableError::Unsupported(reason));
    }
    if get_flag(6)? {
        let reason = "the target database is a standby and takes no writes".to_owned();
        return Err(TableError::Unsupported(reason));
    }
    Ok(table)
}

async fn columns(client: &Client, oid: u32) -> Result<Vec<Column>, DatabaseError> {
    let rows = client
        .query_typed(
            "SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), a.atttypid, a.atttypmod, a.attnotnull, \
                    a.attgenerated <> '', a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL, \
                    NOT (a.attnotnull OR t.typnotnull), \
                    CASE WHEN a.attgenerated = '' THEN coalesce(pg_catalog.pg_get_expr(d.adbin, d.adrelid), t.typdefault) END, \
                    CASE a.attidentity WHEN 'a' THEN 'ALWAYS' WHEN 'd' THEN 'BY DEFAULT' END \
             FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
                  LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
             WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            &[(&oid, Type::OID)],
        )
        .await?;
    let plain = rows.iter().map(|row| column(row, &Types::new())).collect::<Result<Vec<Column>, _>>()?;
    // Most tables are made of built-in types, and need no second question.
    if plain.iter().all(|column| column.kind.is_some()) {
        return Ok(plain);
    }
    let types = types(client, oid).await?;
    rows.iter().map(|row| Ok(column(row, &types)?)).collect()
}

fn column(row: &Row, types: &Types) -> Result<Column, tokio_postgres::Error> {
    let (type_oid, typmod) = (row.try_get(2)?, row.try_get(3)?);
    Ok(Column {
        name: row.try_get(0)?,
        type_name: row.try_get(1)?,
        kind: Kind::resolve(type_oid, typmod, types),
        shape: Shape::of(type_oid, typmod, types),
        not_null: row.try_get(4)?,
        generated: row.try_get(5)?,
        has_default: row.try_get(6)?,
        nullable: row.try_get(7)?,
        default: row.try_get(8)?,
        identity: row.try_get(9)?,
        type_oid,
        typmod,
    })
}
