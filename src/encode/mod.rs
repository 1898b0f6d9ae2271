//! PURE: values in, PostgreSQL's binary COPY format out. No I/O, no runtime.
//!
//! An encoder is chosen by the *target* column first, because the server checks each column's exact wire format and because the
//! target's rules (length, precision, range) decide what is a bad value. A text encoder gives one of three answers: encoded, refused
//! (only where our rule for the type is proven complete) or *not mine*: a literal which the fast parser does not know.
//!
//! Format: PostgreSQL manual, "COPY", Binary Format; the wire form of each type is its `…_recv` function in `src/backend/utils/adt`.

mod array;
mod bits;
mod composite;
mod hstore;
mod interval;
mod kind;
mod literal;
mod network;
mod numeric;
mod quoting;
mod range;
mod row;
mod scalar;
mod shape;
mod show;
mod temporal;
mod text;

pub use kind::{Attribute, Element, Kind, TypeFacts, Types};
pub use literal::{array_element, record_field};
pub use numeric::Decimal;
pub use row::{HEADER, RowWriter, TRAILER, TextWriter};
pub use shape::Shape;
pub use show::show;
pub use temporal::{DATE_EPOCH_DAYS, TIMESTAMP_EPOCH_MICROS, check_date_days, check_timestamp_micros};
pub use text::check_text;

use std::borrow::Cow;

/// Session settings and the server's version, as far as they decide what a text means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// `server_version_num`
    pub server_version: u32,
    /// the session's `TimeZone` is UTC, so that a `timestamptz` literal without a zone can be encoded here
    pub time_zone_is_utc: bool,
    /// `lc_monetary` has a point and two digits after it
    pub money_is_plain: bool,
    /// `array_nulls`: an unquoted NULL in an array is one
    pub array_nulls: bool,
}

/// Why a field was not encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldError {
    /// PostgreSQL refuses this value too.
    Refused {
        /// PostgreSQL's own code for it
        sqlstate: &'static str,
        /// what is wrong, in words of the server's own where it has some
        reason: Cow<'static, str>,
    },
    /// The fast parser does not know this form; PostgreSQL may.
    NotMine,
}

impl FieldError {
    /// A refusal with a SQLSTATE and a reason.
    pub fn refused(sqlstate: &'static str, reason: impl Into<Cow<'static, str>>) -> FieldError {
        FieldError::Refused { sqlstate, reason: reason.into() }
    }

    fn syntax(type_name: &str) -> FieldError {
        FieldError::refused("22P02", format!("invalid input syntax for type {type_name}"))
    }

    fn range(type_name: &str) -> FieldError {
        FieldError::refused("22003", format!("value is out of range for type {type_name}"))
    }
}

/// Encodes one field from its text form, as the type's input function reads it, with its length word.
///
/// `raw` must be UTF-8 without NUL bytes: the caller has checked the whole record.
///
/// # Errors
/// See [`FieldError`]; `row` then holds a part of the field, and is of no more use.
#[inline]
pub fn text_field(kind: &Kind, dialect: Dialect, raw: &[u8], row: &mut RowWriter) -> Result<(), FieldError> {
    match kind {
        Kind::Bool => row.put(&[u8::from(scalar::boolean(raw)?)]),
        Kind::Int2 => row.put(&scalar::int2(raw)?.to_be_bytes()),
        Kind::Int4 => row.put(&scalar::int4(raw)?.to_be_bytes()),
        Kind::Int8 => row.put(&scalar::int8(raw)?.to_be_bytes()),
        Kind::Float4 => row.put(&scalar::float4(raw)?.to_be_bytes()),
        Kind::Float8 => row.put(&scalar::float8(raw)?.to_be_bytes()),
        Kind::Numeric(limit) => row.put_with(|out| numeric::from_text(raw, *limit, out))?,
        Kind::Date => row.put(&temporal::date(raw)?.to_be_bytes()),
        Kind::Time => row.put(&temporal::time(raw)?.to_be_bytes()),
        Kind::Timestamp => row.put(&temporal::timestamp(raw)?.to_be_bytes()),
        Kind::Timestamptz => row.put(&temporal::timestamptz(raw, dialect)?.to_be_bytes()),
        Kind::Uuid => row.put(&scalar::uuid(raw)?),
        Kind::Bytea => row.put_with(|out| text::bytea(raw, out))?,
        Kind::Text | Kind::Json | Kind::Jsonb | Kind::Varchar(_) | Kind::Bpchar(_) => text_value(kind, raw, row)?,
        _ => rarer_field(kind, dialect, raw, row)?,
    }
    Ok(())
}

/// The types that fewer tables have: out of the way of the others.
fn rarer_field(kind: &Kind, dialect: Dialect, raw: &[u8], row: &mut RowWriter) -> Result<(), FieldError> {
    match kind {
        Kind::Char => row.put(&[scalar::char_type(raw)?]),
        Kind::Oid => row.put(&scalar::oid(raw)?.to_be_bytes()),
        Kind::Money if dialect.money_is_plain => row.put(&scalar::money(raw)?.to_be_bytes()),
        Kind::PgLsn => row.put(&scalar::pg_lsn(raw)?.to_be_bytes()),
        Kind::Name => row.put(text::name(raw)?),
        Kind::Timetz => row.put(&temporal::timetz(raw)?),
        Kind::Interval => row.put(&interval::interval(raw)?),
        Kind::Inet => row.put_with(|out| network::inet(raw, out))?,
        Kind::Cidr => row.put_with(|out| network::cidr(raw, out))?,
        Kind::Macaddr => row.put(&network::macaddr(raw)?),
        Kind::Macaddr8 => row.put(&network::macaddr8(raw)?),
        Kind::Bit(length) => row.put_with(|out| bits::bit(raw, *length, out))?,
        Kind::Varbit(max) => row.put_with(|out| bits::varbit(raw, *max, out))?,
        Kind::Hstore => row.put_with(|out| hstore::hstore(raw, out))?,
        Kind::Enum(labels) => {
            text::label(raw, labels)?;
            row.put(raw);
        }
        _ => container(kind, dialect, raw, row)?,
    }
    Ok(())
}

/// Types that hold values of others.
fn container(kind: &Kind, dialect: Dialect, raw: &[u8], row: &mut RowWriter) -> Result<(), FieldError> {
    match kind {
        Kind::Array(element) if dialect.array_nulls => {
            let each = &mut |raw: &[u8], row: &mut RowWriter| text_field(&element.kind, dialect, raw, row);
            array::array(raw, element.oid, element.delimiter, row, each)
        }
        Kind::Composite(attributes) => {
            let oids = attributes.iter().map(|attribute| attribute.oid);
            composite::composite(raw, oids, row, &mut |index, raw, row| text_field(&attributes[index].kind, dialect, raw, row))
        }
        Kind::Range(subtype) => range::range(raw, row, &mut |raw, row| text_field(subtype, dialect, raw, row)),
        Kind::Multirange(subtype) => range::multirange(raw, row, &mut |raw, row| text_field(subtype, dialect, raw, row)),
        _ => Err(FieldError::NotMine),
    }
}

/// Encodes a value of a character type or of JSON: text as it is, within the column's length.
///
/// # Errors
/// 22001 when it is longer than the column allows.
#[inline]
pub fn text_value(kind: &Kind, raw: &[u8], row: &mut RowWriter) -> Result<(), FieldError> {
    match kind {
        Kind::Varchar(Some(max)) => text::check_length(raw, *max, "character varying")?,
        Kind::Bpchar(Some(max)) => text::check_length(raw, *max, "character")?,
        Kind::Jsonb => {
            row.put_prefixed(text::JSONB_VERSION, raw);
            return Ok(());
        }
        _ => {}
    }
    row.put(raw);
    Ok(())
}
