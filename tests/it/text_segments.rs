//! What our encoders do not know, the server reads itself, in the same transaction and in the same place: nothing is guessed, nothing is
//! out of order, and a bad row is named wherever it is found.

use std::fmt::Write as _;

use serde_json::json;

use crate::support::World;

#[tokio::test]
async fn rare_literals_are_loaded_in_their_place() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (nr serial, id int, d date, note text)").await;
    let mut body = String::from("id,d,note\n");
    for id in 1..=50_000 {
        let date = match id {
            7 | 8 | 20_000 | 49_999 => "\"Jan 8, 1999\"",
            id if id % 5_000 == 0 => "19990108",
            _ => "1999-01-08",
        };
        // The server must not take for its own marks what is text.
        let note = if id % 1000 == 0 { "\"a\tb\\c\nd\\N\"" } else { "" };
        writeln!(body, "{id},{date},{note}").unwrap();
    }
    world.load_csv("t", body).await.committed(50_000);
    // Rows are numbered as COPY would have numbered them.
    assert_eq!(world.db.count("t WHERE nr <> id OR d <> '1999-01-08'").await, 0);
    assert_eq!(world.db.count("t WHERE note = E'a\\tb\\\\c\\nd\\\\N'").await, 50);
    assert_eq!(world.db.count("t WHERE note IS NULL").await, 49_950);
}

#[tokio::test]
async fn rare_literals_in_every_other_row() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (nr serial, id int, d date)").await;
    let mut body = String::from("id,d\n");
    for id in 1..=100_000 {
        writeln!(body, "{id},{}", if id % 2 == 0 { "2024-02-29" } else { "29 Feb 2024" }).unwrap();
    }
    world.load_csv("t", body).await.committed(100_000);
    assert_eq!(world.db.count("t WHERE nr = id AND d = '2024-02-29'").await, 100_000);
}

#[tokio::test]
async fn a_bad_rare_literal_is_named() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (id int, d date, note text)").await;
    let cases = [
        ("id,d,note\n1,2024-01-01,x\n2,\"Foo 8, 1999\",\"a\nb\"\n3,2024-01-01,\n", 3, "2,", "d", "22007"),
        (
            "id,d,note\n1,\"Jan 8, 1999\",\"a\nb\"\n2,\"Jan 8, 1999\",\n3,\"Jan 32, 1999\",\n",
            5,
            "3,",
            "d",
            "22008",
        ),
        // What stands in a row that goes as text is judged by the server too.
        ("id,d,note\n1,\"Jan 8, 1999\",\n2x,\"Jan 8, 1999\",\n", 3, "2x,", "id", "22P02"),
    ];
    for (body, line, record, column, sqlstate) in cases {
        let byte_offset = body.find(&format!("\n{record}")).unwrap() + 1;
        let answer = world.load_csv("t", body).await;
        let problem = answer.problem(422, "bad-row");
        let place = json!([problem["line"], problem["byte_offset"], problem["column"], problem["sqlstate"]]);
        assert_eq!(place, json!([line, byte_offset, column, sqlstate]), "{body:?}: {problem:#}");
        assert_eq!(world.db.count("t").await, 0);
    }
}

#[tokio::test]
async fn the_first_bad_row_is_the_one_that_is_named() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (id int CHECK (id <> 3), d date)").await;
    let answer = world.load_csv("t", "id,d\n1,2024-01-01\n3,2024-01-01\n4,2024-13-01\n").await;
    assert_eq!(answer.problem(422, "bad-row")["line"], 3, "the server's own, before ours");
    let answer = world.load_csv("t", "id,d\n1,2024-01-01\n4,2024-13-01\n3,2024-01-01\n").await;
    assert_eq!(answer.problem(422, "bad-row")["line"], 3, "ours, before the server's");
    let answer = world.load_csv("t", "id,d\n1,\"Jan 32, 1999\"\n4,2024-13-01\n").await;
    assert_eq!(answer.problem(422, "bad-row")["line"], 2, "one that only the server can judge");
    assert_eq!(world.db.count("t").await, 0);
}

#[tokio::test]
async fn types_that_only_the_server_knows() {
    let world = World::new().await;
    world
        .db
        .sql("CREATE EXTENSION postgis; CREATE TABLE t (id int, spot geometry(Point, 4326), document tsvector, page xml)")
        .await;
    let body = "id,spot,document,page\n\
                1,SRID=4326;POINT(13.4 52.5),a fat cat,<a>1</a>\n\
                2,,,\n\
                3,0101000020E6100000000000000000F03F0000000000000040,\"'it''s' x\\y\",\"<p class=\"\"x\"\">\tä\n</p>\"\n";
    world.load_csv("t", body).await.committed(3);
    let rows = world
        .db
        .texts("SELECT format('%s|%s|%s|%s', id, ST_AsText(spot), document, page) FROM t ORDER BY id")
        .await;
    let expected = ["1|POINT(13.4 52.5)|'a' 'cat' 'fat'|<a>1</a>", "2|||", "3|POINT(1 2)|'it''s' 'xy'|<p class=\"x\">\tä\n</p>"];
    assert_eq!(rows, expected.map(|row| Some(row.to_owned())));
    let bad = [
        ("SRID=4326;POINT(1 two),a,<a/>", "spot", "XX000"),
        ("SRID=3857;POINT(1 2),a,<a/>", "spot", "22023"),
        ("SRID=4326;POINT(1 2),'a,<a/>", "document", "42601"),
        ("SRID=4326;POINT(1 2),a,<a>", "page", "2200N"),
    ];
    for (fields, column, sqlstate) in bad {
        let answer = world.load_csv("t", format!("id,spot,document,page\n1,,,\n2,{fields}\n3,,,\n")).await;
        let problem = answer.problem(422, "bad-row");
        assert_eq!(
            json!([problem["line"], problem["column"], problem["sqlstate"]]),
            json!([3, column, sqlstate]),
            "{problem:#}"
        );
        assert_eq!(world.db.count("t").await, 3);
    }
}

#[tokio::test]
async fn settings_that_change_what_a_text_means() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (d date, t timestamptz)").await;
    let body = "d,t\n01/02/2024,2024-07-01 12:00\n2024-02-01,2024-07-01 12:00+02\n";
    world.load_csv("t?timezone=Europe/Berlin&datestyle=DMY", body).await.committed(2);
    assert_eq!(world.db.count("t WHERE d = '2024-02-01' AND t = '2024-07-01 10:00Z'").await, 2);
    // They are the load's own, and the next one on the same connection has the session's again.
    world.db.sql("TRUNCATE t").await;
    world.load_csv("t", body).await.committed(2);
    assert_eq!(world.db.count("t WHERE d = '2024-01-02' AND t = '2024-07-01 12:00Z'").await, 1);
    for option in ["timezone=Nowhere/Land", "datestyle=XYZ", "timezone="] {
        let answer = world.load_csv(&format!("t?{option}"), body).await;
        answer.problem(400, "invalid-option");
    }
    world.load_csv("t", body).await.committed(2);
}
