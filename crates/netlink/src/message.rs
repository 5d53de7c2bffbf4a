//! Encoding and decoding of rtnetlink messages (linux/netlink.h, linux/rtnetlink.h). Pure.

use super::{LocalAddress, PROTOCOL, Route};
use ipnet::IpNet;
use std::net::IpAddr;

pub(super) const NEW_LINK: u16 = 16;
pub(super) const GET_LINK: u16 = 18;
pub(super) const NEW_ADDRESS: u16 = 20;
pub(super) const GET_ADDRESS: u16 = 22;
pub(super) const NEW_ROUTE: u16 = 24;
pub(super) const DELETE_ROUTE: u16 = 25;
pub(super) const GET_ROUTE: u16 = 26;
pub(super) const ERROR: u16 = 2;
pub(super) const DONE: u16 = 3;

pub(super) const REQUEST: u16 = 0x1;
pub(super) const ACK: u16 = 0x4;
pub(super) const INTERRUPTED: u16 = 0x10;
pub(super) const DUMP: u16 = 0x300;
pub(super) const CREATE: u16 = 0x400;
pub(super) const CREATE_OR_REPLACE: u16 = 0x500;
pub(super) const APPEND: u16 = 0x800;

const HEADER: usize = 16;
const INET: u8 = 2;
const INET6: u8 = 10;
const UNICAST: u8 = 1;
const MAIN_TABLE: u8 = 254;

const LINK_MTU: u16 = 4;
const ADDRESS_ADDRESS: u16 = 1;
const ADDRESS_LOCAL: u16 = 2;
const ROUTE_DESTINATION: u16 = 1;
const ROUTE_LINK: u16 = 4;
const ROUTE_GATEWAY: u16 = 5;

/// One message of an answer.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) body: &'a [u8],
}

/// The messages in a datagram; `None` where one is cut short.
pub(super) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Option<Message<'_>>> {
    std::iter::from_fn(move || {
        if datagram.is_empty() {
            return None;
        }
        let message = split(&mut datagram);
        if message.is_none() {
            datagram = &[];
        }
        Some(message)
    })
}

fn split<'a>(datagram: &mut &'a [u8]) -> Option<Message<'a>> {
    let length = usize::try_from(u32_at(datagram, 0)?).ok()?;
    let message = Message {
        kind: u16_at(datagram, 4)?,
        flags: u16_at(datagram, 6)?,
        sequence: u32_at(datagram, 8)?,
        body: datagram.get(HEADER..length)?,
    };
    *datagram = datagram.get(aligned(length)..).unwrap_or_default();
    Some(message)
}

/// A request with its header. `body` starts with the kind's fixed part.
pub(super) fn request(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((flags | REQUEST).to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend(0u32.to_ne_bytes()); // to the kernel
    message.extend(body);
    message
}

/// The body of a dump request for every family: all fixed parts start with the family and are zero otherwise.
pub(super) const ANY: [u8; 16] = [0; 16];

/// The body that sets or removes `route`.
pub(super) fn route_body(route: &Route) -> Vec<u8> {
    let family = if route.destination.addr().is_ipv4() { INET } else { INET6 };
    let scope = 0; // universe: there is a gateway
    let mut body = vec![family, route.destination.prefix_len(), 0, 0, MAIN_TABLE, PROTOCOL, scope, UNICAST];
    body.extend(0u32.to_ne_bytes());
    attribute(&mut body, ROUTE_DESTINATION, &octets(route.destination.network()));
    attribute(&mut body, ROUTE_GATEWAY, &octets(route.gateway));
    attribute(&mut body, ROUTE_LINK, &route.link.to_ne_bytes());
    body
}

pub(super) fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(aligned(body.len()), 0);
}

/// Our own route in the main table, or `None` for anybody else's.
pub(super) fn read_route(body: &[u8]) -> Option<Route> {
    let [family, prefix, _, _, table, protocol, _, kind, ..] = *body else { return None };
    if (table, protocol, kind) != (MAIN_TABLE, PROTOCOL, UNICAST) {
        return None;
    }
    let mut destination = None;
    let mut gateway = None;
    let mut link = None;
    for (kind, value) in attributes(body.get(12..)?) {
        match kind {
            ROUTE_DESTINATION => destination = address(family, value),
            ROUTE_GATEWAY => gateway = address(family, value),
            ROUTE_LINK => link = u32_at(value, 0),
            _ => {}
        }
    }
    let destination = IpNet::new(destination?, prefix).ok()?;
    Some(Route { destination, gateway: gateway?, link: link? })
}

/// An interface's address; of a point-to-point link the local end.
pub(super) fn read_address(body: &[u8]) -> Option<LocalAddress> {
    let [family, prefix, ..] = *body else { return None };
    let link = u32_at(body, 4)?;
    let mut found = None;
    for (kind, value) in attributes(body.get(8..)?) {
        match kind {
            ADDRESS_LOCAL => found = address(family, value),
            ADDRESS_ADDRESS if found.is_none() => found = address(family, value),
            _ => {}
        }
    }
    Some(LocalAddress { net: IpNet::new(found?, prefix).ok()?, link })
}

/// Index and MTU of an interface.
pub(super) fn read_mtu(body: &[u8]) -> Option<(u32, u32)> {
    let link = u32_at(body, 4)?;
    let mtu = attributes(body.get(16..)?).find(|(kind, _)| *kind == LINK_MTU);
    Some((link, u32_at(mtu?.1, 0)?))
}

/// The error number of an ERROR or DONE message, 0 for success.
pub(super) fn read_error(body: &[u8]) -> Option<i32> {
    u32_at(body, 0).map(|number| number.cast_signed().wrapping_neg())
}

fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let kind = u16_at(rest, 2)? & 0x3fff; // without the flags for nesting and byte order
        let value = rest.get(4..length)?;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn address(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        INET => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        INET6 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route() -> Route {
        let destination = "10.244.1.0/24".parse().unwrap();
        Route { destination, gateway: "10.85.0.7".parse().unwrap(), link: 3 }
    }

    #[test]
    fn a_route_is_read_as_it_was_written() {
        let v6 = Route {
            destination: "fd00:1::/64".parse().unwrap(),
            gateway: "fd00::7".parse().unwrap(),
            link: 9,
        };
        for route in [route(), v6] {
            assert_eq!(read_route(&route_body(&route)), Some(route));
        }
    }

    #[test]
    fn routes_of_others_are_not_ours() {
        for (at, value) in [(4, 255), (5, 4), (7, 6)] {
            let mut body = route_body(&route());
            body[at] = value;
            assert_eq!(read_route(&body), None);
        }
    }

    #[test]
    fn datagrams_hold_several_messages_and_may_be_cut() {
        let one = request(NEW_ROUTE, DUMP, 7, &route_body(&route()));
        let two = [one.clone(), one.clone()].concat();
        assert_eq!(messages(&two).flatten().filter(|message| message.sequence == 7).count(), 2);
        for length in 0..one.len() {
            assert!(messages(&one[..length]).flatten().next().is_none());
            _ = read_route(&one[..length]);
            _ = read_address(&one[..length]);
            _ = read_mtu(&one[..length]);
        }
    }
}
