//! The way to the metal room: addresses that the command line gives, or DHCP on every port at once.

mod dhcp;
mod static_address;

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use scute_dhcp::client::Lease;
use scute_netlink::{Link, LocalAddress, Mac, Netlink, NetlinkError, Route};
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use static_address::{StaticAddress, StaticAddressError};

/// Links may take a minute to come up, and a switch another to forward.
const PATIENCE: Duration = Duration::from_secs(600);
/// `RTPROT_BOOT`
const BOOT: u8 = 3;
const RESOLVERS: &str = "/etc/resolv.conf";

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel.
    #[error("{0}")]
    Netlink(#[from] NetlinkError),
    /// No driver, or no port.
    #[error("the host has no network port that a driver knows")]
    NoPort,
    /// Another host's parameters, or a port without driver.
    #[error("no port has MAC {0}, for which the command line gives an address; there are: {1}")]
    NoSuchPort(Mac, String),
    /// Nobody answered.
    #[error("no DHCP server answered on any port within {} minutes", PATIENCE.as_secs() / 60)]
    NoLease,
    /// Name servers.
    #[error("cannot write {RESOLVERS}: {0}")]
    Resolvers(#[source] io::Error),
}

/// A network that works.
#[derive(Debug)]
pub struct Network {
    hostname: String,
    /// Keep leases.
    _renewals: JoinSet<()>,
}

impl Network {
    /// Brings all ports up and waits for an address.
    pub async fn up(addresses: &[StaticAddress]) -> Result<Self, NetworkError> {
        let mut netlink = Netlink::open()?;
        let links = netlink.links()?;
        for link in &links {
            netlink.set_up(link.index, true)?;
        }
        // Bridges and the like are nobody's ports; a ramdisk has none but the loopback.
        let ports: Vec<Link> =
            links.into_iter().filter(|link| link.kind.is_empty() && link.name != "lo").collect();
        if ports.is_empty() {
            return Err(NetworkError::NoPort);
        }
        if addresses.is_empty() {
            return lease(&ports).await;
        }
        for address in addresses {
            give(&mut netlink, &ports, address)?;
        }
        let resolvers: Vec<IpAddr> = addresses.iter().flat_map(|address| address.resolvers.clone()).collect();
        resolve(&resolvers, "")?;
        Ok(Network { hostname: String::new(), _renewals: JoinSet::new() })
    }

    /// The host name that DHCP gave, or nothing.
    pub fn hostname(&self) -> &str {
        &self.hostname
    }
}

fn give(netlink: &mut Netlink, ports: &[Link], address: &StaticAddress) -> Result<(), NetworkError> {
    let Some(port) = ports.iter().find(|port| port.mac == Some(address.mac)) else {
        let macs: Vec<String> = ports.iter().filter_map(|port| Some(port.mac?.to_string())).collect();
        return Err(NetworkError::NoSuchPort(address.mac, macs.join(", ")));
    };
    netlink.add_address(&LocalAddress { net: address.net, link: port.index })?;
    if let Some(gateway) = address.gateway {
        let destination = any(gateway);
        netlink.set_route(&Route {
            destination,
            gateway: Some(gateway),
            on_link: false,
            link: port.index,
            protocol: BOOT,
        })?;
    }
    tracing::info!(port = port.name, address = %address.net, "the address of the command line");
    Ok(())
}

fn any(like: IpAddr) -> IpNet {
    match like {
        IpAddr::V4(_) => IpNet::V4(Ipv4Net::default()),
        IpAddr::V6(_) => IpNet::V6(ipnet::Ipv6Net::default()),
    }
}

/// Asks on all ports; the first answer makes the default route. The others go on: the metal room may be there.
async fn lease(ports: &[Link]) -> Result<Network, NetworkError> {
    let (sender, mut leases) = tokio::sync::mpsc::unbounded_channel();
    let mut renewals = JoinSet::new();
    for port in ports {
        let Some(mac) = port.mac else { continue };
        renewals.spawn(dhcp::keep(port.name.clone(), mac, port.index, sender.clone()));
    }
    drop(sender);
    let (first, lease) =
        timeout(PATIENCE, leases.recv()).await.ok().flatten().ok_or(NetworkError::NoLease)?;
    let mut netlink = Netlink::open()?;
    take(&mut netlink, first, &lease, true)?;
    resolve(&lease.resolvers.iter().copied().map(IpAddr::V4).collect::<Vec<_>>(), &lease.domain)?;
    let hostname = lease.hostname;
    renewals.spawn(async move {
        while let Some((port, lease)) = leases.recv().await {
            if let Err(error) = take(&mut netlink, port, &lease, port == first) {
                tracing::warn!(%error, "a lease is not used");
            }
        }
    });
    Ok(Network { hostname, _renewals: renewals })
}

fn take(netlink: &mut Netlink, port: u32, lease: &Lease, default: bool) -> Result<(), NetworkError> {
    netlink.add_address(&LocalAddress { net: IpNet::V4(lease.address), link: port })?;
    if let (true, Some(gateway)) = (default, lease.gateway) {
        let gateway = IpAddr::V4(gateway);
        netlink.set_route(&Route {
            destination: any(gateway),
            gateway: Some(gateway),
            on_link: false,
            link: port,
            protocol: BOOT,
        })?;
    }
    tracing::info!(port, address = %lease.address, "an address by DHCP");
    Ok(())
}

fn resolve(resolvers: &[IpAddr], domain: &str) -> Result<(), NetworkError> {
    let mut text = String::new();
    if !domain.is_empty() {
        text.push_str(&format!("search {domain}\n"));
    }
    for resolver in resolvers {
        text.push_str(&format!("nameserver {resolver}\n"));
    }
    std::fs::create_dir_all("/etc")
        .and_then(|()| std::fs::write(RESOLVERS, text))
        .map_err(NetworkError::Resolvers)
}
