//! What is in `deploy/` fits the service: metrics, labels, time to stop, settings; and the troubleshooting knows every problem and alert.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::support::{Family, Scrape, World};

/// Labels that a Prometheus adds by itself.
const ADDED: [&str; 3] = ["job", "instance", "le"];

fn file(name: &str) -> String {
    std::fs::read_to_string(format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Every `expr` of a document, wherever it stands.
fn expressions(document: &Value, found: &mut Vec<String>) {
    match document {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(text) if name == "expr" => found.push(text.clone()),
                    value => expressions(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

/// The names of the labels that a query asks for: those in braces before `=`, `!=`, `=~`, and those that it groups and joins by.
fn labels(query: &str) -> BTreeSet<String> {
    // What stands between quotes may hold braces and commas of its own.
    let bare: String = query.split('"').step_by(2).collect();
    let inside = |opening: &str, closing: char| -> Vec<String> {
        let groups = bare.split(opening).skip(1).filter_map(|rest| rest.split_once(closing));
        groups
            .flat_map(|(inside, _)| inside.split(',').map(|part| part.trim().to_owned()).collect::<Vec<_>>())
            .collect()
    };
    let matched = inside("{", '}')
        .into_iter()
        .filter_map(|matcher| Some(matcher.split(['=', '!']).next()?.to_owned()));
    matched
        .chain(inside("by (", ')'))
        .chain(inside("on(", ')'))
        .chain(inside("group_left(", ')'))
        .collect()
}

async fn scrape() -> (BTreeSet<String>, BTreeMap<String, Family>) {
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (id int)").await;
    world.load_csv("t", "id\n1\n").await.committed(1);
    world.get("/nowhere").await.problem(404, "not-found");
    let scrape = Scrape::of(&world).await;
    (scrape.names().into_iter().map(str::to_owned).collect(), scrape.families)
}

#[tokio::test]
async fn every_metric_and_label_of_dashboard_and_alerts_is_there() {
    let (names, families) = scrape().await;
    let known: BTreeSet<&str> = families.values().flat_map(|family| family.labels.iter().map(String::as_str)).chain(ADDED).collect();
    let dashboard: Value = serde_json::from_str(&file("deploy/grafana-dashboard.json")).unwrap();
    let alerts: Value = serde_norway::from_str(&file("deploy/prometheus-alerts.yml")).unwrap();
    for (document, at_least) in [(dashboard, 25), (alerts, 10)] {
        let mut queries = Vec::new();
        expressions(&document, &mut queries);
        assert!(queries.len() >= at_least, "{queries:#?}");
        for query in queries {
            for name in words(&query).filter(|word| word.starts_with("pgsluice_") || word.starts_with("process_")) {
                assert!(names.contains(name), "{name} of {query:?} is not in {names:#?}");
            }
            for label in labels(&query) {
                assert!(known.contains(label.as_str()), "{label} of {query:?} is no label");
            }
        }
    }
}

/// What the test above looks for, it finds.
#[test]
fn labels_are_seen_in_queries() {
    let query = "sum by (outcome, le) (rate(a{job=\"$job\", route!=\"/v1/{x}\", code=~\"a|b\"}[5m]))";
    assert_eq!(labels(query), ["code", "job", "le", "outcome", "route"].map(str::to_owned).into());
}

#[test]
fn the_unit_waits_longer_than_a_shutdown_takes_and_names_settings_that_there_are() {
    let mut config = std::process::Command::new(env!("CARGO_BIN_EXE_pgsluice"));
    let settings = crate::support::run(config.arg("config").env_clear());
    let grace = settings.lines().find_map(|line| line.strip_prefix("shutdown-grace = ")).unwrap();
    let grace: u64 = grace.split_whitespace().next().unwrap().parse().unwrap();
    let unit = file("deploy/pgsluice.service");
    let stop: u64 = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap().parse().unwrap();
    // Grace, the same again for those that are stopped, and what answers get to go out.
    assert!(stop > 2 * grace + 5, "{stop} s to stop, and a grace of {grace} s");
    let compose: Value = serde_norway::from_str(&file("deploy/compose.yaml")).unwrap();
    assert_eq!(compose["services"]["pgsluice"]["stop_grace_period"], format!("{stop}s"));

    let known: BTreeSet<String> = settings
        .lines()
        .filter_map(|line| line.trim_start_matches("# ").split(' ').next())
        .map(|key| format!("PGSLUICE_{}", key.to_uppercase().replace('-', "_")))
        .collect();
    let mut seen = 0;
    for text in [unit, file("deploy/compose.yaml"), file("Dockerfile")] {
        for name in words(&text).filter(|word| word.starts_with("PGSLUICE_")) {
            assert!(known.contains(name), "there is no setting {name}");
            seen += 1;
        }
    }
    assert!(seen >= 6, "only {seen}");
}

#[test]
fn every_problem_and_every_alert_has_its_advice() {
    let page = file("docs/OPERATIONS.md");
    let document: Value = serde_norway::from_str(&file("openapi.yaml")).unwrap();
    let description = document["info"]["description"].as_str().unwrap();
    let rows = description
        .lines()
        .filter(|line| line.starts_with("| ") && line[2..].starts_with(|c: char| c.is_ascii_digit()));
    let codes: BTreeSet<&str> = rows
        .flat_map(|row| row.split('`').skip(1).step_by(2))
        .filter(|code| code.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
        .collect();
    assert!(codes.len() > 50, "{codes:?}");
    let advised: BTreeSet<&str> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .flat_map(|line| line.split(" | ").next().unwrap().split('`').skip(1).step_by(2))
        .collect();
    let other_names = ["encoding"];
    let codes: BTreeSet<&str> = codes.into_iter().filter(|code| !other_names.contains(code)).collect();
    assert_eq!(advised, codes);

    let alerts: Value = serde_norway::from_str(&file("deploy/prometheus-alerts.yml")).unwrap();
    let alerts: BTreeSet<&str> = alerts["groups"][0]["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["alert"].as_str().unwrap())
        .collect();
    let advised: BTreeSet<&str> = page.lines().filter_map(|line| line.strip_prefix("| Pgsluice")?.split(' ').next()).collect();
    assert_eq!(advised, alerts.iter().map(|name| name.trim_start_matches("Pgsluice")).collect());
}
