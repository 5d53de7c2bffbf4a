//! Ranges of an IPPool as numbers. In: a [`Pool`]. Out: its first and last address, or what is wrong with it. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::Pool;
use crate::addresses::AddressRange;

/// First and last address of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolRange {
    first: IpAddr,
    last: IpAddr,
}

/// What is wrong with a range: the field, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeError {
    /// `start`, `end` or `subnet`; empty for the range as a whole.
    pub field: &'static str,
    /// What would be right.
    pub detail: String,
}

fn wrong<T>(field: &'static str, detail: impl Into<String>) -> Result<T, RangeError> {
    Err(RangeError { field, detail: detail.into() })
}

impl PoolRange {
    /// The range that a pool describes. Of a subnet alone, the first address is left out, and the last one of IPv4: they
    /// are the network's own.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(pool: &Pool) -> Result<Self, RangeError> {
        let start = address("start", pool.start.as_deref())?;
        let end = address("end", pool.end.as_deref())?;
        let subnet = match pool.subnet.as_deref().filter(|text| !text.is_empty()).map(str::parse::<IpNet>) {
            Some(Err(_)) => return wrong("subnet", "must be a network such as 10.0.0.0/24"),
            Some(Ok(net)) => Some(net.trunc()),
            None => None,
        };
        let range = match (start, end, subnet) {
            (Some(first), Some(last), _) => Self { first, last },
            (Some(first), None, Some(net)) => Self { first, last: net.broadcast() },
            (None, last, Some(net)) => Self::inside(net, last),
            (Some(_), None, None) => {
                return wrong("", "needs end or subnet beside start: it has no last address");
            }
            (None, Some(_), None) => {
                return wrong("", "needs start or subnet beside end: it has no first address");
            }
            (None, None, None) => return wrong("", "needs start and end, or subnet"),
        };
        range.checked(subnet)
    }

    fn inside(net: IpNet, end: Option<IpAddr>) -> Self {
        let plain = net.prefix_len() + 2 <= net.max_prefix_len();
        let last = if net.addr().is_ipv4() && plain { before(net.broadcast()) } else { net.broadcast() };
        Self { first: after(net.network()), last: end.unwrap_or(last) }
    }

    fn checked(self, subnet: Option<IpNet>) -> Result<Self, RangeError> {
        if self.first.is_ipv4() != self.last.is_ipv4() {
            return wrong("end", "must be of the same family as start");
        }
        if self.first > self.last {
            return wrong("end", format!("must not be before the first address, {}", self.first));
        }
        match subnet {
            Some(net) if !net.contains(&self.first) => wrong("start", format!("must be in the subnet {net}")),
            Some(net) if !net.contains(&self.last) => wrong("end", format!("must be in the subnet {net}")),
            _ => Ok(self),
        }
    }

    /// From one address to another of its family, which is not before it.
    #[must_use]
    pub fn between(first: IpAddr, last: IpAddr) -> Option<Self> {
        (first.is_ipv4() == last.is_ipv4() && first <= last).then_some(Self { first, last })
    }

    /// The addresses that both have.
    #[must_use]
    pub fn shared(&self, other: &Self) -> Option<Self> {
        Self::between(self.first.max(other.first), self.last.min(other.last))
    }

    /// Whether all of the other one is in it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.contains(other.first) && self.contains(other.last)
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && (self.first..=self.last).contains(&address)
    }

    /// Whether two have an address in common.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.first) || other.contains(self.first)
    }

    /// Its addresses, the first one first.
    pub fn addresses(self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.first.is_ipv4();
        (number(self.first)..=number(self.last)).map(move |number| address_of(number, v4))
    }

    /// How many addresses it has; what is more than a u128 can count is left out.
    #[must_use]
    pub fn size(&self) -> u128 {
        (number(self.last) - number(self.first)).saturating_add(1)
    }

    /// The address at a place, the first one at 0.
    #[must_use]
    pub fn nth(&self, place: u128) -> Option<IpAddr> {
        let number = number(self.first).checked_add(place).filter(|found| *found <= number(self.last))?;
        Some(address_of(number, self.first.is_ipv4()))
    }
}

impl From<IpNet> for PoolRange {
    fn from(net: IpNet) -> Self {
        Self { first: net.network(), last: net.broadcast() }
    }
}

impl From<AddressRange> for PoolRange {
    fn from(range: AddressRange) -> Self {
        Self { first: range.first.into(), last: range.last.into() }
    }
}

impl fmt::Display for PoolRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

fn address(field: &'static str, text: Option<&str>) -> Result<Option<IpAddr>, RangeError> {
    match text.filter(|text| !text.is_empty()).map(str::parse) {
        Some(Err(_)) => wrong(field, "must be an IP address"),
        Some(Ok(address)) => Ok(Some(address)),
        None => Ok(None),
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

fn address_of(number: u128, v4: bool) -> IpAddr {
    match u32::try_from(number) {
        Ok(number) if v4 => Ipv4Addr::from(number).into(),
        _ => Ipv6Addr::from(number).into(),
    }
}

fn after(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from(u32::from(address).saturating_add(1)).into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address).saturating_add(1)).into(),
    }
}

fn before(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from(u32::from(address).saturating_sub(1)).into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address).saturating_sub(1)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(start: &str, end: &str, subnet: &str) -> Pool {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Pool { start: text(start), end: text(end), subnet: text(subnet), ..Pool::default() }
    }

    #[test]
    fn ranges_in_every_form() {
        for (start, end, subnet, range, size) in [
            ("10.0.0.5", "10.0.0.9", "", "10.0.0.5-10.0.0.9", 5),
            ("10.0.0.5", "10.0.0.5", "10.0.0.0/24", "10.0.0.5-10.0.0.5", 1),
            ("10.0.0.5", "", "10.0.0.0/24", "10.0.0.5-10.0.0.255", 251),
            ("", "10.0.0.9", "10.0.0.0/24", "10.0.0.1-10.0.0.9", 9),
            ("", "", "10.0.0.7/24", "10.0.0.1-10.0.0.254", 254),
            ("", "", "10.0.0.0/31", "10.0.0.1-10.0.0.1", 1),
            ("fd00::1", "fd00::ff", "", "fd00::1-fd00::ff", 255),
            ("", "", "fd00::/126", "fd00::1-fd00::3", 3),
        ] {
            let found =
                PoolRange::of(&pool(start, end, subnet)).unwrap_or_else(|error| panic!("{range}: {error:?}"));
            assert_eq!((found.to_string().as_str(), found.size()), (range, size));
            assert_eq!(found.addresses().count() as u128, size);
            assert_eq!(found.nth(0), found.addresses().next());
            assert_eq!(found.nth(size), None);
        }
        let all = PoolRange::of(&pool("::", "", "::/0")).unwrap();
        assert_eq!(all.size(), u128::MAX);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (start, end, subnet, field) in [
            ("", "", "", ""),
            ("10.0.0.1", "", "", ""),
            ("", "10.0.0.1", "", ""),
            ("ten", "10.0.0.1", "", "start"),
            ("10.0.0.1", "10.0.0.256", "", "end"),
            ("10.0.0.9", "10.0.0.1", "", "end"),
            ("10.0.0.9", "fd00::1", "", "end"),
            ("", "", "10.0.0.0", "subnet"),
            ("", "", "10.0.0.0/33", "subnet"),
            ("10.0.1.1", "10.0.1.2", "10.0.0.0/24", "start"),
            ("10.0.0.1", "10.0.1.2", "10.0.0.0/24", "end"),
            ("", "", "10.0.0.1/32", "end"),
        ] {
            assert_eq!(
                PoolRange::of(&pool(start, end, subnet)).unwrap_err().field,
                field,
                "{start} {end} {subnet}"
            );
        }
    }

    #[test]
    fn ranges_that_meet() {
        let range = |start: &str, end: &str| PoolRange::of(&pool(start, end, "")).unwrap();
        let shared = |a: &str, b: &str, c: &str, d: &str| {
            range(a, b).shared(&range(c, d)).map(|both| both.to_string())
        };
        assert_eq!(
            shared("10.0.0.1", "10.0.0.9", "10.0.0.9", "10.0.0.20").as_deref(),
            Some("10.0.0.9-10.0.0.9")
        );
        assert_eq!(shared("10.0.0.1", "10.0.0.9", "10.0.0.10", "10.0.0.20"), None);
        assert_eq!(shared("10.0.0.1", "10.0.0.9", "fd00::1", "fd00::9"), None);
        assert!(range("10.0.0.1", "10.0.0.9").overlaps(&range("10.0.0.9", "10.0.0.20")));
        assert!(range("10.0.0.5", "10.0.0.6").overlaps(&range("10.0.0.1", "10.0.0.20")));
        assert!(!range("10.0.0.1", "10.0.0.9").overlaps(&range("10.0.0.10", "10.0.0.20")));
        assert!(!range("10.0.0.1", "10.0.0.9").overlaps(&range("::a00:1", "::a00:9")));
    }
}
