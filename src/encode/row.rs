//! The one place that writes lengths, NULLs and field counts.

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
    pub(super) fn nested(&mut self, write: impl FnOnce(&mut RowWriter) -> Result<(), FieldError>) -> Result<(), FieldError> {
        let start = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        write(self)?;
        let length = length_word(self.out.len() - start - 4);
        self.overwrite(start, &length);
        Ok(())
    }

    /// Bytes of a nested field itself, which have no length word: a count, flags.
    #[inline]
    pub(super) fn part(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Replaces bytes that were written at `start` before they could be known.
    #[inline]
    pub(super) fn overwrite(&mut self, start: usize, bytes: &[u8]) {
        self.out[start..start + bytes.len()].copy_from_slice(bytes);
    }
}

/// Fields are slices of a record or of an Arrow message, both limited far below 2 GiB, so the length fits.
#[inline]
fn length_word(length: usize) -> [u8; 4] {
    (length as u32).to_be_bytes()
}
