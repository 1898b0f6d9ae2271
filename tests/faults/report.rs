//! The figures, as a table on the terminal and in the docs; and what is needed to repeat a trial that went wrong.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::fault::Fault;
use crate::plan::Plan;
use crate::trial::{First, Record};

const BEGIN: &str = "<!-- figures: written by `make faults` -->";
const END: &str = "<!-- end of figures -->";

/// What came of all trials of one fault.
#[derive(Debug, Default)]
struct Figures {
    trials: u32,
    committed: u32,
    refused: u32,
    unknown: u32,
    pending: u32,
    violations: u32,
    not_run: u32,
}

pub(crate) struct Report {
    seed: u64,
    fault: Option<Fault>,
    since: Instant,
    figures: BTreeMap<&'static str, Figures>,
    /// in how many trials a moment was meant, and reached
    moments: BTreeMap<&'static str, (u32, u32)>,
}

/// So often meant and never reached, a moment is one that the program cannot find any more.
const MISSED_MAX: u32 = 3;

impl Report {
    pub(crate) fn new(seed: u64, fault: Option<Fault>) -> Report {
        Report {
            seed,
            fault,
            since: Instant::now(),
            figures: BTreeMap::new(),
            moments: BTreeMap::new(),
        }
    }

    /// Counts a trial, and says so at once if it went wrong.
    pub(crate) fn add(&mut self, plan: &Plan, outcome: Result<Option<Record>, String>) {
        let figures = self.figures.entry(plan.fault.name()).or_default();
        let violations = match outcome {
            Ok(None) => {
                figures.not_run += 1;
                println!(
                    "NOT RUN: trial {} ({}): it takes root, who may mount a small file system",
                    plan.number,
                    plan.fault.name()
                );
                return;
            }
            Ok(Some(record)) => {
                figures.trials += 1;
                figures.pending += record.pending;
                let (meant, reached) = self.moments.entry(plan.moment.name()).or_default();
                *meant += 1;
                *reached += u32::from(record.reached);
                match record.first {
                    First::Committed => figures.committed += 1,
                    First::Refused => figures.refused += 1,
                    First::Unknown => figures.unknown += 1,
                }
                record.violations
            }
            Err(panic) => {
                figures.trials += 1;
                figures.unknown += 1;
                vec![format!("the trial did not get to its end: {panic}")]
            }
        };
        let failed = !violations.is_empty();
        figures.violations += u32::from(failed);
        let so_far = self.passed() + self.failed();
        if so_far.is_multiple_of(100) {
            println!("{so_far} trials, {} failed", self.failed());
        }
        if !failed {
            return;
        }
        let only = self.fault.map(|fault| format!(" --fault {}", fault.name())).unwrap_or_default();
        let mut text = format!("VIOLATION in trial {} ({}), seed {}\n", plan.number, plan.fault.name(), self.seed);
        for violation in violations {
            let _ = writeln!(text, "    {violation}");
        }
        let _ = writeln!(text, "    {plan:?}");
        let _ = writeln!(text, "    cargo test --locked --test faults -- --seed {}{only} --trial {}", self.seed, plan.number);
        println!("{text}");
    }

    pub(crate) fn failed(&self) -> u32 {
        let missed = self.moments.values().filter(|(meant, reached)| *meant >= MISSED_MAX && *reached == 0).count();
        self.figures.values().map(|figures| figures.violations).sum::<u32>() + missed as u32
    }

    pub(crate) fn passed(&self) -> u32 {
        self.figures.values().map(|figures| figures.trials - figures.violations).sum()
    }

    /// The table, in the order of the faults.
    pub(crate) fn text(&self) -> String {
        let mut text = String::from(
            "\n| fault | trials | committed | refused | unknown, then resolved | answered `outcome-pending` | violations |\n|---|---|---|---|---|---|---|\n",
        );
        let row = |name: &str, of: &Figures| {
            let Figures { trials, committed, refused, unknown, pending, violations, not_run } = of;
            let not_run = if *not_run > 0 { format!(" ({not_run} NOT RUN)") } else { String::new() };
            format!("| {name} | {trials}{not_run} | {committed} | {refused} | {unknown} | {pending} | {violations} |\n")
        };
        let mut all = Figures::default();
        for fault in Fault::ALL {
            let Some(of) = self.figures.get(fault.name()) else {
                continue;
            };
            text.push_str(&row(fault.name(), of));
            all.trials += of.trials;
            all.committed += of.committed;
            all.refused += of.refused;
            all.unknown += of.unknown;
            all.pending += of.pending;
            all.violations += of.violations;
            all.not_run += of.not_run;
        }
        text.push_str(&row("**all**", &all));
        text.push_str("\n| moment | trials | reached |\n|---|---|---|\n");
        for (moment, (meant, reached)) in &self.moments {
            let _ = writeln!(text, "| {moment} | {meant} | {reached} |");
        }
        let _ = writeln!(text, "\nSeed {}, {} minutes.", self.seed, minutes(self.since.elapsed()));
        text
    }

    /// What the faults are.
    fn legend(&self) -> String {
        let mut text = String::from("\n| fault | what it is |\n|---|---|\n");
        for fault in Fault::ALL {
            let _ = writeln!(text, "| {} | {} |", fault.name(), fault.about());
        }
        text
    }

    /// Puts the table into a page, in the place of the one that is there, or makes one.
    pub(crate) fn write_into(&self, path: &Path) {
        let page = match path.exists() {
            true => std::fs::read_to_string(path).unwrap(),
            false => format!("{BEGIN}\n{END}\n"),
        };
        let (before, rest) = page.split_once(BEGIN).expect("the page has no place for the figures");
        let (_, after) = rest.split_once(END).expect("the page has no end of the figures");
        std::fs::write(path, format!("{before}{BEGIN}\n{}{}\n{END}{after}", self.legend(), self.text())).unwrap();
    }
}

fn minutes(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() / 60.0)
}
