//! What the guest may send: frames of its own, in its own name. Pure.
//!
//! The guest's frames go to the Pod network as they are, where every tenant's Pods are. The filter sits where they come
//! in, on the tap: neither the guest nor QEMU can reach it.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use scute_netlink::nftables::{Chain, Family, Field, Hook, Rule, Table, Verdict, destination, source};

use super::Learned;

/// Name of the table.
const TABLE: &str = "scute-guest";

const SOURCE_MAC: Field = Field::Ethernet(6);
const ETHERTYPE: Field = Field::Ethernet(12);
const IPV4: [u8; 2] = [0x08, 0x00];
const ARP: [u8; 2] = [0x08, 0x06];
/// Of an ARP packet: addresses of Ethernet and IPv4, which says where the others stand.
const ARP_SHAPE: (Field, [u8; 6]) = (Field::Network(0), [0, 1, 8, 0, 6, 4]);
const ARP_OPERATION: Field = Field::Network(6);
const ARP_REQUEST: [u8; 2] = [0, 1];
const ARP_SENDER_MAC: Field = Field::Network(8);
const ARP_SENDER: Field = Field::Network(14);
const UDP: u8 = 17;
const UDP_DESTINATION: Field = Field::Transport(2);
const DHCP_SERVER: [u8; 2] = [0, 67];
const DHCP_CLIENT: [u8; 2] = [0, 68];

/// The table that lets through what a guest with this MAC and address may send on `device`. `behind` are ranges of
/// addresses that it may send from besides: those of the Pods on a tenant's Node.
pub fn table<'a>(device: &'a str, learned: &Learned, behind: &[Ipv4Net]) -> Table<'a> {
    let mut rules = vec![Rule::new().is_not(SOURCE_MAC, &learned.mac.0).then(Verdict::Drop)];
    rules.extend(arp(learned));
    rules.extend(ipv4(learned, behind));
    let hook = Hook::Ingress(device);
    // All else goes: IPv6, of which guests have no address, VLAN tags, and what switches say to each other.
    let chain = Chain { name: "from-guest", hook, policy: Verdict::Drop, rules };
    Table { family: Family::Netdev, name: TABLE, sets: vec![], chains: vec![chain] }
}

/// Questions and answers in its own name, and the question whether its address is free.
fn arp(learned: &Learned) -> [Rule; 2] {
    let own = || {
        let (shape, ethernet_and_ipv4) = ARP_SHAPE;
        let arp = Rule::new().is(ETHERTYPE, &ARP).is(shape, &ethernet_and_ipv4);
        arp.is(ARP_SENDER_MAC, &learned.mac.0)
    };
    let nobody = Ipv4Addr::UNSPECIFIED.octets();
    [
        own().is(ARP_SENDER, &learned.address.octets()).then(Verdict::Accept),
        own().is(ARP_OPERATION, &ARP_REQUEST).is(ARP_SENDER, &nobody).then(Verdict::Accept),
    ]
}

fn ipv4(learned: &Learned, behind: &[Ipv4Net]) -> Vec<Rule> {
    let packet = || Rule::new().is(ETHERTYPE, &IPV4);
    let (from, to) = (source(Family::Ip), destination(Family::Ip));
    let mut rules = vec![
        // Others' guests would believe a DHCP server among them.
        packet().protocol(UDP).is(UDP_DESTINATION, &DHCP_CLIENT).then(Verdict::Drop),
        packet().is(from, &learned.address.octets()).then(Verdict::Accept),
        packet()
            .is(from, &Ipv4Addr::UNSPECIFIED.octets())
            .is(to, &Ipv4Addr::BROADCAST.octets())
            .protocol(UDP)
            .is(UDP_DESTINATION, &DHCP_SERVER)
            .then(Verdict::Accept),
    ];
    // Whatever range is said to be behind the guest: its neighbours on the link are not.
    if let Ok(link) = Ipv4Net::new(learned.address, learned.prefix) {
        rules.push(packet().within(from, &IpNet::V4(link.trunc())).then(Verdict::Drop));
    }
    rules.extend(behind.iter().map(|net| packet().within(from, &IpNet::V4(*net)).then(Verdict::Accept)));
    rules
}
