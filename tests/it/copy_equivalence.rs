//! A CSV field is either stored as exactly the value that PostgreSQL's own COPY stores, or it is refused; and what is refused for good,
//! COPY refuses too, with the same SQLSTATE. The oracle is the server, on the same bytes.

use bytes::Bytes;
use futures::SinkExt;

use crate::support::{Database, World};

/// Literals of which our parsers may say that they do not know them. Everything else must be decided as COPY decides it.
const NOT_OURS: &str = "0A000";

const CASES: [(&str, &[&str]); 21] = [
    ("bool", &["t", "TRUE", " yes ", "of", "o", "1", "2", "10", "\"\"", "n", "onn"]),
    (
        "int2",
        &["1", "-32768", "32767", "32768", " 7 ", "+7", "1.0", "", "\"\"", "0x1F", "1_0", "--1", "00012"],
    ),
    ("int4", &["2147483647", "-2147483648", "-2147483649", "1e3", "٣", "\t5", "5\u{b}", "5 5"]),
    (
        "int8",
        &["9223372036854775807", "-9223372036854775808", "9223372036854775808", "99999999999999999999999", "-0"],
    ),
    (
        "float4",
        &["1.5", "3.4028235e38", "3.5e38", "1e-45", "1e-46", "NaN", "-inf", "infinity", "16777217", "0.1", "1e", "-0"],
    ),
    (
        "float8",
        &[
            "0.1",
            "1e308",
            "1e309",
            "5e-324",
            "1e-400",
            "-0.0",
            "nan",
            "+Infinity",
            ".5",
            "5.",
            ".",
            "1e400",
            "0x1p3",
            " 2 ",
            "2,",
            "1d3",
            "2.2250738585072011e-308",
        ],
    ),
    (
        "numeric",
        &[
            "0.00001",
            "10000",
            "-0.00",
            "1e-20",
            "1E+5",
            "123456789012345678901234567890.123456789",
            "NaN",
            "infinity",
            "-inf",
            ".5",
            "5.",
            ".",
            "1.2.3",
            "1e",
            "0e0",
            "0e-16384",
            "9e131071",
            "9e131072",
            "00.10",
            "1e5000",
            "100000000000000000000",
            "0.000000000000000000001",
            "1 ",
        ],
    ),
    (
        "numeric(4,1)",
        &["999.9", "999.94", "999.95", "1000", "0.04", "0.05", "-999.95", "1e3", "1e2", "Infinity", "NaN"],
    ),
    ("numeric(3,-2)", &["12345", "49", "50", "99949", "99950", "100000"]),
    ("numeric(2,4)", &["0.0099", "0.00994", "0.00995", "0.01", "1"]),
    ("text", &["", "\"\"", " x ", "\"a\"\"b\"", "ä€😀", "\\N", "\\x", "a\"b\"c", "\"line\nbreak\""]),
    ("varchar(3)", &["abc", "abcd", "abc  ", "äöü", "äöüx", "", "    "]),
    ("char(3)", &["a", "abc", "abc ", "abcd", "äöü", ""]),
    (
        "bytea",
        &["\\x00ff", "\\xABcd 12", "\\x0", "\\xzz", "plain", "a\\\\b", "\\001\\377", "\\400", "\\", "\\x", "ä"],
    ),
    (
        "date",
        &[
            "2024-02-29",
            "2023-02-29",
            "2024-2-9",
            "0001-01-01",
            "9999-12-31",
            "0000-01-01",
            "infinity",
            "-infinity",
            "epoch",
            "0001-02-29 BC",
            "Jan 8, 1999",
            "2024-01-01 BC",
            "10000-01-01",
            "2024-13-01",
            "2024-001",
            "20240101",
            "\"\"",
            "2024-01-01x",
            "24-01-01",
            "5874897-12-31",
            "5874898-01-01",
            " 2024-01-01 ",
        ],
    ),
    (
        "time",
        &[
            "00:00",
            "23:59:59.999999",
            "24:00:00",
            "24:00:01",
            "25:00",
            "12:60",
            "12:00:60",
            "12:00:61",
            "1:2:3",
            "01:02:03.0000005",
            "01:02:03.1234567",
            "allballs",
            "45:30.5",
            "24:30.5",
            "12:60.5",
            "12:00 PM",
            "040506",
            "12:00:00+02",
            "\"\"",
            "23:59:59.9999999",
        ],
    ),
    (
        "timestamp",
        &[
            "2024-02-29 12:34:56.789",
            "2024-02-29T12:34",
            "2024-02-29",
            "2024-02-29 24:00:00",
            "2024-02-29 12:34:60",
            "infinity",
            "now-ish",
            "2024-02-30 00:00",
            "2024-02-29 12:34:56+02",
            "2024-02-29 12:34:56 UTC",
            "0001-01-01 00:00:00",
            "294276-12-31 23:59:59",
            "294277-01-01 00:00:00",
            "2024-02-29  12:34",
            "2024-02-29 12",
            "2024-02-29 12:34:56.1234565",
            "1999-12-31 23:59:59.9999999",
        ],
    ),
    (
        "timestamp(3)",
        &["2024-02-29 12:34:56.7895", "2024-02-29 12:34:56.7894999", "1999-12-31 23:59:59.9999"],
    ),
    (
        "timestamptz",
        &[
            "2024-02-29 12:34:56Z",
            "2024-02-29 12:34:56+02",
            "2024-02-29T12:34:56.5-05:30",
            "2024-02-29 12:34:56+0530",
            "2024-02-29 12:34:56 +02:03:04",
            "2024-02-29 12:34",
            "2024-02-29 12:34+15:59",
            "2024-02-29 12:34+16",
            "2024-02-29 12:34 Europe/Berlin",
            "2024-02-29Z",
            "0001-01-01 00:00:00+00",
            "-infinity",
            "2024-02-29 12:34:56+02:60",
        ],
    ),
    (
        "uuid",
        &[
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "{a0eebc999c0b4ef8bb6d6bb9bd380a11}",
            "A0EE-BC99-9C0B-4EF8-BB6D-6BB9-BD38-0A11",
            "a0eebc99",
            "",
            "\"\"",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11 ",
            "g0eebc999c0b4ef8bb6d6bb9bd380a11",
        ],
    ),
    (
        "jsonb",
        &["{}", "\"{\"\"a\"\": [1, 1.50, null]}\"", "{", "\"\"", "1e400", "\"\\u0000\"", "nul", " [] "],
    ),
];

/// What the server's own COPY says to a body: nothing, or a SQLSTATE.
async fn copy(db: &Database, body: &str) -> Option<String> {
    let attempt = async {
        let sink = db.client.copy_in("COPY theirs FROM STDIN (FORMAT csv)").await?;
        let mut sink = std::pin::pin!(sink);
        sink.send(Bytes::from(body.to_owned())).await?;
        sink.finish().await
    };
    attempt.await.err().map(|error| error.as_db_error().unwrap().code().code().to_owned())
}

#[tokio::test]
async fn every_field_is_stored_as_copy_stores_it_or_refused_as_copy_refuses_it() {
    let world = World::new().await;
    let (mut stored, mut refused, mut not_ours) = (0, 0, Vec::new());
    for (type_name, values) in CASES {
        world
            .db
            .sql(&format!("CREATE TABLE ours (v {type_name}); CREATE TABLE theirs (v {type_name})"))
            .await;
        for value in values {
            let body = format!("{value}\n");
            let theirs = copy(&world.db, &body).await;
            let ours = world.load_csv("ours?header=absent", body).await;
            let sqlstate = ours.json["sqlstate"].as_str().map(str::to_owned);
            match (ours.status.as_u16(), sqlstate) {
                (201, _) => {
                    assert_eq!(theirs, None, "{type_name} {value:?} is loaded, and COPY refuses it");
                    stored += 1;
                }
                (422, Some(code)) if code == NOT_OURS => not_ours.push(format!("{type_name} {value:?}")),
                (422, code) => {
                    assert_eq!(code, theirs, "{type_name} {value:?}: {:#}", ours.json);
                    refused += 1;
                }
                (status, _) => panic!("{type_name} {value:?}: {status} {:#}", ours.json),
            }
            if ours.json["sqlstate"] == NOT_OURS {
                world.db.sql("TRUNCATE theirs").await;
                continue;
            }
            // Equality of the stored bytes, because 1.0 and 1.00 are equal and not the same.
            let bytes = |table| format!("SELECT v::text FROM {table} t");
            let values = (world.db.texts(&bytes("ours")).await, world.db.texts(&bytes("theirs")).await);
            assert_eq!(values.0, values.1, "{type_name} {value:?}");
            world.db.sql("TRUNCATE ours, theirs").await;
        }
        world.db.sql("DROP TABLE ours, theirs").await;
    }
    println!(
        "stored alike {stored}, refused alike {refused}, not ours {}: {}",
        not_ours.len(),
        not_ours.join("; ")
    );
    assert!(
        stored > 100 && refused > 60,
        "stored {stored}, refused {refused}: the suite does not test what it should"
    );
}

/// Files that parsers trip over, by both ways.
#[tokio::test]
async fn tricky_files_are_cut_into_the_same_fields() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE ours (a text, b text, c text); CREATE TABLE theirs (LIKE ours)").await;
    let files = [
        "1,2,3\n4,5,6",
        "\"a,b\",\"c\nd\",\"e\"\"f\"\n",
        "a\"b,c\"d,e,f\n",
        "\"\"\"\",\"\",\n",
        "a,b,c\r\nd,\"e\r\nf\",g\r\n",
        "a,b,c\rd,e,f\r",
        " \"a\" , b ,c \n",
        "\"a\"x\"b\",c,d\n",
        "ä,ö,\"ü\n\"\n",
        "\\.x,b,c\n",
        ",,\n,,\n",
        "\"\n\n\",\"\r\",\"\n\"\n",
        "a,b,c\n\"d\",\"e\",\"f\"",
    ];
    for file in files {
        let theirs = copy(&world.db, file).await;
        let ours = world.load_csv("ours?header=absent", file).await;
        assert_eq!(theirs, None, "{file:?}");
        assert_eq!(ours.status, 201, "{file:?}: {:#}", ours.json);
        let rows = |table: &str| format!("SELECT t::text FROM {table} t ORDER BY 1");
        assert_eq!(world.db.texts(&rows("ours")).await, world.db.texts(&rows("theirs")).await, "{file:?}");
        world.db.sql("TRUNCATE ours, theirs").await;
    }
}
