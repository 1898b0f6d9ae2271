//! CSV and the text format.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use pgsluice::ingest::Format;
use pgsluice::ingest::csv::{Columns, Options, Syntax};
use pgsluice_fuzz::check_body;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    text: bool,
    header: bool,
    force_null: bool,
    other_escape: bool,
    cut: u16,
    body: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let mut options = Options::new(if input.text { Syntax::Text } else { Syntax::Csv });
    options.header = input.header;
    if !input.text && input.force_null {
        options.force_null = Columns::All;
    }
    if !input.text && input.other_escape {
        options.escape = b'\\';
    }
    check_body(&Format::Csv(options), input.body, input.cut.into());
});
