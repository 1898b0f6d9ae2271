//! The rows of a batch as records of CSV, for those that are turned away: a column's value stands there as the literal that it would have
//! gone to the server as, so that the record can be corrected and loaded.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayData, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::bind::{Context, render};
use crate::ingest::rows::Target;
use crate::ingest::segment::{Origin, Values};

/// What an array takes beside its buffers.
const ARRAY_OVERHEAD_BYTES: usize = 256;

/// A batch that is kept for as long as one of its rows may still be turned away.
#[derive(Debug)]
pub(super) struct BatchValues {
    pub(super) batch: RecordBatch,
    pub(super) targets: Arc<[Target]>,
    pub(super) context: Context,
    /// where the first of its rows stands in the body
    pub(super) first_row: u64,
}

impl Values for BatchValues {
    fn record(&self, origin: Origin) -> Vec<u8> {
        let Origin::Row(row) = origin else {
            return Vec::new();
        };
        let index = row.checked_sub(self.first_row).and_then(|index| usize::try_from(index).ok());
        match index.filter(|index| *index < self.batch.num_rows()) {
            Some(index) => self.csv(index),
            None => Vec::new(),
        }
    }
}

impl BatchValues {
    pub(super) fn csv(&self, index: usize) -> Vec<u8> {
        let mut record = Vec::new();
        // By itself: which rows of a dictionary are NULL takes a look at every one of them.
        let row = self.batch.slice(index, 1);
        for (at, (array, target)) in row.columns().iter().zip(&*self.targets).enumerate() {
            if at > 0 {
                record.push(b',');
            }
            let is_null = array.logical_nulls().is_some_and(|nulls| nulls.is_null(0));
            if !is_null {
                put_field(&self.literal(array.as_ref(), target), &mut record);
            }
        }
        record
    }

    /// The value that is wrong may have no literal; then it is shown as Arrow shows it.
    fn literal(&self, value: &dyn Array, target: &Target) -> Vec<u8> {
        let mut literal = Vec::new();
        let rendered = render(&target.shape, value, self.context).is_some_and(|render| render(0, &mut literal).is_ok());
        if rendered {
            return literal;
        }
        let mut text = Bounded { text: String::new(), bytes_max: self.context.value_bytes_max };
        if let Ok(formatter) = ArrayFormatter::try_new(value, &FormatOptions::default()) {
            // An error is the end of the room, or a value that cannot be shown: what there is will do.
            let _ = write!(text, "{}", formatter.value(0));
        }
        text.text.into_bytes()
    }
}

/// The memory that the values of a batch stand in, by address, and its sizes. Buffers share allocations: those of one message, and
/// dictionaries and views those of batches before.
#[derive(Debug, Default)]
pub(super) struct Allocations(HashMap<usize, usize>);

impl Allocations {
    /// Goes on to the next batch, and says how much more memory it keeps than the one before, which must still be there.
    pub(super) fn change_to(&mut self, batch: &RecordBatch) -> usize {
        let mut found = HashMap::new();
        let mut arrays: Vec<ArrayData> = batch.columns().iter().map(Array::to_data).collect();
        let mut overhead = 0;
        while let Some(array) = arrays.pop() {
            let nulls = array.nulls().map(|nulls| nulls.buffer());
            let buffers = array.buffers().iter().chain(nulls);
            found.extend(buffers.map(|buffer| (buffer.data_ptr().addr().get(), buffer.capacity())));
            arrays.extend_from_slice(array.child_data());
            overhead += ARRAY_OVERHEAD_BYTES;
        }
        let before = std::mem::replace(&mut self.0, found);
        let new = self.0.iter().filter(|(address, _)| !before.contains_key(address));
        overhead + new.map(|(_, bytes)| bytes).sum::<usize>()
    }
}

/// The names of the columns, as the header that goes before the records.
pub(super) fn csv_header(names: &[String]) -> Vec<u8> {
    let mut header = Vec::new();
    for (at, name) in names.iter().enumerate() {
        if at > 0 {
            header.push(b',');
        }
        put_field(name.as_bytes(), &mut header);
    }
    header
}

/// A field that is not NULL: quoted where it would mean something else without (RFC 4180; and COPY's `\.` and empty string).
fn put_field(value: &[u8], record: &mut Vec<u8>) {
    let plain = !value.is_empty() && value != b"\\." && !value.iter().any(|byte| b",\"\r\n".contains(byte));
    if plain {
        return record.extend_from_slice(value);
    }
    record.push(b'"');
    for byte in value {
        if *byte == b'"' {
            record.push(b'"');
        }
        record.push(*byte);
    }
    record.push(b'"');
}

/// Text that stops growing at a limit.
struct Bounded {
    text: String,
    bytes_max: usize,
}

impl std::fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        if self.text.len() + text.len() > self.bytes_max {
            return Err(std::fmt::Error);
        }
        self.text.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, DictionaryArray, Int32Array, StringArray};

    #[test]
    fn what_batches_share_is_counted_once() {
        let overhead = 2 * ARRAY_OVERHEAD_BYTES;
        let long = "x".repeat(1000);
        let values: ArrayRef = Arc::new(StringArray::from(vec![long.as_str(), "y"]));
        let keys = |keys: Vec<i32>| DictionaryArray::new(Int32Array::from(keys), Arc::clone(&values));
        let batch = |array: ArrayRef| RecordBatch::try_from_iter([("a", array)]).unwrap();
        let mut kept = Allocations::default();
        let first = batch(Arc::new(keys(vec![0; 100])));
        let second = batch(Arc::new(keys(vec![1; 100])));
        let bytes = kept.change_to(&first) - overhead;
        assert!((1400..2000).contains(&bytes), "{bytes}");
        let bytes = kept.change_to(&second) - overhead;
        assert!((400..600).contains(&bytes), "{bytes}");
        assert_eq!(kept.change_to(&second), overhead);
        assert_eq!(kept.change_to(&second.slice(50, 50)), overhead);
    }

    #[test]
    fn fields_that_mean_something_are_quoted() {
        let names = ["a", "", "b,c", "d\"e", "\\.", "f\ng", " h"].map(str::to_owned);
        assert_eq!(csv_header(&names), b"a,\"\",\"b,c\",\"d\"\"e\",\"\\.\",\"f\ng\", h");
    }
}
