//! What the Pod's network was before the guest took it over: learned once, kept in a file for both containers.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::dhcp::Lease;

/// The file in the run directory.
const FILE: &str = "network.json";

/// A MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

/// What the guest takes over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Learned {
    /// MAC of the Pod's interface.
    #[serde(with = "mac_text")]
    pub mac: Mac,
    /// Its MTU.
    pub mtu: u16,
    /// The Pod's IPv4 address.
    pub address: Ipv4Addr,
    /// Its prefix length.
    pub prefix: u8,
    /// Routes through the Pod's interface.
    pub routes: Vec<Route>,
    /// Name servers.
    pub nameservers: Vec<Ipv4Addr>,
    /// Search domains.
    pub search: Vec<String>,
}

/// A route through the Pod's interface; without gateway the destination is on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// First address.
    pub destination: Ipv4Addr,
    /// Prefix length.
    pub prefix: u8,
    /// Next hop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
}

/// Why there is nothing to take over.
#[derive(Debug, thiserror::Error)]
pub enum LearnedError {
    /// The file cannot be read or written.
    #[error("cannot use {path}")]
    File {
        /// Its path.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not ours.
    #[error("what the network container left is not valid")]
    Parse(#[source] serde_json::Error),
    /// The interface's MAC is none.
    #[error("{0:?} is not a MAC address")]
    Mac(String),
}

impl Learned {
    /// Reads the file in `run_dir`.
    pub fn read(run_dir: &Path) -> Result<Learned, LearnedError> {
        let path = run_dir.join(FILE);
        let failed = |source| LearnedError::File { path: path.display().to_string(), source };
        serde_json::from_slice(&std::fs::read(&path).map_err(failed)?).map_err(LearnedError::Parse)
    }

    /// Writes the file in `run_dir`: whole or not at all.
    pub fn write(&self, run_dir: &Path) -> Result<(), LearnedError> {
        let path = run_dir.join(FILE);
        let failed = |source| LearnedError::File { path: path.display().to_string(), source };
        let text = serde_json::to_vec(self).map_err(LearnedError::Parse)?;
        let new = run_dir.join("network.json.new");
        std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &path)).map_err(failed)
    }

    /// What the guest is told by DHCP.
    pub fn lease(&self, hostname: &str) -> Lease {
        Lease {
            mac: self.mac,
            address: self.address,
            prefix: self.prefix,
            mtu: self.mtu,
            routes: self.routes.clone(),
            nameservers: self.nameservers.clone(),
            search: self.search.clone(),
            hostname: hostname.to_owned(),
        }
    }
}

/// IPv4 name servers and search domains of a resolver configuration. The last `search` or `domain` counts.
pub fn resolver(text: &str) -> (Vec<Ipv4Addr>, Vec<String>) {
    let mut nameservers = Vec::new();
    let mut search = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => {
                nameservers.extend(words.next().and_then(|word| word.parse::<Ipv4Addr>().ok()))
            }
            Some("search" | "domain") => search = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    (nameservers, search)
}

impl FromStr for Mac {
    type Err = LearnedError;

    fn from_str(text: &str) -> Result<Mac, LearnedError> {
        let parts = text.split([':', '-']).map(|part| match part.len() {
            2 => u8::from_str_radix(part, 16).ok(),
            _ => None,
        });
        let bytes: Option<Vec<u8>> = parts.collect();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Mac).ok_or_else(|| LearnedError::Mac(text.to_owned()))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

mod mac_text {
    use super::Mac;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(mac: &Mac, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(mac)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Mac, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolver_keeps_what_dhcp_can_say() {
        let text = "# x\nnameserver 10.86.0.10\nnameserver fd00::1\nsearch old\nsearch default.svc.cluster.local svc\noptions ndots:5\n";
        let (nameservers, search) = resolver(text);
        assert_eq!(nameservers, [Ipv4Addr::new(10, 86, 0, 10)]);
        assert_eq!(search, ["default.svc.cluster.local", "svc"]);
    }

    #[test]
    fn macs_are_strict() {
        assert_eq!("02:0a:00:00:00:FF".parse::<Mac>().unwrap().to_string(), "02:0a:00:00:00:ff");
        for bad in ["", "02:0a:00:00:00", "2:0a:00:00:00:ff", "02:0a:00:00:00:fg", "02:0a:00:00:00:ff:01"] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_file_is_read_as_written() {
        let dir = tempfile::tempdir().unwrap();
        let route = Route {
            destination: Ipv4Addr::UNSPECIFIED,
            prefix: 0,
            gateway: Some(Ipv4Addr::new(10, 85, 0, 1)),
        };
        let learned = Learned {
            mac: Mac([2, 0, 0, 0, 0, 1]),
            mtu: 1450,
            address: Ipv4Addr::new(10, 85, 0, 9),
            prefix: 16,
            routes: vec![route],
            nameservers: vec![],
            search: vec![],
        };
        learned.write(dir.path()).unwrap();
        assert_eq!(Learned::read(dir.path()).unwrap(), learned);
    }
}
