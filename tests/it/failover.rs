//! PostgreSQL goes away, comes back, is full or in somebody else's hands: loads end cleanly, and the service needs no restart.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::support::{Database, Server, Service, Trickle, World};

/// A service whose rows, and whose metadata unless there is a place for them, are on a server of its own.
async fn world(server: &Server, metadata: Option<&Database>) -> World {
    let db = server.database().await;
    db.sql("CREATE TABLE t (id int, filler text)").await;
    let metadata_url = metadata.map_or(&db.url, |metadata| &metadata.url);
    let flags = ["--bulk-database-url", &db.url, "--allow-oversubscription", "--pool-timeout", "2", "--connect-timeout", "5"];
    let service = Service::start(metadata_url, &flags).await;
    World { db, service, http: reqwest::Client::new() }
}

fn rows() -> String {
    format!("1,{}\n", "x".repeat(90)).repeat(100_000)
}

fn at_work(world: &World) -> Trickle {
    let load = Trickle::begin(world, "t");
    load.send("id,filler\n");
    load.send(rows());
    load
}

async fn two_at_work(world: &World) -> [Trickle; 2] {
    let loads = [at_work(world), at_work(world)];
    for _ in 0..600 {
        let page = world.get("/v1/jobs").await.json;
        let busy = page["jobs"].as_array().unwrap().iter().filter(|job| job["rows_received"].as_u64() > Some(10_000));
        if busy.count() == 2 {
            return loads;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the loads did not begin within 30 s");
}

/// Both loads fail and say what to do about it.
async fn both_fail(loads: [Trickle; 2]) {
    for load in loads {
        load.send(rows());
        let answer = load.finish().await;
        let detail = answer.problem(503, "database-unavailable")["detail"].as_str().unwrap();
        assert!(detail.contains("nothing was loaded") && detail.contains("send it again"), "{detail}");
        assert!(answer.headers.contains_key("retry-after"));
    }
}

async fn becomes_ready(world: &World) {
    for _ in 0..600 {
        if world.get("/readyz").await.status == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not ready within 30 s");
}

/// The pools have healed, nothing of the two loads is there, and their jobs say so.
async fn goes_on(world: &mut World, server: &Server) {
    becomes_ready(world).await;
    world.db = server.database().await;
    assert_eq!((world.db.count("t").await, world.db.count("pgsluice.ledger").await), (0, 0));
    for _ in 0..600 {
        let jobs = world.get("/v1/jobs?state=failed").await.json["jobs"].clone();
        if jobs.as_array().unwrap().len() == 2 {
            world.load_csv("t", "id,filler\n1,x\n").await.committed(1);
            assert_eq!(world.db.count("t").await, 1);
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{:#}", world.get("/v1/jobs").await.json);
}

#[tokio::test]
async fn a_server_that_restarts_under_running_loads() {
    let mut server = Server::start().await;
    let mut world = world(&server, None).await;
    // An idle connection, which must not be relied upon afterwards.
    world.load_csv("t", "id,filler\n1,x\n").await.committed(1);
    world.db.sql("TRUNCATE t, pgsluice.ledger; DELETE FROM pgsluice.jobs").await;
    let loads = two_at_work(&world).await;
    server.crash().await;
    world.get("/readyz").await.problem(503, "metadata-unavailable");
    world.load_csv("t", "id,filler\n1,x\n").await.problem(503, "database-unavailable");
    both_fail(loads).await;
    server.restart().await;
    goes_on(&mut world, &server).await;
}

#[tokio::test]
async fn a_target_that_restarts_while_the_metadata_stay() {
    let metadata = Database::create().await;
    let mut server = Server::start().await;
    let mut world = world(&server, Some(&metadata)).await;
    let loads = two_at_work(&world).await;
    server.crash().await;
    world.get("/readyz").await.problem(503, "database-unavailable");
    assert_eq!(world.get("/v1/jobs").await.status, 200);
    both_fail(loads).await;
    let failed = world.get("/v1/jobs?state=failed").await.json["jobs"].clone();
    assert_eq!(failed.as_array().unwrap().len(), 2, "{failed:#}");
    server.restart().await;
    goes_on(&mut world, &server).await;
}

#[tokio::test]
async fn a_server_without_a_connection_to_spare() {
    let mut server = Server::start().await;
    let db = server.database().await;
    db.sql("ALTER SYSTEM SET max_connections = 16").await;
    drop(db);
    server.crash().await;
    server.restart().await;
    let metadata = Database::create().await;
    let world = world(&server, Some(&metadata)).await;
    let mut others = Vec::new();
    while let Ok((client, connection)) = tokio_postgres::connect(&world.db.url, tokio_postgres::NoTls).await {
        tokio::spawn(connection);
        others.push(client);
    }
    let refused = world.load_csv("t", "id,filler\n1,x\n").await;
    assert_eq!(refused.problem(503, "database-unavailable")["sqlstate"], "53300");
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(world.get("/v1/jobs").await.status, 200);
    world.get("/readyz").await.problem(503, "database-unavailable");
    drop(others);
    becomes_ready(&world).await;
    world.load_csv("t", "id,filler\n1,x\n").await.committed(1);
}

#[tokio::test]
async fn a_synchronous_standby_that_is_away_is_waited_for() {
    let metadata = Database::create().await;
    let server = Server::start().await;
    let world = world(&server, Some(&metadata)).await;
    world.db.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await;
    world.db.sql("SELECT pg_reload_conf()").await;
    world.db.wait_until("SELECT current_setting('synchronous_standby_names') = 'nobody'").await;
    let load = Trickle::begin(&world, "t");
    load.send("id,filler\n1,x\n");
    let answer = tokio::spawn(load.finish());
    world.db.wait_until("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'").await;
    // Several looks see it at work.
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!answer.is_finished());
    assert_eq!(world.get("/v1/jobs").await.json["jobs"][0]["state"], "committing");
    assert_eq!(world.db.count("t").await, 0);
    world.db.sql("ALTER SYSTEM RESET synchronous_standby_names").await;
    world.db.sql("SELECT pg_reload_conf()").await;
    answer.await.unwrap().committed(1);
    assert_eq!(world.db.count("t").await, 1);
}

#[tokio::test]
async fn an_administrator_who_cancels_the_statement() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (id int, filler text)").await;
    let load = at_work(&world);
    world.wait_for_job(|job| job["rows_received"].as_u64() > Some(10_000)).await;
    let pid = world.db.loading_pids().await[0];
    world.db.sql(&format!("SELECT pg_cancel_backend({pid})")).await;
    let answer = load.finish().await;
    assert_eq!(answer.problem(504, "database-timeout")["sqlstate"], "57014");
    assert_eq!(world.job(answer.json["job_id"].as_str().unwrap()).await["state"], "failed");
    assert_eq!(world.db.count("t").await, 0);
    world.load_csv("t", "id,filler\n1,x\n").await.committed(1);
}

/// A small file system in memory, which only root may make.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(owner: &std::fs::Metadata) -> Option<SmallDisk> {
        let dir = std::env::temp_dir().join(format!("pgsluice-test-disk-{}", std::process::id()));
        std::fs::create_dir_all(&dir).ok()?;
        let disk = SmallDisk(dir);
        let options = format!("size=8m,mode=0700,uid={},gid={}", owner.uid(), owner.gid());
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&disk.0).output().ok()?;
        mount.status.success().then_some(disk)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[tokio::test]
async fn a_disk_that_is_full() {
    let world = World::new().await;
    let data_dir = world.db.texts("SHOW data_directory").await[0].clone().unwrap();
    let owner = std::fs::metadata(data_dir).unwrap();
    let Some(disk) = SmallDisk::mount(&owner) else {
        eprintln!("SKIPPED: a_disk_that_is_full needs to mount a small file system, which takes root");
        return;
    };
    let space = format!("small_{}", world.db.name);
    let place = disk.0.display();
    world.db.sql(&format!("CREATE TABLESPACE {space} LOCATION '{place}'")).await;
    let table = format!("CREATE TABLE t (id int, filler text) TABLESPACE {space}");
    world.db.sql(&table).await;
    let answer = world.load_csv("t", format!("id,filler\n{}{}", rows(), rows())).await;
    assert_eq!(answer.problem(507, "disk-full")["sqlstate"], "53100");
    assert_eq!(world.job(answer.json["job_id"].as_str().unwrap()).await["state"], "failed");
    assert_eq!((world.db.count("t").await, world.db.count("pgsluice.ledger").await), (0, 0));
    // Room again, and what comes is taken.
    world.db.sql("DROP TABLE t").await;
    world.db.sql("CHECKPOINT").await;
    world.db.sql(&table).await;
    world.load_csv("t", "id,filler\n1,x\n").await.committed(1);
    world.db.sql("DROP TABLE t").await;
    world.db.sql("CHECKPOINT").await;
    world.db.sql(&format!("DROP TABLESPACE {space}")).await;
}
