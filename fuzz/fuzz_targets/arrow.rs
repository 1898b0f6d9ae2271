//! Arrow IPC streams and files.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsluice::ingest::Format;
use pgsluice::ingest::arrow::Container;
use pgsluice_fuzz::check_body;

fuzz_target!(|input: (bool, u16, &[u8])| {
    let (stream, cut, body) = input;
    let container = if stream { Container::Stream } else { Container::File };
    check_body(&Format::Arrow(container), body, cut.into());
});
