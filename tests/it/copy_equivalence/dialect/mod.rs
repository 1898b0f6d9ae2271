//! The body as a whole: how it is cut into records and fields, by both ways.

mod chaos;

use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use proptest::strategy::{Strategy, ValueTree};
use tokio_postgres::Client;

use super::exceptions;
use super::generated::{runner, seed};
use super::tally::{Difference, Tally, print};
use super::{FLAGS, version};
use crate::support::{Answer, Trickle, World};

/// Bodies at the same time, each on tables of its own.
const LANES: usize = 4;

/// Generated bodies of each format.
const CSV_BODIES: usize = 1200;
const TEXT_BODIES: usize = 400;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Csv,
    Text,
}

/// COPY's options, as both ways get them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Dialect {
    format: Format,
    /// columns of the table
    width: usize,
    /// option and value, where it is not the default
    options: Vec<(&'static str, String)>,
    header: bool,
}

impl Dialect {
    fn csv(width: usize) -> Dialect {
        Dialect { format: Format::Csv, width, options: Vec::new(), header: false }
    }

    fn with(mut self, name: &'static str, value: &str) -> Dialect {
        self.options.push((name, value.to_owned()));
        self
    }

    fn get<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.options.iter().find(|(known, _)| *known == name).map_or(default, |(_, value)| value)
    }

    /// The options of COPY.
    fn sql(&self) -> String {
        let format = if self.format == Format::Csv { "FORMAT csv" } else { "FORMAT text" };
        let mut parts = vec![format.to_owned()];
        for (name, value) in &self.options {
            parts.push(match *name {
                "force_null" | "force_not_null" if value == "*" => format!("{name} ({})", self.columns()),
                "force_null" | "force_not_null" => format!("{name} ({value})"),
                _ => format!("{name} E'{}'", value.replace('\\', "\\\\").replace('\'', "\\'")),
            });
        }
        if self.header {
            parts.push("HEADER".to_owned());
        }
        parts.join(", ")
    }

    /// The options of a load.
    fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in &self.options {
            query.append_pair(name, value);
        }
        query.append_pair("header", if self.header { "present" } else { "absent" });
        query.finish()
    }

    fn media_type(&self) -> &'static str {
        if self.format == Format::Csv { "text/csv" } else { "text/tab-separated-values" }
    }

    fn columns(&self) -> String {
        (1..=self.width).map(|number| format!("c{number}")).collect::<Vec<_>>().join(",")
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} columns ({})", self.width, self.sql())
    }
}

/// What became of a body: the rows as JSON objects, sorted; or a SQLSTATE.
type Outcome = Result<Vec<String>, String>;

/// Twin tables of every width.
struct Lane<'a> {
    world: &'a World,
    client: Client,
    number: usize,
}

const WIDTH_MAX: usize = 5;

impl<'a> Lane<'a> {
    async fn new(world: &'a World, number: usize) -> Lane<'a> {
        let client = world.db.connect().await;
        for width in 1..=WIDTH_MAX {
            let columns: Vec<String> = (1..=width).map(|number| format!("c{number} text")).collect();
            let columns = columns.join(", ");
            let create = format!("CREATE TABLE ours_{number}_{width} ({columns}); CREATE TABLE theirs_{number}_{width} ({columns})");
            client.batch_execute(&create).await.unwrap();
        }
        Lane { world, client, number }
    }

    fn table(&self, whose: &str, dialect: &Dialect) -> String {
        format!("{whose}_{}_{}", self.number, dialect.width)
    }

    /// What COPY makes of it, and nothing stays.
    async fn theirs(&self, dialect: &Dialect, body: &[u8]) -> Outcome {
        let table = self.table("theirs", dialect);
        self.client.batch_execute("BEGIN").await.unwrap();
        let attempt = async {
            let copy = format!("COPY {table} FROM STDIN ({})", dialect.sql());
            let mut sink = Box::pin(self.client.copy_in(&copy).await?);
            sink.send(Bytes::copy_from_slice(body)).await?;
            sink.as_mut().finish().await?;
            self.rows(&format!("SELECT row_to_json(t)::text FROM {table} t")).await
        };
        let outcome = attempt.await;
        self.client.batch_execute("ROLLBACK").await.unwrap_or_else(|error| panic!("{dialect}: {error:?}"));
        outcome.map_err(|error| {
            error
                .code()
                .unwrap_or_else(|| panic!("{dialect} {}: {error:?}", body.escape_ascii()))
                .code()
                .to_owned()
        })
    }

    /// What a load has made of it; the rows are taken away.
    async fn ours(&self, dialect: &Dialect, answer: &Answer) -> Outcome {
        let table = self.table("ours", dialect);
        let rows = self.rows(&format!("DELETE FROM {table} t RETURNING row_to_json(t)::text")).await.unwrap();
        if answer.status == 201 && answer.json["rows_loaded"] == rows.len() as u64 {
            return Ok(rows);
        }
        assert!(
            rows.is_empty() && answer.status.is_client_error(),
            "{dialect}: {rows:?} are there after {:#}",
            answer.json
        );
        let sqlstate = answer.json["sqlstate"].as_str().map(str::to_owned);
        Err(sqlstate.unwrap_or_else(|| format!("{} {}: {}", answer.status, answer.json["type"], answer.json["detail"])))
    }

    async fn rows(&self, sql: &str) -> Result<Vec<String>, tokio_postgres::Error> {
        let mut rows: Vec<String> = self.client.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect();
        rows.sort();
        Ok(rows)
    }

    fn target(&self, dialect: &Dialect) -> String {
        format!("{}?{}", self.table("ours", dialect), dialect.query())
    }

    /// One body by both ways.
    async fn compare(&self, dialect: &Dialect, body: &[u8], tally: &mut Tally) {
        let theirs = self.theirs(dialect, body).await;
        let answer = self.world.load(&self.target(dialect), dialect.media_type(), body.to_vec()).await;
        self.judge(dialect, body, "", &theirs, &answer, tally).await;
    }

    /// The same body in two pieces, cut at every byte, and byte by byte.
    async fn compare_in_pieces(&self, dialect: &Dialect, body: &[u8], tally: &mut Tally) {
        let theirs = self.theirs(dialect, body).await;
        for cut in 1..=body.len() {
            let trickle = Trickle::begin_as(self.world, &self.target(dialect), dialect.media_type());
            let (head, tail) = body.split_at(cut);
            match tail {
                [] => body.iter().for_each(|byte| trickle.send([*byte])),
                _ => [head, tail].into_iter().for_each(|piece| trickle.send(piece)),
            }
            let answer = trickle.finish().await;
            self.judge(dialect, body, &format!(" cut at {cut}"), &theirs, &answer, tally).await;
        }
    }

    async fn judge(&self, dialect: &Dialect, body: &[u8], how: &str, theirs: &Outcome, answer: &Answer, tally: &mut Tally) {
        let ours = self.ours(dialect, answer).await;
        let exception = answer.json["type"].as_str().and_then(|problem| exceptions::explain(problem, body));
        match (&ours, exception) {
            (Ok(rows), _) if ours == *theirs => tally.stored += rows.len(),
            (Err(_), _) if ours == *theirs => tally.refused += 1,
            (Err(_), Some(name)) => *tally.explained.entry(name).or_default() += 1,
            _ => tally.unexplained.push(Difference {
                subject: format!("{dialect}{how}"),
                text: Some(format!("\"{}\"", String::from_utf8_lossy(body).escape_debug())),
                theirs: format!("{theirs:?}"),
                ours: format!("{ours:?} {}", answer.json["type"].as_str().unwrap_or_default()),
            }),
        }
        tally.values += 1;
    }
}

/// Every body on a free lane.
async fn compare_all(world: &World, bodies: Vec<(Dialect, Vec<u8>)>, in_pieces: bool) -> Tally {
    let queue = tokio::sync::Mutex::new(bodies.into_iter());
    let queue = &queue;
    let lanes = (0..LANES).map(|number| async move {
        let lane = Lane::new(world, number).await;
        let mut tally = Tally::default();
        loop {
            let Some((dialect, body)) = queue.lock().await.next() else {
                return tally;
            };
            match in_pieces {
                true => lane.compare_in_pieces(&dialect, &body, &mut tally).await,
                false => lane.compare(&dialect, &body, &mut tally).await,
            }
        }
    });
    let mut tally = Tally::default();
    let mut results = futures::stream::iter(lanes).buffer_unordered(LANES);
    while let Some(result) = results.next().await {
        tally.add(result);
    }
    tally
}

async fn report(world: &World, what: &str, tally: &Tally) {
    tally.print_differences();
    let explained: Vec<String> = tally.explained.iter().map(|(name, count)| format!("{name} {count}")).collect();
    print(&format!(
        "{what} on PostgreSQL {}: {} bodies: rows stored alike {}, bodies refused alike {}, listed exceptions [{}], unexplained \
         differences {} (seed {})",
        version(world).await,
        tally.values,
        tally.stored,
        tally.refused,
        explained.join(", "),
        tally.unexplained.len(),
        seed(),
    ));
    assert!(tally.unexplained.is_empty(), "{} differences", tally.unexplained.len());
}

/// The files of csv-spectrum, and our own.
#[tokio::test]
async fn tricky_files_are_cut_into_the_same_fields() {
    let world = World::with(&FLAGS).await;
    let mut bodies: Vec<(Dialect, Vec<u8>)> = Vec::new();
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/csv-spectrum");
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "csv") {
            let body = std::fs::read(&path).unwrap();
            let width = body.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap().split(|byte| *byte == b',').count();
            bodies.push((Dialect::csv(width), body));
        }
    }
    assert_eq!(bodies.len(), 12);
    bodies.extend(chaos::files());
    let tally = compare_all(&world, bodies, false).await;
    report(&world, "tricky files", &tally).await;
    assert!(tally.stored > 100 && tally.refused > 20);
}

#[tokio::test]
async fn generated_bodies_are_cut_into_the_same_fields() {
    let world = World::with(&FLAGS).await;
    let mut bodies = drawn(&chaos::csv(), CSV_BODIES);
    bodies.extend(drawn(&chaos::text(), TEXT_BODIES));
    let tally = compare_all(&world, bodies, false).await;
    report(&world, "quoting chaos", &tally).await;
    assert!(tally.stored > 1000 && tally.refused > 200);
}

/// Where a body is cut into pieces on its way must not matter.
#[tokio::test]
async fn bodies_are_the_same_in_pieces() {
    let world = World::with(&FLAGS).await;
    let tally = compare_all(&world, chaos::short_files(), true).await;
    report(&world, "bodies in pieces", &tally).await;
    assert!(tally.stored > 300);
}

fn drawn(bodies: &proptest::strategy::BoxedStrategy<(Dialect, Vec<u8>)>, count: usize) -> Vec<(Dialect, Vec<u8>)> {
    let mut runner = runner("dialect");
    let mut seen = HashSet::new();
    let draws = std::iter::repeat_with(|| bodies.new_tree(&mut runner).unwrap().current());
    draws
        .filter(|(dialect, body)| seen.insert((dialect.to_string(), body.clone())))
        .take(count)
        .collect()
}
