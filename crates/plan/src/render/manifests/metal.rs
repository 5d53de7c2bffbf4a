//! Pools of servers, and the labels by which they find theirs.

use std::collections::BTreeSet;

use scute_api::metal3::Image;
use serde_json::{Value, json};

use super::{CLASS_LABEL, Machines, ROLE_LABEL, Settings, classes};
use crate::blueprint::{Blueprint, HostPlan, HostRole, Material, Placement, Pool, TenantPlan};
use crate::model::nodes::NodeSize;
use crate::units::Mem;

/// Metal3Machines of some classes of servers.
pub struct Metal<'a> {
    image: &'a Image,
    classes: BTreeSet<String>,
}

impl<'a> Metal<'a> {
    /// The servers of a pool: of the classes that the plan gives it.
    pub fn new(b: &Blueprint, pool: &Pool, image: &'a Image) -> Metal<'a> {
        let own = |h: &&HostPlan| h.placements.iter().any(|p| is_of(p, pool));
        Metal { image, classes: classes(b.hosts.iter().filter(own), b) }
    }
}

/// Whether something is a Node of a pool: POOL-NUMBER.
fn is_of(placement: &Placement, pool: &Pool) -> bool {
    let number = placement.name.strip_prefix(&pool.name).and_then(|rest| rest.strip_prefix('-'));
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

impl Machines for Metal<'_> {
    const TEMPLATE: (&'static str, &'static str) = ("Metal3MachineTemplate", "v1beta2");
    /// A server is replaced in its place: the plan has no second one for it.
    const ROLLING: (u32, u32) = (0, 1);

    fn machine(&self, _: &Blueprint, _: &TenantPlan, _: &Pool, _: &Settings) -> Value {
        let Image { url, checksum, checksum_type, format, oci_auth_secret_name: _ } = self.image;
        let mut image = json!({"url": url});
        if let Some(checksum) = checksum {
            image["checksum"] = json!(checksum);
        }
        if let Some(kind) = checksum_type {
            image["checksumType"] = json!(kind);
        }
        if let Some(format) = format {
            image["diskFormat"] = json!(format);
        }
        // What is kept empty takes the place of a server that is lost.
        let is = |key: &str, values: Vec<&str>| json!({"key": key, "operator": "in", "values": values});
        json!({
            "automatedCleaningMode": "metadata",
            "hostSelector": {"matchExpressions": [
                is(CLASS_LABEL, self.classes.iter().map(String::as_str).collect()),
                is(ROLE_LABEL, vec!["metal", "spare"]),
            ]},
            "image": image,
        })
    }

    fn registration(&self) -> Value {
        json!({"name": "{{ ds.meta_data.name }}"})
    }

    fn arguments(&self) -> Vec<Value> {
        vec![json!({"name": "node-labels", "value": "metal3.io/uuid={{ ds.meta_data.uuid }}"})]
    }
}

/// The labels of a server that is, or may become, a metal Node.
pub fn host(b: &Blueprint, h: &HostPlan, role: &str, s: &Settings) -> Value {
    let labels = json!({ROLE_LABEL: role, CLASS_LABEL: class(b, h), "topology.kubernetes.io/zone": h.rack});
    json!({
        "apiVersion": "metal3.io/v1alpha1", "kind": "BareMetalHost",
        "metadata": {"name": h.name, "namespace": s.namespace, "labels": labels},
    })
}

/// The class of a server as a label says it. Servers of one class may differ: where they do, the size is in it.
pub fn class(b: &Blueprint, h: &HostPlan) -> String {
    let size = |o: &HostPlan| (o.hardware.cpu, o.hardware.memory, o.hardware.gpus);
    let differs = |o: &&HostPlan| o.class == h.class && size(o) != size(h);
    match b.hosts.iter().find(differs) {
        Some(_) => format!("{}.{}t-{}", h.class, h.hardware.cpu / 1000, Mem(h.hardware.memory)),
        None => h.class.clone(),
    }
}

/// Whether a server could be one of the plan's metal Nodes.
pub fn may(b: &Blueprint, h: &HostPlan) -> bool {
    let has = NodeSize { cpus: h.hardware.cpu / 1000, memory: Mem(h.hardware.memory), gpus: h.hardware.gpus };
    let metal = b.hosts.iter().flat_map(|h| &h.placements).filter(|p| p.material == Material::Metal);
    metal
        .filter_map(|p| NodeSize::parse(&p.size).ok())
        .any(|least| has.cpus >= least.cpus && has.memory >= least.memory && has.gpus >= least.gpus)
}

/// Whether a server that is kept empty is so for metal Nodes alone: no server of its class holds VMs.
pub fn only(b: &Blueprint, h: &HostPlan) -> bool {
    let vms = b.hosts.iter().any(|o| o.class == h.class && o.role == HostRole::Vm);
    !vms && may(b, h)
}
