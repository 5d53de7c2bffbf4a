//! Pod networks that are too small, and overlays inside overlays.

use scute_api::ranges::parse;

use super::objects::{Object, Objects};
use super::{Finding, Level};

/// Bytes that VXLAN over IPv4 takes of a packet.
const VXLAN_BYTES: i64 = 50;
/// Calico's and Cilium's default VXLAN port differs from IANA's 4789 only for Cilium (8472).
const DEFAULT_PORT: i64 = 4789;
/// Addresses of a Node's Pod CIDR (`--node-cidr-mask-size` 24).
const NODE_ADDRESSES: u128 = 256;

/// Checks networks.
pub fn check(objects: &Objects, found: &mut Vec<Finding>) {
    sizes(objects, found);
    overlays(objects, found);
}

fn sizes(objects: &Objects, found: &mut Vec<Finding>) {
    const BLOCKS: [&str; 4] = ["spec", "clusterNetwork", "pods", "cidrBlocks"];
    for cluster in objects.of("Cluster") {
        let of = |machines: &&Object| {
            machines.namespace == cluster.namespace
                && machines.text(&["spec", "clusterName"]) == Some(&cluster.name)
        };
        let nodes: i64 =
            objects.of("MachineDeployment").filter(of).filter_map(|m| m.int(&["spec", "replicas"])).sum();
        for (index, (text, _)) in cluster.texts(&BLOCKS).into_iter().enumerate() {
            // Of IPv6 a Node gets a /64, of which every usual range has enough.
            let Some(range) = parse(&text).filter(|_| !text.contains(':')) else { continue };
            let room = range.size() / NODE_ADDRESSES;
            if u128::try_from(nodes).is_ok_and(|nodes| nodes > room) {
                found.push(Finding {
                    rule: "network-size",
                    level: Level::Error,
                    message: format!("the Pod network of {} has a /24 for {room} Nodes and {nodes} are wanted: the others get no Pod CIDR", cluster.name),
                    fix: "use a larger CIDR, or a larger --node-cidr-mask-size".to_owned(),
                    places: vec![cluster.place(&[&BLOCKS[..], &[&index.to_string()]].concat())],
                });
            }
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
