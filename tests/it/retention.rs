//! Jobs are kept for as long as they were said to be, and then go with everything that was kept of them; no other job goes.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Answer, Bouncer, Database, Scrape, Service, Trickle, World};

/// Old ones are looked for every six seconds.
const A_MINUTE: [&str; 2] = ["--job-retention", "60"];
/// And every second, so that nothing which has just been loaded may be expected to stay.
const TEN_SECONDS: [&str; 2] = ["--job-retention", "10"];

async fn load(world: &World, key: Option<&str>, table_and_options: &str, body: &'static str) -> Answer {
    let mut request = world.post(table_and_options, "text/csv");
    if let Some(key) = key {
        request = request.header("Idempotency-Key", key);
    }
    Answer::of(request.body(body).send().await.unwrap()).await
}

fn id(answer: &Answer) -> String {
    let id = answer.json.get("id").or(answer.json.get("job_id")).and_then(Value::as_str);
    id.unwrap_or_else(|| panic!("{:#}", answer.json)).to_owned()
}

/// Everything of the job is so much older now.
async fn age(db: &Database, job: &str, by: &str) {
    db.sql(&format!(
        "UPDATE pgsluice.jobs SET created_at = created_at - interval '{by}', finished_at = finished_at - interval '{by}' WHERE id = '{job}'"
    ))
    .await;
}

async fn ids(db: &Database, sql: &str) -> BTreeSet<String> {
    db.texts(sql).await.into_iter().flatten().collect()
}

/// Jobs by SQL, each with its row in the ledger, which ended so long ago.
async fn many_jobs(db: &Database, count: u32, ago: &str) {
    db.sql(&format!(
        "WITH made AS (INSERT INTO pgsluice.jobs (id, instance, target, table_name, state, format, mode, backend_pid, backend_start, finished_at) \
           SELECT gen_random_uuid(), gen_random_uuid(), target.id, 'public.t', 'committed', 'csv', 'append', 0, 0, now() - interval '{ago}' \
           FROM pgsluice.target, generate_series(1, {count}) RETURNING id) \
         INSERT INTO pgsluice.ledger (job_id, table_name, rows) SELECT id, 'public.t', 1 FROM made"
    ))
    .await;
}

async fn wait_for_count(db: &Database, table: &str, count: i64) {
    db.wait_until(&format!("SELECT count(*) = {count} FROM {table}")).await;
}

#[tokio::test]
async fn old_jobs_go_and_no_others() {
    let flags = [&A_MINUTE[..], &["--idempotency-key-retention", "86400"]].concat();
    let mut world = World::with(&["--job-retention", "0"]).await;
    world.db.sql("CREATE TABLE t (id int)").await;
    let skipping = "t?on_error=skip";
    let (old, young) = (load(&world, None, skipping, "id\n1\nx\n").await, load(&world, None, skipping, "id\n2\nx\n").await);
    let failed = load(&world, None, "t", "id\nx\n").await;
    let (key_stands, key_failed) = (
        load(&world, Some("stands"), "t", "id\n3\n").await,
        load(&world, Some("failed"), "t", "id\nx\n").await,
    );
    let key_over = load(&world, Some("over"), "t", "id\n4\n").await;
    for answer in [&old, &failed, &key_stands, &key_failed] {
        age(&world.db, &id(answer), "2 hours").await;
    }
    age(&world.db, &id(&key_over), "2 days").await;
    // However long this takes, it has just ended.
    age(&world.db, &id(&young), "-1 hour").await;
    // A report that is deleted in more than one go.
    let more = format!(
        "INSERT INTO pgsluice.rejects (job_id, number, sqlstate, reason, record) \
         SELECT '{}', n, '22P02', 'x', 'x' FROM generate_series(2, 12000) n",
        id(&old)
    );
    world.db.sql(&more).await;
    // Of another target, whose ledger nobody can see from here: one that nobody knows the end of, and one that has ended.
    let others = format!(
        "INSERT INTO pgsluice.jobs (id, instance, target, table_name, state, format, mode, backend_pid, backend_start, created_at, finished_at) \
         SELECT gen_random_uuid(), instance, gen_random_uuid(), table_name, other.state, format, mode, 0, 0, created_at, other.ended \
         FROM pgsluice.jobs, (VALUES ('committing', NULL), ('committed', now() - interval '1 year')) AS other (state, ended) \
         WHERE id = '{}'",
        id(&old)
    );
    world.db.sql(&others).await;
    let elsewhere = ids(&world.db, "SELECT id::text FROM pgsluice.jobs WHERE target <> (SELECT id FROM pgsluice.target)").await;
    assert_eq!(elsewhere.len(), 2);

    world.service = Service::start(&world.db.url, &flags).await;
    let running = Trickle::begin(&world, "t");
    running.send("id\n");
    let job = world.wait_for_job(|job| job["state"] == "running").await;
    let running_id = job["id"].as_str().unwrap();
    age(&world.db, running_id, "1 year").await;

    let stay = [id(&young), id(&key_stands), running_id.to_owned()]
        .into_iter()
        .chain(elsewhere)
        .collect::<BTreeSet<_>>();
    wait_for_count(&world.db, "pgsluice.jobs", stay.len() as i64).await;
    assert_eq!(ids(&world.db, "SELECT id::text FROM pgsluice.jobs").await, stay);
    let with_reports = ids(&world.db, "SELECT job_id::text FROM pgsluice.rejects").await;
    assert_eq!(with_reports, [id(&young)].into());
    let in_ledger = ids(&world.db, "SELECT job_id::text FROM pgsluice.ledger").await;
    assert_eq!(in_ledger, [id(&young), id(&key_stands)].into());
    assert_eq!(world.db.count("t").await, 4);

    for path in ["", "/rejects"] {
        world.get(&format!("/v1/jobs/{}{path}", id(&old))).await.problem(404, "job-not-found");
    }
    assert_eq!(load(&world, Some("stands"), "t", "id\n3\n").await.committed(1)["replayed"], true);
    assert_eq!(load(&world, Some("over"), "t", "id\n4\n").await.committed(1)["replayed"], false);
    running.send("5\n");
    running.finish().await.committed(1);
    assert_eq!(Scrape::of(&world).await.sum("pgsluice_jobs_deleted_total", &[]), 4.0);
}

#[tokio::test]
async fn a_job_outlives_its_ledger_row_only_and_its_table_does_not_matter() {
    let (metadata, target) = (Database::create().await, Database::create().await);
    let flags = [&TEN_SECONDS[..], &["--bulk-database-url", &target.url]].concat();
    let service = Service::start(&metadata.url, &flags).await;
    let world = World::of(target, service);
    world.db.sql("CREATE TABLE t (id int)").await;
    // As if the target could not be asked.
    world
        .db
        .sql(
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'not now'; END$$; \
                  CREATE TRIGGER no BEFORE DELETE ON pgsluice.ledger FOR EACH STATEMENT EXECUTE FUNCTION no()",
        )
        .await;
    let job = id(&load(&world, None, "t", "id\n1\n").await);
    world.db.sql("DROP TABLE t").await;
    age(&metadata, &job, "1 day").await;
    // Somebody has tried, and then there was time for more.
    wait_for_count(&metadata, "pgsluice.sweeps", 1).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((metadata.count("pgsluice.jobs").await, world.db.count("pgsluice.ledger").await), (1, 1));
    assert_eq!(world.get("/readyz").await.status, 200);
    world.db.sql("DROP TRIGGER no ON pgsluice.ledger").await;
    wait_for_count(&metadata, "pgsluice.jobs", 0).await;
    assert_eq!(world.db.count("pgsluice.ledger").await, 0);
}

#[tokio::test]
async fn two_instances_delete_each_job_once() {
    const JOBS: u32 = 10_000;
    let flags = [&TEN_SECONDS[..], &["--lease", "2"]].concat();
    let one = World::with(&flags).await;
    let other = Service::start(&one.db.url, &flags).await;
    let other = World::of(Database::open(one.db.url.clone(), one.db.name.clone()).await, other);
    many_jobs(&one.db, JOBS, "1 day").await;
    // Both are made to have the word at the same time.
    let forgetful = tokio::spawn({
        let client = one.db.connect().await;
        async move {
            loop {
                client.batch_execute("UPDATE pgsluice.sweeps SET swept_at = '-infinity'").await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    wait_for_count(&one.db, "pgsluice.jobs", 0).await;
    forgetful.abort();
    assert_eq!(one.db.count("pgsluice.ledger").await, 0);
    let deleted = async |world: &World| Scrape::of(world).await.sum("pgsluice_jobs_deleted_total", &[]);
    let (of_one, of_other) = (deleted(&one).await, deleted(&other).await);
    assert!(of_one > 0.0 && of_other > 0.0, "{of_one} {of_other}");
    assert_eq!(of_one + of_other, f64::from(JOBS));
}

#[tokio::test]
async fn of_two_instances_one_has_the_word_until_it_is_gone() {
    let mut one = World::with(&TEN_SECONDS).await;
    wait_for_count(&one.db, "pgsluice.sweeps", 1).await;
    let other = Service::start(&one.db.url, &TEN_SECONDS).await;
    let other = World::of(Database::open(one.db.url.clone(), one.db.name.clone()).await, other);
    many_jobs(&one.db, 1, "1 day").await;
    wait_for_count(&one.db, "pgsluice.jobs", 0).await;
    assert_eq!(Scrape::of(&one).await.sum("pgsluice_jobs_deleted_total", &[]), 1.0);
    one.service.kill();
    many_jobs(&one.db, 1, "1 day").await;
    wait_for_count(&one.db, "pgsluice.jobs", 0).await;
    assert_eq!(Scrape::of(&other).await.sum("pgsluice_jobs_deleted_total", &[]), 1.0);
}

#[tokio::test]
async fn old_jobs_go_behind_a_pooler_too() {
    let db = Database::create().await;
    let bouncer = Bouncer::start(&db, 8).await;
    let service = Service::start(&bouncer.url, &[&TEN_SECONDS[..], &["--pgbouncer"]].concat()).await;
    let world = World::of(db, service);
    many_jobs(&world.db, 1200, "1 day").await;
    wait_for_count(&world.db, "pgsluice.jobs", 0).await;
    assert_eq!(world.db.count("pgsluice.ledger").await, 0);
}

#[tokio::test]
async fn zero_keeps_jobs_for_ever() {
    let world = World::with(&["--job-retention", "0"]).await;
    many_jobs(&world.db, 1, "20 years").await;
    // Six times as long as the shortest retention takes.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!((world.db.count("pgsluice.jobs").await, world.db.count("pgsluice.sweeps").await), (1, 0));
}
