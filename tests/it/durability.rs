//! What a load says is committed stays committed: `synchronous_commit`, of which the client alone may ask for less.

use crate::support::{Service, World};

/// The setting in whose force a row was loaded, by the row itself.
const TABLE: &str = "CREATE TABLE t (a int, setting text DEFAULT current_setting('synchronous_commit'))";

#[tokio::test]
async fn a_commit_waits_for_what_the_client_asks() {
    let world = World::new().await;
    world.db.sql(TABLE).await;
    for value in ["off", "local", "remote_write", "on", "remote_apply"] {
        world.load_csv(&format!("t?synchronous_commit={value}"), "a\n1\n").await.committed(1);
        // It is the load's own: the next one on the same connection has the session's again.
        world.load_csv("t", "a\n2\n").await.committed(1);
        assert_eq!(
            world.db.texts("SELECT setting FROM t ORDER BY a").await,
            [Some(value.to_owned()), Some("on".to_owned())]
        );
        world.db.sql("TRUNCATE t").await;
    }
    for value in ["", "OFF", "maybe", "off;DROP TABLE t", "on&synchronous_commit=off"] {
        world
            .load_csv(&format!("t?synchronous_commit={value}"), "a\n1\n")
            .await
            .problem(400, "invalid-option");
    }
    assert_eq!(world.db.count("t").await, 0);
}

#[tokio::test]
async fn a_role_that_does_not_wait_is_made_to() {
    let mut world = World::new().await;
    world.db.sql(TABLE).await;
    for (of_the_database, of_the_load) in [("off", "on"), ("local", "local")] {
        let sql = format!("ALTER DATABASE {} SET synchronous_commit = {of_the_database}; TRUNCATE t", world.db.name);
        world.db.sql(&sql).await;
        world.service = Service::start(&world.db.url, &[]).await;
        world.load_csv("t", "a\n1\n").await.committed(1);
        world.load_csv("t?synchronous_commit=off", "a\n2\n").await.committed(1);
        assert_eq!(
            world.db.texts("SELECT setting FROM t ORDER BY a").await,
            [Some(of_the_load.to_owned()), Some("off".to_owned())]
        );
    }
}
