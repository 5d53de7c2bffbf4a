//! Who has which addresses, and which of them must not meet. In: ranges with their owners. Out: pairs that harm each other,
//! and why. Pure.
//!
//! Addresses are not the world's. A cluster takes its own Pod and Service ranges for its own everywhere, so nothing that its
//! Nodes or Pods call may lie there; what they never call may. Two tenants may have equal ranges: neither routes the
//! other's Pods, on one network either (docs/vm.md). What gives addresses away must not give one twice.

mod objects;

use std::fmt;
use std::net::IpAddr;

pub use crate::ipam::PoolRange;
pub use objects::{Management, of_cluster, of_pool, of_tenant};

/// What addresses are for, in the order in which two are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// A cluster's Pods.
    Pods,
    /// A cluster's Services.
    Services,
    /// The network of a cluster's own Nodes.
    Nodes,
    /// Given to Services of type LoadBalancer.
    LoadBalancer,
    /// Given to whatever starts, by DHCP.
    Leases,
    /// Given to servers for good.
    Servers,
    /// Answers for a control plane.
    Endpoint,
    /// Asked for by the Service of a control plane, from the addresses for LoadBalancers.
    Requested,
    /// A BMC.
    Bmc,
}

impl Purpose {
    fn is_inner(self) -> bool {
        matches!(self, Self::Pods | Self::Services)
    }

    fn is_endpoint(self) -> bool {
        matches!(self, Self::Endpoint | Self::Requested)
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pods => "the Pods",
            Self::Services => "the Services",
            Self::Nodes => "the Nodes",
            Self::LoadBalancer => "the LoadBalancer addresses",
            Self::Leases => "the DHCP leases",
            Self::Servers => "the servers' addresses",
            Self::Endpoint => "the endpoint",
            Self::Requested => "the requested LoadBalancer address",
            Self::Bmc => "the BMC",
        })
    }
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// Its kind.
    pub kind: String,
    /// Its namespace; empty for what is in none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Owner {
    /// An object in a namespace.
    pub fn new(kind: impl Into<String>, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind: kind.into(), namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.namespace.as_str(), self.name.as_str()) {
            (_, "") => write!(f, "the {}", self.kind),
            ("", name) => write!(f, "{} {name}", self.kind),
            (namespace, name) => write!(f, "{} {namespace}/{name}", self.kind),
        }
    }
}

/// What is known of the cluster that addresses belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The management cluster: its Pods call servers, BMCs and control planes, and VM Nodes of others are Pods of it.
    Management,
    /// One with its own control plane on machines: perhaps the management cluster.
    Standing,
    /// A tenant whose control plane runs in the management cluster, and with it perhaps some of its Nodes.
    Hosted {
        /// It has VM Nodes.
        on_vms: bool,
    },
}

/// The cluster that addresses belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// Its namespace.
    pub namespace: String,
    /// Its name; empty where only the namespace is known, so that any cluster there may be meant.
    pub name: String,
    /// What it is.
    pub role: Role,
}

impl Home {
    /// Whether the addresses may be of one cluster.
    fn may_be(&self, other: &Self) -> bool {
        let any = self.name.is_empty() || other.name.is_empty();
        self.namespace == other.namespace && (any || self.name == other.name)
    }

    fn is(&self, other: &Self) -> bool {
        !self.name.is_empty() && (&self.namespace, &self.name) == (&other.namespace, &other.name)
    }
}

/// Addresses, what they are for, and whose they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The addresses.
    pub range: PoolRange,
    /// As they were written.
    pub text: String,
    /// What they are for.
    pub purpose: Purpose,
    /// Whose they are.
    pub owner: Owner,
    /// The field that says so.
    pub path: String,
    /// The cluster that they belong to.
    pub home: Option<Home>,
    /// Parts of a network of Pods that no Pod gets: what lies whole in one may be there.
    pub holes: Vec<PoolRange>,
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.purpose, self.owner)
    }
}

/// What comes of it when two ranges meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Harm {
    /// It comes for certain; else only when both are on one network, or the address is really taken from there.
    pub certain: bool,
    /// What.
    pub why: &'static str,
}

const fn certain(why: &'static str) -> Option<Harm> {
    Some(Harm { certain: true, why })
}

const fn possible(why: &'static str) -> Option<Harm> {
    Some(Harm { certain: false, why })
}

const UNREACHABLE: &str = "from its Nodes and Pods such an address cannot be reached";

/// What comes of two ranges of addresses; nothing where they may meet, or do not.
#[must_use]
pub fn harm(a: &Claim, b: &Claim) -> Option<Harm> {
    use Purpose::{Bmc, Leases, LoadBalancer, Nodes, Servers};
    if !a.range.overlaps(&b.range) {
        return None;
    }
    let (a, b) = if a.purpose <= b.purpose { (a, b) } else { (b, a) };
    if a.purpose.is_inner() {
        return inner(a, b);
    }
    match (a.purpose, b.purpose) {
        // A pool may be a part of the Nodes' network, as an endpoint may be of a pool.
        (Nodes, _) | (LoadBalancer, Purpose::Requested) | (Leases, Bmc) | (Bmc, Bmc) => None,
        (x, y) if x.is_endpoint() && y.is_endpoint() && a.home == b.home => None,
        (LoadBalancer, LoadBalancer) => certain("two pools may hand out one address"),
        (LoadBalancer, Leases) => certain("a booting server may be leased the address of a Service"),
        (LoadBalancer, Servers) => certain("a Service may be given an address that a server has"),
        (LoadBalancer, Bmc) => certain("a Service may be given the address of a BMC"),
        (LoadBalancer, _) => certain("a Service may be given the address that answers for a control plane"),
        (Leases, Leases) => certain("two servers may be leased one address"),
        (Leases, Servers) => {
            certain("a booting server may be leased an address that a machine is given for good")
        }
        (Leases, _) => certain("a booting server may be leased the address that answers for a control plane"),
        (Servers, Servers) if a.owner.namespace == b.owner.namespace => {
            certain("two pools may give one address to two machines")
        }
        (Servers, Servers) => {
            possible("two pools may give one address to two machines, if their servers are on one network")
        }
        (Servers, Bmc) => certain("a machine may be given the address of a BMC"),
        (Servers, _) => certain("a machine may be given the address that answers for a control plane"),
        (_, Bmc) => certain("a BMC and a control plane claim one address"),
        _ => certain("two endpoints claim one address"),
    }
}

/// Pods or Services of a cluster, and something else.
fn inner(a: &Claim, b: &Claim) -> Option<Harm> {
    let (home, other) = (a.home.as_ref()?, b.home.as_ref());
    let same = other.is_some_and(|other| home.is(other));
    let carries = |home: &Home| matches!(home.role, Role::Management | Role::Standing);
    let sure = |why| Some(Harm { certain: home.role != Role::Standing || same, why });
    let spared = a.holes.iter().any(|hole| hole.covers(&b.range));
    match b.purpose {
        Purpose::Pods | Purpose::Services if same => (a.purpose != b.purpose)
            .then_some(Harm { certain: true, why: "traffic to one is taken for the other" }),
        Purpose::Pods | Purpose::Services => {
            let on_vms = |home: &Home| home.role == Role::Hosted { on_vms: true };
            let other = other?;
            let nested = on_vms(home) && carries(other) || on_vms(other) && carries(home);
            nested.then_some(Harm {
                certain: true,
                why: "VM Nodes are Pods there, and cannot tell their own from their neighbours and name server",
            })
        }
        Purpose::Nodes if same => certain("its Nodes take each other for Pods or Services"),
        // Of the management cluster's Nodes everybody may need one: control planes and images are there.
        Purpose::Nodes => other.filter(|other| other.role == Role::Management).and(possible(UNREACHABLE)),
        Purpose::Leases | Purpose::Servers | Purpose::Bmc if spared => None,
        Purpose::LoadBalancer if matches!(home.role, Role::Hosted { .. }) => possible(
            "a control plane may be given such an address, which its own Nodes and Pods could not reach",
        ),
        Purpose::LoadBalancer | Purpose::Leases => certain(UNREACHABLE),
        Purpose::Servers if other.is_some_and(|other| home.may_be(other)) => certain(UNREACHABLE),
        Purpose::Servers if carries(home) => sure(UNREACHABLE),
        Purpose::Endpoint | Purpose::Requested if same => certain(UNREACHABLE),
        Purpose::Endpoint | Purpose::Requested if carries(home) => sure(UNREACHABLE),
        Purpose::Bmc if carries(home) => match home.role {
            Role::Management => certain("the manager's Pods cannot reach it there"),
            _ => possible("if this is the management cluster, the manager's Pods cannot reach it there"),
        },
        _ => None,
    }
}

/// Two claims that harm each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clash<'a> {
    /// The one that was asked about.
    pub ours: &'a Claim,
    /// The other one.
    pub theirs: &'a Claim,
    /// What comes of it.
    pub harm: Harm,
}

impl fmt::Display for Clash<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ours, theirs, harm } = self;
        write!(f, "{}: {} overlaps {}, {theirs}", ours.path, ours.text, theirs.text)?;
        if !theirs.path.is_empty() {
            write!(f, " ({})", theirs.path)?;
        }
        write!(f, ": {}", harm.why)
    }
}

/// What comes of `ours` with each other and with `others`. Claims of one owner meet within `ours` only.
pub fn clashes<'a>(ours: &'a [Claim], others: &'a [Claim]) -> Vec<Clash<'a>> {
    let within =
        ours.iter().enumerate().flat_map(|(at, one)| ours[at + 1..].iter().map(move |two| (one, two)));
    let beyond = ours.iter().flat_map(|one| others.iter().map(move |two| (one, two)));
    let beyond = beyond.filter(|(one, two)| one.owner != two.owner);
    within
        .chain(beyond)
        .filter_map(|(ours, theirs)| Some(Clash { ours, theirs, harm: harm(ours, theirs)? }))
        .collect()
}

/// The addresses of a text: `first-last`, a network, or one address.
#[must_use]
pub fn parse(text: &str) -> Option<PoolRange> {
    let address = |text: &str| text.trim().parse::<IpAddr>().ok();
    if let Some((first, last)) = text.split_once('-') {
        return PoolRange::between(address(first)?, address(last)?);
    }
    match text.trim().parse::<ipnet::IpNet>() {
        Ok(net) => Some(net.into()),
        Err(_) => address(text).and_then(|address| PoolRange::between(address, address)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(purpose: Purpose, text: &str, owner: (&str, &str), home: Option<Home>) -> Claim {
        Claim {
            range: parse(text).unwrap(),
            text: text.to_owned(),
            purpose,
            owner: Owner::new("X", owner.0, owner.1),
            path: "spec".to_owned(),
            home,
            holes: Vec::new(),
        }
    }

    fn home(namespace: &str, name: &str, role: Role) -> Option<Home> {
        Some(Home { namespace: namespace.into(), name: name.into(), role })
    }

    const VMS: Role = Role::Hosted { on_vms: true };
    const METAL: Role = Role::Hosted { on_vms: false };

    /// `+` certain, `?` possible, `-` none.
    fn sign(a: &Claim, b: &Claim) -> char {
        assert_eq!(harm(a, b), harm(b, a), "whichever is named first");
        match harm(a, b) {
            Some(harm) if harm.certain => '+',
            Some(_) => '?',
            None => '-',
        }
    }

    /// Holds a row against the page that users read.
    fn documented(row: &str, signs: &[char]) {
        let signs: Vec<_> = signs.iter().map(char::to_string).collect();
        let line = format!("| {row} | {} |", signs.join(" | "));
        let page = include_str!("../../../../docs/addresses.md");
        assert!(page.lines().any(|there| there == line), "docs/addresses.md has no line {line:?}");
    }

    #[test]
    fn ranges_read_in_both_families() {
        for (text, range) in [
            ("10.0.0.5-10.0.0.9", "10.0.0.5-10.0.0.9"),
            ("10.0.0.7/30", "10.0.0.4-10.0.0.7"),
            ("fd00::7", "fd00::7-fd00::7"),
            ("0.0.0.0/0", "0.0.0.0-255.255.255.255"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), range);
        }
        for bad in ["10.0.0.9-10.0.0.5", "10.0.0.1/33", "10.0.0", "x", "", "10.0.0.1-fd00::1"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn tenants_may_have_what_each_other_has() {
        let of = |purpose, name, role| claim(purpose, "10.244.0.0/16", ("t", name), home("t", name, role));
        for (one, other) in [(VMS, VMS), (VMS, METAL), (METAL, METAL), (Role::Standing, Role::Standing)] {
            for purpose in [Purpose::Pods, Purpose::Services] {
                assert_eq!(
                    sign(&of(Purpose::Pods, "a", one), &of(purpose, "b", other)),
                    '-',
                    "{one:?} {other:?}"
                );
            }
        }
        // Its own Services are another matter, and so is who carries its VMs.
        assert_eq!(sign(&of(Purpose::Pods, "a", VMS), &of(Purpose::Services, "a", VMS)), '+');
        for carrier in [Role::Management, Role::Standing] {
            assert_eq!(sign(&of(Purpose::Pods, "a", VMS), &of(Purpose::Services, "m", carrier)), '+');
            assert_eq!(sign(&of(Purpose::Pods, "a", METAL), &of(Purpose::Pods, "m", carrier)), '-');
        }
    }

    #[test]
    fn what_a_clusters_nodes_call_lies_outside_of_its_pods() {
        // Whose the other addresses are, as docs/addresses.md has it.
        let pods = |role| claim(Purpose::Pods, "10.244.0.0/16", ("t", "a"), home("t", "a", role));
        let there = |purpose, owner, home| claim(purpose, "10.244.3.0-10.244.3.9", owner, home);
        let own = home("t", "a", METAL);
        let (namespace, others, nobodys) = (home("t", "", METAL), home("t", "b", METAL), None);
        for (row, purpose, owner, home) in [
            ("servers' addresses of its own", Purpose::Servers, ("t", "pool"), own.clone()),
            (
                "servers' addresses of a pool in its namespace that names no Cluster",
                Purpose::Servers,
                ("t", "pool"),
                namespace,
            ),
            ("servers' addresses of another", Purpose::Servers, ("t", "pool"), others.clone()),
            ("its endpoint", Purpose::Endpoint, ("t", "a"), own.clone()),
            ("the endpoint of another", Purpose::Endpoint, ("t", "b"), others),
            ("LoadBalancer addresses", Purpose::LoadBalancer, ("", ""), nobodys.clone()),
            ("a BMC", Purpose::Bmc, ("t", "server"), nobodys),
        ] {
            let there = there(purpose, owner, home);
            let signs = [METAL, Role::Standing, Role::Management].map(|role| sign(&pods(role), &there));
            documented(row, &signs);
        }
    }

    #[test]
    fn nobody_gives_away_what_another_has() {
        use Purpose::{Bmc, Endpoint, Leases, LoadBalancer, Nodes, Requested, Servers};
        let of = |purpose, namespace: &str| {
            claim(purpose, "10.0.0.5", (namespace, "x"), home(namespace, "x", METAL))
        };
        for (row, one) in [
            ("LoadBalancer", LoadBalancer),
            ("DHCP", Leases),
            ("servers", Servers),
            ("endpoint", Endpoint),
            ("requested", Requested),
            ("BMC", Bmc),
        ] {
            let signs = [LoadBalancer, Leases, Servers, Endpoint, Requested, Bmc]
                .map(|other| sign(&of(one, "t"), &of(other, "u")));
            documented(row, &signs);
            assert_eq!(sign(&of(Nodes, "t"), &of(one, "u")), '-', "a part of the Nodes' network: {row}");
        }
        assert_eq!(sign(&of(Servers, "t"), &of(Servers, "t")), '+');
        assert_eq!(sign(&of(Endpoint, "t"), &of(Requested, "t")), '-', "one cluster says it twice");
    }

    #[test]
    fn a_clash_names_both_fields_both_ranges_and_both_owners() {
        let ours = [claim(Purpose::Pods, "10.244.0.0/16", ("t", "a"), home("t", "a", METAL))];
        let theirs = [
            claim(Purpose::Servers, "10.244.9.1-10.244.9.9", ("t", "pool"), home("t", "a", METAL)),
            claim(Purpose::Servers, "10.9.9.1-10.9.9.9", ("t", "pool"), home("t", "a", METAL)),
        ];
        let told: Vec<_> = clashes(&ours, &theirs).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "spec: 10.244.0.0/16 overlaps 10.244.9.1-10.244.9.9, the servers' addresses of X t/pool (spec): from its Nodes \
              and Pods such an address cannot be reached"
            ]
        );
    }
}
