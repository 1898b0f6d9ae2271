//! Encoders by their families, and what must hold for whatever one of them makes of a text.

use std::net::IpAddr;
use std::sync::LazyLock;

use pgsluice::encode::{Dialect, FieldError, Kind, RowWriter, check_text, text_field};

use crate::{array, composite, wire};

/// Kinds that are read alike, and the sections of tests/data/types with texts for them.
pub struct Family {
    pub kinds: LazyLock<Vec<Kind>>,
    pub sections: &'static [&'static str],
}

pub static SCALARS: Family = Family {
    kinds: LazyLock::new(|| {
        let labels = ["sad", "ok", "with space", "schön"];
        vec![
            Kind::Bool,
            Kind::Char,
            Kind::Int2,
            Kind::Int4,
            Kind::Int8,
            Kind::Oid,
            Kind::Float4,
            Kind::Float8,
            Kind::Money,
            Kind::Uuid,
            Kind::PgLsn,
            Kind::Enum(labels.map(Into::into).into()),
        ]
    }),
    sections: &["bool", "char", "integers", "floats", "money", "uuid", "pg_lsn", "mood"],
};

pub static NUMERIC: Family = Family {
    kinds: LazyLock::new(|| [None, Some((10, 2)), Some((3, -2)), Some((2, 5)), Some((1000, 0))].map(Kind::Numeric).into()),
    sections: &["numeric", "floats"],
};

pub static TEXT: Family = Family {
    kinds: LazyLock::new(|| {
        vec![
            Kind::Text,
            Kind::Varchar(None),
            Kind::Varchar(Some(3)),
            Kind::Bpchar(None),
            Kind::Bpchar(Some(3)),
            Kind::Name,
            Kind::Bytea,
            Kind::Json,
            Kind::Jsonb,
        ]
    }),
    sections: &["strings", "bytea", "json"],
};

pub static TEMPORAL: Family = Family {
    kinds: LazyLock::new(|| vec![Kind::Date, Kind::Time, Kind::Timetz, Kind::Timestamp, Kind::Timestamptz, Kind::Interval]),
    sections: &["date", "time", "timetz", "timestamps", "interval"],
};

pub static NETWORK: Family = Family {
    kinds: LazyLock::new(|| {
        vec![Kind::Inet, Kind::Cidr, Kind::Macaddr, Kind::Macaddr8, Kind::Bit(1), Kind::Bit(5), Kind::Varbit(None), Kind::Varbit(Some(5))]
    }),
    sections: &["inet", "macs", "bits"],
};

pub static CONTAINERS: Family = Family {
    kinds: LazyLock::new(|| {
        vec![
            array(23, Kind::Int4),
            array(25, Kind::Text),
            array(1184, Kind::Timestamptz),
            array(99, composite()),
            composite(),
            Kind::Range(Kind::Int4.into()),
            Kind::Range(Kind::Timestamptz.into()),
            Kind::Range(Kind::Text.into()),
            Kind::Multirange(Kind::Numeric(None).into()),
            array(98, Kind::Range(Kind::Int8.into())),
            array(17, Kind::Bytea),
            Kind::Hstore,
        ]
    }),
    sections: &[
        "pair",
        "int_ranges",
        "time_ranges",
        "text_ranges",
        "num_multiranges",
        "arrays",
        "pair_arrays",
        "range_arrays",
        "bytea_arrays",
        "hstore",
    ],
};

const DIALECT: Dialect = Dialect {
    server_version: 170_000,
    time_zone_is_utc: true,
    money_is_plain: true,
    array_nulls: true,
};

impl Family {
    /// The input's first byte says which of the kinds it is for.
    pub fn check(&self, input: &[u8]) {
        if let Some((which, text)) = input.split_first()
            && check_text(text).is_ok()
        {
            check(&self.kinds[usize::from(*which) % self.kinds.len()], text);
        }
    }
}

/// A text is refused for a reason, left to the server, or encoded; then the value is of the kind, it is what Rust's own parsers make of the
/// text, and its literal is encoded just so again.
fn check(kind: &Kind, text: &[u8]) {
    let value = match encode(kind, text) {
        Ok(value) => value,
        Err(FieldError::Refused { sqlstate, reason }) => return assert!(sqlstate.len() == 5 && !reason.is_empty()),
        Err(FieldError::NotMine) => return,
    };
    check_against_std(kind, text, &value);
    let literal = wire::literal(kind, &value);
    match encode(kind, &literal) {
        Ok(again) => assert!(again == value, "{kind:?}: {} came back as {again:?}, not {value:?}", literal.escape_ascii()),
        // Midnight of a year's last day, another zone's morning of the first: years that only the server reads. And so with many digits.
        Err(FieldError::NotMine) if is_for_the_server(kind, &literal) => {}
        Err(error) => panic!("{kind:?}: {} is not read again: {error:?}", literal.escape_ascii()),
    }
}

fn encode(kind: &Kind, text: &[u8]) -> Result<Vec<u8>, FieldError> {
    let mut row = RowWriter::new(1, 64);
    text_field(kind, DIALECT, text, &mut row)?;
    let field = row.take();
    let (length, value) = field.split_first_chunk::<4>().expect("a length word");
    assert_eq!(u32::from_be_bytes(*length) as usize, value.len(), "length word");
    Ok(value.to_vec())
}

fn check_against_std(kind: &Kind, text: &[u8], value: &[u8]) {
    let Ok(text) = str::from_utf8(text) else { return };
    let expected = match kind {
        Kind::Int2 => text.parse::<i16>().ok().map(|number| number.to_be_bytes().to_vec()),
        Kind::Int4 => text.parse::<i32>().ok().map(|number| number.to_be_bytes().to_vec()),
        Kind::Int8 => text.parse::<i64>().ok().map(|number| number.to_be_bytes().to_vec()),
        Kind::Float4 => text
            .parse::<f32>()
            .ok()
            .filter(|number| !number.is_nan())
            .map(|number| number.to_be_bytes().to_vec()),
        Kind::Float8 => text
            .parse::<f64>()
            .ok()
            .filter(|number| !number.is_nan())
            .map(|number| number.to_be_bytes().to_vec()),
        Kind::Inet | Kind::Cidr => match text.parse() {
            Ok(IpAddr::V4(address)) => Some([&[2, 32, u8::from(*kind == Kind::Cidr), 4][..], &address.octets()].concat()),
            Ok(IpAddr::V6(address)) => Some([&[3, 128, u8::from(*kind == Kind::Cidr), 16][..], &address.octets()].concat()),
            Err(_) => None,
        },
        _ => None,
    };
    assert!(
        expected.as_ref().is_none_or(|expected| expected == value),
        "{kind:?}: {text:?} is {expected:?}, not {value:?}"
    );
}

fn is_for_the_server(kind: &Kind, literal: &[u8]) -> bool {
    let longest = literal.split(|byte| !byte.is_ascii_digit()).map(<[u8]>::len).max();
    match kind {
        Kind::Timestamp | Kind::Timestamptz => literal.ends_with(b" BC") || literal.iter().position(|byte| *byte == b'-') != Some(4),
        Kind::Interval => longest > Some(9),
        Kind::Array(element) => element.kind == Kind::Timestamptz,
        Kind::Range(subtype) => **subtype == Kind::Timestamptz,
        _ => false,
    }
}
