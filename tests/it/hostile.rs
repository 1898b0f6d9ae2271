//! Bodies made to hurt: refused within their limits, with little memory, and the service goes on.

use bytes::Bytes;

use crate::support::{Answer, World};

const RSS_MAX_KIB: u64 = 160 << 10;

/// A body of this beginning and then the same megabyte over and over.
async fn load(world: &World, content_type: &str, head: &'static str, megabyte: String, times: usize) -> Answer {
    let megabyte = Bytes::from(megabyte);
    let pieces = std::iter::once(Bytes::from(head)).chain(std::iter::repeat_n(megabyte, times));
    let body = reqwest::Body::wrap_stream(futures::stream::iter(pieces.map(Ok::<_, std::io::Error>)));
    world.load("t", content_type, body).await
}

#[tokio::test]
async fn endless_records_and_headers() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (id int, a text)").await;
    let quote = load(&world, "text/csv", "id,a\n1,\"", "x\n".repeat(1 << 19), 1 << 10).await;
    assert_eq!(quote.problem(413, "record-too-large")["line"], 2);
    let header = load(&world, "text/csv", "id", ",a".repeat(1 << 19), 200).await;
    assert_eq!(header.problem(422, "too-many-fields")["line"], 1);
    let one_name = load(&world, "text/csv", "id,", "a".repeat(1 << 20), 1 << 10).await;
    one_name.problem(413, "record-too-large");
    let backslashes = load(&world, "text/tab-separated-values", "id\ta\n1\t", "\\\n".repeat(1 << 19), 1 << 10).await;
    backslashes.problem(413, "record-too-large");
    assert!(world.service.peak_rss_kib() < RSS_MAX_KIB, "{} KiB", world.service.peak_rss_kib());
    world.load_csv("t", "id,a\n1,x\n").await.committed(1);
}
