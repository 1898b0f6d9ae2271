//! Numbers, strings and the like.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsluice::encode::Kind;
use pgsluice_fuzz::check_field;

fuzz_target!(|input: (u8, &[u8])| {
    let kinds = [
        Kind::Bool,
        Kind::Char,
        Kind::Int2,
        Kind::Int4,
        Kind::Int8,
        Kind::Oid,
        Kind::Float4,
        Kind::Float8,
        Kind::Numeric(None),
        Kind::Numeric(Some((10, 2))),
        Kind::Money,
        Kind::Varchar(Some(3)),
        Kind::Bpchar(Some(3)),
        Kind::Name,
        Kind::Bytea,
        Kind::Uuid,
        Kind::PgLsn,
        Kind::Enum([a.into(), bc.into()].into()),
    ];
    check_field(&kinds[usize::from(input.0) % kinds.len()], input.1);
});
