//! The metadata at a file's end. It is looked through before the parquet crate makes anything of it, because some of what it may claim
//! (a schema as deep as it is long, a group of two thousand million children) cannot be refused any more once it has been begun.

use std::mem::size_of;

use arrow::error::ArrowError;
use parquet::file::metadata::{
    ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader, ParquetStatisticsPolicy, RowGroupMetaData,
};

use super::super::batch::guarded;
use super::super::rows::Halt;
use super::compact::{Compact, Fault, kind};
use super::spool::Spool;
use super::{malformed, too_large};
use crate::error::{DataError, Position};

pub(super) const MAGIC: &[u8; 4] = b"PAR1";
pub(super) const MAGIC_ENCRYPTED: &[u8; 4] = b"PARE";

/// The metadata's length and the magic once more.
const TAIL_BYTES: u64 = 8;
/// Groups inside of each other.
const SCHEMA_DEPTH_MAX: usize = 64;
/// What the crate keeps of a node of the schema, roughly.
const NODE_BYTES: u64 = 512;
/// Elements of a list that is not looked into; a real file has hundreds.
const LIST_MAX: usize = 1 << 16;
/// The metadata may have this part of the memory that a file may take, as it comes …
const METADATA_SHARE: u64 = 16;
/// … and this part as it is kept.
const KEPT_SHARE: u64 = 4;

/// Reads a file's metadata; also says where it begins.
pub(super) fn read(spool: &Spool, memory_max: usize) -> Result<(ParquetMetaData, u64), Halt> {
    let end = spool.bytes();
    let mut tail = [0; TAIL_BYTES as usize];
    if end < MAGIC.len() as u64 + TAIL_BYTES {
        return Err(cut_short(end).into());
    }
    spool.read(end - TAIL_BYTES, &mut tail)?;
    let [a, b, c, d, magic @ ..] = tail;
    match &magic {
        MAGIC => {}
        MAGIC_ENCRYPTED => return Err(encrypted().into()),
        _ => return Err(cut_short(end).into()),
    }
    let length = u64::from(u32::from_le_bytes([a, b, c, d]));
    let start = (end - TAIL_BYTES).checked_sub(length).filter(|start| *start >= MAGIC.len() as u64);
    let start = start.ok_or_else(|| malformed(format!("its metadata is said to have {length} bytes, which are not there"), end))?;
    if length > memory_max as u64 / METADATA_SHARE {
        return Err(too_large("the metadata of a Parquet file", memory_max / METADATA_SHARE as usize, start).into());
    }
    let mut bytes = vec![0; length as usize];
    spool.read(start, &mut bytes)?;
    let metadata = decode(&bytes, memory_max, start)?;
    Ok((metadata, start))
}

fn decode(bytes: &[u8], memory_max: usize, start: u64) -> Result<ParquetMetaData, DataError> {
    let mut outline = Outline::default();
    Compact::new(bytes)
        .fields(|input, id, kind| outline.take(input, id, kind))
        .map_err(|_| malformed("its metadata cannot be read", start))?;
    if outline.encrypted {
        return Err(encrypted());
    }
    if outline.kept_bytes().is_none_or(|kept| kept > memory_max as u64 / KEPT_SHARE) {
        let what = "the metadata of a Parquet file, once it is read,";
        return Err(too_large(what, memory_max / KEPT_SHARE as usize, start));
    }
    let options = ParquetMetaDataOptions::new();
    let mut options = options.with_encoding_stats_policy(ParquetStatisticsPolicy::SkipAll);
    options.set_column_stats_policy(ParquetStatisticsPolicy::SkipAll);
    options.set_size_stats_policy(ParquetStatisticsPolicy::SkipAll);
    let read = || ParquetMetaDataReader::decode_metadata_with_options(bytes, Some(&options)).map_err(ArrowError::from);
    guarded(read).map_err(|reason| malformed(format!("its metadata cannot be read: {reason}"), start))
}

fn cut_short(end: u64) -> DataError {
    let position = Position { byte_offset: Some(end), ..Position::default() };
    DataError::malformed("truncated-parquet", "the Parquet file is cut short: it does not end as one", position)
}

pub(super) fn encrypted() -> DataError {
    DataError::malformed("encrypted-parquet", "encrypted Parquet files cannot be read", Position::default())
}

/// How large what the metadata describes will be.
#[derive(Debug, Default)]
struct Outline {
    schema: Option<Schema>,
    row_groups: Option<u64>,
    encrypted: bool,
}

#[derive(Debug, Default)]
struct Schema {
    nodes: u64,
    leaves: u64,
    /// every leaf is given the names of all groups that it is in
    path_bytes: u64,
}

impl Outline {
    /// `FileMetaData`
    fn take(&mut self, input: &mut Compact<'_>, id: i16, kind: u8) -> Result<bool, Fault> {
        match (id, kind) {
            (2, kind::LIST) if self.schema.is_none() => {
                self.schema = Some(Schema::read(input)?);
                Ok(true)
            }
            (4, kind::LIST) if self.row_groups.is_none() => {
                let (element, length) = input.list()?;
                self.row_groups = Some(length as u64);
                (0..length).try_for_each(|_| structure(input, element, |_, _, _| Ok(false)))?;
                Ok(true)
            }
            // Key-value metadata, column orders
            (5 | 7, kind::LIST) => {
                let (element, length) = input.list()?;
                if length > LIST_MAX {
                    return Err(Fault::Malformed);
                }
                (0..length).try_for_each(|_| structure(input, element, |_, _, _| Ok(false)))?;
                Ok(true)
            }
            (2 | 4 | 5 | 7, _) => Err(Fault::Malformed),
            (8, _) => {
                self.encrypted = true;
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    fn kept_bytes(&self) -> Option<u64> {
        let schema = self.schema.as_ref()?;
        let chunks = schema.leaves.checked_mul(size_of::<ColumnChunkMetaData>() as u64)?;
        let row_group = chunks.checked_add(size_of::<RowGroupMetaData>() as u64)?;
        let row_groups = self.row_groups.unwrap_or(0).checked_mul(row_group)?;
        let nodes = schema.nodes.checked_mul(NODE_BYTES)?;
        row_groups.checked_add(nodes)?.checked_add(schema.path_bytes)
    }
}

impl Schema {
    /// The schema's tree, as a list in which each group is followed by its children.
    fn read(input: &mut Compact<'_>) -> Result<Schema, Fault> {
        let (element, length) = input.list()?;
        let mut schema = Schema::default();
        // the groups that are open: their missing children, and the length of the names down to them
        let mut open: Vec<(usize, usize)> = Vec::new();
        for index in 0..length {
            let (name, children) = node(input, element)?;
            while open.last().is_some_and(|(missing, _)| *missing == 0) {
                open.pop();
            }
            let path = match open.last_mut() {
                Some((missing, path)) => {
                    *missing -= 1;
                    *path + name + size_of::<String>()
                }
                None if index == 0 => 0,
                None => return Err(Fault::Malformed),
            };
            schema.nodes += 1;
            if children > length - index - 1 || open.len() == SCHEMA_DEPTH_MAX {
                return Err(Fault::Malformed);
            }
            if children > 0 {
                open.push((children, path));
            } else {
                schema.leaves += 1;
                schema.path_bytes = schema.path_bytes.saturating_add(path as u64);
            }
        }
        Ok(schema)
    }
}

/// The length of a node's name, and how many children it has.
fn node(input: &mut Compact<'_>, element: u8) -> Result<(usize, usize), Fault> {
    let (mut name, mut children) = (0, 0);
    structure(input, element, |input, id, kind| {
        match (id, kind) {
            (4, kind::BINARY) => name = input.binary()?,
            (5, kind::I32) => children = usize::try_from(input.int()?).map_err(|_| Fault::Malformed)?,
            (4 | 5, _) => return Err(Fault::Malformed),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok((name, children))
}

/// One element of a list of structs, which all those lists are.
fn structure(
    input: &mut Compact<'_>,
    element: u8,
    take: impl FnMut(&mut Compact<'_>, i16, u8) -> Result<bool, Fault>,
) -> Result<(), Fault> {
    if element != kind::STRUCT {
        return Err(Fault::Malformed);
    }
    input.fields(take)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `FileMetaData` with just this schema: a name and a number of children for each node.
    fn schema(nodes: &[(&str, u8)]) -> Vec<u8> {
        let mut bytes = vec![0x29, 0xFC, nodes.len() as u8 | 0x80, (nodes.len() >> 7) as u8];
        for (name, children) in nodes {
            bytes.extend([0x48, name.len() as u8]);
            bytes.extend(name.as_bytes());
            bytes.extend([0x15, children * 2, 0]);
        }
        bytes.push(0);
        bytes
    }

    fn outline(bytes: &[u8]) -> Result<Outline, Fault> {
        let mut outline = Outline::default();
        Compact::new(bytes).fields(|input, id, kind| outline.take(input, id, kind))?;
        Ok(outline)
    }

    #[test]
    fn a_schema_is_measured() {
        let outline = outline(&schema(&[("root", 2), ("group", 2), ("a", 0), ("b", 0), ("c", 0)])).unwrap();
        let schema = outline.schema.unwrap();
        assert_eq!((schema.nodes, schema.leaves), (5, 3));
        assert_eq!(schema.path_bytes as usize, 6 + 6 + 1 + 5 * size_of::<String>());
    }

    #[test]
    fn schemas_that_cannot_be_are_refused() {
        let deep: Vec<(&str, u8)> = [("g", 1); 100].into_iter().chain([("leaf", 0)]).collect();
        let cases = [schema(&deep), schema(&[("root", 100), ("a", 0)]), schema(&[("root", 1), ("a", 0), ("b", 0)])];
        for bytes in cases {
            assert_eq!(outline(&bytes).unwrap_err(), Fault::Malformed);
        }
    }
}
