//! The one place that writes lengths, NULLs and field counts: rows in the binary format, and rows in the text format for the server to read.

use super::FieldError;

/// What a binary COPY stream begins with: the signature, no flags, no header extension.
pub const HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// What a binary COPY stream ends with: a field count of -1.
pub const TRAILER: &[u8; 2] = b"\xff\xff";

const NULL_LENGTH: [u8; 4] = (-1i32).to_be_bytes();

/// Rows in PostgreSQL's binary COPY format, growing in one buffer that is taken away chunk by chunk.
#[derive(Debug)]
pub struct RowWriter {
    out: Vec<u8>,
    row_start: usize,
    field_count: [u8; 2],
}

impl RowWriter {
    /// A writer for rows of `fields` fields; at most 1,600, PostgreSQL's own limit, so the count fits.
    pub fn new(fields: u16, capacity_bytes: usize) -> RowWriter {
        RowWriter {
            out: Vec::with_capacity(capacity_bytes),
            row_start: 0,
            field_count: fields.to_be_bytes(),
        }
    }

    /// Begins a row.
    #[inline]
    pub fn begin(&mut self) {
        self.row_start = self.out.len();
        self.out.extend_from_slice(&self.field_count);
    }

    /// Ends the row that was begun last.
    #[inline]
    pub fn end(&mut self) {
        self.row_start = self.out.len();
    }

    /// Takes back the row that was begun last and not ended.
    pub fn abandon(&mut self) {
        self.out.truncate(self.row_start);
    }

    /// Bytes of the row begun last, so far.
    #[inline]
    pub fn row_bytes(&self) -> usize {
        self.out.len() - self.row_start
    }

    /// Bytes written and not yet taken.
    #[inline]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Nothing has been written since the last [`take`](Self::take).
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Takes what was written; the next chunk gets a buffer of its own.
    pub fn take(&mut self) -> Vec<u8> {
        let capacity = self.out.capacity();
        self.row_start = 0;
        std::mem::replace(&mut self.out, Vec::with_capacity(capacity))
    }

    /// A NULL.
    #[inline]
    pub fn null(&mut self) {
        self.out.extend_from_slice(&NULL_LENGTH);
    }

    /// A field of which all bytes are at hand.
    #[inline]
    pub fn put(&mut self, value: &[u8]) {
        self.out.extend_from_slice(&length_word(value.len()));
        self.out.extend_from_slice(value);
    }

    /// A field that is one byte (a version) and then a value.
    #[inline]
    pub fn put_prefixed(&mut self, prefix: u8, value: &[u8]) {
        self.out.extend_from_slice(&length_word(value.len() + 1));
        self.out.push(prefix);
        self.out.extend_from_slice(value);
    }

    /// A field whose length shows only once it is written.
    ///
    /// # Errors
    /// Whatever `write` answers.
    #[inline]
    pub fn put_with(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), FieldError>) -> Result<(), FieldError> {
        self.nested(|row| write(&mut row.out))
    }

    /// A field that holds fields of its own, which are written through the writer.
    ///
    /// # Errors
    /// Whatever `write` answers.
    #[inline]
    pub fn nested(&mut self, write: impl FnOnce(&mut RowWriter) -> Result<(), FieldError>) -> Result<(), FieldError> {
        let start = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        write(self)?;
        let length = length_word(self.out.len() - start - 4);
        self.overwrite(start, &length);
        Ok(())
    }

    /// Bytes of a nested field itself, which have no length word: a count, flags.
    #[inline]
    pub fn part(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Replaces bytes that were written at `start` before they could be known.
    #[inline]
    pub(super) fn overwrite(&mut self, start: usize, bytes: &[u8]) {
        self.out[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// Writes a single field in place of whatever was there, and shows its value.
    ///
    /// # Errors
    /// Whatever `write` and `read` answer.
    pub fn scratch<T>(
        &mut self,
        write: impl FnOnce(&mut RowWriter) -> Result<(), FieldError>,
        read: impl FnOnce(&[u8]) -> Result<T, FieldError>,
    ) -> Result<T, FieldError> {
        self.out.clear();
        write(self)?;
        read(self.out.get(4..).unwrap_or_default())
    }
}

/// Rows in PostgreSQL's text COPY format with its default marks, which the server's own input functions read.
///
/// Format: PostgreSQL manual, "COPY", Text Format.
#[derive(Debug, Default)]
pub struct TextWriter {
    out: Vec<u8>,
    row_start: usize,
    row_begun: bool,
}

impl TextWriter {
    /// Begins a row.
    pub fn begin(&mut self) {
        self.row_start = self.out.len();
        self.row_begun = false;
    }

    /// Takes back the row that was begun last and not ended.
    pub fn abandon(&mut self) {
        self.out.truncate(self.row_start);
    }

    /// Ends the row that was begun last, and says how long it is.
    pub fn end(&mut self) -> usize {
        self.out.push(b'\n');
        let bytes = self.row_bytes();
        self.row_start = self.out.len();
        bytes
    }

    /// Bytes of the row begun last, so far.
    pub fn row_bytes(&self) -> usize {
        self.out.len() - self.row_start
    }

    /// Bytes written and not yet taken.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Nothing has been written since the last [`take`](Self::take).
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Takes what was written.
    pub fn take(&mut self) -> Vec<u8> {
        self.row_start = 0;
        std::mem::take(&mut self.out)
    }

    /// A NULL.
    pub fn null(&mut self) {
        self.next_field();
        self.out.extend_from_slice(b"\\N");
    }

    /// A field, as the type's input function is to see it.
    pub fn put(&mut self, value: &[u8]) {
        self.next_field();
        let mut rest = value;
        while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\\' | b'\t' | b'\n' | b'\r')) {
            self.out.extend_from_slice(&rest[..at]);
            let escape = match rest[at] {
                b'\t' => b't',
                b'\n' => b'n',
                b'\r' => b'r',
                other => other,
            };
            self.out.extend_from_slice(&[b'\\', escape]);
            rest = &rest[at + 1..];
        }
        self.out.extend_from_slice(rest);
    }

    fn next_field(&mut self) {
        if self.row_begun {
            self.out.push(b'\t');
        }
        self.row_begun = true;
    }
}

/// Fields are slices of a record or of an Arrow message, both limited far below 2 GiB, so the length fits.
#[inline]
fn length_word(length: usize) -> [u8; 4] {
    (length as u32).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_rows_escape_what_the_format_means_something_by() {
        let mut text = TextWriter::default();
        text.begin();
        text.put(b"");
        text.null();
        text.put(b"a\tb\\c\nd\re");
        text.put(b"\\N");
        text.end();
        text.begin();
        text.put(b"\\.");
        text.end();
        assert_eq!(text.take(), b"\t\\N\ta\\tb\\\\c\\nd\\re\t\\\\N\n\\\\.\n");
    }
}
