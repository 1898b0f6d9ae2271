//! Arrow bodies, by arrow-rs; `clients.rs` has those of pyarrow.

use arrow::array::RecordBatch;
use arrow::ipc::writer::{FileWriter, StreamWriter};

pub(crate) const STREAM: &str = "application/vnd.apache.arrow.stream";
pub(crate) const FILE: &str = "application/vnd.apache.arrow.file";

pub(crate) fn stream(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

pub(crate) fn file(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = FileWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}
