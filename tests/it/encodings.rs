//! `Content-Encoding`: what was compressed is loaded as if it had not been, and whatever is wrong with it is said, with nothing loaded.

use bytes::Bytes;
use futures::stream;
use serde_json::Value;

use crate::support::coding::{brotli, brotli_of_many, gzip, lz4, zstd, zstd_long};
use crate::support::{Answer, World};

type Encode = fn(&[u8]) -> Vec<u8>;
const CODINGS: [(&str, Encode); 4] = [("gzip", gzip), ("zstd", zstd), ("lz4", lz4), ("br", brotli)];

const MEMORY_KIB_MAX: u64 = 160 << 10;

async fn world() -> World {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (id int, name text)").await;
    world
}

fn csv(rows: u32) -> Vec<u8> {
    let rows = (0..rows).flat_map(|id| format!("{id},\"name, {}\"\n", id.wrapping_mul(2_654_435_761)).into_bytes());
    b"id,name\n".iter().copied().chain(rows).collect()
}

async fn load(world: &World, codings: &[&str], body: impl Into<reqwest::Body>) -> Answer {
    let mut request = world.post("t", "text/csv");
    for coding in codings {
        request = request.header("Content-Encoding", *coding);
    }
    Answer::of(request.body(body).send().await.unwrap()).await
}

/// Nothing is loaded, the job says the same, and the next load goes through.
async fn refused(world: &World, answer: &Answer, status: u16, name: &str) {
    answer.problem(status, name);
    assert_eq!(world.db.count("t").await, 0);
    let job = world.job(answer.json["job_id"].as_str().unwrap()).await;
    assert_eq!((&job["state"], &job["reason"]), (&Value::from("failed"), &Value::from(name)));
    world.load_csv("t", "id\n1\n").await.committed(1);
    world.db.sql("TRUNCATE t").await;
}

#[tokio::test]
async fn every_coding_loads_what_was_encoded() {
    let world = world().await;
    world.db.sql("CREATE TABLE plain (LIKE t)").await;
    let body = csv(100_000);
    world.load_csv("plain", body.clone()).await.committed(100_000);
    for (coding, encode) in CODINGS {
        let encoded = encode(&body);
        let answer = load(&world, &[coding], encoded.clone()).await;
        let job = answer.committed(100_000);
        assert_eq!(job["bytes_received"], encoded.len(), "{coding}");
        assert_eq!(job["bytes_decoded"], body.len(), "{coding}");
        let differences = "(TABLE t EXCEPT ALL TABLE plain) UNION ALL (TABLE plain EXCEPT ALL TABLE t)";
        assert_eq!(world.db.rows(differences).await.len(), 0, "{coding}");
        world.db.sql("TRUNCATE t").await;
    }
}

#[tokio::test]
async fn codings_on_top_of_each_other_and_in_every_way_of_writing() {
    let world = world().await;
    let body = csv(1000);
    let both = zstd(&gzip(&body));
    load(&world, &["gzip, zstd"], both.clone()).await.committed(1000);
    load(&world, &["GZip", "zstd"], both.clone()).await.committed(1000);
    load(&world, &["identity , x-gzip,, Zstd "], both.clone()).await.committed(1000);
    load(&world, &["zstd, lz4, br, gzip"], gzip(&brotli(&lz4(&zstd(&body))))).await.committed(1000);
    load(&world, &["identity"], body.clone()).await.committed(1000);
    world.db.sql("TRUNCATE t").await;

    let turned = load(&world, &["zstd, gzip"], both).await;
    refused(&world, &turned, 422, "corrupt-encoding").await;
    for codings in [&["compress"][..], &["gzip", "deflate"], &["gzip, gzip, gzip, gzip, gzip"]] {
        let answer = load(&world, codings, "x").await;
        assert_eq!(answer.problem(415, "unsupported-content-encoding").get("job_id"), None);
        assert_eq!(answer.headers["accept-encoding"], "gzip, zstd, lz4, br, identity");
    }
}

#[tokio::test]
async fn arrow_can_be_compressed_too() {
    use crate::support::arrow::{FILE, STREAM, file, stream};
    let world = world().await;
    let ids = std::sync::Arc::new(arrow::array::Int32Array::from(vec![1, 2, 3])) as arrow::array::ArrayRef;
    let batch = arrow::array::RecordBatch::try_from_iter([("id", ids)]).unwrap();
    for (media, body) in [(STREAM, stream(std::slice::from_ref(&batch))), (FILE, file(std::slice::from_ref(&batch)))] {
        let request = world.post("t", media).header("Content-Encoding", "zstd").body(zstd(&body));
        Answer::of(request.send().await.unwrap()).await.committed(3);
        let bare = world.load("t", media, zstd(&body)).await;
        let detail = bare.problem(422, "not-arrow")["detail"].as_str().unwrap();
        assert!(detail.contains("Content-Encoding: zstd"), "{detail}");
    }
}

#[tokio::test]
async fn many_members_are_one_body() {
    let world = world().await;
    let body = csv(30_000);
    for (coding, encode) in &CODINGS[..3] {
        let members: Vec<u8> = body.chunks(10_007).flat_map(encode).collect();
        load(&world, &[*coding], members).await.committed(30_000);
        let with_empty = [encode(b""), encode(&body), encode(b"")].concat();
        load(&world, &[*coding], with_empty).await.committed(30_000);
    }
}

#[tokio::test]
async fn a_body_that_is_cut_short_loads_nothing() {
    let world = world().await;
    let body = csv(100_000);
    for (coding, encode) in CODINGS {
        let encoded = encode(&body);
        for kept in [1, 10, encoded.len() / 2, encoded.len() - 8, encoded.len() - 4, encoded.len() - 1] {
            let answer = load(&world, &[coding], encoded[..kept].to_vec()).await;
            refused(&world, &answer, 422, "truncated-encoding").await;
        }
        let answer = load(&world, &[coding], [encoded.as_slice(), b"id,name\n1,x\n"].concat()).await;
        refused(&world, &answer, 422, "corrupt-encoding").await;
        let answer = load(&world, &[coding], encode(b"")).await;
        refused(&world, &answer, 422, "empty-body").await;
        let answer = load(&world, &[coding], "").await;
        refused(&world, &answer, 422, "empty-body").await;
        let answer = load(&world, &[coding], body.clone()).await;
        refused(&world, &answer, 422, "corrupt-encoding").await;
    }
}

#[tokio::test]
async fn a_flipped_byte_loads_nothing() {
    let world = world().await;
    let body = csv(100_000);
    for (coding, encode) in &CODINGS[..3] {
        let encoded = encode(&body);
        for at in [encoded.len() / 3, encoded.len() / 2, encoded.len() - 2] {
            let mut flipped = encoded.clone();
            flipped[at] ^= 0x10;
            let answer = load(&world, &[*coding], flipped).await;
            // What the flipped byte makes of a row may be noticed before the checksum is.
            let name = answer.json["type"].as_str().unwrap_or_default().rsplit(':').next().unwrap().to_owned();
            refused(&world, &answer, 422, &name).await;
        }
        // In the checksum itself, which is the only thing left that can tell.
        let mut flipped = encoded.clone();
        *flipped.iter_mut().nth_back(if *coding == "gzip" { 7 } else { 0 }).unwrap() ^= 1;
        let answer = load(&world, &[*coding], flipped).await;
        refused(&world, &answer, 422, "corrupt-encoding").await;
    }
}

#[tokio::test]
async fn a_compressed_body_without_the_header_says_what_it_looks_like() {
    let world = world().await;
    for (coding, encode) in &CODINGS[..3] {
        let answer = world.load_csv("t", encode(&csv(1000))).await;
        let detail = answer.problem(422, "bad-row")["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("send Content-Encoding: {coding}")), "{detail}");
    }
}

const PIECE_BYTES: usize = 8 << 20;
const PIECES: usize = (10 << 30) / PIECE_BYTES;

/// 10 GB when it is decoded, and never whole in anybody's memory.
async fn load_bomb(world: &World, coding: &str, head: Vec<u8>, piece: Vec<u8>, tail: Vec<u8>) -> Answer {
    let piece = Bytes::from(piece);
    let frames = std::iter::once(Bytes::from(head))
        .chain(std::iter::repeat_n(piece, PIECES))
        .chain([Bytes::from(tail)]);
    let body = reqwest::Body::wrap_stream(stream::iter(frames.map(Ok::<_, std::io::Error>)));
    let request = world.post("t?columns=id,name&header=absent", "text/csv").header("Content-Encoding", coding);
    Answer::of(request.body(body).send().await.unwrap()).await
}

#[tokio::test]
async fn ten_gigabytes_out_of_almost_nothing_are_refused_within_the_memory_of_any_load() {
    let world = world().await;
    let long_row = [&b"1,"[..], &vec![b'x'; (1 << 20) - 3], b"\n"].concat();
    // Rows like any other, only too many of them for so few bytes; and a row that never ends.
    let many_rows = (long_row.repeat(PIECE_BYTES >> 20), "decoded-ratio-too-high");
    let endless_row = (vec![b'0'; PIECE_BYTES], "record-too-large");
    for (piece, name) in [many_rows, endless_row] {
        for (coding, encode) in &CODINGS[..2] {
            let answer = load_bomb(&world, coding, Vec::new(), encode(&piece), Vec::new()).await;
            refused(&world, &answer, 413, name).await;
            let twice = gzip(&encode(&piece));
            let answer = load_bomb(&world, &format!("{coding}, gzip"), Vec::new(), twice, Vec::new()).await;
            refused(&world, &answer, 413, name).await;
        }
        let (head, middle, tail) = brotli_of_many(&piece);
        let answer = load_bomb(&world, "br", head, middle, tail).await;
        refused(&world, &answer, 413, name).await;
    }
    // The largest window there is, and full.
    let long = zstd_long(&long_row.repeat(96), 26);
    let answer = load_bomb(&world, "zstd", Vec::new(), long, Vec::new()).await;
    refused(&world, &answer, 413, "decoded-ratio-too-high").await;
    let answer = load_bomb(&world, "zstd", Vec::new(), zstd_long(&long_row, 27), Vec::new()).await;
    refused(&world, &answer, 413, "window-too-large").await;
    let peak = world.service.peak_rss_kib();
    assert!(peak < MEMORY_KIB_MAX, "{peak} KiB");
}

#[tokio::test]
async fn limits_of_the_decoded_body_can_be_set() {
    let world = World::with(&["--decoded-bytes-max", "100000"]).await;
    world.db.sql("CREATE TABLE t (id int, name text)").await;
    load(&world, &["gzip"], gzip(&csv(1000))).await.committed(1000);
    world.db.sql("TRUNCATE t").await;
    let answer = load(&world, &["gzip"], gzip(&csv(10_000))).await;
    refused(&world, &answer, 413, "decoded-too-large").await;
}
