//! Compressed bodies.

use std::io::Write;

pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// With a checksum, as the command-line program writes it.
pub(crate) fn zstd(data: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// As `zstd --long=…` writes it.
pub(crate) fn zstd_long(data: &[u8], window_log: u32) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.long_distance_matching(true).unwrap();
    encoder.window_log(window_log).unwrap();
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// With a checksum of the whole content, as the command-line program writes it.
pub(crate) fn lz4(data: &[u8]) -> Vec<u8> {
    let info = lz4_flex::frame::FrameInfo::new().content_checksum(true);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn brotli(data: &[u8]) -> Vec<u8> {
    let mut encoder = brotli::CompressorWriter::new(Vec::new(), 1 << 16, 3, 22);
    encoder.write_all(data).unwrap();
    encoder.into_inner()
}

/// `(head, middle, tail)`: a brotli stream of the piece as often as the middle is repeated, and twice more.
pub(crate) fn brotli_of_many(piece: &[u8]) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let mut encoder = brotli::CompressorWriter::new(Vec::new(), 1 << 16, 1, 22);
    let mut ends = Vec::new();
    for _ in 0..4 {
        encoder.write_all(piece).unwrap();
        encoder.flush().unwrap();
        ends.push(encoder.get_ref().len());
    }
    let whole = encoder.into_inner();
    let [_, head, second, third] = ends[..] else { unreachable!() };
    // From the second on, the encoder stands where it stood before.
    assert_eq!(whole[head..second], whole[second..third]);
    (whole[..head].to_vec(), whole[head..second].to_vec(), whole[third..].to_vec())
}
