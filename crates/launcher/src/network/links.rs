//! Interfaces, addresses, routes and neighbours: what the launcher reads and writes of them.

use std::io;
use std::net::Ipv4Addr;

use super::learned::{Mac, Route};
use super::netlink::{Answer, Make, Request, Socket, attributes};

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWNEIGH: u16 = 28;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_PROTINFO: u16 = 12;
const IFLA_LINKINFO: u16 = 18;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_BR_MCAST_SNOOPING: u16 = 23;
const IFLA_BRPORT_LEARNING: u16 = 8;
const IFLA_INET_CONF: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IPV4_DEVCONF_ARP_IGNORE: u16 = 19;
const IPV4_DEVCONF_ACCEPT_LOCAL: u16 = 23;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;

const AF_INET: u8 = 2;
const AF_BRIDGE: u8 = 7;
const AF_INET6: u8 = 10;
const IFF_UP: u32 = 1;
const RT_TABLE_MAIN: u8 = 254;
const RT_SCOPE_LINK: u8 = 253;
const RTPROT_STATIC: u8 = 4;
const RTN_UNICAST: u8 = 1;
const NUD_PERMANENT: u16 = 0x80;

const LINK_FIXED: usize = 16;
const ADDRESS_FIXED: usize = 8;
const ROUTE_FIXED: usize = 12;

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
}

/// An IPv4 address with its prefix length.
pub type Address = (Ipv4Addr, u8);

/// All interfaces.
pub fn list(socket: &mut Socket) -> io::Result<Vec<Link>> {
    let answers = socket.send(Request::dump(RTM_GETLINK, &[0; LINK_FIXED]))?;
    Ok(answers.iter().map(link).collect())
}

fn link(answer: &Answer) -> Link {
    let attribute = |kind| answer.attribute(LINK_FIXED, kind);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned();
    let info =
        |bytes| attributes(bytes).find(|(kind, _)| *kind == IFLA_INFO_KIND).map(|(_, name)| text(name));
    Link {
        index: answer.u32_at(4),
        name: attribute(IFLA_IFNAME).map(text).unwrap_or_default(),
        kind: attribute(IFLA_LINKINFO).and_then(info).unwrap_or_default(),
        mac: attribute(IFLA_ADDRESS).and_then(|bytes| bytes.try_into().ok()).map(Mac),
        mtu: attribute(IFLA_MTU).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes),
    }
}

/// The IPv4 addresses of an interface.
pub fn addresses(socket: &mut Socket, index: u32) -> io::Result<Vec<Address>> {
    let answers = socket.send(Request::dump(RTM_GETADDR, &address_fixed(0, 0)))?;
    let of_link = answers.iter().filter(|answer| answer.u32_at(4) == index);
    Ok(of_link
        .filter_map(|answer| {
            Some((ipv4(answer.attribute(ADDRESS_FIXED, IFA_LOCAL)?)?, *answer.bytes().get(1)?))
        })
        .collect())
}

/// The IPv4 routes of the main table through an interface. Link-local scope without gateway means on-link.
pub fn routes(socket: &mut Socket, index: u32) -> io::Result<Vec<Route>> {
    let fixed = [AF_INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let answers = socket.send(Request::dump(RTM_GETROUTE, &fixed))?;
    let ours = answers.iter().filter(|answer| {
        let fixed = answer.bytes();
        let through = answer.attribute(ROUTE_FIXED, RTA_OIF).and_then(|bytes| bytes.try_into().ok());
        fixed.get(4) == Some(&RT_TABLE_MAIN)
            && fixed.get(7) == Some(&RTN_UNICAST)
            && through.map(u32::from_ne_bytes) == Some(index)
    });
    Ok(ours
        .filter_map(|answer| {
            let prefix = *answer.bytes().get(1)?;
            let destination =
                answer.attribute(ROUTE_FIXED, RTA_DST).map_or(Some(Ipv4Addr::UNSPECIFIED), ipv4)?;
            let gateway = answer.attribute(ROUTE_FIXED, RTA_GATEWAY).and_then(ipv4);
            Some(Route { destination, prefix, gateway })
        })
        .collect())
}

/// Makes an interface of this kind. Bridges do not snoop multicast: with two ports it only loses packets.
pub fn create(socket: &mut Socket, name: &str, kind: &str, mac: Mac, mtu: u32) -> io::Result<()> {
    let request = Request::make(RTM_NEWLINK, Make::New, &[0; LINK_FIXED])
        .name(IFLA_IFNAME, name)
        .attribute(IFLA_ADDRESS, &mac.0)
        .attribute(IFLA_MTU, &mtu.to_ne_bytes())
        .nest(IFLA_LINKINFO, |info| {
            let info = info.name(IFLA_INFO_KIND, kind);
            if kind != "bridge" {
                return info;
            }
            info.nest(IFLA_INFO_DATA, |data| data.attribute(IFLA_BR_MCAST_SNOOPING, &[0]))
        });
    socket.send(request).map(drop)
}

/// Brings an interface up or down.
pub fn set_up(socket: &mut Socket, index: u32, up: bool) -> io::Result<()> {
    socket
        .send(Request::change(RTM_SETLINK, &link_fixed(0, index, if up { IFF_UP } else { 0 }, IFF_UP)))
        .map(drop)
}

/// Renames an interface; it must be down.
pub fn rename(socket: &mut Socket, index: u32, name: &str) -> io::Result<()> {
    socket.send(set(index).name(IFLA_IFNAME, name)).map(drop)
}

/// Sets an interface's MAC.
pub fn set_mac(socket: &mut Socket, index: u32, mac: Mac) -> io::Result<()> {
    socket.send(set(index).attribute(IFLA_ADDRESS, &mac.0)).map(drop)
}

/// Sets an interface's MTU.
pub fn set_mtu(socket: &mut Socket, index: u32, mtu: u32) -> io::Result<()> {
    socket.send(set(index).attribute(IFLA_MTU, &mtu.to_ne_bytes())).map(drop)
}

/// Makes an interface a port of a bridge.
pub fn set_master(socket: &mut Socket, index: u32, bridge: u32) -> io::Result<()> {
    socket.send(set(index).attribute(IFLA_MASTER, &bridge.to_ne_bytes())).map(drop)
}

/// Keeps a bridge port from learning where MACs are.
pub fn set_no_learning(socket: &mut Socket, index: u32) -> io::Result<()> {
    let request = Request::change(RTM_SETLINK, &link_fixed(AF_BRIDGE, index, 0, 0));
    socket.send(request.nest(IFLA_PROTINFO, |port| port.attribute(IFLA_BRPORT_LEARNING, &[0]))).map(drop)
}

/// Keeps the kernel from giving the interface a link-local IPv6 address. Nothing to do where IPv6 is off.
pub fn set_no_ipv6_address(socket: &mut Socket, index: u32) -> io::Result<()> {
    let request = set(index).nest(IFLA_AF_SPEC, |spec| {
        spec.nest(AF_INET6.into(), |inet6| {
            inet6.attribute(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE])
        })
    });
    match socket.send(request) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) => Ok(()),
        other => other.map(drop),
    }
}

/// Sets `arp_ignore` and `accept_local` of an interface. Not by /proc/sys, which is read-only in a container.
pub fn set_address_rules(socket: &mut Socket, index: u32) -> io::Result<()> {
    let one = 1_u32.to_ne_bytes();
    let request = set(index).nest(IFLA_AF_SPEC, |spec| {
        spec.nest(AF_INET.into(), |inet| {
            inet.nest(IFLA_INET_CONF, |conf| {
                conf.attribute(IPV4_DEVCONF_ARP_IGNORE, &one).attribute(IPV4_DEVCONF_ACCEPT_LOCAL, &one)
            })
        })
    });
    socket.send(request).map(drop)
}

/// Gives an interface an address; fine if it has it.
pub fn add_address(socket: &mut Socket, index: u32, (address, prefix): Address) -> io::Result<()> {
    let request = Request::make(RTM_NEWADDR, Make::Replace, &address_fixed(prefix, index));
    socket.send(request.attribute(IFA_LOCAL, &address.octets())).map(drop)
}

/// Takes an address from an interface.
pub fn delete_address(socket: &mut Socket, index: u32, (address, prefix): Address) -> io::Result<()> {
    let request = Request::change(RTM_DELADDR, &address_fixed(prefix, index));
    socket.send(request.attribute(IFA_LOCAL, &address.octets())).map(drop)
}

/// Makes one address reachable through an interface.
pub fn add_host_route(socket: &mut Socket, index: u32, address: Ipv4Addr) -> io::Result<()> {
    let fixed = [AF_INET, 32, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_LINK, RTN_UNICAST, 0, 0, 0, 0];
    let request = Request::make(RTM_NEWROUTE, Make::Replace, &fixed)
        .attribute(RTA_DST, &address.octets())
        .attribute(RTA_OIF, &index.to_ne_bytes());
    socket.send(request).map(drop)
}

/// Says for good which MAC an address has on an interface.
pub fn set_neighbour(socket: &mut Socket, index: u32, address: Ipv4Addr, mac: Mac) -> io::Result<()> {
    let mut fixed = [AF_INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[8..10].copy_from_slice(&NUD_PERMANENT.to_ne_bytes());
    let request = Request::make(RTM_NEWNEIGH, Make::Replace, &fixed)
        .attribute(NDA_DST, &address.octets())
        .attribute(NDA_LLADDR, &mac.0);
    socket.send(request).map(drop)
}

fn set(index: u32) -> Request {
    Request::change(RTM_SETLINK, &link_fixed(0, index, 0, 0))
}

/// `struct ifinfomsg`.
fn link_fixed(family: u8, index: u32, flags: u32, change: u32) -> [u8; LINK_FIXED] {
    let mut fixed = [0; LINK_FIXED];
    fixed[0] = family;
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[8..12].copy_from_slice(&flags.to_ne_bytes());
    fixed[12..16].copy_from_slice(&change.to_ne_bytes());
    fixed
}

/// `struct ifaddrmsg`.
fn address_fixed(prefix: u8, index: u32) -> [u8; ADDRESS_FIXED] {
    let mut fixed = [AF_INET, prefix, 0, 0, 0, 0, 0, 0];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed
}

fn ipv4(bytes: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from)
}
