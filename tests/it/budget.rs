//! Pools that could ask PostgreSQL for more connections than it has are found out at the start, with the arithmetic.

use std::process::Output;

use crate::support::{Bouncer, Database, Service, World};

async fn refused(db: &Database, flags: &[&str]) -> String {
    let mut command = Service::command();
    command.args(["--database-url", &db.url]).args(flags);
    let Output { status, stderr, .. } = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(status.code(), Some(1));
    String::from_utf8(stderr).unwrap()
}

/// What the tests' cluster has, and what pools may have of it.
async fn room(db: &Database) -> (i64, i64) {
    let setting = async |name: &str| -> i64 { db.rows(&format!("SELECT current_setting('{name}')::int8")).await[0].get(0) };
    let max = setting("max_connections").await;
    (max, max * 8 / 10 - setting("superuser_reserved_connections").await)
}

#[tokio::test]
async fn too_many_connections_are_refused_with_the_arithmetic() {
    let db = Database::create().await;
    let (max, room) = room(&db).await;
    let refusal = refused(&db, &["--instances", "9"]).await;
    let arithmetic = format!(
        "the pools may open 270 connections ((--pool-size 8 + --max-overflow 10 + to listen 1 + --bulk-slots 4 + beside them 7) × 9 instances), and \
         PostgreSQL has room for {room} (max_connections {max} × 0.8 − superuser_reserved_connections 3): make the pools smaller, raise \
         max_connections, or pass --allow-oversubscription"
    );
    assert!(refusal.contains(&arithmetic), "{refusal}");
    // Just so many are allowed, and one more is not.
    let fitting = (room - 6).to_string();
    let flags = ["--bulk-slots", "1", "--max-overflow", "0", "--pool-size"];
    Service::start(&db.url, &[&flags[..], &[&fitting]].concat()).await;
    let one_more = (room - 5).to_string();
    let refusal = refused(&db, &[&flags[..], &[&one_more]].concat()).await;
    assert!(refusal.contains(&format!("may open {} connections", room + 1)), "{refusal}");
}

#[tokio::test]
async fn two_databases_of_one_server_count_together() {
    let db = Database::create().await;
    let other = Database::create().await;
    let (_, room) = room(&db).await;
    // Either alone would fit.
    let (pool, slots) = ((room - 10).to_string(), (room / 2 - 2).to_string());
    let flags = ["--bulk-database-url", &other.url, "--max-overflow", "0", "--pool-size", &pool, "--bulk-slots", &slots];
    assert!(refused(&db, &flags).await.contains("--allow-oversubscription"));
}

#[tokio::test]
async fn oversubscription_can_be_allowed() {
    let world = World::with(&["--instances", "100", "--allow-oversubscription"]).await;
    world.db.sql("CREATE TABLE t (a int)").await;
    world.load_csv("t", "a\n1\n").await.committed(1);
}

/// What a pooler is asked for is the pooler's own to limit.
#[tokio::test]
async fn connections_to_a_pooler_are_not_counted() {
    let db = Database::create().await;
    let bouncer = Bouncer::start(&db, 8).await;
    Service::start(&bouncer.url, &["--instances", "100", "--pgbouncer"]).await;
}
