//! Parquet files.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsluice::ingest::{Format, parquet};
use pgsluice_fuzz::{bodies, guarded};

fuzz_target!(init: guarded::watch(), |input: &[u8]| {
    let Some((&[flags, cut @ ..], body)) = input.split_first_chunk::<3>() else {
        return;
    };
    let columns = (flags & 1 == 1).then(|| vec!["b".to_owned(), "e".to_owned()]);
    bodies::check(&Format::Parquet(parquet::Options { columns }), flags & 2 == 2, body, cut);
});
