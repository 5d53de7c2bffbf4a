//! A running site as a fleet and a demand: from Nodes, BareMetalHosts, Pods and KubevirtMachines as a cluster has them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::input::{ControlPlane, Demand, Fleet, Host, Isolation, NodeKind, Policy, Role, Tenant, natural};
use crate::model::nodes::PodKind;
use crate::units::{Cpu, Mem};

fn text<'a>(o: &'a Value, path: &str) -> &'a str {
    o.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn label<'a>(o: &'a Value, key: &str) -> Option<&'a str> {
    o.pointer("/metadata/labels")?.get(key)?.as_str()
}

/// Hosts: BareMetalHosts that were inspected, and Nodes that none of them is. What could not be read is said.
pub fn fleet(objects: &[Value]) -> (Fleet, Vec<String>) {
    let (mut hosts, mut notes): (BTreeMap<String, Host>, Vec<String>) = (BTreeMap::new(), Vec::new());
    for o in objects.iter().filter(|o| text(o, "/kind") == "BareMetalHost") {
        let name = text(o, "/metadata/name").to_owned();
        let hardware = |path: &str| o.pointer(&format!("/status/hardware/{path}"));
        let threads = hardware("cpu/count").and_then(Value::as_i64);
        let memory = hardware("ramMebibytes").and_then(Value::as_i64);
        let (Some(threads), Some(memory)) = (threads, memory) else {
            notes.push(format!("BareMetalHost {name} was not inspected: it is left out"));
            continue;
        };
        let list =
            |path: &str| hardware(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let disk: i64 = list("storage").iter().filter_map(|d| d.get("sizeBytes")?.as_i64()).sum();
        let speed: f64 = list("nics").iter().filter_map(|n| n.get("speedGbps")?.as_f64()).sum();
        let host = Host {
            class: class(o, threads, memory),
            rack: rack(o),
            threads,
            numa_nodes: 1,
            memory: Mem(memory),
            disk: (disk > 0).then_some(Mem(disk / 1_048_576)),
            gpus: 0,
            nics: list("nics").len() as i64,
            nic_gbits: speed,
            price: 0.0,
            power: 0.0,
            role: Role::Any,
            name: name.clone(),
        };
        hosts.insert(name, host);
    }
    for o in objects.iter().filter(|o| text(o, "/kind") == "Node") {
        let name = text(o, "/metadata/name").to_owned();
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
        let known = hosts.get(&name);
        let host = Host {
            class: known.map_or_else(|| class(o, cpu.0 / 1000, memory.0), |h| h.class.clone()),
            rack: label(o, "topology.kubernetes.io/zone").map_or_else(|| rack(o), str::to_owned),
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
    keys.iter().find_map(|k| label(o, k)).unwrap_or("default").to_owned()
}

/// Tenants: namespaces of running Pods, alike Pods counted together; Pods of DaemonSets and of the system are no demand.
pub fn demand(objects: &[Value], policy: Policy) -> Demand {
    type Key = (String, i64, i64, i64);
    let mut tenants: BTreeMap<&str, BTreeMap<Key, u32>> = BTreeMap::new();
    for o in objects.iter().filter(|o| text(o, "/kind") == "Pod") {
        let namespace = text(o, "/metadata/namespace");
        let owner = text(o, "/metadata/ownerReferences/0/kind");
        let gone = matches!(text(o, "/status/phase"), "Succeeded" | "Failed");
        if gone || owner == "DaemonSet" || owner == "Node" || namespace.starts_with("kube-") {
            continue;
        }
        let (cpu, memory, gpus) = requests(o);
        let name = text(o, "/metadata/ownerReferences/0/name");
        let name = if name.is_empty() { text(o, "/metadata/name") } else { name };
        let key = (name.to_owned(), cpu.0, memory.0, gpus);
        *tenants.entry(namespace).or_default().entry(key).or_default() += 1;
    }
    let tenants = tenants.into_iter().map(|(name, kinds)| Tenant {
        name: name.to_owned(),
        pods: kinds
            .into_iter()
            .map(|((name, cpu, memory, gpus), count)| PodKind {
                name,
                count,
                cpu: Cpu(cpu),
                memory: Mem(memory),
                cpu_limit: None,
                memory_limit: None,
                gpus,
            })
            .collect(),
        nodes: Vec::new(),
        peak: 1.0,
        isolation: Isolation::Shared,
        nodes_on: NodeKind::Any,
        control_plane: ControlPlane::Hosted,
        replicas: 2,
        shapes: Vec::new(),
    });
    Demand { policy, tenants: tenants.collect() }
}

/// Requests of a Pod as the scheduler counts them: containers together, or the largest init container.
fn requests(pod: &Value) -> (Cpu, Mem, i64) {
    let list = |key: &str| {
        pod.pointer(&format!("/spec/{key}")).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    };
    let ask = |c: &Value, key: &str| {
        c.pointer("/resources/requests").and_then(|r| r.get(key)).and_then(Value::as_str).map(str::to_owned)
    };
    let cpu = |c: &Value| ask(c, "cpu").and_then(|t| Cpu::parse(&t).ok()).unwrap_or_default();
    let memory = |c: &Value| ask(c, "memory").and_then(|t| Mem::parse(&t).ok()).unwrap_or_default();
    let gpus = |c: &Value| ask(c, "nvidia.com/gpu").and_then(|t| t.parse().ok()).unwrap_or(0_i64);
    let (all, init) = (list("containers"), list("initContainers"));
    (
        all.iter().map(cpu).sum::<Cpu>().max(init.iter().map(cpu).max().unwrap_or_default()),
        all.iter().map(memory).sum::<Mem>().max(init.iter().map(memory).max().unwrap_or_default()),
        all.iter().map(gpus).sum(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hosts_come_from_nodes_and_inventory() {
        let objects = vec![
            json!({"kind": "BareMetalHost", "metadata": {"name": "r1-02", "labels": {"rack": "r1"}},
                "status": {"hardware": {"cpu": {"count": 64}, "ramMebibytes": 262_144, "nics": [{"speedGbps": 25}], "storage": [{"sizeBytes": 1_099_511_627_776_i64}]}}}),
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
    fn pods_count_by_owner_and_requests() {
        let pod = |name: &str, owner: &str, cpu: &str| {
            json!({"kind": "Pod", "metadata": {"name": name, "namespace": "shop", "ownerReferences": [{"kind": owner, "name": "web"}]},
                "spec": {"containers": [{"resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}], "initContainers": [{"resources": {"requests": {"memory": "2Gi"}}}]}})
        };
        let objects =
            vec![pod("a", "ReplicaSet", "250m"), pod("b", "ReplicaSet", "250m"), pod("c", "DaemonSet", "1")];
        let demand = demand(&objects, Policy::default());
        assert_eq!(demand.tenants.len(), 1);
        let kinds = &demand.tenants[0].pods;
        assert_eq!(
            (kinds.len(), kinds[0].count, kinds[0].cpu, kinds[0].memory),
            (1, 2, Cpu(250), Mem::gib(2))
        );
    }
}
