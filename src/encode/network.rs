//! `inet`, `cidr` and the two hardware addresses, in their full forms. What is shorter or has blanks around it is not ours.

use super::FieldError;
use super::scalar::hex_digit;

use std::net::Ipv6Addr;

/// `PGSQL_AF_INET` and `PGSQL_AF_INET6`, the same number on every platform.
const FAMILY_4: u8 = 2;
const FAMILY_6: u8 = 3;

/// `inet_in`: an address of four octets or of IPv6, and perhaps how many of its bits are the network's.
pub(super) fn inet(raw: &[u8], out: &mut Vec<u8>) -> Result<(), FieldError> {
    let (address, bits) = split(raw)?;
    if let Some(octets) = ipv4(address) {
        write(FAMILY_4, bits, false, &octets, out)
    } else {
        write(FAMILY_6, bits, false, &ipv6(address)?, out)
    }
}

/// `cidr_in`: as `inet`, and no bit may be set right of the mask.
pub(super) fn cidr(raw: &[u8], out: &mut Vec<u8>) -> Result<(), FieldError> {
    let (address, bits) = split(raw)?;
    if let Some(octets) = ipv4(address) {
        write(FAMILY_4, bits, true, &octets, out)
    } else {
        write(FAMILY_6, bits, true, &ipv6(address)?, out)
    }
}

/// What stands before the slash, and the number after it; that number has no leading zeros, which IPv6 refuses.
#[inline]
fn split(raw: &[u8]) -> Result<(&[u8], Option<u8>), FieldError> {
    let Some(slash) = memchr::memchr(b'/', raw) else {
        return Ok((raw, None));
    };
    let digits = &raw[slash + 1..];
    let bits = match digits {
        [b'0'..=b'9'] | [b'1'..=b'9', b'0'..=b'9'] | [b'1', b'0'..=b'9', b'0'..=b'9'] => decimal(digits),
        _ => None,
    };
    bits.map(|bits| (&raw[..slash], Some(bits))).ok_or(FieldError::NotMine)
}

/// One to three decimal digits of at most 255.
#[inline]
fn decimal(digits: &[u8]) -> Option<u8> {
    if digits.is_empty() || digits.len() > 3 {
        return None;
    }
    let value = digits.iter().try_fold(0u16, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit <= 9).then(|| value * 10 + u16::from(digit))
    })?;
    u8::try_from(value).ok()
}

/// All four octets. The server reads each as decimal, zeros in front or not.
#[inline]
fn ipv4(address: &[u8]) -> Option<[u8; 4]> {
    let mut parts = address.split(|byte| *byte == b'.');
    let mut octets = [0; 4];
    for octet in &mut octets {
        *octet = decimal(parts.next()?)?;
    }
    parts.next().is_none().then_some(octets)
}

/// What Rust reads as IPv6, the server reads as the same address: it only is more liberal with `::`.
#[inline]
fn ipv6(address: &[u8]) -> Result<[u8; 16], FieldError> {
    let address = std::str::from_utf8(address).map_err(|_| FieldError::NotMine)?;
    let address: Ipv6Addr = address.parse().map_err(|_| FieldError::NotMine)?;
    Ok(address.octets())
}

#[inline]
fn write(family: u8, bits: Option<u8>, is_cidr: bool, address: &[u8], out: &mut Vec<u8>) -> Result<(), FieldError> {
    let most = address.len() as u8 * 8;
    let bits = bits.unwrap_or(most);
    if bits > most || (is_cidr && !is_network(address, bits)) {
        return Err(FieldError::NotMine);
    }
    out.extend_from_slice(&[family, bits, u8::from(is_cidr), address.len() as u8]);
    out.extend_from_slice(address);
    Ok(())
}

/// `addressOK`: nothing is set right of the mask.
fn is_network(address: &[u8], bits: u8) -> bool {
    address.iter().enumerate().all(|(index, byte)| {
        let kept = usize::from(bits).saturating_sub(index * 8).min(8);
        u32::from(*byte) & (0xFF >> kept) == 0
    })
}

/// `macaddr_in`'s seven layouts: twelve digits in groups of two, four or six, or in one.
pub(super) fn macaddr(raw: &[u8]) -> Result<[u8; 6], FieldError> {
    let group = raw.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let separator = raw.get(group).copied();
    match (group, separator) {
        (2 | 6, Some(b':' | b'-')) | (4, Some(b'.' | b'-')) | (12, None) => {}
        _ => return Err(FieldError::NotMine),
    }
    let mut address = [0; 6];
    let mut rest = raw;
    for (index, byte) in address.iter_mut().enumerate() {
        if index > 0 && index % (group / 2) == 0 {
            rest = rest.split_first().filter(|(first, _)| Some(**first) == separator).ok_or(FieldError::NotMine)?.1;
        }
        (*byte, rest) = take_pair(rest)?;
    }
    if rest.is_empty() { Ok(address) } else { Err(FieldError::NotMine) }
}

/// `macaddr8_in`: six or eight pairs of digits, with one and the same separator between any of them. To six, `FF FE` are added.
pub(super) fn macaddr8(raw: &[u8]) -> Result<[u8; 8], FieldError> {
    let mut address = [0; 8];
    let mut separator = None;
    let (mut count, mut rest) = (0, raw);
    while !rest.is_empty() {
        if let [b':' | b'-' | b'.', tail @ ..] = rest
            && count > 0
        {
            if *separator.get_or_insert(rest[0]) != rest[0] {
                return Err(FieldError::NotMine);
            }
            rest = tail;
        }
        let byte = address.get_mut(count).ok_or(FieldError::NotMine)?;
        (*byte, rest) = take_pair(rest)?;
        count += 1;
    }
    match (count, address) {
        (8, _) => Ok(address),
        (6, [a, b, c, d, e, f, ..]) => Ok([a, b, c, 0xFF, 0xFE, d, e, f]),
        _ => Err(FieldError::NotMine),
    }
}

#[inline]
fn take_pair(text: &[u8]) -> Result<(u8, &[u8]), FieldError> {
    if let [high, low, rest @ ..] = text
        && let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low))
    {
        return Ok((high << 4 | low, rest));
    }
    Err(FieldError::NotMine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(encode: fn(&[u8], &mut Vec<u8>) -> Result<(), FieldError>, text: &str) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        encode(text.as_bytes(), &mut out).ok().map(|()| out)
    }

    #[test]
    fn addresses_carry_family_mask_and_length() {
        assert_eq!(encoded(inet, "192.168.1.5/24"), Some(vec![2, 24, 0, 4, 192, 168, 1, 5]));
        assert_eq!(encoded(inet, "010.1.2.3"), Some(vec![2, 32, 0, 4, 10, 1, 2, 3]));
        assert_eq!(encoded(cidr, "10.0.0.0/8"), Some(vec![2, 8, 1, 4, 10, 0, 0, 0]));
        assert_eq!(encoded(inet, "::1").map(|wire| wire[..4].to_vec()), Some(vec![3, 128, 0, 16]));
        assert_eq!(encoded(inet, "::ffff:1.2.3.4/96").map(|wire| wire[14..].to_vec()), Some(vec![255, 255, 1, 2, 3, 4]));
        assert_eq!(encoded(cidr, "2001:db8::/32").map(|wire| wire[1]), Some(32));
    }

    #[test]
    fn short_foreign_and_wrong_addresses_are_left_alone() {
        for other in ["", "10", "10.1", "10.1.2", "1.2.3.4.5", "256.1.1.1", "1.2.3.4/33", "1.2.3.4/", "1.2.3.4/08", " 1.2.3.4", "::1%lo"] {
            assert_eq!(encoded(inet, other), None, "{other}");
        }
        for other in ["::1/129", ":::", "1:2:3:4:5:6:7:8:9", "::/032", "::/256", "1.2.3.4::", "-1.2.3.4"] {
            assert_eq!(encoded(inet, other), None, "{other}");
        }
        for dirty in ["10.1.2.3/24", "10.1.2.3/0", "::1/127", "2001:db8::1/64"] {
            assert_eq!(encoded(cidr, dirty), None, "{dirty}");
        }
    }

    #[test]
    fn hardware_addresses_have_seven_layouts() {
        let all = ["08:00:2b:01:02:03", "08-00-2B-01-02-03", "08002b:010203", "08002b-010203", "0800.2b01.0203", "0800-2b01-0203"];
        for same in all.iter().chain(&["08002b010203"]) {
            assert_eq!(macaddr(same.as_bytes()), Ok([8, 0, 0x2b, 1, 2, 3]), "{same}");
            assert_eq!(macaddr8(same.as_bytes()), Ok([8, 0, 0x2b, 0xff, 0xfe, 1, 2, 3]), "{same}");
        }
        assert_eq!(macaddr8(b"08-00-2b-01-02-03-04-05"), Ok([8, 0, 0x2b, 1, 2, 3, 4, 5]));
        assert_eq!(macaddr8(b"0800.2b01.0203.0405"), Ok([8, 0, 0x2b, 1, 2, 3, 4, 5]));
        for other in ["", "8:0:2b:1:2:3", "08:00-2b:01:02:03", "08:00:2b:01:02", "08:00:2b:01:02:03:", " 08002b010203", "0800:2b01:0203"] {
            assert_eq!(macaddr(other.as_bytes()), Err(FieldError::NotMine), "{other}");
        }
        for other in
            ["", ":08002b010203", "08002b010203:", "08002b01020", "08002b0102030", "08002b01020304", "08002b010203040506", "0g002b010203"]
        {
            assert_eq!(macaddr8(other.as_bytes()), Err(FieldError::NotMine), "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_address_reads_back(address: std::net::IpAddr, bits in 0u8..=32) {
            let wire = encoded(inet, &format!("{address}/{bits}")).unwrap();
            let octets = match address {
                std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
                std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
            };
            prop_assert_eq!(wire[1], bits);
            prop_assert_eq!(&wire[4..], octets);
        }

        #[test]
        fn a_cidr_is_an_inet_without_host_bits(address: u32, bits in 0u8..=32) {
            let text = format!("{}/{bits}", std::net::Ipv4Addr::from(address));
            let host_bits = u32::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
            prop_assert_eq!(encoded(cidr, &text).is_some(), address & host_bits == 0);
        }
    }
}
