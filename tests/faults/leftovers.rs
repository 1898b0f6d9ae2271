//! What must not be left when a trial is over: transactions, locks, files, slots that nobody gives back.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::body::{COLUMNS, Coding, Format, Rows};
use crate::client::{Call, Framing, Heard, Request};
use crate::plan::Plan;
use crate::site::{SLOTS, Site};
use crate::strike::table;
use crate::trial::Record;

/// How long it may take until all slots can be had, and a load on each of them can end.
const SETTLING: Duration = Duration::from_secs(45);
const ROWS: usize = 10;
/// Slots, the pool, one connection for questions, and one or two aside.
const SESSIONS_MAX: usize = SLOTS + 4 + 1 + 2;
/// Those sessions, and what a runtime needs.
const DESCRIPTORS_MAX: usize = 64;

pub(crate) async fn look(plan: &Plan, site: &mut Site, record: &mut Record) {
    let transactions = "SELECT count(*) FROM pg_stat_activity \
         WHERE datname = current_database() AND application_name LIKE 'pgsluice%' AND xact_start < clock_timestamp() - interval '100 ms'";
    for observer in [&mut site.target, &mut site.metadata] {
        if let Err(left) = observer.none_left(transactions).await {
            record.violation(format!("{left} transaction(s) of the service stay open"));
        }
    }
    let sessions_max = SESSIONS_MAX * (1 + usize::from(site.other.is_some()));
    let sessions = format!(
        "SELECT greatest(count(*) - {sessions_max}, 0) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pgsluice%'"
    );
    for observer in [&mut site.target, &mut site.metadata] {
        if let Err(more) = observer.none_left(&sessions).await {
            record.violation(format!("{more} connection(s) more than the service may have"));
        }
    }
    let locks = format!(
        "SELECT count(*) FROM pg_locks WHERE relation = '{}'::regclass AND pid <> pg_backend_pid()",
        table(plan)
    );
    if let Err(left) = site.target.none_left(&locks).await {
        record.violation(format!("{left} lock(s) stay on the table"));
    }
    if let Err(left) = site.target.none_left("SELECT count(*) FROM pg_ls_tmpdir()").await {
        record.violation(format!("{left} temporary file(s) of the server"));
    }
    let files = spooled(site);
    if !files.is_empty() {
        record.violation(format!("spooled bodies are left: {files:?}"));
    }
    slots(site, record).await;
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", site.service.pid())).map_or(0, Iterator::count);
    if descriptors > DESCRIPTORS_MAX {
        record.violation(format!("the service has {descriptors} file descriptors"));
    }
    // Of a process that has ended there is no command line.
    if std::fs::read(format!("/proc/{}/cmdline", site.service.pid())).is_ok_and(|line| line.is_empty()) {
        record.violation("the service has ended by itself");
    }
}

/// Files in the spool directory, and those without a name that the service still has open.
fn spooled(site: &Site) -> Vec<PathBuf> {
    let dir = site.spool_dir();
    let named = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", site.service.pid())).into_iter().flatten().flatten();
    let open = descriptors
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter(|path| path.starts_with(&dir));
    named.chain(open).collect()
}

/// Every slot can be had: as many loads run at the same time as there are slots, and all of them end well.
async fn slots(site: &mut Site, record: &mut Record) {
    site.target.run(&format!("CREATE TABLE IF NOT EXISTS slots ({COLUMNS})")).await;
    let deadline = Instant::now() + SETTLING;
    loop {
        let Some(calls) = occupy(site, deadline).await else {
            return record.violation(format!("{SLOTS} loads at the same time are not to be had"));
        };
        let mut is_over = true;
        for mut call in calls {
            call.send_all();
            match call.heard_within(SETTLING).await {
                Some(Heard::Answer(answer)) if answer.status == 201 => {}
                // On a busy machine this client may have been the slow one.
                Some(Heard::Answer(answer)) if answer.problem() == "client-stalled" => is_over = Instant::now() > deadline,
                other => record.violation(format!("a load on one of {SLOTS} slots: {other:?}")),
            }
        }
        if is_over {
            break;
        }
    }
    site.target.run("TRUNCATE slots").await;
}

/// Loads on all slots; nothing when they are not to be had in time.
async fn occupy(site: &mut Site, deadline: Instant) -> Option<Vec<Call>> {
    let running = "SELECT count(*) FROM pgsluice.jobs WHERE table_name = 'public.slots' AND state = 'running'";
    let mut calls: Vec<Option<Call>> = (0..SLOTS).map(|_| None).collect();
    while site.metadata.number(running).await != SLOTS as i64 {
        if Instant::now() > deadline {
            return None;
        }
        for call in &mut calls {
            // Told that there is no room (yet), one asks again.
            if call.as_ref().is_none_or(Call::has_answer) {
                *call = begin(site).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Some(calls.into_iter().flatten().collect())
}

/// A load that has begun and is not at its end.
async fn begin(site: &Site) -> Option<Call> {
    let body = Rows { trial: 0, attempt: 0, count: ROWS, too_large: Vec::new(), doubles: Vec::new() }.encode(Format::Csv, Coding::Identity);
    let half = body.len() / 2;
    let request = Request {
        address: site.service.address().to_owned(),
        target: "/v1/tables/slots/loads".to_owned(),
        headers: vec![("Content-Type", Format::Csv.media_type().to_owned())],
        body,
        framing: Framing::Length,
        resets: false,
    };
    let mut call = Call::begin(request).await?;
    call.send_until(half).await;
    Some(call)
}
