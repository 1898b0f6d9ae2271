//! Cuts the body into lines, however it comes. Most lines are read where they arrived; only one that is cut is put together.

use memchr::memchr;

use crate::error::{DataError, Position};
use crate::ingest::rows::Halt;
use crate::ingest::segment::Origin;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One line of the body, without its line end.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) text: &'a [u8],
    pub(super) origin: Origin,
}

/// The cutter, with the beginning of the line that is not whole yet.
#[derive(Debug)]
pub(super) struct Lines {
    waiting: Vec<u8>,
    /// 1-based number of the next line
    line: u64,
    /// of its first byte, in the body
    byte_offset: u64,
    bytes_max: usize,
}

impl Lines {
    pub(super) fn new(bytes_max: usize) -> Lines {
        Lines { waiting: Vec::new(), line: 1, byte_offset: 0, bytes_max }
    }

    /// Takes more of the body, and gives out each line that is whole.
    pub(super) fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&Line<'_>) -> Result<(), Halt>) -> Result<(), Halt> {
        let mut rest = bytes;
        if !self.waiting.is_empty() {
            let Some(end) = memchr(b'\n', rest) else {
                return self.wait(rest);
            };
            self.wait(&rest[..end])?;
            rest = &rest[end + 1..];
            self.give_out_waiting(&mut each)?;
        }
        while let Some(end) = memchr(b'\n', rest) {
            self.give_out(&rest[..end], &mut each)?;
            rest = &rest[end + 1..];
        }
        self.wait(rest)
    }

    /// The body has ended: what is left over is the last line.
    pub(super) fn finish(mut self, mut each: impl FnMut(&Line<'_>) -> Result<(), Halt>) -> Result<(), Halt> {
        if self.waiting.is_empty() { Ok(()) } else { self.give_out_waiting(&mut each) }
    }

    fn wait(&mut self, bytes: &[u8]) -> Result<(), Halt> {
        if self.waiting.len() + bytes.len() > self.bytes_max {
            return Err(self.too_large());
        }
        self.waiting.extend_from_slice(bytes);
        Ok(())
    }

    fn give_out_waiting(&mut self, each: &mut impl FnMut(&Line<'_>) -> Result<(), Halt>) -> Result<(), Halt> {
        let mut line = std::mem::take(&mut self.waiting);
        self.give_out(&line, each)?;
        line.clear();
        self.waiting = line;
        Ok(())
    }

    #[inline]
    fn give_out(&mut self, line: &[u8], each: &mut impl FnMut(&Line<'_>) -> Result<(), Halt>) -> Result<(), Halt> {
        if line.len() > self.bytes_max {
            return Err(self.too_large());
        }
        let (mut text, mut byte_offset) = (line, self.byte_offset);
        if self.line == 1
            && let Some(unmarked) = line.strip_prefix(BYTE_ORDER_MARK)
        {
            text = unmarked;
            byte_offset += BYTE_ORDER_MARK.len() as u64;
        }
        each(&Line { text, origin: Origin::Line { line: self.line, byte_offset } })?;
        self.line += 1;
        self.byte_offset += line.len() as u64 + 1;
        Ok(())
    }

    #[cold]
    fn too_large(&self) -> Halt {
        let origin = Origin::Line { line: self.line, byte_offset: self.byte_offset };
        let (what, limit, position) = ("a line", self.bytes_max, Position::from(origin));
        Halt::Data(DataError::TooLarge { what, limit, position })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Cut = Vec<(Vec<u8>, Origin)>;

    fn cut(chunks: &[&[u8]], bytes_max: usize) -> Option<Cut> {
        let mut found = Vec::new();
        let mut each = |line: &Line<'_>| {
            found.push((line.text.to_vec(), line.origin));
            Ok(())
        };
        let mut lines = Lines::new(bytes_max);
        for chunk in chunks {
            lines.push(chunk, &mut each).ok()?;
        }
        lines.finish(&mut each).ok()?;
        Some(found)
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        let origin = |line, byte_offset| Origin::Line { line, byte_offset };
        let expected = vec![(b"a".to_vec(), origin(1, 3)), (b"\xef\xbb\xbfb".to_vec(), origin(2, 5))];
        assert_eq!(cut(&[b"\xef", b"\xbb\xbfa\n\xef\xbb\xbfb"], 9), Some(expected));
        assert_eq!(cut(&[], 9), Some(Vec::new()));
    }

    #[test]
    fn a_line_over_the_limit_is_refused_before_it_is_whole() {
        assert!(cut(&[b"12345\n12345"], 5).is_some());
        assert!(cut(&[b"123", b"456"], 5).is_none());
        assert!(cut(&[b"123456\n"], 5).is_none());
    }

    proptest! {
        #[test]
        fn lines_are_the_same_however_the_body_is_cut(body in "[ab\r\n]{0,60}", cuts in prop::collection::vec(0usize..60, 0..5)) {
            let bytes = body.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let mut offset = 0;
            let mut expected: Cut = Vec::new();
            for (index, line) in body.split('\n').enumerate() {
                expected.push((line.as_bytes().to_vec(), Origin::Line { line: index as u64 + 1, byte_offset: offset }));
                offset += line.len() as u64 + 1;
            }
            expected.pop_if(|(line, _)| line.is_empty());
            prop_assert_eq!(cut(&chunks, 1000), Some(expected));
        }
    }
}
