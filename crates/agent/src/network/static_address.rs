//! An address on the kernel's command line.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use scute_netlink::Mac;

/// `MAC,ADDRESS/PREFIX[,GATEWAY[,NAMESERVER...]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticAddress {
    /// Of the port.
    pub mac: Mac,
    /// The address with the length of its network's prefix.
    pub net: IpNet,
    /// Of the default route.
    pub gateway: Option<IpAddr>,
    /// Name servers.
    pub resolvers: Vec<IpAddr>,
}

/// The text is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not MAC,ADDRESS/PREFIX[,GATEWAY[,NAMESERVER...]]")]
pub struct StaticAddressError(String);

impl FromStr for StaticAddress {
    type Err = StaticAddressError;

    fn from_str(text: &str) -> Result<Self, StaticAddressError> {
        read(text).ok_or_else(|| StaticAddressError(text.to_owned()))
    }
}

fn read(text: &str) -> Option<StaticAddress> {
    let mut parts = text.split(',');
    let (mac, net) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let gateway = match parts.next() {
        None | Some("") => None,
        Some(gateway) => Some(gateway.parse().ok()?),
    };
    let resolvers = parts.map(|part| part.parse().ok()).collect::<Option<_>>()?;
    Some(StaticAddress { mac, net, gateway, resolvers })
}

impl fmt::Display for StaticAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.mac, self.net)?;
        if self.gateway.is_some() || !self.resolvers.is_empty() {
            write!(f, ",")?;
        }
        if let Some(gateway) = self.gateway {
            write!(f, "{gateway}")?;
        }
        self.resolvers.iter().try_for_each(|resolver| write!(f, ",{resolver}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_written() {
        for text in [
            "02:00:00:00:00:01,10.0.2.15/24",
            "02:00:00:00:00:01,10.0.2.15/24,10.0.2.2",
            "02:00:00:00:00:01,10.0.2.15/24,10.0.2.2,10.0.2.3,1.1.1.1",
            "02:00:00:00:00:01,fd00::5/64,,fd00::3",
        ] {
            assert_eq!(text.parse::<StaticAddress>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "02:00:00:00:00:01",
            "x,10.0.2.15/24",
            "02:00:00:00:00:01,10.0.2.15",
            "02:00:00:00:00:01,10.0.2.15/24,gw",
        ] {
            assert!(text.parse::<StaticAddress>().is_err(), "{text}");
        }
    }
}
