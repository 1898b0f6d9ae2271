//! Cuts text into records and fields, by the rules of PostgreSQL's COPY (`CopyReadLineText`, `CopyReadAttributesCSV` and
//! `CopyReadAttributesText` in `src/backend/commands/copyfromparse.c`): in CSV quotes may stand anywhere in a field, in the text format
//! a backslash takes the next byte with it, and in both the first line end decides what the others must be.
//!
//! A push parser: bytes go in, records come out; whatever is not yet a whole record waits for more. Only bytes that mean something
//! (delimiter, quote, escape, line ends) are looked at one by one; the rest is skipped 64 at a time.

use wide::u8x16;

use super::Syntax;
use crate::error::{DataError, Position};
use crate::ingest::rows::{FIELDS_MAX, Halt};

const BLOCK: usize = 64;

/// An incomplete record is parsed again from its start when more has come, but not before it has grown by a quarter and by this many
/// bytes: so a huge record, or one that comes byte by byte, costs some times its length and not its square.
const RESCAN_BYTES_MIN: usize = 64;

/// The bytes that mean something. In the text format, a backslash is both quote and escape.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks {
    pub(super) syntax: Syntax,
    pub(super) delimiter: u8,
    pub(super) quote: u8,
    pub(super) escape: u8,
}

/// One field of a record, by its place in the record's bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    start: usize,
    end: usize,
    /// quotes in it; an escaped character counts for many, so that 2 means one plain pair. In the text format: backslashes
    quotes: u32,
}

/// One record.
#[derive(Debug)]
pub(super) struct Record<'a> {
    buffer: &'a [u8],
    start: usize,
    end: usize,
    spans: &'a [Span],
    marks: Marks,
    /// 1-based physical line on which it starts
    pub(super) line: u64,
    /// of its first byte, in the body
    pub(super) byte_offset: u64,
    /// a line end follows; else the body has ended
    pub(super) terminated: bool,
}

impl<'a> Record<'a> {
    /// The record as it came, without its line end.
    pub(super) fn bytes(&self) -> &'a [u8] {
        &self.buffer[self.start..self.end]
    }

    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// A CSV field's text, unescaped (into `scratch` where it must be), and whether it was quoted.
    #[inline]
    pub(super) fn csv_field<'s>(&self, index: usize, scratch: &'s mut Vec<u8>) -> (&'s [u8], bool)
    where
        'a: 's,
    {
        let span = self.spans[index];
        let raw = &self.buffer[span.start..span.end];
        if span.quotes == 0 {
            return (raw, false);
        }
        match raw {
            [first, inner @ .., last] if span.quotes == 2 && *first == self.marks.quote && *last == self.marks.quote => (inner, true),
            _ => {
                scratch.clear();
                unescape_csv(raw, self.marks, scratch);
                (scratch, true)
            }
        }
    }

    /// A field of the text format as it came, and whether there is a backslash in it.
    #[inline]
    pub(super) fn text_field(&self, index: usize) -> (&'a [u8], bool) {
        let span = self.spans[index];
        (&self.buffer[span.start..span.end], span.quotes > 0)
    }

    /// Which field the byte at this offset of the record belongs to.
    pub(super) fn field_at(&self, offset: usize) -> usize {
        let at = self.start + offset;
        self.spans.partition_point(|span| span.end < at)
    }
}

/// `CopyReadAttributesCSV`, for one field of which the end is known.
fn unescape_csv(raw: &[u8], marks: Marks, out: &mut Vec<u8>) {
    let mut in_quote = false;
    let mut bytes = raw.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if in_quote && byte == marks.escape {
            let escaped = bytes.next_if(|next| *next == marks.escape || *next == marks.quote);
            if let Some(next) = escaped {
                out.push(next);
                continue;
            }
        }
        if byte == marks.quote {
            in_quote = !in_quote;
        } else {
            out.push(byte);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineEnd {
    Unknown,
    Newline,
    Return,
    ReturnNewline,
}

/// The parser, with what it has not yet given out.
#[derive(Debug)]
pub(super) struct Scanner {
    marks: Marks,
    lanes: Lanes,
    record_bytes_max: usize,
    buffer: Vec<u8>,
    /// bytes of the buffer that have been given out
    consumed: usize,
    /// where the buffer begins in the body
    base: u64,
    line: u64,
    line_end: LineEnd,
    rescan_at: usize,
    spans: Vec<Span>,
}

impl Scanner {
    pub(super) fn new(marks: Marks, record_bytes_max: usize) -> Scanner {
        Scanner {
            marks,
            lanes: Lanes::new(marks),
            record_bytes_max,
            buffer: Vec::new(),
            consumed: 0,
            base: 0,
            line: 1,
            line_end: LineEnd::Unknown,
            rescan_at: 0,
            spans: Vec::new(),
        }
    }

    /// Drops a byte order mark; only at the very beginning, and only once three bytes are there.
    pub(super) fn skip_byte_order_mark(&mut self) {
        if self.base == 0 && self.consumed == 0 && self.buffer.starts_with(b"\xef\xbb\xbf") {
            self.consumed = 3;
        }
    }

    pub(super) fn buffered(&self) -> usize {
        self.buffer.len() - self.consumed
    }

    /// Takes more of the body.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.consumed > 0 {
            self.base += self.consumed as u64;
            self.buffer.drain(..self.consumed);
            self.consumed = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Gives out every record that is complete; with `last`, what is left over is the last record.
    pub(super) fn scan(&mut self, last: bool, mut each: impl FnMut(&Record<'_>) -> Result<(), Halt>) -> Result<(), Halt> {
        if !last && self.buffered() < self.rescan_at {
            return Ok(());
        }
        let buffer = std::mem::take(&mut self.buffer);
        let result = self.scan_buffer(&buffer, last, &mut each);
        self.buffer = buffer;
        result?;
        let waiting = self.buffered();
        if waiting > self.record_bytes_max {
            return Err(self.too_large(self.consumed));
        }
        self.rescan_at = match waiting {
            0 => 0,
            _ => (waiting + RESCAN_BYTES_MIN.max(waiting / 4)).min(self.record_bytes_max + 1),
        };
        Ok(())
    }

    fn scan_buffer(&mut self, buffer: &[u8], last: bool, each: &mut impl FnMut(&Record<'_>) -> Result<(), Halt>) -> Result<(), Halt> {
        let Marks { syntax, delimiter, quote, escape } = self.marks;
        let mut field_start = self.consumed;
        // Marks before this have been dealt with: a newline after its return, a character after its escape.
        let mut resume_at = self.consumed;
        let mut in_quote = false;
        let mut quotes = 0u32;
        let mut inner_lines = 0u64;
        self.spans.clear();

        let mut block = self.consumed;
        while block < buffer.len() {
            let mut hits = self.lanes.hits(&buffer[block..]);
            while hits != 0 {
                let at = block + hits.trailing_zeros() as usize;
                hits &= hits - 1;
                if at < resume_at {
                    continue;
                }
                let byte = buffer[at];
                if in_quote {
                    let escapes = byte == escape && escape != quote;
                    if escapes && buffer.get(at + 1).is_some_and(|next| *next == quote || *next == escape) {
                        resume_at = at + 2;
                        quotes += 2;
                        continue;
                    }
                    if byte == quote {
                        in_quote = false;
                        quotes += 1;
                    } else if byte == self.counted_line_end() {
                        inner_lines += 1;
                    }
                    continue;
                }
                if byte == delimiter {
                    if self.spans.len() == FIELDS_MAX {
                        return Err(self.too_many_fields());
                    }
                    self.spans.push(Span { start: field_start, end: at, quotes });
                    field_start = at + 1;
                    quotes = 0;
                } else if byte == quote {
                    quotes += 1;
                    if syntax == Syntax::Csv {
                        in_quote = true;
                        continue;
                    }
                    resume_at = at + 2;
                    if buffer.get(at + 1) == Some(&self.counted_line_end()) {
                        inner_lines += 1;
                    }
                } else if byte == b'\n' || byte == b'\r' {
                    let first = self.line_end == LineEnd::Unknown;
                    let Some(next) = self.line_ends_at(buffer, at, last)? else {
                        return Ok(());
                    };
                    // Until now newlines were counted, on the chance that they are what ends lines.
                    if first && self.line_end == LineEnd::Return {
                        inner_lines = memchr::memchr_iter(b'\r', &buffer[self.consumed..at]).count() as u64;
                    }
                    self.spans.push(Span { start: field_start, end: at, quotes });
                    self.give_out(buffer, at, each)?;
                    self.line += 1 + inner_lines;
                    self.consumed = next;
                    self.spans.clear();
                    (field_start, resume_at) = (next, next);
                    (quotes, inner_lines) = (0, 0);
                }
            }
            block += BLOCK;
        }
        if !last || self.consumed == buffer.len() {
            return Ok(());
        }
        if in_quote {
            let position = self.position(self.consumed);
            let reason = "unterminated CSV quoted field";
            return Err(DataError::bad_copy("unterminated-quote", reason, position).into());
        }
        self.spans.push(Span { start: field_start, end: buffer.len(), quotes });
        self.give_out(buffer, buffer.len(), each)?;
        self.consumed = buffer.len();
        Ok(())
    }

    fn give_out(&mut self, buffer: &[u8], end: usize, each: &mut impl FnMut(&Record<'_>) -> Result<(), Halt>) -> Result<(), Halt> {
        let start = self.consumed;
        if end - start > self.record_bytes_max {
            return Err(self.too_large(start));
        }
        each(&Record {
            buffer,
            start,
            end,
            spans: &self.spans,
            marks: self.marks,
            line: self.line,
            byte_offset: self.base + start as u64,
            terminated: end < buffer.len(),
        })
    }

    /// The byte that counts lines inside of a record.
    #[inline]
    fn counted_line_end(&self) -> u8 {
        if self.line_end == LineEnd::Return { b'\r' } else { b'\n' }
    }

    /// Where the next record begins after the line end at `at`; `None` when that cannot be told yet.
    #[inline]
    fn line_ends_at(&mut self, buffer: &[u8], at: usize, last: bool) -> Result<Option<usize>, Halt> {
        let (found, next) = if buffer[at] == b'\n' {
            (LineEnd::Newline, at + 1)
        } else {
            match buffer.get(at + 1) {
                Some(b'\n') if self.line_end != LineEnd::Return => (LineEnd::ReturnNewline, at + 2),
                None if !last => return Ok(None),
                _ => (LineEnd::Return, at + 1),
            }
        };
        if self.line_end == LineEnd::Unknown {
            self.line_end = found;
        }
        if self.line_end == found {
            return Ok(Some(next));
        }
        Err(self.mixed_line_ends(buffer[at], at))
    }

    #[cold]
    fn mixed_line_ends(&self, byte: u8, at: usize) -> Halt {
        let name = if byte == b'\n' { "newline" } else { "carriage return" };
        let (what, remedy) = match self.marks.syntax {
            Syntax::Csv => ("unquoted", "quote the field"),
            Syntax::Text => ("literal", "write it with a backslash"),
        };
        let place = self.base + at as u64;
        let reason = format!("{what} {name} found in data at byte offset {place}, where lines end otherwise: {remedy}");
        DataError::bad_copy("mixed-line-ends", reason, self.position(self.consumed)).into()
    }

    #[cold]
    fn too_many_fields(&self) -> Halt {
        let reason = format!("the record has more than the {FIELDS_MAX} fields that a table can have");
        DataError::bad_copy("too-many-fields", reason, self.position(self.consumed)).into()
    }

    #[cold]
    fn too_large(&self, start: usize) -> Halt {
        Halt::Data(DataError::TooLarge { what: "a record", limit: self.record_bytes_max, position: self.position(start) })
    }

    fn position(&self, start: usize) -> Position {
        Position {
            line: Some(self.line),
            byte_offset: Some(self.base + start as u64),
            ..Position::default()
        }
    }
}

/// The marks, each in all lanes of a vector.
#[derive(Debug)]
struct Lanes {
    delimiter: u8x16,
    quote: u8x16,
    escape: u8x16,
    newline: u8x16,
    carriage_return: u8x16,
}

impl Lanes {
    fn new(marks: Marks) -> Lanes {
        Lanes {
            delimiter: u8x16::splat(marks.delimiter),
            quote: u8x16::splat(marks.quote),
            escape: u8x16::splat(marks.escape),
            newline: u8x16::splat(b'\n'),
            carriage_return: u8x16::splat(b'\r'),
        }
    }

    /// One bit for each of the next 64 bytes: set where it is a mark.
    #[inline]
    fn hits(&self, bytes: &[u8]) -> u64 {
        match bytes.first_chunk::<BLOCK>() {
            Some(block) => self.hits_of_block(block),
            None => {
                let mut block = [0u8; BLOCK];
                block[..bytes.len()].copy_from_slice(bytes);
                // The padding must not hit, whatever the marks are.
                self.hits_of_block(&block) & ((1u64 << bytes.len()) - 1)
            }
        }
    }

    #[inline]
    fn hits_of_block(&self, block: &[u8; BLOCK]) -> u64 {
        let mut hits = 0u64;
        for (index, sixteen) in block.as_chunks::<16>().0.iter().enumerate() {
            let bytes = u8x16::new(*sixteen);
            let found = bytes.simd_eq(self.delimiter)
                | bytes.simd_eq(self.quote)
                | bytes.simd_eq(self.escape)
                | bytes.simd_eq(self.newline)
                | bytes.simd_eq(self.carriage_return);
            hits |= u64::from(found.to_bitmask()) << (16 * index);
        }
        hits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const COMMA: Marks = Marks { syntax: Syntax::Csv, delimiter: b',', quote: b'"', escape: b'"' };

    type Parsed = Vec<(u64, u64, Vec<(String, bool)>)>;

    fn parse(chunks: &[&[u8]], marks: Marks) -> Result<Parsed, String> {
        let mut scanner = Scanner::new(marks, 1 << 20);
        let mut parsed = Vec::new();
        let mut scratch = Vec::new();
        let mut each = |record: &Record<'_>| {
            let fields = (0..record.len()).map(|index| {
                let (text, quoted) = record.csv_field(index, &mut scratch);
                (String::from_utf8_lossy(text).into_owned(), quoted)
            });
            let fields = fields.collect();
            parsed.push((record.line, record.byte_offset, fields));
            Ok(())
        };
        let shown = |halt: Halt| match halt {
            Halt::Data(error) => error.to_string(),
            other => format!("{other:?}"),
        };
        for chunk in chunks {
            scanner.push(chunk);
            scanner.scan(false, &mut each).map_err(shown)?;
        }
        scanner.scan(true, &mut each).map_err(shown)?;
        Ok(parsed)
    }

    fn texts(input: &str) -> Vec<Vec<String>> {
        let parsed = parse(&[input.as_bytes()], COMMA).unwrap();
        parsed.into_iter().map(|(_, _, fields)| fields.into_iter().map(|f| f.0).collect()).collect()
    }

    #[test]
    fn quotes_work_as_in_copy() {
        assert_eq!(texts("a,\"b,\"\"c\"\"\",d\n"), [["a", "b,\"c\"", "d"]]);
        assert_eq!(texts("x\"y,z\"w,v"), [["xy,zw", "v"]]);
        assert_eq!(texts("\"a\nb\",c\r"), [["a\nb", "c"]]);
        let parsed = parse(&[b",\"\""], COMMA).unwrap();
        assert_eq!(parsed[0].2, [(String::new(), false), (String::new(), true)]);
    }

    #[test]
    fn another_escape_character() {
        let marks = Marks { syntax: Syntax::Csv, delimiter: b';', quote: b'\'', escape: b'\\' };
        let parsed = parse(&[br"'it\'s';'a\\';'b\c'"], marks).unwrap();
        let texts: Vec<&str> = parsed[0].2.iter().map(|f| f.0.as_str()).collect();
        assert_eq!(texts, ["it's", r"a\", r"b\c"]);
    }

    #[test]
    fn positions_count_physical_lines_and_bytes() {
        let parsed = parse(&[b"h\n\"1\n2\n3\"\nx\n"], COMMA).unwrap();
        let places: Vec<(u64, u64)> = parsed.iter().map(|(line, offset, _)| (*line, *offset)).collect();
        assert_eq!(places, [(1, 0), (2, 2), (5, 10)]);
        let parsed = parse(&[b"\"1\r2\"\rx\r"], COMMA).unwrap();
        assert_eq!(parsed[1].0, 3);
    }

    #[test]
    fn line_ends_must_not_be_mixed() {
        assert!(parse(&[b"a\r\nb\n"], COMMA).is_err());
        assert!(parse(&[b"a\nb\r\n"], COMMA).is_err());
        assert!(parse(&[b"a\rb\n"], COMMA).is_err());
        assert_eq!(texts("a\r\nb\r\n"), [["a"], ["b"]]);
        assert_eq!(texts("a\rb\r"), [["a"], ["b"]]);
        assert_eq!(texts("a\n\nb\n"), [["a"], [""], ["b"]]);
    }

    #[test]
    fn an_open_quote_and_a_huge_record_are_errors() {
        assert_eq!(parse(&[b"a,\"b\nc"], COMMA), Err("unterminated CSV quoted field".to_owned()));
        assert!(parse(&[&[b','; 1601]], COMMA).is_err());
        let huge = vec![b'x'; (1 << 20) + 1];
        assert!(parse(&[&huge], COMMA).is_err());
        assert!(parse(&[&huge, b"\n"], COMMA).is_err());
    }

    /// The rules once more, one byte at a time and as plainly as they can be put: newlines only, one quote character.
    fn oracle(input: &[u8]) -> Option<Vec<Vec<(String, bool)>>> {
        let (mut records, mut fields, mut text) = (Vec::new(), Vec::new(), Vec::new());
        let (mut in_quote, mut quoted, mut begun) = (false, false, false);
        let mut bytes = input.iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            begun = true;
            match byte {
                b'"' if in_quote && bytes.next_if_eq(&b'"').is_some() => text.push(b'"'),
                b'"' => (in_quote, quoted) = (!in_quote, true),
                b',' | b'\n' if !in_quote => {
                    let field = String::from_utf8_lossy(&std::mem::take(&mut text)).into_owned();
                    fields.push((field, std::mem::take(&mut quoted)));
                    if byte == b'\n' {
                        records.push(std::mem::take(&mut fields));
                        begun = false;
                    }
                }
                _ => text.push(byte),
            }
        }
        if begun {
            fields.push((String::from_utf8_lossy(&text).into_owned(), quoted));
            records.push(fields);
        }
        (!in_quote).then_some(records)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn the_fast_scanner_equals_the_plain_one_however_the_body_is_cut(
            input in "[a,\"\n]{0,200}", cuts in prop::collection::vec(0usize..200, 0..6)
        ) {
            let bytes = input.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let fast = parse(&chunks, COMMA).ok();
            let fast = fast.map(|records| records.into_iter().map(|r| r.2).collect::<Vec<_>>());
            prop_assert_eq!(fast, oracle(bytes));
        }

        #[test]
        fn what_another_csv_library_writes_is_read_back(
            records in prop::collection::vec(prop::collection::vec("[a-c,\"\r\n ]{0,12}", 3), 1..20)
        ) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            for record in &records {
                writer.write_record(record).unwrap();
            }
            prop_assert_eq!(texts(std::str::from_utf8(&writer.into_inner().unwrap()).unwrap()), records);
        }

        #[test]
        fn return_newline_survives_any_cut(cut in 0usize..24) {
            let input = b"a,b\r\n\"c\r\nd\",e\r\nf,g\r\n";
            let cut = cut.min(input.len());
            let parsed = parse(&[&input[..cut], &input[cut..]], COMMA).unwrap();
            prop_assert_eq!(parsed.len(), 3);
            prop_assert_eq!(parsed[2].0, 4);
        }
    }
}
