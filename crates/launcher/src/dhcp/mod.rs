//! DHCP for one guest, which gets the Pod's own address.

mod packet;
mod server;

use std::net::Ipv4Addr;

pub use server::Server;

use scute_netlink::Mac;

use super::network::Route;

/// What the guest is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The guest's MAC; nobody else is answered.
    pub mac: Mac,
    /// Its address: the Pod's.
    pub address: Ipv4Addr,
    /// Prefix length of its subnet.
    pub prefix: u8,
    /// MTU of the Pod's network.
    pub mtu: u16,
    /// The Pod's routes.
    pub routes: Vec<Route>,
    /// Name servers.
    pub nameservers: Vec<Ipv4Addr>,
    /// Search domains.
    pub search: Vec<String>,
    /// Host name.
    pub hostname: String,
}
