//! Bodies for a table of many types.

use std::sync::LazyLock;

use pgsluice::encode::Kind;
use pgsluice::engine::catalog::Table;
use pgsluice::ingest::Format;
use pgsluice::ingest::apart::{check_binary, read};

use crate::{LIMITS, array, composite};

/// A table whose rows go as binary, and one with a column that only the server can read.
static TABLES: LazyLock<[Table; 2]> = LazyLock::new(|| {
    let columns = [
        ("a", Some(Kind::Int4)),
        ("b", Some(Kind::Text)),
        ("c", Some(Kind::Timestamptz)),
        ("d", Some(Kind::Numeric(Some((10, 2))))),
        ("e", Some(array(23, Kind::Int4))),
        ("f", Some(Kind::Jsonb)),
        ("g", Some(Kind::Float8)),
        ("h", Some(composite())),
        ("i", Some(Kind::Bytea)),
        ("j", Some(Kind::Uuid)),
        ("k", Some(Kind::Interval)),
        ("l", None),
    ];
    [Table::of_columns(&columns[..columns.len() - 1]), Table::of_columns(&columns)]
});

/// However the body is cut, the same comes out, and it is what the format allows.
pub fn check(format: &Format, text: bool, body: &[u8], cut: [u8; 2]) {
    let table = &TABLES[usize::from(text)];
    let (front, back) = body.split_at(usize::from(u16::from_le_bytes(cut)) % (body.len() + 1));
    let whole = read(table, format.clone(), &LIMITS, [body]);
    let rows = check_binary(&whole.binary);
    let lines = whole.text.iter().filter(|byte| **byte == b'\n').count() as u64;
    // What is not finished when a body is refused is not sent on.
    assert!(
        rows + lines == whole.rows || whole.refused.is_some() && rows + lines <= whole.rows,
        "{rows} rows and {lines} lines"
    );
    let pieces = read(table, format.clone(), &LIMITS, [front, back]);
    assert_eq!((&whole.refused, whole.rows), (&pieces.refused, pieces.rows), "cut at {}", front.len());
    if whole.refused.is_none() {
        assert_eq!(whole, pieces, "cut at {}", front.len());
    }
}
