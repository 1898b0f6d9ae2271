//! `on_error=skip` against bodies and tables that are made to mislead it, and what it may cost.

use std::sync::Arc;

use ::arrow::array::{ArrayRef, DictionaryArray, Int32Array, RunArray, StringArray, new_null_array};
use ::arrow::datatypes::DataType;
use ::arrow::ipc::CompressionType;
use ::arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use serde_json::{Value, json};

use crate::support::World;
use crate::support::arrow::{self, STREAM, batch, ints};

async fn report(world: &World, job: &Value, fields: &[&str]) -> Value {
    let url = world.url(job["rejects_url"].as_str().unwrap_or_else(|| panic!("no rejects_url: {job:#}")));
    let text = world.http.get(url).send().await.unwrap().text().await.unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.map(|reject| Value::from(fields.iter().map(|field| reject[*field].clone()).collect::<Vec<_>>()))
        .collect()
}

#[tokio::test]
async fn the_server_names_rows_of_whatever_name() {
    let world = World::new().await;
    world.db.sql("CREATE DOMAIN spot AS point NOT NULL").await;
    let body = "a,\"b: \"\"x\",\"c, line 9\"\n1,\"(1,1)\",\"(1,1)\"\n3,\"(1,1)\",\"(1,1)\"\n4,\"(1,y)\",\"(1,1)\"\n5,\"(1,1)\",\n6,\"(1,1)\",\"(\nz\"\n";
    for (name, path) in [("t", "t"), ("t, line 5", "t,%20line%205"), ("COPY t", "COPY%20t"), ("a\nb", "a%0Ab"), ("t\"", "t%22")] {
        let quoted = name.replace('"', "\"\"");
        let table = format!("CREATE TABLE \"{quoted}\" (a int CHECK (a <> 3), \"b: \"\"x\" point, \"c, line 9\" spot)");
        world.db.sql(&table).await;
        let answer = world.load_csv(&format!("{path}?on_error=skip"), body).await;
        let found = report(&world, answer.committed(1), &["line", "column", "value", "sqlstate"]).await;
        let expected = json!([
            [3, null, null, "23514"],
            [4, "b: \"x", "(1,y)", "22P02"],
            [5, "c, line 9", null, "23502"],
            [6, "c, line 9", "(\nz", "22P02"]
        ]);
        assert_eq!(found, expected, "{name:?}");
        let refused = world.load_csv(path, body).await;
        assert_eq!(refused.problem(422, "bad-row")["line"], 3, "{name:?}");
    }
}

#[tokio::test]
async fn a_column_that_is_named_is_one_of_the_table() {
    let world = World::new().await;
    world
        .db
        .sql(
            "CREATE TABLE t (id int); CREATE TABLE log (entry int NOT NULL); \
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN INSERT INTO log VALUES (NULLIF(NEW.id, 2)); RETURN NEW; END $$; \
             CREATE TRIGGER note BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION note()",
        )
        .await;
    let answer = world.load_csv("t?on_error=skip", "id\n1\n2\n3\n").await;
    let job = answer.committed(2);
    assert_eq!(job["rejected_by_column"], json!({}));
    assert_eq!(report(&world, job, &["line", "column", "sqlstate"]).await, json!([[3, null, "23502"]]));
}

#[tokio::test]
async fn batches_that_are_small_on_their_way_and_large_in_memory() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (id int, data bytea)").await;
    let wide = batch([("id", ints(&[7; 64])), ("data", new_null_array(&DataType::FixedSizeBinary(1 << 16), 64))]);
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD)).unwrap();
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &wide.schema(), options).unwrap();
    (0..150).for_each(|_| writer.write(&wide).unwrap());
    writer.finish().unwrap();
    let body = writer.into_inner().unwrap();
    assert!(body.len() < 1 << 20, "{} bytes", body.len());
    world.load("t?on_error=skip", STREAM, body).await.committed(64 * 150);
    // The batches take 600 MiB.
    assert!(world.service.peak_rss_kib() < 160 << 10, "{} KiB", world.service.peak_rss_kib());
}

#[tokio::test]
async fn rows_of_dictionaries_and_runs_are_shown_by_themselves() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (id int CHECK (id < 3), a text, b text)").await;
    let keys = Int32Array::from(vec![Some(0), Some(1), Some(2), None, Some(0)]);
    let values = Arc::new(StringArray::from(vec![Some("x"), None, Some("y,")]));
    let dictionary: ArrayRef = Arc::new(DictionaryArray::new(keys, values));
    let runs = RunArray::try_new(&Int32Array::from(vec![2, 4, 5]), &StringArray::from(vec![Some("r"), None, Some("")])).unwrap();
    let runs: ArrayRef = Arc::new(runs);
    let rows = batch([("id", ints(&[1, 2, 3, 4, 5])), ("a", dictionary), ("b", runs)]);
    let answer = world.load("t?on_error=skip", STREAM, arrow::stream(&[rows])).await;
    let url = world.url(answer.committed(2)["rejects_url"].as_str().unwrap());
    let records = world.http.get(url).header("Accept", "text/csv").send().await.unwrap().text().await.unwrap();
    assert_eq!(records, "id,a,b\n3,\"y,\",\n4,,\n5,x,\"\"\n");
}
