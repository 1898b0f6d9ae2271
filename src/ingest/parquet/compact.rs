//! Thrift's compact protocol, which Parquet's metadata and page headers are written in, as far as it is needed to look at them before
//! anything is made of what they claim.
//!
//! Format: <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>

/// How deep values may lie inside of each other.
const DEPTH_MAX: usize = 32;

/// The types of fields.
pub(super) mod kind {
    pub(in super::super) const TRUE: u8 = 1;
    pub(in super::super) const FALSE: u8 = 2;
    pub(super) const BYTE: u8 = 3;
    pub(super) const I16: u8 = 4;
    pub(in super::super) const I32: u8 = 5;
    pub(in super::super) const I64: u8 = 6;
    pub(super) const DOUBLE: u8 = 7;
    pub(in super::super) const BINARY: u8 = 8;
    pub(in super::super) const LIST: u8 = 9;
    pub(super) const SET: u8 = 10;
    pub(super) const MAP: u8 = 11;
    pub(in super::super) const STRUCT: u8 = 12;
    pub(super) const UUID: u8 = 13;
}

/// Why something cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// the bytes end before it does
    Ended,
    /// it is not in this protocol
    Malformed,
}

/// Bytes and how far they have been read.
#[derive(Debug)]
pub(super) struct Compact<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Compact<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Compact<'a> {
        Compact { bytes, at: 0 }
    }

    /// How many bytes have been read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Gives each field of a struct to `take`, by id and type; those that it answers false for are passed over.
    pub(super) fn fields(&mut self, mut take: impl FnMut(&mut Self, i16, u8) -> Result<bool, Fault>) -> Result<(), Fault> {
        self.fields_at(0, &mut take)
    }

    fn fields_at(&mut self, depth: usize, take: &mut dyn FnMut(&mut Self, i16, u8) -> Result<bool, Fault>) -> Result<(), Fault> {
        let mut id = 0i16;
        loop {
            let head = self.byte()?;
            let (step, kind) = (head >> 4, head & 0x0F);
            if kind == 0 {
                return Ok(());
            }
            id = match step {
                0 => i16::try_from(self.int()?).map_err(|_| Fault::Malformed)?,
                step => id.checked_add(step.into()).ok_or(Fault::Malformed)?,
            };
            if !take(self, id, kind)? {
                self.skip(kind, depth)?;
            }
        }
    }

    /// A list's element type and length.
    pub(super) fn list(&mut self) -> Result<(u8, usize), Fault> {
        let head = self.byte()?;
        let length = match head >> 4 {
            15 => usize::try_from(self.varint()?).map_err(|_| Fault::Malformed)?,
            length => length.into(),
        };
        Ok((head & 0x0F, length))
    }

    /// A signed integer of any width.
    pub(super) fn int(&mut self) -> Result<i64, Fault> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// The length of a string or binary value, which is passed over.
    pub(super) fn binary(&mut self) -> Result<usize, Fault> {
        let length = usize::try_from(self.varint()?).map_err(|_| Fault::Malformed)?;
        self.pass(length)?;
        Ok(length)
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Result<(), Fault> {
        if depth > DEPTH_MAX {
            return Err(Fault::Malformed);
        }
        match kind {
            kind::TRUE | kind::FALSE => Ok(()),
            kind::BYTE => self.pass(1),
            kind::I16 | kind::I32 | kind::I64 => self.varint().map(drop),
            kind::DOUBLE => self.pass(8),
            kind::BINARY => self.binary().map(drop),
            kind::LIST | kind::SET => {
                let (element, length) = self.list()?;
                (0..length).try_for_each(|_| self.skip_element(element, depth + 1))
            }
            kind::MAP => {
                let length = self.varint()?;
                let kinds = if length == 0 { 0 } else { self.byte()? };
                (0..length).try_for_each(|_| {
                    self.skip_element(kinds >> 4, depth + 1)?;
                    self.skip_element(kinds & 0x0F, depth + 1)
                })
            }
            kind::STRUCT => self.fields_at(depth + 1, &mut |_, _, _| Ok(false)),
            kind::UUID => self.pass(16),
            _ => Err(Fault::Malformed),
        }
    }

    /// Beside fields, a boolean takes a byte.
    fn skip_element(&mut self, kind: u8, depth: usize) -> Result<(), Fault> {
        match kind {
            kind::TRUE | kind::FALSE => self.pass(1),
            kind => self.skip(kind, depth),
        }
    }

    /// An unsigned integer.
    pub(super) fn varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Fault::Malformed)
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let byte = self.bytes.get(self.at).copied().ok_or(Fault::Ended)?;
        self.at += 1;
        Ok(byte)
    }

    /// The next so many bytes.
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let taken = self.bytes[self.at..].get(..length).ok_or(Fault::Ended)?;
        self.at += length;
        Ok(taken)
    }

    fn pass(&mut self, length: usize) -> Result<(), Fault> {
        self.take(length).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_found_and_others_passed_over() {
        // 1: i32 = -2, 3: binary "ab", 4: list of two structs, 20: true
        let bytes = [0x15, 3, 0x28, 2, b'a', b'b', 0x19, 0x2C, 0x15, 4, 0, 0, 0x01, 40, 0, 0xEE];
        let mut input = Compact::new(&bytes);
        let mut seen = Vec::new();
        input
            .fields(|input, id, kind| {
                seen.push((id, kind));
                if id == 1 {
                    assert_eq!(input.int(), Ok(-2));
                }
                Ok(id == 1)
            })
            .unwrap();
        assert_eq!(seen, [(1, kind::I32), (3, kind::BINARY), (4, kind::LIST), (20, kind::TRUE)]);
        assert_eq!(input.position(), bytes.len() - 1);
        for end in 0..bytes.len() - 1 {
            let cut = Compact::new(&bytes[..end]).fields(|_, _, _| Ok(false));
            assert_eq!(cut, Err(Fault::Ended), "{end}");
        }
    }

    #[test]
    fn endless_nesting_and_lengths_are_refused() {
        let nested = [0x1C; 100];
        assert_eq!(Compact::new(&nested).fields(|_, _, _| Ok(false)), Err(Fault::Malformed));
        let list = [0x19, 0xFC, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F];
        assert_eq!(Compact::new(&list).fields(|_, _, _| Ok(false)), Err(Fault::Ended));
    }

    proptest! {
        #[test]
        fn anything_ends(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut input = Compact::new(&bytes);
            let _ = input.fields(|_, _, _| Ok(false));
            prop_assert!(input.position() <= bytes.len());
        }
    }
}
