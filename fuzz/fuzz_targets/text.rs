//! Character strings, bytes and JSON.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsluice_fuzz::families::TEXT;

fuzz_target!(|input: &[u8]| TEXT.check(input));
