//! The reject report of a job, in SQL: written page by page, and read in the same way.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::engine::oltp::{Oltp, Param};
use crate::error::DatabaseError;
use crate::ingest::rejects::{Reject, Report};

/// Rejects that are written or read at a time; of large ones fewer.
const PAGE_ROWS: usize = 500;
const PAGE_BYTES: usize = 1 << 20;

/// A reject as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Rejected {
    /// its place in the report, from 1
    #[serde(skip)]
    pub number: i32,
    /// the physical line on which its record starts
    pub line: Option<i64>,
    /// its row, in formats without lines
    pub row: Option<i64>,
    /// of the first byte of its record
    pub byte_offset: Option<i64>,
    /// the column that it was turned away for, if it was for one
    pub column: Option<String>,
    /// the column's type
    #[serde(rename = "type")]
    pub type_name: Option<String>,
    /// the field, cut to a length that can be shown
    pub value: Option<String>,
    /// PostgreSQL's code
    pub sqlstate: String,
    /// what is wrong
    pub reason: String,
    /// the record as it came
    #[serde(skip)]
    pub record: Vec<u8>,
}

/// Writes a report down, and its sums into the job. What is there already stays.
pub(super) async fn write(oltp: &Oltp, job: Uuid, report: &Report) -> Result<(), DatabaseError> {
    let mut first = 1;
    for page in pages(&report.rejects) {
        write_page(oltp, job, first, page).await?;
        first += page.len() as i32;
    }
    let sql = "UPDATE pgsluice.jobs SET rows_rejected = $2, rejected_by_column = $3, rejects_header = $4 WHERE id = $1";
    let rejected = report.rejects.len() as i64;
    let params: [Param<'_>; 4] =
        [(&job, Type::UUID), (&rejected, Type::INT8), (&by_column(&report.rejects), Type::JSONB), (&report.header, Type::BYTEA)];
    oltp.query(sql, &params).await.map(|_| ())
}

fn pages(rejects: &[Reject]) -> impl Iterator<Item = &[Reject]> {
    let mut rest = rejects;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |reject: &&Reject| {
            bytes += reject.record.len();
            bytes <= PAGE_BYTES
        };
        let count = rest.iter().take(PAGE_ROWS).take_while(fits).count().max(1);
        let (page, after) = rest.split_at_checked(count)?;
        rest = after;
        Some(page)
    })
}

async fn write_page(oltp: &Oltp, job: Uuid, first: i32, page: &[Reject]) -> Result<(), DatabaseError> {
    let numbers: Vec<i32> = (first..).take(page.len()).collect();
    let errors = || page.iter().map(|reject| &reject.error);
    let number = |value: Option<u64>| value.map(|value| value as i64);
    let lines: Vec<Option<i64>> = errors().map(|error| number(error.position.line)).collect();
    let rows: Vec<Option<i64>> = errors().map(|error| number(error.position.row)).collect();
    let offsets: Vec<Option<i64>> = errors().map(|error| number(error.position.byte_offset)).collect();
    let columns: Vec<Option<&str>> = errors().map(|error| error.position.column.as_deref()).collect();
    let types: Vec<Option<&str>> = errors().map(|error| error.type_name.as_deref()).collect();
    let values: Vec<Option<String>> = errors().map(|error| error.value.as_deref().map(storable)).collect();
    let states: Vec<&str> = errors().map(|error| &*error.sqlstate).collect();
    let reasons: Vec<String> = errors().map(|error| storable(&error.reason)).collect();
    let records: Vec<&[u8]> = page.iter().map(|reject| reject.record.as_slice()).collect();
    let params: [Param<'_>; 11] = [
        (&job, Type::UUID),
        (&numbers, Type::INT4_ARRAY),
        (&lines, Type::INT8_ARRAY),
        (&rows, Type::INT8_ARRAY),
        (&offsets, Type::INT8_ARRAY),
        (&columns, Type::TEXT_ARRAY),
        (&types, Type::TEXT_ARRAY),
        (&values, Type::TEXT_ARRAY),
        (&states, Type::TEXT_ARRAY),
        (&reasons, Type::TEXT_ARRAY),
        (&records, Type::BYTEA_ARRAY),
    ];
    let sql = "INSERT INTO pgsluice.rejects \
               (job_id, number, line, row, byte_offset, column_name, type_name, value, sqlstate, reason, record) \
               SELECT $1, * FROM unnest($2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING";
    oltp.query(sql, &params).await.map(|_| ())
}

/// No text in PostgreSQL holds a NUL.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}

/// How many rows each column was the reason for.
/// How many were turned away for each column.
pub(super) fn by_column(rejects: &[Reject]) -> Value {
    let mut counts = BTreeMap::<&str, u64>::new();
    for column in rejects.iter().filter_map(|reject| reject.error.position.column.as_deref()) {
        *counts.entry(column).or_default() += 1;
    }
    serde_json::to_value(counts).unwrap_or_default()
}

/// The rejects of a job after the one of that number, in their order: at most a page of them, and none at the end.
pub(super) async fn read(oltp: &Oltp, job: Uuid, after: i32) -> Result<Vec<Rejected>, DatabaseError> {
    let sql = "SELECT number, line, row, byte_offset, column_name, type_name, value, sqlstate, reason, record FROM ( \
                 SELECT *, sum(length(record)) OVER (ORDER BY number) - length(record) AS before FROM ( \
                   SELECT * FROM pgsluice.rejects WHERE job_id = $1 AND number > $2 ORDER BY number LIMIT $3) page) page \
               WHERE before < $4 ORDER BY number";
    let (rows_max, bytes_max) = (PAGE_ROWS as i64, PAGE_BYTES as i64);
    let params: [Param<'_>; 4] = [(&job, Type::UUID), (&after, Type::INT4), (&rows_max, Type::INT8), (&bytes_max, Type::INT8)];
    let rows = oltp.query(sql, &params).await?;
    rows.iter().map(|row| Ok(rejected(row)?)).collect()
}

/// What stands before the records of a job's rejects.
pub(super) async fn header(oltp: &Oltp, job: Uuid) -> Result<Option<Vec<u8>>, DatabaseError> {
    let rows = oltp.query("SELECT rejects_header FROM pgsluice.jobs WHERE id = $1", &[(&job, Type::UUID)]).await?;
    Ok(rows.first().map(|row| row.try_get(0)).transpose()?.flatten())
}

fn rejected(row: &Row) -> Result<Rejected, tokio_postgres::Error> {
    Ok(Rejected {
        number: row.try_get(0)?,
        line: row.try_get(1)?,
        row: row.try_get(2)?,
        byte_offset: row.try_get(3)?,
        column: row.try_get(4)?,
        type_name: row.try_get(5)?,
        value: row.try_get(6)?,
        sqlstate: row.try_get(7)?,
        reason: row.try_get(8)?,
        record: row.try_get(9)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Position, RowError};

    fn reject(bytes: usize) -> Reject {
        let error = RowError {
            position: Position::default(),
            value: None,
            type_name: None,
            sqlstate: "22P02".into(),
            reason: "x".into(),
        };
        Reject { error, record: vec![b'x'; bytes] }
    }

    #[test]
    fn pages_hold_every_reject_once() {
        let lengths = |sizes: &[usize]| -> Vec<usize> {
            let rejects: Vec<Reject> = sizes.iter().map(|bytes| reject(*bytes)).collect();
            pages(&rejects).map(<[Reject]>::len).collect()
        };
        assert!(lengths(&[]).is_empty());
        assert_eq!(lengths(&[1; 1001]), [500, 500, 1]);
        assert_eq!(lengths(&[2 << 20, 1, 600_000, 600_000]), [1, 2, 1]);
    }
}
