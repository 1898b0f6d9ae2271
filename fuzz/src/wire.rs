//! Binary values read back, strictly: what `…_recv` would not take is a defect. Where the product shows a kind itself, it is asked.

use std::fmt::Display;
use std::net::{Ipv4Addr, Ipv6Addr};

use pgsluice::encode::{Element, Kind, array_element, record_field, show};

/// The literal of a value.
///
/// # Panics
/// The value is not of this kind.
pub fn literal(kind: &Kind, mut value: &[u8]) -> Vec<u8> {
    let wire = &mut value;
    let literal = match kind {
        Kind::Char => take(wire, 1).to_vec(),
        Kind::Name => {
            assert!(wire.len() <= 63);
            std::mem::take(wire).to_vec()
        }
        Kind::Enum(labels) => {
            let label = std::mem::take(wire);
            assert!(labels.iter().any(|known| known.as_bytes() == label));
            label.to_vec()
        }
        Kind::Money => money(i64::from_be_bytes(chunk(wire))),
        Kind::PgLsn => text(format_args!("{:X}/{:X}", int(wire).cast_unsigned(), int(wire).cast_unsigned())),
        Kind::Date if **wire == i32::MAX.to_be_bytes() => infinity(wire, ""),
        Kind::Date if **wire == i32::MIN.to_be_bytes() => infinity(wire, "-"),
        Kind::Timestamp | Kind::Timestamptz if **wire == i64::MAX.to_be_bytes() => infinity(wire, ""),
        Kind::Timestamp | Kind::Timestamptz if **wire == i64::MIN.to_be_bytes() => infinity(wire, "-"),
        Kind::Timetz => timetz(wire),
        Kind::Inet => address(wire, 0),
        Kind::Cidr => address(wire, 1),
        Kind::Macaddr => hex(take(wire, 6)),
        Kind::Macaddr8 => hex(take(wire, 8)),
        Kind::Bit(length) => {
            let digits = bits(wire);
            assert_eq!(digits.len(), *length as usize);
            digits
        }
        Kind::Varbit(max) => {
            let digits = bits(wire);
            assert!(max.is_none_or(|max| digits.len() <= max as usize));
            digits
        }
        Kind::Array(element) => array(wire, element),
        Kind::Composite(attributes) => {
            assert_eq!(int(wire) as usize, attributes.len());
            let mut out = Vec::new();
            for (nth, attribute) in attributes.iter().enumerate() {
                out.push(if nth == 0 { b'(' } else { b',' });
                assert_eq!(int(wire).cast_unsigned(), attribute.oid);
                record_field(&mut out, field(wire).map(|value| self::literal(&attribute.kind, value)).as_deref());
            }
            out.push(b')');
            out
        }
        Kind::Range(subtype) => range(wire, subtype),
        Kind::Multirange(subtype) => {
            let mut out = vec![b'{'];
            for nth in 0..int(wire) {
                if nth > 0 {
                    out.push(b',');
                }
                let mut value = field(wire).expect("a range that is not NULL");
                out.extend(range(&mut value, subtype));
                assert!(value.is_empty());
            }
            out.push(b'}');
            out
        }
        _ => {
            let mut out = Vec::new();
            show(kind, std::mem::take(wire), &mut out).unwrap_or_else(|error| panic!("{kind:?} is not shown: {error:?}"));
            out
        }
    };
    assert!(value.is_empty(), "{kind:?}: {} bytes too many", value.len());
    literal
}

fn take<'w>(wire: &mut &'w [u8], length: usize) -> &'w [u8] {
    wire.split_off(..length).expect("a value is cut short")
}

fn chunk<const N: usize>(wire: &mut &[u8]) -> [u8; N] {
    take(wire, N).try_into().expect("as long as it is")
}

fn int(wire: &mut &[u8]) -> i32 {
    i32::from_be_bytes(chunk(wire))
}

fn field<'w>(wire: &mut &'w [u8]) -> Option<&'w [u8]> {
    match int(wire) {
        -1 => None,
        length => Some(take(wire, usize::try_from(length).expect("a length"))),
    }
}

fn text(value: impl Display) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn infinity(wire: &mut &[u8], sign: &str) -> Vec<u8> {
    *wire = &[];
    text(format_args!("{sign}infinity"))
}

fn money(cents: i64) -> Vec<u8> {
    let sign = if cents < 0 { "-" } else { "" };
    text(format_args!("{sign}{}.{:02}", cents.unsigned_abs() / 100, cents.unsigned_abs() % 100))
}

fn timetz(wire: &mut &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    show(&Kind::Time, take(wire, 8), &mut out).expect("a time");
    let west = int(wire);
    let (sign, zone) = (if west > 0 { '-' } else { '+' }, west.unsigned_abs());
    out.extend(text(format_args!("{sign}{:02}:{:02}:{:02}", zone / 3600, zone / 60 % 60, zone % 60)));
    out
}

fn address(wire: &mut &[u8], is_cidr: u8) -> Vec<u8> {
    let [family, bits, flag, length] = chunk(wire);
    assert_eq!(flag, is_cidr);
    let octets = take(wire, length.into());
    let set_beyond = (usize::from(bits)..octets.len() * 8).any(|bit| octets[bit / 8] & (0x80 >> (bit % 8)) != 0);
    assert!(is_cidr == 0 || !set_beyond, "a network with bits right of its mask");
    match (family, octets.len()) {
        (2, 4) if bits <= 32 => text(format_args!("{}/{bits}", Ipv4Addr::from(chunk::<4>(&mut &*octets)))),
        (3, 16) if bits <= 128 => text(format_args!("{}/{bits}", Ipv6Addr::from(chunk::<16>(&mut &*octets)))),
        _ => panic!("family {family}, {bits} bits, {length} bytes"),
    }
}

fn hex(octets: &[u8]) -> Vec<u8> {
    text(octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(":"))
}

fn bits(wire: &mut &[u8]) -> Vec<u8> {
    let count = usize::try_from(int(wire)).expect("a number of bits");
    let bytes = take(wire, count.div_ceil(8));
    let bit = |at: usize| b'0' + (bytes[at / 8] >> (7 - at % 8) & 1);
    assert!((count..bytes.len() * 8).all(|at| bit(at) == b'0'), "bits beyond the last");
    (0..count).map(bit).collect()
}

fn array(wire: &mut &[u8], element: &Element) -> Vec<u8> {
    let (dimensions, has_null) = (int(wire), int(wire));
    assert_eq!(int(wire).cast_unsigned(), element.oid);
    assert!((0..=6).contains(&dimensions));
    if dimensions == 0 {
        assert_eq!(has_null, 0);
        return b"{}".to_vec();
    }
    let bounds: Vec<(i32, i32)> = (0..dimensions).map(|_| (int(wire), int(wire))).collect();
    let mut out = Vec::new();
    if bounds.iter().any(|(_, lower)| *lower != 1) {
        for (size, lower) in &bounds {
            out.extend(text(format_args!("[{lower}:{}]", lower + size - 1)));
        }
        out.push(b'=');
    }
    let mut nulls = false;
    let sizes: Vec<i32> = bounds.iter().map(|(size, _)| *size).collect();
    elements(wire, element, &sizes, &mut nulls, &mut out);
    assert_eq!(has_null, i32::from(nulls), "whether there are NULLs");
    out
}

fn elements(wire: &mut &[u8], element: &Element, sizes: &[i32], nulls: &mut bool, out: &mut Vec<u8>) {
    let Some((size, inner)) = sizes.split_first() else {
        let value = field(wire).map(|value| literal(&element.kind, value));
        *nulls |= value.is_none();
        return array_element(out, value.as_deref());
    };
    assert!(*size > 0, "a dimension of {size}");
    for nth in 0..*size {
        out.push(if nth == 0 { b'{' } else { element.delimiter });
        elements(wire, element, inner, nulls, out);
    }
    out.push(b'}');
}

fn range(wire: &mut &[u8], subtype: &Kind) -> Vec<u8> {
    const EMPTY: u8 = 0x01;
    const LOWER_INCLUSIVE: u8 = 0x02;
    const UPPER_INCLUSIVE: u8 = 0x04;
    const LOWER_INFINITE: u8 = 0x08;
    const UPPER_INFINITE: u8 = 0x10;
    let [flags] = chunk(wire);
    let has = |flag: u8| flags & flag != 0;
    if has(EMPTY) {
        assert_eq!(flags, EMPTY);
        return b"empty".to_vec();
    }
    assert!(flags < 0x20 && !(has(LOWER_INCLUSIVE) && has(LOWER_INFINITE)) && !(has(UPPER_INCLUSIVE) && has(UPPER_INFINITE)));
    let mut bound = |infinite: bool| (!infinite).then(|| literal(subtype, field(wire).expect("a bound that is not NULL")));
    let (lower, upper) = (bound(has(LOWER_INFINITE)), bound(has(UPPER_INFINITE)));
    let mut out = vec![if has(LOWER_INCLUSIVE) { b'[' } else { b'(' }];
    record_field(&mut out, lower.as_deref());
    out.push(b',');
    record_field(&mut out, upper.as_deref());
    out.push(if has(UPPER_INCLUSIVE) { b']' } else { b')' });
    out
}
