//! What the server's error context says of a row in COPY: `COPY table, line 5, column name: "value"`, in the language of its messages.
//!
//! The words are the language's, so only their places count: the row is the first number behind the table's name, and a column is one of
//! the table's. Each part may hold anything, line ends and the other parts' punctuation too, where a table, a column or a value does.

/// What an error's context says of a row, counted from 1.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) row: Option<u64>,
    pub(super) column: Option<String>,
    pub(super) value: Option<String>,
}

/// What stands before the table's name and behind it: in most languages, in Japanese, in Korean.
const AROUND_TABLE: [(&str, &str); 3] = [("COPY ", ", "), ("", "のCOPY、"), ("", " 복사, ")];

/// What stands before a value and behind it: in most languages, in German, in Spanish, in French.
const AROUND_VALUE: [(&str, &str); 4] = [(": \"", "\""), (": »", "«"), (": «", "»"), (" : « ", " »")];

/// Reads the place out of a context, if it is there.
///
/// COPY is the outermost, so its own entry is the last one and goes on to the end. What stands before it (a trigger's statement, say) and
/// the value in it may hold lines that look the same.
pub(super) fn place<'a>(context: &str, table: &str, columns: impl Iterator<Item = &'a str> + Clone) -> Option<Place> {
    let behind_table = |line: &'_ str| {
        AROUND_TABLE
            .iter()
            .find_map(|(before, behind)| Some(line.strip_prefix(before)?.strip_prefix(table)?.strip_prefix(behind)?.len()))
    };
    let starts = std::iter::once(0).chain(memchr::memchr_iter(b'\n', context.as_bytes()).map(|at| at + 1));
    let mut found = None;
    for start in starts {
        let Some(rest) = behind_table(&context[start..]) else {
            continue;
        };
        let Some((place, is_whole)) = entry(&context[context.len() - rest..], columns.clone()) else {
            continue;
        };
        // Nothing stands before it, so all the rest is its own.
        if start == 0 {
            return Some(place);
        }
        if is_whole || found.is_none() {
            found = Some(place);
        }
    }
    found
}

/// What stands behind the table's name; and whether it is all that it should be, up to the end of the context.
fn entry<'a>(rest: &str, columns: impl Iterator<Item = &'a str>) -> Option<(Place, bool)> {
    let rest = &rest[rest.find(|c: char| c.is_ascii_digit())?..];
    let (digits, rest) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
    let row: u64 = digits.parse().ok().filter(|row| *row > 0)?;
    let named = columns.filter_map(|column| Some((column, behind_column(rest, column)?)));
    let named = named.max_by_key(|(column, _)| column.len());
    let value_of_column = named.and_then(|(_, rest)| value(rest));
    let is_whole = !rest.contains('\n') || value_of_column.or_else(|| value(rest)).is_some();
    let place = Place {
        row: Some(row),
        column: named.map(|(column, _)| column.to_owned()),
        value: value_of_column.map(str::to_owned),
    };
    Some((place, is_whole))
}

/// What follows a column's name, if it is that one: behind the word for *column*, or before it (in Korean).
fn behind_column<'a>(rest: &'a str, column: &str) -> Option<&'a str> {
    let at = rest.find([',', '、', ':']).filter(|at| !rest[*at..].starts_with(':'))?;
    let named = rest[at..].strip_prefix(", ").or_else(|| rest[at..].strip_prefix('、'))?;
    let ends = |rest: &&str| rest.is_empty() || rest.starts_with(": ") || rest.starts_with(" : ");
    let (_, name) = named.split_once(' ')?;
    name.strip_prefix(column).filter(ends).or_else(|| {
        let word = named.strip_prefix(column)?.strip_prefix(' ')?;
        Some(&word[word.find([' ', ':']).unwrap_or(word.len())..]).filter(ends)
    })
}

/// A field without a value has a word there, and no quotes.
fn value(rest: &str) -> Option<&str> {
    AROUND_VALUE.iter().find_map(|(before, behind)| rest.strip_prefix(before)?.strip_suffix(behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row, column and value.
    fn read(context: &str, table: &str, columns: &[&str]) -> Option<(u64, Option<String>, Option<String>)> {
        let place = place(context, table, columns.iter().copied())?;
        Some((place.row.unwrap(), place.column, place.value))
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn the_context_names_row_and_column() {
        let read = |context| read(context, "t", &["a", "a b", "v"]);
        assert_eq!(read("COPY t, line 12"), Some((12, None, None)));
        assert_eq!(read("COPY t, line 12: \"1, column a: 2\""), Some((12, None, None)));
        assert_eq!(read("COPY t, line 3, column a b: \"x\""), Some((3, text("a b"), text("x"))));
        assert_eq!(read("COPY t, line 3, column a: \"\""), Some((3, text("a"), text(""))));
        assert_eq!(read("COPY t, line 3, column v"), Some((3, text("v"), None)));
        assert_eq!(read("COPY t, line 3, column v: null input"), Some((3, text("v"), None)));
        assert_eq!(read("PL/pgSQL function f() line 3 at RAISE\nCOPY t, line 2"), Some((2, None, None)));
        assert_eq!(read("SQL statement \"SELECT 1\""), None);
        assert_eq!(read("COPY tt, line 1"), None);
    }

    #[test]
    fn names_and_values_may_hold_anything() {
        let value = "COPY t, line 3, column a: \"x\nCOPY t, line 1, column v: \"y\"\"";
        assert_eq!(read(value, "t", &["a", "v"]), Some((3, text("a"), text("x\nCOPY t, line 1, column v: \"y\""))));
        let of_trigger = "SQL statement \"SELECT '\nCOPY t, line 1'\"\nPL/pgSQL function f() line 2 at EXECUTE\nCOPY t, line 5";
        assert_eq!(read(of_trigger, "t", &["a"]), Some((5, None, None)));
        let of_domain = "PL/pgSQL function f(text) line 1 at RAISE\nCOPY t, line 3, column a: \"x\nCOPY t, line 1\ny\"";
        assert_eq!(read(of_domain, "t", &["a"]), Some((3, text("a"), text("x\nCOPY t, line 1\ny"))));
        assert_eq!(read("COPY a\nb, line 2, column v: \"x\"", "a\nb", &["v"]), Some((2, text("v"), text("x"))));
        assert_eq!(read("COPY t, line 5, line 2, column v", "t, line 5", &["v"]), Some((2, text("v"), None)));
        let columns = ["b", "b: \"x", "c, line 9"];
        assert_eq!(read("COPY t, line 2, column b: \"x: \"y\"", "t", &columns), Some((2, text("b: \"x"), text("y"))));
        assert_eq!(
            read("COPY t, line 2, column c, line 9: \"y\"", "t", &columns),
            Some((2, text("c, line 9"), text("y")))
        );
    }

    /// As PostgreSQL 15 has them.
    #[test]
    fn in_every_language() {
        let languages = [
            ("COPY t, Zeile 7", ", Spalte v", ": »x«", ": NULL Eingabe"),
            ("COPY t, línea 7", ", columna v", ": «x»", ": entrada nula"),
            ("COPY t, ligne 7", ", colonne v", " : « x »", " : NULL en entrée"),
            ("COPY t, riga 7", ", colonna v", ": \"x\"", ": input nullo"),
            ("tのCOPY、行 7", "、列 v", ": \"x\"", ": null が入力されました"),
            ("COPY t, ხაზი 7", ", სვეტი v", ": \"x\"", ": ნულოვანი შეყვანა"),
            ("t 복사, 7번째 줄", ", v 열", ": \"x\"", ": null 입력"),
            ("COPY t, строка 7", ", столбец v", ": \"x\"", ": значение NULL"),
            ("COPY t, rad 7", ", kolumn v", ": \"x\"", ": null-indata"),
            ("COPY t, рядок 7", ", стовпець v", ": \"x\"", ": null введення"),
        ];
        for (row, column, value, null) in languages {
            let read = |parts: &[&str]| read(&parts.concat(), "t", &["a", "v"]);
            assert_eq!(read(&[row]), Some((7, None, None)), "{row}");
            assert_eq!(read(&[row, value]), Some((7, None, None)), "{row}");
            assert_eq!(read(&[row, column]), Some((7, text("v"), None)), "{row}");
            assert_eq!(read(&[row, column, value]), Some((7, text("v"), text("x"))), "{row}");
            assert_eq!(read(&[row, column, null]), Some((7, text("v"), None)), "{row}");
        }
        assert_eq!(read("COPY t, 7행, v 열: null 입력", "t", &["a", "v"]), Some((7, text("v"), None)));
    }
}
