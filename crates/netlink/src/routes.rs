//! Routes of the main table.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rustix::io::Errno;

use crate::message::{self, Attributes, INET, INET6, Make, Request};
use crate::socket::Answer;
use crate::{Netlink, NetlinkError};

const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;

/// `struct rtmsg`.
const FIXED: usize = 12;
const DESTINATION: u16 = 1;
const LINK: u16 = 4;
const GATEWAY: u16 = 5;

const MAIN_TABLE: u8 = 254;
const UNICAST: u8 = 1;
const UNIVERSE: u8 = 0;
const ON_LINK: u8 = 253;
/// `RTNH_F_ONLINK`.
const GATEWAY_ON_LINK: u32 = 4;

/// A route; without gateway the destination is on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Where it leads.
    pub destination: IpNet,
    /// The next hop.
    pub gateway: Option<IpAddr>,
    /// The next hop is on the link, although no address there says so.
    pub on_link: bool,
    /// Index of the interface.
    pub link: u32,
    /// `rtm_protocol`: who made it.
    pub protocol: u8,
}

impl Netlink {
    /// The unicast routes of the main table.
    pub fn routes(&mut self) -> Result<Vec<Route>, NetlinkError> {
        let answers = self.socket.dump("list routes", GET_ROUTE)?;
        Ok(answers.iter().filter_map(read).collect())
    }

    /// Adds a route, or puts it in the place of the one to the same destination.
    pub fn set_route(&mut self, route: &Route) -> Result<(), NetlinkError> {
        let what = match route.gateway {
            Some(gateway) => format!("route {} by way of {gateway}", route.destination),
            None => format!("route {} to the link", route.destination),
        };
        self.socket.change(&what, Request::make(NEW_ROUTE, Make::Replace, &fixed(route), attributes(route)))
    }

    /// Removes a route. One that is gone already is no error.
    pub fn remove_route(&mut self, route: &Route) -> Result<(), NetlinkError> {
        let what = format!("remove the route to {}", route.destination);
        match self.socket.change(&what, Request::change(DELETE_ROUTE, &fixed(route), attributes(route))) {
            Err(error) if error.is(Errno::SRCH) => Ok(()),
            other => other,
        }
    }
}

fn fixed(route: &Route) -> [u8; FIXED] {
    let scope = if route.gateway.is_some() { UNIVERSE } else { ON_LINK };
    let (family, prefix) = (message::family(route.destination.addr()), route.destination.prefix_len());
    let [a, b, c, d] = if route.on_link { GATEWAY_ON_LINK } else { 0 }.to_ne_bytes();
    [family, prefix, 0, 0, MAIN_TABLE, route.protocol, scope, UNICAST, a, b, c, d]
}

fn attributes(route: &Route) -> Attributes {
    let list = Attributes::new().bytes(DESTINATION, &message::octets(route.destination.network()));
    let list = match route.gateway {
        Some(gateway) => list.bytes(GATEWAY, &message::octets(gateway)),
        None => list,
    };
    list.number(LINK, route.link)
}

fn read(answer: &Answer) -> Option<Route> {
    let [family, prefix, _, _, table, protocol, _, kind, ..] = *answer.body else { return None };
    if (table, kind) != (MAIN_TABLE, UNICAST) {
        return None;
    }
    let of = |kind| message::attribute(&answer.body, FIXED, kind);
    let destination = match (of(DESTINATION), family) {
        (Some(bytes), _) => message::address(family, bytes)?,
        (None, INET) => Ipv4Addr::UNSPECIFIED.into(),
        (None, INET6) => Ipv6Addr::UNSPECIFIED.into(),
        (None, _) => return None,
    };
    Some(Route {
        destination: IpNet::new(destination, prefix).ok()?,
        gateway: of(GATEWAY).and_then(|bytes| message::address(family, bytes)),
        on_link: message::u32_at(&answer.body, 8)? & GATEWAY_ON_LINK != 0,
        link: message::u32_at(of(LINK)?, 0)?,
        protocol,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(destination: &str, gateway: Option<&str>) -> Route {
        let gateway = gateway.map(|gateway| gateway.parse().unwrap());
        Route { destination: destination.parse().unwrap(), gateway, on_link: false, link: 3, protocol: 83 }
    }

    /// What the kernel would send back.
    fn answer(route: &Route) -> Answer {
        let message = Request::change(NEW_ROUTE, &fixed(route), attributes(route)).numbered(1);
        Answer { body: message[16..].to_vec() }
    }

    #[test]
    fn a_route_is_read_as_it_was_written() {
        for route in [
            route("10.244.1.0/24", Some("10.85.0.7")),
            route("fd00:1::/64", Some("fd00::7")),
            route("10.85.0.9/32", None),
            Route { on_link: true, ..route("10.244.1.0/24", Some("10.244.1.0")) },
        ] {
            assert_eq!(read(&answer(&route)), Some(route));
        }
    }

    #[test]
    fn other_tables_and_kinds_are_left_out_and_cut_answers_are_none() {
        let whole = answer(&route("10.244.1.0/24", Some("10.85.0.7")));
        for (at, value) in [(4, 255), (7, 6)] {
            let mut other = whole.clone();
            other.body[at] = value;
            assert_eq!(read(&other), None);
        }
        for length in 0..FIXED {
            assert_eq!(read(&Answer { body: whole.body[..length].to_vec() }), None);
        }
    }
}
