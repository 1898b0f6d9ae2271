//! Page headers, read here so that what they claim can be checked before it is believed.
//!
//! Format: <https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>, `PageHeader`.

use parquet::basic::Encoding;

use super::compact::{Compact, Fault, kind};

/// What stands in front of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// the page's bytes as they stand in the file …
    pub(super) compressed: usize,
    /// … and as they are meant
    pub(super) uncompressed: usize,
    /// of the bytes as they stand in the file
    pub(super) crc: Option<u32>,
    /// NULLs are values too
    pub(super) values: u32,
    pub(super) encoding: Encoding,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Dictionary { sorted: bool },
    Data { definition: Encoding, repetition: Encoding },
    DataV2 { nulls: u32, rows: u32, definition_bytes: u32, repetition_bytes: u32, compressed: bool },
}

impl Header {
    /// Reads a header; also says how long it is.
    pub(super) fn read(bytes: &[u8]) -> Result<(Header, usize), Fault> {
        let mut input = Compact::new(bytes);
        let mut raw = Raw::default();
        input.fields(|input, id, kind| raw.take(input, id, kind))?;
        let header = raw.check().ok_or(Fault::Malformed)?;
        Ok((header, input.position()))
    }

    pub(super) fn is_dictionary(&self) -> bool {
        matches!(self.kind, Kind::Dictionary { .. })
    }
}

/// The fields as they come. Those of the three kinds of pages have some in common.
#[derive(Debug, Default)]
struct Raw {
    page_type: Option<i64>,
    uncompressed: Option<i64>,
    compressed: Option<i64>,
    crc: Option<i64>,
    /// by the field that it came in
    page: Option<(i16, [Option<i64>; 8])>,
}

/// `PageHeader`'s fields for each kind of page.
const DATA: i16 = 5;
const DICTIONARY: i16 = 7;
const DATA_V2: i16 = 8;

impl Raw {
    fn take(&mut self, input: &mut Compact<'_>, id: i16, kind: u8) -> Result<bool, Fault> {
        let field = match (id, kind) {
            (1, kind::I32) => &mut self.page_type,
            (2, kind::I32) => &mut self.uncompressed,
            (3, kind::I32) => &mut self.compressed,
            (4, kind::I32) => &mut self.crc,
            (DATA | DICTIONARY | DATA_V2, kind::STRUCT) if self.page.is_none() => {
                let mut fields = [None; 8];
                input.fields(|input, id, kind| take_number(&mut fields, input, id, kind))?;
                self.page = Some((id, fields));
                return Ok(true);
            }
            (1..=5 | 7 | 8, _) => return Err(Fault::Malformed),
            _ => return Ok(false),
        };
        *field = Some(input.int()?);
        Ok(true)
    }

    fn check(self) -> Option<Header> {
        let natural = |value: Option<i64>| u32::try_from(value?).ok().filter(|value| *value <= i32::MAX.cast_unsigned());
        let (kind, values, encoding) = match (self.page_type?, self.page) {
            (0, Some((DATA, [_, values, encoding, definition, repetition, ..]))) => {
                let kind = Kind::Data { definition: encoding_of(definition)?, repetition: encoding_of(repetition)? };
                (kind, values, encoding)
            }
            (2, Some((DICTIONARY, [_, values, encoding, sorted, ..]))) => {
                (Kind::Dictionary { sorted: sorted == Some(1) }, values, encoding)
            }
            (3, Some((DATA_V2, [_, values, nulls, rows, encoding, definition_bytes, repetition_bytes, compressed]))) => {
                let kind = Kind::DataV2 {
                    nulls: natural(nulls)?,
                    rows: natural(rows)?,
                    definition_bytes: natural(definition_bytes)?,
                    repetition_bytes: natural(repetition_bytes)?,
                    compressed: compressed != Some(0),
                };
                (kind, values, encoding)
            }
            // Nobody writes the fourth kind, index pages.
            _ => return None,
        };
        Some(Header {
            kind,
            compressed: natural(self.compressed)? as usize,
            uncompressed: natural(self.uncompressed)? as usize,
            crc: self.crc.map(|crc| crc as u32),
            values: natural(values)?,
            encoding: encoding_of(encoding)?,
        })
    }
}

/// All fields of interest are numbers or booleans, and have ids up to 7.
fn take_number(fields: &mut [Option<i64>; 8], input: &mut Compact<'_>, id: i16, kind: u8) -> Result<bool, Fault> {
    let field = usize::try_from(id).ok().and_then(|id| fields.get_mut(id));
    match (field, kind) {
        (Some(field), kind::I32) => *field = Some(input.int()?),
        (Some(field), kind::TRUE) => *field = Some(1),
        (Some(field), kind::FALSE) => *field = Some(0),
        _ => return Ok(false),
    }
    Ok(true)
}

fn encoding_of(number: Option<i64>) -> Option<Encoding> {
    Some(match number? {
        0 => Encoding::PLAIN,
        2 => Encoding::PLAIN_DICTIONARY,
        3 => Encoding::RLE,
        #[allow(deprecated, reason = "old files have it")]
        4 => Encoding::BIT_PACKED,
        5 => Encoding::DELTA_BINARY_PACKED,
        6 => Encoding::DELTA_LENGTH_BYTE_ARRAY,
        7 => Encoding::DELTA_BYTE_ARRAY,
        8 => Encoding::RLE_DICTIONARY,
        9 => Encoding::BYTE_STREAM_SPLIT,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A data page: 7 values, 10 bytes of 20, PLAIN, levels in RLE, statistics that are passed over.
    const DATA_PAGE: [u8; 21] = [0x15, 0, 0x15, 40, 0x15, 20, 0x2C, 0x15, 14, 0x15, 0, 0x15, 6, 0x15, 6, 0x1C, 0x28, 1, b'x', 0, 0];

    #[test]
    fn a_data_page_is_read_and_a_part_of_one_is_not() {
        let bytes = [DATA_PAGE.as_slice(), &[0, 9, 9]].concat();
        let (header, length) = Header::read(&bytes).unwrap();
        assert_eq!(length, bytes.len() - 2);
        let kind = Kind::Data { definition: Encoding::RLE, repetition: Encoding::RLE };
        let expected = Header {
            kind,
            compressed: 10,
            uncompressed: 20,
            crc: None,
            values: 7,
            encoding: Encoding::PLAIN,
        };
        assert_eq!(header, expected);
        for end in 0..length {
            assert_eq!(Header::read(&bytes[..end]), Err(Fault::Ended), "{end}");
        }
    }

    #[test]
    fn negative_sizes_and_unknown_encodings_are_refused() {
        for (at, value) in [(3, 41), (5, 21), (8, 15), (10, 20), (1, 8), (0, 0x16)] {
            let mut bytes = [DATA_PAGE.as_slice(), &[0]].concat();
            bytes[at] = value;
            assert_eq!(Header::read(&bytes), Err(Fault::Malformed), "byte {at}");
        }
    }
}
