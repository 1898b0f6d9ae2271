//! Load trials with a fault at a random instant, and what must be true after each: `make faults`, and docs/RELIABILITY.md.
//!
//! ```text
//! cargo test --locked --test faults -- --trials 1000 --seed 42
//! cargo test --locked --test faults -- --seed 42 --fault link-cut --trial 7
//! ```
//!
//! Without arguments, as plain `cargo test` runs it, every fault occurs twice.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod body;
mod check;
mod client;
mod fault;
mod leftovers;
mod observer;
mod plan;
mod report;
mod site;
mod strike;
#[allow(dead_code, reason = "the other tests use the rest")]
mod support;
mod trial;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use clap::Parser;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::fault::Fault;
use crate::plan::Plan;
use crate::report::Report;
use crate::site::Lane;
use crate::trial::{Record, run};

#[derive(Debug, Clone, Parser)]
struct Arguments {
    /// How many trials [default: two of each fault]
    #[arg(long)]
    trials: Option<u64>,
    /// What everything follows from
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Only this fault
    #[arg(long, value_parser = fault)]
    fault: Option<Fault>,
    /// Only the trial of that number
    #[arg(long)]
    trial: Option<u64>,
    /// How many trials at the same time, each on a PostgreSQL of its own
    #[arg(long, default_value_t = 2)]
    lanes: u64,
    /// Markdown file to write the figures into, between its two markers
    #[arg(long)]
    report: Option<PathBuf>,

    /// What test runners pass to every test program: names of tests, and how to print them
    #[arg(hide = true)]
    filters: Vec<String>,
    #[arg(long, hide = true)]
    list: bool,
    #[arg(long, hide = true, alias = "show-output", alias = "exact", alias = "ignored", alias = "include-ignored")]
    nocapture: bool,
    #[arg(long, hide = true)]
    skip: Vec<String>,
    #[arg(long, hide = true)]
    test_threads: Option<u32>,
}

fn fault(name: &str) -> Result<Fault, String> {
    let names = || Fault::ALL.map(Fault::name).join(", ");
    Fault::by_name(name).ok_or_else(|| format!("there are: {}", names()))
}

/// The name that test runners know this program's one test by.
const NAME: &str = "faults";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        println!("{NAME}: test");
        return ExitCode::SUCCESS;
    }
    let wanted = arguments.filters.is_empty() || arguments.filters.iter().any(|filter| NAME.contains(filter.as_str()));
    if !wanted || arguments.skip.iter().any(|skip| NAME.contains(skip.as_str())) {
        println!("\n0 passed, 0 failed");
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let report = runtime.block_on(all(&arguments));
    print!("{}", report.text());
    if let Some(path) = &arguments.report {
        report.write_into(path);
    }
    println!("\n{} passed, {} failed", report.passed(), report.failed());
    if report.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What came of a plan: nothing where this machine cannot do it, an error where the trial itself did not get to its end.
type Outcome = (Plan, Result<Option<Record>, String>);

async fn all(arguments: &Arguments) -> Report {
    let faults = arguments.fault.map_or(Fault::ALL.to_vec(), |fault| vec![fault]);
    let numbers = match arguments.trial {
        Some(trial) => trial..trial + 1,
        None => 0..arguments.trials.unwrap_or(2 * faults.len() as u64),
    };
    let count = numbers.end - numbers.start;
    println!("{count} trials, seed {}", arguments.seed);
    let next = Arc::new(AtomicU64::new(numbers.start));
    let (done, mut outcomes) = unbounded_channel();
    for lane in 0..arguments.lanes.clamp(1, count.max(1)) {
        let (next, faults, done, seed) = (Arc::clone(&next), faults.clone(), done.clone(), arguments.seed);
        tokio::spawn(async move {
            let mut lane = NamedLane { name: format!("lane-{lane}"), open: None };
            loop {
                let number = next.fetch_add(1, Relaxed);
                if number >= numbers.end || !lane.trial(Plan::of(seed, number, &faults), &done).await {
                    return;
                }
            }
        });
    }
    drop(done);
    let mut report = Report::new(arguments.seed, arguments.fault);
    while let Some((plan, outcome)) = outcomes.recv().await {
        report.add(&plan, outcome);
    }
    report
}

/// A lane that is made anew when a trial has left it in disorder.
struct NamedLane {
    name: String,
    open: Option<Lane>,
}

impl NamedLane {
    async fn trial(&mut self, plan: Plan, done: &UnboundedSender<Outcome>) -> bool {
        let (open, name, of) = (self.open.take(), self.name.clone(), plan.clone());
        let trial = tokio::spawn(async move {
            let mut lane = match open {
                Some(lane) => lane,
                None => Lane::open(name).await,
            };
            let record = Box::pin(run(&of, &mut lane)).await;
            (lane, record)
        });
        let outcome = match trial.await {
            Ok((lane, record)) => {
                self.open = Some(lane);
                Ok(record)
            }
            Err(panic) => {
                self.name.push('x');
                Err(panic.to_string())
            }
        };
        done.send((plan, outcome)).is_ok()
    }
}
