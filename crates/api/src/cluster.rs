//! Cluster, ClusterClass, MachineDeployment, MachineSet, Machine, MachineHealthCheck and MachineDrainRule, and the MachinePool
//! that clients look for.

pub mod clusterclass;
pub mod defaults;
mod machine;
mod machinedeployment;
mod machinedrainrule;
mod machinehealthcheck;
mod machinenames;
mod machinepool;
mod machineset;
mod names;
pub mod topology;
pub(crate) mod versions;

pub use machine::*;
pub use machinedeployment::*;
pub use machinedrainrule::*;
pub use machinehealthcheck::*;
pub use machinenames::*;
pub use machinepool::*;
pub use machineset::*;
use names::SAME_SELECTOR;
pub use names::*;
pub(crate) use versions::conversions;

use ipnet::IpNet;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::meta::{ApiEndpoint, ContractRef};

/// The CustomResourceDefinitions of this module.
pub(crate) fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        Cluster::crd(),
        MachineDeployment::crd(),
        MachineSet::crd(),
        Machine::crd(),
        MachineHealthCheck::crd(),
        MachineDrainRule::crd(),
        MachinePool::crd(),
        clusterclass::ClusterClass::crd(),
    ]
}

/// What a Cluster should be: its network, its control plane and its infrastructure.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "cluster.x-k8s.io",
    version = "v1beta2",
    kind = "Cluster",
    plural = "clusters",
    shortname = "cl",
    category = "cluster-api",
    namespaced,
    status = "ClusterStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Cluster is one tenant cluster: control plane, infrastructure and workers.",
    label("cluster.x-k8s.io/v1beta1", "v1beta1"),
    label("cluster.x-k8s.io/v1beta2", "v1beta2"),
    label("clusterctl.cluster.x-k8s.io", ""),
    validation = Rule::new("size(self.metadata.name) <= 63").message("the name is used as a label value: at most 63 characters"),
    printcolumn = r#"{"name":"ClusterClass","type":"string","jsonPath":".spec.topology.classRef.name"}"#,
    printcolumn = r#"{"name":"Available","type":"string","jsonPath":".status.conditions[?(@.type==\"Available\")].status"}"#,
    printcolumn = r#"{"name":"CP Desired","type":"integer","jsonPath":".status.controlPlane.desiredReplicas"}"#,
    printcolumn = r#"{"name":"CP Current","type":"integer","jsonPath":".status.controlPlane.replicas","priority":10}"#,
    printcolumn = r#"{"name":"CP Ready","type":"integer","jsonPath":".status.controlPlane.readyReplicas","priority":10}"#,
    printcolumn = r#"{"name":"CP Available","type":"integer","jsonPath":".status.controlPlane.availableReplicas"}"#,
    printcolumn = r#"{"name":"CP Up-to-date","type":"integer","jsonPath":".status.controlPlane.upToDateReplicas"}"#,
    printcolumn = r#"{"name":"W Desired","type":"integer","jsonPath":".status.workers.desiredReplicas"}"#,
    printcolumn = r#"{"name":"W Current","type":"integer","jsonPath":".status.workers.replicas","priority":10}"#,
    printcolumn = r#"{"name":"W Ready","type":"integer","jsonPath":".status.workers.readyReplicas","priority":10}"#,
    printcolumn = r#"{"name":"W Available","type":"integer","jsonPath":".status.workers.availableReplicas"}"#,
    printcolumn = r#"{"name":"W Up-to-date","type":"integer","jsonPath":".status.workers.upToDateReplicas"}"#,
    printcolumn = r#"{"name":"Paused","type":"string","jsonPath":".status.conditions[?(@.type==\"Paused\")].status","priority":10}"#,
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Version","type":"string","jsonPath":".spec.topology.version"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.controlPlaneRef) || has(self.infrastructureRef) || has(self.topology)").message("one of topology, controlPlaneRef and infrastructureRef must be set"),
    validation = Rule::new("!has(oldSelf.controlPlaneRef) || has(self.controlPlaneRef)").message("controlPlaneRef cannot be removed"),
    validation = Rule::new("!has(oldSelf.infrastructureRef) || has(self.infrastructureRef)").message("infrastructureRef cannot be removed")
)]
pub struct ClusterSpec {
    /// Stops every controller on the Cluster and on its objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// Ranges and names of the Cluster's own network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_network: Option<ClusterNetwork>,
    /// Where the API server answers. Filled in once, from the infrastructure or the control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane_endpoint: Option<ApiEndpoint>,
    /// The control plane object, in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane_ref: Option<ContractRef>,
    /// The infrastructure object, in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub infrastructure_ref: Option<ContractRef>,
    /// Conditions of the Cluster that its Available condition takes into account too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["conditionType"]))]
    pub availability_gates: Vec<ConditionGate>,
    /// The Cluster as a choice from a ClusterClass, which makes everything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<topology::Topology>,
}

impl Cluster {
    /// Whether the control plane has answered once.
    #[must_use]
    pub fn is_initialized(&self) -> bool {
        let status = self.status.as_ref().and_then(|status| status.initialization.as_ref());
        status.is_some_and(|initialization| initialization.control_plane_initialized == Some(true))
    }

    /// Whether the tenant can be asked for its Nodes. A control plane that nobody provides is initialized when one of its
    /// Machines is a Node: it has to be asked before.
    #[must_use]
    pub fn may_answer(&self) -> bool {
        self.is_initialized() || self.spec.control_plane_ref.is_none()
    }
}

/// Ranges and names of a Cluster's own network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1))]
pub struct ClusterNetwork {
    /// Port of the API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub api_server_port: Option<i32>,
    /// Ranges of Services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<NetworkRanges>,
    /// Ranges of Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<NetworkRanges>,
    /// Domain of Services, for example `cluster.local`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub service_domain: Option<String>,
}

/// A range of a Cluster that has addresses in common with one that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeOverlap {
    /// `pods` or `services`, the field of [`ClusterNetwork`].
    pub field: &'static str,
    /// The Cluster's range.
    pub range: IpNet,
    /// The one that is taken.
    pub taken: IpNet,
}

impl ClusterNetwork {
    /// The first range that overlaps one of `taken`. What is no range is left to the schema.
    pub fn overlap(&self, taken: &[IpNet]) -> Option<RangeOverlap> {
        let named = [("pods", &self.pods), ("services", &self.services)];
        named.into_iter().find_map(|(field, ranges)| {
            let texts = ranges.iter().flat_map(|ranges| &ranges.cidr_blocks);
            texts.filter_map(|text| text.parse::<IpNet>().ok()).find_map(|range| {
                let taken = taken.iter().find(|taken| overlaps(taken, &range))?;
                Some(RangeOverlap { field, range, taken: *taken })
            })
        })
    }
}

/// Whether two ranges have an address in common.
pub fn overlaps(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// IP ranges in CIDR notation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkRanges {
    /// The ranges, for example `10.244.0.0/16`.
    #[schemars(length(min = 1, max = 100), inner(length(min = 1, max = 43)), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = Rule::new("self.all(c, isCIDR(c))").message("every entry must be a range in CIDR notation, such as 10.244.0.0/16"))]
    pub cidr_blocks: Vec<String>,
}

/// A condition that takes part in a summary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConditionGate {
    /// Type of the condition.
    #[schemars(length(min = 1, max = 316))]
    pub condition_type: String,
    /// `Positive` (the default): True is good. `Negative`: False is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub polarity: Option<ConditionPolarity>,
}

/// Which status of a condition is the good one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionPolarity {
    /// True is good.
    #[default]
    Positive,
    /// False is good.
    Negative,
}

/// What a Cluster is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Available, InfrastructureReady, ControlPlaneAvailable, WorkersAvailable, Deleting, Paused and others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// What has once been reached. Never goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initialization: Option<ClusterInitializationStatus>,
    /// Counters of the control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<ReplicaCounts>,
    /// Counters of the workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<ReplicaCounts>,
    /// Failure domains of the infrastructure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub failure_domains: Vec<FailureDomain>,
    /// Pending, Provisioning, Provisioned, Deleting, Failed or Unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<ClusterPhase>,
    /// The generation that this status is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Conditions in the form of v1beta1, for providers that still read them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<DeprecatedStatus>,
}

/// What a Cluster has once reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterInitializationStatus {
    /// The infrastructure has been provisioned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub infrastructure_provisioned: Option<bool>,
    /// The control plane has answered requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane_initialized: Option<bool>,
}

/// Counters of a group of Machines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaCounts {
    /// How many there should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<i32>,
    /// How many there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// How many have the wanted version and configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to_date_replicas: Option<i32>,
    /// How many are Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// How many are Available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_replicas: Option<i32>,
    /// Kubernetes versions in use, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub versions: Vec<StatusVersion>,
}

/// How many replicas have a Kubernetes version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusVersion {
    /// The version, for example `v1.35.4`.
    #[schemars(length(min = 1, max = 256))]
    pub version: String,
    /// How many replicas have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
}

/// A failure domain of the infrastructure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailureDomain {
    /// Name of the failure domain.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// Whether it suits control-plane Machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<bool>,
    /// What else the provider says about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<std::collections::BTreeMap<String, String>>,
}

/// How far a Cluster has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClusterPhase {
    /// Nothing has begun.
    Pending,
    /// Infrastructure or control plane is being made.
    Provisioning,
    /// The infrastructure is there and the endpoint is known.
    Provisioned,
    /// It is going away.
    Deleting,
    /// Of v1beta1; never written.
    Failed,
    /// Not known.
    Unknown,
}

/// Status in the form of older API versions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeprecatedStatus {
    /// Of v1beta1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v1beta1: Option<V1Beta1Status>,
}

/// Status in the form of v1beta1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct V1Beta1Status {
    /// Conditions of v1beta1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<V1Beta1Condition>,
    /// Why it failed, in one word. Of old clients; nothing here fails for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// Why it failed, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_message: Option<String>,
}

/// A condition of v1beta1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct V1Beta1Condition {
    /// Type of the condition.
    #[serde(rename = "type")]
    pub type_: String,
    /// True, False or Unknown.
    pub status: String,
    /// Error, Warning or Info, only when not True.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// Since when the status is what it is.
    pub last_transition_time: Time,
    /// Why, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
