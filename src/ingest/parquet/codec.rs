//! Pages, decompressed into just as many bytes as their headers say. The parquet crate's own way trusts a gzip, brotli or LZ4 page to
//! end where its header says that it does.

use std::io::Read;

use parquet::basic::Compression;

/// Decompresses `input`, which has to become `length` bytes.
///
/// # Errors
/// What is wrong with it.
pub(super) fn decompress(codec: Compression, input: &[u8], length: usize) -> Result<Vec<u8>, String> {
    let output = match codec {
        Compression::SNAPPY => snappy(input, length)?,
        Compression::GZIP(_) => limited(flate2::read::MultiGzDecoder::new(input), length)?,
        Compression::BROTLI(_) => brotli(input, length)?,
        Compression::ZSTD(_) => zstd(input, length)?,
        Compression::LZ4_RAW => lz4(input, length)?,
        Compression::LZ4 => deprecated_lz4(input, length)?,
        Compression::LZO | Compression::UNCOMPRESSED => return Err(format!("pages cannot be decompressed as {codec:?}")),
    };
    match output.len() {
        found if found == length => Ok(output),
        found => Err(format!("a page has {found} bytes or more where its header says {length}")),
    }
}

fn snappy(input: &[u8], length: usize) -> Result<Vec<u8>, String> {
    let declared = snap::raw::decompress_len(input).map_err(|error| error.to_string())?;
    if declared != length {
        return Err(format!("a page says that it has {declared} bytes where its header says {length}"));
    }
    let mut output = vec![0; length];
    let decoded = snap::raw::Decoder::new().decompress(input, &mut output);
    decoded.map_err(|error| error.to_string())?;
    Ok(output)
}

/// One byte more than there should be is enough to know that there are too many.
fn limited(input: impl Read, length: usize) -> Result<Vec<u8>, String> {
    let mut output = Vec::with_capacity(length + 1);
    let read = input.take(length as u64 + 1).read_to_end(&mut output);
    read.map_err(|error| error.to_string())?;
    Ok(output)
}

fn brotli(input: &[u8], length: usize) -> Result<Vec<u8>, String> {
    // "Large window brotli", which RFC 7932 does not know: its window takes up to a GiB, whatever the page becomes.
    if input.first().is_some_and(|byte| byte & 0x7F == 0x11) {
        return Err("a brotli page has a large window".to_owned());
    }
    limited(brotli::Decompressor::new(input, 64 << 10), length)
}

fn zstd(input: &[u8], length: usize) -> Result<Vec<u8>, String> {
    let mut output = vec![0; length];
    let decoded = zstd::bulk::decompress_to_buffer(input, output.as_mut_slice());
    output.truncate(decoded.map_err(|error| error.to_string())?);
    Ok(output)
}

fn lz4(input: &[u8], length: usize) -> Result<Vec<u8>, String> {
    let mut output = vec![0; length];
    let decoded = lz4_flex::block::decompress_into(input, &mut output);
    output.truncate(decoded.map_err(|error| error.to_string())?);
    Ok(output)
}

/// What older writers call LZ4 is one of three things: Hadoop's frames, LZ4's own frames, or a bare block.
fn deprecated_lz4(input: &[u8], length: usize) -> Result<Vec<u8>, String> {
    if let Some(output) = hadoop_lz4(input, length) {
        return Ok(output);
    }
    match limited(lz4_flex::frame::FrameDecoder::new(input), length) {
        Ok(output) if output.len() == length => Ok(output),
        _ => lz4(input, length),
    }
}

/// Frames of two big-endian lengths, decompressed and compressed, and a block.
fn hadoop_lz4(mut input: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut output = Vec::with_capacity(length);
    while !input.is_empty() {
        let (head, rest) = input.split_first_chunk::<8>()?;
        let [a, b, c, d, compressed @ ..] = *head;
        let decompressed = u32::from_be_bytes([a, b, c, d]) as usize;
        let (block, rest) = rest.split_at_checked(u32::from_be_bytes(compressed) as usize)?;
        if decompressed > length - output.len() {
            return None;
        }
        let block = lz4(block, decompressed).ok().filter(|block| block.len() == decompressed)?;
        output.extend_from_slice(&block);
        input = rest;
    }
    (output.len() == length).then_some(output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn pages(text: &[u8]) -> Vec<(Compression, Vec<u8>)> {
        let gzip = |text: &[u8]| {
            let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            writer.write_all(text).unwrap();
            writer.finish().unwrap()
        };
        let mut brotli = Vec::new();
        brotli::CompressorReader::new(text, 4096, 5, 22).read_to_end(&mut brotli).unwrap();
        let block = lz4_flex::block::compress(text);
        let sizes = [text.len() as u32, block.len() as u32].map(u32::to_be_bytes).concat();
        let mut frame = lz4_flex::frame::FrameEncoder::new(Vec::new());
        frame.write_all(text).unwrap();
        vec![
            (Compression::SNAPPY, snap::raw::Encoder::new().compress_vec(text).unwrap()),
            (Compression::GZIP(Default::default()), gzip(text)),
            (Compression::BROTLI(Default::default()), brotli),
            (Compression::ZSTD(Default::default()), zstd::bulk::compress(text, 1).unwrap()),
            (Compression::LZ4_RAW, block.clone()),
            (Compression::LZ4, [sizes, block.clone()].concat()),
            (Compression::LZ4, frame.finish().unwrap()),
            (Compression::LZ4, block),
        ]
    }

    #[test]
    fn every_codec_gives_what_was_put_in_and_no_more_than_was_announced() {
        let text = "the same again and ".repeat(1000).into_bytes();
        for (codec, page) in pages(&text) {
            assert_eq!(decompress(codec, &page, text.len()).unwrap(), text, "{codec:?}");
            for wrong in [0, 1, text.len() - 1, text.len() + 1, text.len() * 2] {
                assert!(decompress(codec, &page, wrong).is_err(), "{codec:?} as {wrong} bytes");
            }
            for end in [0, 1, 5, page.len() / 2] {
                assert!(decompress(codec, &page[..end], text.len()).is_err(), "{codec:?} cut at {end}");
            }
        }
    }

    #[test]
    fn a_large_brotli_window_is_refused() {
        // The head of a stream with a window of 2^30 bytes.
        assert!(decompress(Compression::BROTLI(Default::default()), &[0x11, 0x1E, 0, 0], 10).is_err());
    }
}
