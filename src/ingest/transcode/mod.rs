//! Stage *transcode*: text in another encoding becomes UTF-8, between *decompress* and *parse*, on the load's own encoding thread.
//!
//! What a byte means must be what it means in `COPY … (ENCODING '…')`, and PostgreSQL's tables are its own: they differ from those of
//! browsers and of every library. So the server converts (`convert_from`, which is what COPY uses), whole lines at a time: no encoding
//! that PostgreSQL knows has a newline or a carriage return inside of a character, and all of them hold ASCII as it is, so chunks of
//! nothing else need no conversion. LATIN1 and UTF-16 are simple enough to be done here.

mod names;
mod no_text;
mod utf16;

use std::time::Duration;

pub use self::names::{ByteOrder, Charset, Encoding};
use super::rows::{Halt, NoText};
use crate::error::{DataError, Position, RowError};

/// Less than this is not converted before the body's end: every conversion is a round trip to the server.
const CHUNK_BYTES: usize = 256 << 10;

/// Why a run of bytes was not converted.
#[derive(Debug)]
pub(super) enum Refusal {
    /// they are no text in this encoding
    Bytes { sqlstate: &'static str, reason: String },
    /// something else went wrong
    Halt(Halt),
}

/// Whoever knows PostgreSQL's encodings: the server.
pub(super) trait Convert {
    fn to_utf8(&mut self, bytes: &[u8], encoding: &str) -> Result<String, Refusal>;

    /// How long `to_utf8` has waited for the answer so far.
    fn waited(&self) -> Duration;
}

/// What comes out.
#[derive(Debug)]
pub(super) enum Piece<'a> {
    /// text in UTF-8
    Text(&'a [u8]),
    /// one line that is no text: what it goes on as, and why
    NoText(&'a [u8], NoText),
}

/// Where that goes.
pub(super) type Sink<'a> = &'a mut dyn FnMut(Piece<'_>) -> Result<(), Halt>;

/// Turns a text body into UTF-8, line by line.
pub(super) struct Transcoder {
    charset: Charset,
    server: Box<dyn Convert>,
    /// what is not converted yet; it begins where a line does
    pending: Vec<u8>,
    /// this much of it was searched for a line end and has none
    searched: usize,
    /// the first bytes are still to be looked at for a byte order mark
    mark_pending: bool,
    line_bytes_max: usize,
    /// a line that is no text ends nothing
    turns_away: bool,
    line_end: Option<u16>,
    /// of the first pending byte
    line: u64,
    byte_offset: u64,
}

const NEWLINE: u16 = 0x0A;
const RETURN: u16 = 0x0D;

impl Transcoder {
    pub(super) fn new(charset: Charset, line_bytes_max: usize, turns_away: bool, server: impl Convert + 'static) -> Transcoder {
        Transcoder {
            charset,
            server: Box::new(server),
            pending: Vec::new(),
            searched: 0,
            mark_pending: matches!(charset, Charset::Utf16(_)),
            line_bytes_max,
            turns_away,
            line_end: None,
            line: 1,
            byte_offset: 0,
        }
    }

    /// How long the server was waited for so far.
    pub(super) fn waited(&self) -> Duration {
        self.server.waited()
    }

    /// Takes more of the body, and gives out the lines that are whole.
    pub(super) fn push(&mut self, bytes: &[u8], sink: Sink<'_>) -> Result<(), Halt> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() < CHUNK_BYTES {
            return Ok(());
        }
        self.take_mark()?;
        match self.end_of_lines() {
            Some(end) => {
                let rest = self.pending.split_off(end);
                let lines = std::mem::replace(&mut self.pending, rest);
                self.searched = 0;
                self.convert_lines(&lines, sink)
            }
            None if self.pending.len() > self.line_bytes_max => {
                Err(DataError::TooLarge { what: "a line", limit: self.line_bytes_max, position: self.position() }.into())
            }
            None => Ok(()),
        }
    }

    /// The body has ended, and properly.
    pub(super) fn finish(&mut self, sink: Sink<'_>) -> Result<(), Halt> {
        self.take_mark()?;
        let lines = std::mem::take(&mut self.pending);
        self.convert_lines(&lines, sink)
    }

    /// Behind the last line end that is surely one: after a return, a newline may be on its way.
    fn end_of_lines(&mut self) -> Option<usize> {
        let unit_bytes = self.unit_bytes();
        let searched = self.searched;
        let units = (self.pending.len() - searched) / unit_bytes;
        let is_end = |at: &usize| matches!(self.unit(&self.pending, searched + at * unit_bytes), NEWLINE | RETURN);
        let is_sure = |at: &usize| at + 1 < units || self.unit(&self.pending, searched + at * unit_bytes) == NEWLINE;
        let found = (0..units).rev().filter(is_end).find(is_sure);
        if found.is_none() {
            self.searched += units.saturating_sub(1) * unit_bytes;
        }
        found.map(|at| searched + (at + 1) * unit_bytes)
    }

    /// Gives out lines: all of them, or up to the first that cannot be converted.
    fn convert_lines(&mut self, lines: &[u8], sink: Sink<'_>) -> Result<(), Halt> {
        if self.unit_bytes() == 1 && lines.is_ascii() && !has_nul(lines) {
            sink(Piece::Text(lines))?;
            self.pass(lines);
            return Ok(());
        }
        match self.convert(lines) {
            Ok(text) => {
                sink(Piece::Text(text.as_bytes()))?;
                self.pass(lines);
                Ok(())
            }
            Err(Refusal::Halt(halt)) => Err(halt),
            Err(Refusal::Bytes { sqlstate, reason }) if self.turns_away => self.sift(lines, sqlstate, reason, sink),
            Err(refusal) => self.find_bad_line(lines, refusal, sink),
        }
    }

    fn convert(&mut self, bytes: &[u8]) -> Result<String, Refusal> {
        match self.charset {
            Charset::Latin1 if has_nul(bytes) => {
                let reason = "invalid byte sequence for encoding \"LATIN1\": 0x00".to_owned();
                Err(Refusal::Bytes { sqlstate: "22021", reason })
            }
            // Its bytes are Unicode's first 256 code points.
            Charset::Latin1 => Ok(bytes.iter().copied().map(char::from).collect()),
            Charset::Utf16(order) => utf16::decode(bytes, order.unwrap_or_default()),
            Charset::Server(name) => self.server.to_utf8(bytes, name),
        }
    }

    /// Gives out lines of which at least one is no text: those that are, as text.
    #[cold]
    fn sift(&mut self, lines: &[u8], sqlstate: &'static str, reason: String, sink: Sink<'_>) -> Result<(), Halt> {
        let ends = self.line_ends(lines);
        if let [_, _] = ends[..] {
            let why = NoText { line: self.line, sqlstate, reason };
            sink(Piece::NoText(&no_text::marked(lines, self.charset), why))?;
            self.pass(lines);
            return Ok(());
        }
        let (first, second) = lines.split_at(ends[ends.len() / 2]);
        self.convert_lines(first, sink)?;
        self.convert_lines(second, sink)
    }

    /// Names the first line that is refused, by halving; what stands before it is given out, because it may hold an earlier error.
    #[cold]
    fn find_bad_line(&mut self, lines: &[u8], mut refusal: Refusal, sink: Sink<'_>) -> Result<(), Halt> {
        let ends = self.line_ends(lines);
        let (mut good, mut bad) = (0, ends.len() - 1);
        let mut text = String::new();
        while bad - good > 1 {
            let middle = good.midpoint(bad);
            match self.convert(&lines[..ends[middle]]) {
                Ok(converted) => (good, text) = (middle, converted),
                Err(Refusal::Halt(halt)) => return Err(halt),
                Err(refused) => (bad, refusal) = (middle, refused),
            }
        }
        sink(Piece::Text(text.as_bytes()))?;
        self.pass(&lines[..ends[good]]);
        match refusal {
            Refusal::Halt(halt) => Err(halt),
            Refusal::Bytes { sqlstate, reason } => {
                let position = self.position();
                Err(RowError {
                    position,
                    value: None,
                    type_name: None,
                    sqlstate: sqlstate.into(),
                    reason: reason.into(),
                }
                .into())
            }
        }
    }

    /// Where each line ends, beginning with the end of none.
    fn line_ends(&mut self, lines: &[u8]) -> Vec<usize> {
        let (unit_bytes, line_end) = (self.unit_bytes(), self.line_end(lines));
        let starts = (0..lines.len() / unit_bytes).map(|at| at * unit_bytes);
        let ends = starts.filter(|at| self.unit(lines, *at) == line_end).map(|at| at + unit_bytes);
        let mut ends: Vec<usize> = std::iter::once(0).chain(ends).collect();
        if ends.last() != Some(&lines.len()) {
            ends.push(lines.len());
        }
        ends
    }

    /// Counts what has been given out.
    fn pass(&mut self, lines: &[u8]) {
        let (unit_bytes, line_end) = (self.unit_bytes(), self.line_end(lines));
        let starts = (0..lines.len() / unit_bytes).map(|at| at * unit_bytes);
        self.line += starts.filter(|at| self.unit(lines, *at) == line_end).count() as u64;
        self.byte_offset += lines.len() as u64;
    }

    /// What counts lines: newlines, unless the first line ends with a return and nothing else.
    fn line_end(&mut self, lines: &[u8]) -> u16 {
        if let Some(line_end) = self.line_end {
            return line_end;
        }
        let unit_bytes = self.unit_bytes();
        let units = (0..lines.len() / unit_bytes).map(|at| self.unit(lines, at * unit_bytes));
        let mut from_first = units.skip_while(|unit| !matches!(*unit, NEWLINE | RETURN));
        self.line_end = match (from_first.next(), from_first.next()) {
            (None, _) => None,
            (Some(RETURN), next) if next != Some(NEWLINE) => Some(RETURN),
            _ => Some(NEWLINE),
        };
        self.line_end.unwrap_or(NEWLINE)
    }

    /// A byte order mark belongs to the encoding and not to the text.
    fn take_mark(&mut self) -> Result<(), Halt> {
        let Charset::Utf16(declared) = self.charset else {
            return Ok(());
        };
        if !std::mem::take(&mut self.mark_pending) {
            return Ok(());
        }
        let marked = self.pending.first_chunk().and_then(|first| ByteOrder::of_mark(*first));
        let reason = match (declared, marked) {
            (None, None) => "the body has no byte order mark: say encoding=UTF-16LE or encoding=UTF-16BE",
            (Some(declared), Some(marked)) if declared != marked => "the body has the byte order mark of the other byte order",
            _ => {
                if marked.is_some() {
                    self.pending.drain(..2);
                    self.byte_offset = 2;
                }
                self.charset = Charset::Utf16(declared.or(marked));
                return Ok(());
            }
        };
        Err(DataError::malformed("byte-order-unknown", reason, self.position()).into())
    }

    fn unit_bytes(&self) -> usize {
        if matches!(self.charset, Charset::Utf16(_)) { 2 } else { 1 }
    }

    #[inline]
    fn unit(&self, bytes: &[u8], at: usize) -> u16 {
        match self.charset {
            Charset::Utf16(order) => order.unwrap_or_default().unit([bytes[at], bytes[at + 1]]),
            _ => u16::from(bytes[at]),
        }
    }

    fn position(&self) -> Position {
        Position {
            line: Some(self.line),
            byte_offset: Some(self.byte_offset),
            ..Position::default()
        }
    }
}

/// No text in PostgreSQL holds a NUL.
fn has_nul(bytes: &[u8]) -> bool {
    memchr::memchr(0, bytes).is_some()
}
