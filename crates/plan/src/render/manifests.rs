//! A blueprint as objects to apply: MachineDeployments with their templates, and labels of servers.
//!
//! Only what Scute's API takes today is written. Metal Nodes, GPUs and huge pages have no kinds or fields there yet: what
//! of the plan is left for other tools, each file says.

use serde_json::{Value, json};

use crate::blueprint::{Blueprint, HostRole, Material, Placement, Pool, Purpose, TenantPlan};
use crate::model::nodes::NodeSize;

/// Label on a server: `vm`, `metal` or `spare`.
pub const ROLE_LABEL: &str = "scute.dev/role";
/// Label on a server that one tenant has alone.
pub const TENANT_LABEL: &str = "scute.dev/tenant";
/// Annotation on pools: what the plan says of them.
pub const PLAN_ANNOTATION: &str = "scute.dev/planned";

/// What objects need beyond the blueprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Namespace of the clusters.
    pub namespace: String,
    /// Kubernetes version, with `v`.
    pub version: String,
    /// containerDisk of a VM Node.
    pub image: String,
}

/// A file to write.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    /// Its name.
    pub name: String,
    /// What of the plan these objects do not do.
    pub left: Vec<String>,
    /// Its documents.
    pub documents: Vec<Value>,
}

/// One file a tenant, one with the labels of servers.
pub fn files(b: &Blueprint, settings: &Settings) -> Vec<File> {
    let mut files = vec![hosts(b)];
    for tenant in &b.tenants {
        let mut file =
            File { name: format!("{}.yaml", tenant.name), left: Vec::new(), documents: Vec::new() };
        for p in &tenant.pools {
            let what = format!("pool {}: {} x {}", p.name, p.replicas, p.size);
            if p.material == Material::Metal {
                file.left.push(format!("{what} are metal Nodes; Metal3 kinds are not served yet"));
            } else if p.size.contains("gpu") {
                file.left.push(format!("{what} have GPUs; VMs with host devices are not served yet"));
            } else {
                file.documents.extend(pool(b, tenant, p, settings));
            }
        }
        if !file.documents.is_empty() || !file.left.is_empty() {
            files.push(file);
        }
    }
    files
}

/// Labels of Nodes of the management cluster, to be applied server-side: nothing else of them is touched. Metal Nodes are
/// no Nodes of the management cluster, and huge pages are reserved on the kernel's command line.
fn hosts(b: &Blueprint) -> File {
    let (mut left, mut documents) = (Vec::new(), Vec::new());
    for h in &b.hosts {
        let role = match h.role {
            HostRole::Vm => "vm",
            HostRole::Spare => "spare",
            HostRole::Free => continue,
            HostRole::Metal => {
                let whose = alone(b, &h.placements).unwrap_or_default();
                left.push(format!("{} becomes a metal Node of {whose}: no object is written for it", h.name));
                continue;
            }
        };
        if !h.hugepages.is_empty() {
            left.push(format!(
                "{}: reserve {:?} MiB of huge pages by NUMA node at boot",
                h.name, h.hugepages
            ));
        }
        let mut labels = json!({ROLE_LABEL: role, "topology.kubernetes.io/zone": h.rack});
        if let Some(tenant) = alone(b, &h.placements) {
            labels[TENANT_LABEL] = json!(tenant);
        }
        documents.push(
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": h.name, "labels": labels}}),
        );
    }
    File { name: "hosts.yaml".to_owned(), left, documents }
}

/// The tenant that has a server alone, when isolation says so.
fn alone<'a>(b: &'a Blueprint, placements: &'a [Placement]) -> Option<&'a str> {
    let first = placements.iter().find(|p| p.purpose == Purpose::Worker)?;
    let tenant = b.tenants.iter().find(|t| t.name == first.tenant)?;
    (tenant.isolation == "dedicated" || first.material == Material::Metal).then_some(tenant.name.as_str())
}

fn pool(b: &Blueprint, tenant: &TenantPlan, pool: &Pool, s: &Settings) -> Vec<Value> {
    let name = &pool.name;
    let (kind, version, template) = ("KubevirtMachineTemplate", "v1alpha1", vm(b, tenant, pool, s));
    let group = "infrastructure.cluster.x-k8s.io";
    let meta = |extra: Value| {
        let mut meta = json!({
            "name": name,
            "namespace": s.namespace,
            "labels": {"cluster.x-k8s.io/cluster-name": tenant.name},
        });
        if let (Some(meta), Some(extra)) = (meta.as_object_mut(), extra.as_object()) {
            meta.extend(extra.clone());
        }
        meta
    };
    let planned = format!("{} x {}", pool.replicas, pool.size);
    // Written when it is not the kubelet's default.
    let bootstrap = if b.max_pods == 110 {
        json!({})
    } else {
        let arg = json!([{"name": "max-pods", "value": b.max_pods.to_string()}]);
        json!({"joinConfiguration": {"nodeRegistration": {"kubeletExtraArgs": arg}}})
    };
    let selector =
        json!({"cluster.x-k8s.io/cluster-name": tenant.name, "cluster.x-k8s.io/deployment-name": name});
    vec![
        json!({
            "apiVersion": format!("{group}/{version}"), "kind": kind, "metadata": meta(json!({})),
            "spec": {"template": {"spec": template}},
        }),
        json!({
            "apiVersion": "bootstrap.cluster.x-k8s.io/v1beta2", "kind": "KubeadmConfigTemplate", "metadata": meta(json!({})),
            "spec": {"template": {"spec": bootstrap}},
        }),
        json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDeployment",
            "metadata": meta(json!({"annotations": {PLAN_ANNOTATION: planned}})),
            "spec": {
                "clusterName": tenant.name,
                "replicas": pool.replicas,
                "rollout": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}},
                "selector": {"matchLabels": selector},
                "template": {
                    "metadata": {"labels": selector},
                    "spec": {
                        "clusterName": tenant.name,
                        "version": s.version,
                        "bootstrap": {"configRef": {
                            "apiGroup": "bootstrap.cluster.x-k8s.io", "kind": "KubeadmConfigTemplate", "name": name,
                        }},
                        "infrastructureRef": {"apiGroup": group, "kind": kind, "name": name},
                    },
                },
            },
        }),
    ]
}

fn vm(b: &Blueprint, tenant: &TenantPlan, pool: &Pool, s: &Settings) -> Value {
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

/// VMs lie on the tenant's VM hosts, on spares when those are lost, and never beside whom the tenant avoids.
fn affinity(tenant: &TenantPlan) -> Value {
    const CLUSTER: &str = "cluster.x-k8s.io/cluster-name";
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
        json!([{"key": CLUSTER, "operator": "Exists"}, {"key": CLUSTER, "operator": "NotIn", "values": [tenant.name]}])
    } else {
        json!([{"key": CLUSTER, "operator": "In", "values": avoided}])
    };
    if dedicated || !avoided.is_empty() {
        affinity["podAntiAffinity"] = json!({"requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": {"matchExpressions": others}, "topologyKey": "kubernetes.io/hostname"},
        ]});
    }
    affinity
}
