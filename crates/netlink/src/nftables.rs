//! Tables of nftables (linux/netfilter/nf_tables.h): rules as data, put in place whole.

use std::net::IpAddr;

use ipnet::IpNet;
use rustix::io::Errno;

use crate::NetlinkError;
use crate::message::{self, Attributes, Make, Request};
use crate::socket::Socket;

/// A table; all that is in it is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table<'a> {
    /// Which packets it sees.
    pub family: Family,
    /// Its name.
    pub name: &'a str,
    /// Its sets of addresses.
    pub sets: Vec<Set<'a>>,
    /// Its chains.
    pub chains: Vec<Chain<'a>>,
}

/// Addresses of the table's family: one look-up, however many there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its members.
    pub members: Vec<IpAddr>,
}

/// Which packets a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Ip = 2,
    /// Every frame of one interface.
    Netdev = 5,
    /// IPv6.
    Ip6 = 10,
}

impl Family {
    /// The family of the net's packets.
    #[must_use]
    pub fn of(net: &IpNet) -> Family {
        if net.addr().is_ipv4() { Family::Ip } else { Family::Ip6 }
    }
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it sits.
    pub hook: Hook<'a>,
    /// What becomes of packets that no rule decides about.
    pub policy: Verdict,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// Where a chain sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook<'a> {
    /// `type nat hook postrouting priority srcnat`.
    SourceNat,
    /// `type filter hook ingress device DEVICE`: what comes in by an interface, before anybody else sees it.
    Ingress(&'a str),
    /// `type filter hook input priority filter`: what is for the machine itself.
    Input,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is gone.
    Drop = 0,
    /// It goes on.
    Accept = 1,
}

/// Where in a packet a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// So many bytes behind the start of the Ethernet header.
    Ethernet(u32),
    /// So many bytes behind the start of the IP or ARP header.
    Network(u32),
    /// So many bytes behind the start of the UDP or TCP header.
    Transport(u32),
}

/// The source address of a packet of this family.
#[must_use]
pub fn source(family: Family) -> Field {
    Field::Network(if family == Family::Ip6 { 8 } else { 12 })
}

/// The destination address of a packet of this family.
#[must_use]
pub fn destination(family: Family) -> Field {
    Field::Network(if family == Family::Ip6 { 24 } else { 16 })
}

/// Conditions, all of which must hold, and what is done then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule(Attributes);

const REGISTER: u32 = 1;
const VERDICT_REGISTER: u32 = 0;
const EQUAL: u32 = 0;
const UNEQUAL: u32 = 1;
const META_PROTOCOL: u32 = 16;

impl Rule {
    /// Holds for every packet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of a field is this one.
    #[must_use]
    pub fn is(self, field: Field, value: &[u8]) -> Self {
        self.load(field, value.len()).compare(EQUAL, value)
    }

    /// The value of a field is another one.
    #[must_use]
    pub fn is_not(self, field: Field, value: &[u8]) -> Self {
        self.load(field, value.len()).compare(UNEQUAL, value)
    }

    /// The address in a field is in the net.
    #[must_use]
    pub fn within(self, field: Field, net: &IpNet) -> Self {
        let (mask, value) = (message::octets(net.netmask()), message::octets(net.network()));
        let mask_out = Attributes::new()
            .network(1, REGISTER)
            .network(2, REGISTER)
            .network(3, value.len() as u32)
            .nest(4, data(&mask))
            .nest(5, data(&vec![0; value.len()]));
        self.load(field, value.len()).with("bitwise", mask_out).compare(EQUAL, &value)
    }

    /// The address in a field is a member of the table's set of that name.
    #[must_use]
    pub fn among(self, field: Field, family: Family, set: &str) -> Self {
        let length = if family == Family::Ip6 { 16 } else { 4 };
        self.load(field, length).with("lookup", Attributes::new().text(1, set).network(2, REGISTER))
    }

    /// The packet's transport protocol is this one.
    #[must_use]
    pub fn protocol(self, number: u8) -> Self {
        let meta = Attributes::new().network(1, REGISTER).network(2, META_PROTOCOL);
        self.with("meta", meta).compare(EQUAL, &[number])
    }

    /// Then this becomes of it.
    #[must_use]
    pub fn then(self, verdict: Verdict) -> Self {
        let verdict = Attributes::new().nest(2, Attributes::new().network(1, verdict as u32));
        self.with("immediate", Attributes::new().network(1, VERDICT_REGISTER).nest(2, verdict))
    }

    /// Then it gets the address of the interface by which it leaves.
    #[must_use]
    pub fn masquerade(self) -> Self {
        self.with("masq", Attributes::new())
    }

    fn load(self, field: Field, length: usize) -> Self {
        let (base, offset) = match field {
            Field::Ethernet(offset) => (0, offset),
            Field::Network(offset) => (1, offset),
            Field::Transport(offset) => (2, offset),
        };
        let load = Attributes::new().network(1, REGISTER).network(2, base).network(3, offset);
        self.with("payload", load.network(4, length as u32))
    }

    fn compare(self, operator: u32, value: &[u8]) -> Self {
        let compare = Attributes::new().network(1, REGISTER).network(2, operator);
        self.with("cmp", compare.nest(3, data(value)))
    }

    fn with(self, name: &str, parts: Attributes) -> Self {
        Rule(self.0.nest(1, Attributes::new().text(1, name).nest(2, parts)))
    }
}

fn data(value: &[u8]) -> Attributes {
    Attributes::new().bytes(1, value)
}

/// A connection to nftables in the network namespace in which it was opened.
#[derive(Debug)]
pub struct Nftables {
    socket: Socket,
}

const RESOURCE: u16 = 10; // NFNL_SUBSYS_NFTABLES
const SUBSYSTEM: u16 = RESOURCE << 8;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEW_TABLE: u16 = SUBSYSTEM;
const GET_TABLE: u16 = SUBSYSTEM | 1;
const DELETE_TABLE: u16 = SUBSYSTEM | 2;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const NEW_SET: u16 = SUBSYSTEM | 9;
const NEW_ELEMENTS: u16 = SUBSYSTEM | 12;
/// Members of a set in one order: an attribute has 64 KiB at most.
const MEMBERS: usize = 1024;

impl Nftables {
    /// Opens a connection for the calling thread's network namespace.
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self { socket: Socket::netfilter()? })
    }

    /// Puts `table` in the place of the one of its name, in one transaction.
    pub fn replace(&mut self, table: &Table<'_>) -> Result<(), NetlinkError> {
        let mut orders = vec![Request::change(BATCH_BEGIN, &generic(0, RESOURCE), Attributes::new())];
        orders.extend(table.orders());
        // The end of a batch is never answered: what asks for an answer is the last order before it.
        let last = orders.pop().map(Request::acknowledged);
        orders.extend(last);
        orders.push(Request::change(BATCH_END, &generic(0, RESOURCE), Attributes::new()));
        self.socket.batch(&format!("replace the table {}", table.name), orders)
    }

    /// Whether the table is there: somebody may have flushed all rules.
    pub fn has_table(&mut self, family: Family, name: &str) -> Result<bool, NetlinkError> {
        let ask = Request::change(GET_TABLE, &generic(family as u8, 0), Attributes::new().text(1, name));
        match self.socket.change("list tables", ask) {
            Ok(()) => Ok(true),
            Err(error) if error.is(Errno::NOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// `struct nfgenmsg`.
fn generic(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

impl Table<'_> {
    /// Type and length of addresses: `ipv4_addr` and `ipv6_addr` of nft(8), which only nft itself reads.
    fn shape(&self) -> Attributes {
        let (kind, length) = if self.family == Family::Ip6 { (8, 16) } else { (7, 4) };
        Attributes::new().network(4, kind).network(5, length)
    }

    fn orders(&self) -> Vec<Request> {
        let fixed = generic(self.family as u8, 0);
        let make = |kind, make, attributes| Request::make(kind, make, &fixed, attributes);
        let table = || Attributes::new().text(1, self.name);
        let mut orders = vec![
            // Made if need be, so that the deletion finds it.
            make(NEW_TABLE, Make::Keep, table()),
            Request::change(DELETE_TABLE, &fixed, table()),
            make(NEW_TABLE, Make::Keep, table()),
        ];
        for (number, set) in (1..).zip(&self.sets) {
            let named = || table().text(2, set.name);
            orders.push(make(NEW_SET, Make::Keep, named().and(self.shape()).network(10, number)));
            for members in set.members.chunks(MEMBERS) {
                let members = members.iter().fold(Attributes::new(), |list, member| {
                    list.nest(1, Attributes::new().nest(1, data(&message::octets(*member))))
                });
                orders.push(make(NEW_ELEMENTS, Make::Keep, named().nest(3, members)));
            }
        }
        for chain in &self.chains {
            orders.push(make(NEW_CHAIN, Make::Keep, table().and(chain.attributes())));
            for rule in &chain.rules {
                let rule = table().text(2, chain.name).nest(4, rule.0.clone());
                orders.push(make(NEW_RULE, Make::Append, rule));
            }
        }
        orders
    }
}

impl Chain<'_> {
    fn attributes(&self) -> Attributes {
        const POST_ROUTING: u32 = 4;
        const SOURCE_NAT: u32 = 100;
        const INGRESS: u32 = 0;
        const LOCAL_IN: u32 = 1;
        let hook = Attributes::new();
        let (kind, hook) = match self.hook {
            Hook::SourceNat => ("nat", hook.network(1, POST_ROUTING).network(2, SOURCE_NAT)),
            Hook::Ingress(device) => ("filter", hook.network(1, INGRESS).network(2, 0).text(3, device)),
            Hook::Input => ("filter", hook.network(1, LOCAL_IN).network(2, 0)),
        };
        Attributes::new().text(3, self.name).nest(4, hook).network(5, self.policy as u32).text(7, kind)
    }
}
