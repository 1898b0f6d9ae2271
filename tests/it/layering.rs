//! Who may import whom. The sources are read as text, so a rule that is broken is broken in the same commit that breaks it.

use std::fs;
use std::path::{Path, PathBuf};

/// A layer and those that it may name by `crate::…`.
const LAYERS: [(&str, &[&str]); 8] = [
    ("http", &["http", "jobs", "access", "ingest", "engine", "config", "error", "telemetry"]),
    ("jobs", &["jobs", "access", "ingest", "engine", "config", "error", "telemetry"]),
    ("access", &["access", "engine", "error"]),
    ("ingest", &["ingest", "encode", "engine", "config", "error", "telemetry"]),
    ("engine", &["engine", "encode", "config", "error", "telemetry"]),
    ("encode", &["encode"]),
    ("config", &[]),
    ("telemetry", &[]),
];

/// A crate and the only places that may use it.
const CRATES: [(&str, &[&str]); 15] = [
    ("axum", &["http/"]),
    ("hyper", &["http/", "telemetry/collector.rs", "telemetry/otlp_client.rs"]),
    ("rustls", &["http/tls.rs", "engine/tls.rs", "telemetry/otlp_client.rs"]),
    ("ring", &["access/signatures.rs", "http/tls.rs", "engine/tls.rs", "telemetry/otlp_client.rs"]),
    ("jsonwebtoken", &["access/signatures.rs", "access/jwks.rs", "access/jwt.rs"]),
    ("tokio_postgres_rustls", &["engine/tls.rs"]),
    ("sfv", &["http/"]),
    ("opentelemetry", &["telemetry/otlp.rs"]),
    ("opentelemetry_sdk", &["telemetry/otlp.rs"]),
    ("opentelemetry_otlp", &["telemetry/otlp.rs"]),
    ("opentelemetry_http", &["telemetry/otlp_client.rs"]),
    ("tracing_opentelemetry", &["telemetry/otlp.rs"]),
    ("prometheus_client", &["telemetry/", "http/metrics/"]),
    (
        "tokio_postgres",
        &[
            "engine/",
            "ingest/copy/",
            "ingest/commit.rs",
            "jobs/store/",
            "jobs/report.rs",
            "jobs/replica.rs",
            "jobs/retention.rs",
            "access/keys.rs",
        ],
    ),
    (
        "tokio",
        &[
            "main.rs",
            "http/",
            "jobs/",
            "engine/",
            "ingest/mod.rs",
            "ingest/aside.rs",
            "ingest/queue.rs",
            "ingest/body.rs",
            "ingest/copy/",
            "ingest/commit.rs",
            "ingest/watch.rs",
            "telemetry/otlp_client.rs",
        ],
    ),
];

/// Stages of the pipeline: none names another. `queue`, `meter`, `segment` and `rows` are what they pass on.
const STAGES: [&str; 9] = ["body", "decompress", "transcode", "csv", "ndjson", "arrow", "parquet", "copy", "commit"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every source file by its path under `src`, without its unit tests.
fn sources() -> Vec<(String, String)> {
    fn visit(dir: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, found);
            } else {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]").next().unwrap().to_owned();
                found.push((name, code));
            }
        }
    }
    let mut found = Vec::new();
    visit(&root(), &mut found);
    found
}

/// What stands right after each `prefix` in the code, up to the end of the word.
fn words_after<'a>(code: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    code.match_indices(prefix).map(move |(at, _)| {
        let rest = &code[at + prefix.len()..];
        &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())]
    })
}

fn uses(code: &str, name: &str) -> bool {
    let starts_path = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
    code.match_indices(&format!("{name}::")).any(|(at, _)| starts_path(at))
}

#[test]
fn layers_import_downwards_only() {
    let mut checked = 0;
    for (file, code) in sources() {
        let layer = file.split(['/', '.']).next().unwrap();
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
            continue;
        };
        for word in words_after(&code, "crate::") {
            checked += 1;
            assert!(allowed.contains(&word), "{file} imports crate::{word}");
        }
    }
    assert!(checked > 50, "only {checked} imports were seen: the test does not read what it should");
}

#[test]
fn crates_stay_where_they_belong() {
    for (file, code) in sources() {
        for (name, places) in CRATES {
            let allowed = places.iter().any(|place| file.starts_with(place));
            assert!(allowed || !uses(&code, name), "{file} uses {name}");
        }
    }
    assert!(
        sources().iter().any(|(file, code)| file == "http/connection.rs" && uses(code, "hyper")),
        "the test sees no use at all"
    );
}

#[test]
fn stages_do_not_know_each_other() {
    for stage in STAGES {
        for (file, code) in sources() {
            let own = file.strip_prefix("ingest/").and_then(|rest| rest.split(['/', '.']).next());
            if own != Some(stage) {
                continue;
            }
            for other in STAGES.into_iter().filter(|other| *other != stage) {
                for path in [format!("ingest::{other}"), format!("super::{other}")] {
                    assert!(!code.contains(&path), "stage {file} names {path}");
                }
            }
        }
    }
}

#[test]
fn the_two_engines_never_meet() {
    for (file, code) in sources() {
        assert!(!(file == "engine/bulk.rs" && code.contains("oltp")), "bulk knows oltp");
        assert!(!(file.starts_with("engine/oltp/") && code.contains("bulk")), "oltp knows bulk");
    }
}

#[test]
fn the_environment_is_read_by_the_program_only() {
    for (file, code) in sources() {
        let program = file == "main.rs" || file == "arguments.rs" || file.starts_with("settings/");
        assert!(program || !code.contains("env::var"), "{file} reads the environment");
    }
}
