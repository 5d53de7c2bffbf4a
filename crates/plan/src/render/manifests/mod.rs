//! A blueprint as objects to apply: a Cluster with its hosted control plane, MachineDeployments with their templates, and
//! labels of servers.
//!
//! Only what Scute's API takes today is written. GPUs of VMs and huge pages have no kinds or fields there yet: what of the
//! plan is left for other tools, each file says.

mod cluster;
mod metal;
mod vm;

use std::collections::BTreeSet;

use scute_api::metal3::{Image, validate_image};
use serde_json::{Value, json};

use crate::blueprint::{Blueprint, HostPlan, HostRole, Material, Placement, Pool, Purpose, TenantPlan};

/// Label on a server: `vm`, `metal` or `spare`.
pub const ROLE_LABEL: &str = "scute.dev/role";
/// Label on a server that one tenant has alone.
pub const TENANT_LABEL: &str = "scute.dev/tenant";
/// Label on a server: its class.
pub const CLASS_LABEL: &str = "scute.dev/class";
/// Annotation on pools: what the plan says of them.
pub const PLAN_ANNOTATION: &str = "scute.dev/planned";
const INFRASTRUCTURE: &str = "infrastructure.cluster.x-k8s.io";
const CLUSTER_LABEL: &str = "cluster.x-k8s.io/cluster-name";

/// What objects need beyond the blueprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Namespace of the clusters, and of the BareMetalHosts that become their Nodes.
    pub namespace: String,
    /// Kubernetes version, with `v`.
    pub version: String,
    /// containerDisk of a VM Node.
    pub image: String,
    /// Image of metal Nodes of tenants whose demand names none.
    pub metal_image: Option<Image>,
    /// Clusters and control planes are written too, not only pools.
    pub clusters: bool,
    /// The DataStore that the plan calls `datastore-1`.
    pub data_store: String,
    /// Range of the tenants' Pods: not the management cluster's.
    pub pods: String,
    /// Range of the tenants' Services.
    pub services: String,
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

/// Why a blueprint cannot be written as objects.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Metal Nodes without an image.
    #[error(
        "{} of {tenant}: metal Nodes need an image: metalImage (url, checksum) of the tenant or the policy in the demand, or \
         --metal-image and --metal-checksum",
        many(pools)
    )]
    NoImage {
        /// Whose.
        tenant: String,
        /// Its pools of metal Nodes.
        pools: Vec<String>,
    },
    /// An image that the API does not take.
    #[error("{tenant}: {field}: {value:?} {detail}")]
    Image {
        /// Whose.
        tenant: String,
        /// Which field.
        field: String,
        /// What it says.
        value: String,
        /// What would be right.
        detail: String,
    },
}

fn many(pools: &[String]) -> String {
    format!("{} {}", if pools.len() == 1 { "pool" } else { "pools" }, pools.join(", "))
}

/// One file a tenant, one with the labels of servers.
///
/// # Errors
/// Everything that is missing.
pub fn files(b: &Blueprint, settings: &Settings) -> Result<Vec<File>, Vec<Refusal>> {
    let refusals: Vec<Refusal> = b.tenants.iter().flat_map(|t| refusals(t, settings)).collect();
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let mut files = vec![hosts(b, settings)];
    for tenant in &b.tenants {
        let mut file =
            File { name: format!("{}.yaml", tenant.name), left: Vec::new(), documents: Vec::new() };
        if settings.clusters {
            cluster::write(tenant, settings, &mut file);
        }
        for p in &tenant.pools {
            match (p.material, image(tenant, settings)) {
                (Material::Metal, Some(image)) => {
                    file.documents.extend(pool(b, tenant, p, settings, &metal::Metal::new(b, p, image)));
                }
                (Material::Metal, None) | (Material::Pod, _) => {}
                (Material::Vm, _) if p.size.contains("gpu") => {
                    let what = format!("pool {}: {} x {}", p.name, p.replicas, p.size);
                    file.left.push(format!("{what} have GPUs; VMs with host devices are not served yet"));
                }
                (Material::Vm, _) => file.documents.extend(pool(b, tenant, p, settings, &vm::Vm)),
            }
        }
        if !file.documents.is_empty() || !file.left.is_empty() {
            files.push(file);
        }
    }
    Ok(files)
}

/// The image of a tenant's metal Nodes.
fn image<'a>(tenant: &'a TenantPlan, settings: &'a Settings) -> Option<&'a Image> {
    tenant.metal_image.as_ref().or(settings.metal_image.as_ref())
}

fn refusals(tenant: &TenantPlan, settings: &Settings) -> Vec<Refusal> {
    let metal = |p: &&Pool| p.material == Material::Metal;
    let pools: Vec<String> = tenant.pools.iter().filter(metal).map(|p| p.name.clone()).collect();
    match image(tenant, settings) {
        _ if pools.is_empty() => Vec::new(),
        None => vec![Refusal::NoImage { tenant: tenant.name.clone(), pools }],
        Some(image) => validate_image("metalImage", image)
            .into_iter()
            .map(|bad| Refusal::Image {
                tenant: tenant.name.clone(),
                field: bad.path,
                value: bad.value,
                detail: bad.detail,
            })
            .collect(),
    }
}

/// Labels of Nodes of the management cluster and of BareMetalHosts, to be applied server-side: nothing else of them is
/// touched. Huge pages are reserved on the kernel's command line.
fn hosts(b: &Blueprint, settings: &Settings) -> File {
    let (mut left, mut documents) = (Vec::new(), Vec::new());
    for h in &b.hosts {
        let metal = match h.role {
            HostRole::Free => continue,
            HostRole::Vm => false,
            HostRole::Metal => true,
            HostRole::Spare => metal::only(b, h),
        };
        let role = match h.role {
            HostRole::Vm => "vm",
            HostRole::Metal => "metal",
            HostRole::Spare | HostRole::Free => "spare",
        };
        if !h.hugepages.is_empty() {
            left.push(format!(
                "{}: reserve {:?} MiB of huge pages by NUMA node at boot",
                h.name, h.hugepages
            ));
        }
        documents.push(if metal { metal::host(b, h, role, settings) } else { node(b, h, role) });
        if h.role == HostRole::Spare && !metal && metal::may(b, h) {
            left.push(format!(
                "{} is kept empty for VMs and for metal Nodes: it replaces a metal Node once it is a BareMetalHost that is available",
                h.name
            ));
        }
    }
    File { name: "hosts.yaml".to_owned(), left, documents }
}

fn node(b: &Blueprint, h: &HostPlan, role: &str) -> Value {
    let mut labels = json!({ROLE_LABEL: role, "topology.kubernetes.io/zone": h.rack});
    if let Some(tenant) = alone(b, &h.placements) {
        labels[TENANT_LABEL] = json!(tenant);
    }
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": h.name, "labels": labels}})
}

/// The tenant that has a host of VMs alone, when isolation says so.
fn alone<'a>(b: &'a Blueprint, placements: &'a [Placement]) -> Option<&'a str> {
    let first = placements.iter().find(|p| p.purpose == Purpose::Worker)?;
    let tenant = b.tenants.iter().find(|t| t.name == first.tenant)?;
    (tenant.isolation == "dedicated").then_some(tenant.name.as_str())
}

/// What pools of one material are made of.
trait Machines {
    /// Kind and version of the template.
    const TEMPLATE: (&'static str, &'static str);
    /// Nodes more and fewer while a pool rolls.
    const ROLLING: (u32, u32);

    /// Spec of the machines.
    fn machine(&self, b: &Blueprint, tenant: &TenantPlan, pool: &Pool, s: &Settings) -> Value;

    /// How the kubelet registers, but for its arguments.
    fn registration(&self) -> Value;

    /// The kubelet's arguments.
    fn arguments(&self) -> Vec<Value>;
}

fn pool<M: Machines>(
    b: &Blueprint,
    tenant: &TenantPlan,
    pool: &Pool,
    s: &Settings,
    machines: &M,
) -> [Value; 3] {
    let name = &pool.name;
    let (kind, version) = M::TEMPLATE;
    let meta = || json!({"name": name, "namespace": s.namespace, "labels": {CLUSTER_LABEL: tenant.name}});
    let mut deployment = meta();
    deployment["annotations"] = json!({PLAN_ANNOTATION: format!("{} x {}", pool.replicas, pool.size)});
    let selector = json!({CLUSTER_LABEL: tenant.name, "cluster.x-k8s.io/deployment-name": name});
    let (surge, unavailable) = M::ROLLING;
    [
        json!({
            "apiVersion": format!("{INFRASTRUCTURE}/{version}"), "kind": kind, "metadata": meta(),
            "spec": {"template": {"spec": machines.machine(b, tenant, pool, s)}},
        }),
        json!({
            "apiVersion": "bootstrap.cluster.x-k8s.io/v1beta2", "kind": "KubeadmConfigTemplate", "metadata": meta(),
            "spec": {"template": {"spec": bootstrap(b, machines)}},
        }),
        json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDeployment", "metadata": deployment,
            "spec": {
                "clusterName": tenant.name,
                "replicas": pool.replicas,
                "rollout": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}},
                "selector": {"matchLabels": selector},
                "template": {
                    "metadata": {"labels": selector},
                    "spec": {
                        "clusterName": tenant.name,
                        "version": s.version,
                        "bootstrap": {"configRef": {
                            "apiGroup": "bootstrap.cluster.x-k8s.io", "kind": "KubeadmConfigTemplate", "name": name,
                        }},
                        "infrastructureRef": {"apiGroup": INFRASTRUCTURE, "kind": kind, "name": name},
                    },
                },
            },
        }),
    ]
}

fn bootstrap<M: Machines>(b: &Blueprint, machines: &M) -> Value {
    let mut arguments = machines.arguments();
    // Written when it is not the kubelet's default.
    if b.max_pods != 110 {
        arguments.push(json!({"name": "max-pods", "value": b.max_pods.to_string()}));
    }
    let mut registration = machines.registration();
    if !arguments.is_empty() {
        registration["kubeletExtraArgs"] = arguments.into();
    }
    match registration.as_object().is_none_or(serde_json::Map::is_empty) {
        true => json!({}),
        false => json!({"joinConfiguration": {"nodeRegistration": registration}}),
    }
}

/// Classes of servers as label values, in the order of their names.
fn classes<'a>(hosts: impl Iterator<Item = &'a HostPlan>, b: &Blueprint) -> BTreeSet<String> {
    hosts.map(|h| metal::class(b, h)).collect()
}
