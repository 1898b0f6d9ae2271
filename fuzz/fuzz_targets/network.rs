//! Addresses and bit strings.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsluice::encode::Kind;
use pgsluice_fuzz::check_field;

fuzz_target!(|input: (u8, &[u8])| {
    let kinds = [Kind::Inet, Kind::Cidr, Kind::Macaddr, Kind::Macaddr8, Kind::Bit(5), Kind::Varbit(None), Kind::Varbit(Some(5))];
    check_field(&kinds[usize::from(input.0) % kinds.len()], input.1);
});
