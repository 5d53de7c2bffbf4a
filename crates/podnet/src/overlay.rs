//! The overlay to Nodes on other segments: which devices, and who is behind them. Pure.
//!
//! One VXLAN device per family of addresses carries the Pods of that family. Nothing is learnt: a device's MAC follows from
//! the Node's address, so each Node knows those of all others from the list of Nodes.

use ipnet::IpNet;
use scute_netlink::{Forwarding, Guard, Mac, Neighbour, Route, Vxlan};
use std::net::IpAddr;

use crate::plan::{PROTOCOL, Unreachable};

/// The UDP port of the overlay: IANA's for VXLAN.
pub const PORT: u16 = 4789;
/// Its VXLAN network identifier. Clusters may share it: a Node sends to, and takes from, Nodes of its own cluster only.
pub const VNI: u32 = 83;
/// The devices' names: the one below which packets are IPv4, and the one for IPv6.
pub const DEVICES: [&str; 2] = ["scute-vxlan", "scute-vxlan6"];

/// What IPv6 needs of every network (RFC 8200, section 5).
const SMALLEST_MTU: u32 = 1280;
/// Ethernet of the Pods' packet, VXLAN, UDP and IPv4.
const ROOM: u32 = 14 + 8 + 8 + 20;
/// An IPv6 header instead of IPv4's.
const ROOM_6: u32 = ROOM + 20;

/// A device, and the Nodes behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// The device.
    pub device: Vxlan,
    /// Its own address, the first of this Node's Pods: whoever is asked by the Node itself answers by the overlay too.
    pub address: IpNet,
    /// Who is behind it.
    pub peers: Vec<Peer>,
}

/// A Node on another segment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// Its name.
    pub node: String,
    /// Its address.
    pub address: IpAddr,
    /// Its range of Pods.
    pub pod_cidr: IpNet,
}

impl Overlay {
    /// The device of the Node at `local`, whose Pods have `own`, without peers yet.
    pub(crate) fn new(local: IpAddr, own: &IpNet, mtu: u32) -> Self {
        let name = DEVICES[usize::from(local.is_ipv6())].to_owned();
        let device = Vxlan { name, mac: mac(local), mtu, vni: VNI, port: PORT, local };
        Self { device, address: IpNet::from(own.network()), peers: Vec::new() }
    }

    /// Where the peers' Pods are, by way of the device with this index: behind the first address of their range, which no
    /// Pod has.
    pub(crate) fn routes(&self, link: u32) -> impl Iterator<Item = Route> {
        self.peers.iter().map(move |peer| Route {
            destination: peer.pod_cidr,
            gateway: Some(peer.pod_cidr.network()),
            on_link: true,
            link,
            protocol: PROTOCOL,
        })
    }

    /// The MACs of those next hops.
    pub(crate) fn neighbours(&self) -> Vec<Neighbour> {
        let neighbour = |peer: &Peer| Neighbour { address: peer.pod_cidr.network(), mac: mac(peer.address) };
        self.peers.iter().map(neighbour).collect()
    }

    /// The Nodes behind those MACs.
    pub(crate) fn forwardings(&self) -> Vec<Forwarding> {
        let forwarding = |peer: &Peer| Forwarding { mac: mac(peer.address), to: peer.address };
        self.peers.iter().map(forwarding).collect()
    }

    /// Whose packets the device takes.
    pub(crate) fn guard(&self) -> Guard {
        let mut from: Vec<_> = self.peers.iter().map(|peer| peer.address).collect();
        from.dedup();
        Guard { port: PORT, vni: VNI, from }
    }

    /// Every peer, when the device cannot be had.
    pub(crate) fn unreachable(&self, why: &str) -> impl Iterator<Item = Unreachable> {
        self.peers.iter().map(move |peer| Unreachable::NoOverlay {
            node: peer.node.clone(),
            pod_cidr: peer.pod_cidr,
            why: why.to_owned(),
        })
    }
}

/// The largest packet of Pods on a Node whose own network takes `uplink`: with room for the overlay, also while it is not in
/// use. A Pod keeps what it was started with, and a Node on another segment may come later.
#[must_use]
pub fn mtu(uplink: u32, pod_cidrs: &[IpNet]) -> u32 {
    let room = if pod_cidrs.iter().any(|cidr| cidr.addr().is_ipv6()) { ROOM_6 } else { ROOM };
    // Where that is less than IPv6 can do with, the packets of the overlay are fragmented.
    uplink.saturating_sub(room).max(uplink.min(SMALLEST_MTU))
}

/// The MAC of the device of the Node at this address: locally administered, and the same wherever it is worked out.
fn mac(address: IpAddr) -> Mac {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            Mac([0x02, 0x53, a, b, c, d])
        }
        // FNV-1a, 64 bits. Among 5,000 Nodes two meet once in 80,000 clusters.
        IpAddr::V6(address) => {
            let hash = address.octets().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
                (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3)
            });
            let [_, _, _, a, b, c, d, e] = hash.to_be_bytes();
            Mac([0x02, a, b, c, d, e])
        }
    }
}
