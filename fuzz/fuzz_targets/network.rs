//! Addresses and bit strings.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsluice_fuzz::families::NETWORK;

fuzz_target!(|input: &[u8]| NETWORK.check(input));
