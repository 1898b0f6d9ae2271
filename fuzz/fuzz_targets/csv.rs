//! CSV and the text format.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsluice::ingest::Format;
use pgsluice::ingest::csv::{Columns, Options, Syntax};
use pgsluice_fuzz::bodies;

fuzz_target!(|input: &[u8]| {
    let Some((&[flags, cut @ ..], body)) = input.split_first_chunk::<3>() else {
        return;
    };
    let flag = |bit: u8| flags >> bit & 1 == 1;
    let mut options = Options::new(if flag(0) { Syntax::Text } else { Syntax::Csv });
    options.header = !flag(1);
    if flag(2) {
        options.delimiter = b';';
    }
    if flag(3) {
        options.null = "NULL".to_owned();
    }
    if !flag(0) {
        if flag(4) {
            options.force_null = Columns::All;
        }
        if flag(5) {
            options.force_not_null = Columns::Named(vec!["b".to_owned()]);
        }
        if flag(6) {
            options.escape = b'\\';
        }
    }
    bodies::check(&Format::Csv(options), flag(7), body, cut);
});
