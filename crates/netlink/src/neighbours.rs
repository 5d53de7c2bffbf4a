//! Which MAC an address has on an interface, and behind which machine a MAC is on a tunnel.

use std::net::IpAddr;

use rustix::io::Errno;

use crate::message::{self, Attributes, BRIDGE, Make, Request};
use crate::socket::Answer;
use crate::{Mac, Netlink, NetlinkError};

const NEW: u16 = 28;
const DELETE: u16 = 29;
const GET: u16 = 30;

/// `struct ndmsg`.
const FIXED: usize = 12;
const DESTINATION: u16 = 1;
const LINK_ADDRESS: u16 = 2;
const LINK: u16 = 8;
const NO_ARP: u16 = 0x40;
const PERMANENT: u16 = 0x80;
/// The entry is of the device itself, not of a bridge above it.
const SELF: u8 = 2;

/// An address whose MAC was said for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbour {
    /// The address.
    pub address: IpAddr,
    /// Its MAC.
    pub mac: Mac,
}

/// A MAC behind a tunnel, and the machine to which its frames are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Forwarding {
    /// The MAC.
    pub mac: Mac,
    /// The machine's address.
    pub to: IpAddr,
}

impl Netlink {
    /// The neighbours on an interface that were said for good: not those that the kernel has found.
    pub fn neighbours(&mut self, link: u32) -> Result<Vec<Neighbour>, NetlinkError> {
        let ask = Request::dump(GET, &[0; FIXED], Attributes::new().number(LINK, link));
        let answers = self.socket.dump_of("list neighbours", &ask)?;
        Ok(answers.iter().filter_map(|answer| read_neighbour(answer, link)).collect())
    }

    /// Says for good which MAC an address has on an interface.
    pub fn set_neighbour(&mut self, link: u32, address: IpAddr, mac: Mac) -> Result<(), NetlinkError> {
        let request =
            Request::make(NEW, Make::Replace, &neighbour(link, address), neighbour_of(address, mac));
        self.socket.change(&format!("make {address} a neighbour"), request)
    }

    /// Removes a neighbour. One that is gone already is no error.
    pub fn remove_neighbour(&mut self, link: u32, address: IpAddr) -> Result<(), NetlinkError> {
        let attributes = Attributes::new().bytes(DESTINATION, &message::octets(address));
        let request = Request::change(DELETE, &neighbour(link, address), attributes);
        self.remove(&format!("remove the neighbour {address}"), request)
    }

    /// The MACs behind a tunnel.
    pub fn forwardings(&mut self, link: u32) -> Result<Vec<Forwarding>, NetlinkError> {
        // The kernel cannot be asked for those of one tunnel.
        let ask = Request::dump(GET, &fixed(BRIDGE, 0, 0, 0), Attributes::new());
        let answers = self.socket.dump_of("list forwarding entries", &ask)?;
        Ok(answers.iter().filter_map(|answer| read_forwarding(answer, link)).collect())
    }

    /// Has the frames to a MAC sent to a machine.
    pub fn set_forwarding(&mut self, link: u32, entry: &Forwarding) -> Result<(), NetlinkError> {
        let Forwarding { mac, to } = entry;
        let request = Request::make(NEW, Make::Replace, &forwarding(link), forwarding_of(entry));
        self.socket.change(&format!("forward frames for {mac} to {to}"), request)
    }

    /// Removes an entry. One that is gone already is no error.
    pub fn remove_forwarding(&mut self, link: u32, entry: &Forwarding) -> Result<(), NetlinkError> {
        let request = Request::change(DELETE, &forwarding(link), forwarding_of(entry));
        self.remove(&format!("forward no frames for {}", entry.mac), request)
    }

    fn remove(&mut self, what: &str, request: Request) -> Result<(), NetlinkError> {
        match self.socket.change(what, request) {
            Err(error) if error.is(Errno::NOENT) => Ok(()),
            other => other,
        }
    }
}

fn fixed(family: u8, link: u32, state: u16, flags: u8) -> [u8; FIXED] {
    let mut fixed = [0; FIXED];
    fixed[0] = family;
    fixed[4..8].copy_from_slice(&link.to_ne_bytes());
    fixed[8..10].copy_from_slice(&state.to_ne_bytes());
    fixed[10] = flags;
    fixed
}

fn neighbour(link: u32, address: IpAddr) -> [u8; FIXED] {
    fixed(message::family(address), link, PERMANENT, 0)
}

fn neighbour_of(address: IpAddr, mac: Mac) -> Attributes {
    Attributes::new().bytes(DESTINATION, &message::octets(address)).bytes(LINK_ADDRESS, &mac.0)
}

fn forwarding(link: u32) -> [u8; FIXED] {
    fixed(BRIDGE, link, NO_ARP | PERMANENT, SELF)
}

fn forwarding_of(entry: &Forwarding) -> Attributes {
    Attributes::new().bytes(LINK_ADDRESS, &entry.mac.0).bytes(DESTINATION, &message::octets(entry.to))
}

/// Family, address or machine, and MAC of an entry of this interface; `None` for one that the kernel has found itself.
fn read(answer: &Answer, link: u32) -> Option<(u8, &[u8], Mac)> {
    let family = *answer.body.first()?;
    let lasting = message::u16_at(&answer.body, 8)? & PERMANENT != 0;
    let ours = lasting && message::u32_at(&answer.body, 4)? == link;
    let of = |kind| message::attribute(&answer.body, FIXED, kind);
    let mac = Mac(of(LINK_ADDRESS)?.try_into().ok()?);
    ours.then_some((family, of(DESTINATION)?, mac))
}

fn read_neighbour(answer: &Answer, link: u32) -> Option<Neighbour> {
    let (family, address, mac) = read(answer, link)?;
    Some(Neighbour { address: message::address(family, address)?, mac })
}

fn read_forwarding(answer: &Answer, link: u32) -> Option<Forwarding> {
    let (family, machine, mac) = read(answer, link)?;
    let to = match machine.len() {
        4 => message::address(message::INET, machine)?,
        _ => message::address(message::INET6, machine)?,
    };
    (family == BRIDGE).then_some(Forwarding { mac, to })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 83, 192, 0, 2, 9]);

    fn answer(fixed: [u8; FIXED], attributes: Attributes) -> Answer {
        Answer { body: Request::change(NEW, &fixed, attributes).numbered(1)[16..].to_vec() }
    }

    #[test]
    fn entries_are_read_as_they_were_written() {
        for address in ["10.244.1.0", "fd24:1::"] {
            let address = address.parse().unwrap();
            let written = answer(neighbour(7, address), neighbour_of(address, MAC));
            assert_eq!(read_neighbour(&written, 7), Some(Neighbour { address, mac: MAC }));
            assert_eq!(read_neighbour(&written, 8), None, "of another interface");
            assert_eq!(read_forwarding(&written, 7), None);
            let entry = Forwarding { mac: MAC, to: address };
            assert_eq!(read_forwarding(&answer(forwarding(7), forwarding_of(&entry)), 7), Some(entry));
        }
    }

    #[test]
    fn what_the_kernel_found_itself_and_what_is_cut_short_is_left_out() {
        const REACHABLE: u16 = 2;
        let address: IpAddr = "10.244.1.0".parse().unwrap();
        let found = fixed(message::INET, 7, REACHABLE, 0);
        assert_eq!(read_neighbour(&answer(found, neighbour_of(address, MAC)), 7), None);
        let whole = answer(neighbour(7, address), neighbour_of(address, MAC));
        for length in 0..FIXED {
            assert_eq!(read_neighbour(&Answer { body: whole.body[..length].to_vec() }, 7), None);
        }
    }
}
