//! Masquerading by nftables (linux/netfilter/nf_tables.h): Pods leave the cluster with their Node's address, and talk
//! to each other with their own.

use super::{NetlinkError, message, socket};
use ipnet::IpNet;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, netlink, send};
use std::{io, net::IpAddr, os::fd::OwnedFd};

/// Name of the table, in the families `ip` and `ip6`. All that is in it is ours.
pub const TABLE: &str = "scute-podnet";

/// What is masqueraded in one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masquerade {
    /// The Node's own range of Pods.
    pub own: IpNet,
    /// Where its Pods' packets go with their own address: every range of Pods in the cluster, and multicast.
    pub direct: Vec<IpNet>,
}

/// A connection to nftables in the network namespace in which it was opened.
pub struct Firewall {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Firewall {
    /// Opens a connection for the calling thread's network namespace.
    pub fn open() -> Result<Self, NetlinkError> {
        let socket = socket::open(Some(netlink::NETFILTER), 0, SocketFlags::CLOEXEC)?;
        Ok(Self { socket, sequence: 0, buffer: vec![0; socket::DATAGRAM] })
    }

    /// Puts `masquerade` in the place of the family's table, in one transaction.
    pub fn replace(&mut self, masquerade: &Masquerade) -> Result<(), NetlinkError> {
        let family = family(&masquerade.own);
        let mut orders = vec![
            // Created if need be, so that the deletion finds it.
            (NEW_TABLE, message::CREATE, table()),
            (DELETE_TABLE, 0, table()),
            (NEW_TABLE, message::CREATE, table()),
            (NEW_CHAIN, message::CREATE, chain()),
        ];
        let rules = rules(masquerade).into_iter();
        orders.extend(rules.map(|rule| (NEW_RULE, message::CREATE | message::APPEND, rule)));
        let last = self.send(family, &orders)?;
        self.settle(last)
            .map_err(|error| NetlinkError::Refused(format!("masquerade {}", masquerade.own), error))
    }

    /// Whether the table is there for the family of `net`: somebody may have flushed all rules.
    pub fn has_table(&mut self, net: &IpNet) -> Result<bool, NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let body = [generic(family(net), 0), table()].concat();
        let request = message::request(SUBSYSTEM | GET_TABLE, message::ACK, self.sequence, &body);
        self.transmit(&request)?;
        match self.settle(self.sequence) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(NetlinkError::Refused("list tables".to_owned(), error)),
        }
    }

    /// Sends a batch; returns the sequence number of its last order, which alone asks for an answer.
    fn send(&mut self, family: u8, orders: &[(u16, u16, Vec<u8>)]) -> Result<u32, NetlinkError> {
        let mut next = || {
            self.sequence = self.sequence.wrapping_add(1);
            self.sequence
        };
        let mut batch = message::request(BATCH_BEGIN, 0, next(), &generic(0, RESOURCE));
        let mut last = 0;
        for (index, (kind, flags, body)) in orders.iter().enumerate() {
            let ack = if index + 1 == orders.len() { message::ACK } else { 0 };
            let body = [generic(family, 0), body.clone()].concat();
            last = next();
            batch.extend(message::request(SUBSYSTEM | kind, flags | ack, last, &body));
        }
        batch.extend(message::request(BATCH_END, 0, next(), &generic(0, RESOURCE)));
        self.transmit(&batch)?;
        Ok(last)
    }

    fn transmit(&self, datagram: &[u8]) -> Result<(), NetlinkError> {
        let sent = send(&self.socket, datagram, SendFlags::empty());
        sent.map(drop).map_err(|error| NetlinkError::Socket("sending", error.into()))
    }

    /// Reads until the order `last` is answered. One failed order fails the whole batch, and the kernel then answers
    /// every failed one: the first is the cause.
    fn settle(&mut self, last: u32) -> io::Result<()> {
        let mut result = Ok(());
        loop {
            let length = rustix::net::recv(&self.socket, self.buffer.as_mut_slice(), RecvFlags::empty())?.0;
            for message in message::messages(&self.buffer[..length]) {
                let message = message.ok_or(io::ErrorKind::InvalidData)?;
                if message.kind != message::ERROR {
                    continue;
                }
                let number = message::read_error(message.body).ok_or(io::ErrorKind::InvalidData)?;
                if number != 0 {
                    result = result.and(Err(io::Error::from_raw_os_error(number)));
                }
                if message.sequence == last {
                    return result;
                }
            }
        }
    }
}

const RESOURCE: u16 = 10; // NFNL_SUBSYS_NFTABLES
const SUBSYSTEM: u16 = RESOURCE << 8;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEW_TABLE: u16 = 0;
const GET_TABLE: u16 = 1;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;

const CHAIN: &str = "postrouting";
const POST_ROUTING: u32 = 4;
const SOURCE_NAT: u32 = 100;
const ACCEPT: u32 = 1;
const NETWORK_HEADER: u32 = 1;
const REGISTER: u32 = 1;
const VERDICT: u32 = 0;
const EQUAL: u32 = 0;

fn family(net: &IpNet) -> u8 {
    if net.addr().is_ipv4() { 2 } else { 10 }
}

/// `struct nfgenmsg`.
fn generic(family: u8, resource: u16) -> Vec<u8> {
    let [high, low] = resource.to_be_bytes();
    vec![family, 0, high, low]
}

fn table() -> Vec<u8> {
    text(1, TABLE)
}

/// `type nat hook postrouting priority srcnat; policy accept;`
fn chain() -> Vec<u8> {
    let hook = nested(4, &[number(1, POST_ROUTING), number(2, SOURCE_NAT)]);
    [text(1, TABLE), text(3, CHAIN), hook, number(5, ACCEPT), text(7, "nat")].concat()
}

/// `saddr OWN daddr DIRECT accept` for each, then `saddr OWN masquerade`.
fn rules(masquerade: &Masquerade) -> Vec<Vec<u8>> {
    let own = matches(&masquerade.own, Side::Source);
    let accept =
        expression("immediate", &[number(1, VERDICT), nested(2, &[nested(2, &[number(1, ACCEPT)])])]);
    let direct =
        masquerade.direct.iter().map(|net| [own.clone(), matches(net, Side::Destination), accept.clone()]);
    let last = [own.clone(), expression("masq", &[]), Vec::new()];
    direct.chain([last]).map(|expressions| rule(&expressions.concat())).collect()
}

fn rule(expressions: &[u8]) -> Vec<u8> {
    [text(1, TABLE), text(2, CHAIN), nested(4, &[expressions.to_vec()])].concat()
}

#[derive(Clone, Copy)]
enum Side {
    Source,
    Destination,
}

/// Loads an address of the packet, masks it and compares it with the net's.
fn matches(net: &IpNet, side: Side) -> Vec<u8> {
    let (offset, length) = match (net.addr(), side) {
        (IpAddr::V4(_), Side::Source) => (12, 4),
        (IpAddr::V4(_), Side::Destination) => (16, 4),
        (IpAddr::V6(_), Side::Source) => (8, 16),
        (IpAddr::V6(_), Side::Destination) => (24, 16),
    };
    let load = [number(1, REGISTER), number(2, NETWORK_HEADER), number(3, offset), number(4, length)];
    let mask = [
        number(1, REGISTER),
        number(2, REGISTER),
        number(3, length),
        value(4, net.netmask()),
        value(5, zero(net.addr())),
    ];
    let compare = [number(1, REGISTER), number(2, EQUAL), value(3, net.network())];
    [expression("payload", &load), expression("bitwise", &mask), expression("cmp", &compare)].concat()
}

fn zero(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    }
}

fn expression(name: &str, data: &[Vec<u8>]) -> Vec<u8> {
    nested(1, &[text(1, name), nested(2, data)])
}

fn value(kind: u16, address: IpAddr) -> Vec<u8> {
    let mut data = Vec::new();
    message::attribute(&mut data, 1, &message::octets(address));
    nested(kind, &[data])
}

fn nested(kind: u16, parts: &[Vec<u8>]) -> Vec<u8> {
    const NESTED: u16 = 0x8000;
    let mut body = Vec::new();
    message::attribute(&mut body, kind | NESTED, &parts.concat());
    body
}

fn number(kind: u16, number: u32) -> Vec<u8> {
    let mut body = Vec::new();
    message::attribute(&mut body, kind, &number.to_be_bytes());
    body
}

fn text(kind: u16, text: &str) -> Vec<u8> {
    let mut body = Vec::new();
    message::attribute(&mut body, kind, &[text.as_bytes(), b"\0"].concat());
    body
}
