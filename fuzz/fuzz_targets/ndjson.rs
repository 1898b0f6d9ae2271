//! NDJSON.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsluice::ingest::{Format, ndjson};
use pgsluice_fuzz::bodies;

fuzz_target!(|input: &[u8]| {
    let Some((&[flags, cut @ ..], body)) = input.split_first_chunk::<3>() else {
        return;
    };
    let columns = (flags & 1 == 1).then(|| vec!["a".to_owned(), "h".to_owned()]);
    bodies::check(&Format::Ndjson(ndjson::Options { columns }), flags & 2 == 2, body, cut);
});
