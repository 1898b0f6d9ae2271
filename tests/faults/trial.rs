//! One trial: a load, a fault at its moment, what the client hears; then retries with the same key until one succeeds; and after each
//! step, a look at what is true.

use std::time::{Duration, Instant};

use sfv::ItemSerializer;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::body::{self, COLUMNS};
use crate::check;
use crate::client::{Answer, Call, Heard, Request, call};
use crate::fault::Fault;
use crate::plan::{Moment, Plan, Way};
use crate::site::{Lane, Server, Site};
use crate::strike::{Mend, link, mend, strike, table};
use crate::support::proxy::{Caught, Link};

/// How long a client waits for an answer at most; whatever is wrong, a load ends before.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long retries may be in vain.
const RETRYING: Duration = Duration::from_secs(60);
/// The service waits longer than this for a client; but on a busy machine, clocks are not what they were.
const STANDING_MAX: Duration = Duration::from_secs(2);
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// What a trial came to.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) first: First,
    pub(crate) retries: u32,
    /// answers that promised nothing
    pub(crate) pending: u32,
    pub(crate) violations: Vec<String>,
    /// the client was kept from sending for so long that it may have been taken for one that does not want to
    pub(crate) stood_still: bool,
    /// the load came as far as its fault's moment
    pub(crate) reached: bool,
}

/// What the client knew after the fault.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    Committed,
    Refused,
    #[default]
    Unknown,
}

/// One request, what came of it, and which attempt's rows it carried.
pub(crate) struct Attempt {
    pub(crate) number: u32,
    pub(crate) heard: Heard,
}

impl Record {
    pub(crate) fn violation(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }
}

/// Runs a trial; nothing when this machine cannot.
pub(crate) async fn run(plan: &Plan, lane: &mut Lane) -> Option<Record> {
    let (server, site) = lane.place(plan.two_databases).await;
    if plan.fault == Fault::DiskFull && server.small_disk.is_none() {
        return None;
    }
    prepare(plan, site).await;
    let mut record = Record::default();
    let mut attempts = Vec::new();
    let Conclusion { heard, todo, open } = Box::pin(first_attempt(plan, server, site, &mut record)).await;
    match heard {
        Some(heard) => {
            // Some faults would keep us from looking, too.
            mend(todo, server, site).await;
            site.heal();
            check::first(plan, site, &heard, &mut record).await;
            attempts.push(Attempt { number: 1, heard });
            Box::pin(retry(plan, site, &mut attempts, &mut record)).await;
        }
        None => {
            Box::pin(retry(plan, site, &mut attempts, &mut record)).await;
            mend(todo, server, site).await;
            let heard = listen(open, &mut record).await;
            attempts.push(Attempt { number: 1, heard });
        }
    }
    check::at_the_end(plan, site, &attempts, &mut record).await;
    if !record.violations.is_empty() {
        record.violation(format!("the service's log:\n      {}", site.log_tail()));
    }
    site.other = None;
    site.target.run(&format!("DROP TABLE {}", table(plan))).await;
    Some(record)
}

async fn prepare(plan: &Plan, site: &mut Site) {
    let place = if plan.fault == Fault::DiskFull { "TABLESPACE small" } else { "" };
    let key = if plan.rejects.is_some() { ", UNIQUE (n)" } else { "" };
    site.target.run(&format!("DROP TABLE IF EXISTS {}", table(plan))).await;
    site.target.run(&format!("CREATE TABLE {} ({COLUMNS}{key}) {place}", table(plan))).await;
    if matches!(plan.fault, Fault::InstanceKilled | Fault::InstancePaused) {
        site.other = Some(site.start_another().await);
    }
}

/// The request for an attempt, with a whole body.
fn request(plan: &Plan, site: &Site, attempt: u32) -> Request {
    let mut target = format!("/v1/tables/{}/loads", table(plan));
    if plan.rejects.is_some() {
        target.push_str("?on_error=skip&reject_limit=50");
    }
    let body = plan.rows(attempt).encode(plan.format, plan.coding);
    let mut headers =
        vec![("Content-Type", plan.format.media_type().to_owned()), ("Idempotency-Key", format!("\"trial-{}\"", plan.number))];
    headers.extend(plan.coding.name().map(|name| ("Content-Encoding", name.to_owned())));
    if plan.has_digest {
        let digest = ItemSerializer::new().bare_item(Sha256::digest(&body).as_slice()).finish();
        headers.push(("Content-Digest", format!("sha-256={digest}")));
    }
    Request {
        address: site.service.address().to_owned(),
        target,
        headers,
        body,
        framing: plan.framing,
        resets: false,
    }
}

/// How far the first attempt has come.
struct Conclusion {
    /// nothing when the client does not wait any longer, and may still be answered later
    heard: Option<Heard>,
    /// what the fault leaves to be made good
    todo: Mend,
    open: Option<Call>,
}

/// The load that the fault strikes; what the client hears, and what the fault leaves to be made good.
async fn first_attempt(plan: &Plan, server: &mut Server, site: &mut Site, record: &mut Record) -> Conclusion {
    let mut request = request(plan, site, 1);
    if let Some(damage) = plan.damage {
        request.body = body::damaged(&plan.rows(1), plan.format, plan.coding, damage, plan.place, plan.has_digest);
    }
    request.resets = plan.fault == Fault::ClientReset;
    let mut nobody = None;
    if plan.moment == Moment::Before {
        record.reached = true;
        let todo = strike(plan, server, site, &mut nobody).await;
        let open = Call::begin(request).await;
        return conclude(plan, server, site, open, None, todo, record).await;
    }
    let mut caught = set_trap(plan.moment, site);
    let mut open = Call::begin(request.clone()).await;
    let stopped = match &mut open {
        Some(open) => reach(plan, site, open, &request, &mut caught).await,
        None => None,
    };
    let since = Instant::now();
    record.reached = open.is_some() && (stopped.is_some() || caught.is_none());
    if let Some(open) = open.as_mut().filter(|_| takes_time(plan)) {
        open.send_all();
    }
    let todo = strike(plan, server, site, &mut open).await;
    tokio::time::sleep(plan.pause).await;
    record.stood_still = since.elapsed() > STANDING_MAX;
    conclude(plan, server, site, open, stopped, todo, record).await
}

fn set_trap(moment: Moment, site: &Site) -> Option<UnboundedReceiver<Caught>> {
    let (way, text, then) = match moment {
        Moment::Ledger => (Way::Target, "INSERT INTO pgsluice.ledger", Link::Silent),
        Moment::Committing => (Way::Metadata, "UPDATE pgsluice.jobs SET state = 'committing'", Link::Silent),
        Moment::CommitAsked => (Way::Target, "COMMIT\0", Link::Silent),
        Moment::CommitSent | Moment::CommitDone => (Way::Target, "COMMIT\0", Link::Deaf),
        Moment::Recording => (Way::Metadata, "UPDATE pgsluice.jobs SET state = $3", Link::Silent),
        _ => return None,
    };
    Some(site.links(way)[0].catch_when_sent(text, then))
}

/// Lets the load go as far as the moment at which the fault strikes; or to its end, if it never comes that far.
async fn reach(
    plan: &Plan,
    site: &mut Site,
    call: &mut Call,
    request: &Request,
    caught: &mut Option<UnboundedReceiver<Caught>>,
) -> Option<Caught> {
    match plan.moment {
        Moment::Body(part) => {
            call.send_until((request.body.len() as f64 * part) as usize).await;
            return None;
        }
        Moment::After(time) => {
            call.send_all();
            tokio::time::sleep(time).await;
            return None;
        }
        _ => call.send_all(),
    }
    match (plan.moment, caught) {
        (Moment::BodySent, _) => {
            call.sent_all().await;
            None
        }
        (moment, Some(caught)) => {
            let stopped = tokio::select! {
                stopped = caught.recv() => stopped,
                () = call.answered(PATIENCE) => None,
            };
            if stopped.is_some() && moment == Moment::CommitDone {
                let landed = format!("SELECT count(*)::bigint - 1 FROM pgsluice.ledger WHERE table_name = 'public.{}'", table(plan));
                let _ = site.target.none_left(&landed).await;
            }
            stopped
        }
        _ => {
            call.answered(PATIENCE).await;
            None
        }
    }
}

/// Lets go what was held up, lets the fault last as long as it is to last, and listens.
async fn conclude(
    plan: &Plan,
    server: &mut Server,
    site: &mut Site,
    mut open: Option<Call>,
    stopped: Option<Caught>,
    todo: Mend,
    record: &mut Record,
) -> Conclusion {
    for proxy in site.links(Way::Both) {
        proxy.forget();
    }
    let swallowed = (plan.fault == Fault::CommitAnswerSwallowed).then_some(plan.chance);
    if let Some(stopped) = &stopped {
        match swallowed {
            None => stopped.set(if broken(plan) { link(plan) } else { Link::Whole }),
            Some(chance) if chance < 0.3 => stopped.set(Link::Cut),
            Some(_) => {}
        }
    }
    if let Some(open) = open.as_mut().filter(|_| goes_on(plan)) {
        open.send_all();
    }
    let outage = plan.outage.min(longest(plan.fault));
    let heard = match &mut open {
        Some(open) => open.heard_within(outage).await,
        None => Some(Heard::Nothing),
    };
    if heard.is_some() || gives_up(plan) {
        return Conclusion { heard, todo, open };
    }
    mend(todo, server, site).await;
    // A late answer, or none at all.
    if let Some(stopped) = &stopped {
        stopped.set(if swallowed.is_some_and(|chance| chance < 0.6) { Link::Cut } else { Link::Whole });
    }
    let heard = listen(open, record).await;
    Conclusion { heard: Some(heard), todo: Mend::Nothing, open: None }
}

/// Waits for the answer as long as it takes, within reason.
async fn listen(open: Option<Call>, record: &mut Record) -> Heard {
    let heard = match open {
        Some(mut open) => open.heard_within(PATIENCE).await,
        None => Some(Heard::Nothing),
    };
    heard.unwrap_or_else(|| {
        record.violation(format!("no answer within {} s", PATIENCE.as_secs()));
        Heard::Nothing
    })
}

/// The client tries elsewhere before the one that stands still goes on.
fn gives_up(plan: &Plan) -> bool {
    plan.fault == Fault::InstancePaused && plan.chance < 0.6
}

/// The fault has broken the very link on which the load was stopped.
fn broken(plan: &Plan) -> bool {
    let way = match plan.moment {
        Moment::Committing | Moment::Recording => Way::Metadata,
        _ => Way::Target,
    };
    plan.way == Way::Both || plan.way == way
}

/// The client must not stand still while somebody else is busy.
fn takes_time(plan: &Plan) -> bool {
    matches!(plan.fault, Fault::ConnectionsExhausted | Fault::DiskFull)
}

/// The client goes on sending after the fault, because it does not know of it.
fn goes_on(plan: &Plan) -> bool {
    !matches!(plan.fault, Fault::ClientReset | Fault::ClientClosed | Fault::ClientSilent | Fault::BodyCut)
}

/// How long a fault may last. Where only the other side notices, long enough for it to be noticed.
fn longest(fault: Fault) -> Duration {
    match fault {
        Fault::LinkBlackHoled | Fault::CommitAnswerSwallowed => Duration::from_secs(30),
        Fault::InstancePaused => Duration::from_secs(4),
        Fault::ServiceTerminated | Fault::LinkDelayed => PATIENCE,
        Fault::ServerRestarted => Duration::from_millis(1500),
        _ => Duration::from_secs(3),
    }
}

/// The same key, until the load is there; what a client does that was answered nothing, or something that is worth another try.
async fn retry(plan: &Plan, site: &mut Site, attempts: &mut Vec<Attempt>, record: &mut Record) {
    let deadline = Instant::now() + RETRYING;
    loop {
        record.retries += 1;
        let number = record.retries + 1;
        let heard = call(request(plan, site, number), PATIENCE).await;
        let Some(heard) = heard else {
            return record.violation(format!("no answer to retry {} within {} s", record.retries, PATIENCE.as_secs()));
        };
        let done = matches!(&heard, Heard::Answer(answer) if answer.status == 201);
        let hopeless = match &heard {
            Heard::Answer(answer) => !done && !is_worth_another(answer),
            Heard::Nothing => false,
        };
        let last = format!("{heard:?}");
        attempts.push(Attempt { number, heard });
        if done {
            return;
        }
        if hopeless || Instant::now() > deadline {
            return record.violation(format!("retry {} did not succeed: {last}", record.retries));
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// In progress, no room, no database; and what a fault leaves behind for a moment.
fn is_worth_another(answer: &Answer) -> bool {
    matches!(answer.status, 409 | 503 | 504)
}
