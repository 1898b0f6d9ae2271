//! Numbers of any size.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsluice_fuzz::families::NUMERIC;

fuzz_target!(|input: &[u8]| NUMERIC.check(input));
