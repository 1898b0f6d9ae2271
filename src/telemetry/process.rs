//! The process as the kernel sees it, by the names that Prometheus's client libraries have agreed on.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use rustix::process::{Resource, getrlimit};

/// Reads `/proc/self` at each scrape. What cannot be read is left out.
#[derive(Debug, Clone, Copy)]
pub struct Process;

/// What one look at the process shows.
#[derive(Debug)]
struct Look {
    cpu_seconds: f64,
    start_seconds: f64,
    virtual_bytes: u64,
    resident_bytes: u64,
    threads: u64,
    fds: u64,
}

impl Look {
    fn take() -> Option<Look> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name before it is in parentheses and may hold anything; what follows begins with field 3. See proc(5).
        let (_, after_name) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
        let seconds = |ticks: u64| ticks as f64 / ticks_per_second;
        Some(Look {
            cpu_seconds: seconds(field(14)? + field(15)?),
            start_seconds: boot_seconds()? + seconds(field(22)?),
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * rustix::param::page_size() as u64,
            threads: field(20)?,
            fds: fs::read_dir("/proc/self/fd").ok()?.count() as u64,
        })
    }
}

fn boot_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.parse().ok()
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(look) = Look::take() else {
            return Ok(());
        };
        let name = "process_cpu_seconds";
        let counter = ConstCounter::new(look.cpu_seconds);
        counter.encode(encoder.encode_descriptor(name, "CPU time used, of user and system", None, counter.metric_type())?)?;
        let gauges = [
            ("process_start_time_seconds", "When the process started, since 1970", look.start_seconds),
            ("process_resident_memory_bytes", "Memory in use", look.resident_bytes as f64),
            ("process_virtual_memory_bytes", "Address space in use", look.virtual_bytes as f64),
            ("process_threads", "Threads", look.threads as f64),
            ("process_open_fds", "File descriptors in use", look.fds as f64),
            // Without a limit it is as large as a number can be.
            (
                "process_max_fds",
                "File descriptors allowed",
                getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) as f64,
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
