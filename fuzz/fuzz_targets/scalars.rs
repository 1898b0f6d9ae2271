//! Numbers of a fixed size, money, and what else is one short word.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsluice_fuzz::families::SCALARS;

fuzz_target!(|input: &[u8]| SCALARS.check(input));
