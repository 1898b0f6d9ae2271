//! NDJSON.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsluice::ingest::{Format, ndjson};
use pgsluice_fuzz::check_body;

fuzz_target!(|input: (bool, u16, &[u8])| {
    let (few, cut, body) = input;
    let columns = few.then(|| vec!["a".to_owned(), "h".to_owned()]);
    check_body(&Format::Ndjson(ndjson::Options { columns }), body, cut.into());
});
