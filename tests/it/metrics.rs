//! `/metrics` says what the jobs say, to a strict parser, also of loads that still run.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::{Answer, Scrape, Trickle, World, coding, raw};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/METRICS.md");

async fn world(flags: &[&str]) -> World {
    let world = World::with(flags).await;
    world.db.sql("CREATE TABLE t (id int PRIMARY KEY)").await;
    world
}

fn lines(ids: std::ops::Range<u32>) -> String {
    ids.map(|id| format!("{id}\n")).collect()
}

/// Loads of some formats with every outcome that a client can bring about.
async fn some_loads(world: &World) {
    let ndjson = |ids: std::ops::Range<u32>| ids.map(|id| format!("{{\"id\": {id}}}\n")).collect::<String>();
    world.load_csv("t", format!("id\n{}", lines(0..3000))).await.committed(3000);
    world.load_csv("t?on_error=skip", "id\n5000\nx\n5001\n0\n").await.committed(2);
    world.load_csv("t", "id\n6000\nx\n").await.problem(422, "bad-row");
    for ids in [10_000..14_000, 20_000..29_000] {
        let body = coding::gzip(ndjson(ids.clone()).as_bytes());
        let load = world
            .post("t", "application/x-ndjson")
            .header("Content-Encoding", "gzip")
            .header("Idempotency-Key", ids.start.to_string());
        let answer = Answer::of(load.try_clone().unwrap().body(body.clone()).send().await.unwrap()).await;
        answer.committed(ids.len() as u64);
        let again = Answer::of(load.body(body).send().await.unwrap()).await;
        assert_eq!(again.committed(ids.len() as u64)["replayed"], true);
    }
    let load = Trickle::begin(world, "t");
    load.send("id\n");
    let job = world
        .wait_for_job(|job| job["state"] == "running" && job["bytes_received"].as_u64() > Some(0))
        .await;
    world.cancel(job["id"].as_str().unwrap()).await;
    load.answer().await.problem(409, "cancelled");
}

fn total(jobs: &[Value], format: &str, field: &str) -> f64 {
    let jobs = jobs.iter().filter(|job| job["format"] == format);
    jobs.map(|job| job.pointer(field).unwrap().as_f64().unwrap()).sum()
}

#[tokio::test]
async fn metrics_are_what_the_jobs_are() {
    let world = world(&[]).await;
    some_loads(&world).await;
    let jobs = world.get("/v1/jobs").await.json["jobs"].as_array().unwrap().clone();
    assert_eq!(jobs.len(), 6);
    let scrape = Scrape::of(&world).await;
    for format in ["csv", "ndjson", "parquet"] {
        let of_format = [("format", format)];
        for (name, field) in [
            ("pgsluice_rows_received_total", "/rows_received"),
            ("pgsluice_rows_loaded_total", "/rows_loaded"),
            ("pgsluice_rows_rejected_total", "/rows_rejected"),
            ("pgsluice_body_received_bytes_total", "/bytes_received"),
            ("pgsluice_body_decoded_bytes_total", "/bytes_decoded"),
        ] {
            assert_eq!(scrape.sum(name, &of_format), total(&jobs, format, field), "{name} {format}");
        }
        let count = |state: Option<&str>| {
            let jobs = jobs.iter().filter(|job| job["format"] == format && state.is_none_or(|state| job["state"] == state));
            jobs.count() as f64
        };
        assert_eq!(scrape.sum("pgsluice_loads_started_total", &of_format), count(None));
        for outcome in ["committed", "failed", "cancelled"] {
            let labels = [("format", format), ("outcome", outcome)];
            assert_eq!(scrape.sum("pgsluice_loads_finished_total", &labels), count(Some(outcome)), "{format} {outcome}");
        }
    }
    assert_eq!(scrape.sum("pgsluice_loads_replayed_total", &[]), 2.0);
    assert_eq!(scrape.sum("pgsluice_loads_running", &[]), 0.0);
    // A job tells whole milliseconds, rounded down; both NDJSON loads went to their ends.
    for stage in ["queue", "client_wait", "encode", "database", "commit"] {
        let millis = 1000.0 * scrape.sum("pgsluice_load_stage_seconds_total", &[("format", "ndjson"), ("stage", stage)]);
        let told = total(&jobs, "ndjson", &format!("/timings_ms/{stage}"));
        assert!((told..told + 2.0).contains(&millis), "{stage}: {millis} ms, and jobs say {told}");
    }
}

#[tokio::test]
async fn a_load_is_seen_while_it_runs_and_others_wait() {
    let world = world(&["--bulk-slots", "1", "--bulk-slot-wait-ms", "60000"]).await;
    let load = Trickle::begin(&world, "t");
    load.send("id\n");
    load.send(lines(0..40_000));
    world.wait_for_job(|job| job["rows_received"].as_u64() > Some(10_000)).await;
    let scrape = Scrape::of(&world).await;
    assert_eq!(scrape.sum("pgsluice_loads_running", &[("format", "csv")]), 1.0);
    assert_eq!((scrape.sum("pgsluice_bulk_slots", &[]), scrape.sum("pgsluice_bulk_slots_in_use", &[])), (1.0, 1.0));
    assert!(scrape.sum("pgsluice_rows_received_total", &[("format", "csv")]) > 10_000.0);
    assert!(scrape.sum("pgsluice_body_received_bytes_total", &[]) > 100_000.0);
    assert_eq!(scrape.sum("pgsluice_rows_loaded_total", &[]), 0.0);
    assert_eq!(scrape.sum("pgsluice_loads_finished_total", &[]), 0.0);

    let waiting = Trickle::begin(&world, "t");
    let mut seen = 0.0;
    for _ in 0..300 {
        seen = Scrape::of(&world).await.sum("pgsluice_bulk_waiting", &[]);
        if seen > 0.0 {
            break;
        }
    }
    assert_eq!(seen, 1.0);
    load.finish().await.committed(40_000);
    waiting.send("id\n100000\n");
    waiting.finish().await.committed(1);
    let scrape = Scrape::of(&world).await;
    assert_eq!(scrape.sum("pgsluice_bulk_waiting", &[]), 0.0);
    assert_eq!(scrape.sum("pgsluice_rows_loaded_total", &[("format", "csv")]), 40_001.0);
    assert_eq!(scrape.sum("pgsluice_http_requests_in_flight", &[]), 1.0, "the scrape itself");
}

/// What goes up only, goes up only: also while loads end, and fail, and are given up.
#[tokio::test]
async fn counters_never_go_down() {
    let world = world(&[]).await;
    let mut before: BTreeMap<String, f64> = BTreeMap::new();
    for round in 0..6u32 {
        let loads: Vec<Trickle> = (0..4).map(|_| Trickle::begin(&world, "t")).collect();
        for (number, load) in loads.iter().enumerate() {
            load.send("id\n");
            let first = round * 1_000_000 + number as u32 * 100_000;
            load.send(lines(first..first + 20_000));
        }
        for (number, load) in loads.into_iter().enumerate() {
            match number {
                0 => load.abandon().await,
                1 => {
                    load.send("x\n");
                    load.finish().await.problem(422, "bad-row");
                }
                _ => drop(load.finish().await.committed(20_000).clone()),
            }
            let now = Scrape::of(&world).await.growing();
            for (name, value) in &before {
                assert!(now.get(name).is_some_and(|now| now >= value), "{name} was {value} and is {:?}", now.get(name));
            }
            before = now;
        }
    }
    let committed = before.iter().filter(|(name, _)| name.contains("loads_finished") && name.contains("committed"));
    assert_eq!(committed.map(|(_, value)| value).sum::<f64>(), 12.0);
}

#[tokio::test]
async fn requests_are_counted_by_route_and_labels_do_not_grow() {
    let world = world(&[]).await;
    for number in 0..20 {
        world.get(&format!("/nowhere/{number}")).await.problem(404, "not-found");
        world.get(&format!("/v1/jobs/{number}")).await.problem(404, "job-not-found");
        let method = format!("M{number} /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert!(raw(world.service.address(), method.as_bytes()).await.starts_with("HTTP/1.1 405"));
    }
    let gone = Trickle::begin(&world, "t");
    gone.send("id\n1\n");
    world.wait_for_job(|job| job["state"] == "running").await;
    gone.abandon().await;
    world.wait_for_job(|job| job["state"] == "failed").await;

    let scrape = Scrape::of(&world).await;
    let requests = |labels: &[(&str, &str)]| scrape.sum("pgsluice_http_requests_total", labels);
    assert_eq!(requests(&[("route", "unmatched"), ("status", "404")]), 20.0);
    assert_eq!(requests(&[("route", "/v1/jobs/{id}"), ("status", "404"), ("method", "GET")]), 20.0);
    assert_eq!(requests(&[("route", "/healthz"), ("status", "405"), ("method", "other")]), 20.0);
    // Whether the handler goes first or the body's end is seen first is anybody's guess.
    let loads = |status| requests(&[("route", "/v1/tables/{table}/loads"), ("status", status)]);
    assert_eq!(loads("499") + loads("400"), 1.0);
    assert_eq!(scrape.count("pgsluice_http_requests_total", &[("route", "unmatched")]), 1);
    assert_eq!(scrape.sum("pgsluice_http_request_seconds_count", &[("route", "unmatched")]), 20.0);
    let problems = |code| scrape.sum("pgsluice_problems_total", &[("code", code)]);
    assert_eq!(
        (problems("not-found"), problems("job-not-found"), problems("method-not-allowed")),
        (20.0, 20.0, 20.0)
    );
}

#[tokio::test]
async fn jobs_that_are_asked_for_together_are_one_query() {
    let world = world(&[]).await;
    let job = world.load_csv("t", "id\n1\n").await.committed(1).clone();
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    let queries = async || Scrape::of(&world).await.sum("pgsluice_oltp_query_seconds_count", &[("outcome", "ok")]);
    let before = queries().await;
    let other = world.db.connect().await;
    other.batch_execute("BEGIN; LOCK TABLE pgsluice.jobs IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let asking = futures::future::join_all((0..300).map(|_| world.get(&path)));
    let release = async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        other.batch_execute("COMMIT").await.unwrap();
    };
    let (answers, ()) = tokio::join!(asking, release);
    assert!(answers.iter().all(|answer| answer.json == job));
    let asked = queries().await - before;
    assert!((1.0..150.0).contains(&asked), "{asked} queries for 300 questions");
}

#[tokio::test]
async fn queries_and_the_process_are_measured() {
    let world = world(&["--pool-size", "3", "--max-overflow", "0"]).await;
    let before = Scrape::of(&world).await;
    for _ in 0..50 {
        world.get("/v1/jobs").await;
    }
    let after = Scrape::of(&world).await;
    let queries = |scrape: &Scrape| scrape.sum("pgsluice_oltp_query_seconds_count", &[("outcome", "ok")]);
    assert!(queries(&after) - queries(&before) >= 50.0);
    assert!(after.sum("pgsluice_oltp_query_seconds_sum", &[]) > before.sum("pgsluice_oltp_query_seconds_sum", &[]));
    assert_eq!(after.sum("pgsluice_oltp_pool_connections_max", &[]), 3.0);
    assert!((1.0..=3.0).contains(&after.sum("pgsluice_oltp_pool_connections", &[])));
    assert_eq!(after.sum("pgsluice_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);

    let resident = after.sum("process_resident_memory_bytes", &[]);
    let kernel = world.service.rss_kib() as f64 * 1024.0;
    assert!(resident > kernel / 2.0 && resident < kernel * 2.0, "{resident} against {kernel}");
    let fds = std::fs::read_dir(format!("/proc/{}/fd", world.service.pid())).unwrap().count() as f64;
    assert!((after.sum("process_open_fds", &[]) - fds).abs() <= 5.0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let age = now - after.sum("process_start_time_seconds", &[]);
    assert!((-2.0..3600.0).contains(&age), "{age} s old");
    // The kernel counts in hundredths of a second, and so much work is less than one of them.
    let mut work = after;
    for _ in 0..200 {
        if work.sum("process_cpu_seconds_total", &[]) > 0.0 {
            break;
        }
        work = Scrape::of(&world).await;
    }
    assert!(work.sum("process_cpu_seconds_total", &[]) > 0.0);
}

#[tokio::test]
async fn both_forms_say_the_same() {
    let world = world(&[]).await;
    world.load_csv("t", "id\n1\n").await.committed(1);
    let open = Scrape::of(&world).await;
    assert_eq!(open.content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    for accept in ["*/*", "text/plain;version=0.0.4"] {
        let classic = Scrape::accepting(&world, accept).await;
        assert_eq!(classic.content_type, "text/plain; version=0.0.4; charset=utf-8");
        let known = |scrape: &Scrape| scrape.names().into_iter().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(known(&classic), known(&open));
        let kinds = |scrape: &Scrape| -> BTreeMap<String, String> {
            scrape.families.iter().map(|(name, family)| (name.clone(), family.kind.clone())).collect()
        };
        assert_eq!(kinds(&classic), kinds(&open));
        assert_eq!(classic.sum("pgsluice_rows_loaded_total", &[]), 1.0);
    }
}

/// docs/METRICS.md: every metric with its type and its labels, and no other.
#[tokio::test]
async fn every_metric_is_documented_and_every_documented_one_is_there() {
    let world = world(&[]).await;
    world.load_csv("t", "id\n1\n").await.committed(1);
    world.get("/nowhere").await.problem(404, "not-found");
    let scrape = Scrape::of(&world).await;
    let mut there: Vec<String> = Vec::new();
    for (name, family) in &scrape.families {
        let sample = if family.kind == "counter" { format!("{name}_total") } else { name.clone() };
        there.push(format!("| `{sample}` | {} | {} |", family.kind, family.labels.join(", ")));
        assert!(!family.help.is_empty(), "{name} has no help");
    }
    let document = std::fs::read_to_string(DOCUMENT).unwrap();
    let rows = document.lines().filter(|line| line.starts_with("| `"));
    let mut documented: Vec<String> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split(" | ").collect();
            format!("{} | {} | {} |", cells[0], cells[1], cells[2])
        })
        .collect();
    documented.sort();
    there.sort();
    assert_eq!(documented, there);
}
