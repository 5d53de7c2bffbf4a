//! The planner's result: plain data in a stable order, complete enough to be drawn, checked and applied.

use scute_api::metal3::Image;
use serde::{Deserialize, Serialize};

use crate::input::Objective;

/// Amounts of everything that is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Amount {
    /// Millicores.
    pub cpu: i64,
    /// MiB.
    pub memory: i64,
    /// Pod slots of the management cluster's kubelet (of the tenant's, on metal).
    pub pods: i64,
    /// GPUs.
    pub gpus: i64,
}

/// What a host is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostRole {
    /// Holds VMs and Pods of the management cluster.
    Vm,
    /// Is one Node of one tenant.
    Metal,
    /// Empty, so that a loss can be survived.
    Spare,
    /// Not needed.
    Free,
}

/// What a placement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Purpose {
    /// A Node of a tenant.
    Worker,
    /// A replica of a tenant's control plane.
    ControlPlane,
    /// A member of a shared datastore.
    Datastore,
    /// A replica of the management cluster's control plane.
    Management,
    /// Room for rolling a tenant.
    Surge,
}

/// What a placement is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Material {
    /// A virtual machine.
    Vm,
    /// The whole host.
    Metal,
    /// A Pod of the management cluster.
    Pod,
}

/// Something on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Unique in the blueprint.
    pub name: String,
    /// Whose it is; empty for the site's own.
    pub tenant: String,
    /// What for.
    pub purpose: Purpose,
    /// Made of.
    pub material: Material,
    /// Size as a Node sees it, `8/32`; of metal, what its server has at least.
    pub size: String,
    /// What it takes of the host.
    pub takes: Amount,
    /// Guest memory in MiB (VMs).
    pub guest_memory: i64,
    /// NUMA nodes, where they matter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub numa: Vec<u8>,
}

/// One server of the fleet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostPlan {
    /// Its name.
    pub name: String,
    /// Its class.
    pub class: String,
    /// Its rack.
    pub rack: String,
    /// What it becomes.
    pub role: HostRole,
    /// What the hardware has.
    pub hardware: Amount,
    /// What the kubelet, its reservations and the agents leave.
    pub capacity: Amount,
    /// What is placed.
    pub used: Amount,
    /// What is free and takes no further VM of the commonest size.
    pub stranded: Amount,
    /// NUMA nodes that the plan keeps apart: what each can give (CPU, memory, GPUs); one entry when it does not.
    pub numa: Vec<Amount>,
    /// MiB of huge pages to reserve at boot, by NUMA node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hugepages: Vec<i64>,
    /// Gbit/s that its network ports carry together; 0 when unknown.
    #[serde(default)]
    pub nic_gbits: f64,
    /// Price a month.
    pub price: f64,
    /// Watts.
    pub power: f64,
    /// What lies on it, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub placements: Vec<Placement>,
}

/// One pool of Nodes of a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// Name of its MachineDeployment.
    pub name: String,
    /// VMs or metal.
    pub material: Material,
    /// Size of a Node; of metal, the least.
    pub size: String,
    /// Nodes.
    pub replicas: u32,
    /// What Pods can have of each Node.
    pub allocatable: Amount,
    /// What Pods ask of all of them together.
    pub requested: Amount,
    /// Limits over allocatable, in percent, where limits are given.
    pub limits_percent: Option<i64>,
    /// Which resource decides the number of Nodes.
    pub binds: String,
}

/// One tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TenantPlan {
    /// Its name.
    pub name: String,
    /// Its Nodes.
    pub pools: Vec<Pool>,
    /// `hosted`, `vm`, `metal` or `none`.
    pub control_plane: String,
    /// Replicas of the control plane.
    pub replicas: u32,
    /// Which datastore holds it (hosted only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datastore: Option<String>,
    /// `shared`, `dedicated`, or whom it avoids.
    pub isolation: String,
    /// What is written onto the disks of its metal Nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metal_image: Option<Image>,
}

/// What found no place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unplaced {
    /// Whose.
    pub tenant: String,
    /// What, and of which size.
    pub what: String,
    /// How many.
    pub count: u32,
    /// Why, and what would help.
    pub why: String,
}

/// What limits a class of hosts, in words and numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Binding {
    /// Class of hosts.
    pub class: String,
    /// Hosts of it that hold VMs.
    pub hosts: u32,
    /// `cpu`, `memory`, `pods` or `gpus`.
    pub resource: String,
    /// Used percent of CPU, memory, Pods and GPUs.
    pub percent: Amount,
    /// The sentence.
    pub words: String,
}

/// What one tenant causes, in thousandths of the whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    /// Whose; empty for servers that nobody needs.
    pub tenant: String,
    /// Servers, in thousandths.
    pub millihosts: i64,
    /// Of those, what its own placements take.
    pub used: i64,
    /// What it strands beside them.
    pub stranded: i64,
    /// Its control plane, its part of datastores and of the management cluster.
    pub control_plane: i64,
    /// Its part of servers kept empty for a loss, and of surge room.
    pub reserve: i64,
    /// Price a month.
    pub price: f64,
    /// Watts.
    pub power: f64,
}

/// The whole in numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Servers in the fleet.
    pub hosts: u32,
    /// That hold something.
    pub used: u32,
    /// Kept empty for a loss.
    pub spare: u32,
    /// Not needed.
    pub free: u32,
    /// What the plan makes small, and the bound is about.
    #[serde(default)]
    pub objective: Objective,
    /// No plan takes fewer servers (`hosts`) or costs less a month (`cost`), spares included.
    pub at_least: f64,
    /// Percent above that.
    pub gap_percent: f64,
    /// What the bound says nothing about, when anything.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub bound_note: String,
    /// It is proven that the fleet cannot hold the demand.
    pub impossible: bool,
    /// Percent used on hosts in use.
    pub percent: Amount,
    /// Free on hosts in use and of no use for the commonest size.
    pub stranded: Amount,
    /// Nodes of tenants.
    pub nodes: u32,
    /// Price a month of hosts in use and spare.
    pub price: f64,
    /// Watts of the same.
    pub power: f64,
}

/// The plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Blueprint {
    /// Format of this data.
    pub version: u32,
    /// The seed it came from.
    pub seed: u64,
    /// The whole in numbers.
    pub totals: Totals,
    /// What must survive, for people.
    pub survives: String,
    /// kubelet's `maxPods` of tenants' Nodes.
    #[serde(default = "kubelet_max_pods")]
    pub max_pods: i64,
    /// Commonest size of VMs: what stranded means.
    pub standard_size: String,
    /// What limits each class.
    pub binding: Vec<Binding>,
    /// Tenants by name.
    pub tenants: Vec<TenantPlan>,
    /// What each causes; sums to the whole.
    pub shares: Vec<Share>,
    /// Hosts by name.
    pub hosts: Vec<HostPlan>,
    /// What found no place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unplaced: Vec<Unplaced>,
    /// Anything a reader should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What a kubelet takes unless it is told.
const fn kubelet_max_pods() -> i64 {
    110
}

impl Totals {
    /// What the objective counts of this plan: the figure that [`Totals::at_least`] bounds.
    pub fn have(&self) -> f64 {
        match self.objective {
            Objective::Hosts => f64::from(self.used + self.spare),
            Objective::Cost => self.price,
        }
    }

    /// Whether no plan is better.
    pub fn proven_best(&self) -> bool {
        !self.impossible && self.have() <= self.at_least + 1e-6
    }
}

impl Amount {
    /// Each value by a function of both.
    pub fn zip(self, other: Amount, f: impl Fn(i64, i64) -> i64) -> Amount {
        Amount {
            cpu: f(self.cpu, other.cpu),
            memory: f(self.memory, other.memory),
            pods: f(self.pods, other.pods),
            gpus: f(self.gpus, other.gpus),
        }
    }

    /// The sum.
    pub fn plus(self, other: Amount) -> Amount {
        self.zip(other, |a, b| a + b)
    }

    /// The difference.
    pub fn minus(self, other: Amount) -> Amount {
        self.zip(other, |a, b| a - b)
    }

    /// So many times.
    pub fn times(self, n: i64) -> Amount {
        self.zip(self, |a, _| a * n)
    }

    /// Percent of another, rounded.
    pub fn percent_of(self, whole: Amount) -> Amount {
        self.zip(whole, |a, b| if b > 0 { (a * 200 + b) / (2 * b) } else { 0 })
    }

    /// With names, in the order shown to people.
    pub fn named(self) -> [(&'static str, i64); 4] {
        [("cpu", self.cpu), ("memory", self.memory), ("pods", self.pods), ("gpus", self.gpus)]
    }
}

impl Placement {
    /// Whether it can be moved to another host without a tenant rebuilding metal.
    pub fn movable(&self) -> bool {
        self.material != Material::Metal
    }
}
