//! Dates, times and intervals.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsluice::encode::Kind;
use pgsluice_fuzz::check_field;

fuzz_target!(|input: (u8, &[u8])| {
    let kinds = [Kind::Date, Kind::Time, Kind::Timetz, Kind::Timestamp, Kind::Timestamptz, Kind::Interval];
    check_field(&kinds[usize::from(input.0) % kinds.len()], input.1);
});
