//! `bit(n)` and `bit varying(n)`, as the digits 0 and 1. The forms with a `b` or an `x` in front are not ours.

use super::FieldError;

/// `bit_in`: as many digits as the column has bits.
pub(super) fn bit(raw: &[u8], length: u32, out: &mut Vec<u8>) -> Result<(), FieldError> {
    if raw.len() != length as usize {
        return Err(FieldError::NotMine);
    }
    write(raw, out)
}

/// `varbit_in`: at most as many digits as the column allows.
pub(super) fn varbit(raw: &[u8], max: Option<u32>, out: &mut Vec<u8>) -> Result<(), FieldError> {
    if max.is_some_and(|max| raw.len() > max as usize) {
        return Err(FieldError::NotMine);
    }
    write(raw, out)
}

/// The number of bits, then the bits from the left, the last byte filled up with zeros.
fn write(digits: &[u8], out: &mut Vec<u8>) -> Result<(), FieldError> {
    let count = i32::try_from(digits.len()).map_err(|_| FieldError::NotMine)?;
    out.extend_from_slice(&count.to_be_bytes());
    for eight in digits.chunks(8) {
        let mut byte = 0;
        for (index, digit) in eight.iter().enumerate() {
            match digit {
                b'0' => {}
                b'1' => byte |= 0x80 >> index,
                _ => return Err(FieldError::NotMine),
            }
        }
        out.push(byte);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wire(digits: &str) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        varbit(digits.as_bytes(), None, &mut out).ok().map(|()| out)
    }

    #[test]
    fn bits_fill_bytes_from_the_left() {
        assert_eq!(wire(""), Some(vec![0, 0, 0, 0]));
        assert_eq!(wire("101"), Some(vec![0, 0, 0, 3, 0b1010_0000]));
        assert_eq!(wire("111111110"), Some(vec![0, 0, 0, 9, 0xFF, 0]));
        for other in ["2", "b101", "x1F", " 1", "1 ", "１"] {
            assert_eq!(wire(other), None, "{other}");
        }
    }

    #[test]
    fn the_column_decides_the_length() {
        let fits = |text: &str, length| bit(text.as_bytes(), length, &mut Vec::new()).is_ok();
        assert!(fits("101", 3) && !fits("101", 2) && !fits("101", 4));
        let fits = |text: &str, max| varbit(text.as_bytes(), Some(max), &mut Vec::new()).is_ok();
        assert!(fits("101", 3) && !fits("101", 2) && fits("101", 4));
    }

    proptest! {
        #[test]
        fn any_bits_read_back(digits in "[01]{0,100}") {
            let wire = wire(&digits).unwrap();
            let shown: String = wire[4..].iter().map(|byte| format!("{byte:08b}")).collect();
            prop_assert_eq!(&shown[..digits.len()], digits.as_str());
            prop_assert!(shown[digits.len()..].bytes().all(|digit| digit == b'0'));
        }
    }
}
