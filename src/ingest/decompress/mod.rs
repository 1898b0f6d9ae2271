//! Stage *decompress*: undoes `Content-Encoding`, between *body* and *parse*, on the load's own encoding thread.
//!
//! A body without a coding goes through untouched and uncopied. With codings, the reader of the coding that was applied last stands on
//! the queue, the one before it on that reader, and so on. Each runs through its members (gzip's word; zstd and lz4 call them frames)
//! until nothing is left: the end of a member must be there, and what follows it must be another one. So a body that was cut short
//! anywhere ends in an error and is never committed.

mod layer;
mod member;

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};

use self::layer::{Budget, Layer, Stopped};
use super::queue::{Item, Receiver};
use super::rows::Halt;
use crate::config::Limits;

/// What is decoded at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// The largest zstd window, which is what `zstd --long=26` asks for; RFC 9659 has 8 MiB for HTTP. A window is memory.
const ZSTD_WINDOW_LOG_MAX: u32 = 26;
/// The same where zstd was applied more than once, and every layer has its own window.
const ZSTD_STACKED_WINDOW_LOG_MAX: u32 = 23;

/// Brotli's largest window, without the extension that HTTP does not have.
const BROTLI_WINDOW_BYTES_MAX: usize = 16 << 20;
/// A block of the LZ4 frame format, as it comes and decoded.
const LZ4_BLOCKS_BYTES_MAX: usize = 2 * (4 << 20);
/// gzip's window is 32 KiB; each layer has a buffer beside it.
const LAYER_BYTES: usize = 2 * CHUNK_BYTES;

/// A coding of `Content-Encoding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952
    Gzip,
    /// RFC 8878
    Zstd,
    /// the LZ4 frame format
    Lz4,
    /// RFC 7932
    Brotli,
}

impl Coding {
    fn name(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Zstd => "zstd",
            Coding::Lz4 => "lz4",
            Coding::Brotli => "brotli",
        }
    }
}

fn zstd_window_log_max(codings: &[Coding]) -> u32 {
    let zstds = codings.iter().filter(|coding| **coding == Coding::Zstd).count();
    if zstds > 1 { ZSTD_STACKED_WINDOW_LOG_MAX } else { ZSTD_WINDOW_LOG_MAX }
}

/// What undoing these codings takes of memory at worst.
pub(super) fn memory_bytes(codings: &[Coding]) -> usize {
    let window_bytes = |coding: &Coding| match coding {
        Coding::Gzip => 0,
        Coding::Zstd => 1 << zstd_window_log_max(codings),
        Coding::Lz4 => LZ4_BLOCKS_BYTES_MAX,
        Coding::Brotli => BROTLI_WINDOW_BYTES_MAX,
    };
    codings.iter().map(|coding| LAYER_BYTES + window_bytes(coding)).sum()
}

/// The body as its format has it.
pub(super) struct Body {
    source: Source,
    tally: Rc<Tally>,
}

enum Source {
    Plain(Inlet),
    Coded { reader: Box<dyn Read>, chunk: Box<[u8]> },
}

/// What all readers of one body share.
#[derive(Default)]
struct Tally {
    /// bytes taken from the queue
    received: Cell<u64>,
    /// time spent on waiting for them
    waited: Cell<Duration>,
}

impl Body {
    /// A body from the queue, to which these codings were applied in this order.
    pub(super) fn new(queue: Receiver<Bytes>, codings: &[Coding], limits: &Limits) -> Body {
        let tally = Rc::new(Tally::default());
        let inlet = Inlet { queue, frame: Bytes::new(), ended: false, tally: Rc::clone(&tally) };
        let budget = Budget {
            bytes_max: limits.decoded_bytes_max,
            ratio_max: limits.decoded_ratio_max,
            tally: Rc::clone(&tally),
        };
        let window_log_max = zstd_window_log_max(codings);
        let layer = |input, coding| Layer::new(coding, input, window_log_max, budget.clone());
        let source = match codings {
            [] => Source::Plain(inlet),
            [inner @ .., last] => {
                let outermost = layer(Box::new(inlet), *last);
                let stack = |below, coding: &Coding| layer(Box::new(BufReader::with_capacity(CHUNK_BYTES, below)), *coding);
                let innermost = inner.iter().rev().fold(outermost, stack);
                Source::Coded { reader: Box::new(innermost), chunk: vec![0; CHUNK_BYTES].into() }
            }
        };
        Body { source, tally }
    }

    /// The next bytes; `None` at the body's proper end. After an error there are no more.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, Halt> {
        match &mut self.source {
            Source::Plain(inlet) => inlet.next(),
            Source::Coded { reader, chunk } => {
                let length = reader.read(chunk).map_err(Stopped::unwrap)?;
                Ok((length > 0).then(|| &chunk[..length]))
            }
        }
    }

    /// How long this has waited for the client so far.
    pub(super) fn waited(&self) -> Duration {
        self.tally.waited.get()
    }
}

/// The near end of the body's queue.
struct Inlet {
    queue: Receiver<Bytes>,
    frame: Bytes,
    ended: bool,
    tally: Rc<Tally>,
}

impl Inlet {
    fn next(&mut self) -> Result<Option<&[u8]>, Halt> {
        if self.ended {
            return Ok(None);
        }
        let waiting_since = Instant::now();
        let item = self.queue.blocking_recv()?;
        self.tally.waited.set(self.tally.waited.get() + waiting_since.elapsed());
        match item {
            Item::Value(frame) => {
                self.tally.received.set(self.tally.received.get() + frame.len() as u64);
                self.frame = frame;
                Ok(Some(&self.frame))
            }
            Item::End => {
                self.ended = true;
                Ok(None)
            }
        }
    }
}

impl BufRead for Inlet {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.frame.is_empty() {
            if self.next().map_err(Stopped::wrap)?.is_none() {
                break;
            }
        }
        Ok(&self.frame)
    }

    fn consume(&mut self, amount: usize) {
        self.frame.advance(amount);
    }
}

impl Read for Inlet {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(out)?;
        self.consume(length);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::ingest::apart::decompress;

    /// What the codings leave of a body that comes in frames of this size, or the short name of the problem.
    fn decode(body: &[u8], codings: &[Coding], frame_bytes: usize, limits: &Limits) -> Result<Vec<u8>, &'static str> {
        decompress(codings, limits, body.chunks(frame_bytes))
    }

    fn whole(body: &[u8], coding: Coding) -> Result<Vec<u8>, &'static str> {
        decode(body, &[coding], 1000, &Limits::default())
    }

    fn csv(rows: u32) -> Vec<u8> {
        (0..rows)
            .flat_map(|row| format!("{row},{},\"word {}\"\n", row.wrapping_mul(2_654_435_761), row % 7).into_bytes())
            .collect()
    }

    fn gzip(data: &[u8]) -> Vec<u8> {
        let builder = flate2::GzBuilder::new().filename("a.csv").comment("c").extra(*b"x");
        let mut encoder = builder.write(Vec::new(), flate2::Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd_with(data: &[u8], checksum: bool, window_log: u32) -> Vec<u8> {
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
        encoder.include_checksum(checksum).unwrap();
        if window_log > 0 {
            encoder.long_distance_matching(true).unwrap();
            encoder.window_log(window_log).unwrap();
        }
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn lz4(data: &[u8], info: lz4_flex::frame::FrameInfo) -> Vec<u8> {
        let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn lz4_info(linked: bool, checksums: bool, size: Option<u64>) -> lz4_flex::frame::FrameInfo {
        use lz4_flex::frame::{BlockMode, BlockSize, FrameInfo};
        let mode = if linked { BlockMode::Linked } else { BlockMode::Independent };
        let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(mode).content_size(size);
        info.block_checksums(checksums).content_checksum(checksums)
    }

    fn brotli(data: &[u8]) -> Vec<u8> {
        let mut encoder = ::brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
        encoder.write_all(data).unwrap();
        encoder.into_inner()
    }

    /// The same data by every coding, in every way of writing its end.
    fn bodies(data: &[u8]) -> Vec<(Coding, Vec<u8>)> {
        let mut bodies = vec![
            (Coding::Gzip, gzip(data)),
            (Coding::Zstd, zstd_with(data, false, 0)),
            (Coding::Zstd, zstd_with(data, true, 0)),
            (Coding::Zstd, ::zstd::bulk::compress(data, 3).unwrap()),
            (Coding::Brotli, brotli(data)),
        ];
        for (linked, checksums) in [(false, false), (false, true), (true, false), (true, true)] {
            for size in [None, Some(data.len() as u64)] {
                bodies.push((Coding::Lz4, lz4(data, lz4_info(linked, checksums, size))));
            }
        }
        bodies
    }

    /// Found by fuzzing: what ends a frame of zstd too early may show in its first bytes, and has to come out as it is.
    #[test]
    fn a_cut_below_a_small_zstd_frame_is_a_cut() {
        for data in [&b"2*\0"[..], b"", b"a,b\n1,2\n3,4\n"] {
            let frame = zstd_with(data, true, 0);
            for (coding, body) in
                [(Coding::Gzip, gzip(&frame)), (Coding::Brotli, brotli(&frame)), (Coding::Zstd, zstd_with(&frame, true, 0))]
            {
                for (cut, frame_bytes) in (1..body.len()).flat_map(|cut| [(cut, 1), (cut, 1000)]) {
                    let decoded = decode(&body[..cut], &[Coding::Zstd, coding], frame_bytes, &Limits::default());
                    assert_eq!(decoded, Err("truncated-encoding"), "{coding:?} cut at {cut}");
                }
            }
        }
    }

    /// Found by fuzzing: the library holds such a frame to its size where it has all of it at once, and does not where it comes piece by piece.
    #[test]
    fn a_zstd_frame_that_ends_with_an_empty_block_has_the_size_that_it_tells() {
        let frame = |told: u8, data: &[u8]| {
            let mut frame = vec![0x28, 0xB5, 0x2F, 0xFD, 0x20, told];
            if !data.is_empty() {
                frame.extend([(data.len() as u8) << 3, 0, 0]);
                frame.extend(data);
            }
            frame.extend([1, 0, 0]);
            frame
        };
        for frame_bytes in [1, 2, 7, 1000] {
            let decode = |body: &[u8]| decode(body, &[Coding::Zstd], frame_bytes, &Limits::default());
            assert_eq!(decode(&frame(0, b"")), Ok(Vec::new()));
            assert_eq!(decode(&frame(5, b"a,b,c")), Ok(b"a,b,c".to_vec()));
            for (told, data) in [(5, &b""[..]), (6, b"a,b,c"), (0, b"a,b,c")] {
                assert_eq!(decode(&frame(told, data)), Err("corrupt-encoding"), "{told} in {frame_bytes}");
            }
        }
    }

    #[test]
    fn what_was_encoded_is_decoded_however_it_is_framed() {
        for data in [csv(5000), csv(10), vec![0; 1_000_000]] {
            for (coding, body) in bodies(&data) {
                for frame_bytes in [1, 7, 4096, 1 << 20] {
                    let decoded = decode(&body, &[coding], frame_bytes, &Limits::default());
                    assert!(decoded.as_ref() == Ok(&data), "{coding:?} in frames of {frame_bytes}: {:?}", decoded.err());
                }
            }
        }
    }

    #[test]
    fn a_body_cut_at_any_byte_is_refused() {
        for (coding, body) in bodies(&csv(40)).into_iter().chain(bodies(b"")) {
            for kept in 1..body.len() {
                assert_eq!(whole(&body[..kept], coding), Err("truncated-encoding"), "{coding:?}: {kept} of {}", body.len());
            }
        }
    }

    #[test]
    fn a_body_of_many_blocks_cut_anywhere_is_refused() {
        for (coding, body) in bodies(&csv(20_000)) {
            for kept in (1..body.len()).step_by(997).chain(body.len() - 12..body.len()) {
                assert_eq!(whole(&body[..kept], coding), Err("truncated-encoding"), "{coding:?}: {kept} of {}", body.len());
            }
        }
    }

    #[test]
    fn many_members_are_one_body_and_anything_else_is_not() {
        let data = csv(40);
        let twice = [data.as_slice(), &data].concat();
        for (coding, body) in bodies(&data) {
            let two = [body.as_slice(), &body].concat();
            for frame_bytes in [1, 1000] {
                let decoded = decode(&two, &[coding], frame_bytes, &Limits::default());
                match coding {
                    Coding::Brotli => assert_eq!(decoded, Err("corrupt-encoding")),
                    _ => assert!(decoded == Ok(twice.clone()), "{coding:?}: {:?}", decoded.err()),
                }
                for garbage in [&b"\0"[..], b"x", b"\n\n\n\n\n\n\n\n\n\n\n\n", &[0; 512], &body[..body.len() - 1]] {
                    let trailed = [body.as_slice(), garbage].concat();
                    assert!(decode(&trailed, &[coding], frame_bytes, &Limits::default()).is_err(), "{coding:?}: {garbage:?}");
                }
            }
        }
    }

    #[test]
    fn a_flipped_bit_never_passes_for_other_data() {
        let data = csv(40);
        for (coding, body) in bodies(&data) {
            let has_checksum = match coding {
                Coding::Gzip => true,
                Coding::Zstd => body[4] & 4 != 0,
                Coding::Lz4 => body[4] & 4 != 0,
                Coding::Brotli => false,
            };
            for bit in 0..body.len() * 8 {
                let mut flipped = body.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let decoded = whole(&flipped, coding);
                assert!(decoded.is_err() || !has_checksum || decoded == Ok(data.clone()), "{coding:?}: bit {bit}");
            }
        }
    }

    #[test]
    fn codings_are_undone_in_the_opposite_order() {
        let data = csv(5000);
        let body = brotli(&lz4(&zstd_with(&gzip(&data), true, 0), lz4_info(true, true, None)));
        let codings = [Coding::Gzip, Coding::Zstd, Coding::Lz4, Coding::Brotli];
        assert!(decode(&body, &codings, 100, &Limits::default()) == Ok(data));
        assert_eq!(decode(&body[..body.len() - 1], &codings, 100, &Limits::default()), Err("truncated-encoding"));
        // Cut below the outermost coding, which is itself in order.
        let cut = gzip(&zstd_with(&csv(50), true, 0)[..100]);
        assert_eq!(decode(&cut, &[Coding::Zstd, Coding::Gzip], 100, &Limits::default()), Err("truncated-encoding"));
        assert_eq!(whole(b"", Coding::Gzip), Ok(vec![]));
    }

    #[test]
    fn lz4_blocks_of_nothing_are_no_end() {
        let data = csv(40);
        let body = lz4(&data, lz4_info(false, false, None));
        let with_empty_block = |block: &[u8]| [&body[..7], block, &body[7..]].concat();
        for block in [&[0, 0, 0, 0x80][..], &[1, 0, 0, 0, 0]] {
            let body = with_empty_block(block);
            assert!(whole(&body, Coding::Lz4) == Ok(data.clone()));
            assert_eq!(whole(&body[..7 + block.len()], Coding::Lz4), Err("truncated-encoding"));
        }
        let mut legacy = body.clone();
        legacy[..4].copy_from_slice(&0x184C_2102_u32.to_le_bytes());
        assert_eq!(whole(&legacy, Coding::Lz4), Err("corrupt-encoding"));
    }

    #[test]
    fn windows_are_limited() {
        let data = csv(1000);
        assert!(whole(&zstd_with(&data, true, 26), Coding::Zstd) == Ok(data.clone()));
        assert_eq!(whole(&zstd_with(&data, true, 27), Coding::Zstd), Err("window-too-large"));
        let twice = |log| zstd_with(&zstd_with(&data, true, log), true, log);
        let decode = |body: &[u8]| decode(body, &[Coding::Zstd, Coding::Zstd], 1000, &Limits::default());
        assert!(decode(&twice(23)) == Ok(data.clone()));
        assert_eq!(decode(&twice(24)), Err("window-too-large"));
        // The first byte of a stream with "large window", which is not RFC 7932.
        assert_eq!(whole(&[0x11; 100], Coding::Brotli), Err("corrupt-encoding"));
    }

    #[test]
    fn limits_hold_for_every_layer() {
        let few = Limits { decoded_bytes_max: 1000, ..Limits::default() };
        let none: Vec<u8> = gzip(b"").repeat(1000);
        let body = gzip(&none);
        assert_eq!(decode(&body, &[Coding::Gzip, Coding::Gzip], 1000, &few), Err("decoded-too-large"));
        assert_eq!(decode(&body, &[Coding::Gzip, Coding::Gzip], 1000, &Limits::default()), Ok(vec![]));
        let data = vec![b'\n'; 65 << 20];
        let body = zstd_with(&data, true, 0);
        assert_eq!(whole(&body, Coding::Zstd), Err("decoded-ratio-too-high"));
        let generous = Limits { decoded_ratio_max: 1_000_000, ..Limits::default() };
        assert!(decode(&body, &[Coding::Zstd], 1000, &generous) == Ok(data));
    }
}
