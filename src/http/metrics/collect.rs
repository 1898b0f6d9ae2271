//! Loads and engines are read when somebody asks, so that a load of hours is seen while it runs.

use std::fmt::{self, Debug};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::engine::{admission, oltp};
use crate::jobs::{Conductor, Loads, ReplicaStats, STAGES, Statistics, Sums, Tally};

/// What the conductor knows.
#[derive(Debug)]
pub(super) struct Jobs {
    conductor: Conductor,
}

/// A sample with its labels.
type Sample<V> = (Vec<(&'static str, &'static str)>, V);

impl Jobs {
    pub(super) fn new(conductor: Conductor) -> Jobs {
        Jobs { conductor }
    }
}

impl Collector for Jobs {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Statistics { loads, replayed, deleted, bulk, rested, oltp, replica } = self.conductor.statistics();
        let mut page = Page(encoder);
        page.loads(&loads)?;
        page.counters(
            "loads_replayed",
            None,
            "Requests answered with the stored result of an earlier load",
            [(vec![], replayed)],
        )?;
        page.counters("jobs_deleted", None, "Jobs that were deleted because they were old", [(vec![], deleted)])?;
        page.work(&loads)?;
        page.bulk(bulk)?;
        let help = "How long loads have rested because questions for jobs were late";
        page.counters("bulk_rest", Some(&Unit::Seconds), help, [(vec![], rested.as_secs_f64())])?;
        page.oltp(&oltp)?;
        page.replica(&replica)
    }
}

struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn loads(&mut self, tally: &Tally) -> Result<(), fmt::Error> {
        let by_format = |value: fn(&Loads) -> u64| tally.formats().map(move |(format, loads)| (vec![("format", format)], value(loads)));
        let finished = tally.formats().flat_map(|(format, loads)| {
            let outcomes = loads.finished.iter();
            outcomes.map(move |(outcome, count)| (vec![("format", format), ("outcome", outcome.name())], *count))
        });
        self.counters("loads_started", None, "Loads that were given a job", by_format(|loads| loads.started))?;
        self.counters("loads_finished", None, "Loads that have come to their end", finished)?;
        self.gauges("loads_running", "Loads that run", by_format(|loads| loads.running))
    }

    fn work(&mut self, tally: &Tally) -> Result<(), fmt::Error> {
        let sums = |value: fn(&Sums) -> u64| tally.formats().map(move |(format, loads)| (vec![("format", format)], value(&loads.sums)));
        self.counters("rows_received", None, "Rows parsed, rejected ones too", sums(|sums| sums.rows_received))?;
        self.counters("rows_loaded", None, "Rows committed", sums(|sums| sums.rows_loaded))?;
        self.counters("rows_rejected", None, "Rows turned away by on_error=skip", sums(|sums| sums.rows_rejected))?;
        let bytes = Some(Unit::Bytes);
        self.counters("body_received", bytes.as_ref(), "Bodies as they came", sums(|sums| sums.bytes_received))?;
        self.counters(
            "body_decoded",
            bytes.as_ref(),
            "Bodies without their Content-Encoding",
            sums(|sums| sums.bytes_decoded),
        )?;
        let stages = tally.formats().flat_map(|(format, loads)| {
            let times = STAGES.into_iter().zip(loads.sums.stage_micros);
            times.map(move |(stage, micros)| (vec![("format", format), ("stage", stage)], micros as f64 / 1e6))
        });
        let help = "Time of loads in each stage; stages work side by side, so this can be more than the time that went by";
        self.counters("load_stage", Some(&Unit::Seconds), help, stages)
    }

    fn bulk(&mut self, occupancy: admission::Occupancy) -> Result<(), fmt::Error> {
        let admission::Occupancy { slots, in_use, waiting, memory_bytes, memory_bytes_in_use } = occupancy;
        self.gauges("bulk_slots", "Loads that may run at a time", [(vec![], slots)])?;
        self.gauges("bulk_slots_in_use", "Slots that are taken", [(vec![], in_use)])?;
        self.gauges("bulk_waiting", "Loads that wait for a place", [(vec![], waiting)])?;
        self.gauges(
            "bulk_memory_budget_bytes",
            "Memory that all loads together may come to need",
            [(vec![], memory_bytes)],
        )?;
        self.gauges(
            "bulk_memory_reserved_bytes",
            "What those that run may come to need of it",
            [(vec![], memory_bytes_in_use)],
        )
    }

    fn oltp(&mut self, stats: &oltp::Stats) -> Result<(), fmt::Error> {
        let states = [(vec![("state", "in_use")], stats.checked_out), (vec![("state", "idle")], stats.idle)];
        let most = stats.pool_size + stats.max_overflow;
        self.gauges("oltp_pool_connections_max", "Connections that the pool may have", [(vec![], most)])?;
        self.gauges("oltp_pool_connections", "Connections of the pool", states)?;
        self.gauges("oltp_pool_overflow", "Connections beyond those that are kept", [(vec![], stats.overflow)])?;
        self.gauges("oltp_pool_waiting", "Queries that wait for a connection", [(vec![], stats.waiting)])?;
        let wait_seconds = stats.wait_total.as_secs_f64();
        let help = "How long queries have waited for a connection";
        self.counters("oltp_pool_wait", Some(&Unit::Seconds), help, [(vec![], wait_seconds)])?;
        for (name, help, value) in [
            ("oltp_pool_waits", "Queries that had to wait for a connection", stats.waits_total),
            ("oltp_pool_timeouts", "Queries that waited too long for a connection", stats.timeouts_total),
            ("oltp_pool_opened", "Connections opened", stats.opened_total),
            ("oltp_pool_recycled", "Connections replaced because of their age", stats.recycled_total),
            ("oltp_pool_ping_failures", "Idle connections that did not answer", stats.ping_failures_total),
            ("oltp_command_timeouts", "Queries that were not answered in time", stats.command_timeouts_total),
        ] {
            self.counters(name, None, help, [(vec![], value)])?;
        }
        let found = [(vec![("prepared", "yes")], stats.statement_hits_total), (vec![("prepared", "no")], stats.statement_misses_total)];
        self.counters("oltp_statements", None, "Statements run, by whether they were found prepared", found)
    }

    fn replica(&mut self, stats: &ReplicaStats) -> Result<(), fmt::Error> {
        let help = "The read replica answers and is near enough behind the primary: 1, else 0";
        self.gauges("replica_usable", help, [(vec![], u64::from(stats.usable))])?;
        let lag_seconds = stats.lag.map_or(0.0, |lag| lag.as_secs_f64());
        self.gauges("replica_lag_seconds", "How old what the replica shows may be", [(vec![], lag_seconds)])?;
        let pool = stats.pool.as_ref();
        let states = [
            (vec![("state", "in_use")], pool.map_or(0, |pool| pool.checked_out)),
            (vec![("state", "idle")], pool.map_or(0, |pool| pool.idle)),
        ];
        self.gauges("replica_pool_connections", "Connections to the replica", states)?;
        let reads = [
            ("served", stats.served_total),
            ("behind", stats.behind_total),
            ("failed", stats.failed_total),
            ("skipped", stats.skipped_total),
        ];
        let reads = reads.map(|(outcome, count)| (vec![("outcome", outcome)], count));
        self.counters("replica_reads", None, "Questions for the replica, by what it made of them", reads)
    }

    fn counters<V>(&mut self, name: &str, unit: Option<&Unit>, help: &str, samples: impl IntoIterator<Item = Sample<V>>) -> fmt::Result
    where
        V: EncodeCounterValue + Copy,
    {
        let mut family = self.0.encode_descriptor(name, help, unit, MetricType::Counter)?;
        for (labels, value) in samples {
            let counter = ConstCounter::new(value);
            match labels.is_empty() {
                true => return counter.encode(family),
                false => counter.encode(family.encode_family(&labels)?)?,
            }
        }
        Ok(())
    }

    fn gauges<V>(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = Sample<V>>) -> fmt::Result
    where
        V: EncodeGaugeValue + Copy,
    {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in samples {
            let gauge = ConstGauge::new(value);
            match labels.is_empty() {
                true => return gauge.encode(family),
                false => gauge.encode(family.encode_family(&labels)?)?,
            }
        }
        Ok(())
    }
}
