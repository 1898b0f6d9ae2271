//! One type, value by value, by both ways: the server's own COPY and a load.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use proptest::prelude::{Just, Strategy};
use proptest::strategy::ValueTree;
use serde_json::Value;
use tokio_postgres::{Client, Statement};

use super::corpus::Case;
use super::generated::runner;
use super::tally::{Difference, Tally};
use crate::support::{Answer, World};

/// Loads at the same time that are to be refused.
const POSTS: usize = 8;
/// Differences after which a type is given up.
const DIFFERENCES_MAX: usize = 100;

/// A value with its place in the tables; `None` is NULL.
#[derive(Debug, Clone)]
struct Row {
    id: usize,
    text: Option<String>,
}

impl Row {
    /// The record that stands for it. An empty field is NULL, so an empty text is quoted.
    fn record(&self) -> String {
        let Row { id, text } = self;
        match text {
            None => format!("{id},\n"),
            Some(text) if text.is_empty() || text.contains(['"', ',', '\n', '\r']) => format!("{id},\"{}\"\n", text.replace('"', "\"\"")),
            Some(text) => format!("{id},{text}\n"),
        }
    }
}

/// What COPY says to the values of a type.
struct Verdict {
    accepted: Vec<Row>,
    /// of those to be tried
    refused: Vec<(Row, Refusal)>,
}

/// How COPY refuses a value: with which SQLSTATE, and whether it says the line and the column (it converts before it cuts fields).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Refusal {
    sqlstate: String,
    line: bool,
    column: bool,
}

/// Both ways for one type.
pub(super) struct Twins<'a> {
    world: &'a World,
    client: Client,
    /// the type, and the settings
    subject: String,
    ours: String,
    theirs: String,
}

impl<'a> Twins<'a> {
    /// Twin tables; the number tells them from those of other types.
    pub(super) async fn new(world: &'a World, case: &Case, number: usize, label: &str) -> Twins<'a> {
        let sql_type = &case.sql_type;
        let (ours, theirs) = (format!("ours_{number}"), format!("theirs_{number}"));
        let client = world.db.connect().await;
        let create = format!(
            "SET synchronous_commit = off; CREATE TABLE {ours} (id integer, v {sql_type}); CREATE TABLE {theirs} (id integer, v {sql_type})"
        );
        client.batch_execute(&create).await.unwrap_or_else(|error| panic!("{sql_type}: {error:?}"));
        let subject = if label.is_empty() { sql_type.clone() } else { format!("{sql_type} ({label})") };
        Twins { world, client, subject, ours, theirs }
    }

    pub(super) async fn compare(&self, case: &Case) -> Tally {
        let mut tally = Tally { types: 1, ..Tally::default() };
        let mut verdict = self.ask(case).await;
        self.refuse(&verdict, &mut tally).await;
        self.accept(&mut verdict, &mut tally).await;
        self.compare_stored(&verdict, &mut tally).await;
        tally.values = tally.rows();
        self.client.batch_execute(&format!("DROP TABLE {}, {}", self.ours, self.theirs)).await.unwrap();
        tally
    }

    /// Puts each value to the server's own COPY.
    async fn ask(&self, case: &Case) -> Verdict {
        let (values, by_hand) = case.values();
        let copy = format!("COPY {} FROM STDIN (FORMAT csv)", self.theirs);
        let copy = self.client.prepare(&copy).await.unwrap();
        let (mut accepted, mut hand, mut generated) = (Vec::new(), Vec::new(), Vec::new());
        for (id, text) in values.into_iter().enumerate() {
            let row = Row { id, text };
            match self.copy(&copy, row.record()).await {
                Ok(()) => accepted.push(row),
                Err(sqlstate) if id < by_hand => hand.push((row, sqlstate)),
                Err(sqlstate) => generated.push((row, sqlstate)),
            }
        }
        let refused = [thinned(hand, case.quota.refused_by_hand), thinned(generated, case.quota.refused)].concat();
        Verdict { accepted, refused }
    }

    async fn copy(&self, copy: &Statement, body: String) -> Result<(), Refusal> {
        let attempt = async {
            let sink = self.client.copy_in(copy).await?;
            let mut sink = std::pin::pin!(sink);
            sink.send(Bytes::from(body)).await?;
            sink.finish().await
        };
        let refusal = |error: tokio_postgres::Error| {
            let error = error.as_db_error().unwrap_or_else(|| panic!("{error:?}"));
            let says = |part: &str| error.where_().is_some_and(|context| context.contains(part));
            let sqlstate = error.code().code().to_owned();
            // A row that is too large is found when a batch of rows is written, and the line is then the one that was read last.
            Refusal {
                line: says(", line ") && !sqlstate.starts_with("54"),
                column: says(", column v"),
                sqlstate,
            }
        };
        attempt.await.map(|_| ()).map_err(refusal)
    }

    /// Loads each refused value between good ones: it has to be named, and nothing may stay.
    async fn refuse(&self, verdict: &Verdict, tally: &mut Tally) {
        let plain = |row: &&Row| row.text.as_ref().is_none_or(|text| text.len() < 200 && !text.contains(['\n', '\r']));
        let good: Vec<String> = verdict.accepted.iter().filter(plain).map(Row::record).collect();
        let attempts = verdict.refused.iter().enumerate().map(|(at, (row, refusal))| {
            let beside = |step: usize| good.get((at * step) % good.len().max(1)).cloned().unwrap_or_default();
            let (before, after) = (beside(1), beside(7));
            async move { self.refuse_one(row, refusal, &before, &after).await }
        });
        let differences: Vec<Option<Difference>> = futures::stream::iter(attempts).buffer_unordered(POSTS).collect().await;
        for difference in differences {
            match difference {
                None => tally.refused += 1,
                Some(difference) => tally.unexplained.push(difference),
            }
        }
        let left: i64 = self.client.query_one(&format!("SELECT count(*) FROM {}", self.ours), &[]).await.unwrap().get(0);
        if left != 0 {
            let difference = self.difference(None, "leaves nothing of what it refuses", format!("{left} rows are there"));
            tally.unexplained.push(difference);
            self.client.batch_execute(&format!("TRUNCATE {}", self.ours)).await.unwrap();
        }
    }

    async fn refuse_one(&self, row: &Row, refusal: &Refusal, before: &str, after: &str) -> Option<Difference> {
        let body = format!("{before}{}{after}", row.record());
        let answer = self.post(body).await;
        let line = before.matches('\n').count() as u64 + 1;
        let json = &answer.json;
        let alike = answer.status == 422
            && json["sqlstate"] == refusal.sqlstate.as_str()
            && (!refusal.line || json["line"] == line && json["byte_offset"] == before.len() as u64)
            && (!refusal.column || json["column"] == "v");
        if alike {
            return None;
        }
        let theirs = format!("refused, {refusal:?}, in line {line}, byte {}, column v", before.len());
        Some(self.difference(Some(row), &theirs, said(&answer)))
    }

    /// Loads all accepted values at once, common and rare forms in no order, so that neighbours go different ways. A value that the load
    /// stumbles over is noted and left out, so that one run tells all.
    async fn accept(&self, verdict: &mut Verdict, tally: &mut Tally) {
        let rows = std::mem::take(&mut verdict.accepted);
        verdict.accepted = Just(rows).prop_shuffle().new_tree(&mut runner(&self.subject)).unwrap().current();
        let before = verdict.accepted.len();
        while !verdict.accepted.is_empty() {
            let records: Vec<String> = verdict.accepted.iter().map(Row::record).collect();
            let answer = self.post(records.concat()).await;
            if answer.status == 201 && answer.json["rows_loaded"] == records.len() as u64 {
                break;
            }
            let mut offsets = records.iter().scan(0, |end, record| Some(std::mem::replace(end, *end + record.len()) as u64));
            let at = offsets.position(|offset| answer.json["byte_offset"] == offset);
            match at.filter(|_| before - records.len() < DIFFERENCES_MAX) {
                Some(at) => {
                    let row = verdict.accepted.remove(at);
                    tally.unexplained.push(self.difference(Some(&row), "stored", said(&answer)));
                }
                None => {
                    let theirs = format!("stores these {} values", records.len());
                    tally.unexplained.push(self.difference(None, &theirs, said(&answer)));
                    verdict.accepted.clear();
                }
            }
        }
        let kept: Vec<String> = verdict.accepted.iter().map(|row| row.id.to_string()).collect();
        let delete = format!("DELETE FROM {} WHERE id <> ALL ('{{{}}}')", self.theirs, kept.join(","));
        self.client.batch_execute(&delete).await.unwrap();
    }

    async fn post(&self, body: String) -> Answer {
        self.world.load_csv(&format!("{}?header=absent", self.ours), body).await
    }

    /// Compares by what the type's send function makes of the values: 1.0 and 1.00 are equal, and not the same.
    async fn compare_stored(&self, verdict: &Verdict, tally: &mut Tally) {
        let bytes = self.bytes_of_v().await;
        let [ours, theirs] = [&self.ours, &self.theirs].map(|table| format!("SELECT id, {bytes} FROM {table}"));
        let differing = format!("SELECT id FROM (({ours} EXCEPT ALL {theirs}) UNION ALL ({theirs} EXCEPT ALL {ours})) d GROUP BY id");
        let ids = self.client.query(&differing, &[]).await.unwrap();
        let rows: HashMap<usize, &Row> = verdict.accepted.iter().map(|row| (row.id, row)).collect();
        for id in &ids {
            let id: i32 = id.get(0);
            let theirs = format!("stored {}", self.shown(&self.theirs, id).await);
            let ours = format!("stored {}", self.shown(&self.ours, id).await);
            tally.unexplained.push(self.difference(rows.get(&(id as usize)).copied(), &theirs, ours));
        }
        tally.stored += verdict.accepted.len().saturating_sub(ids.len());
    }

    /// The column's value as bytes, by its type's send function; as text where the type has none. A domain has its base type's function,
    /// which does not know it, and some types have another type's.
    async fn bytes_of_v(&self) -> String {
        let sql = "WITH RECURSIVE t AS ( \
                     SELECT y.* FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid WHERE a.attrelid = $1::text::regclass AND a.attname = 'v' \
                     UNION ALL SELECT b.* FROM t JOIN pg_type b ON t.typtype = 'd' AND b.oid = t.typbasetype) \
                   SELECT p.oid::regproc::text, format_type(CASE WHEN y.typtype = 'p' THEN t.oid ELSE y.oid END, -1) \
                     FROM t LEFT JOIN pg_type e ON e.typarray = t.oid \
                          LEFT JOIN pg_proc p ON p.oid = t.typsend AND e.typsend IS DISTINCT FROM 0 LEFT JOIN pg_type y ON y.oid = p.proargtypes[0] WHERE t.typtype <> 'd'";
        let row = self.client.query_one(sql, &[&self.ours]).await.unwrap();
        match row.get::<_, Option<String>>(0) {
            Some(send) => format!("{send}(v::{})", row.get::<_, String>(1)),
            None => "textsend(v::text)".to_owned(),
        }
    }

    /// A value as text, of which what is not ASCII is shown by its bytes: some input functions store what is no text in any encoding.
    async fn shown(&self, table: &str, id: i32) -> String {
        let bytes = self.bytes_of_v().await;
        let sql = format!("SELECT encode(textsend(v::text), 'escape'), encode({bytes}, 'hex') FROM {table} WHERE id = {id}");
        let Some(row) = self.client.query_opt(&sql, &[]).await.unwrap() else {
            return "nothing".to_owned();
        };
        let part = |index| {
            row.get::<_, Option<String>>(index)
                .map_or("NULL".to_owned(), |text| text.chars().take(100).collect())
        };
        format!("{} ({})", part(0), part(1))
    }

    fn difference(&self, row: Option<&Row>, theirs: &str, ours: String) -> Difference {
        let text = row.map(|row| row.text.as_ref().map_or("NULL".to_owned(), |text| format!("{text:?}")));
        Difference { subject: self.subject.clone(), text, theirs: theirs.to_owned(), ours }
    }
}

/// A load that is refused costs a connection, so not everything that COPY refuses is tried: so many of them, evenly spread, and every
/// SQLSTATE.
fn thinned(refused: Vec<(Row, Refusal)>, most: usize) -> Vec<(Row, Refusal)> {
    let step = refused.len().div_ceil(most).max(1);
    let mut seen = HashSet::new();
    let wanted = |(at, (_, refusal)): &(usize, (Row, Refusal))| seen.insert(refusal.clone()) || at % step == 0;
    refused.into_iter().enumerate().filter(wanted).map(|(_, refused)| refused).collect()
}

/// What a load was answered, in a line.
fn said(answer: &Answer) -> String {
    let part = |name: &str| match &answer.json[name] {
        Value::Null => String::new(),
        Value::String(text) => format!(" {name} {}", text.chars().take(160).collect::<String>()),
        other => format!(" {name} {other}"),
    };
    let parts: Vec<String> = ["sqlstate", "line", "byte_offset", "column", "detail", "rows_loaded"].map(part).into();
    format!("answered {}{}", answer.status.as_u16(), parts.concat())
}
