//! What the fuzz targets share. An input is a few bytes of settings and then the text or the body itself, so that a corpus can be
//! written by hand, and a seed is what it looks like.

pub mod bodies;
pub mod codings;
pub mod families;
pub mod guarded;
pub mod wire;

use std::sync::LazyLock;

use pgsluice::config::{Limits, Spool};
use pgsluice::encode::{Attribute, Element, Kind};

/// Small limits, so that they are run into.
pub static LIMITS: LazyLock<Limits> = LazyLock::new(|| Limits {
    decoded_bytes_max: 1 << 20,
    record_bytes_max: 4 << 10,
    arrow_message_bytes_max: 1 << 20,
    parquet_memory_bytes_max: 4 << 20,
    spool: Spool { dir: std::env::temp_dir(), ..Spool::default() },
    ..Limits::default()
});

pub fn array(oid: u32, kind: Kind) -> Kind {
    Kind::Array(Element { oid, delimiter: b',', kind }.into())
}

pub fn composite() -> Kind {
    let attribute = |name: &str, oid, kind| Attribute { name: name.to_owned(), oid, kind };
    Kind::Composite([attribute("x", 23, Kind::Int4), attribute("y", 25, Kind::Text)].into())
}
