//! The codings by their libraries.

use std::io::{self, Read, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use pgsluice::ingest::Coding;

/// Data encoded in one of the ways that a coding has.
pub fn encoded(coding: Coding, data: &[u8], way: u8) -> Vec<u8> {
    let flag = |bit: u8| way >> bit & 1 == 1;
    match coding {
        Coding::Gzip => gzip(data, flag(0), flag(1)),
        Coding::Zstd => zstd(data, flag(0), flag(1), flag(2)),
        Coding::Lz4 => lz4(data, flag(0), flag(1), flag(2)),
        Coding::Brotli => brotli(data, u32::from(way & 7)),
    }
    .expect("memory takes everything")
}

fn gzip(data: &[u8], named: bool, stored: bool) -> io::Result<Vec<u8>> {
    let builder = flate2::GzBuilder::new();
    let builder = if named { builder.filename("a.csv").comment("c").extra(*b"x") } else { builder };
    let level = if stored { flate2::Compression::none() } else { flate2::Compression::default() };
    let mut encoder = builder.write(Vec::new(), level);
    encoder.write_all(data)?;
    encoder.finish()
}

fn zstd(data: &[u8], checksum: bool, sized: bool, fast: bool) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), if fast { -5 } else { 3 })?;
    encoder.include_checksum(checksum)?;
    encoder.set_pledged_src_size(sized.then_some(data.len() as u64))?;
    encoder.write_all(data)?;
    encoder.finish()
}

fn lz4(data: &[u8], linked: bool, checksums: bool, sized: bool) -> io::Result<Vec<u8>> {
    let mode = if linked { BlockMode::Linked } else { BlockMode::Independent };
    let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(mode);
    let info = info
        .content_size(sized.then_some(data.len() as u64))
        .block_checksums(checksums)
        .content_checksum(checksums);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(data)?;
    Ok(encoder.finish()?)
}

fn brotli(data: &[u8], quality: u32) -> io::Result<Vec<u8>> {
    let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, quality, 18);
    encoder.write_all(data)?;
    Ok(encoder.into_inner())
}

/// Damage to such a body cannot go unseen.
pub fn has_checksum(coding: Coding, body: &[u8]) -> bool {
    match coding {
        Coding::Gzip => true,
        Coding::Zstd | Coding::Lz4 => body[4] & 4 != 0,
        Coding::Brotli => false,
    }
}

/// What the plainest use of a library makes of a whole body, as far as one byte beyond the limit; for lz4 it is another library than
/// the product's.
pub fn decoded_by_library(coding: Coding, body: &[u8], bytes_max: u64) -> Option<Vec<u8>> {
    let mut decoded = Vec::new();
    let mut read = |reader: &mut dyn Read| reader.take(bytes_max + 1 - decoded.len() as u64).read_to_end(&mut decoded);
    match coding {
        Coding::Gzip => read(&mut flate2::read::MultiGzDecoder::new(body)).ok()?,
        Coding::Zstd => {
            let mut decoder = zstd::Decoder::new(body).ok()?;
            decoder.window_log_max(26).ok()?;
            read(&mut decoder).ok()?
        }
        Coding::Brotli => read(&mut brotli::Decompressor::new(body, 4096)).ok()?,
        Coding::Lz4 => {
            let mut rest = body;
            while !rest.is_empty() {
                let mut frame = lz4::Decoder::new(rest).ok()?;
                read(&mut frame).ok()?;
                let (left, ended) = frame.finish();
                ended.ok()?;
                rest = left;
            }
            0
        }
    };
    Some(decoded)
}
