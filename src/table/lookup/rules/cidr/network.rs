//! The pattern of a cidr rule.
//!
//! Purpose: parse `[!]address[/length]` with its brackets. May: compute. Never: guess.

use super::{Address, address};
use mapkeep_table_format::Fault;
use mapkeep_table_format::text::is_space;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network of one family: its address, and how many of the leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix<T> {
    pub address: T,
    pub length: u32,
}

/// A network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    V4(Prefix<u32>),
    V6(Prefix<u128>),
}

impl Network {
    pub fn v4(self) -> Option<Prefix<u32>> {
        match self {
            Network::V4(prefix) => Some(prefix),
            Network::V6(_) => None,
        }
    }

    pub fn v6(self) -> Option<Prefix<u128>> {
        match self {
            Network::V6(prefix) => Some(prefix),
            Network::V4(_) => None,
        }
    }
}

/// A network, and whether a rule is for addresses outside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub negated: bool,
    pub network: Network,
}

/// An address as a bit string.
pub(crate) trait Bits: Copy + Ord + std::ops::BitAnd<Output = Self> {
    const WIDTH: u32;

    /// The leading `length` bits set.
    fn mask(length: u32) -> Self;

    /// As an address, to be shown.
    fn shown(self) -> IpAddr;
}

impl Bits for u32 {
    const WIDTH: u32 = 32;

    fn mask(length: u32) -> u32 {
        u32::MAX.checked_shl(Self::WIDTH.saturating_sub(length)).unwrap_or(0)
    }

    fn shown(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(self))
    }
}

impl Bits for u128 {
    const WIDTH: u32 = 128;

    fn mask(length: u32) -> u128 {
        u128::MAX.checked_shl(Self::WIDTH.saturating_sub(length)).unwrap_or(0)
    }

    fn shown(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from_bits(self))
    }
}

/// Parses `address`, `address/length`, `[address]`, `[address]/length` or `[address/length]`, after any number of
/// `!` and white space.
pub(crate) fn parse(text: &[u8]) -> Result<Parsed, Fault> {
    let start = text.iter().position(|byte| *byte != b'!' && !is_space(*byte)).ok_or(Fault::BadAddress)?;
    let (before, text) = text.split_at_checked(start).ok_or(Fault::BadAddress)?;
    let negated = before.iter().filter(|byte| **byte == b'!').count() & 1 == 1;
    let (text, after) = match text.strip_prefix(b"[") {
        Some(text) => {
            let end = text.iter().position(|byte| *byte == b']').ok_or(Fault::BadAddress)?;
            let (inside, after) = text.split_at_checked(end).ok_or(Fault::BadAddress)?;
            (inside, after.get(1..).unwrap_or_default())
        }
        None => (text, &[][..]),
    };
    let slash = |text: &[u8]| text.iter().position(|byte| *byte == b'/');
    let (address_text, length) = match (slash(text), after.split_first()) {
        (None, None) => (text, None),
        (None, Some((b'/', length))) => (text, Some(length)),
        (Some(slash), None) => {
            let (address, length) = text.split_at_checked(slash).ok_or(Fault::BadAddress)?;
            (address, length.get(1..))
        }
        _ => return Err(Fault::BadPrefixLength),
    };
    let network = match address(address_text).ok_or(Fault::BadAddress)? {
        Address::V4(address) => Network::V4(prefix(address, length)?),
        Address::V6(address) => Network::V6(prefix(address, length)?),
    };
    Ok(Parsed { negated, network })
}

fn prefix<T: Bits>(address: T, length: Option<&[u8]>) -> Result<Prefix<T>, Fault> {
    let length = match length {
        None => T::WIDTH,
        Some(digits) if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
            let digits = std::str::from_utf8(digits).map_err(|_| Fault::BadPrefixLength)?;
            digits.parse().ok().filter(|length| *length <= T::WIDTH).ok_or(Fault::BadPrefixLength)?
        }
        Some(_) => return Err(Fault::BadPrefixLength),
    };
    let network = address & T::mask(length);
    if network != address {
        let length = u8::try_from(length).unwrap_or(u8::MAX);
        return Err(Fault::HostBits { network: network.shown(), length });
    }
    Ok(Prefix { address, length })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(text: &str) -> Result<(bool, u32, u32), Fault> {
        let parsed = parse(text.as_bytes())?;
        let prefix = parsed.network.v4().unwrap();
        Ok((parsed.negated, prefix.address, prefix.length))
    }

    #[test]
    fn parse_all_forms_accepted() {
        let net = 10 << 24;
        for text in ["10.0.0.0/8", "[10.0.0.0]/8", "[10.0.0.0/8]", "!!10.0.0.0/08", "! ![10.0.0.0]/8"] {
            assert_eq!(v4(text), Ok((false, net, 8)), "{text}");
        }
        assert_eq!(v4("! 10.0.0.0"), Ok((true, net, 32)));
        assert_eq!(v4("0.0.0.0/0"), Ok((false, 0, 0)));
        let parsed = parse(b"[fe80::]/10").unwrap();
        assert_eq!(parsed.network, Network::V6(Prefix { address: 0xfe80 << 112, length: 10 }));
        assert_eq!(parse(b"::/0").unwrap().network, Network::V6(Prefix { address: 0, length: 0 }));
        assert_eq!(parse(b"::ffff:1.2.3.4").unwrap().network.v4(), None);
    }

    #[test]
    fn parse_bad_patterns_refused() {
        for text in ["", "!", "abc", "[10.0.0.0", "10.0.0.0]", "01.2.3.4", "1.2.3", "[]", "/8", "[ 1.1.1.1 ]"]
        {
            assert_eq!(v4(text), Err(Fault::BadAddress), "{text}");
        }
        for length in ["", "33", "4294967296", "+8", "-1", "8x", "8/8", "99999999999999999999", " 8"] {
            assert_eq!(v4(&format!("10.0.0.0/{length}")), Err(Fault::BadPrefixLength), "{length}");
        }
        for text in ["[10.0.0.0]8", "[10.0.0.0/8]/8", "[10.0.0.0]x"] {
            assert_eq!(v4(text), Err(Fault::BadPrefixLength), "{text}");
        }
        let meant = |network: &str, length| Fault::HostBits { network: network.parse().unwrap(), length };
        assert_eq!(v4("10.0.0.1/8"), Err(meant("10.0.0.0", 8)));
        assert_eq!(v4("128.0.0.0/0"), Err(meant("0.0.0.0", 0)));
        assert_eq!(parse(b"2001:db8::1/32"), Err(meant("2001:db8::", 32)));
        assert_eq!(parse(b"::1/129"), Err(Fault::BadPrefixLength));
    }
}
