//! What a run has found.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::time::Duration;

use super::CHOICE;
use super::generated::seed;

/// Differences that are printed of each type, unless only some types were asked for.
const SHOWN: usize = 12;

/// Something that the two ways treat differently.
#[derive(Debug, Clone)]
pub(super) struct Difference {
    /// a type, or a body's dialect
    pub(super) subject: String,
    /// the value; none where the difference is not one value's
    pub(super) text: Option<String>,
    pub(super) theirs: String,
    pub(super) ours: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { subject, text, theirs, ours } = self;
        write!(f, "  {subject} ")?;
        match text {
            None => {}
            Some(text) if text.len() > 300 => write!(f, "{}… ({} bytes)", text.chars().take(120).collect::<String>(), text.len())?,
            Some(text) => write!(f, "{text}")?,
        }
        write!(f, "\n    COPY: {theirs}\n    ours: {ours}")
    }
}

/// Counts, and every difference.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) types: usize,
    /// distinct pairs of a type and a field's text that went both ways
    pub(super) values: usize,
    pub(super) stored: usize,
    pub(super) refused: usize,
    /// refusals that docs/COPY-EQUIVALENCE.md lists, by name
    pub(super) explained: BTreeMap<&'static str, usize>,
    pub(super) unexplained: Vec<Difference>,
}

impl Tally {
    /// Everything that went both ways.
    pub(super) fn rows(&self) -> usize {
        let differing = self.unexplained.iter().filter(|difference| difference.text.is_some()).count();
        self.stored + self.refused + self.explained.values().sum::<usize>() + differing
    }

    pub(super) fn add(&mut self, other: Tally) {
        self.types += other.types;
        self.values += other.values;
        self.add_rows_of(other);
    }

    /// Adds what was tried of types and values that are counted already.
    pub(super) fn add_rows_of(&mut self, other: Tally) {
        self.stored += other.stored;
        self.refused += other.refused;
        self.unexplained.extend(other.unexplained);
        for (name, count) in other.explained {
            *self.explained.entry(name).or_default() += count;
        }
    }

    /// Prints the differences, and one line that says it all.
    pub(super) fn report(&self, version: &str, took: Duration) {
        self.print_differences();
        print(&format!(
            "copy equivalence on PostgreSQL {version}: {} types × {} values = {} rows: stored alike {}, refused alike {}, \
             unexplained differences {} (seed {}, {} s)",
            self.types,
            self.values,
            self.rows(),
            self.stored,
            self.refused,
            self.unexplained.len(),
            seed(),
            took.as_secs(),
        ));
    }

    pub(super) fn print_differences(&self) {
        let most = if std::env::var_os(CHOICE).is_some() { usize::MAX } else { SHOWN };
        let mut shown: BTreeMap<&str, usize> = BTreeMap::new();
        for difference in &self.unexplained {
            let count = shown.entry(&difference.subject).or_default();
            *count += 1;
            if *count <= most {
                print(&difference.to_string());
            }
        }
        for (subject, count) in shown.into_iter().filter(|(_, count)| *count > most) {
            print(&format!("  {subject}: {count} differences in all"));
        }
    }
}

/// Prints a line where `make test` shows it: the test harness keeps what `println!` writes to itself.
pub(super) fn print(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}
