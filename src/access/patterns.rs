//! Which tables a principal may use: patterns of `schema.name`, with `*` for any characters.

use std::fmt;

/// Whom no length of a pattern surprises: PostgreSQL's names have 63 bytes.
const PATTERN_BYTES_MAX: usize = 200;

/// One pattern. A bare name is a table in `public`. Case counts and nothing is quoted, as in the API's paths.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    schema: String,
    name: String,
}

/// Patterns, of which one has to match: where there are none, none does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patterns(Vec<Pattern>);

impl Patterns {
    /// Reads patterns.
    ///
    /// # Errors
    /// There are none, or one is empty or too long.
    pub fn parse<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Patterns, String> {
        let patterns = texts.into_iter().map(|text| Pattern::parse(text.as_ref())).collect::<Result<Vec<_>, _>>()?;
        if patterns.is_empty() {
            return Err("there is no table pattern; *.* is every table".to_owned());
        }
        Ok(Patterns(patterns))
    }

    /// Every table.
    pub fn all() -> Patterns {
        Patterns(vec![Pattern { schema: "*".to_owned(), name: "*".to_owned() }])
    }

    /// No table.
    pub fn none() -> Patterns {
        Patterns(Vec::new())
    }

    /// Whether the table is one of them. Schema and name come apart, as the catalogue has them: joined, `a.b`.`c` and `a`.`b.c` would be
    /// the same.
    pub fn match_table(&self, schema: &str, name: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(schema, name))
    }

    /// Whether what a client has written can be one of them. What it comes to only the catalogue knows, and that is what
    /// [`match_table`](Self::match_table) has to be asked of.
    pub fn may_match(&self, written: &str) -> bool {
        let apart = written.match_indices('.').map(|(at, _)| (&written[..at], &written[at + 1..]));
        std::iter::once(("public", written))
            .chain(apart)
            .any(|(schema, name)| self.match_table(schema, name))
    }

    /// Regular expressions for `schema.name` as the jobs have it. Where a dot could belong to either of the two, only a pattern that does
    /// not care matches.
    pub fn as_regexes(&self) -> Vec<String> {
        self.0.iter().map(Pattern::as_regex).collect()
    }

    /// As they are written.
    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(Pattern::to_string).collect()
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Pattern, String> {
        let (schema, name) = text.split_once('.').unwrap_or(("public", text));
        if schema.is_empty() || name.is_empty() || text.len() > PATTERN_BYTES_MAX || text.contains('\0') {
            return Err(format!("the table pattern {text:?} is not of the form schema.name"));
        }
        Ok(Pattern { schema: schema.to_owned(), name: name.to_owned() })
    }

    fn matches(&self, schema: &str, name: &str) -> bool {
        glob(&self.schema, schema) && glob(&self.name, name)
    }

    fn as_regex(&self) -> String {
        if self.schema == "*" && self.name == "*" {
            return "^".to_owned();
        }
        format!("^{}\\.{}$", regex(&self.schema), regex(&self.name))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// Whether `text` is what `pattern` says. Each `*` takes as little as it can, and more only if what follows does not fit: of several, only
/// the last one has to be tried again.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut in_text) = (0, 0);
    let mut last_star = None;
    while in_text < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                last_star = Some((at, in_text));
                at += 1;
            }
            Some(byte) if *byte == text[in_text] => {
                at += 1;
                in_text += 1;
            }
            _ => {
                let Some((star, taken)) = last_star else {
                    return false;
                };
                last_star = Some((star, taken + 1));
                (at, in_text) = (star + 1, taken + 1);
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// A pattern as a regular expression of PostgreSQL's, in which every character that is not a letter or digit can be escaped.
fn regex(pattern: &str) -> String {
    let mut regex = String::new();
    for character in pattern.chars() {
        match character {
            '*' => regex.push_str("[^.]*"),
            plain if plain.is_alphanumeric() || plain == '_' => regex.push(plain),
            other => regex.extend(['\\', other]),
        }
    }
    regex
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(text: &str) -> Patterns {
        Patterns::parse(text.split(',')).unwrap()
    }

    #[test]
    fn globs() {
        let yes = [("*", ""), ("*", "abc"), ("a*", "a"), ("a*c", "abbc"), ("a*b*c", "aXbYbZc"), ("**", "x"), ("*a", "aaa"), ("ü*", "über")];
        let no = [("", "a"), ("a", ""), ("a*", "b"), ("a*c", "abcd"), ("*ab", "aab_"), ("A", "a"), ("a*b*c", "acb")];
        for (pattern, text) in yes {
            assert!(glob(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in no {
            assert!(!glob(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_dot_in_a_name_leads_nobody_into_another_schema() {
        let sales = patterns("sales.*,t");
        assert!(sales.match_table("sales", "orders") && sales.match_table("public", "t"));
        assert!(!sales.match_table("public", "sales.orders") && !sales.match_table("sales.secret", "x") && !sales.match_table("app", "t"));
        // What is written may be either, and the catalogue decides.
        assert!(sales.may_match("sales.secret.x") && sales.may_match("t") && !sales.may_match("app.t") && !sales.may_match("u"));
        assert_eq!(patterns("a-b.*,*.*").as_regexes(), [r"^a\-b\.[^.]*$", "^"]);
    }

    #[test]
    fn what_is_no_pattern() {
        for text in ["", ".a", "a.", "a,,b", "a\0b"] {
            assert!(Patterns::parse(text.split(',')).is_err(), "{text:?}");
        }
        assert!(Patterns::parse([""; 0]).is_err());
    }
}
