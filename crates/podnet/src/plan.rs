//! Which routes this Node should have, and what to change to get there. Pure.

use crate::NodeFacts;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use scute_netlink::{LocalAddress, Masquerade, Route};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// `rtm_protocol` of the agent's routes: how it knows its own. Free in iproute2's table, below the reserved ones.
pub const PROTOCOL: u8 = 83;

/// The routes to other Nodes' Pods, and the Nodes that get none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// One route per range of every reachable Node.
    pub routes: Vec<Route>,
    /// Nodes whose Pods cannot be reached from here.
    pub off_segment: Vec<OffSegment>,
}

/// A Node whose Pods get no route, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OffSegment {
    /// None of its addresses is on a network of this Node's own address.
    NotAdjacent {
        /// The Node.
        node: String,
        /// Its range of Pods.
        pod_cidr: IpNet,
    },
    /// Its range of Pods overlaps this Node's network or Pods: a route would cut the Node off.
    Overlaps {
        /// The Node.
        node: String,
        /// Its range of Pods.
        pod_cidr: IpNet,
        /// What it overlaps.
        with: IpNet,
    },
}

impl fmt::Display for OffSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAdjacent { node, pod_cidr } => write!(
                f,
                "Pods of Node {node} ({pod_cidr}) are unreachable: it is not on this Node's network segment, \
                 which the embedded Pod network needs; use another CNI for Nodes on several segments"
            ),
            Self::Overlaps { node, pod_cidr, with } => {
                write!(
                    f,
                    "Pods of Node {node} are unreachable: their range {pod_cidr} overlaps {with} of this Node"
                )
            }
        }
    }
}

/// What to do to the kernel's routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Add it, or put it in the place of the route to the same destination.
    Set(Route),
    /// Take it away.
    Remove(Route),
}

/// The routes that Node `me` should have to the Pods of the others. `addresses` are those of `me`'s interfaces; only
/// those that are also its InternalIPs count, so that a Docker bridge or a second network is not taken for the segment.
pub fn wanted<'a>(
    me: &NodeFacts,
    others: impl IntoIterator<Item = &'a NodeFacts>,
    addresses: &[LocalAddress],
) -> Wanted {
    let uplinks: Vec<_> =
        addresses.iter().filter(|address| me.internal_ips.contains(&address.net.addr())).collect();
    let own: Vec<_> =
        uplinks.iter().map(|uplink| uplink.net.trunc()).chain(me.pod_cidrs.iter().copied()).collect();
    let mut wanted = Wanted::default();
    for other in others.into_iter().filter(|other| other.name != me.name) {
        for pod_cidr in other.pod_cidrs.iter().map(IpNet::trunc) {
            let node = || other.name.clone();
            if let Some(with) = own.iter().copied().find(|net| overlap(net, &pod_cidr)) {
                wanted.off_segment.push(OffSegment::Overlaps { node: node(), pod_cidr, with });
                continue;
            }
            // Neither a Node without addresses yet, nor one of another family: it will come by itself or never.
            let mut gateways =
                other.internal_ips.iter().filter(|ip| ip.is_ipv4() == pod_cidr.addr().is_ipv4()).peekable();
            if gateways.peek().is_none() {
                continue;
            }
            match gateways.find_map(|gateway| adjacent(gateway, &uplinks)) {
                Some((gateway, link)) => wanted.routes.push(Route {
                    destination: pod_cidr,
                    gateway: Some(gateway),
                    link,
                    protocol: PROTOCOL,
                }),
                None => wanted.off_segment.push(OffSegment::NotAdjacent { node: node(), pod_cidr }),
            }
        }
    }
    wanted.routes.sort();
    wanted.off_segment.sort();
    wanted
}

fn adjacent(gateway: &IpAddr, uplinks: &[&LocalAddress]) -> Option<(IpAddr, u32)> {
    let on = uplinks.iter().find(|uplink| uplink.net.contains(gateway) && uplink.net.addr() != *gateway);
    on.map(|uplink| (*gateway, uplink.link))
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// What turns the routes `seen` into `want`: first what goes, then what comes. Those of others are left alone.
pub fn routes(seen: &[Route], want: &[Route]) -> Vec<Change> {
    let seen: Vec<_> = seen.iter().filter(|route| route.protocol == PROTOCOL).collect();
    let want: BTreeMap<_, _> = want.iter().map(|route| (route.destination, *route)).collect();
    let gone = seen
        .iter()
        .filter(|route| !want.contains_key(&route.destination))
        .map(|route| Change::Remove(**route));
    let new = want.values().filter(|route| !seen.contains(route)).copied().map(Change::Set);
    gone.chain(new).collect()
}

/// What Node `me` masquerades: packets of its Pods to anywhere but Pods of the cluster, per family.
pub fn masquerades<'a>(me: &NodeFacts, nodes: impl IntoIterator<Item = &'a NodeFacts>) -> Vec<Masquerade> {
    let pods: BTreeSet<_> = nodes.into_iter().flat_map(|node| &node.pod_cidrs).map(IpNet::trunc).collect();
    let mut own: Vec<_> = me.pod_cidrs.iter().map(IpNet::trunc).collect();
    own.sort();
    let masquerade = |own: IpNet| {
        let same_family = |net: &&IpNet| net.addr().is_ipv4() == own.addr().is_ipv4();
        let direct = pods.iter().filter(same_family).copied().chain([multicast(&own)]);
        Masquerade { own, direct: direct.collect() }
    };
    own.into_iter().map(masquerade).collect()
}

fn multicast(like: &IpNet) -> IpNet {
    match like {
        IpNet::V4(_) => Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4).into(),
        IpNet::V6(_) => Ipv6Net::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8).into(),
    }
}
