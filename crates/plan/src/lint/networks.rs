//! Pod and Service networks of clusters that meet, and overlays inside overlays.

use super::addresses::parse_range;
use super::objects::{Object, Objects};
use super::{Finding, Level};

/// Bytes that VXLAN over IPv4 takes of a packet.
const VXLAN_BYTES: i64 = 50;
/// Calico's and Cilium's default VXLAN port differs from IANA's 4789 only for Cilium (8472).
const DEFAULT_PORT: i64 = 4789;
/// Addresses of a Node's Pod CIDR (`--node-cidr-mask-size` 24).
const NODE_ADDRESSES: u64 = 256;

struct Network<'a> {
    cluster: &'a Object,
    name: &'static str,
    index: String,
    from: u32,
    to: u32,
}

/// Checks networks.
pub fn check(objects: &Objects, found: &mut Vec<Finding>) {
    let mut networks: Vec<Network<'_>> = Vec::new();
    for cluster in objects.of("Cluster") {
        for name in ["pods", "services"] {
            let blocks = cluster.texts(&["spec", "clusterNetwork", name, "cidrBlocks"]);
            for (i, (text, _)) in blocks.into_iter().enumerate() {
                if let Some((from, to)) = parse_range(&text) {
                    networks.push(Network { cluster, name, index: i.to_string(), from, to });
                } else if !text.contains(':') {
                    let path = ["spec", "clusterNetwork", name, "cidrBlocks", &i.to_string()];
                    found.push(Finding {
                        rule: "address-range",
                        level: Level::Error,
                        message: format!("{text:?} is no CIDR"),
                        fix: "write it as 10.244.0.0/16".to_owned(),
                        places: vec![cluster.place(&path)],
                    });
                }
            }
        }
    }
    for (i, a) in networks.iter().enumerate() {
        for b in networks[i + 1..].iter().filter(|b| a.from <= b.to && b.from <= a.to) {
            pair(objects, a, b, found);
        }
    }
    machines(objects, &networks, found);
    sizes(objects, &networks, found);
    overlays(objects, found);
}

fn place(n: &Network<'_>) -> super::Place {
    n.cluster.place(&["spec", "clusterNetwork", n.name, "cidrBlocks", &n.index])
}

fn pair(objects: &Objects, a: &Network<'_>, b: &Network<'_>, found: &mut Vec<Finding>) {
    let same = a.cluster.name == b.cluster.name && a.cluster.namespace == b.cluster.namespace;
    let message = if same {
        format!(
            "the {} and {} networks of {} overlap: traffic to one is taken for the other",
            a.name, b.name, a.cluster.name
        )
    } else {
        let (guest, host) = match (on_vms(objects, a.cluster), on_vms(objects, b.cluster)) {
            (true, false) => (a, b),
            (false, true) => (b, a),
            // Two tenants on VMs, or two clusters on metal, never route each other's Pods.
            _ => return,
        };
        if hosted(host.cluster) {
            return;
        }
        format!(
            "the {} network of {} overlaps the {} network of {}: its Nodes are Pods there, and cannot tell their own Pods from their neighbours",
            guest.name, guest.cluster.name, host.name, host.cluster.name
        )
    };
    found.push(Finding {
        rule: "network-overlap",
        level: Level::Error,
        message,
        fix: "give one of them another CIDR; it cannot be changed once the cluster runs".to_owned(),
        places: vec![place(a), place(b)],
    });
}

/// A cluster with a hosted control plane carries no other cluster's VMs: it is a tenant.
fn hosted(cluster: &Object) -> bool {
    cluster.text(&["spec", "controlPlaneRef", "kind"]) == Some("KamajiControlPlane")
}

/// Whether Nodes of a cluster are VMs of another: its infrastructure says so, or all its pools do.
fn on_vms(objects: &Objects, cluster: &Object) -> bool {
    if cluster.text(&["spec", "infrastructureRef", "kind"]) == Some("KubevirtCluster") {
        return true;
    }
    objects.of("MachineDeployment").any(|m| {
        m.namespace == cluster.namespace
            && m.text(&["spec", "clusterName"]) == Some(&cluster.name)
            && m.text(&["spec", "template", "spec", "infrastructureRef", "kind"])
                == Some("KubevirtMachineTemplate")
    }) && hosted(cluster)
}

/// Machine and LoadBalancer addresses inside a Pod or Service network.
fn machines(objects: &Objects, networks: &[Network<'_>], found: &mut Vec<Finding>) {
    for pool in objects
        .all
        .iter()
        .filter(|o| o.kind == "IPAddressPool" || (o.kind == "IPPool" && o.group == "ipam.metal3.io"))
    {
        let (ranges, key): (Vec<String>, &str) = if pool.kind == "IPAddressPool" {
            (pool.texts(&["spec", "addresses"]).into_iter().map(|(t, _)| t).collect(), "addresses")
        } else {
            let text = |n: &crate::input::tree::Node, k: &str| {
                n.get(k).and_then(super::objects::text_of).map(str::to_owned)
            };
            let whole = |n| Some(format!("{}-{}", text(n, "start")?, text(n, "end")?));
            (pool.list(&["spec", "pools"]).iter().filter_map(whole).collect(), "pools")
        };
        for (i, (from, to)) in ranges.iter().filter_map(|t| parse_range(t)).enumerate() {
            for n in networks.iter().filter(|n| n.from <= to && from <= n.to) {
                found.push(Finding {
                    rule: "network-overlap",
                    level: Level::Error,
                    message: format!(
                        "addresses of {} lie inside the {} network of {}: from its Nodes they cannot be reached",
                        pool.name, n.name, n.cluster.name
                    ),
                    fix: "move the pool or the network".to_owned(),
                    places: vec![place(n), pool.place(&["spec", key, &i.to_string()])],
                });
            }
        }
    }
}

fn sizes(objects: &Objects, networks: &[Network<'_>], found: &mut Vec<Finding>) {
    for n in networks.iter().filter(|n| n.name == "pods") {
        let room = (u64::from(n.to - n.from) + 1) / NODE_ADDRESSES;
        let of = |o: &&Object| {
            o.namespace == n.cluster.namespace && o.text(&["spec", "clusterName"]) == Some(&n.cluster.name)
        };
        let nodes: i64 =
            objects.of("MachineDeployment").filter(of).filter_map(|m| m.int(&["spec", "replicas"])).sum();
        if nodes as u64 > room {
            found.push(Finding {
                rule: "network-size",
                level: Level::Error,
                message: format!("the Pod network of {} has a /24 for {room} Nodes and {nodes} are wanted: the others get no Pod CIDR", n.cluster.name),
                fix: "use a larger CIDR, or a larger --node-cidr-mask-size".to_owned(),
                places: vec![place(n)],
            });
        }
    }
}

/// Overlays of several clusters in one set: the nested one needs another port and a smaller MTU.
fn overlays(objects: &Objects, found: &mut Vec<Finding>) {
    let felix: Vec<&Object> = objects.of("FelixConfiguration").collect();
    for (i, a) in felix.iter().enumerate() {
        for b in &felix[i + 1..] {
            let port = |o: &Object| o.int(&["spec", "vxlanPort"]).unwrap_or(DEFAULT_PORT);
            if port(a) == port(b) && a.namespace != b.namespace {
                found.push(Finding {
                    rule: "overlay-port",
                    level: Level::Warning,
                    message: format!(
                        "two overlays use UDP port {}: the host's takes the packets of the nested one",
                        port(a)
                    ),
                    fix: "set spec.vxlanPort of the nested cluster to another port (for example 6789)"
                        .to_owned(),
                    places: vec![b.place(&["spec", "vxlanPort"]), a.place(&["spec", "vxlanPort"])],
                });
            }
        }
    }
    let mut mtus: Vec<(i64, &Object)> = objects
        .of("Installation")
        .filter_map(|o| o.int(&["spec", "calicoNetwork", "mtu"]).map(|m| (m, o)))
        .collect();
    mtus.sort_by_key(|(m, _)| std::cmp::Reverse(*m));
    for pair in mtus.windows(2).filter(|p| p[0].0 - p[1].0 < VXLAN_BYTES) {
        found.push(Finding {
            rule: "overlay-mtu",
            level: Level::Warning,
            message: format!(
                "MTU {} does not fit into an overlay of MTU {}: large packets of the nested cluster are dropped or split",
                pair[1].0, pair[0].0
            ),
            fix: format!("set the nested cluster's MTU to {} or less", pair[0].0 - VXLAN_BYTES),
            places: vec![pair[1].1.place(&["spec", "calicoNetwork", "mtu"])],
        });
    }
}
