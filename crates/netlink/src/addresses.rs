//! Addresses of interfaces.

use ipnet::IpNet;

use crate::message::{self, Attributes, Make, Request};
use crate::socket::Answer;
use crate::{Netlink, NetlinkError};

const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;

/// `struct ifaddrmsg`.
const FIXED: usize = 8;
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalAddress {
    /// The address with its prefix.
    pub net: IpNet,
    /// Index of the interface.
    pub link: u32,
}

impl Netlink {
    /// The addresses of all interfaces.
    pub fn addresses(&mut self) -> Result<Vec<LocalAddress>, NetlinkError> {
        let answers = self.socket.dump("list addresses", GET_ADDRESS)?;
        Ok(answers.iter().filter_map(read).collect())
    }

    /// Gives an interface an address; fine if it has it.
    pub fn add_address(&mut self, address: &LocalAddress) -> Result<(), NetlinkError> {
        let what = format!("add address {}", address.net);
        self.socket.change(&what, Request::make(NEW_ADDRESS, Make::Replace, &fixed(address), local(address)))
    }

    /// Takes an address from an interface.
    pub fn delete_address(&mut self, address: &LocalAddress) -> Result<(), NetlinkError> {
        let what = format!("delete address {}", address.net);
        self.socket.change(&what, Request::change(DELETE_ADDRESS, &fixed(address), local(address)))
    }
}

fn fixed(address: &LocalAddress) -> [u8; FIXED] {
    let mut fixed = [message::family(address.net.addr()), address.net.prefix_len(), 0, 0, 0, 0, 0, 0];
    fixed[4..8].copy_from_slice(&address.link.to_ne_bytes());
    fixed
}

fn local(address: &LocalAddress) -> Attributes {
    Attributes::new().bytes(LOCAL, &message::octets(address.net.addr()))
}

/// An interface's address; of a point-to-point link the local end.
fn read(answer: &Answer) -> Option<LocalAddress> {
    let [family, prefix, ..] = *answer.body else { return None };
    let link = message::u32_at(&answer.body, 4)?;
    let of = |kind| message::attribute(&answer.body, FIXED, kind);
    let address = message::address(family, of(LOCAL).or_else(|| of(ADDRESS))?)?;
    Some(LocalAddress { net: IpNet::new(address, prefix).ok()?, link })
}
