//! Types that hold others.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsluice::encode::Kind;
use pgsluice_fuzz::{array, check_field, composite};

fuzz_target!(|input: (u8, &[u8])| {
    let kinds = [
        array(23, Kind::Int4),
        array(25, Kind::Text),
        array(1007, Kind::Timestamptz),
        array(99, composite()),
        composite(),
        Kind::Range(Kind::Int4.into()),
        Kind::Range(Kind::Timestamptz.into()),
        Kind::Multirange(Kind::Numeric(None).into()),
        Kind::Hstore,
    ];
    check_field(&kinds[usize::from(input.0) % kinds.len()], input.1);
});
