//! One member of a compressed body at a time: the libraries, made to say clearly where a member ends.
//!
//! What they do at the end was read in their sources (flate2 1.1, zstd 0.13, lz4_flex 0.14, brotli-decompressor 6) and is held by the
//! tests below, which cut every body at every byte.

use std::io::{self, BufRead, Read};

use brotli::{BrotliDecompressStream, BrotliResult, BrotliState, HeapAlloc, HuffmanCode};
use flate2::bufread::GzDecoder;
use lz4_flex::frame::FrameDecoder;

use super::Coding;

/// What members are read from; at its end it goes on being at its end.
pub(super) type Input = Box<dyn BufRead>;

/// `ZSTD_getErrorName(ZSTD_error_frameParameter_windowTooLarge)`: the library hands its errors on as texts.
pub(super) const ZSTD_WINDOW_TOO_LARGE: &str = "Frame requires too much memory for decoding";

/// One member. `Ok(0)` is its proper end; an input that ends before it is [`io::ErrorKind::UnexpectedEof`].
pub(super) trait Member: Read {
    /// What comes after the member.
    fn into_input(self: Box<Self>) -> Input;
}

/// Begins with the input's next member.
pub(super) fn begin(coding: Coding, input: Input, window_log_max: u32) -> io::Result<Box<dyn Member>> {
    Ok(match coding {
        Coding::Gzip => Box::new(GzDecoder::new(input)),
        Coding::Zstd => {
            let begun = Begun { input, head: Vec::new() };
            let mut decoder = zstd::Decoder::with_buffer(begun)?.single_frame();
            decoder.window_log_max(window_log_max)?;
            Box::new(Zstd { decoder, decoded: 0 })
        }
        Coding::Lz4 => Box::new(Lz4 { decoder: FrameDecoder::new(Outlined { input, outline: Outline::default() }) }),
        Coding::Brotli => Box::new(Brotli { input, state: Brotli::state(), decoded: 0, ended: false }),
    })
}

impl Member for GzDecoder<Input> {
    fn into_input(self: Box<Self>) -> Input {
        self.into_inner()
    }
}

/// One frame. The library's reader does not always hold it to the size that its head may tell: whether it does where the last block is empty
/// depends on how the input comes.
struct Zstd {
    decoder: zstd::Decoder<'static, Begun>,
    decoded: u64,
}

impl Read for Zstd {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.decoder.read(out)?;
        self.decoded += length as u64;
        if length == 0
            && let Ok(Some(told)) = zstd::zstd_safe::get_frame_content_size(&self.decoder.get_ref().head)
            && told != self.decoded
        {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the frame says that it has {told} bytes")));
        }
        Ok(length)
    }
}

impl Member for Zstd {
    fn into_input(self: Box<Self>) -> Input {
        self.decoder.finish().input
    }
}

/// Input of which the beginning is kept.
struct Begun {
    input: Input,
    head: Vec<u8>,
}

impl Begun {
    /// `ZSTD_FRAMEHEADERSIZE_MAX`
    const HEAD_BYTES_MAX: usize = 18;
}

impl Read for Begun {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(out)?;
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Begun {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        let missing = Begun::HEAD_BYTES_MAX - self.head.len();
        // What is taken has been looked at, and is still there. (The library also takes nothing, before it has looked.)
        if amount > 0
            && missing > 0
            && let Ok(bytes) = self.input.fill_buf()
        {
            self.head.extend_from_slice(&bytes[..amount.min(missing)]);
        }
        self.input.consume(amount);
    }
}

type State = BrotliState<HeapAlloc<u8>, HeapAlloc<u32>, HeapAlloc<HuffmanCode>>;

/// The library's own reader takes a cut for corruption, and does not always mind what follows the end.
struct Brotli {
    input: Input,
    state: Box<State>,
    decoded: usize,
    ended: bool,
}

impl Brotli {
    /// Strict: without the "large window" extension, which is not RFC 7932 and may ask for 1 GiB.
    fn state() -> Box<State> {
        Box::new(BrotliState::new_strict(HeapAlloc::default(), HeapAlloc::default(), HeapAlloc::default()))
    }
}

impl Read for Brotli {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while !self.ended {
            let bytes = self.input.fill_buf()?;
            let (at_end, mut unread, mut read) = (bytes.is_empty(), bytes.len(), 0);
            let (mut room, mut written) = (out.len(), 0);
            let result =
                BrotliDecompressStream(&mut unread, &mut read, bytes, &mut room, &mut written, out, &mut self.decoded, &mut self.state);
            self.input.consume(read);
            match result {
                BrotliResult::ResultSuccess => self.ended = true,
                BrotliResult::ResultFailure => return Err(io::Error::new(io::ErrorKind::InvalidData, "invalid brotli stream")),
                BrotliResult::NeedsMoreInput if at_end && written == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
            }
            if written > 0 {
                return Ok(written);
            }
        }
        Ok(0)
    }
}

impl Member for Brotli {
    fn into_input(self: Box<Self>) -> Input {
        self.input
    }
}

/// One frame. The library's reader says the same at an end mark, at an empty block and where the input ends between two blocks.
struct Lz4 {
    decoder: FrameDecoder<Outlined>,
}

impl Read for Lz4 {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let length = self.decoder.read(out)?;
            let Outlined { input, outline } = self.decoder.get_mut();
            if length > 0 || outline.is_whole() {
                return Ok(length);
            }
            if input.fill_buf()?.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

impl Member for Lz4 {
    fn into_input(self: Box<Self>) -> Input {
        self.decoder.into_inner().input
    }
}

/// Input of which the frame's outline is followed.
struct Outlined {
    input: Input,
    outline: Outline,
}

impl Read for Outlined {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(out)?;
        self.outline.follow(&out[..length])?;
        Ok(length)
    }
}

/// Where in an LZ4 frame its reader stands, by the lengths alone; whether they make sense is for the decoder to check.
/// Format: `doc/lz4_Frame_format.md` in the LZ4 repository.
#[derive(Default)]
struct Outline {
    part: Part,
    /// of the part: what is gathered of its fixed beginning …
    gathered: Vec<u8>,
    /// … and what is then to be skipped
    skip: u64,
    flags: u8,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Part {
    #[default]
    Head,
    Blocks,
    End,
}

impl Outline {
    const MAGIC: [u8; 4] = 0x184D_2204_u32.to_le_bytes();
    const BLOCK_CHECKSUM: u8 = 0x10;
    const CONTENT_SIZE: u8 = 0x08;
    const CONTENT_CHECKSUM: u8 = 0x04;
    const DICTIONARY: u8 = 0x01;

    /// The end mark, and the checksum if there is one, have been read.
    fn is_whole(&self) -> bool {
        self.part == Part::End && self.skip == 0
    }

    fn follow(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len() as u64);
            self.skip -= skipped;
            bytes = &bytes[skipped as usize..];
            let wanted = if self.part == Part::Head { 5 } else { 4 };
            let (taken, rest) = bytes.split_at(bytes.len().min(wanted - self.gathered.len()));
            self.gathered.extend_from_slice(taken);
            bytes = rest;
            if self.gathered.len() == wanted {
                self.begin_part()?;
                self.gathered.clear();
            }
        }
        Ok(())
    }

    fn begin_part(&mut self) -> io::Result<()> {
        let bytes_if = |flags: u8, flag: u8, bytes: u64| if flags & flag == 0 { 0 } else { bytes };
        let (first, last) = self.gathered.split_at(4);
        match (self.part, last) {
            (Part::Head, [flags, ..]) => {
                // The legacy format has no end mark: cut short, it would look whole.
                if first != Self::MAGIC {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "not an LZ4 frame"));
                }
                self.flags = *flags;
                self.skip = 2 + bytes_if(*flags, Self::CONTENT_SIZE, 8) + bytes_if(*flags, Self::DICTIONARY, 4);
                self.part = Part::Blocks;
            }
            _ => {
                let size = first.iter().rev().fold(0u32, |size, byte| size << 8 | u32::from(*byte));
                if size == 0 {
                    self.skip = bytes_if(self.flags, Self::CONTENT_CHECKSUM, 4);
                    self.part = Part::End;
                } else {
                    // The highest bit says that the block is stored uncompressed.
                    self.skip = u64::from(size & 0x7FFF_FFFF) + bytes_if(self.flags, Self::BLOCK_CHECKSUM, 4);
                }
            }
        }
        Ok(())
    }
}
