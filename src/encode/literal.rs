//! The quoting of literals: elements of arrays and fields of records, as `array_in` and `record_in` take them apart.
//!
//! Values are always quoted, so that no delimiter, no blank and no word in them can mean anything.

/// One element of an array literal; the delimiter before it is the caller's.
pub fn array_element(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        Some(value) => quoted(value, out),
        None => out.extend_from_slice(b"NULL"),
    }
}

/// One field of a record literal; the comma before it is the caller's. A NULL is nothing at all.
pub fn record_field(out: &mut Vec<u8>, value: Option<&[u8]>) {
    if let Some(value) = value {
        quoted(value, out);
    }
}

/// In double quotes, with a backslash before whatever would end or escape them: `hstore_in` reads this too.
pub(super) fn quoted(value: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in value {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}
