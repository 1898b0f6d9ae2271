//! Field texts that nobody thought of: proptest strategies for texts that look right, for those that almost do, and for garbage. All of
//! them are drawn by one seed, which the tally prints: `PGSLUICE_TEST_SEED` sets it.

use std::collections::HashSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::{Union, ValueTree};
use proptest::string::string_regex;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// A strategy for field texts.
pub(super) type Texts = BoxedStrategy<String>;

pub(super) const SEED_DEFAULT: u64 = 20_261_123;

/// The seed of this run.
pub(super) fn seed() -> u64 {
    let given = std::env::var("PGSLUICE_TEST_SEED").ok();
    given.map_or(SEED_DEFAULT, |text| text.parse().expect("PGSLUICE_TEST_SEED is a number"))
}

/// Draws values by the run's seed and a name, so that what a type gets does not depend on the types before it.
pub(super) fn runner(name: &str) -> TestRunner {
    let mut bytes = [0u8; 32];
    for (at, byte) in seed().to_le_bytes().into_iter().chain(name.bytes()).enumerate() {
        bytes[at % 32] = bytes[at % 32].rotate_left(3) ^ byte;
    }
    TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// Appends up to `count` texts that are not there yet. A type with few texts gets fewer.
pub(super) fn draw(texts: &Texts, count: usize, runner: &mut TestRunner, seen: &mut HashSet<String>, into: &mut Vec<String>) {
    let end = into.len() + count;
    for _ in 0..count * 4 {
        if into.len() == end {
            return;
        }
        let text = texts.new_tree(runner).unwrap().current();
        // No text in PostgreSQL holds a NUL; `dialect` asks what happens to one.
        if !text.contains('\0') && seen.insert(text.clone()) {
            into.push(text);
        }
    }
}

/// Texts that match.
pub(super) fn re(pattern: &str) -> Texts {
    string_regex(pattern).unwrap().boxed()
}

/// One of these, all as likely.
pub(super) fn any_of(texts: impl IntoIterator<Item = Texts>) -> Texts {
    Union::new(texts).boxed()
}

/// One of these words.
pub(super) fn word(words: &'static [&'static str]) -> Texts {
    select(words).prop_map(str::to_owned).boxed()
}

/// One after the other.
pub(super) fn chain(parts: impl IntoIterator<Item = Texts>) -> Texts {
    let parts: Vec<Texts> = parts.into_iter().collect();
    parts.prop_map(|texts| texts.concat()).boxed()
}

/// Texts with a small mistake, or with what only looks like one: blanks around, other capitals, another digit.
pub(super) fn mutated(base: Texts, pieces: &'static [&'static str]) -> Texts {
    let edit = (0..EDITS, any::<Index>(), select(pieces), 0..10u8);
    (base, vec(edit, 1..=2))
        .prop_map(|(text, edits)| edits.into_iter().fold(text, |text, (kind, at, piece, digit)| edited(&text, kind, at, piece, digit)))
        .boxed()
}

const EDITS: u8 = 12;

fn edited(text: &str, kind: u8, at: Index, piece: &str, digit: u8) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    if chars.is_empty() {
        return piece.to_owned();
    }
    let place = at.index(chars.len());
    match kind {
        0 => drop(chars.remove(place)),
        1 => chars.insert(place, chars[place]),
        2 if place > 0 => chars.swap(place - 1, place),
        3 | 4 => drop(chars.splice(place..place, piece.chars())),
        5 => drop(chars.splice(place..=place, piece.chars())),
        6 => chars.truncate(place),
        7 => return text.to_uppercase(),
        8 => return text.to_lowercase(),
        9 => chars.insert(0, BLANKS[at.index(BLANKS.len())]),
        10 => chars.push(BLANKS[at.index(BLANKS.len())]),
        _ => match chars[place..].iter_mut().find(|c| c.is_ascii_digit()) {
            Some(found) => *found = char::from(b'0' + digit),
            None => chars.push(char::from(b'0' + digit)),
        },
    }
    chars.into_iter().collect()
}

/// What C's `isspace` takes for blank in the C locale, and what only Unicode does.
const BLANKS: [char; 9] = [' ', ' ', '\t', '\n', '\r', '\u{b}', '\u{c}', '\u{a0}', '\u{3000}'];

/// Pieces of the type's own alphabet in no order, and any text at all.
pub(super) fn garbage(pieces: &'static [&'static str]) -> Texts {
    let own = vec(select(pieces), 1..8).prop_map(|parts| parts.concat());
    prop_oneof![3 => own, 1 => re("[ -~]{1,12}"), 1 => re("\\PC{1,8}")].boxed()
}

/// Array literals of these elements: flat ones, NULLs, two dimensions, bounds of their own.
pub(super) fn array_of(element: Texts, delimiter: char) -> Texts {
    let separator = delimiter.to_string();
    let item = prop_oneof![
        1 => select(&["NULL", "null", "Null"][..]).prop_map(str::to_owned),
        12 => (element, 0..8u8).prop_map(move |(text, style)| array_item(&text, delimiter, style)),
    ]
    .boxed();
    let (comma, blanks, rows, bounds) = (separator.clone(), separator.clone(), separator.clone(), separator);
    let flat = vec(item.clone(), 0..5).prop_map(move |items| format!("{{{}}}", items.join(&comma)));
    let spaced = vec(item.clone(), 1..4).prop_map(move |items| format!("{{ {} }}", items.join(&format!(" {blanks} "))));
    let matrix = (1..4usize).prop_flat_map(move |width| vec(vec(item.clone(), width), 1..4));
    let bounded = (flat.clone(), -3..4i64, 0..20i64).prop_map(move |(literal, low, off)| {
        let count = literal.matches(&bounds).count() as i64 + 1;
        let high = low + count - 1 + i64::from(off == 0);
        format!("[{low}:{high}]={literal}")
    });
    let matrix = matrix.prop_map(move |lines| {
        let lines: Vec<String> = lines.iter().map(|items| format!("{{{}}}", items.join(&rows))).collect();
        format!("{{{}}}", lines.join(&rows))
    });
    prop_oneof![6 => flat, 1 => spaced, 2 => matrix, 1 => bounded].boxed()
}

/// One element as `array_in` reads it: bare where that is allowed, in quotes, or with a backslash before every character that needs one.
pub(super) fn array_item(text: &str, delimiter: char, style: u8) -> String {
    let special = |c: char| c == delimiter || matches!(c, '{' | '}' | '"' | '\\') || c.is_whitespace() || c == '\u{b}';
    let needs_quotes = text.is_empty() || text.eq_ignore_ascii_case("null") || text.contains(special);
    match style {
        0 if !text.is_empty() => text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect(),
        1..=4 if !needs_quotes => text.to_owned(),
        _ => in_quotes(text, "\\"),
    }
}

/// In double quotes, with `escape` before quotes and backslashes.
pub(super) fn in_quotes(text: &str, escape: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.extend([escape, "\""]),
            '\\' => quoted.push_str("\\\\"),
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Row literals of these fields, some of them NULL.
pub(super) fn row_of(fields: Vec<Texts>) -> Texts {
    let field =
        |texts: Texts| prop_oneof![1 => Just(String::new()), 9 => (texts, 0..6u8).prop_map(|(text, style)| row_field(&text, style))];
    let fields: Vec<_> = fields.into_iter().map(|texts| field(texts).boxed()).collect();
    fields.prop_map(|fields| format!("({})", fields.join(","))).boxed()
}

fn row_field(text: &str, style: u8) -> String {
    let special = |c: char| matches!(c, ',' | '(' | ')' | '"' | '\\') || c.is_whitespace() || c == '\u{b}';
    match style {
        0 if !text.is_empty() => text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect(),
        1..=3 if !text.is_empty() && !text.contains(special) => text.to_owned(),
        4 => in_quotes(text, "\\"),
        _ => in_quotes(text, "\""),
    }
}

/// Range literals between these bounds, which come in order most of the time.
pub(super) fn range_of(bounds: BoxedStrategy<(String, String)>) -> Texts {
    let bound = |text: String, style: u8| match style {
        0 => String::new(),
        1 | 2 => in_quotes(&text, if style == 1 { "\\" } else { "\"" }),
        _ if text.is_empty() || text.contains(|c: char| ",()[]\"\\".contains(c)) => in_quotes(&text, "\""),
        _ => text,
    };
    let parts = (bounds, select(&["[", "("][..]), select(&["]", ")"][..]), 0..14u8, 0..14u8);
    let range = parts.prop_map(move |((low, high), open, close, low_style, high_style)| {
        format!("{open}{},{}{close}", bound(low, low_style), bound(high, high_style))
    });
    prop_oneof![1 => word(&["empty", "Empty", " empty "]), 30 => range].boxed()
}

/// Multirange literals of these ranges.
pub(super) fn multirange_of(range: Texts) -> Texts {
    let separator = word(&[",", ", ", " ,"]);
    (vec(range, 0..4), separator)
        .prop_map(|(ranges, separator)| format!("{{{}}}", ranges.join(&separator)))
        .boxed()
}

/// Two numbers in order.
pub(super) fn ordered(low: std::ops::Range<i64>, span: std::ops::Range<i64>) -> BoxedStrategy<(i64, i64)> {
    (low, span).prop_map(|(low, span)| (low, low + span)).boxed()
}
