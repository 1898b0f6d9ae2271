//! A CSV field is either stored as exactly the value that the server's own COPY stores, or it is refused as COPY refuses it, with the same
//! SQLSTATE. The oracle is the server, on the same bytes; docs/COPY-EQUIVALENCE.md says how, and what the exceptions are.
//!
//! For every type: each value goes through COPY alone; what COPY takes is loaded in one body and compared by the binary output of both
//! tables; what COPY refuses is loaded between good rows, has to be named, and may leave nothing.

mod compare;
mod corpus;
mod dialect;
mod exceptions;
mod generated;
mod settings;
mod tally;

use std::collections::BTreeSet;

use futures::StreamExt;

use self::compare::Twins;
use self::corpus::{Case, SETUP, cases};
use self::settings::SETTINGS;
use self::tally::{Tally, print};
use crate::support::World;

/// Types at the same time.
const PARALLEL: usize = 3;
/// Slots for all their loads, and patience where a machine is busy.
const FLAGS: [&str; 7] = ["--bulk-slots", "32", "--bulk-slot-wait-ms", "60000", "--waiting-loads", "1000", "--allow-oversubscription"];

/// A suite that looks at little finds nothing.
const TYPES_MIN: usize = 60;
const VALUES_MIN: usize = 20_000;

#[tokio::test]
async fn every_value_is_stored_as_copy_stores_it_or_refused_as_copy_refuses_it() {
    let started = std::time::Instant::now();
    let world = World::with(&FLAGS).await;
    world.db.sql(SETUP).await;
    let (cases, skipped) = available(&world, chosen(cases())).await;
    let everything = std::env::var_os(CHOICE).is_none();
    let mut tally = compare(&world, &cases, "").await;
    if everything {
        every_type_is_among(&world, &cases).await;
        for setting in &SETTINGS {
            tally.add_rows_of(setting.run(&cases).await);
        }
    }
    let version = version(&world).await;
    tally.report(&version, started.elapsed());
    if !skipped.is_empty() {
        let names: Vec<&str> = skipped.iter().map(String::as_str).collect();
        print(&format!("  not on this server, so not tried: {}", names.join(", ")));
    }
    assert!(tally.unexplained.is_empty(), "{} differences", tally.unexplained.len());
    assert!(
        !everything || tally.types >= TYPES_MIN && tally.values >= VALUES_MIN,
        "{} types, {} values",
        tally.types,
        tally.values
    );
}

/// All these types, some at a time. The label says under which settings.
async fn compare(world: &World, cases: &[Case], label: &str) -> Tally {
    let attempts = cases.iter().enumerate().map(|(number, case)| async move {
        let twins = Twins::new(world, case, number, label).await;
        twins.compare(case).await
    });
    let mut tally = Tally::default();
    let mut results = futures::stream::iter(attempts).buffer_unordered(PARALLEL);
    while let Some(result) = results.next().await {
        tally.add(result);
    }
    tally
}

const CHOICE: &str = "PGSLUICE_TEST_TYPES";

/// `PGSLUICE_TEST_TYPES='date;numeric(4,1)'` runs these alone.
fn chosen(cases: Vec<Case>) -> Vec<Case> {
    let mut names = BTreeSet::new();
    assert!(cases.iter().all(|case| names.insert(case.sql_type.clone())), "a type stands twice in the corpus");
    match std::env::var(CHOICE) {
        Ok(list) => cases.into_iter().filter(|case| list.split(';').any(|name| name == case.sql_type)).collect(),
        Err(_) => cases,
    }
}

/// Leaves out what this server does not have, and says what that is.
async fn available(world: &World, cases: Vec<Case>) -> (Vec<Case>, BTreeSet<String>) {
    let major: i32 = world.db.rows("SELECT current_setting('server_version_num')::int / 10000").await[0].get(0);
    let mut skipped = BTreeSet::new();
    let extensions: BTreeSet<&str> = cases.iter().filter_map(|case| case.extension).collect();
    for name in extensions {
        if world.db.client.batch_execute(&format!("CREATE EXTENSION {name}")).await.is_err() {
            skipped.insert(name.to_owned());
        }
    }
    let is_here = |case: &Case| case.extension.is_none_or(|name| !skipped.contains(name)) && case.server_min <= major;
    let (here, elsewhere): (Vec<Case>, Vec<Case>) = cases.into_iter().partition(is_here);
    skipped.extend(elsewhere.into_iter().filter(|case| case.extension.is_none()).map(|case| case.sql_type));
    (here, skipped)
}

/// No type of the server's own that may be a column is missing.
async fn every_type_is_among(world: &World, cases: &[Case]) {
    let columns: Vec<String> = cases.iter().enumerate().map(|(number, case)| format!("c{number} {}", case.sql_type)).collect();
    world.db.sql(&format!("CREATE TABLE every_type ({})", columns.join(", "))).await;
    let missing = world
        .db
        .texts(
            "SELECT format_type(oid, NULL) FROM pg_type t WHERE typtype IN ('b', 'r', 'm') AND typnamespace = 'pg_catalog'::regnamespace \
             AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid) \
             AND oid NOT IN (SELECT atttypid FROM pg_attribute WHERE attrelid = 'every_type'::regclass)",
        )
        .await;
    assert!(missing.is_empty(), "these types are not in the corpus: {missing:?}");
    world.db.sql("DROP TABLE every_type").await;
}

/// `15.18`
async fn version(world: &World) -> String {
    let shown = world.db.texts("SHOW server_version").await.remove(0).unwrap();
    shown.split(' ').next().unwrap().to_owned()
}
