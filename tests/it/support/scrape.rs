//! `/metrics`, as Prometheus's own strict parser reads it.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{World, python};

const PARSE: &str = r#"
import json, sys
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client import parser as classic
page = sys.stdin.read()
parse = openmetrics if sys.argv[1] == "openmetrics" else classic
families = parse.text_string_to_metric_families(page)
print(json.dumps([
    {"name": f.name, "type": f.type, "unit": f.unit, "help": f.documentation,
     "samples": [[s.name, dict(s.labels), s.value] for s in f.samples]}
    for f in families
]))
"#;

/// What a Prometheus says in `Accept` that is set to OpenMetrics.
const OPENMETRICS: &str = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

/// One look at the metrics.
#[derive(Debug)]
pub(crate) struct Scrape {
    pub(crate) content_type: String,
    pub(crate) families: BTreeMap<String, Family>,
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) help: String,
    pub(crate) labels: Vec<String>,
}

impl Scrape {
    pub(crate) async fn of(world: &World) -> Scrape {
        Scrape::accepting(world, OPENMETRICS).await
    }

    pub(crate) async fn accepting(world: &World, accept: &str) -> Scrape {
        let answer = world.http.get(world.url("/metrics")).header("Accept", accept).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let content_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
        let page = answer.text().await.unwrap();
        let form = if content_type.starts_with("application/openmetrics-text") { "openmetrics" } else { "classic" };
        let parsed = tokio::task::spawn_blocking(move || parse(&page, form)).await.unwrap();
        Scrape::read(content_type, &parsed)
    }

    fn read(content_type: String, parsed: &Value) -> Scrape {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (mut families, mut samples) = (BTreeMap::new(), Vec::new());
        for family in parsed.as_array().unwrap() {
            let mut names = std::collections::BTreeSet::new();
            for sample in family["samples"].as_array().unwrap() {
                let labels: BTreeMap<String, String> = sample[1].as_object().unwrap().iter().map(|(k, v)| (k.clone(), text(v))).collect();
                names.extend(labels.keys().filter(|name| *name != "le").cloned());
                samples.push((text(&sample[0]), labels, sample[2].as_f64().unwrap()));
            }
            let family_of = Family {
                kind: text(&family["type"]),
                help: text(&family["help"]),
                labels: names.into_iter().collect(),
            };
            families.insert(text(&family["name"]), family_of);
        }
        Scrape { content_type, families, samples }
    }

    /// The sum of all samples of that name that have these labels, among others.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).sum()
    }

    /// How many samples of that name have these labels.
    pub(crate) fn count(&self, name: &str, labels: &[(&str, &str)]) -> usize {
        self.matching(name, labels).count()
    }

    fn matching(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = f64> {
        let has = |own: &BTreeMap<String, String>| labels.iter().all(|(name, value)| own.get(*name).is_some_and(|own| own == value));
        self.samples
            .iter()
            .filter(move |(own, own_labels, _)| own == name && has(own_labels))
            .map(|(_, _, value)| *value)
    }

    /// Every name that a query may use.
    pub(crate) fn names(&self) -> std::collections::BTreeSet<&str> {
        self.samples.iter().map(|(name, _, _)| name.as_str()).collect()
    }

    /// What may only grow, by name and labels.
    pub(crate) fn growing(&self) -> BTreeMap<String, f64> {
        let grows = |name: &str| ["_total", "_count", "_sum", "_bucket"].iter().any(|end| name.ends_with(end));
        let samples = self.samples.iter().filter(|(name, _, _)| grows(name));
        samples.map(|(name, labels, value)| (format!("{name}{labels:?}"), *value)).collect()
    }
}

fn parse(page: &str, form: &str) -> Value {
    let mut parser = Command::new(python());
    parser.args(["-c", PARSE, form]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut parser = parser.spawn().unwrap();
    parser.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = parser.wait_with_output().unwrap();
    assert!(output.status.success(), "{}\n{page}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
