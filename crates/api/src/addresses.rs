//! Ranges of IPv4 addresses, as people write them. In: text. Out: [`AddressRange`].

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::{fmt, net::Ipv4Addr};

/// Why a text is no range.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is neither an address, a network such as 10.0.0.0/24 nor a range such as 10.0.0.5-10.0.0.9")]
pub struct BadRange(pub String);

/// An inclusive range of addresses, written `first-last`; a network or a single address can be read too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressRange {
    /// First address.
    pub first: Ipv4Addr,
    /// Last address.
    pub last: Ipv4Addr,
}

impl AddressRange {
    /// Whether the address lies in the range.
    pub fn contains(&self, ip: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&ip)
    }

    /// Number of addresses.
    pub fn size(&self) -> u64 {
        u64::from(u32::from(self.last)) - u64::from(u32::from(self.first)) + 1
    }

    /// Every address, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        (u32::from(self.first)..=u32::from(self.last)).map(Ipv4Addr::from)
    }

    /// The networks that make up the range, for routes.
    pub fn networks(&self) -> Vec<Ipv4Net> {
        ipnet::Ipv4Subnets::new(self.first, self.last, 0).collect()
    }

    /// Whether both have an address in common.
    pub fn overlaps(&self, other: &AddressRange) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl From<Ipv4Addr> for AddressRange {
    fn from(ip: Ipv4Addr) -> Self {
        Self { first: ip, last: ip }
    }
}

impl From<Ipv4Net> for AddressRange {
    fn from(net: Ipv4Net) -> Self {
        Self { first: net.network(), last: net.broadcast() }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl From<AddressRange> for String {
    fn from(range: AddressRange) -> Self {
        range.to_string()
    }
}

impl TryFrom<String> for AddressRange {
    type Error = BadRange;
    fn try_from(text: String) -> Result<Self, BadRange> {
        text.parse()
    }
}

impl std::str::FromStr for AddressRange {
    type Err = BadRange;
    fn from_str(text: &str) -> Result<Self, BadRange> {
        let bad = || BadRange(text.to_owned());
        if let Some((first, last)) = text.split_once('-') {
            let first = first.trim().parse().map_err(|_| bad())?;
            let last = last.trim().parse().map_err(|_| bad())?;
            return if first <= last { Ok(Self { first, last }) } else { Err(bad()) };
        }
        if let Ok(net) = text.parse::<Ipv4Net>() {
            return Ok(net.into());
        }
        let ip = text.trim().parse().map_err(|_| bad())?;
        Ok(Self { first: ip, last: ip })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_in_three_forms() {
        for (text, size) in [("10.0.0.5", 1), ("10.0.0.0/30", 4), ("10.0.0.1 - 10.0.0.3", 3)] {
            assert_eq!(text.parse::<AddressRange>().unwrap().size(), size);
        }
        assert!("10.0.0.9-10.0.0.1".parse::<AddressRange>().is_err());
        assert!("pool".parse::<AddressRange>().is_err());
    }
}
