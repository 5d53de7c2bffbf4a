//! `controlplane.cluster.x-k8s.io`: KamajiControlPlane and its template, v1alpha2 (stored) and v1alpha1 with the same
//! schema; KubeadmControlPlane and its template.

#![allow(clippy::duplicated_attributes)] // every printer column has a type: the lint does not know lists

mod kubeadm;
mod kubeadmtemplate;
mod names;
pub mod template;
mod validate;
mod versions;

pub use kubeadm::*;
pub use kubeadmtemplate::*;
pub use names::*;
pub use validate::*;
pub(crate) use versions::conversions;

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::DeploymentStrategy;
use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements, Toleration, TopologySpreadConstraint};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kamaji::{
    AddonImage, AdmissionController, CgroupDriver, KubeletSpec, MAX_PODS, ProbeSet, ProbeSpec, ServiceType,
};
use crate::meta::{ApiEndpoint, TemplateMeta};

/// Finalizer that keeps a KamajiControlPlane until its TenantControlPlane has left no trace in its DataStore.
pub const KAMAJI_CONTROL_PLANE_FINALIZER: &str = "controlplane.cluster.x-k8s.io/kamajicontrolplane";

/// A hosted control plane as Cluster API asks for it.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "controlplane.cluster.x-k8s.io",
    version = "v1alpha2",
    kind = "KamajiControlPlane",
    plural = "kamajicontrolplanes",
    shortname = "ktcp",
    category = "cluster-api",
    category = "kamaji",
    namespaced,
    status = "KamajiControlPlaneStatus",
    derive = "PartialEq",
    doc = "KamajiControlPlane is a hosted control plane of a Cluster; a TenantControlPlane of the same name does the work.",
    label("cluster.x-k8s.io/v1beta1", "v1alpha1"),
    label("cluster.x-k8s.io/v1beta2", "v1alpha2"),
    label("cluster.x-k8s.io/provider", "control-plane-kamaji"),
    label("clusterctl.cluster.x-k8s.io", ""),
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    validation = Rule::new("size(self.metadata.name) <= 63").message("the name is that of a Service too: at most 63 characters"),
    validation = Rule::new("self.metadata.name.matches('^[a-z][-a-z0-9]*$')").message("the name is that of a Service too: it begins with a letter and has letters, digits and '-' only"),
    printcolumn(name = "Version", type_ = "string", json_path = ".spec.version"),
    printcolumn(
        name = "Initialized",
        type_ = "boolean",
        json_path = ".status.initialization.controlPlaneInitialized"
    ),
    printcolumn(name = "Ready", type_ = "boolean", json_path = ".status.ready"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    // Until something was made there, a mistyped name can be corrected; the TenantControlPlane knows when that is.
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.initialized) || !oldSelf.status.initialized || !has(oldSelf.spec.dataStoreName) || (has(self.spec.dataStoreName) && self.spec.dataStoreName == oldSelf.spec.dataStoreName)")
        .message("changing the dataStoreName needs a migration, which is not supported")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(oldSelf.dataStoreUsername) || (has(self.dataStoreUsername) && self.dataStoreUsername == oldSelf.dataStoreUsername)")
        .message("dataStoreUsername is immutable"),
    validation = Rule::new("!has(oldSelf.dataStoreSchema) || (has(self.dataStoreSchema) && self.dataStoreSchema == oldSelf.dataStoreSchema)")
        .message("dataStoreSchema is immutable"),
    validation = Rule::new("!has(self.dataStoreSchema) || self.dataStoreSchema != 'root'")
        .message("dataStoreSchema root is etcd's own"),
    validation = Rule::new("!has(self.dataStoreUsername) || self.dataStoreUsername != 'root'")
        .message("dataStoreUsername root is etcd's own"),
)]
pub struct KamajiControlPlaneSpec {
    /// Version of Kubernetes; a leading `v` may be left out.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = Rule::new("!self.matches('^v?(0|1[.]([0-9]|[12][0-9]|30))[.]')").message("the oldest Kubernetes that is supported is v1.31"))]
    pub version: String,
    /// Number of Pods.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 0, max = MAX_PODS))]
    pub replicas: i32,
    /// Where the API server answers; written by the controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane_endpoint: Option<ApiEndpoint>,
    /// DataStore that keeps the tenant's state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub data_store_name: Option<String>,
    /// Prefix of the tenant's keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"))]
    pub data_store_schema: Option<String>,
    /// User that owns the prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"))]
    pub data_store_username: Option<String>,
    /// What is installed in the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addons: Option<KamajiAddons>,
    /// Admission plugins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub admission_controllers: Vec<AdmissionController>,
    /// Registry of the images.
    #[serde(default = "default_registry")]
    pub registry: String,
    /// kube-apiserver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_server: Option<ComponentSpec>,
    /// kube-controller-manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller_manager: Option<ComponentSpec>,
    /// kube-scheduler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<ComponentSpec>,
    /// What kubelets get, and how they are reached.
    #[serde(default = "default_kubelet", skip_serializing_if = "Option::is_none")]
    pub kubelet: Option<KubeletSpec>,
    /// How the control plane is reached.
    #[serde(default)]
    pub network: KamajiNetwork,
    /// The Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<KamajiDeployment>,
}

fn default_replicas() -> i32 {
    2
}

fn default_registry() -> String {
    "registry.k8s.io".into()
}

#[allow(clippy::unnecessary_wraps)] // serde wants the field's type
fn default_kubelet() -> Option<KubeletSpec> {
    Some(KubeletSpec { cgroupfs: Some(CgroupDriver::Systemd), ..KubeletSpec::default() })
}

impl KamajiControlPlaneSpec {
    /// The version with its leading `v`.
    #[must_use]
    pub fn kubernetes_version(&self) -> String {
        if self.version.starts_with('v') { self.version.clone() } else { format!("v{}", self.version) }
    }
}

/// One component of the control plane.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ComponentSpec {
    /// Flags added to those of the component, each `--name=value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_args: Vec<String>,
    /// Requests and limits.
    #[serde(
        default,
        deserialize_with = "crate::meta::requirements",
        skip_serializing_if = "Option::is_none"
    )]
    pub resources: Option<ResourceRequirements>,
    /// Name of the image under the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub container_image_name: Option<String>,
    /// Probe numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probes: Option<ProbeSet>,
}

/// What is installed in the tenant; what is left out is not.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct KamajiAddons {
    /// CoreDNS as kubeadm installs it.
    #[serde(default, rename = "coreDNS", skip_serializing_if = "Option::is_none")]
    pub core_dns: Option<KamajiCoreDns>,
    /// kube-proxy as kubeadm installs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kube_proxy: Option<AddonImage>,
}

/// CoreDNS as kubeadm installs it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct KamajiCoreDns {
    /// Repository without the image's own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub image_repository: Option<String>,
    /// Tag of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub image_tag: Option<String>,
    /// Addresses of the DNS Service.
    #[serde(default, rename = "dnsServiceIPs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 45)))]
    pub dns_service_ips: Vec<String>,
}

/// How the control plane is reached.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.loadBalancerConfig) || self.serviceType == 'LoadBalancer'")
        .message("loadBalancerConfig needs serviceType LoadBalancer"),
    validation = Rule::new("(has(self.loadBalancerConfig) && has(self.loadBalancerConfig.loadBalancerClass) ? self.loadBalancerConfig.loadBalancerClass : '') == (has(oldSelf.loadBalancerConfig) && has(oldSelf.loadBalancerConfig.loadBalancerClass) ? oldSelf.loadBalancerConfig.loadBalancerClass : '')")
        .message("loadBalancerClass is immutable"),
    validation = Rule::new("!has(self.dnsServiceIPs) || self.dnsServiceIPs.all(i, isIP(i))")
        .message("dnsServiceIPs must be IP addresses"),
)]
pub struct KamajiNetwork {
    /// Type of the Service.
    #[serde(default)]
    pub service_type: ServiceType,
    /// Address at which the API server is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub service_address: Option<String>,
    /// Labels of the Service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub service_labels: BTreeMap<String, String>,
    /// Annotations of the Service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub service_annotations: BTreeMap<String, String>,
    /// Further names and addresses of the API server's certificate.
    #[serde(default, rename = "certSANs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), inner(length(min = 1, max = 253)))]
    pub cert_sans: Vec<String>,
    /// Addresses of the DNS Service.
    #[serde(default, rename = "dnsServiceIPs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 45)))]
    pub dns_service_ips: Vec<String>,
    /// Settings of a LoadBalancer Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancer_config: Option<LoadBalancerConfig>,
}

/// Settings of a LoadBalancer Service.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.loadBalancerSourceRanges) || self.loadBalancerSourceRanges.all(c, isCIDR(c))")
    .message("loadBalancerSourceRanges must be CIDRs"))]
pub struct LoadBalancerConfig {
    /// Ranges that may use the load balancer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 43)))]
    pub load_balancer_source_ranges: Vec<String>,
    /// Class of the load balancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub load_balancer_class: Option<String>,
}

/// The Pods of the control plane.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct KamajiDeployment {
    /// Labels that a Node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// RuntimeClass of the Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_class_name: Option<String>,
    /// Labels and annotations of the Deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub additional_metadata: Option<TemplateMeta>,
    /// Labels and annotations of the Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_additional_metadata: Option<TemplateMeta>,
    /// ServiceAccount of the Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// How Pods are replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<DeploymentStrategy>,
    /// Scheduling rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Taints that the Pods stand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Spreading rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Probe numbers of all components.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probes: Option<DeploymentProbes>,
}

/// Probe numbers of all components.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct DeploymentProbes {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness: Option<ProbeSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<ProbeSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup: Option<ProbeSpec>,
}

/// What was found out about a KamajiControlPlane.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct KamajiControlPlaneStatus {
    /// Generation that the status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Contract v1beta2: what was reached once and never goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initialization: Option<ControlPlaneInitialization>,
    /// Contract v1beta1: the same as `initialization.controlPlaneInitialized`.
    #[serde(default)]
    pub initialized: bool,
    /// Contract v1beta1: whether the API server takes requests.
    #[serde(default)]
    pub ready: bool,
    /// Pods.
    #[serde(default)]
    pub replicas: i32,
    /// Pods that are ready.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Pods that are available.
    #[serde(default)]
    pub available_replicas: i32,
    /// Pods that run what is asked for (contract v1beta2).
    #[serde(default)]
    pub up_to_date_replicas: i32,
    /// Pods that run what is asked for (contract v1beta1).
    #[serde(default)]
    pub updated_replicas: i32,
    /// Pods that are not available (contract v1beta1).
    #[serde(default)]
    pub unavailable_replicas: i32,
    /// Selector of the Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Always true: no Machine runs this control plane.
    #[serde(default = "yes")]
    pub external_managed_control_plane: bool,
    /// Version that every Pod runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What is right and wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

fn yes() -> bool {
    true
}

/// What was reached once and never goes back.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlaneInitialization {
    /// Whether the API server took a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane_initialized: Option<bool>,
}

/// The CustomResourceDefinitions of this module.
pub(crate) fn crds() -> Vec<CustomResourceDefinition> {
    let kamaji =
        [KamajiControlPlane::crd(), template::KamajiControlPlaneTemplate::crd()].map(in_both_versions);
    [kamaji, [KubeadmControlPlane::crd(), KubeadmControlPlaneTemplate::crd()]].concat()
}

/// One schema for v1alpha1 as well: no conversion is needed.
fn in_both_versions(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let older = crd.spec.versions.iter().cloned().map(|mut version| {
        version.name = "v1alpha1".into();
        version.storage = false;
        version
    });
    let older: Vec<_> = older.collect();
    crd.spec.versions.extend(older);
    crd
}
