//! A tenant: what it runs, on what, and with whom.

use std::collections::BTreeSet;
use std::str::FromStr;

use scute_api::metal3::Image;
use serde::Serialize;

use super::image::read_image;
use super::policy::Defaults;
use super::reader::{Complaints, Fields, words};
use super::tree::Node;
use crate::model::nodes::{NodeSize, PodKind};

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

/// Nodes wanted by size.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeWish {
    /// Size of each; for metal, the least it must have.
    pub size: NodeSize,
    /// How many.
    pub count: u32,
    /// Made of.
    pub kind: NodeKind,
    /// Servers that the first of them have already: those stay.
    pub at: Vec<String>,
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
    /// Servers that its control plane has already: those stay.
    pub control_plane_at: Vec<String>,
    /// Sizes it allows; empty for the policy's.
    pub shapes: Vec<NodeSize>,
    /// What is written onto the disks of its metal Nodes; `None` for the policy's.
    pub metal_image: Option<Image>,
}

/// A tenant and where it stands.
pub struct Written {
    /// What is read.
    pub tenant: Tenant,
    /// Line of its entry.
    pub line: u64,
    /// Path of its entry.
    pub path: String,
}

words!(ControlPlane, "hosted" => Hosted, "vm" => Vm, "metal" => Metal, "none" => None);
words!(NodeKind, "any" => Any, "vm" => Vm, "metal" => Metal);

/// One entry may stand for `count` tenants that are alike.
pub fn read_tenants(node: &Node, path: &str, defaults: Defaults, c: &mut Complaints) -> Vec<Tenant> {
    let mut f = Fields::of(node, path, c);
    let before = c.errors.len();
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
        nodes.extend(size.map(|size| NodeWish { size, count, kind, at: Vec::new() }));
    }
    if pods.is_empty() && nodes.is_empty() && c.errors.len() == before {
        c.add(f.line(), path, "asks for neither pods nor nodes");
    }
    let tenant = Tenant {
        name: name.unwrap_or_default(),
        pods,
        nodes,
        peak: f.number("peak", 0.01, 1000.0, c).unwrap_or(1.0),
        isolation: read_isolation(&mut f, c),
        nodes_on: f.read("nodesOn", c, NodeKind::from_str).unwrap_or_default(),
        control_plane: f.read("controlPlane", c, ControlPlane::from_str).unwrap_or(defaults.control_plane),
        replicas: f.int("replicas", 1, 7, c).map_or(defaults.replicas, |n| n as u32),
        control_plane_at: Vec::new(),
        shapes: f.texts("shapes", c, NodeSize::parse),
        metal_image: read_image(&mut f, c),
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

/// A row is a kind of Pod; the first one of a tenant makes the tenant.
pub fn read_row(node: &Node, path: &str, defaults: Defaults, tenants: &mut Vec<Written>, c: &mut Complaints) {
    let mut f = Fields::of(node, path, c);
    let tenant = f.text("tenant", c);
    let Some(name) = f.need(tenant, "tenant", c) else { return };
    let Some(pod) = read_pod(f, c) else { return };
    match tenants.iter_mut().find(|t| t.tenant.name == name) {
        Some(written) => written.tenant.pods.push(pod),
        None => {
            let tenant = Tenant {
                name,
                pods: vec![pod],
                nodes: Vec::new(),
                peak: 1.0,
                isolation: Isolation::Shared,
                nodes_on: NodeKind::Any,
                control_plane: defaults.control_plane,
                replicas: defaults.replicas,
                control_plane_at: Vec::new(),
                shapes: Vec::new(),
                metal_image: None,
            };
            tenants.push(Written { tenant, line: node.line, path: path.to_owned() });
        }
    }
}
