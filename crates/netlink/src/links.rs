//! Interfaces.

use rustix::io::Errno;

use crate::message::{self, Attributes, BRIDGE, INET, INET6, Make, Request};
use crate::socket::Answer;
use crate::{Mac, Netlink, NetlinkError};

pub(crate) const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const SET_LINK: u16 = 19;

/// `struct ifinfomsg`.
pub(crate) const FIXED: usize = 16;
pub(crate) const ADDRESS: u16 = 1;
pub(crate) const NAME: u16 = 3;
pub(crate) const MTU: u16 = 4;
const MASTER: u16 = 10;
const PORT: u16 = 12;
pub(crate) const INFO: u16 = 18;
const SPEC: u16 = 26;
pub(crate) const INFO_KIND: u16 = 1;
pub(crate) const INFO_DATA: u16 = 2;
const BRIDGE_SNOOPING: u16 = 23;
const PORT_LEARNING: u16 = 8;
const INET_CONF: u16 = 1;
const INET6_ADDRESS_MODE: u16 = 8;
const CONF_ARP_IGNORE: u16 = 19;
const CONF_ACCEPT_LOCAL: u16 = 23;
const MODE_NONE: u8 = 1;
const UP: u32 = 1;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// `dummy`, `bridge`, `veth`, ...; empty for physical ones.
    pub kind: String,
    /// Its MAC.
    pub mac: Option<Mac>,
    /// Its MTU.
    pub mtu: u32,
    /// Whether it is set up.
    pub up: bool,
}

/// An interface to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewLink<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its kind. Bridges do not snoop multicast: with two ports it only loses packets.
    pub kind: &'a str,
    /// Its MAC.
    pub mac: Mac,
    /// Its MTU.
    pub mtu: u32,
}

impl Netlink {
    /// All interfaces.
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        Ok(self.link_answers()?.iter().filter_map(read).collect())
    }

    pub(crate) fn link_answers(&mut self) -> Result<Vec<Answer>, NetlinkError> {
        self.socket.dump("list links", GET_LINK)
    }

    /// Makes an interface.
    pub fn create_link(&mut self, link: &NewLink<'_>) -> Result<(), NetlinkError> {
        let info = Attributes::new().text(INFO_KIND, link.kind);
        let info = match link.kind {
            "bridge" => info.nest(INFO_DATA, Attributes::new().bytes(BRIDGE_SNOOPING, &[0])),
            _ => info,
        };
        let attributes = Attributes::new()
            .text(NAME, link.name)
            .bytes(ADDRESS, &link.mac.0)
            .number(MTU, link.mtu)
            .nest(INFO, info);
        let request = Request::make(NEW_LINK, Make::New, &fixed(0, 0, 0, 0), attributes);
        self.socket.change(&format!("make {} {}", link.kind, link.name), request)
    }

    /// Removes an interface, and with it its addresses, routes and neighbours. One that is gone already is no error.
    pub fn delete_link(&mut self, index: u32) -> Result<(), NetlinkError> {
        let request = Request::change(DELETE_LINK, &fixed(0, index, 0, 0), Attributes::new());
        match self.socket.change("remove a link", request) {
            Err(error) if error.is(Errno::NODEV) => Ok(()),
            other => other,
        }
    }

    /// Brings an interface up or down.
    pub fn set_up(&mut self, index: u32, up: bool) -> Result<(), NetlinkError> {
        let fixed = fixed(0, index, if up { UP } else { 0 }, UP);
        let what = if up { "set a link up" } else { "set a link down" };
        self.socket.change(what, Request::change(SET_LINK, &fixed, Attributes::new()))
    }

    /// Renames an interface; it must be down.
    pub fn rename(&mut self, index: u32, name: &str) -> Result<(), NetlinkError> {
        self.set(&format!("rename a link to {name}"), index, Attributes::new().text(NAME, name))
    }

    /// Sets an interface's MAC.
    pub fn set_mac(&mut self, index: u32, mac: Mac) -> Result<(), NetlinkError> {
        self.set("set a MAC", index, Attributes::new().bytes(ADDRESS, &mac.0))
    }

    /// Sets an interface's MTU.
    pub fn set_mtu(&mut self, index: u32, mtu: u32) -> Result<(), NetlinkError> {
        self.set(&format!("set the MTU to {mtu}"), index, Attributes::new().number(MTU, mtu))
    }

    /// Makes an interface a port of a bridge.
    pub fn set_master(&mut self, index: u32, bridge: u32) -> Result<(), NetlinkError> {
        self.set("make a link a port of a bridge", index, Attributes::new().number(MASTER, bridge))
    }

    /// Keeps a bridge port from learning where MACs are.
    pub fn set_no_learning(&mut self, index: u32) -> Result<(), NetlinkError> {
        let port = Attributes::new().nest(PORT, Attributes::new().bytes(PORT_LEARNING, &[0]));
        let request = Request::change(SET_LINK, &fixed(BRIDGE, index, 0, 0), port);
        self.socket.change("keep a port from learning", request)
    }

    /// Keeps the kernel from giving the interface a link-local IPv6 address. Nothing to do where IPv6 is off.
    pub fn set_no_ipv6_address(&mut self, index: u32) -> Result<(), NetlinkError> {
        let mode = Attributes::new().bytes(INET6_ADDRESS_MODE, &[MODE_NONE]);
        let spec = Attributes::new().nest(SPEC, Attributes::new().nest(INET6.into(), mode));
        match self.set("keep a link without an IPv6 address", index, spec) {
            Err(error) if error.is(Errno::AFNOSUPPORT) => Ok(()),
            other => other,
        }
    }

    /// Sets `arp_ignore` and `accept_local` of an interface. Not by /proc/sys, which is read-only in a container.
    pub fn set_address_rules(&mut self, index: u32) -> Result<(), NetlinkError> {
        let conf = Attributes::new().number(CONF_ARP_IGNORE, 1).number(CONF_ACCEPT_LOCAL, 1);
        let inet = Attributes::new().nest(INET_CONF, conf);
        let spec = Attributes::new().nest(SPEC, Attributes::new().nest(INET.into(), inet));
        self.set("set the address rules of a link", index, spec)
    }

    fn set(&mut self, what: &str, index: u32, attributes: Attributes) -> Result<(), NetlinkError> {
        self.socket.change(what, Request::change(SET_LINK, &fixed(0, index, 0, 0), attributes))
    }
}

fn fixed(family: u8, index: u32, flags: u32, change: u32) -> [u8; FIXED] {
    let mut fixed = [0; FIXED];
    fixed[0] = family;
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[8..12].copy_from_slice(&flags.to_ne_bytes());
    fixed[12..16].copy_from_slice(&change.to_ne_bytes());
    fixed
}

fn read(answer: &Answer) -> Option<Link> {
    let of = |kind| message::attribute(&answer.body, FIXED, kind);
    let kind = |info| message::attribute(info, 0, INFO_KIND).map(message::text);
    Some(Link {
        index: message::u32_at(&answer.body, 4)?,
        name: of(NAME).map(message::text).unwrap_or_default(),
        kind: of(INFO).and_then(kind).unwrap_or_default(),
        mac: of(ADDRESS).and_then(|bytes| bytes.try_into().ok()).map(Mac),
        mtu: of(MTU).and_then(|bytes| message::u32_at(bytes, 0)).unwrap_or(0),
        up: message::u32_at(&answer.body, 8)? & UP != 0,
    })
}
