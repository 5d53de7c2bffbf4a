//! Hosts as the packer sees them: types that are alike, and instances in their racks.

use std::collections::BTreeMap;

use crate::blueprint::Amount;
use crate::input::{Fleet, Host, Objective, Policy, Role};
use crate::model::nodes::{Keep, NodeSize};
use crate::pack::groups::Instance;
use crate::pack::{HostType, Res};
use crate::units::Mem;

/// Disk of hosts that do not say: never binds.
const ENDLESS_DISK: i64 = 1 << 40;

/// The fleet for the packer; instance `i` is host `i` of the fleet.
#[derive(Clone, Debug)]
pub struct Hosts {
    /// Types with counts.
    pub types: Vec<(HostType, u32)>,
    /// A host of each type.
    pub examples: Vec<usize>,
    /// By host of the fleet.
    pub instances: Vec<Instance>,
    /// Names of racks, by number.
    pub racks: Vec<String>,
    /// What one unit of a type's cost stands for: a server, or so much money.
    pub unit: f64,
}

/// A host as a Node.
pub fn node_size(host: &Host) -> NodeSize {
    NodeSize { cpus: host.threads, memory: host.memory, gpus: host.gpus }
}

/// What the hardware has.
pub fn hardware(host: &Host, keep: &Keep) -> Amount {
    Amount { cpu: host.threads * 1000, memory: host.memory.0, pods: keep.pods(host.threads), gpus: host.gpus }
}

/// What is left for VMs and Pods.
pub fn capacity(host: &Host, keep: &Keep) -> Amount {
    let node = node_size(host).allocatable(keep);
    Amount { cpu: node.cpu.0, memory: node.memory.0, pods: node.pods, gpus: node.gpus }
}

/// Sorts hosts into types.
pub fn classify(fleet: &Fleet, policy: &Policy) -> Hosts {
    let racks: Vec<String> = {
        let mut names: Vec<String> = fleet.hosts.iter().map(|h| h.rack.clone()).collect();
        names.sort_by_key(|n| crate::input::natural(n));
        names.dedup();
        names
    };
    let rack_of: BTreeMap<&str, u32> =
        racks.iter().enumerate().map(|(i, n)| (n.as_str(), i as u32)).collect();
    let mut classes: BTreeMap<(&str, Role, NodeSize), u32> = BTreeMap::new();
    for host in &fleet.hosts {
        let next = classes.len() as u32;
        classes.entry(class(host)).or_insert(next);
    }
    let mut index: BTreeMap<HostType, usize> = BTreeMap::new();
    let mut hosts = Hosts {
        types: Vec::new(),
        examples: Vec::new(),
        instances: Vec::new(),
        racks: racks.clone(),
        unit: unit(fleet, policy),
    };
    for (h, host) in fleet.hosts.iter().enumerate() {
        let kind = host_type(host, policy, hosts.unit, classes[&class(host)]);
        let t = *index.entry(kind.clone()).or_insert_with(|| {
            hosts.types.push((kind, 0));
            hosts.examples.push(h);
            hosts.types.len() - 1
        });
        hosts.types[t].1 += 1;
        hosts.instances.push(Instance { kind: t, rack: rack_of[host.rack.as_str()] });
    }
    hosts
}

/// Servers of one name may differ after all: a metal Node needs what it asks for, whatever its server is called.
fn class(host: &Host) -> (&str, Role, NodeSize) {
    (&host.class, host.role, node_size(host))
}

/// A power of ten of which the dearest server costs at most so many.
const DEAREST: f64 = 10_000.0;

fn unit(fleet: &Fleet, policy: &Policy) -> f64 {
    let dearest = fleet.hosts.iter().map(|h| h.price).fold(0.0, f64::max);
    if policy.objective == Objective::Hosts || dearest <= 0.0 {
        return 1.0;
    }
    10_f64.powf((dearest / DEAREST).log10().ceil())
}

fn host_type(host: &Host, policy: &Policy, unit: f64, class: u32) -> HostType {
    let capacity = capacity(host, &policy.host());
    let parts = if policy.numa { host.numa_nodes } else { 1 };
    // What does not divide evenly lies on the first nodes, as the firmware does it.
    let part = |whole: i64, n: i64| whole / parts + i64::from(n < whole % parts);
    let nodes: Vec<Res> = (0..parts)
        .map(|n| match host.role {
            Role::Metal => [0; crate::pack::DIMS],
            Role::Any | Role::Vm => [part(capacity.cpu, n), part(capacity.memory, n), part(capacity.gpus, n)],
        })
        .collect();
    let disk = host.disk.map_or(ENDLESS_DISK, |d: Mem| d.0 / 1024);
    let cost = match policy.objective {
        Objective::Hosts => 1,
        // Rounded down: a bound on the sum is one on the sum of prices.
        Objective::Cost => (host.price / unit).floor() as u32,
    };
    HostType { nodes, side: [capacity.pods, disk], cost, class, company: None }
}

/// Classes that a metal Node of at least this size may take, of all servers or of those `named` so.
pub fn metal_classes(fleet: &Fleet, hosts: &Hosts, least: NodeSize, named: Option<&str>) -> Vec<u32> {
    let mut classes: Vec<u32> = hosts
        .examples
        .iter()
        .zip(&hosts.types)
        .filter(|(h, _)| {
            let host = &fleet.hosts[**h];
            let enough = host.threads >= least.cpus && host.memory >= least.memory && host.gpus >= least.gpus;
            enough && host.role != Role::Vm && named.is_none_or(|class| host.class == class)
        })
        .map(|(_, (t, _))| t.class)
        .collect();
    classes.sort_unstable();
    classes.dedup();
    classes
}
