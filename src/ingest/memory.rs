//! How much memory a load may come to need, told before its body is asked for: what the admission of loads counts with.

use super::decompress::{self, Coding};
use super::rejects::OnError;
use super::transcode::Encoding;
use super::{Format, copy};
use crate::config::Limits;

/// The worst case of each stage by its own limit, in bytes; a load that stays below them takes less. The sum of:
///
/// - what waits between the stages, which is bounded whatever the body is;
/// - the windows of what undoes `Content-Encoding`;
/// - for text in another encoding: a record, before and after it is converted;
/// - CSV, text, NDJSON: a record as it comes and as it is encoded;
/// - Arrow: a message as it comes and as it is decoded;
/// - Parquet: what has to be in memory of the file at once;
/// - where bad rows are turned away: the segment that is kept, and their report.
pub fn memory_bytes(format: &Format, codings: &[Coding], encoding: Encoding, on_error: OnError, limits: &Limits) -> u64 {
    let queues = limits.body_queue_bytes + limits.chunk_queue_bytes;
    let record_twice = 2 * limits.record_bytes_max;
    let convert = match encoding {
        Encoding::Utf8 => 0,
        Encoding::Foreign(_) => record_twice,
    };
    let decode = match format {
        Format::Csv(_) | Format::Ndjson(_) => record_twice,
        Format::Arrow(_) => 2 * limits.arrow_message_bytes_max,
        Format::Parquet(_) => limits.parquet_memory_bytes_max,
    };
    let keep = match on_error {
        OnError::Abort => 0,
        OnError::Skip(_) => copy::KEPT_BYTES_MAX + limits.reject_report_bytes_max,
    };
    (queues + decompress::memory_bytes(codings) + convert + decode + keep) as u64
}
