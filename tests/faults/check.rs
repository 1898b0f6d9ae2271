//! What must be true of a load, whatever happened to it: asked of the databases from outside, and held against what the client was told.

use tokio_postgres::Row;

use crate::client::{Answer, Heard};
use crate::leftovers;
use crate::plan::Plan;
use crate::site::Site;
use crate::strike::table;
use crate::trial::{Attempt, First, Record};

/// Right after the fault: an answer is true, and of the rows there are all or none.
pub(crate) async fn first(plan: &Plan, site: &mut Site, heard: &Heard, record: &mut Record) {
    let (good, sum) = plan.rows(1).good();
    let found = rows(plan, site).await;
    if found.count != 0 && (found.count, found.sum) != (good, sum) {
        record.violation(format!("before the retries: {} rows in the table, neither none nor all of {good}", found.count));
    }
    let Heard::Answer(answer) = heard else {
        return;
    };
    if answer.status == 201 {
        record.first = First::Committed;
        if plan.fault.never_succeeds() {
            record.violation("a body was loaded that is not the one that was sent");
        }
        if found.count != good {
            record.violation(format!("answered 201, and {} rows of {good} are in the table", found.count));
        }
        if ledger_of(answer, site).await != Some(good) {
            record.violation("answered 201, and the ledger does not have it");
        }
        return;
    }
    let is_explained = plan.fault.explains(answer.status, answer.problem()) || record.stood_still && answer.problem() == "client-stalled";
    if !is_explained {
        record.violation(format!("the fault does not explain this answer: {} {}", answer.status, answer.json));
    }
    if is_pending(answer) {
        return;
    }
    record.first = First::Refused;
    if found.count != 0 {
        record.violation(format!(
            "answered {} {}, and {} rows are in the table",
            answer.status,
            answer.problem(),
            found.count
        ));
    }
    if ledger_of(answer, site).await.is_some() {
        record.violation(format!("answered {} {}, and the ledger has it", answer.status, answer.problem()));
    }
}

fn is_pending(answer: &Answer) -> bool {
    answer.problem() == "outcome-pending"
}

/// The rows that the ledger has of the job of an answer.
async fn ledger_of(answer: &Answer, site: &mut Site) -> Option<i64> {
    let sql = format!("SELECT rows FROM pgsluice.ledger WHERE job_id = '{}'", answer.job()?);
    site.target.rows(&sql).await.first().map(|row| row.get(0))
}

/// What is in the table.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    count: i64,
    distinct: i64,
    sum: i64,
    attempts: Vec<i32>,
    strangers: i64,
}

async fn rows(plan: &Plan, site: &mut Site) -> Found {
    let sql = format!(
        "SELECT count(*), count(DISTINCT n), coalesce(sum(n), 0)::bigint, coalesce(array_agg(DISTINCT attempt), '{{}}'), \
           count(*) FILTER (WHERE trial <> {} OR note IS NULL OR note NOT LIKE 'note % of row %') FROM {}",
        plan.number,
        table(plan),
    );
    let row = &site.target.rows(&sql).await[0];
    Found {
        count: row.get(0),
        distinct: row.get(1),
        sum: row.get(2),
        attempts: row.get(3),
        strangers: row.get(4),
    }
}

/// A job as the metadata have it.
#[derive(Debug)]
struct Job {
    id: String,
    state: String,
    rows_loaded: i64,
    rows_rejected: i64,
    rows_received: i64,
}

/// When a retry has succeeded and everything has come to rest.
pub(crate) async fn at_the_end(plan: &Plan, site: &mut Site, attempts: &[Attempt], record: &mut Record) {
    let answers = attempts.iter().filter_map(|attempt| match &attempt.heard {
        Heard::Answer(answer) => Some((attempt.number, answer)),
        Heard::Nothing => None,
    });
    let answers: Vec<(u32, &Answer)> = answers.collect();
    record.pending = answers.iter().filter(|(_, answer)| is_pending(answer)).count() as u32;
    let name = table(plan);
    let open = format!("SELECT count(*) FROM pgsluice.jobs WHERE table_name = 'public.{name}' AND state IN ('running', 'committing')");
    if let Err(left) = site.metadata.none_left(&open).await {
        record.violation(format!("{left} job(s) stay open"));
    }
    let found = rows(plan, site).await;
    one_copy(plan, &found, record);
    let ledger = site
        .target
        .rows(&format!("SELECT job_id::text, rows FROM pgsluice.ledger WHERE table_name = 'public.{name}'"))
        .await;
    let ledger: Vec<(String, i64)> = ledger.iter().map(|row| (row.get(0), row.get(1))).collect();
    let [(job, rows)] = &ledger[..] else {
        return record.violation(format!("{} ledger rows: {ledger:?}", ledger.len()));
    };
    if *rows != plan.rows(1).good().0 {
        record.violation(format!("the ledger says {rows} rows"));
    }
    jobs_agree(plan, site, job, record).await;
    answers_agree(plan, job, &found, &answers, record);
    rejects_agree(plan, site, &answers, record).await;
    leftovers::look(plan, site, record).await;
}

fn one_copy(plan: &Plan, found: &Found, record: &mut Record) {
    let (good, sum) = plan.rows(1).good();
    let one = Found { count: good, distinct: good, sum, attempts: found.attempts.clone(), strangers: 0 };
    if *found != one || found.attempts.len() != 1 {
        record.violation(format!("not exactly one copy of {good} rows: {found:?}"));
    }
}

/// Every job's last state is what the ledger says.
async fn jobs_agree(plan: &Plan, site: &mut Site, committed: &str, record: &mut Record) {
    let sql = format!(
        "SELECT id::text, state, rows_loaded, rows_rejected, rows_received FROM pgsluice.jobs WHERE table_name = 'public.{}'",
        table(plan)
    );
    let jobs = site.metadata.rows(&sql).await;
    let job = |row: &Row| Job {
        id: row.get(0),
        state: row.get(1),
        rows_loaded: row.get(2),
        rows_rejected: row.get(3),
        rows_received: row.get(4),
    };
    let jobs: Vec<Job> = jobs.iter().map(job).collect();
    if !jobs.iter().any(|job| job.id == committed) {
        record.violation(format!("the ledger has a job {committed} that the metadata do not know"));
    }
    let (all, good) = (plan.rows as i64, plan.rows(1).good().0);
    for job in &jobs {
        let counts = (job.rows_received, job.rows_loaded, job.rows_rejected);
        let agrees = match job.state.as_str() {
            "committed" => job.id == committed && counts == (all, good, all - good),
            "failed" | "cancelled" => job.id != committed && job.rows_loaded == 0,
            _ => false,
        };
        if !agrees {
            record.violation(format!("{job:?}, and the ledger has {committed} with {good} rows of {all}"));
        }
    }
}

/// Nobody was told anything that is not so; the first 201 is the load, every other one says that it is a replay.
fn answers_agree(plan: &Plan, committed: &str, found: &Found, answers: &[(u32, &Answer)], record: &mut Record) {
    let mut loads = 0;
    for (number, answer) in answers {
        let told = format!("attempt {number} was answered {} {}", answer.status, answer.json);
        // With a digest all attempts carry the same rows.
        let is_in_table = (!plan.has_digest).then(|| found.attempts.contains(&(*number as i32)));
        if answer.status == 201 {
            loads += u32::from(!answer.replayed);
            if answer.job() != Some(committed) {
                record.violation(format!("{told}, and the ledger has {committed}"));
            }
            if answer.replayed == (is_in_table == Some(true)) && !plan.has_digest {
                record.violation(format!(
                    "{told}, replayed: {}, and the table has the rows of attempt {:?}",
                    answer.replayed, found.attempts
                ));
            }
        } else if !is_pending(answer) {
            let same_job = answer.problem() != "idempotency-key-in-progress" && answer.job() == Some(committed);
            if same_job || is_in_table == Some(true) {
                record.violation(format!("{told}, and that is what is in the table"));
            }
        }
        if answer.status == 409 && answer.location.is_none() && answer.job().is_none() {
            record.violation(format!("{told}, without saying which job"));
        }
    }
    if loads > 1 {
        record.violation(format!("{loads} answers say that they are the load"));
    }
}

/// Every 201 says how many rows were turned away, and the report has exactly those.
async fn rejects_agree(plan: &Plan, site: &Site, answers: &[(u32, &Answer)], record: &mut Record) {
    let first = if plan.format.is_text() { 1 + plan.format.header_lines() } else { 1 };
    let expected: Vec<u64> = plan.rows(1).bad().iter().map(|row| *row as u64 + first).collect();
    let committed = answers.iter().filter(|(_, answer)| answer.status == 201);
    let url = format!(
        "/v1/jobs/{}/rejects",
        committed.clone().next().and_then(|(_, answer)| answer.job()).unwrap_or_default()
    );
    for (number, answer) in committed {
        let counts = ["rows_received", "rows_rejected"].map(|name| answer.json[name].as_u64());
        let has_url = answer.json["rejects_url"] == url.as_str();
        if counts != [Some(plan.rows as u64), Some(expected.len() as u64)] || has_url == expected.is_empty() {
            record.violation(format!("attempt {number}: {} rejects are expected: {}", expected.len(), answer.json));
        }
    }
    if expected.is_empty() {
        return;
    }
    let report = reqwest::Client::new().get(site.service.url(&url)).header("Accept", "application/x-ndjson").send();
    let text = report.await.unwrap().text().await.unwrap();
    let place = if plan.format.is_text() { "line" } else { "row" };
    let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok().and_then(|reject| reject[place].as_u64());
    let lines: Vec<Option<u64>> = text.lines().map(line).collect();
    if lines != expected.iter().copied().map(Some).collect::<Vec<_>>() {
        record.violation(format!("the report names {lines:?}, and the bad rows are {expected:?}"));
    }
}
