//! Tenants: Clusters with the Nodes that their MachineDeployments want, and namespaces with the Pods that run in them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::servers::{Server, Standing, servers};
use super::{label, of_kind, text};
use crate::input::{ControlPlane, Demand, Isolation, NodeKind, NodeWish, Policy, Tenant, natural};
use crate::metal::{beside, hosts, number, pools};
use crate::model::nodes::{NodeSize, PodKind};
use crate::units::{Cpu, Mem};

/// Tenants of a site, and what of them could not be read. What a tenant cluster is made of (launchers, control planes,
/// datastores), Pods of DaemonSets and of the system are no demand of their own.
pub fn demand(objects: &[Value], policy: Policy) -> (Demand, Vec<String>) {
    let mut notes: Vec<String> = pools::short(objects).iter().map(pools::Short::words).collect();
    let servers = servers(objects);
    let mut tenants: Vec<Tenant> =
        of_kind(objects, "Cluster").filter_map(|c| cluster(objects, &servers, c, &mut notes)).collect();
    for (namespace, pods) in pods(objects) {
        let taken = tenants.iter().any(|t| t.name == namespace);
        let name = if taken { format!("{namespace}-pods") } else { namespace.to_owned() };
        tenants.push(Tenant { pods, control_plane: ControlPlane::Hosted, replicas: 2, ..nobody(name) });
    }
    tenants.sort_by_key(|t| natural(&t.name));
    (Demand { policy, tenants }, notes)
}

/// A tenant that asks for nothing yet.
fn nobody(name: String) -> Tenant {
    Tenant {
        name,
        pods: Vec::new(),
        nodes: Vec::new(),
        peak: 1.0,
        isolation: Isolation::Shared,
        nodes_on: NodeKind::Any,
        control_plane: ControlPlane::None,
        replicas: 0,
        control_plane_at: Vec::new(),
        shapes: Vec::new(),
        metal_image: None,
    }
}

/// A Cluster of Cluster API; `None` when it wants no Nodes and its control plane runs elsewhere.
fn cluster(
    objects: &[Value],
    servers: &[Server<'_>],
    cluster: &Value,
    notes: &mut Vec<String>,
) -> Option<Tenant> {
    let (name, space) = (text(cluster, "/metadata/name"), text(cluster, "/metadata/namespace"));
    let itself = |s: &Server<'_>| matches!(&s.standing, Standing::Node(Some(h)) if h.is(space, name));
    if servers.iter().any(itself) {
        notes.push(format!("Cluster {space}/{name} is the cluster that is read: its servers hold tenants"));
        return None;
    }
    let mut tenant = nobody(name.to_owned());
    (tenant.control_plane, tenant.replicas) = control_plane(objects, cluster);
    let mut held = held(servers, space, name);
    tenant.control_plane_at = held.remove(&Part::ControlPlane).unwrap_or_default();
    let pools = of_kind(objects, "MachineDeployment")
        .filter(|m| text(m, "/metadata/namespace") == space && text(m, "/spec/clusterName") == name);
    for pool in pools {
        let named = text(pool, "/metadata/name");
        let at = held.remove(&Part::Pool(Some(named.to_owned()))).unwrap_or_default();
        let wanted = number(pool, "/spec/replicas").unwrap_or(1).max(0) as u32;
        if at.len() > wanted as usize {
            notes.push(format!(
                "MachineDeployment {space}/{named} wants {wanted} Nodes and has {} servers: all of them are counted",
                at.len()
            ));
        }
        let count = wanted.max(at.len() as u32);
        let template = referred(objects, pool, "/spec/template/spec/infrastructureRef");
        match template.and_then(|t| size(servers, t, &at)) {
            Some((size, kind)) => tenant.nodes.push(NodeWish { size, count, kind, at }),
            None if count > 0 => notes.push(format!(
                "MachineDeployment {space}/{named}: the size of its {count} Nodes cannot be read; they are left out"
            )),
            None => {}
        }
    }
    for at in held.into_values() {
        // Servers of Machines without a pool.
        if let Some(size) = smallest(servers, &at) {
            tenant.nodes.push(NodeWish { size, count: at.len() as u32, kind: NodeKind::Metal, at });
        }
    }
    (!tenant.nodes.is_empty() || tenant.control_plane != ControlPlane::None).then_some(tenant)
}

/// A part of a cluster that has servers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    ControlPlane,
    Pool(Option<String>),
}

/// The servers that a cluster has, by name.
fn held(servers: &[Server<'_>], namespace: &str, cluster: &str) -> BTreeMap<Part, Vec<String>> {
    let mut parts: BTreeMap<Part, Vec<String>> = BTreeMap::new();
    for server in servers {
        if let Standing::Held(holder, _) = &server.standing
            && holder.is(namespace, cluster)
        {
            let part =
                if holder.control_plane { Part::ControlPlane } else { Part::Pool(holder.pool.clone()) };
            parts.entry(part).or_default().push(server.name.clone());
        }
    }
    parts.values_mut().for_each(|names| names.sort_by_key(|name| natural(name)));
    parts
}

/// The size that each of these servers has at least.
fn smallest(servers: &[Server<'_>], names: &[String]) -> Option<NodeSize> {
    let all = servers.iter().filter(|s| names.contains(&s.name));
    least(all.filter_map(|s| hosts::size(s.hardware?)))
}

fn least(sizes: impl Iterator<Item = NodeSize>) -> Option<NodeSize> {
    sizes.reduce(|a, b| NodeSize {
        cpus: a.cpus.min(b.cpus),
        memory: a.memory.min(b.memory),
        gpus: a.gpus.min(b.gpus),
    })
}

/// Where a cluster's control plane runs, and its replicas.
fn control_plane(objects: &[Value], cluster: &Value) -> (ControlPlane, u32) {
    let Some(plane) = referred(objects, cluster, "/spec/controlPlaneRef") else {
        return (ControlPlane::None, 0);
    };
    let replicas =
        |unless: u64| plane.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(unless) as u32;
    match text(plane, "/kind") {
        "KamajiControlPlane" => (ControlPlane::Hosted, replicas(2)),
        "KubeadmControlPlane" => {
            let references =
                ["/spec/machineTemplate/spec/infrastructureRef", "/spec/machineTemplate/infrastructureRef"];
            let template = references.iter().find_map(|r| referred(objects, plane, r));
            match template.map(|t| text(t, "/kind")) {
                Some("Metal3MachineTemplate") => (ControlPlane::Metal, replicas(1)),
                _ => (ControlPlane::Vm, replicas(1)),
            }
        }
        _ => (ControlPlane::None, 0),
    }
}

/// What an object refers to by kind and name, in its own namespace.
fn referred<'a>(objects: &'a [Value], from: &Value, path: &str) -> Option<&'a Value> {
    let reference = from.pointer(path)?;
    beside(objects, from, text(reference, "/kind"), text(reference, "/name"))
}

/// The size of a template's Nodes: of a VM what it says, of metal that of the hosts it selects and of those `at` hand.
fn size(servers: &[Server<'_>], template: &Value, at: &[String]) -> Option<(NodeSize, NodeKind)> {
    match text(template, "/kind") {
        "KubevirtMachineTemplate" => {
            let domain =
                template.pointer("/spec/template/spec/virtualMachineTemplate/spec/template/spec/domain")?;
            let count = |key: &str| {
                domain.pointer(&format!("/cpu/{key}")).and_then(Value::as_i64).unwrap_or(1).max(1)
            };
            let memory = ["/memory/guest", "/resources/requests/memory"]
                .iter()
                .find_map(|p| domain.pointer(p)?.as_str())?;
            let gpus =
                domain.pointer("/devices/gpus").and_then(Value::as_array).map_or(0, |g| g.len() as i64);
            let cpus = count("cores") * count("sockets") * count("threads");
            Some((NodeSize { cpus, memory: Mem::parse(memory).ok()?, gpus }, NodeKind::Vm))
        }
        "Metal3MachineTemplate" => {
            let selector = hosts::selector(template.pointer("/spec/template/spec")?)?;
            let space = text(template, "/metadata/namespace");
            let fits = |s: &&Server<'_>| {
                text(s.object, "/metadata/namespace") == space
                    && matches!(s.standing, Standing::Usable(_))
                    && selector.fits(&hosts::labels(&hosts::host(s.object)))
            };
            let mine = servers.iter().filter(|s| at.contains(&s.name));
            let all = servers.iter().filter(fits).chain(mine);
            least(all.filter_map(|s| hosts::size(s.hardware?))).map(|size| (size, NodeKind::Metal))
        }
        _ => None,
    }
}

/// Pods that run for themselves, by namespace; alike ones counted together.
fn pods(objects: &[Value]) -> BTreeMap<&str, Vec<PodKind>> {
    type Key<'a> = (&'a str, i64, i64, i64);
    let mut found: BTreeMap<&str, BTreeMap<Key<'_>, u32>> = BTreeMap::new();
    for o in of_kind(objects, "Pod").filter(|o| counts(o)) {
        let (cpu, memory, gpus) = requests(o);
        let owner = text(o, "/metadata/ownerReferences/0/name");
        let name = if owner.is_empty() { text(o, "/metadata/name") } else { owner };
        let of = found.entry(text(o, "/metadata/namespace")).or_default();
        *of.entry((name, cpu.0, memory.0, gpus)).or_default() += 1;
    }
    let kind = |((name, cpu, memory, gpus), count): (Key<'_>, u32)| PodKind {
        name: name.to_owned(),
        count,
        cpu: Cpu(cpu),
        memory: Mem(memory),
        cpu_limit: None,
        memory_limit: None,
        gpus,
    };
    found.into_iter().map(|(space, kinds)| (space, kinds.into_iter().map(kind).collect())).collect()
}

/// Whether a Pod is demand: it runs, once, and serves neither the machines nor the site.
fn counts(pod: &Value) -> bool {
    let space = text(pod, "/metadata/namespace");
    let owner = text(pod, "/metadata/ownerReferences/0/kind");
    let gone = matches!(text(pod, "/status/phase"), "Succeeded" | "Failed");
    let system = space.starts_with("kube-") || space.ends_with("-system");
    let of_machines = matches!(owner, "DaemonSet" | "Node" | "VirtualMachineInstance");
    let of_tenants = ["kubevirt.io", "kamaji.clastix.io/name"].iter().any(|k| label(pod, k).is_some());
    !(gone || system || of_machines || of_tenants)
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
    fn pods_count_by_owner_and_requests() {
        let pod = |name: &str, owner: &str, cpu: &str| {
            json!({"kind": "Pod", "metadata": {"name": name, "namespace": "shop", "ownerReferences": [{"kind": owner, "name": "web"}]},
                "spec": {"containers": [{"resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}], "initContainers": [{"resources": {"requests": {"memory": "2Gi"}}}]}})
        };
        let objects =
            vec![pod("a", "ReplicaSet", "250m"), pod("b", "ReplicaSet", "250m"), pod("c", "DaemonSet", "1")];
        let (demand, _) = demand(&objects, Policy::default());
        assert_eq!(demand.tenants.len(), 1);
        let kinds = &demand.tenants[0].pods;
        assert_eq!(
            (kinds.len(), kinds[0].count, kinds[0].cpu, kinds[0].memory),
            (1, 2, Cpu(250), Mem::gib(2))
        );
    }
}
