//! Arrow IPC streams and files.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsluice::ingest::Format;
use pgsluice::ingest::arrow::Container;
use pgsluice_fuzz::{bodies, guarded};

fuzz_target!(init: guarded::watch(), |input: &[u8]| {
    let Some((&[flags, cut @ ..], body)) = input.split_first_chunk::<3>() else {
        return;
    };
    let container = if flags & 1 == 0 { Container::Stream } else { Container::File };
    bodies::check(&Format::Arrow(container), flags & 2 == 2, body, cut);
});
