//! Character strings, bytes, bits, UUIDs.

use super::super::generated::{Texts, any_of, chain, re, word};
use super::{Case, with_array};

const LETTERS: &[&str] =
    &["a", "B", " ", "  ", "ä", "€", "😀", "\\", "\"", "'", ",", "\n", "\r", "\t", "\\N", "\\.", "NULL", "{", "}", "e\u{301}"];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for name in ["text", "character varying", "bpchar"] {
        cases.extend(with_array(Case::new(name, &["strings"], LETTERS, strings(40)).and(long_strings())));
    }
    for (name, most) in [("varchar(3)", 4), ("varchar(10)", 11), ("char(3)", 4), ("char(1)", 2), ("char(10)", 11)] {
        cases.extend(with_array(Case::new(name, &["strings"], LETTERS, strings(most)).and(long_strings())));
    }
    cases.extend(with_array(Case::new("name", &["strings"], LETTERS, strings(70)).and(long_names())));
    let bytes = any_of([re("[ -~]{1,3}"), re("\\\\[0-3][0-7]{2}"), re("\\\\[0-9]{1,4}"), re("\\PC{1,2}")]);
    cases.extend(with_array(Case::new(
        "\"char\"",
        &["char", "strings"],
        &["a", "\\", "0", "1", "7", "3", "ä", " "],
        bytes,
    )));
    cases.extend(with_array(bytea()));
    for name in ["bit(1)", "bit(8)", "bit", "bit varying", "bit varying(5)", "bit(64)"] {
        cases.extend(with_array(bits(name)));
    }
    cases.extend(with_array(uuid()));
    cases
}

fn strings(most: usize) -> Texts {
    any_of([
        re(&format!("[ -~]{{1,{most}}}")),
        re(&format!("[a-zA-Z0-9äöü€ ]{{1,{most}}}")),
        re(&format!("\\PC{{1,{most}}}")),
        re(&format!("[ab ]{{1,{most}}} {{0,12}}")),
        re(&format!("[,\"\\\\\n\r\t';|a]{{1,{most}}}")),
        re("[\u{1}-\u{1f}\u{7f}]{1,4}"),
    ])
}

fn long_strings() -> Vec<String> {
    vec![
        "x".repeat(10_000),
        "ä".repeat(2_000),
        "😀".repeat(300),
        " ".repeat(5_000),
        format!("ab{}", " ".repeat(9_000)),
        format!("abc{}x", " ".repeat(9_000)),
        "\"".repeat(999),
        "\n".repeat(500),
        "abc\\".repeat(50_000),
        (1..=127u8).map(char::from).collect(),
        ('\u{80}'..='\u{17f}').collect(),
    ]
}

/// A name is cut at 63 bytes, and never within a character.
fn long_names() -> Vec<String> {
    let mut names: Vec<String> = (61..=66).map(|length| "n".repeat(length)).collect();
    for (fill, c) in [(60, 'ä'), (61, 'ä'), (62, 'ä'), (63, 'ä'), (59, '😀'), (60, '😀'), (61, '😀'), (62, '😀'), (61, '€'), (62, '€')]
    {
        names.push(format!("{}{c}z", "n".repeat(fill)));
    }
    names.extend(["ä".repeat(31), "ä".repeat(32), "ä".repeat(40), "😀".repeat(15), "😀".repeat(16), format!("{} ", "n".repeat(63))]);
    names.extend([format!("{} {}", "n".repeat(62), "n"), " ".repeat(70)]);
    names
}

fn bytea() -> Case {
    let pieces = &["\\", "x", "\\x", "0", "f", "\\001", "\\\\", "a", " ", "\n", "g", "9", "ä"];
    let values = any_of([
        re("\\\\x([0-9a-f]{2}){0,20}"),
        re("\\\\x([0-9a-fA-F]{2}[ \n\t\r]{0,2}){0,8}"),
        re("[ -\\[\\]-~]{1,20}"),
        re("([a-z ]|\\\\\\\\|\\\\[0-3][0-7]{2}){1,10}"),
        re("[äöü€a]{1,5}"),
    ]);
    let long = [format!("\\x{}", "00ff".repeat(50_000)), "a".repeat(100_000), "\\\\".repeat(3_000), "\\377".repeat(3_000)];
    Case::new("bytea", &["bytea"], pieces, values).and(long)
}

fn bits(name: &str) -> Case {
    let exact = match name {
        "bit" => Some(1),
        _ => name.strip_prefix("bit(").map(|rest| rest.trim_end_matches(')').parse::<usize>().unwrap()),
    };
    let binary = match exact {
        Some(count) => format!("[bB]?[01]{{{count}}}"),
        None => "[bB]?[01]{1,5}".to_owned(),
    };
    let any_length = chain([word(&["", "b", "B"]), re("[01]{0,20}")]);
    let hexadecimal = match exact {
        Some(count) if count % 4 == 0 => re(&format!("[xX][0-9a-fA-F]{{{}}}", count / 4)),
        _ => re("[xX][0-9a-fA-F]{1,6}"),
    };
    let long = ["1".repeat(10_000), "01".repeat(40_000), format!("x{}", "f0".repeat(5_000)), "2".repeat(10_000)];
    let of_length = |count: usize| [0, 1].map(|more| "1".repeat(count + more));
    let exact_lengths = exact.map(of_length).into_iter().flatten();
    Case::new(
        name,
        &["bits"],
        &["0", "1", "b", "x", "B", "X", "F", "2", " ", "g"],
        any_of([re(&binary), any_length, hexadecimal]),
    )
    .and(long)
    .and(exact_lengths)
}

fn uuid() -> Case {
    let pieces = &["a", "0", "-", "{", "}", "F", "9", "g", " ", "--"];
    let values = any_of([
        re("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
        re("[0-9A-Fa-f]{32}"),
        re("\\{[0-9A-F]{8}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{12}\\}"),
        re("([0-9a-f]{4}-?){7}[0-9a-f]{4}"),
    ]);
    Case::new("uuid", &["uuid"], pieces, values)
}
