//! The rules of a site: reservations, sharing, limits, what must survive.

use std::str::FromStr;

use scute_api::metal3::Image;
use serde::{Deserialize, Serialize};

use super::image::read_image;
use super::reader::{Complaints, Fields, words};
use super::tenant::{ControlPlane, NodeKind};
use super::tree::Node;
use crate::model::kubevirt::{Launcher, Sharing};
use crate::model::nodes::{Keep, NodeSize};
use crate::model::reserve::Profile;
use crate::units::{Cpu, Mem};

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

/// What must survive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Survive {
    /// Any so many hosts lost at once.
    pub hosts: u32,
    /// Any one rack lost.
    pub rack: bool,
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
    /// kubelet's `podsPerCore`, on tenants' Nodes and servers alike; 0 for no such limit.
    pub pods_per_core: i64,
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
    /// What is written onto the disks of metal Nodes.
    pub metal_image: Option<Image>,
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
            pods_per_core: 0,
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
            metal_image: None,
        }
    }
}

impl Policy {
    /// What a tenant's Node keeps back.
    pub fn guest(&self) -> Keep {
        Keep {
            profile: self.reservations,
            max_pods: self.max_pods,
            pods_per_core: self.pods_per_core,
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
            pods_per_core: self.pods_per_core,
            pod_cidr_mask: self.pod_cidr_mask,
            agent_pods: self.host_pods,
            agents: self.host_agents,
        }
    }
}

words!(Objective, "hosts" => Hosts, "cost" => Cost);
words!(HugePages, "2Mi" => Mi2, "1Gi" => Gi1);

/// What tenants have unless they say otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// Where control planes run.
    pub control_plane: ControlPlane,
    /// Replicas of each.
    pub replicas: u32,
}

impl Default for Defaults {
    fn default() -> Defaults {
        Defaults { control_plane: ControlPlane::Hosted, replicas: 2 }
    }
}

/// The policy, and what it says for tenants.
pub fn read_policy(node: &Node, c: &mut Complaints) -> (Policy, Defaults) {
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
    set!(p.pods_per_core, f.int("podsPerCore", 0, 2500, c));
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
    let mut defaults = Defaults::default();
    set!(defaults.control_plane, f.read("controlPlane", c, ControlPlane::from_str));
    set!(defaults.replicas, f.int("replicas", 1, 7, c).map(|n| n as u32));
    set!(p.management_replicas, f.int("managementReplicas", 0, 7, c).map(|n| n as u32));
    set!(p.objective, f.read("objective", c, Objective::from_str));
    p.metal_image = read_image(&mut f, c);
    f.finish(c);
    (p, defaults)
}
