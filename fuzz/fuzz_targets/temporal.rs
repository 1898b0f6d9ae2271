//! Dates, times and intervals.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsluice_fuzz::families::TEMPORAL;

fuzz_target!(|input: &[u8]| TEMPORAL.check(input));
