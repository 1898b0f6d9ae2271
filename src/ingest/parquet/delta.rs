//! Lengths in DELTA_BINARY_PACKED, with which two of Parquet's encodings of strings begin.
//!
//! Format: <https://parquet.apache.org/docs/file-format/data-pages/encodings/>

use super::compact::Compact;

/// How many bytes the strings of a DELTA_BYTE_ARRAY page have, each of which may begin as the one before it does: a small page can hold
/// very many. `None` if that cannot be read, or there are more than `count_max`.
pub(super) fn expanded_bytes(bytes: &[u8], count_max: usize) -> Option<u64> {
    let mut prefixes = 0u64;
    let suffixes = lengths(bytes, count_max, |length| prefixes += length)?;
    let data = lengths(suffixes, count_max, |_| {})?;
    Some(prefixes + data.len() as u64)
}

/// Reads a run of lengths and returns what comes after them. `None` if they cannot be read, or are more than `count_max`.
pub(super) fn lengths(bytes: &[u8], count_max: usize, mut each: impl FnMut(u64)) -> Option<&[u8]> {
    let mut input = Compact::new(bytes);
    let block = usize::try_from(input.varint().ok()?).ok().filter(|block| *block <= 1 << 20)?;
    let miniblocks = usize::try_from(input.varint().ok()?).ok()?;
    let mut left = usize::try_from(input.varint().ok()?).ok().filter(|count| *count <= count_max)?;
    let per_miniblock = block.checked_div(miniblocks).filter(|count| *count > 0 && count.is_multiple_of(32))?;
    let mut length = input.int().ok()?;
    if left > 0 {
        each(natural(length)?);
        left -= 1;
    }
    while left > 0 {
        let least = input.int().ok()?;
        for width in input.take(miniblocks).ok()?.iter().map(|width| usize::from(*width)) {
            if left == 0 {
                break;
            }
            let packed = input.take(per_miniblock * width / 8).ok().filter(|_| width <= 32)?;
            for index in 0..per_miniblock.min(left) {
                length = length.checked_add(least)?.checked_add(unpack(packed, index, width))?;
                each(natural(length)?);
                left -= 1;
            }
        }
    }
    bytes.get(input.position()..)
}

/// A length is an INT32.
fn natural(length: i64) -> Option<u64> {
    i32::try_from(length).ok().and_then(|length| u64::try_from(length).ok())
}

/// A value of up to 32 bits, the lowest ones first.
fn unpack(packed: &[u8], index: usize, width: usize) -> i64 {
    let bit = index * width;
    let mut window = [0; 8];
    for (to, from) in window.iter_mut().zip(packed.iter().skip(bit / 8)) {
        *to = *from;
    }
    (u64::from_le_bytes(window) >> (bit % 8) & ((1 << width) - 1)).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn put(out: &mut Vec<u8>, mut value: u64) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }

    fn zigzag(value: i64) -> u64 {
        (value << 1 ^ value >> 63).cast_unsigned()
    }

    /// Blocks of 128 in four miniblocks, as most writers have them.
    fn encode(lengths: &[i32]) -> Vec<u8> {
        let mut out = Vec::new();
        for number in [128, 4, lengths.len() as u64] {
            put(&mut out, number);
        }
        put(&mut out, zigzag(lengths.first().copied().unwrap_or(0).into()));
        let deltas: Vec<i64> = lengths.windows(2).map(|pair| i64::from(pair[1]) - i64::from(pair[0])).collect();
        for block in deltas.chunks(128) {
            let least = *block.iter().min().unwrap();
            put(&mut out, zigzag(least));
            let width = |mini: &[i64]| mini.iter().map(|delta| 64 - (delta - least).leading_zeros()).max().unwrap_or(0) as usize;
            out.extend((0..4).map(|mini| block.chunks(32).nth(mini).map_or(0, width) as u8));
            for mini in block.chunks(32) {
                let width = width(mini);
                let mut bits = vec![0u8; width * 4];
                for (index, delta) in mini.iter().enumerate() {
                    for bit in (0..width).filter(|bit| (delta - least) >> bit & 1 == 1) {
                        let at = index * width + bit;
                        bits[at / 8] |= 1 << (at % 8);
                    }
                }
                out.extend(bits);
            }
        }
        out
    }

    proptest! {
        #[test]
        fn lengths_are_read_as_they_were_written(expected in prop::collection::vec(prop_oneof![0..20i32, 0..=i32::MAX], 0..400)) {
            let bytes = [encode(&expected), vec![7, 7]].concat();
            let mut found = Vec::new();
            let rest = lengths(&bytes, expected.len(), |length| found.push(length as i32));
            prop_assert_eq!(rest, Some(&[7u8, 7][..]));
            prop_assert_eq!(&found, &expected);
            let too_many = expected.len().checked_sub(1).and_then(|most| lengths(&bytes, most, drop));
            prop_assert_eq!(too_many, None);
        }

        #[test]
        fn anything_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = expanded_bytes(&bytes, 1000);
        }
    }

    #[test]
    fn shared_beginnings_are_counted() {
        // "x" a thousand times, and then 50 strings that all begin so.
        let prefixes: Vec<i32> = std::iter::once(0).chain([1000; 50]).collect();
        let suffixes: Vec<i32> = std::iter::once(1000).chain([0; 50]).collect();
        let page = [encode(&prefixes), encode(&suffixes), vec![b'x'; 1000]].concat();
        assert_eq!(expanded_bytes(&page, 51), Some(51_000));
    }
}
