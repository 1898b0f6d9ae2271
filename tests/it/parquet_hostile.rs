//! Parquet files that are cut short, damaged, or written to do harm: refused with a reason, within memory, and nothing is committed.

use std::io::Write;
use std::process::Command;

use crate::support::{Answer, World, python};

const MEDIA: &str = "application/vnd.apache.parquet";
/// What the service may have taken at its worst, in KiB.
const PEAK_KIB_MAX: u64 = 160 << 10;

fn peak_kib(world: &World) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.service.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

async fn world() -> World {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (id int, name text, day date)").await;
    world
}

async fn refused(world: &World, what: &str, body: Vec<u8>) -> Answer {
    let answer = world.load("t", MEDIA, body).await;
    assert!([413, 422].contains(&answer.status.as_u16()), "{what}: {:#}", answer.json);
    assert_eq!(world.db.count("t").await, 0, "{what}");
    answer
}

/// Thrift's compact protocol, as much as it takes to write a file by hand.
#[derive(Clone, Default)]
struct Struct {
    bytes: Vec<u8>,
    last: u8,
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

impl Struct {
    fn field(mut self, id: u8, kind: u8, value: Vec<u8>) -> Struct {
        self.bytes.push((id - self.last) << 4 | kind);
        self.bytes.extend(value);
        self.last = id;
        self
    }

    fn int(self, id: u8, value: i64) -> Struct {
        self.field(id, 5, varint((value << 1 ^ value >> 63).cast_unsigned()))
    }

    fn long(self, id: u8, value: i64) -> Struct {
        self.field(id, 6, varint((value << 1 ^ value >> 63).cast_unsigned()))
    }

    fn text(self, id: u8, value: &str) -> Struct {
        self.field(id, 8, [varint(value.len() as u64), value.as_bytes().to_vec()].concat())
    }

    fn within(self, id: u8, value: Struct) -> Struct {
        self.field(id, 12, value.end())
    }

    fn structs(self, id: u8, values: &[Struct]) -> Struct {
        let list = values.iter().flat_map(|value| value.clone().end());
        self.field(id, 9, [0xFC].into_iter().chain(varint(values.len() as u64)).chain(list).collect())
    }

    fn end(mut self) -> Vec<u8> {
        self.bytes.push(0);
        self.bytes
    }
}

/// A file with one column and one page, made of parts that each may lie.
struct Forged {
    schema: Vec<Struct>,
    codec: i64,
    page: Struct,
    body: Vec<u8>,
    /// in front of the data page
    dictionary: Vec<u8>,
    chunk: fn(Struct) -> Struct,
    values: i64,
    rows: i64,
    total_rows: i64,
    extra: fn(Struct) -> Struct,
}

fn node(name: &str) -> Struct {
    Struct::default().int(1, 1).int(3, 0).text(4, name)
}

fn root(children: i64) -> Struct {
    Struct::default().text(4, "m").int(5, children)
}

fn data_page(uncompressed: i64, compressed: i64, values: i64, encoding: i64) -> Struct {
    let data = Struct::default().int(1, values).int(2, encoding).int(3, 3).int(4, 3);
    Struct::default().int(1, 0).int(2, uncompressed).int(3, compressed).within(5, data)
}

impl Forged {
    /// Four integers, and nothing wrong with them.
    fn good() -> Forged {
        let body: Vec<u8> = (1..=4i32).flat_map(i32::to_le_bytes).collect();
        Forged {
            schema: vec![root(1), node("id")],
            codec: 0,
            page: data_page(16, 16, 4, 0),
            body,
            dictionary: Vec::new(),
            chunk: |chunk| chunk,
            values: 4,
            rows: 4,
            total_rows: 4,
            extra: |metadata| metadata,
        }
    }

    /// The same with another body, whose header says how long it is.
    fn compressed(codec: i64, body: Vec<u8>, uncompressed: i64) -> Forged {
        Forged {
            codec,
            page: data_page(uncompressed, body.len() as i64, 4, 0),
            body,
            ..Forged::good()
        }
    }

    fn strings(page: Struct, body: Vec<u8>) -> Forged {
        let name = Struct::default().int(1, 6).int(3, 0).text(4, "name").int(6, 0);
        Forged { schema: vec![root(1), name], page, body, ..Forged::good() }
    }

    fn bytes(self) -> Vec<u8> {
        let pages = [self.dictionary, self.page.end(), self.body].concat();
        let size = pages.len() as i64;
        let column = Struct::default().int(1, 1).field(2, 9, vec![0x15, 0]).field(3, 9, vec![0x18, 1, b'x']);
        let column = column.int(4, self.codec).long(5, self.values).long(6, size).long(7, size).long(9, 4);
        let chunk = (self.chunk)(Struct::default().long(2, 4).within(3, column));
        let group = Struct::default().structs(1, &[chunk]).long(2, size).long(3, self.rows);
        let metadata = Struct::default().int(1, 2).structs(2, &self.schema).long(3, self.total_rows).structs(4, &[group]);
        framed(&pages, (self.extra)(metadata).end())
    }
}

fn framed(pages: &[u8], metadata: Vec<u8>) -> Vec<u8> {
    let length = (metadata.len() as u32).to_le_bytes();
    [b"PAR1", pages, &metadata, &length, b"PAR1"].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

#[tokio::test]
async fn bombs_and_absurd_claims_stay_within_memory() {
    let world = world().await;
    world.load("t", MEDIA, Forged::good().bytes()).await.committed(4);
    world.db.sql("TRUNCATE t").await;

    let zeros = vec![0; 64 << 20];
    // A thousand members, each of a megabyte.
    let members = gzip(&zeros[..1 << 20]).repeat(1000);
    let mut brotli = Vec::new();
    brotli::BrotliCompress(
        &mut zeros.as_slice(),
        &mut brotli,
        &brotli::enc::BrotliEncoderParams { quality: 1, ..Default::default() },
    )
    .unwrap();
    let zstd = zstd::bulk::compress(&zeros, 1).unwrap().repeat(16);
    let snappy = [varint(u32::MAX.into()), vec![0; 20]].concat();
    let most = i64::from(i32::MAX);
    let dictionary = |values: i64| {
        let head = Struct::default()
            .int(1, 2)
            .int(2, 8)
            .int(3, 8)
            .within(7, Struct::default().int(1, values).int(2, 0));
        [head.end(), vec![0; 8]].concat()
    };
    let wide = Struct::default().int(1, 7).int(2, most).int(3, 0).text(4, "name");
    // 128 values a block in one miniblock, and as many of them as there are numbers.
    let lengths = [varint(128), varint(1), varint(u32::MAX.into()), vec![0; 72]].concat();
    assert_eq!(lengths.len(), 80);
    let cases = [
        ("a gzip bomb", Forged::compressed(2, members.clone(), 16)),
        ("a gzip bomb that says so", Forged::compressed(2, members, 1000 << 20)),
        ("a brotli bomb", Forged::compressed(4, brotli, 16)),
        ("a zstd bomb", Forged::compressed(6, zstd, 16)),
        ("a snappy page of 4 GiB", Forged::compressed(1, snappy, 16)),
        ("a page that becomes 2 GiB", Forged::compressed(1, vec![0; 20], most)),
        ("an LZ4 page that becomes 200 MiB", Forged::compressed(7, vec![0; 20], 200 << 20)),
        ("a page of 2 GiB", Forged { page: data_page(16, most, 4, 0), ..Forged::good() }),
        ("a page of fewer than no bytes", Forged { page: data_page(16, -1, 4, 0), ..Forged::good() }),
        ("a page of 2^31 values", Forged { page: data_page(16, 16, most, 0), ..Forged::good() }),
        (
            "as many everywhere",
            Forged {
                page: data_page(16, 16, most, 0),
                values: most,
                rows: most,
                total_rows: most,
                ..Forged::good()
            },
        ),
        (
            "a dictionary of 2^31 values",
            Forged { dictionary: dictionary(most), page: data_page(16, 16, 4, 8), ..Forged::good() },
        ),
        (
            "two dictionaries",
            Forged {
                dictionary: dictionary(2).repeat(2),
                page: data_page(16, 16, 4, 8),
                ..Forged::good()
            },
        ),
        ("lengths of 2^32 strings", Forged::strings(data_page(80, 80, 4, 6), lengths.clone())),
        ("prefixes of 2^32 strings", Forged::strings(data_page(80, 80, 4, 7), lengths)),
        ("values of 2 GiB each", Forged { schema: vec![root(1), wide], ..Forged::good() }),
        ("an unknown encoding", Forged { page: data_page(16, 16, 4, 77), ..Forged::good() }),
        ("an encoding that needs a dictionary", Forged { page: data_page(16, 16, 4, 8), ..Forged::good() }),
        ("a codec that nobody has", Forged { codec: 3, ..Forged::good() }),
    ];
    for (what, forged) in cases {
        refused(&world, what, forged.bytes()).await;
        assert!(peak_kib(&world) < PEAK_KIB_MAX, "{what} took {} KiB", peak_kib(&world));
    }
    world.load("t", MEDIA, Forged::good().bytes()).await.committed(4);
}

#[tokio::test]
async fn metadata_that_cannot_be_true() {
    let world = world().await;
    let most = i64::from(i32::MAX);
    let deep: Vec<Struct> = std::iter::repeat_n(root(1).int(6, 0), 60_000).chain([node("id")]).collect();
    let wide: Vec<Struct> = std::iter::once(root(200_000)).chain(std::iter::repeat_n(node("id"), 200_000)).collect();
    let long = "x".repeat(1 << 20);
    // Every leaf would be given the name of the group.
    let named: Vec<Struct> = [root(1), Struct::default().int(3, 0).text(4, &long).int(5, 100_000)]
        .into_iter()
        .chain(std::iter::repeat_n(node("id"), 100_000))
        .collect();
    let groups = |list: Vec<u8>| {
        let metadata = Struct::default().int(1, 2).structs(2, &[root(1), node("id")]).long(3, 4).field(4, 9, list);
        framed(&[], metadata.end())
    };
    let good = Forged::good().bytes();
    let patched = |from_end: usize, bytes: &[u8]| {
        let mut file = good.clone();
        let at = file.len() - from_end;
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    let nested = [vec![0x1C; 1 << 20], vec![0; 1 << 20]].concat();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a schema 60,000 groups deep", Forged { schema: deep, ..Forged::good() }.bytes()),
        ("a schema of 200,000 columns", Forged { schema: wide, ..Forged::good() }.bytes()),
        ("a long name for 100,000 leaves", Forged { schema: named, ..Forged::good() }.bytes()),
        (
            "a group of 2^31 children",
            Forged { schema: vec![root(most), node("id")], ..Forged::good() }.bytes(),
        ),
        (
            "a group of fewer than no children",
            Forged { schema: vec![root(-1), node("id")], ..Forged::good() }.bytes(),
        ),
        ("2^31 row groups", groups([vec![0xFC], varint(most as u64)].concat())),
        ("a million empty row groups", groups([vec![0xFC], varint(1 << 20), vec![0; 1 << 20]].concat())),
        ("structs within structs", framed(&[], nested)),
        ("rows that no row group has", Forged { total_rows: 5, ..Forged::good() }.bytes()),
        ("a row group of fewer than no rows", Forged { rows: -4, total_rows: -4, ..Forged::good() }.bytes()),
        ("values that no page has", Forged { values: 5, ..Forged::good() }.bytes()),
        ("rows that no page has", Forged { values: 5, rows: 5, total_rows: 5, ..Forged::good() }.bytes()),
        ("a page more than rows", Forged { rows: 3, total_rows: 3, ..Forged::good() }.bytes()),
        ("no metadata at all", framed(&[], Vec::new())),
        ("metadata longer than the file", patched(8, &(good.len() as u32).to_le_bytes())),
        ("metadata of 4 GiB", patched(8, &u32::MAX.to_le_bytes())),
        ("metadata of no length", patched(8, &[0; 4])),
        (
            "rows in another file",
            Forged {
                chunk: |_| Struct::default().text(1, "other.parquet").long(2, 4),
                ..Forged::good()
            }
            .bytes(),
        ),
    ];
    for (what, file) in cases {
        refused(&world, what, file).await;
        assert!(peak_kib(&world) < PEAK_KIB_MAX, "{what} took {} KiB", peak_kib(&world));
    }
    // Encrypted columns, and an encrypted footer.
    let aes = |metadata: Struct| metadata.within(8, Struct::default().within(1, Struct::default()));
    let encrypted = refused(&world, "encrypted", Forged { extra: aes, ..Forged::good() }.bytes()).await;
    encrypted.problem(422, "encrypted-parquet");
    refused(&world, "encrypted", patched(4, b"PARE")).await.problem(422, "encrypted-parquet");
    // What stands beside the file's own types is a hint: one that makes no sense is none.
    let hint = |metadata: Struct| metadata.structs(5, &[Struct::default().text(1, "ARROW:schema").text(2, "/////no such schema")]);
    world.load("t", MEDIA, Forged { extra: hint, ..Forged::good() }.bytes()).await.committed(4);
}

#[tokio::test]
async fn what_is_not_parquet_is_refused_at_once() {
    let world = world().await;
    let cases: [(&[u8], &str, &str); 9] = [
        (b"id,name\n1,a\n", "not-parquet", "text"),
        (b"PK\x03\x04", "not-parquet", "not a Parquet file"),
        (&[0x1F, 0x8B, 8, 0, 0, 0, 0, 0], "not-parquet", "gzip"),
        (&[0x28, 0xB5, 0x2F, 0xFD, 0], "not-parquet", "zstd"),
        (b"ARROW1\0\0", "not-parquet", "vnd.apache.arrow.file"),
        (&[0xFF; 16], "not-parquet", "vnd.apache.arrow.stream"),
        (b"PARE and so on", "encrypted-parquet", "encrypted"),
        (b"PAR", "truncated-parquet", "cut short"),
        (b"PAR1", "truncated-parquet", "cut short"),
    ];
    for (body, name, detail) in cases {
        let answer = refused(&world, name, body.to_vec()).await;
        let said = answer.problem(422, name)["detail"].as_str().unwrap();
        assert!(said.contains(detail), "{said}");
    }
    world.load("t", MEDIA, "").await.problem(422, "empty-body");
    // An endless body is not waited for when it begins wrong.
    let endless = futures::stream::iter(std::iter::repeat_with(|| Ok::<_, std::io::Error>(vec![b'x'; 1 << 16])));
    let answer = world.load("t", MEDIA, reqwest::Body::wrap_stream(endless)).await;
    answer.problem(422, "not-parquet");
}

const PYARROW: &str = r#"
import sys, datetime, pyarrow as pa, pyarrow.parquet as pq
n = 400
table = pa.table({"id": pa.array(range(n), pa.int32()), "name": [f"name {i % 50}" if i % 9 else None for i in range(n)],
                  "day": pa.array([datetime.date(2024, 1, 1) + datetime.timedelta(i) for i in range(n)])})
options = {"checksums": {"write_page_checksum": True, "use_dictionary": False, "compression": sys.argv[2]},
           "pages": {"data_page_size": 200, "write_batch_size": 40, "row_group_size": 150, "compression": sys.argv[2]}}
pq.write_table(table, sys.stdout.buffer, **options[sys.argv[1]])
"#;

fn written(layout: &str, codec: &str) -> Vec<u8> {
    let output = Command::new(python()).args(["-c", PYARROW, layout, codec]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[tokio::test]
async fn cut_short_at_any_byte_nothing_is_loaded() {
    let world = world().await;
    let file = written("pages", "snappy");
    world.load("t", MEDIA, file.clone()).await.committed(400);
    world.db.sql("TRUNCATE t").await;
    let ends = (1..file.len()).step_by(71).chain(file.len() - 12..file.len());
    for end in ends {
        let answer = refused(&world, &format!("cut at {end}"), file[..end].to_vec()).await;
        answer.problem(422, "truncated-parquet");
    }
}

#[tokio::test]
async fn a_damaged_page_with_a_checksum_is_never_loaded() {
    let world = world().await;
    for codec in ["none", "zstd"] {
        let file = written("checksums", codec);
        world.load("t", MEDIA, file.clone()).await.committed(400);
        world.db.sql("TRUNCATE t").await;
        let reader = parquet::file::reader::SerializedFileReader::new(bytes::Bytes::from(file.clone())).unwrap();
        let metadata = parquet::file::reader::FileReader::metadata(&reader);
        for column in metadata.row_group(0).columns() {
            // One page each; its header, which has statistics, takes less than this.
            let (start, length) = column.byte_range();
            let body = start + 150.min(length / 2)..start + length;
            for at in body.step_by(29) {
                let mut damaged = file.clone();
                damaged[at as usize] ^= 1 << (at % 8);
                let answer = refused(&world, &format!("byte {at}"), damaged).await;
                let said = answer.problem(422, "malformed-parquet")["detail"].as_str().unwrap();
                assert!(said.contains("checksum"), "{codec}, byte {at}: {said}");
            }
        }
    }
}

#[tokio::test]
async fn flipped_bytes_never_break_the_service() {
    let world = world().await;
    let mut seed = 3u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    for codec in ["none", "snappy", "gzip", "brotli", "zstd", "lz4"] {
        let file = written("pages", codec);
        for round in 0..60 {
            let mut flipped = file.clone();
            // Every other one in what says how to read the rest.
            let at = if round % 2 == 0 { random(file.len()) } else { file.len() - 1 - random(900) };
            flipped[at] ^= 1 << random(8);
            let answer = world.load("t", MEDIA, flipped).await;
            let status = answer.status.as_u16();
            assert!([201, 413, 422].contains(&status), "{codec}, byte {at}: {:#}", answer.json);
            assert!(status == 201 || world.db.count("t").await == 0, "{codec}, byte {at}");
            world.db.sql("TRUNCATE t").await;
        }
        world.load("t", MEDIA, file).await.committed(400);
        world.db.sql("TRUNCATE t").await;
    }
    assert!(peak_kib(&world) < PEAK_KIB_MAX, "{} KiB", peak_kib(&world));
}
