//! A good body is loaded, whole, and its job says so.

use crate::support::{World, run};

#[tokio::test]
async fn csv_with_a_header_in_any_order_of_columns() {
    let world = World::new().await;
    world
        .db
        .sql("CREATE TABLE t (id int PRIMARY KEY, name text, amount numeric(10,2) DEFAULT 9.5, note text)")
        .await;
    let answer = world.load_csv("public.t", "note,id,name\n\"\",1,Zoë\n,2,\"a, \"\"b\"\"\"\n").await;
    let job = answer.committed(2);
    assert_eq!(job["table"], "public.t");
    assert_eq!(job["bytes_received"], 37);
    assert_eq!(answer.headers["location"].to_str().unwrap(), format!("/v1/jobs/{}", job["id"].as_str().unwrap()));
    let rows = world
        .db
        .texts("SELECT format('%s|%s|%s|%s', id, name, amount, coalesce(note, 'NULL')) FROM t ORDER BY id")
        .await;
    assert_eq!(rows, [Some("1|Zoë|9.50|".to_owned()), Some("2|a, \"b\"|9.50|NULL".to_owned())]);
}

#[tokio::test]
async fn csv_options_of_copy() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (a text, b text)").await;
    let options = "t?header=absent&columns=b,a&delimiter=%3B&quote='&escape=%5C&null=NULL";
    world.load_csv(options, "NULL;'it\\'s'\r\n'NULL';\r\n").await.committed(2);
    let rows = world.db.texts("SELECT format('%s|%s', coalesce(a, '-'), coalesce(b, '-')) FROM t ORDER BY 1").await;
    assert_eq!(rows, [Some("it's|-".to_owned()), Some("|NULL".to_owned())]);
}

#[tokio::test]
async fn a_byte_order_mark_a_missing_last_newline_and_a_chunked_body() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (a int, b text)").await;
    let pieces = ["\u{feff}", "a", ",b\n1,", "\"x\ny\"", "\n2,z"];
    let body = reqwest::Body::wrap_stream(futures::stream::iter(pieces.map(Ok::<_, std::io::Error>)));
    world.load_csv("t", body).await.committed(2);
    assert_eq!(world.db.count("t WHERE b = E'x\\ny' OR b = 'z'").await, 2);
}

#[tokio::test]
async fn a_load_of_many_segments_is_whole() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (id int8, filler text)").await;
    let mut body = String::from("id,filler\n");
    for id in 0..400_000 {
        body.push_str(&format!("{id},{id:0100}\n"));
    }
    world.load_csv("t", body).await.committed(400_000);
    let sums = world.db.texts("SELECT format('%s %s', sum(id), count(DISTINCT id)) FROM t").await;
    assert_eq!(sums[0].as_deref(), Some("79999800000 400000"));
}

#[tokio::test]
async fn a_single_copy_fires_statement_triggers_once() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (a text); CREATE TABLE fired (n int)").await;
    world
        .db
        .sql("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO fired VALUES (1); RETURN NULL; END'")
        .await;
    world.db.sql("CREATE TRIGGER f AFTER INSERT ON t FOR EACH STATEMENT EXECUTE FUNCTION f()").await;
    let body = format!("a\n{}", format!("{}\n", "x".repeat(999)).repeat(30_000));
    world.load_csv("t?segments=one", body).await.committed(30_000);
    assert_eq!(world.db.count("fired").await, 1);
}

#[tokio::test]
async fn partitions_triggers_and_names_that_need_quoting() {
    let world = World::new().await;
    world.db.sql(r#"CREATE SCHEMA "My Schema"; CREATE TABLE "My Schema"."a ""b" ("Col;1" int NOT NULL, "sel ect" text) PARTITION BY LIST ("Col;1")"#).await;
    world.db.sql(r#"CREATE TABLE p1 PARTITION OF "My Schema"."a ""b" FOR VALUES IN (1); CREATE TABLE p2 PARTITION OF "My Schema"."a ""b" DEFAULT"#).await;
    world.load_csv("My%20Schema.a%20%22b", "sel ect,Col;1\nx,1\ny,2\n").await.committed(2);
    assert_eq!((world.db.count("p1").await, world.db.count("p2").await), (1, 1));

    world.db.sql("CREATE TABLE filled (a int NOT NULL, b int)").await;
    world
        .db
        .sql("CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.a := coalesce(NEW.a, 7); RETURN NEW; END'")
        .await;
    world
        .db
        .sql("CREATE TRIGGER fill BEFORE INSERT ON filled FOR EACH ROW EXECUTE FUNCTION fill()")
        .await;
    world.load_csv("filled", "a,b\n,1\n").await.committed(1);
    assert_eq!(world.db.count("filled WHERE a = 7").await, 1);
}

#[tokio::test]
async fn psql_sees_the_rows_and_the_ledger_has_the_load() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (a int)").await;
    let answer = world.load_csv("t", "a\n1\n2\n3\n").await;
    let id = answer.committed(3)["id"].as_str().unwrap();
    let ledger = format!("SELECT rows FROM pgsluice.ledger WHERE job_id = '{id}'");
    let mut psql = std::process::Command::new("psql");
    assert_eq!(run(psql.args(["-XAtqc", &ledger, &world.db.url])).trim(), "3");
}

#[tokio::test]
async fn the_text_format_of_copy() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (a int, b text, c date)").await;
    let body = "1\ttab\\tbackslash\\\\newline\\\nx\\x41\\102\\303\\244\t2024-01-01\n2\t\\N\tJan 2, 2024\n3\t\t\\N\n\\.\n";
    world.load("t?header=absent", "text/tab-separated-values", body).await.committed(3);
    let rows = world.db.texts("SELECT format('%s|%s|%s', a, coalesce(b, 'NULL'), c) FROM t ORDER BY a").await;
    let expected = ["1|tab\tbackslash\\newline\nxABä|2024-01-01", "2|NULL|2024-01-02", "3||"];
    assert_eq!(rows, expected.map(|row| Some(row.to_owned())));
    // What COPY writes, it reads.
    world.db.sql("CREATE TABLE copied (LIKE t)").await;
    let copied = world.db.client.copy_out("COPY t TO STDOUT (DELIMITER '|', NULL 'null')").await.unwrap();
    let pieces: Vec<bytes::Bytes> = futures::TryStreamExt::try_collect(copied).await.unwrap();
    let options = "copied?format=text&delimiter=%7C&null=null&columns=a,b,c&header=absent";
    world.load(options, "application/octet-stream", pieces.concat()).await.committed(3);
    assert_eq!(world.db.count("(SELECT * FROM t EXCEPT ALL SELECT * FROM copied) x").await, 0);
    world.load("t", "text/tab-separated-values", "b\ta\nx\t5\n").await.committed(1);
}

#[tokio::test]
async fn null_strings_in_and_out_of_quotes() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (a text, b text, c text, d text)").await;
    let body = "a,b,c,d\n\"\",\"\",\"\",\"\"\n,,,\n";
    let shown = "SELECT format('%s%s%s%s', coalesce(a, 'N'), coalesce(b, 'N'), coalesce(c, 'N'), coalesce(d, 'N')) FROM t";
    let cases = [
        ("", ["", "NNNN"]),
        ("force_null=a,b&force_not_null=b,c", ["NN", "NN"]),
        ("force_null=*", ["NNNN", "NNNN"]),
        ("force_not_null=*", ["", ""]),
    ];
    for (options, expected) in cases {
        world.load_csv(&format!("t?{options}"), body).await.committed(2);
        assert_eq!(world.db.texts(shown).await, expected.map(|row| Some(row.to_owned())), "{options}");
        world.db.sql("TRUNCATE t").await;
    }
    let answer = world.load_csv("t?force_null=a,nope", body).await;
    assert!(
        answer.problem(422, "columns-mismatch")["detail"]
            .as_str()
            .unwrap()
            .contains("force_null names \"nope\"")
    );
}
