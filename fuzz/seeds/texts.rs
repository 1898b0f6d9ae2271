//! The texts by hand in tests/data/types.

use std::io;
use std::path::{Path, PathBuf};

pub(crate) fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(path)
}

/// What stands under any of these headings.
pub(crate) fn sections(wanted: &[&str]) -> io::Result<Vec<String>> {
    let mut texts = Vec::new();
    for entry in data("types").read_dir()? {
        let file = std::fs::read_to_string(entry?.path())?;
        let mut inside = false;
        for line in file.lines().filter(|line| !line.is_empty() && !line.starts_with("### ")) {
            match line.strip_prefix("=== ") {
                Some(heading) => inside = heading.split(' ').any(|name| wanted.contains(&name)),
                None if inside => texts.push(shown(line)),
                None => {}
            }
        }
    }
    assert!(!texts.is_empty(), "no text for {wanted:?}");
    Ok(texts)
}

/// A line of these files as the text it stands for.
fn shown(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        text.push(match c {
            '␠' => ' ',
            '␉' => '\t',
            '␊' => '\n',
            '␋' => '\u{b}',
            '␌' => '\u{c}',
            '␍' => '\r',
            '⟨' => {
                let code: String = rest.by_ref().take_while(|c| *c != '⟩').collect();
                u32::from_str_radix(&code, 16).ok().and_then(char::from_u32).unwrap_or('?')
            }
            other => other,
        });
    }
    text
}
