//! Row literals of a composite type.

use super::scalar::trim;
use super::{FieldError, RowWriter, quoting};

/// What writes the field of the attribute with this number, with its length word, from its text.
type Field<'f> = dyn FnMut(usize, &[u8], &mut RowWriter) -> Result<(), FieldError> + 'f;

/// `record_in`, written as `record_recv` reads it: the number of attributes, then each one's type and field. `oids` are the types of the
/// attributes that are not dropped. Whatever is wrong within, the server is to say what.
pub(super) fn composite(
    raw: &[u8],
    oids: impl ExactSizeIterator<Item = u32>,
    row: &mut RowWriter,
    field: &mut Field<'_>,
) -> Result<(), FieldError> {
    let written = row.nested(|row| {
        row.part(&(oids.len() as u32).to_be_bytes());
        let mut rest = trim(raw).strip_prefix(b"(").ok_or(FieldError::NotMine)?;
        let mut buffer = Vec::new();
        for (index, oid) in oids.enumerate() {
            if index > 0 {
                rest = rest.strip_prefix(b",").ok_or(FieldError::NotMine)?;
            }
            row.part(&oid.to_be_bytes());
            let (value, tail) = quoting::take(rest, b",)", &mut buffer)?;
            match value {
                Some(value) => field(index, value, row)?,
                None => row.null(),
            }
            rest = tail;
        }
        if rest == b")" { Ok(()) } else { Err(FieldError::NotMine) }
    });
    written.map_err(|_| FieldError::NotMine)
}

#[cfg(test)]
mod tests {
    use super::super::literal::record_field;
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str, count: u32) -> Option<Vec<Option<String>>> {
        let oids: Vec<u32> = (100..100 + count).collect();
        let mut row = RowWriter::new(1, 64);
        composite(text.as_bytes(), oids.iter().copied(), &mut row, &mut |_, value, row| {
            row.put(value);
            Ok(())
        })
        .ok()?;
        let wire = row.take();
        assert_eq!(wire[..4], (wire.len() as u32 - 4).to_be_bytes());
        assert_eq!(wire[4..8], count.to_be_bytes());
        let mut rest = &wire[8..];
        let mut fields = Vec::new();
        for oid in oids {
            assert_eq!(rest[..4], oid.to_be_bytes());
            let (length, tail) = rest[4..].split_first_chunk::<4>().unwrap();
            let length = usize::try_from(i32::from_be_bytes(*length)).ok();
            let (value, tail) = tail.split_at(length.unwrap_or(0));
            fields.push(length.map(|_| String::from_utf8(value.to_vec()).unwrap()));
            rest = tail;
        }
        assert!(rest.is_empty());
        Some(fields)
    }

    #[test]
    fn fields_are_unquoted_and_nothing_is_null() {
        let some = |value: &str| Some(value.to_owned());
        assert_eq!(read(r#"(a,"b ""x""",)"#, 3), Some(vec![some("a"), some("b \"x\""), None]));
        assert_eq!(read(" ( 1,\"\",x\\,y)\n", 3), Some(vec![some(" 1"), some(""), some("x,y")]));
        assert_eq!(read("()", 1), Some(vec![None]));
        assert_eq!(read("()", 0), Some(vec![]));
        assert_eq!(read("(,)", 2), Some(vec![None, None]));
    }

    #[test]
    fn another_number_of_fields_is_left_alone() {
        for other in ["", "a", "(a", "(a)", "(a,b,c)", "(a,b", "(a,b))", "(a,b)x", "(\"a,b)", "a,b"] {
            assert_eq!(read(other, 2), None, "{other}");
        }
        assert_eq!(read("( )", 0), None);
    }

    #[test]
    fn a_field_that_is_refused_leaves_the_row_to_the_server() {
        let refused = composite(b"(1)", [23].into_iter(), &mut RowWriter::new(1, 64), &mut |_, _, _| {
            Err(FieldError::refused("22P02", "no"))
        });
        assert_eq!(refused, Err(FieldError::NotMine));
    }

    proptest! {
        #[test]
        fn any_fields_read_back(fields in prop::collection::vec(prop::option::of("[a-zé ,()\"\\\\]{0,6}"), 1..8)) {
            let mut text = b"(".to_vec();
            for (index, field) in fields.iter().enumerate() {
                if index > 0 {
                    text.push(b',');
                }
                record_field(&mut text, field.as_deref().map(str::as_bytes));
            }
            text.push(b')');
            prop_assert_eq!(read(std::str::from_utf8(&text).unwrap(), fields.len() as u32), Some(fields));
        }
    }
}
