//! Content codings. What was encoded comes out as it was, however it is framed, and not when it is cut short or damaged; of other bytes
//! comes out what the coding's own library makes of them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsluice::ingest::Coding;
use pgsluice::ingest::apart::decompress;
use pgsluice_fuzz::LIMITS;
use pgsluice_fuzz::codings::{decoded_by_library, encoded, has_checksum};

const CODINGS: [Coding; 4] = [Coding::Gzip, Coding::Zstd, Coding::Lz4, Coding::Brotli];

// The first byte counts codings and says whether the data is encoded already, the second names the codings.
fuzz_target!(|input: &[u8]| {
    let Some((&[flags, names, frame_bytes, at @ ..], data)) = input.split_first_chunk::<5>() else {
        return;
    };
    let count = 1 + flags % 4;
    let codings: Vec<Coding> = (0..count).map(|nth| CODINGS[usize::from(names >> (2 * nth) & 3)]).collect();
    let (frame_bytes, at) = (1 + usize::from(frame_bytes), usize::from(u16::from_le_bytes(at)));
    if flags & 4 == 0 { check_hostile(&codings, data, frame_bytes) } else { check_encoded(&codings, flags, data, frame_bytes, at) }
});

fn check_encoded(codings: &[Coding], flags: u8, data: &[u8], frame_bytes: usize, at: usize) {
    let body = codings.iter().fold(data.to_vec(), |data, coding| encoded(*coding, &data, flags >> 3));
    let decode = |body: &[u8]| decompress(codings, &LIMITS, body.chunks(frame_bytes));
    assert!(decode(&body).as_deref() == Ok(data), "{codings:?}: {:?}", decode(&body));
    let at = at % body.len();
    let cut = decode(&body[..at]);
    assert!(
        cut == if at == 0 { Ok(Vec::new()) } else { Err("truncated-encoding") },
        "{codings:?}: cut at {at}: {cut:?}"
    );
    if let [coding] = codings {
        if *coding != Coding::Brotli {
            assert!(decode(&body.repeat(2)).as_deref() == Ok(&data.repeat(2)), "{coding:?}: twice");
        }
        if has_checksum(*coding, &body) {
            let mut damaged = body.clone();
            damaged[at] ^= 1 << (frame_bytes % 8);
            let damaged = decode(&damaged);
            assert!(damaged.is_err() || damaged.as_deref() == Ok(data), "{coding:?}: damaged at {at}: {damaged:?}");
        }
    }
}

fn check_hostile(codings: &[Coding], body: &[u8], frame_bytes: usize) {
    let whole = decompress(codings, &LIMITS, [body]);
    let framed = decompress(codings, &LIMITS, body.chunks(frame_bytes));
    assert!(
        whole == framed || whole.is_err() && framed.is_err(),
        "{codings:?} in frames of {frame_bytes}: {whole:?}, {framed:?}"
    );
    let [coding] = codings else { return };
    if body.is_empty() {
        return;
    }
    match (whole, decoded_by_library(*coding, body, LIMITS.decoded_bytes_max)) {
        (Ok(ours), Some(theirs)) => assert!(ours == theirs, "{coding:?}: {ours:?}, {theirs:?}"),
        (Ok(ours), None) => panic!("{coding:?}: only we make something of it: {ours:?}"),
        // What HTTP's name for the coding does not stand for is refused: what follows brotli, its large window, lz4's legacy frames. And a
        // frame of zstd has as many bytes as it says, also if its last block is empty, where the library does not look.
        (Err(code), Some(theirs)) => {
            let strict = matches!(coding, Coding::Brotli | Coding::Lz4) || *coding == Coding::Zstd && code == "corrupt-encoding";
            assert!(strict || theirs.len() as u64 > LIMITS.decoded_bytes_max, "{coding:?}: {code}, but it is {theirs:?}");
        }
        (Err(_), None) => {}
    }
}
