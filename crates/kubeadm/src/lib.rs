//! In: the facts of a cluster (name, version, endpoint, CA, ranges) and of a Node to be. Out: what kubeadm would
//! write for them: configuration, RBAC, add-ons, component arguments and cloud-init, as objects and text.
//! Never: talks to a cluster, reads a clock, makes a key.

pub mod addons;
pub mod args;
pub mod bootstrap_token;
pub mod cloud_config;
mod cluster_configuration;
mod cluster_info;
mod facts;
pub mod init;
pub mod join;
mod kubelet;
mod ranges;
mod rbac;
mod version;
mod yaml;

pub use cluster_configuration::{cluster_configuration, kubeadm_config};
pub use cluster_info::cluster_info;
pub use facts::{CgroupDriver, ClusterFacts, dns_service_ip, first_service_ip, join_host_port};
pub use kubelet::{KubeletPatchError, kubelet_config, kubelet_config_map, patch_kubelet_config};
pub use ranges::{RangeError, check_dns_address, check_first_family, check_service_range};
pub use rbac::bootstrap_rbac;
pub use version::{Version, VersionError, check_image_tag};
pub use yaml::{YamlError, to_yaml};

use serde_json::Value;

/// The Kubernetes version that Scute ships, and the newest one it accepts.
pub const KUBERNETES_VERSION: &str = "v1.35.4";

/// The oldest minor version that works with what is written into a cluster: kubeadm reads `v1beta4`, and kube-proxy
/// has its nftables mode, since 1.31.
pub const OLDEST_MINOR: (u32, u32) = (1, 31);

/// Tag of the CoreDNS image that belongs to [`KUBERNETES_VERSION`].
pub const COREDNS_VERSION: &str = "v1.13.1";

/// Registry of the upstream images.
pub const IMAGE_REPOSITORY: &str = "registry.k8s.io";

/// Group of bootstrap tokens that join Nodes.
pub const NODE_BOOTSTRAP_GROUP: &str = "system:bootstrappers:kubeadm:default-node-token";

/// Group that kubeadm's `admin.conf` belongs to; [`bootstrap_rbac`] binds it to `cluster-admin`.
pub const CLUSTER_ADMINS_GROUP: &str = "kubeadm:cluster-admins";

/// Common name of the certificate by which the API server calls kubelets.
pub const APISERVER_KUBELET_CLIENT: &str = "kube-apiserver-kubelet-client";

/// Everything that must exist in a cluster before `kubeadm join` works on it, in an order that can be applied:
/// RBAC, then the ConfigMaps `kubeadm-config`, `kubelet-config` and `cluster-info`. `kubelet` is the configuration to
/// publish: [`kubelet_config`], patched or not.
pub fn join_objects(facts: &ClusterFacts, kubelet: &Value) -> Result<Vec<Value>, YamlError> {
    let mut objects = bootstrap_rbac();
    objects.push(kubeadm_config(facts)?);
    objects.push(kubelet_config_map(kubelet)?);
    objects.push(cluster_info(facts)?);
    Ok(objects)
}
