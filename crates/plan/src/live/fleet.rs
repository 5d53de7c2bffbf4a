//! Servers: BareMetalHosts and Nodes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::servers::{Server, Standing, installed, servers};
use super::{label, of_kind, text};
use crate::input::{Fleet, Host, Role, natural};
use crate::metal::hosts;
use crate::units::{Cpu, Mem};

/// Hosts: BareMetalHosts that can be planned with or that tenants have, and Nodes that none of them is. What is left out,
/// and what is counted though something is wrong with it, is said.
pub fn fleet(objects: &[Value]) -> (Fleet, Vec<String>) {
    let (mut hosts, mut notes): (BTreeMap<String, Host>, Vec<String>) = (BTreeMap::new(), Vec::new());
    let mut known: BTreeMap<(&str, &str), Host> = BTreeMap::new();
    for server in servers(objects) {
        let name = &server.name;
        match &server.standing {
            Standing::Out(why) => {
                notes.push(format!("BareMetalHost {name} {why}: it is left out"));
                continue;
            }
            Standing::Usable(Some(why)) | Standing::Held(_, Some(why)) => {
                notes.push(format!("BareMetalHost {name} {why}: it is counted all the same"));
            }
            Standing::Usable(None) | Standing::Held(_, None) | Standing::Node(_) => {}
        }
        let Some(host) = server.hardware.and_then(|hardware| host(&server, hardware)) else { continue };
        if matches!(server.standing, Standing::Node(_)) {
            let space = text(server.object, "/metadata/namespace");
            known.insert((space, text(server.object, "/metadata/name")), host);
        } else {
            // What a tenant has is no host of VMs, whatever else becomes free.
            let role = if matches!(server.standing, Standing::Held(..)) { Role::Metal } else { Role::Any };
            hosts.insert(host.name.clone(), Host { role, ..host });
        }
    }
    for o in of_kind(objects, "Node") {
        let name = text(o, "/metadata/name").to_owned();
        if o.pointer("/spec/unschedulable") == Some(&Value::Bool(true)) {
            notes.push(format!("Node {name} is cordoned: it is counted all the same"));
        }
        let quantity =
            |key: &str| o.pointer("/status/capacity").and_then(|c| c.get(key)).and_then(Value::as_str);
        let cpu = quantity("cpu").and_then(|t| Cpu::parse(t).ok());
        let memory = quantity("memory").and_then(|t| Mem::parse(t).ok());
        let (Some(cpu), Some(memory)) = (cpu, memory) else {
            notes.push(format!("Node {name} says nothing of its capacity: it is left out"));
            continue;
        };
        let gpus =
            ["nvidia.com/gpu", "amd.com/gpu"].iter().filter_map(|k| quantity(k)?.parse::<i64>().ok()).sum();
        // What Metal3 installed is one server, whatever its Node is called.
        let known = match installed(o) {
            Some(key) => known.get(&key),
            None => known.iter().find(|((_, host), _)| *host == name).map(|(_, host)| host),
        };
        let host = Host {
            class: known.map_or_else(|| class(o, cpu.0 / 1000, memory.0), |h| h.class.clone()),
            rack: match known {
                Some(h) if rack(o) == NO_RACK => h.rack.clone(),
                _ => rack(o),
            },
            threads: cpu.0 / 1000,
            numa_nodes: 1,
            memory,
            disk: quantity("ephemeral-storage").and_then(|t| Mem::parse(t).ok()),
            gpus,
            nics: known.map_or(0, |h| h.nics),
            nic_gbits: known.map_or(0.0, |h| h.nic_gbits),
            price: 0.0,
            power: 0.0,
            role: Role::Any,
            name: name.clone(),
        };
        hosts.insert(name, host);
    }
    let mut hosts: Vec<Host> = hosts.into_values().collect();
    hosts.sort_by_key(|h| natural(&h.name));
    (Fleet { hosts }, notes)
}

/// Where a host stands that does not say.
const NO_RACK: &str = "default";

/// A server as its inspection found it.
fn host(server: &Server<'_>, hardware: &Value) -> Option<Host> {
    let size = hosts::size(hardware)?;
    let list = |key: &str| hardware.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let disk: i64 = list("storage").iter().filter_map(|d| d.get("sizeBytes")?.as_i64()).sum();
    // An interface is there once for each of its addresses.
    let speeds: BTreeMap<&str, f64> = list("nics")
        .iter()
        .map(|n| (text(n, "/mac"), n.get("speedGbps").and_then(Value::as_f64).unwrap_or_default()))
        .collect();
    Some(Host {
        class: class(server.object, size.cpus, size.memory.0),
        rack: rack(server.object),
        threads: size.cpus,
        numa_nodes: 1,
        memory: size.memory,
        disk: (disk > 0).then_some(Mem(disk / 1_048_576)),
        gpus: 0,
        nics: speeds.len() as i64,
        nic_gbits: speeds.values().sum(),
        price: 0.0,
        power: 0.0,
        role: Role::Any,
        name: server.name.clone(),
    })
}

fn class(o: &Value, threads: i64, memory: i64) -> String {
    let named = ["node.kubernetes.io/instance-type", "scute.dev/class"].iter().find_map(|k| label(o, k));
    // Memory that firmware and kernel keep differs a little between like servers: whole 4 GiB are compared.
    named.map_or_else(|| format!("{threads}t-{}Gi", (memory + 2048) / 4096 * 4), str::to_owned)
}

fn rack(o: &Value) -> String {
    let keys = [
        "topology.kubernetes.io/rack",
        "topology.kubernetes.io/zone",
        "rack",
        "infrastructure.cluster.x-k8s.io/failure-domain",
    ];
    keys.iter().find_map(|k| label(o, k)).unwrap_or(NO_RACK).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hosts_come_from_nodes_and_inventory() {
        let objects = vec![
            json!({"kind": "BareMetalHost", "metadata": {"name": "r1-02", "labels": {"rack": "r1"}},
                "status": {"provisioning": {"state": "available"}, "hardware": {"cpu": {"count": 64}, "ramMebibytes": 262_144, "nics": [{"mac": "52:54:00:00:00:01", "speedGbps": 25}], "storage": [{"sizeBytes": 1_099_511_627_776_i64}]}}}),
            json!({"kind": "BareMetalHost", "metadata": {"name": "r1-03"}}),
            json!({"kind": "Node", "metadata": {"name": "r1-01"}, "status": {"capacity": {"cpu": "64", "memory": "263000000Ki", "nvidia.com/gpu": "4"}}}),
        ];
        let (fleet, notes) = fleet(&objects);
        let names: Vec<_> = fleet.hosts.iter().map(|h| (h.name.as_str(), h.threads, h.gpus)).collect();
        assert_eq!(names, [("r1-01", 64, 4), ("r1-02", 64, 0)]);
        assert_eq!(fleet.hosts[1].disk, Some(Mem::gib(1024)));
        assert_eq!(notes, ["BareMetalHost r1-03 was not inspected: it is left out"]);
    }

    #[test]
    fn a_node_that_metal3_installed_is_no_second_server() {
        let objects = vec![
            json!({"kind": "BareMetalHost", "metadata": {"name": "r1-02", "namespace": "metal", "labels": {"rack": "r1"}},
                "status": {"hardware": {"cpu": {"count": 64}, "ramMebibytes": 262_144, "nics": [{"mac": "52:54:00:00:00:01", "speedGbps": 25}]}}}),
            json!({"kind": "Node", "metadata": {"name": "worker-7"}, "spec": {"providerID": "metal3://metal/r1-02/m-1"},
                "status": {"capacity": {"cpu": "64", "memory": "263000000Ki"}}}),
        ];
        let (fleet, _) = fleet(&objects);
        let hosts: Vec<_> = fleet.hosts.iter().map(|h| (h.name.as_str(), h.rack.as_str(), h.nics)).collect();
        assert_eq!(hosts, [("worker-7", "r1", 1)]);
    }
}
