//! What the Pod's network was before the guest took it over: learned once, kept in a file for both containers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use ipnet::IpNet;
use scute_dhcp::server::{Lease, Route};
use scute_netlink::Mac;
use serde::{Deserialize, Serialize};

/// 999 days, as upstream: the address lives as long as the Pod, and so does the guest.
const LEASE_SECONDS: u32 = 999 * 24 * 60 * 60;
/// The file in the run directory.
const FILE: &str = "network.json";

/// What the guest takes over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Learned {
    /// MAC of the Pod's interface.
    pub mac: Mac,
    /// Its MTU.
    pub mtu: u16,
    /// The Pod's IPv4 address.
    pub address: Ipv4Addr,
    /// Its prefix length.
    pub prefix: u8,
    /// Routes through the Pod's interface.
    pub routes: Vec<Route>,
    /// Name servers and search domains.
    #[serde(flatten)]
    pub resolver: Resolver,
}

/// What a resolver configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resolver {
    /// Name servers.
    pub nameservers: Vec<Ipv4Addr>,
    /// Name servers that the guest is not told of: it has no IPv6 on the Pod network.
    #[serde(default)]
    pub unreachable_nameservers: Vec<Ipv6Addr>,
    /// Search domains.
    pub search: Vec<String>,
}

/// The kernel's IPv4 routes; of the others the guest is not told.
pub fn route(route: &scute_netlink::Route) -> Option<Route> {
    let IpNet::V4(destination) = route.destination else { return None };
    let gateway = match route.gateway {
        Some(IpAddr::V4(gateway)) => Some(gateway),
        None => None,
        // The router of another family is none for this guest.
        Some(IpAddr::V6(_)) => return None,
    };
    Some(Route { destination: destination.network(), prefix: destination.prefix_len(), gateway })
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
            mac: self.mac.0,
            address: self.address,
            prefix: self.prefix,
            mtu: self.mtu,
            routes: self.routes.clone(),
            nameservers: self.resolver.nameservers.clone(),
            search: self.resolver.search.clone(),
            hostname: hostname.to_owned(),
            seconds: LEASE_SECONDS,
        }
    }
}

impl Resolver {
    /// Reads a resolver configuration. The last `search` or `domain` counts.
    pub fn parse(text: &str) -> Resolver {
        let mut found = Resolver::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                // An address of a link, `fe80::1%eth0`, means nothing to a guest.
                Some("nameserver") => {
                    match words.next().and_then(|word| word.split('%').next()?.parse().ok()) {
                        Some(IpAddr::V4(address)) => found.nameservers.push(address),
                        Some(IpAddr::V6(address)) => found.unreachable_nameservers.push(address),
                        None => {}
                    }
                }
                Some("search" | "domain") => found.search = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolver_keeps_what_dhcp_can_say() {
        let text = "# x\nnameserver 10.86.0.10\nnameserver fd00::1\nsearch old\nsearch default.svc.cluster.local svc\noptions ndots:5\n";
        let found = Resolver::parse(text);
        assert_eq!(found.nameservers, [Ipv4Addr::new(10, 86, 0, 10)]);
        assert_eq!(found.unreachable_nameservers, ["fd00::1".parse::<Ipv6Addr>().unwrap()]);
        assert_eq!(found.search, ["default.svc.cluster.local", "svc"]);
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
            resolver: Resolver::parse("nameserver 10.86.0.10\nnameserver fd00::1\n"),
        };
        learned.write(dir.path()).unwrap();
        assert_eq!(Learned::read(dir.path()).unwrap(), learned);
    }
}
