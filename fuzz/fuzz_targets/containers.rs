//! Types that hold others.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsluice_fuzz::families::CONTAINERS;

fuzz_target!(|input: &[u8]| CONTAINERS.check(input));
