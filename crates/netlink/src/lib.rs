//! Links, addresses, routes, taps and rules of one network namespace. In: plain data. Out: the kernel's tables changed,
//! or read. Never: another program, a decision about what should be there.

mod message;
mod monitor;
mod nftables;
mod socket;
pub mod tap;

pub use monitor::Monitor;
pub use nftables::{Firewall, Masquerade, TABLE};
pub use socket::Netlink;

use ipnet::IpNet;
use std::net::IpAddr;

/// `rtm_protocol` of the agent's routes: how it knows its own. Free in iproute2's table, below the reserved ones.
pub const PROTOCOL: u8 = 83;

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalAddress {
    /// The address with its prefix.
    pub net: IpNet,
    /// Index of the interface.
    pub link: u32,
}

/// A route by way of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Where it leads.
    pub destination: IpNet,
    /// The next hop.
    pub gateway: IpAddr,
    /// Index of the interface that the next hop is on.
    pub link: u32,
}

/// Why the kernel could not be asked or told.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The socket failed.
    #[error("netlink: {0} failed")]
    Socket(&'static str, #[source] std::io::Error),
    /// The kernel refused a request.
    #[error("netlink: the kernel refused to {0}")]
    Refused(String, #[source] std::io::Error),
    /// An answer that does not follow the protocol.
    #[error("netlink: an answer of the kernel is malformed")]
    Malformed,
}
