//! Which routes and rules this Node should have, and what to change to get there. Pure.

use crate::{NodeFacts, overlay::Overlay, overlay::Peer};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use scute_netlink::{LocalAddress, Masquerade, Route, Rules, nftables::Family};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// `rtm_protocol` of the agent's routes: how it knows its own. Free in iproute2's table, below the reserved ones.
pub const PROTOCOL: u8 = 83;

/// The ways to other Nodes' Pods, and the Nodes that have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// One route per range of every Node on this Node's segment.
    pub routes: Vec<Route>,
    /// The overlay to Nodes elsewhere: one per family that needs it.
    pub overlays: Vec<Overlay>,
    /// Nodes whose Pods cannot be reached from here.
    pub unreachable: Vec<Unreachable>,
}

/// A Node whose Pods get no route, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unreachable {
    /// It is not on this Node's segment, and this Node's own address is on none of its interfaces.
    NoUplink {
        /// The Node.
        node: String,
        /// Its range of Pods.
        pod_cidr: IpNet,
    },
    /// It has this Node's own address.
    SameAddress {
        /// The Node.
        node: String,
        /// Its range of Pods.
        pod_cidr: IpNet,
        /// The address.
        address: IpAddr,
    },
    /// Its range of Pods overlaps this Node's network or Pods, or has a Node's address in it: a route would cut Nodes off.
    Overlaps {
        /// The Node.
        node: String,
        /// Its range of Pods.
        pod_cidr: IpNet,
        /// What it overlaps, and whose that is.
        with: IpNet,
        /// The Node whose that is.
        of: String,
    },
    /// The overlay to it could not be made.
    NoOverlay {
        /// The Node.
        node: String,
        /// Its range of Pods.
        pod_cidr: IpNet,
        /// Why.
        why: String,
    },
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::NoUplink { node, pod_cidr }
        | Self::SameAddress { node, pod_cidr, .. }
        | Self::Overlaps { node, pod_cidr, .. }
        | Self::NoOverlay { node, pod_cidr, .. }) = self;
        write!(f, "Pods of Node {node} ({pod_cidr}) are unreachable: ")?;
        match self {
            Self::NoUplink { .. } => {
                let family = if pod_cidr.addr().is_ipv4() { "IPv4" } else { "IPv6" };
                write!(
                    f,
                    "it is not on this Node's network segment, and the overlay needs this Node's first {family} \
                     InternalIP on one of its interfaces"
                )
            }
            Self::SameAddress { address, .. } => write!(f, "it has this Node's own InternalIP {address}"),
            Self::Overlaps { with, of, .. } => write!(f, "their range overlaps {with} of Node {of}"),
            Self::NoOverlay { why, .. } => write!(f, "no overlay to its network segment: {why}"),
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

/// The ways that Node `me` should have to the Pods of the others, whose packets are `mtu` bytes at most. `addresses` are
/// those of `me`'s interfaces; only those that are also its InternalIPs count, so that a Docker bridge or a second network
/// is not taken for the segment.
pub fn wanted<'a>(
    me: &NodeFacts,
    nodes: impl IntoIterator<Item = &'a NodeFacts>,
    addresses: &[LocalAddress],
    mtu: u32,
) -> Wanted {
    let others: Vec<_> = nodes.into_iter().filter(|node| node.name != me.name).collect();
    let here = Here::new(me, &others, addresses);
    let mut wanted = Wanted::default();
    for other in others {
        for pod_cidr in other.pod_cidrs.iter().map(IpNet::trunc) {
            match here.way(other, pod_cidr) {
                Way::None => {}
                Way::Direct(route) => wanted.routes.push(route),
                Way::Unreachable(why) => wanted.unreachable.push(why),
                Way::Overlay(peer, local, own) => {
                    let of_family = |overlay: &Overlay| overlay.device.local == local;
                    let at = wanted.overlays.iter().position(of_family).unwrap_or_else(|| {
                        wanted.overlays.push(Overlay::new(local, &own, mtu));
                        wanted.overlays.len() - 1
                    });
                    wanted.overlays[at].peers.push(peer);
                }
            }
        }
    }
    wanted.routes.sort();
    wanted.overlays.iter_mut().for_each(|overlay| overlay.peers.sort());
    wanted.overlays.sort_by_key(|overlay| overlay.device.local);
    wanted.unreachable.sort();
    wanted
}

/// A Node, and what must not be covered by a route to Pods.
struct Here<'a> {
    me: &'a NodeFacts,
    /// Its InternalIPs, as they are on interfaces.
    uplinks: Vec<&'a LocalAddress>,
    /// Its networks and Pods.
    own: Vec<IpNet>,
    /// The InternalIPs of the others, and whose they are.
    others: BTreeMap<IpAddr, &'a str>,
}

/// How Pods are reached.
enum Way {
    /// Not at all yet, and there is nothing to say.
    None,
    Direct(Route),
    /// By the overlay from this address of a Node whose Pods have this range.
    Overlay(Peer, IpAddr, IpNet),
    Unreachable(Unreachable),
}

impl<'a> Here<'a> {
    fn new(me: &'a NodeFacts, others: &[&'a NodeFacts], addresses: &'a [LocalAddress]) -> Self {
        let uplinks: Vec<_> =
            addresses.iter().filter(|address| me.internal_ips.contains(&address.net.addr())).collect();
        let networks = uplinks.iter().map(|uplink| uplink.net.trunc());
        let own = networks.chain(me.pod_cidrs.iter().copied()).collect();
        let of = |node: &&'a NodeFacts| {
            let name = node.name.as_str();
            node.internal_ips.iter().map(move |ip| (*ip, name)).collect::<Vec<_>>()
        };
        Self { me, uplinks, own, others: others.iter().flat_map(of).collect() }
    }

    fn way(&self, other: &NodeFacts, pod_cidr: IpNet) -> Way {
        let of_family = |ip: &&IpAddr| ip.is_ipv4() == pod_cidr.addr().is_ipv4();
        // Neither a Node without addresses yet, nor one of another family: it will come by itself or never.
        let Some(address) = other.internal_ips.iter().find(of_family).copied() else { return Way::None };
        let node = other.name.clone();
        if let Some((with, of)) = self.covered(&pod_cidr) {
            return Way::Unreachable(Unreachable::Overlaps { node, pod_cidr, with, of: of.to_owned() });
        }
        let adjacent = other.internal_ips.iter().filter(of_family).find_map(|ip| adjacent(ip, &self.uplinks));
        if let Some((gateway, link)) = adjacent {
            let gateway = Some(gateway);
            let route = Route { destination: pod_cidr, gateway, on_link: false, link, protocol: PROTOCOL };
            return Way::Direct(route);
        }
        if self.me.internal_ips.contains(&address) {
            return Way::Unreachable(Unreachable::SameAddress { node, pod_cidr, address });
        }
        let own = self.me.pod_cidrs.iter().find(|own| of_family(&&own.addr()));
        let local = self.me.internal_ips.iter().find(of_family);
        match (own, local) {
            (Some(own), Some(local)) if self.uplinks.iter().any(|uplink| uplink.net.addr() == *local) => {
                Way::Overlay(Peer { node, address, pod_cidr }, *local, *own)
            }
            // A Node without Pods of a family needs none of others.
            (None, _) => Way::None,
            _ => Way::Unreachable(Unreachable::NoUplink { node, pod_cidr }),
        }
    }

    /// What a route to this range would take away, and whose it is.
    fn covered(&self, pod_cidr: &IpNet) -> Option<(IpNet, &str)> {
        let own = self.own.iter().find(|net| overlap(net, pod_cidr));
        let address = || self.others.range(pod_cidr.network()..=pod_cidr.broadcast()).next();
        own.map(|net| (*net, self.me.name.as_str()))
            .or_else(|| address().map(|(ip, node)| (IpNet::from(*ip), *node)))
    }
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

/// The rules of Node `me`, per family of its Pods: their packets to anywhere but Pods of the cluster are masqueraded, and the
/// overlay takes packets of its peers only.
pub fn rules<'a>(
    me: &NodeFacts,
    nodes: impl IntoIterator<Item = &'a NodeFacts>,
    overlays: &[Overlay],
) -> Vec<Rules> {
    let pods: BTreeSet<_> = nodes.into_iter().flat_map(|node| &node.pod_cidrs).map(IpNet::trunc).collect();
    let mut own: Vec<_> = me.pod_cidrs.iter().map(IpNet::trunc).collect();
    own.sort();
    let rules = |own: IpNet| {
        let family = Family::of(&own);
        let same_family = |net: &&IpNet| Family::of(net) == family;
        // Ranges of Nodes lie beside each other: a thousand are a few rules.
        let direct = IpNet::aggregate(&pods.iter().filter(same_family).copied().collect());
        let overlay = overlays.iter().find(|overlay| Family::of(&overlay.address) == family);
        Rules {
            family,
            masquerade: Some(Masquerade {
                own,
                direct: direct.into_iter().chain([multicast(&own)]).collect(),
            }),
            guard: overlay.map(Overlay::guard),
        }
    };
    own.into_iter().map(rules).collect()
}

fn multicast(like: &IpNet) -> IpNet {
    match like {
        IpNet::V4(_) => Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4).into(),
        IpNet::V6(_) => Ipv6Net::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8).into(),
    }
}
