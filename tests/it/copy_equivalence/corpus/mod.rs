//! Every type, with values by hand from `tests/data/types/` and strategies for generated ones.

mod containers;
mod documents;
mod extensions;
mod geometry;
mod network;
mod numbers;
mod system;
mod temporal;
mod text;

use std::collections::{BTreeMap, HashSet};

use proptest::sample::select;
use proptest::strategy::Strategy;

pub(super) use self::containers::TYPES as SETUP;
use super::generated::{Texts, array_item, array_of, draw, garbage, mutated, runner};

/// One type of column, and what is tried on it.
#[derive(Clone)]
pub(super) struct Case {
    /// as in `CREATE TABLE`
    pub(super) sql_type: String,
    /// the extension that brings the type
    pub(super) extension: Option<&'static str>,
    /// the first version of PostgreSQL that has the type
    pub(super) server_min: i32,
    edge: Vec<String>,
    valid: Texts,
    pieces: &'static [&'static str],
    pub(super) quota: Quota,
}

/// How many values are generated, and how many of those that COPY refuses are loaded too.
#[derive(Clone, Copy)]
pub(super) struct Quota {
    valid: usize,
    mutated: usize,
    garbage: usize,
    pub(super) refused: usize,
    pub(super) refused_by_hand: usize,
}

const FULL: Quota = Quota { valid: 170, mutated: 60, garbage: 25, refused: 12, refused_by_hand: 60 };
/// For arrays, of which there is one for nearly every type, and where there is little to find out.
const FEW: Quota = Quota { valid: 60, mutated: 20, garbage: 5, refused: 5, refused_by_hand: 16 };

impl Case {
    /// A type with the values of some sections, and an alphabet for mistakes.
    fn new(sql_type: &str, sections: &[&str], pieces: &'static [&'static str], valid: Texts) -> Case {
        let edge = sections.iter().flat_map(|name| section(name)).collect();
        Case {
            sql_type: sql_type.to_owned(),
            extension: None,
            server_min: 14,
            edge,
            valid,
            pieces,
            quota: FULL,
        }
    }

    /// With further values by hand, which are too long for a file.
    fn and(mut self, more: impl IntoIterator<Item = String>) -> Case {
        self.edge.extend(more);
        self
    }

    fn brought_by(mut self, name: &'static str) -> Case {
        self.extension = Some(name);
        self
    }

    /// With the values of another section.
    fn with(self, name: &str) -> Case {
        self.and(section(name))
    }

    /// With few generated values.
    pub(super) fn few(mut self) -> Case {
        self.quota = FEW;
        self
    }

    fn since(mut self, server_min: i32) -> Case {
        self.server_min = server_min;
        self
    }

    /// The array type of this type: what is tried on arrays, and the values by hand as elements, every third of both, because there are so
    /// many array types; and generated literals.
    fn array(&self, delimiter: char) -> Case {
        let short = self.edge.iter().filter(|text| text.len() < 200);
        let elements = short.map(|text| format!("{{{}}}", array_item(text, delimiter, 1)));
        let first = self.sql_type.len() % 3;
        Case {
            sql_type: format!("{}[]", self.sql_type),
            edge: section("arrays")
                .into_iter()
                .skip(first)
                .step_by(3)
                .chain(elements.skip(first).step_by(3))
                .collect(),
            valid: array_of(self.valid.clone(), delimiter),
            pieces: &["{", "}", ",", "\"", "\\", "NULL", " ", "[1:2]=", "1", "a", "{}", "\n", ";"],
            quota: FEW,
            ..self.clone()
        }
    }

    /// Everything to be tried, each once, in an order of its own: NULL, the empty text, the values by hand (how many they are, too), the
    /// generated ones.
    pub(super) fn values(&self) -> (Vec<Option<String>>, usize) {
        let mut seen = HashSet::new();
        let by_hand = std::iter::once(String::new()).chain(self.edge.iter().cloned());
        let mut texts: Vec<String> = by_hand.filter(|text| seen.insert(text.clone())).collect();
        let edges = texts.len();
        let mut runner = runner(&self.sql_type);
        let near = proptest::prop_oneof![2 => self.valid.clone(), 1 => select(texts.clone())].boxed();
        let short = near.prop_map(|text| text.chars().take(200).collect()).boxed();
        draw(&self.valid, self.quota.valid, &mut runner, &mut seen, &mut texts);
        draw(&mutated(short, self.pieces), self.quota.mutated, &mut runner, &mut seen, &mut texts);
        draw(&garbage(self.pieces), self.quota.garbage, &mut runner, &mut seen, &mut texts);
        let values = std::iter::once(None).chain(texts.into_iter().map(Some)).collect();
        (values, edges + 1)
    }
}

/// Every type, each once.
pub(super) fn cases() -> Vec<Case> {
    let families = [
        numbers::cases(),
        text::cases(),
        temporal::cases(),
        network::cases(),
        geometry::cases(),
        documents::cases(),
        system::cases(),
        containers::cases(),
        extensions::cases(),
    ];
    families.concat()
}

/// The type and its array type.
fn with_array(case: Case) -> [Case; 2] {
    let array = case.array(',');
    [case, array]
}

const FILES: [&str; 9] = [
    include_str!("../../../data/types/numbers.txt"),
    include_str!("../../../data/types/text.txt"),
    include_str!("../../../data/types/temporal.txt"),
    include_str!("../../../data/types/network.txt"),
    include_str!("../../../data/types/geometry.txt"),
    include_str!("../../../data/types/documents.txt"),
    include_str!("../../../data/types/system.txt"),
    include_str!("../../../data/types/containers.txt"),
    include_str!("../../../data/types/extensions.txt"),
];

/// The values under `=== name …`; the same name may stand over several lists.
fn section(wanted: &str) -> Vec<String> {
    let mut sections: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for file in FILES {
        let mut names: Vec<&str> = Vec::new();
        for line in file.lines().filter(|line| !line.is_empty() && !line.starts_with("### ")) {
            match line.strip_prefix("=== ") {
                Some(heading) => names = heading.split(' ').collect(),
                None => names.iter().for_each(|name| sections.entry(name).or_default().push(shown(line))),
            }
        }
    }
    sections.remove(wanted).unwrap_or_else(|| panic!("no section {wanted:?} in tests/data/types"))
}

/// A line of these files as the text it stands for.
fn shown(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '␠' => text.push(' '),
            '␉' => text.push('\t'),
            '␊' => text.push('\n'),
            '␋' => text.push('\u{b}'),
            '␌' => text.push('\u{c}'),
            '␍' => text.push('\r'),
            '⟨' => {
                let (code, after) = rest.split_once('⟩').unwrap();
                text.push(char::from_u32(u32::from_str_radix(code, 16).unwrap()).unwrap());
                rest = after;
            }
            other => text.push(other),
        }
    }
    text
}
