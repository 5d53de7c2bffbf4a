//! The demand: tenants, what they run, and the policy of the site.

use std::collections::BTreeSet;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::InputError;
use super::reader::{Complaints, Fields};
use super::tree::Node;
use crate::model::kubevirt::{Launcher, Sharing};
use crate::model::nodes::{Keep, NodeSize, PodKind};
use crate::model::reserve::Profile;
use crate::units::{Cpu, Mem};

/// Where a tenant's control plane runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ControlPlane {
    /// Pods of the management cluster, etcd shared.
    #[default]
    Hosted,
    /// VMs of its own.
    Vm,
    /// Servers of its own.
    Metal,
    /// None to plan for: it runs elsewhere.
    None,
}

/// What Nodes may be made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    /// Whatever pays.
    #[default]
    Any,
    /// VMs.
    Vm,
    /// Whole servers.
    Metal,
}

/// What is made small.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// The number of servers.
    #[default]
    Hosts,
    /// Their price.
    Cost,
}

/// Size of huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum HugePages {
    /// 2 MiB.
    #[serde(rename = "2Mi")]
    Mi2,
    /// 1 GiB.
    #[serde(rename = "1Gi")]
    Gi1,
}

/// Whom a tenant shares servers with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Isolation {
    /// Anyone.
    #[default]
    Shared,
    /// Anyone but these.
    NeverWith(BTreeSet<String>),
    /// No one.
    Dedicated,
}

/// What must survive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Survive {
    /// Any so many hosts lost at once.
    pub hosts: u32,
    /// Any one rack lost.
    pub rack: bool,
}

/// Nodes wanted by size.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeWish {
    /// Size of each; for metal, the least it must have.
    pub size: NodeSize,
    /// How many.
    pub count: u32,
    /// Made of.
    pub kind: NodeKind,
}

/// One tenant cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// Pods to find Nodes for.
    pub pods: Vec<PodKind>,
    /// Nodes wanted as such.
    pub nodes: Vec<NodeWish>,
    /// Its peak over the Pods written down.
    pub peak: f64,
    /// Whom it shares servers with.
    pub isolation: Isolation,
    /// What its Nodes may be made of.
    pub nodes_on: NodeKind,
    /// Where its control plane runs.
    pub control_plane: ControlPlane,
    /// Replicas of its control plane.
    pub replicas: u32,
    /// Sizes it allows; empty for the policy's.
    pub shapes: Vec<NodeSize>,
}

/// The rules of the site.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// The kubelet's reservations, on hosts and guests.
    pub reservations: Profile,
    /// How VMs share.
    pub sharing: Sharing,
    /// Huge pages for guests.
    pub hugepages: Option<HugePages>,
    /// VMs lie on one NUMA node (always with dedicated CPUs).
    pub numa: bool,
    /// kubelet's `maxPods` on tenants' Nodes.
    pub max_pods: i64,
    /// kubelet's `maxPods` on servers of the management cluster.
    pub host_max_pods: i64,
    /// Pod CIDR mask of a Node.
    pub pod_cidr_mask: u8,
    /// DaemonSet Pods of a tenant's Node.
    pub guest_pods: i64,
    /// What they request.
    pub guest_agents: (Cpu, Mem),
    /// DaemonSet Pods of a server.
    pub host_pods: i64,
    /// What they request: virt-handler, CNI, agents.
    pub host_agents: (Cpu, Mem),
    /// Root disk of a VM.
    pub vm_disk: Mem,
    /// Sizes of VMs; empty means free.
    pub shapes: Vec<NodeSize>,
    /// What Nodes may be made of.
    pub nodes: NodeKind,
    /// What must survive.
    pub survive: Survive,
    /// Tenants that roll their Nodes at the same time, one Node more each.
    pub surge: u32,
    /// Percent more of everything.
    pub growth: f64,
    /// Replicas of the management cluster's own control plane.
    pub management_replicas: u32,
    /// What is made small.
    pub objective: Objective,
}

/// Policy and tenants.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Demand {
    /// The rules.
    pub policy: Policy,
    /// Sorted by name; names are unique.
    pub tenants: Vec<Tenant>,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            reservations: Profile::default(),
            sharing: Sharing {
                // Requests of VMs are real here, unlike KubeVirt's default of 10 to 1: a plan must hold under load.
                cpu_overcommit: 1.0,
                memory_overcommit: 100.0,
                dedicated_cpus: false,
                hugepages: false,
                launcher: Launcher::default(),
            },
            hugepages: None,
            numa: false,
            max_pods: 110,
            host_max_pods: 110,
            pod_cidr_mask: 24,
            guest_pods: 4,
            guest_agents: (Cpu(100), Mem(256)),
            host_pods: 15,
            host_agents: (Cpu(500), Mem::gib(2)),
            vm_disk: Mem::gib(20),
            shapes: Vec::new(),
            nodes: NodeKind::Any,
            survive: Survive::default(),
            surge: 0,
            growth: 0.0,
            management_replicas: 3,
            objective: Objective::Hosts,
        }
    }
}

impl Policy {
    /// What a tenant's Node keeps back.
    pub fn guest(&self) -> Keep {
        Keep {
            profile: self.reservations,
            max_pods: self.max_pods,
            pod_cidr_mask: self.pod_cidr_mask,
            agent_pods: self.guest_pods,
            agents: self.guest_agents,
        }
    }

    /// What a server of the management cluster keeps back.
    pub fn host(&self) -> Keep {
        Keep {
            profile: self.reservations,
            max_pods: self.host_max_pods,
            pod_cidr_mask: self.pod_cidr_mask,
            agent_pods: self.host_pods,
            agents: self.host_agents,
        }
    }
}

macro_rules! words {
    ($type:ident, $($word:literal => $value:ident),*) => {
        impl FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<$type, String> {
                match text {
                    $($word => Ok($type::$value),)*
                    _ => Err(format!("{text:?} is none of {}", [$($word),*].join(", "))),
                }
            }
        }
    };
}
words!(ControlPlane, "hosted" => Hosted, "vm" => Vm, "metal" => Metal, "none" => None);
words!(NodeKind, "any" => Any, "vm" => Vm, "metal" => Metal);
words!(Objective, "hosts" => Hosts, "cost" => Cost);
words!(HugePages, "2Mi" => Mi2, "1Gi" => Gi1);

/// Reads a demand from YAML (`policy:`, `tenants:`) or CSV (one row a kind of Pod: `tenant,name,count,cpu,memory,…`).
pub fn parse_demand(file: &str, text: &str) -> Result<Demand, Vec<InputError>> {
    let document = super::document(file, text, "rows").map_err(|e| vec![e])?;
    let mut c = Complaints::of(file);
    let mut f = Fields::of(&document, "", &mut c);
    f.node("apiVersion");
    f.node("kind");
    let (mut policy, mut mode, mut replicas) = (Policy::default(), ControlPlane::Hosted, 2);
    if let Some(node) = f.node("policy") {
        (policy, mode, replicas) = read_policy(node, &mut c);
    }
    let mut tenants: Vec<(Tenant, u64)> = Vec::new();
    for (node, path) in f.list("tenants", &mut c) {
        tenants
            .extend(read_tenants(&node, &path, mode, replicas, &mut c).into_iter().map(|t| (t, node.line)));
    }
    for (node, path) in f.list("rows", &mut c) {
        read_row(&node, &path, mode, replicas, &mut tenants, &mut c);
    }
    if tenants.is_empty() && c.errors.is_empty() {
        c.add(f.line(), "tenants", "lists no tenant");
    }
    f.finish(&mut c);
    check_names(&mut tenants, &mut c);
    if c.errors.is_empty() {
        Ok(Demand { policy, tenants: tenants.into_iter().map(|(t, _)| t).collect() })
    } else {
        Err(c.errors)
    }
}

fn check_names(tenants: &mut [(Tenant, u64)], c: &mut Complaints) {
    tenants.sort_by(|a, b| {
        super::fleet::natural(&a.0.name).cmp(&super::fleet::natural(&b.0.name)).then(a.1.cmp(&b.1))
    });
    for pair in tenants.windows(2).filter(|p| p[0].0.name == p[1].0.name) {
        c.add(
            pair[1].1,
            "tenants",
            format!("tenant {:?} is already defined on line {}", pair[1].0.name, pair[0].1),
        );
    }
    let names: BTreeSet<&str> = tenants.iter().map(|(t, _)| t.name.as_str()).collect();
    for (tenant, line) in tenants.iter() {
        if let Isolation::NeverWith(others) = &tenant.isolation {
            for other in others.iter().filter(|o| !names.contains(o.as_str()) || **o == tenant.name) {
                c.add(*line, "tenants.isolation.neverWith", format!("{other:?} is no other tenant"));
            }
        }
    }
}

fn read_policy(node: &Node, c: &mut Complaints) -> (Policy, ControlPlane, u32) {
    let mut p = Policy::default();
    let mut f = Fields::of(node, "policy", c);
    macro_rules! set {
        ($place:expr, $value:expr) => {
            if let Some(value) = $value {
                $place = value;
            }
        };
    }
    set!(p.reservations, f.read("reservations", c, Profile::from_str));
    set!(p.sharing.cpu_overcommit, f.number("cpuOvercommit", 0.5, 100.0, c));
    set!(p.sharing.memory_overcommit, f.number("memoryOvercommit", 50.0, 1000.0, c));
    set!(p.sharing.dedicated_cpus, f.flag("dedicatedCpus", c));
    p.hugepages = f.read("hugepages", c, HugePages::from_str);
    p.sharing.hugepages = p.hugepages.is_some();
    set!(p.numa, f.flag("numa", c));
    p.numa |= p.sharing.dedicated_cpus;
    set!(
        p.sharing.launcher,
        f.read("launcher", c, |t| match t {
            "kubevirt" => Ok(Launcher::Kubevirt),
            "scute" => Ok(Launcher::Scute),
            _ => Err(format!("{t:?} is neither kubevirt nor scute")),
        })
    );
    set!(p.max_pods, f.int("maxPods", 1, 2500, c));
    set!(p.host_max_pods, f.int("hostMaxPods", 1, 2500, c));
    set!(p.pod_cidr_mask, f.int("podCIDRMask", 16, 30, c).map(|m| m as u8));
    set!(p.guest_pods, f.int("guestPods", 0, 1000, c));
    set!(p.host_pods, f.int("hostPods", 0, 1000, c));
    set!(p.vm_disk, f.mem("vmDisk", c));
    for (field, place) in [("guestAgents", &mut p.guest_agents), ("hostAgents", &mut p.host_agents)] {
        if let Some(node) = f.node(field) {
            let mut agents = Fields::of(node, &f.path(field), c);
            set!(place.0, agents.cpu("cpu", c));
            set!(place.1, agents.mem("memory", c));
            agents.finish(c);
        }
    }
    p.shapes = f.texts("shapes", c, NodeSize::parse);
    set!(p.nodes, f.read("nodes", c, NodeKind::from_str));
    if let Some(node) = f.node("survive") {
        let mut survive = Fields::of(node, &f.path("survive"), c);
        set!(p.survive.hosts, survive.int("hosts", 0, 16, c).map(|n| n as u32));
        set!(p.survive.rack, survive.flag("rack", c));
        survive.finish(c);
    }
    set!(p.surge, f.int("surge", 0, 1000, c).map(|n| n as u32));
    set!(p.growth, f.number("growth", 0.0, 1000.0, c));
    let mode = f.read("controlPlane", c, ControlPlane::from_str).unwrap_or_default();
    let replicas = f.int("replicas", 1, 7, c).map_or(2, |n| n as u32);
    set!(p.management_replicas, f.int("managementReplicas", 0, 7, c).map(|n| n as u32));
    set!(p.objective, f.read("objective", c, Objective::from_str));
    f.finish(c);
    (p, mode, replicas)
}

/// One entry may stand for `count` tenants that are alike.
fn read_tenants(
    node: &Node,
    path: &str,
    mode: ControlPlane,
    replicas: u32,
    c: &mut Complaints,
) -> Vec<Tenant> {
    let mut f = Fields::of(node, path, c);
    let name = f.text("name", c);
    let name = f.need(name, "name", c);
    let count = f.int("count", 1, 100_000, c).unwrap_or(1);
    let mut pods = Vec::new();
    for (node, path) in f.list("pods", c) {
        pods.extend(read_pod(Fields::of(&node, &path, c), c));
    }
    let mut nodes = Vec::new();
    for (node, path) in f.list("nodes", c) {
        let mut wish = Fields::of(&node, &path, c);
        let size = wish.read("size", c, NodeSize::parse);
        let size = wish.need(size, "size", c);
        let count = wish.int("count", 0, 1_000_000, c).unwrap_or(1) as u32;
        let kind = wish.read("on", c, NodeKind::from_str).unwrap_or(NodeKind::Vm);
        wish.finish(c);
        nodes.extend(size.map(|size| NodeWish { size, count, kind }));
    }
    if pods.is_empty() && nodes.is_empty() {
        c.add(f.line(), path, "asks for neither pods nor nodes");
    }
    let tenant = Tenant {
        name: name.unwrap_or_default(),
        pods,
        nodes,
        peak: f.number("peak", 0.01, 1000.0, c).unwrap_or(1.0),
        isolation: read_isolation(&mut f, c),
        nodes_on: f.read("nodesOn", c, NodeKind::from_str).unwrap_or_default(),
        control_plane: f.read("controlPlane", c, ControlPlane::from_str).unwrap_or(mode),
        replicas: f.int("replicas", 1, 7, c).map_or(replicas, |n| n as u32),
        shapes: f.texts("shapes", c, NodeSize::parse),
    };
    f.finish(c);
    let width = count.to_string().len().max(2);
    let name_of =
        |i: i64| if count == 1 { tenant.name.clone() } else { format!("{}-{i:0width$}", tenant.name) };
    (1..=count).map(|i| Tenant { name: name_of(i), ..tenant.clone() }).collect()
}

fn read_isolation(f: &mut Fields<'_>, c: &mut Complaints) -> Isolation {
    let never = f.texts("neverWith", c, |t| Ok(t.to_owned()));
    let dedicated = f.read("isolation", c, |t| match t {
        "shared" => Ok(false),
        "dedicated" => Ok(true),
        _ => Err(format!("{t:?} is neither shared nor dedicated")),
    });
    match dedicated {
        Some(true) => Isolation::Dedicated,
        _ if never.is_empty() => Isolation::Shared,
        _ => Isolation::NeverWith(never.into_iter().collect()),
    }
}

fn read_pod(mut f: Fields<'_>, c: &mut Complaints) -> Option<PodKind> {
    let name = f.text("name", c).unwrap_or_else(|| "pod".to_owned());
    let count = f.int("count", 0, 10_000_000, c).unwrap_or(1) as u32;
    let cpu = f.cpu("cpu", c);
    let cpu = f.need(cpu, "cpu", c);
    let memory = f.mem("memory", c);
    let memory = f.need(memory, "memory", c);
    let cpu_limit = f.cpu("cpuLimit", c);
    let memory_limit = f.mem("memoryLimit", c);
    let gpus = f.int("gpus", 0, 64, c).unwrap_or(0);
    if let (Some(request), Some(limit)) = (cpu, cpu_limit)
        && limit < request
    {
        c.add(f.line(), &f.path("cpuLimit"), format!("{limit} is below the request of {request}"));
    }
    if let (Some(request), Some(limit)) = (memory, memory_limit)
        && limit < request
    {
        c.add(f.line(), &f.path("memoryLimit"), format!("{limit} is below the request of {request}"));
    }
    f.finish(c);
    Some(PodKind { name, count, cpu: cpu?, memory: memory?, cpu_limit, memory_limit, gpus })
}

fn read_row(
    node: &Node,
    path: &str,
    mode: ControlPlane,
    replicas: u32,
    tenants: &mut Vec<(Tenant, u64)>,
    c: &mut Complaints,
) {
    let mut f = Fields::of(node, path, c);
    let tenant = f.text("tenant", c);
    let Some(name) = f.need(tenant, "tenant", c) else { return };
    let Some(pod) = read_pod(f, c) else { return };
    match tenants.iter_mut().find(|(t, _)| t.name == name) {
        Some((tenant, _)) => tenant.pods.push(pod),
        None => {
            let tenant = Tenant {
                name,
                pods: vec![pod],
                nodes: Vec::new(),
                peak: 1.0,
                isolation: Isolation::Shared,
                nodes_on: NodeKind::Any,
                control_plane: mode,
                replicas,
                shapes: Vec::new(),
            };
            tenants.push((tenant, node.line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_and_csv_mean_the_same() {
        let yaml = "tenants:\n- name: shop\n  pods:\n  - {name: web, count: 3, cpu: 250m, memory: 512Mi}\n";
        let csv = "tenant,name,count,cpu,memory\nshop,web,3,250m,512Mi\n";
        assert_eq!(parse_demand("d.yaml", yaml).unwrap(), parse_demand("d.csv", csv).unwrap());
    }

    #[test]
    fn every_complaint_at_once() {
        let text = "policy:\n  reservations: gek\n  maxPods: 0\n  shapes: [8/32, eight]\ntenants:\n- name: a\n  pods:\n  - {cpu: 1, memory: 1Gi, cpuLimit: 500m}\n  neverWith: [b]\n- name: a\n  nodes: [{count: 2}]\n";
        let errors: Vec<String> =
            parse_demand("d.yaml", text).unwrap_err().iter().map(|e| e.to_string()).collect();
        assert_eq!(
            errors,
            [
                "d.yaml:2: policy.reservations: \"gek\" is none of kubelet, gke, eks, aks, aks-before-1.29, gdc",
                "d.yaml:3: policy.maxPods: 0 is not within 1 to 2500",
                "d.yaml:4: policy.shapes[1]: \"eight\" is no Node size such as 8/32 or 8/32+1gpu (CPUs/GiB)",
                "d.yaml:8: tenants[0].pods[0].cpuLimit: 500m is below the request of 1",
                "d.yaml:11: tenants[1].nodes[0].size: is missing",
                "d.yaml:10: tenants[1]: asks for neither pods nor nodes",
                "d.yaml:10: tenants: tenant \"a\" is already defined on line 6",
                "d.yaml:6: tenants.isolation.neverWith: \"b\" is no other tenant",
            ]
        );
    }
}
