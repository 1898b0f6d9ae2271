//! Array literals, of any element type. Forms on which the versions of `array_in` disagree, or nearly so, are not ours: empty arrays in
//! arrays, backslashes outside of quotes, blanks within bounds, vertical tabs.

use super::{FieldError, RowWriter};

/// `MAXDIM`
const DIMENSIONS_MAX: usize = 6;

/// What writes one element's field, with its length word, from its text.
type Element<'e> = dyn FnMut(&[u8], &mut RowWriter) -> Result<(), FieldError> + 'e;

/// `array_in`, written as `array_recv` reads it: dimensions, whether there are NULLs, the element type, then each dimension's size and
/// lower bound, then the elements.
///
/// Whatever is wrong within, the server is to say what: which of two errors comes first differs between its versions.
pub(super) fn array(raw: &[u8], element_oid: u32, delimiter: u8, row: &mut RowWriter, element: &mut Element<'_>) -> Result<(), FieldError> {
    let written = row.nested(|row| {
        let (bounds, text) = take_bounds(raw)?;
        if is_empty(text) && bounds.is_empty() {
            row.part(&[0; 8]);
            row.part(&element_oid.to_be_bytes());
            return Ok(());
        }
        let mut reader = Reader::new(text, delimiter)?;
        let start = row.len();
        row.part(&[0; 12 + 8 * DIMENSIONS_MAX][..12 + 8 * reader.dimensions]);
        reader.level(0, row, element)?;
        if !skip_blanks(reader.rest).is_empty() {
            return Err(FieldError::NotMine);
        }
        reader.write_head(start, element_oid, &bounds, row)
    });
    written.map_err(|_| FieldError::NotMine)
}

/// A lower and an upper bound for each dimension: `[1:2][-1:1]=`.
type Bounds = Vec<(i32, i32)>;

fn take_bounds(raw: &[u8]) -> Result<(Bounds, &[u8]), FieldError> {
    let mut bounds = Bounds::new();
    let mut rest = raw;
    while let [b'[', tail @ ..] = rest {
        let end = memchr::memchr(b']', tail).ok_or(FieldError::NotMine)?;
        let inside = std::str::from_utf8(&tail[..end]).map_err(|_| FieldError::NotMine)?;
        let (lower, upper) = inside.split_once(':').unwrap_or(("1", inside));
        let (lower, upper) = (bound(lower)?, bound(upper)?);
        if upper < lower {
            return Err(FieldError::NotMine);
        }
        bounds.push((lower, upper));
        rest = &tail[end + 1..];
    }
    match rest {
        _ if bounds.is_empty() => Ok((bounds, rest)),
        [b'=', rest @ ..] => Ok((bounds, rest)),
        _ => Err(FieldError::NotMine),
    }
}

/// Digits and perhaps a minus, far from the ends of the range where versions differ.
fn bound(text: &str) -> Result<i32, FieldError> {
    match text.as_bytes() {
        [b'-' | b'0'..=b'9', ..] if text.len() <= 9 => text.parse().map_err(|_| FieldError::NotMine),
        _ => Err(FieldError::NotMine),
    }
}

/// The blanks of all versions; some know the vertical tab, too.
#[inline]
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0c)
}

#[inline]
fn skip_blanks(text: &[u8]) -> &[u8] {
    let count = text.iter().take_while(|byte| is_blank(**byte)).count();
    &text[count..]
}

/// Braces around nothing.
fn is_empty(text: &[u8]) -> bool {
    let inside = skip_blanks(text).strip_prefix(b"{").map(skip_blanks);
    inside.and_then(|rest| rest.strip_prefix(b"}")).is_some_and(|rest| skip_blanks(rest).is_empty())
}

struct Reader<'t> {
    rest: &'t [u8],
    delimiter: u8,
    dimensions: usize,
    /// zero until the first array of a dimension has ended
    sizes: [i32; DIMENSIONS_MAX],
    has_null: bool,
    buffer: Vec<u8>,
}

impl<'t> Reader<'t> {
    /// The braces in front say how deep the array is, everywhere.
    fn new(text: &'t [u8], delimiter: u8) -> Result<Reader<'t>, FieldError> {
        let text = skip_blanks(text);
        let mut dimensions = 0;
        let mut inner = text;
        while let [b'{', tail @ ..] = inner {
            dimensions += 1;
            inner = skip_blanks(tail);
        }
        if !(1..=DIMENSIONS_MAX).contains(&dimensions) {
            return Err(FieldError::NotMine);
        }
        Ok(Reader {
            rest: text,
            delimiter,
            dimensions,
            sizes: [0; DIMENSIONS_MAX],
            has_null: false,
            buffer: Vec::new(),
        })
    }

    /// One pair of braces: elements at the innermost dimension, else arrays that are all of one size.
    fn level(&mut self, depth: usize, row: &mut RowWriter, element: &mut Element<'_>) -> Result<(), FieldError> {
        self.rest = skip_blanks(self.rest).strip_prefix(b"{").ok_or(FieldError::NotMine)?;
        let mut size = 0i32;
        loop {
            if depth + 1 < self.dimensions {
                self.level(depth + 1, row, element)?;
            } else {
                self.element(row, element)?;
            }
            size = size.checked_add(1).ok_or(FieldError::NotMine)?;
            match skip_blanks(self.rest) {
                [byte, rest @ ..] if *byte == self.delimiter => self.rest = rest,
                [b'}', rest @ ..] => {
                    self.rest = rest;
                    break;
                }
                _ => return Err(FieldError::NotMine),
            }
        }
        let expected = &mut self.sizes[depth];
        if *expected == 0 {
            *expected = size;
        }
        if *expected == size { Ok(()) } else { Err(FieldError::NotMine) }
    }

    #[inline]
    fn element(&mut self, row: &mut RowWriter, element: &mut Element<'_>) -> Result<(), FieldError> {
        let text = skip_blanks(self.rest);
        if let [b'"', inside @ ..] = text {
            return self.quoted(inside, row, element);
        }
        let delimiter = self.delimiter;
        let end = text.iter().position(|byte| *byte == delimiter || matches!(byte, b'}' | b'{' | b'"' | b'\\' | 0x0b));
        let (value, rest) = end.map(|end| text.split_at(end)).ok_or(FieldError::NotMine)?;
        if !matches!(rest, [byte, ..] if *byte == delimiter || *byte == b'}') {
            return Err(FieldError::NotMine);
        }
        let blanks = value.iter().rev().take_while(|byte| is_blank(**byte)).count();
        let value = &value[..value.len() - blanks];
        self.rest = rest;
        if value.is_empty() {
            return Err(FieldError::NotMine);
        }
        if value.eq_ignore_ascii_case(b"null") {
            self.has_null = true;
            row.null();
            return Ok(());
        }
        element(value, row)
    }

    /// Up to the closing quote, each backslash making the character behind it a plain one.
    fn quoted(&mut self, text: &'t [u8], row: &mut RowWriter, element: &mut Element<'_>) -> Result<(), FieldError> {
        self.buffer.clear();
        let mut rest = text;
        loop {
            let special = memchr::memchr2(b'"', b'\\', rest).ok_or(FieldError::NotMine)?;
            let (plain, tail) = rest.split_at(special);
            if let [b'\\', escaped, tail @ ..] = tail {
                self.buffer.extend_from_slice(plain);
                self.buffer.push(*escaped);
                rest = tail;
                continue;
            }
            self.rest = tail.strip_prefix(b"\"").ok_or(FieldError::NotMine)?;
            if self.buffer.is_empty() {
                return element(plain, row);
            }
            self.buffer.extend_from_slice(plain);
            return element(&self.buffer, row);
        }
    }

    /// Now that the sizes are known.
    fn write_head(&self, start: usize, element_oid: u32, bounds: &Bounds, row: &mut RowWriter) -> Result<(), FieldError> {
        let given = !bounds.is_empty();
        if given && bounds.len() != self.dimensions {
            return Err(FieldError::NotMine);
        }
        row.overwrite(start, &(self.dimensions as u32).to_be_bytes());
        row.overwrite(start + 4, &u32::from(self.has_null).to_be_bytes());
        row.overwrite(start + 8, &element_oid.to_be_bytes());
        for (depth, size) in self.sizes[..self.dimensions].iter().enumerate() {
            let (lower, upper) = bounds.get(depth).copied().unwrap_or((1, *size));
            if upper - lower + 1 != *size {
                return Err(FieldError::NotMine);
            }
            row.overwrite(start + 12 + 8 * depth, &size.to_be_bytes());
            row.overwrite(start + 16 + 8 * depth, &lower.to_be_bytes());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::literal::array_element;
    use super::*;
    use proptest::prelude::*;

    /// Sizes with lower bounds, and the elements.
    type Shown = (Vec<(i32, i32)>, Vec<Option<String>>);

    fn read_with(text: &str, delimiter: u8) -> Option<Shown> {
        let mut row = RowWriter::new(1, 64);
        array(text.as_bytes(), 25, delimiter, &mut row, &mut |value, row| {
            row.put(value);
            Ok(())
        })
        .ok()?;
        let wire = row.take();
        let words: Vec<i32> = wire.chunks(4).map(|word| word.try_into().map_or(0, i32::from_be_bytes)).collect();
        assert_eq!(words[0] as usize, wire.len() - 4);
        assert_eq!(words[3], 25);
        let dimensions = words[1] as usize;
        let head = words[4..4 + 2 * dimensions].chunks(2).map(|pair| (pair[0], pair[1])).collect();
        let mut rest = &wire[16 + 8 * dimensions..];
        let mut elements = Vec::new();
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let length = usize::try_from(i32::from_be_bytes(*length)).ok();
            let (value, tail) = tail.split_at(length.unwrap_or(0));
            elements.push(length.map(|_| String::from_utf8(value.to_vec()).unwrap()));
            rest = tail;
        }
        assert_eq!(words[2] == 1, elements.contains(&None));
        Some((head, elements))
    }

    fn read(text: &str) -> Option<Shown> {
        read_with(text, b',')
    }

    fn texts(values: &[&str]) -> Vec<Option<String>> {
        values.iter().map(|value| Some((*value).to_owned())).collect()
    }

    #[test]
    fn elements_are_trimmed_unquoted_and_unescaped() {
        assert_eq!(read("{1,2}"), Some((vec![(2, 1)], texts(&["1", "2"]))));
        assert_eq!(read(" { a b , \" c \" ,é}\n"), Some((vec![(3, 1)], texts(&["a b", " c ", "é"]))));
        assert_eq!(read(r#"{"a\"b\\c",""}"#), Some((vec![(2, 1)], texts(&[r#"a"b\c"#, ""]))));
        assert_eq!(read(r#"{"\"","{,}"}"#), Some((vec![(2, 1)], texts(&["\"", "{,}"]))));
        assert_eq!(read("{NULL,null,\"NULL\"}"), Some((vec![(3, 1)], vec![None, None, Some("NULL".to_owned())])));
        assert_eq!(read_with("{(1,1);(2,2)}", b';'), Some((vec![(2, 1)], texts(&["(1,1)", "(2,2)"]))));
        assert_eq!(read("{}"), Some((vec![], vec![])));
        assert_eq!(read(" { } "), Some((vec![], vec![])));
    }

    #[test]
    fn dimensions_and_bounds() {
        assert_eq!(read("{{1,2,3},{4,5,6}}"), Some((vec![(2, 1), (3, 1)], texts(&["1", "2", "3", "4", "5", "6"]))));
        assert_eq!(read("[0:1]={a,b}"), Some((vec![(2, 0)], texts(&["a", "b"]))));
        assert_eq!(read("[2][-1:-1]={{a},{b}}"), Some((vec![(2, 1), (1, -1)], texts(&["a", "b"]))));
        assert_eq!(read("{{{{{{a}}}}}}").map(|shown| shown.0.len()), Some(6));
    }

    #[test]
    fn what_versions_disagree_about_or_refuse_is_left_alone() {
        for other in ["", "1,2", "{", "{1", "{1,", "{1,}", "{,1}", "{1}}", "{1} x", "{{}}", "{{},{}}", "{1,{2}}", "{{1},2}", "{{1,2},{3}}"]
        {
            assert_eq!(read(other), None, "{other}");
        }
        for other in [r"{a\b}", r#"{a"b"}"#, r#"{"a"b}"#, r#"{"a}"#, r#"{"a\"#, "{\u{b}1}", "{1\u{b}}", "{a{b}", "{{{{{{{a}}}}}}}", "{\"\\"]
        {
            assert_eq!(read(other), None, "{other}");
        }
        for other in
            ["[1:2]={1}", "[2:1]={1}", "[1:0]={}", "[1:1]{1}", "[1 :1]={1}", "[+1:1]={1}", "[:1]={1}", "[1]={{1}}", "[99999999999]={1}"]
        {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn an_element_that_is_refused_leaves_the_array_to_the_server() {
        let mut row = RowWriter::new(1, 64);
        let refused = array(b"{1,x}", 23, b',', &mut row, &mut |value, row| {
            row.put(&super::super::scalar::int4(value)?.to_be_bytes());
            Ok(())
        });
        assert_eq!(refused, Err(FieldError::NotMine));
    }

    proptest! {
        #[test]
        fn any_elements_read_back(elements in prop::collection::vec(prop::option::of("[a-zé ,{}\"\\\\]{0,6}"), 1..8)) {
            let mut text = b"{".to_vec();
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    text.push(b',');
                }
                array_element(&mut text, element.as_deref().map(str::as_bytes));
            }
            text.push(b'}');
            let shown = read(std::str::from_utf8(&text).unwrap());
            prop_assert_eq!(shown, Some((vec![(elements.len() as i32, 1)], elements)));
        }

        #[test]
        fn nothing_makes_it_panic(text in "[\\[{]{0,3}([a,{}\"\\\\ :=\\]0-9-]){0,20}") {
            let _ = read(&text);
        }
    }
}
