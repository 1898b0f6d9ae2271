//! What a column's input function is to see of a JSON value: the rules of `json_populate_record` (`populate_record_field` in PostgreSQL's
//! `src/backend/utils/adt/jsonfuncs.c`).

use super::nested::{Rules, array, composite, hstore};
use super::scan::{Token, Value};
use crate::encode::{FieldError, Kind, Shape};

/// The text of a value (in `scratch` where it does not stand in the line so), or `None` for NULL.
#[inline]
pub(super) fn text<'s>(
    shape: &Shape,
    value: Value,
    line: &'s [u8],
    rules: Rules,
    scratch: &'s mut Vec<u8>,
) -> Result<Option<&'s [u8]>, FieldError> {
    let raw = value.raw(line);
    match (value.token, shape) {
        (Token::Null, _) => return Ok(None),
        (Token::Escaped, Shape::Scalar(Kind::Json | Kind::Jsonb)) => {
            let mut unescaped = Vec::new();
            json_string(value.string(line, &mut unescaped)?, scratch);
        }
        (Token::String, Shape::Scalar(Kind::Json | Kind::Jsonb)) => return Ok(Some(raw)),
        (Token::String | Token::Escaped, _) => return Ok(Some(value.string(line, scratch)?)),
        (Token::Array, Shape::Array { delimiter, element }) => array(raw, *delimiter, element, rules, scratch)?,
        (Token::Object, Shape::Composite(attributes)) => composite(raw, attributes, rules, scratch)?,
        (Token::Object, Shape::Scalar(Kind::Hstore)) => hstore(raw, rules, scratch)?,
        (_, Shape::Array { .. }) => return Err(FieldError::refused("22P02", "expected a JSON array")),
        (_, Shape::Composite(_)) => return Err(FieldError::refused("22023", "expected a JSON object")),
        // Whatever else it is, the type's input function is to judge it as it stands.
        _ => return Ok(Some(raw)),
    }
    Ok(Some(scratch))
}

/// A string as PostgreSQL writes it (`escape_json`), so that `json` columns too hold an escape only where there must be one.
fn json_string(text: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.push(b'"');
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0C => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            ..=0x1F => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(*byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::super::scan::Cursor;
    use super::*;
    use std::sync::Arc;

    const JSON: Shape = Shape::Scalar(Kind::Json);
    const HSTORE: Shape = Shape::Scalar(Kind::Hstore);
    const RULES: Rules = Rules { array_nulls: true, literal_bytes_max: 1000 };

    fn said(shape: &Shape, json: &str) -> Result<Option<String>, &'static str> {
        let value = Cursor::new(json.as_bytes()).value().unwrap();
        let mut scratch = b"left over".to_vec();
        match text(shape, value, json.as_bytes(), RULES, &mut scratch) {
            Ok(text) => Ok(text.map(|text| String::from_utf8(text.to_vec()).unwrap())),
            Err(FieldError::Refused { sqlstate, .. }) => Err(sqlstate),
            Err(FieldError::NotMine) => Err("not mine"),
        }
    }

    #[track_caller]
    fn says(shape: &Shape, json: &str, expected: &str) {
        assert_eq!(said(shape, json), Ok(Some(expected.to_owned())), "{json}");
    }

    fn array_of(shape: Shape) -> Shape {
        Shape::Array { delimiter: b',', element: Arc::new(shape) }
    }

    #[test]
    fn scalars_are_texts_and_json_stays_json() {
        for (json, scalar, kept) in [
            ("1e400", "1e400", "1e400"),
            ("-0.00", "-0.00", "-0.00"),
            ("true", "true", "true"),
            (r#""a b""#, "a b", r#""a b""#),
            (r#""\u0041\/\u001f\"\n""#, "A/\u{1f}\"\n", r#""A/\u001f\"\n""#),
            (r#"{"a" : [1, 2]}"#, r#"{"a" : [1, 2]}"#, r#"{"a" : [1, 2]}"#),
        ] {
            says(&Shape::Opaque, json, scalar);
            says(&JSON, json, kept);
        }
        for shape in [Shape::Opaque, JSON, HSTORE, array_of(Shape::Opaque)] {
            assert_eq!(said(&shape, "null"), Ok(None));
        }
    }

    #[test]
    fn arrays_have_as_many_dimensions_as_come_before_the_first_element() {
        let texts = array_of(Shape::Opaque);
        says(&texts, "[]", "{}");
        says(&texts, "[[], [ ]]", "{}");
        says(&texts, r#"[1, "a\"b", null, "NULL", ""]"#, r#"{"1","a\"b",NULL,"NULL",""}"#);
        says(&texts, "[[1,2],[3,4]]", r#"{{"1","2"},{"3","4"}}"#);
        says(&texts, "[1,[2]]", r#"{"1","[2]"}"#);
        says(&texts, r#""{1,2}""#, "{1,2}");
        says(&array_of(JSON), r#"["a",{"b":[]}]"#, r#"{"\"a\"","{\"b\":[]}"}"#);
        says(
            &Shape::Array { delimiter: b';', element: Arc::new(Shape::Opaque) },
            r#"["(1,2),(3,4)","(0,0),(1,1)"]"#,
            r#"{"(1,2),(3,4)";"(0,0),(1,1)"}"#,
        );
        for bad in ["[[1],2]", "[[1],[2,3]]", "[[],[1]]", "1", "{}", "[[1],null]"] {
            assert_eq!(said(&texts, bad), Err("22P02"), "{bad}");
        }
        assert_eq!(said(&texts, "[[[[[[[1]]]]]]]"), Err("54000"));
        assert_eq!(said(&texts, "[[[[[[[]]]]]]]"), Err("54000"));
    }

    #[test]
    fn objects_are_rows_by_the_names_of_the_attributes() {
        let inner = Shape::Composite([("x".to_owned(), Shape::Opaque)].into());
        let row = Shape::Composite([("a".to_owned(), Shape::Opaque), ("ä b".to_owned(), array_of(inner))].into());
        says(&row, "{}", "(,)");
        says(&row, r#"{"a": ""}"#, r#"("",)"#);
        says(
            &row,
            r#"{"\u00e4 b": [{"x": "1,\"2"}, {}, null], "a": null}"#,
            r#"(,"{""(\\""1,\\""\\""2\\"")"",""()"",NULL}")"#,
        );
        says(&row, r#""(1,{})""#, "(1,{})");
        for (bad, sqlstate) in
            [("1", "22023"), ("[]", "22023"), (r#"{"b": 1}"#, "42703"), (r#"{"a": 1, "\u0061": 1}"#, "22030"), ("true", "22023")]
        {
            assert_eq!(said(&row, bad), Err(sqlstate), "{bad}");
        }
    }

    #[test]
    fn objects_are_hstores_of_texts() {
        says(&HSTORE, "{}", "");
        says(
            &HSTORE,
            r#"{"a": 1.0, "b": null, "c\"": "\\", "": false}"#,
            r#""a"=>"1.0","b"=>NULL,"c\""=>"\\",""=>"false""#,
        );
        says(&HSTORE, r#""a=>1""#, "a=>1");
        assert_eq!(said(&HSTORE, r#"{"a": []}"#), Err("22P02"));
        assert_eq!(said(&HSTORE, r#"{"a": 1, "a": 1}"#), Err("22030"));
    }

    #[test]
    fn literals_do_not_outgrow_their_limit() {
        let deep = |depth: usize| {
            let wrap = |shape, _| Shape::Composite([("a".to_owned(), shape)].into());
            let shape = (0..depth).fold(Shape::Opaque, wrap);
            said(&shape, &format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth)))
        };
        assert_eq!(deep(1), Ok(Some("(\"1\")".to_owned())));
        assert!(deep(5).is_ok());
        assert_eq!(deep(12), Err("54000"), "quotes within quotes double each time");
    }
}
