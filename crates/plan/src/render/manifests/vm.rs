//! Pools of VMs.

use serde_json::{Value, json};

use super::{CLUSTER_LABEL, Machines, ROLE_LABEL, Settings, TENANT_LABEL};
use crate::blueprint::{Blueprint, Pool, TenantPlan};
use crate::model::nodes::NodeSize;

/// KubevirtMachines.
pub struct Vm;

impl Machines for Vm {
    const TEMPLATE: (&'static str, &'static str) = ("KubevirtMachineTemplate", "v1alpha1");
    const ROLLING: (u32, u32) = (1, 0);

    fn machine(&self, b: &Blueprint, tenant: &TenantPlan, pool: &Pool, s: &Settings) -> Value {
        let size = NodeSize::parse(&pool.size).ok();
        let memory = size.map_or(0, |z| z.memory.0);
        let mut on = b.hosts.iter().flat_map(|h| &h.placements);
        let example = on.find(|p| p.name.starts_with(&format!("{}-", pool.name)) && p.size == pool.size);
        let cpu = example.map_or(0, |p| p.takes.cpu);
        let domain = json!({
            "cpu": {"cores": size.map_or(1, |z| z.cpus)},
            "memory": {"guest": format!("{memory}Mi")},
            "resources": {"requests": {"cpu": format!("{cpu}m")}},
            "devices": {
                "networkInterfaceMultiqueue": true,
                "autoattachGraphicsDevice": false,
                "disks": [{"name": "root", "disk": {"bus": "virtio"}}],
            },
        });
        json!({
            "virtualMachineBootstrapCheck": {"checkStrategy": "none"},
            "virtualMachineTemplate": {
                "metadata": {"namespace": s.namespace},
                "spec": {
                    "runStrategy": "Always",
                    "template": {"spec": {
                        "evictionStrategy": "External",
                        "affinity": affinity(tenant),
                        "domain": domain,
                        "volumes": [{"name": "root", "containerDisk": {"image": s.image}}],
                    }},
                },
            },
        })
    }

    fn registration(&self) -> Value {
        json!({})
    }

    fn arguments(&self) -> Vec<Value> {
        Vec::new()
    }
}

/// VMs lie on the tenant's VM hosts, on spares when those are lost, and never beside whom the tenant avoids.
fn affinity(tenant: &TenantPlan) -> Value {
    let is = |key: &str, value: &str| json!({"key": key, "operator": "In", "values": [value]});
    let dedicated = tenant.isolation == "dedicated";
    let whose = if dedicated {
        is(TENANT_LABEL, &tenant.name)
    } else {
        json!({"key": TENANT_LABEL, "operator": "DoesNotExist"})
    };
    let own = json!([is(ROLE_LABEL, "vm"), whose]);
    let mut affinity = json!({"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": own}, {"matchExpressions": [is(ROLE_LABEL, "spare")]},
        ]},
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 100, "preference": {"matchExpressions": own}},
        ],
    }});
    let avoided: Vec<&str> =
        tenant.isolation.strip_prefix("never with ").map(|o| o.split(", ").collect()).unwrap_or_default();
    let others = if dedicated {
        json!([{"key": CLUSTER_LABEL, "operator": "Exists"}, {"key": CLUSTER_LABEL, "operator": "NotIn", "values": [tenant.name]}])
    } else {
        json!([{"key": CLUSTER_LABEL, "operator": "In", "values": avoided}])
    };
    if dedicated || !avoided.is_empty() {
        affinity["podAntiAffinity"] = json!({"requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": {"matchExpressions": others}, "topologyKey": "kubernetes.io/hostname"},
        ]});
    }
    affinity
}
