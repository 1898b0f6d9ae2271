//! What each fault does, and how what it did is made good again.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::client::Call;
use crate::fault::Fault;
use crate::observer::Observer;
use crate::plan::{Plan, Way};
use crate::site::{Server, Site};
use crate::support::proxy::Link;
use crate::support::service::Service;

/// What there is to be made good.
pub(crate) enum Mend {
    Nothing,
    /// the service is gone
    Service,
    /// one of two stands still
    Paused(Box<Service>),
    /// the service is going
    Ending,
    /// the server is down
    Server,
    Links(Way),
    /// another session holds a lock until it is told not to
    Lock(oneshot::Sender<()>, JoinHandle<()>),
    Hogs(Vec<Client>),
    /// a setting of the server, and a lock
    Setting(Box<Mend>),
    /// somebody cancels whatever the load's process does
    Barrage(JoinHandle<()>),
    Disk(PathBuf),
}

/// The trial's table.
pub(crate) fn table(plan: &Plan) -> String {
    format!("trial_{}", plan.number)
}

/// Strikes. A fault of the client's takes the call with it, if nothing can be heard on it any more.
pub(crate) async fn strike(plan: &Plan, server: &mut Server, site: &mut Site, call: &mut Option<Call>) -> Mend {
    match plan.fault {
        Fault::ServiceKilled => {
            site.service.kill();
            Mend::Service
        }
        Fault::InstanceKilled => {
            site.service.kill();
            site.service = site.other.take().unwrap();
            Mend::Nothing
        }
        Fault::InstancePaused => {
            site.service.signal("STOP");
            let other = site.other.take().unwrap();
            Mend::Paused(Box::new(std::mem::replace(&mut site.service, other)))
        }
        Fault::ServiceTerminated => {
            site.service.signal("TERM");
            Mend::Ending
        }
        Fault::BackendKilled | Fault::BackendTerminated => strike_backend(plan, site).await,
        Fault::QueryCancelled => cancel_queries(plan, site).await,
        Fault::ServerRestarted => {
            server.stop_at_once();
            Mend::Server
        }
        Fault::StatementTimeout => set_statement_timeout(plan, site).await,
        Fault::TableLocked => lock_table(plan, site).await,
        Fault::ConnectionsExhausted => exhaust_connections(server, site).await,
        Fault::DiskFull => fill_disk(plan, server),
        Fault::LinkCut | Fault::LinkDelayed | Fault::LinkBlackHoled => {
            site.set_links(plan.way, link(plan));
            Mend::Links(plan.way)
        }
        // What is swallowed is swallowed where it was stopped.
        Fault::CommitAnswerSwallowed => Mend::Nothing,
        Fault::ClientReset => leave(call).await,
        Fault::ClientClosed | Fault::BodyCut => match call {
            Some(open) if plan.chance < 0.5 => {
                open.half_close().await;
                Mend::Nothing
            }
            _ => leave(call).await,
        },
        Fault::ClientSilent | Fault::BodyTruncated | Fault::BodyFlipped | Fault::BodyGarbled => Mend::Nothing,
    }
}

async fn leave(call: &mut Option<Call>) -> Mend {
    if let Some(call) = call.take() {
        call.go_away().await;
    }
    Mend::Nothing
}

/// What links become by a fault of theirs.
pub(crate) fn link(plan: &Plan) -> Link {
    match plan.fault {
        Fault::LinkCut => Link::Cut,
        Fault::LinkDelayed => Link::Slow(Duration::from_millis(1 + (plan.chance * 40.0) as u64)),
        Fault::LinkBlackHoled => Link::Silent,
        _ => Link::Whole,
    }
}

/// The load's own process on the server, mostly; else one for the metadata.
async fn strike_backend(plan: &Plan, site: &mut Site) -> Mend {
    let loading = "application_name = 'pgsluice bulk' AND xact_start IS NOT NULL";
    let any = "application_name LIKE 'pgsluice%'";
    let (observer, which) = if plan.chance < 0.75 { (&mut site.target, loading) } else { (&mut site.metadata, any) };
    let victim = format!("(SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND {which} ORDER BY random() LIMIT 1)");
    match plan.fault {
        Fault::BackendTerminated => observer.run(&format!("SELECT pg_terminate_backend(pid) FROM {victim} v")).await,
        _ => {
            for row in observer.rows(&victim).await {
                let pid = row.get::<_, i32>(0).to_string();
                // It may be gone by now.
                let _ = Command::new("sh").args(["-c", "kill -s KILL \"$0\"", &pid]).stderr(Stdio::null()).status();
            }
        }
    }
    Mend::Nothing
}

/// Now and for a while: between two statements there is nothing to be cancelled.
async fn cancel_queries(plan: &Plan, site: &Site) -> Mend {
    let observer = if plan.chance < 0.75 { &site.target } else { &site.metadata };
    let session = observer.another().await.unwrap();
    Mend::Barrage(tokio::spawn(async move {
        for _ in 0..100 {
            let cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity \
                 WHERE datname = current_database() AND application_name LIKE 'pgsluice%' AND state = 'active'";
            session.batch_execute(cancel).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }))
}

/// With a lock that makes statements wait for so long.
async fn set_statement_timeout(plan: &Plan, site: &mut Site) -> Mend {
    let millis = 1 + (plan.chance * 40.0) as u64;
    site.target.run(&format!("ALTER SYSTEM SET statement_timeout = {millis}")).await;
    site.target.run("SELECT pg_reload_conf()").await;
    Mend::Setting(Box::new(lock_table(plan, site).await))
}

async fn lock_table(plan: &Plan, site: &mut Site) -> Mend {
    let (observer, sql) = match plan.chance {
        chance if chance < 0.5 => (&site.target, format!("BEGIN; ALTER TABLE {} ADD COLUMN another int", table(plan))),
        chance if chance < 0.75 => (&site.target, "BEGIN; LOCK TABLE pgsluice.ledger IN ACCESS EXCLUSIVE MODE".to_owned()),
        _ => (&site.metadata, "BEGIN; LOCK TABLE pgsluice.jobs IN ACCESS EXCLUSIVE MODE".to_owned()),
    };
    let session = observer.another().await.unwrap();
    let (release, released) = oneshot::channel::<()>();
    let holding = tokio::spawn(async move {
        // It may have to wait for the load itself; so nobody waits for it.
        session.batch_execute(&sql).await.unwrap();
        let _ = released.await;
        session.batch_execute("COMMIT").await.unwrap();
    });
    Mend::Lock(release, holding)
}

/// Others take all there are; of the service's own, those that are idle are ended, and taken too.
async fn exhaust_connections(server: &Server, site: &mut Site) -> Mend {
    let mut hogs = Vec::new();
    for _ in 0..2 {
        while let Ok(hog) = Observer::session(&server.url).await {
            hogs.push(hog);
        }
        let idle =
            "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE application_name LIKE 'pgsluice%' AND xact_start IS NULL";
        site.target.run(idle).await;
    }
    while let Ok(hog) = Observer::session(&server.url).await {
        hogs.push(hog);
    }
    Mend::Hogs(hogs)
}

/// Up to the last bytes, or nearly.
fn fill_disk(plan: &Plan, server: &Server) -> Mend {
    let path = server.small_disk.as_ref().unwrap().join("filler");
    let mut file = File::create(&path).unwrap();
    let (piece, mut length) = (vec![1; 64 << 10], 0);
    while let Ok(written @ 1..) = file.write(&piece) {
        length += written as u64;
    }
    file.set_len(length.saturating_sub((plan.chance * 200_000.0) as u64)).unwrap();
    Mend::Disk(path)
}

/// Makes it good again.
pub(crate) async fn mend(what: Mend, server: &mut Server, site: &mut Site) {
    match what {
        Mend::Nothing => {}
        Mend::Service => site.service = site.start_another().await,
        Mend::Paused(service) => {
            service.signal("CONT");
            site.other = Some(*service);
        }
        Mend::Ending => {
            site.service.ended().await;
            site.service = site.start_another().await;
        }
        Mend::Server => server.start().await,
        Mend::Links(way) => site.set_links(way, Link::Whole),
        Mend::Lock(release, holding) => {
            let _ = release.send(());
            // Should the load hold the table for longer, it still ends.
            tokio::time::timeout(Duration::from_secs(60), holding).await.unwrap().unwrap();
        }
        Mend::Hogs(hogs) => drop(hogs),
        Mend::Setting(lock) => {
            Box::pin(mend(*lock, server, site)).await;
            site.target.run("ALTER SYSTEM RESET statement_timeout").await;
            site.target.run("SELECT pg_reload_conf()").await;
        }
        Mend::Barrage(cancelling) => {
            cancelling.abort();
            let _ = cancelling.await;
        }
        Mend::Disk(path) => std::fs::remove_file(path).unwrap(),
    }
}
