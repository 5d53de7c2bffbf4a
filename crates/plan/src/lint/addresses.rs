//! The address plan: who may hand out or claim which address.

use std::net::Ipv4Addr;

use super::objects::{Object, Objects, text_of};
use super::{Finding, Level, Place};

/// What uses a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// LoadBalancer pool.
    LoadBalancer,
    /// IPAM pool for machines.
    Machines,
    /// DHCP for provisioning.
    Dhcp,
    /// One address that something announces for itself.
    Vip,
    /// One address that a LoadBalancer Service asks for.
    Requested,
}

#[derive(Clone, Debug)]
struct Range {
    from: u32,
    to: u32,
    what: Use,
    place: Place,
    /// Cluster whose endpoint it is (VIPs).
    of: String,
}

impl Range {
    fn text(&self) -> String {
        let (from, to) = (Ipv4Addr::from(self.from), Ipv4Addr::from(self.to));
        let name = match self.what {
            Use::LoadBalancer => "LoadBalancer pool",
            Use::Machines => "machine address pool",
            Use::Dhcp => "DHCP range",
            Use::Vip => "endpoint",
            Use::Requested => "requested LoadBalancer address",
        };
        if from == to { format!("{name} {from}") } else { format!("{name} {from}-{to}") }
    }
}

/// `a-b`, `a/len` or `a`.
pub fn parse_range(text: &str) -> Option<(u32, u32)> {
    let ip = |t: &str| t.trim().parse::<Ipv4Addr>().ok().map(u32::from);
    if let Some((from, to)) = text.split_once('-') {
        return Some((ip(from)?, ip(to)?)).filter(|(f, t)| f <= t);
    }
    if let Some((base, bits)) = text.split_once('/') {
        let (base, bits) = (ip(base)?, bits.trim().parse::<u32>().ok().filter(|b| *b <= 32)?);
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
        return Some((base & mask, (base & mask) | !mask));
    }
    ip(text).map(|a| (a, a))
}

/// Checks addresses.
pub fn check(objects: &Objects, found: &mut Vec<Finding>) {
    let ranges = collect(objects, found);
    for (i, a) in ranges.iter().enumerate() {
        for b in &ranges[i + 1..] {
            if a.from <= b.to && b.from <= a.to {
                overlap(a, b, found);
            }
        }
    }
    let pools: Vec<&Range> = ranges.iter().filter(|r| r.what == Use::LoadBalancer).collect();
    for r in ranges.iter().filter(|r| r.what == Use::Requested && !pools.is_empty()) {
        if !pools.iter().any(|p| p.from <= r.from && r.to <= p.to) {
            found.push(Finding {
                rule: "address-outside-pool",
                level: Level::Error,
                message: format!("{} lies in no LoadBalancer pool: the Service stays pending", r.text()),
                fix: "ask for an address of a pool, or add it to one".to_owned(),
                places: vec![r.place.clone()],
            });
        }
    }
}

fn overlap(a: &Range, b: &Range, found: &mut Vec<Finding>) {
    use Use::{Dhcp, LoadBalancer, Machines, Requested, Vip};
    let (a, b) = if rank(a.what) <= rank(b.what) { (a, b) } else { (b, a) };
    let why = match (a.what, b.what) {
        (LoadBalancer, Requested) => return,
        (Vip | Requested, Vip | Requested) if a.of == b.of => return,
        (LoadBalancer, Machines) => "a Service may be given an address that a server has",
        (LoadBalancer, Vip) => "a Service may be given the address that answers for a control plane",
        (LoadBalancer, Dhcp) => "a booting server may be leased the address of a Service",
        (LoadBalancer, LoadBalancer) => "two pools may hand out one address",
        (Dhcp, Machines) => "a booting server may be leased an address that a machine is given for good",
        (Dhcp, Vip | Requested) => {
            "a booting server may be leased the address that answers for a control plane"
        }
        (Machines, Machines) => "two pools may give one address to two machines",
        (Machines, Vip | Requested) => "a machine may be given the address that answers for a control plane",
        _ => "two endpoints claim one address",
    };
    let (from, to) = (Ipv4Addr::from(a.from.max(b.from)), Ipv4Addr::from(a.to.min(b.to)));
    let shared = if from == to { from.to_string() } else { format!("{from}-{to}") };
    found.push(Finding {
        rule: "address-overlap",
        level: Level::Error,
        message: format!("{} and {} share {shared}: {why}", a.text(), b.text()),
        fix: "make the ranges disjoint: every address has one owner".to_owned(),
        places: vec![b.place.clone(), a.place.clone()],
    });
}

fn rank(what: Use) -> u8 {
    match what {
        Use::LoadBalancer => 0,
        Use::Dhcp => 1,
        Use::Machines => 2,
        Use::Vip => 3,
        Use::Requested => 4,
    }
}

fn collect(objects: &Objects, found: &mut Vec<Finding>) -> Vec<Range> {
    let mut ranges = Vec::new();
    let mut push = |text: &str, what: Use, place: Place, of: &str| match parse_range(text) {
        Some((from, to)) => ranges.push(Range { from, to, what, place, of: of.to_owned() }),
        // Names and IPv6 are legal where an address may stand; only what looks like IPv4 is judged.
        None if text.chars().all(|c| c.is_ascii_digit() || ".-/ ".contains(c)) => found.push(Finding {
            rule: "address-range",
            level: Level::Error,
            message: format!("{text:?} is no address, range or CIDR"),
            fix: "write first-last with first not above last, or a CIDR".to_owned(),
            places: vec![place],
        }),
        None => {}
    };
    for o in &objects.all {
        match o.kind.as_str() {
            "IPAddressPool" if o.group == "metallb.io" => {
                for (i, (text, _)) in o.texts(&["spec", "addresses"]).into_iter().enumerate() {
                    push(&text, Use::LoadBalancer, o.place(&["spec", "addresses", &i.to_string()]), "");
                }
            }
            "IPPool" if o.group == "ipam.metal3.io" => {
                for (i, pool) in o.list(&["spec", "pools"]).iter().enumerate() {
                    let text = |k: &str| pool.get(k).and_then(text_of);
                    let whole = match (text("start"), text("end"), text("subnet")) {
                        (Some(start), Some(end), _) => format!("{start}-{end}"),
                        (_, _, Some(subnet)) => subnet.to_owned(),
                        _ => continue,
                    };
                    push(&whole, Use::Machines, o.place(&["spec", "pools", &i.to_string()]), "");
                }
            }
            "Ironic" => {
                let begin = o.text(&["spec", "networking", "dhcp", "rangeBegin"]);
                let end = o.text(&["spec", "networking", "dhcp", "rangeEnd"]);
                if let (Some(begin), Some(end)) = (begin, end) {
                    push(
                        &format!("{begin}-{end}"),
                        Use::Dhcp,
                        o.place(&["spec", "networking", "dhcp", "rangeBegin"]),
                        "",
                    );
                }
                if let Some(ip) = o.text(&["spec", "networking", "ipAddress"]) {
                    push(ip, Use::Vip, o.place(&["spec", "networking", "ipAddress"]), "ironic");
                }
            }
            _ => {}
        }
    }
    endpoints(objects, &mut push);
    ranges
}

/// Endpoints: those that a LoadBalancer Service will carry are requests, the others are announced by the machines.
fn endpoints(objects: &Objects, push: &mut impl FnMut(&str, Use, Place, &str)) {
    for o in &objects.all {
        let of = format!("{}/{}", o.namespace, owner(objects, o));
        let hosted = hosted(objects, o);
        match o.kind.as_str() {
            "Metal3Cluster" | "KubevirtCluster" | "Cluster" => {
                let path = ["spec", "controlPlaneEndpoint", "host"];
                if let Some(host) = o.text(&path).filter(|h| !h.is_empty()) {
                    push(host, if hosted { Use::Requested } else { Use::Vip }, o.place(&path), &of);
                }
            }
            "KubeadmControlPlane" => {
                let path = ["spec", "kubeadmConfigSpec", "clusterConfiguration", "controlPlaneEndpoint"];
                if let Some(host) = o.text(&path) {
                    let host = host.rsplit_once(':').map_or(host, |(h, _)| h);
                    push(host, Use::Vip, o.place(&path), &of);
                }
            }
            "KamajiControlPlane" | "TenantControlPlane" | "Service" => {
                let base: &[&str] = match o.kind.as_str() {
                    "KamajiControlPlane" => &["spec", "network", "serviceAnnotations"],
                    "TenantControlPlane" => {
                        &["spec", "controlPlane", "service", "additionalMetadata", "annotations"]
                    }
                    _ => &["metadata", "annotations"],
                };
                let path = [base, &["metallb.io/loadBalancerIPs"]].concat();
                for ip in o.text(&path).unwrap_or_default().split(',').filter(|t| !t.is_empty()) {
                    push(ip, Use::Requested, o.place(&path), &of);
                }
                for path in
                    [&["spec", "network", "serviceAddress"][..], &["spec", "networkProfile", "address"]]
                {
                    if let Some(ip) = o.text(path) {
                        push(ip, Use::Requested, o.place(path), &of);
                    }
                }
            }
            _ => {}
        }
    }
}

/// The Cluster that an object belongs to, by reference or by name.
pub fn owner<'a>(objects: &'a Objects, o: &'a Object) -> &'a str {
    let refers = |c: &&Object| {
        c.namespace == o.namespace
            && ["controlPlaneRef", "infrastructureRef"].iter().any(|r| {
                c.text(&["spec", r, "kind"]) == Some(&o.kind) && c.text(&["spec", r, "name"]) == Some(&o.name)
            })
    };
    let named = |c: &&Object| {
        c.namespace == o.namespace && c.text(&["spec", "infrastructureRef", "name"]) == Some(&o.name)
    };
    let found = objects.of("Cluster").find(refers).or_else(|| objects.of("Cluster").find(named));
    found.map_or(o.name.as_str(), |c| c.name.as_str())
}

/// Whether the cluster of an object has a hosted control plane behind a LoadBalancer.
fn hosted(objects: &Objects, o: &Object) -> bool {
    let cluster = objects.get("Cluster", &o.namespace, owner(objects, o));
    cluster.is_some_and(|c| c.text(&["spec", "controlPlaneRef", "kind"]) == Some("KamajiControlPlane"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_read() {
        let ip = |t: &str| u32::from(t.parse::<Ipv4Addr>().unwrap());
        assert_eq!(parse_range("10.0.0.5-10.0.0.9"), Some((ip("10.0.0.5"), ip("10.0.0.9"))));
        assert_eq!(parse_range("10.0.0.7/30"), Some((ip("10.0.0.4"), ip("10.0.0.7"))));
        assert_eq!(parse_range("0.0.0.0/0"), Some((0, u32::MAX)));
        for bad in ["10.0.0.9-10.0.0.5", "10.0.0.1/33", "10.0.0", "x"] {
            assert_eq!(parse_range(bad), None, "{bad}");
        }
    }
}
