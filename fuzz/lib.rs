//! What the fuzz targets share: a table of many types, and what must hold for whatever comes out.

use std::sync::Arc;

use pgsluice::config::Limits;
use pgsluice::encode::{Attribute, Dialect, Element, FieldError, Kind, RowWriter, check_text, text_field};
use pgsluice::engine::catalog::Table;
use pgsluice::ingest::Format;
use pgsluice::ingest::apart::{check_binary, read};

pub const DIALECT: Dialect = Dialect {
    server_version: 170_000,
    time_zone_is_utc: true,
    money_is_plain: true,
    array_nulls: true,
};

/// Small limits, so that they are run into.
pub fn limits() -> Limits {
    Limits { record_bytes_max: 4 << 10, arrow_message_bytes_max: 1 << 20, ..Limits::default() }
}

pub fn table() -> Table {
    Table::of_columns(&[
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
    ])
}

pub fn array(oid: u32, kind: Kind) -> Kind {
    Kind::Array(Arc::new(Element { oid, delimiter: b',', kind }))
}

pub fn composite() -> Kind {
    let attribute = |name: &str, oid, kind| Attribute { name: name.to_owned(), oid, kind };
    Kind::Composite([attribute("x", 23, Kind::Int4), attribute("y", 25, Kind::Text)].into())
}

/// However the body is cut, the same comes out, and it is what the format allows.
pub fn check_body(format: &Format, body: &[u8], cut: usize) {
    let (table, limits) = (table(), limits());
    let whole = read(&table, format.clone(), &limits, [body]);
    check_binary(&whole.binary);
    let (front, back) = body.split_at(cut.min(body.len()));
    let pieces = read(&table, format.clone(), &limits, [front, back]);
    assert_eq!((&whole.refused, whole.rows), (&pieces.refused, pieces.rows), "cut at {cut}");
    if whole.refused.is_none() {
        assert_eq!(whole, pieces, "cut at {cut}");
    }
}

/// Whatever the field is, it is encoded to what its length word says, refused, or left to the server.
pub fn check_field(kind: &Kind, raw: &[u8]) {
    if check_text(raw).is_err() {
        return;
    }
    let mut row = RowWriter::new(1, 64);
    row.begin();
    match text_field(kind, DIALECT, raw, &mut row) {
        Ok(()) => assert_eq!(check_binary(&[(vec![0], row.take())]), 1),
        Err(FieldError::Refused { sqlstate, reason }) => assert!(sqlstate.len() == 5 && !reason.is_empty()),
        Err(FieldError::NotMine) => {}
    }
}
