//! A tenant's Cluster, its InfraCluster and its hosted control plane.

use serde_json::{Value, json};

use super::{CLUSTER_LABEL, File, INFRASTRUCTURE, Settings};
use crate::blueprint::{Material, TenantPlan};

/// Adds the three objects of a tenant whose control plane is hosted; of another, says that they are not written.
pub fn write(tenant: &TenantPlan, s: &Settings, file: &mut File) {
    let name = &tenant.name;
    match tenant.control_plane.as_str() {
        "hosted" => {}
        "none" => {
            file.left.push(format!("the Cluster {name}: its control plane runs elsewhere"));
            return;
        }
        kind => {
            file.left.push(format!(
                "the Cluster {name}: its control plane is {} of its own ({kind}), and KubeadmControlPlane is not served",
                crate::render::many(tenant.replicas, "machine")
            ));
            return;
        }
    }
    let data_store = match tenant.datastore.as_deref() {
        None | Some("datastore-1") => &s.data_store,
        Some(other) => {
            file.left.push(format!(
                "DataStore {other}, which {name} is planned for: make it, with an etcd of its own"
            ));
            other
        }
    };
    let meta = || json!({"name": name, "namespace": s.namespace, "labels": {CLUSTER_LABEL: name}});
    let (infra, version, spec) = primary(tenant);
    file.documents.extend([
        json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": meta(),
            "spec": {
                "clusterNetwork": {"pods": {"cidrBlocks": [s.pods]}, "services": {"cidrBlocks": [s.services]}},
                "controlPlaneRef": {"apiGroup": "controlplane.cluster.x-k8s.io", "kind": "KamajiControlPlane", "name": name},
                "infrastructureRef": {"apiGroup": INFRASTRUCTURE, "kind": infra, "name": name},
            },
        }),
        json!({
            "apiVersion": format!("{INFRASTRUCTURE}/{version}"), "kind": infra, "metadata": meta(), "spec": spec,
        }),
        json!({
            "apiVersion": "controlplane.cluster.x-k8s.io/v1alpha1", "kind": "KamajiControlPlane", "metadata": meta(),
            "spec": {
                "dataStoreName": data_store,
                "replicas": tenant.replicas,
                "version": s.version,
                "kubelet": {"cgroupfs": "systemd", "preferredAddressTypes": ["InternalIP", "ExternalIP", "Hostname"]},
                "addons": {"coreDNS": {}, "kubeProxy": {}},
                "network": {"serviceType": "LoadBalancer"},
            },
        }),
    ]);
}

/// Kind, version and spec of the InfraCluster: that of VMs where there are any, metal Nodes join it all the same. The
/// endpoint is left to the hosted control plane.
fn primary(tenant: &TenantPlan) -> (&'static str, &'static str, Value) {
    match tenant.pools.iter().all(|p| p.material == Material::Metal) && !tenant.pools.is_empty() {
        true => ("Metal3Cluster", "v1beta2", json!({"cloudProviderEnabled": false})),
        false => ("KubevirtCluster", "v1alpha1", json!({})),
    }
}
