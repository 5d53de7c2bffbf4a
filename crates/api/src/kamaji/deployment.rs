//! The Deployment and the Service of a control plane as users shape them.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::DeploymentStrategy;
use k8s_openapi::api::core::v1::{
    Affinity, PodSecurityContext, ResourceRequirements, Toleration, TopologySpreadConstraint,
};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ProbeSet, ProbeSpec, ServiceType};
use crate::meta::TemplateMeta;

/// Most Pods of one control plane.
pub const MAX_PODS: i32 = 100;

/// The two halves of a control plane in the management cluster.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlane {
    /// The Pods.
    #[serde(default)]
    pub deployment: DeploymentSpec,
    /// The Service in front of them.
    pub service: ServiceSpec,
}

/// The Pods of a control plane.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentSpec {
    /// Where the images come from.
    #[serde(default)]
    pub registry_settings: RegistrySettings,
    /// Number of Pods. Zero puts the control plane to sleep and keeps its data.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 0, max = MAX_PODS))]
    pub replicas: i32,
    /// Labels that a Node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the Pods stand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Scheduling rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Spreading rules; one without a selector gets that of the Deployment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// RuntimeClass of the Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_class_name: Option<String>,
    /// How Pods are replaced; the default starts all new ones before an old one goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<DeploymentStrategy>,
    /// Requests and limits of the containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ComponentResources>,
    /// Flags added to those of the containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_args: Option<ComponentArgs>,
    /// Labels and annotations of the Deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub additional_metadata: Option<TemplateMeta>,
    /// Labels and annotations of the Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_additional_metadata: Option<TemplateMeta>,
    /// ServiceAccount of the Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// Security context of the Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_security_context: Option<PodSecurityContext>,
    /// Probe numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probes: Option<Probes>,
}

fn default_replicas() -> i32 {
    2
}

impl Default for DeploymentSpec {
    fn default() -> Self {
        Self {
            registry_settings: RegistrySettings::default(),
            replicas: default_replicas(),
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            affinity: None,
            topology_spread_constraints: Vec::new(),
            runtime_class_name: None,
            strategy: None,
            resources: None,
            extra_args: None,
            additional_metadata: None,
            pod_additional_metadata: None,
            service_account_name: None,
            pod_security_context: None,
            probes: None,
        }
    }
}

/// Where the images of the three components come from: `registry/image:version` and `tagSuffix`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct RegistrySettings {
    #[serde(default = "default_registry")]
    pub registry: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tag_suffix: String,
    #[serde(default = "default_api_server")]
    pub api_server_image: String,
    #[serde(default = "default_controller_manager")]
    pub controller_manager_image: String,
    #[serde(default = "default_scheduler")]
    pub scheduler_image: String,
}

fn default_registry() -> String {
    "registry.k8s.io".into()
}

fn default_api_server() -> String {
    "kube-apiserver".into()
}

fn default_controller_manager() -> String {
    "kube-controller-manager".into()
}

fn default_scheduler() -> String {
    "kube-scheduler".into()
}

impl Default for RegistrySettings {
    fn default() -> Self {
        Self {
            registry: default_registry(),
            tag_suffix: String::new(),
            api_server_image: default_api_server(),
            controller_manager_image: default_controller_manager(),
            scheduler_image: default_scheduler(),
        }
    }
}

/// Requests and limits per component.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct ComponentResources {
    #[serde(
        default,
        deserialize_with = "crate::meta::requirements",
        skip_serializing_if = "Option::is_none"
    )]
    pub api_server: Option<ResourceRequirements>,
    #[serde(
        default,
        deserialize_with = "crate::meta::requirements",
        skip_serializing_if = "Option::is_none"
    )]
    pub controller_manager: Option<ResourceRequirements>,
    #[serde(
        default,
        deserialize_with = "crate::meta::requirements",
        skip_serializing_if = "Option::is_none"
    )]
    pub scheduler: Option<ResourceRequirements>,
}

/// Extra flags per component, each `--name=value`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct ComponentArgs {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub api_server: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controller_manager: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scheduler: Vec<String>,
}

/// Probe numbers: for all components, and per component field by field over that.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Probes {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness: Option<ProbeSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<ProbeSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup: Option<ProbeSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_server: Option<ProbeSet>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller_manager: Option<ProbeSet>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<ProbeSet>,
}

/// The Service of a control plane.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.allocateLoadBalancerNodePorts) || self.serviceType == 'LoadBalancer'")
    .message("allocateLoadBalancerNodePorts needs serviceType LoadBalancer"))]
pub struct ServiceSpec {
    /// How the Service is reached.
    pub service_type: ServiceType,
    /// Labels and annotations of the Service, beside those that others put there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub additional_metadata: Option<TemplateMeta>,
    /// Whether a LoadBalancer Service takes node ports too; the default is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocate_load_balancer_node_ports: Option<bool>,
}
