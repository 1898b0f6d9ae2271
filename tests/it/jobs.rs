//! Jobs are listed, found, and never change once they have ended.

use serde_json::Value;

use crate::support::World;

#[tokio::test]
async fn jobs_are_listed_newest_first_in_pages() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE a (x int); CREATE TABLE b (x int)").await;
    let mut expected = Vec::new();
    for n in 0..5 {
        let table = if n % 2 == 0 { "a" } else { "b" };
        let answer = world.load_csv(table, if n == 3 { "x\nbad\n" } else { "x\n1\n" }).await;
        let id = answer.json.get("id").or(answer.json.get("job_id")).unwrap().as_str().unwrap().to_owned();
        expected.insert(0, id);
    }
    let ids = |page: &Value| -> Vec<String> {
        page["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
    };
    let mut seen = Vec::new();
    let mut path = "/v1/jobs?limit=2".to_owned();
    loop {
        let page = world.get(&path).await.json;
        seen.extend(ids(&page));
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/jobs?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, expected);
    assert_eq!(ids(&world.get("/v1/jobs?state=failed").await.json), expected[1..2]);
    assert_eq!(ids(&world.get("/v1/jobs?table=a&state=committed").await.json).len(), 3);
    assert_eq!(ids(&world.get("/v1/jobs?table=public.b").await.json).len(), 2);
}

#[tokio::test]
async fn questions_that_make_no_sense() {
    let world = World::new().await;
    for query in ["state=done", "limit=0", "limit=1001", "limit=x", "cursor=x", "nope=1", "limit=1&limit=2"] {
        world.get(&format!("/v1/jobs?{query}")).await.problem(400, "invalid-option");
    }
    for id in ["x", "00000000-0000-0000-0000-000000000000", "%FF"] {
        let answer = world.get(&format!("/v1/jobs/{id}")).await;
        assert!([400, 404].contains(&answer.status.as_u16()));
        assert_eq!(answer.content_type, "application/problem+json");
    }
}

#[tokio::test]
async fn a_job_that_has_ended_cannot_be_cancelled() {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (a int)").await;
    let job = world.load_csv("t", "a\n1\n").await.committed(1).clone();
    world.cancel(job["id"].as_str().unwrap()).await.problem(409, "not-running");
    assert_eq!(world.job(job["id"].as_str().unwrap()).await, job);
    world.cancel("00000000-0000-0000-0000-000000000000").await.problem(404, "job-not-found");
}

#[tokio::test]
async fn a_database_of_jobs_may_be_another_than_that_of_the_data() {
    let (metadata, target) = (crate::support::Database::create().await, crate::support::Database::create().await);
    let service = crate::support::Service::start(&metadata.url, &["--bulk-database-url", &target.url]).await;
    let world = World { db: target, service, http: reqwest::Client::new() };
    world.db.sql("CREATE TABLE t (a int)").await;
    let answer = world.load_csv("t", "a\n1\n").await;
    let id = answer.committed(1)["id"].as_str().unwrap().to_owned();
    assert_eq!(world.db.count("pgsluice.ledger").await, 1);
    assert_eq!(metadata.count("pgsluice.jobs").await, 1);
    assert_eq!(world.job(&id).await["state"], "committed");
    let schemas = "SELECT to_regclass('pgsluice.ledger')::text";
    assert_eq!(metadata.texts(schemas).await, [None]);
}
