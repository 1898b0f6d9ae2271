//! How long something that happens often takes.

use std::time::Duration;

use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Metric;

/// Short queries and long loads are both requests, so the buckets go from half a millisecond to an hour.
const BUCKETS_SECONDS: [f64; 16] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0];

/// Histograms of durations in seconds, told apart by their labels; cheap to clone, and all clones are the same one.
#[derive(Debug, Clone)]
pub struct Latency(Histograms);

type Labels = Vec<(&'static str, String)>;
type Histograms = Family<Labels, Histogram, Buckets>;

#[derive(Debug, Clone, Copy)]
struct Buckets;

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(BUCKETS_SECONDS)
    }
}

impl Default for Latency {
    fn default() -> Latency {
        Latency(Family::new_with_constructor(Buckets))
    }
}

impl Latency {
    /// Adds one duration.
    pub fn observe(&self, labels: &[(&'static str, &str)], took: Duration) {
        self.of(labels).observe(took.as_secs_f64());
    }

    /// Makes sure that the histogram with these labels is there, with nothing in it: what is not there cannot be seen to grow.
    pub fn prepare(&self, labels: &[(&'static str, &str)]) {
        let _ = self.of(labels);
    }

    fn of(&self, labels: &[(&'static str, &str)]) -> Histogram {
        let labels: Labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.0.get_or_create_owned(&labels)
    }

    /// As a registry takes it.
    pub(crate) fn family(&self) -> impl Metric {
        self.0.clone()
    }
}
