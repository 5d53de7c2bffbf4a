//! Machine: one server, physical or virtual, that is or becomes a Node.

use k8s_openapi::api::core::v1::NodeSystemInfo;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ConditionGate, DeprecatedStatus, OUTDATED_REVISION_TAINT, UNINITIALIZED_TAINT};
use crate::meta::ContractRef;

/// What a Machine should be.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "cluster.x-k8s.io",
    version = "v1beta2",
    kind = "Machine",
    plural = "machines",
    shortname = "ma",
    category = "cluster-api",
    namespaced,
    status = "MachineStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Machine is one server, physical or virtual, that is or becomes a Node.",
    label("cluster.x-k8s.io/v1beta1", "v1beta1"),
    label("cluster.x-k8s.io/v1beta2", "v1beta2"),
    label("clusterctl.cluster.x-k8s.io", ""),
    validation = Rule::new("self.spec.clusterName == oldSelf.spec.clusterName").message("clusterName cannot be changed").field_path(".spec.clusterName"),
    printcolumn = r#"{"name":"Cluster","type":"string","jsonPath":".spec.clusterName"}"#,
    printcolumn = r#"{"name":"Node Name","type":"string","jsonPath":".status.nodeRef.name"}"#,
    printcolumn = r#"{"name":"Provider ID","type":"string","jsonPath":".spec.providerID","priority":10}"#,
    printcolumn = r#"{"name":"Failure domain","type":"string","jsonPath":".status.failureDomain"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Available","type":"string","jsonPath":".status.conditions[?(@.type==\"Available\")].status"}"#,
    printcolumn = r#"{"name":"Up-to-date","type":"string","jsonPath":".status.conditions[?(@.type==\"UpToDate\")].status"}"#,
    printcolumn = r#"{"name":"Internal-IP","type":"string","jsonPath":".status.addresses[?(@.type==\"InternalIP\")].address","priority":10}"#,
    printcolumn = r#"{"name":"External-IP","type":"string","jsonPath":".status.addresses[?(@.type==\"ExternalIP\")].address","priority":10}"#,
    printcolumn = r#"{"name":"OS-Image","type":"string","jsonPath":".status.nodeInfo.osImage","priority":10}"#,
    printcolumn = r#"{"name":"Paused","type":"string","jsonPath":".status.conditions[?(@.type==\"Paused\")].status","priority":10}"#,
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Version","type":"string","jsonPath":".spec.version"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct MachineSpec {
    /// Cluster that the Machine belongs to.
    #[schemars(length(min = 1, max = 63))]
    pub cluster_name: String,
    /// Where the bootstrap data comes from.
    pub bootstrap: Bootstrap,
    /// The infrastructure Machine (or its template, inside of a template).
    pub infrastructure_ref: ContractRef,
    /// Kubernetes version, for example `v1.35.4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = r"^v?(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)([-+].*)?$")
    )]
    pub version: Option<String>,
    /// The id that the Node carries too. Filled in from the infrastructure Machine.
    #[serde(rename = "providerID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub provider_id: Option<String>,
    /// Where to place it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub failure_domain: Option<String>,
    /// How long a Machine must be Ready to be Available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min_ready_seconds: Option<i32>,
    /// Conditions of the Machine that its Ready condition takes into account too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["conditionType"]))]
    pub readiness_gates: Vec<ConditionGate>,
    /// Time limits of the steps of a deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<MachineDeletionSpec>,
    /// Taints of the Node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["key", "effect"]))]
    pub taints: Vec<MachineTaint>,
}

/// A taint of the Node of a Machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineTaint {
    /// Key.
    #[schemars(
        length(min = 1, max = 317),
        regex(
            pattern = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$"
        )
    )]
    pub key: String,
    /// Value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"))]
    pub value: Option<String>,
    /// NoSchedule, PreferNoSchedule or NoExecute.
    pub effect: MachineTaintEffect,
    /// Always: kept on the Node, and taken away when it goes from here. OnInitialization: put on a new Node once.
    pub propagation: MachineTaintPropagation,
}

impl MachineTaint {
    /// Why nobody may ask for it: it is somebody's own, the kubelet's, the node lifecycle controller's or the core's.
    #[must_use]
    pub fn fault(&self, of_worker: bool) -> Option<&'static str> {
        const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
        match self.key.as_str() {
            UNINITIALIZED_TAINT | OUTDATED_REVISION_TAINT => {
                Some("is put on Nodes by the Machine controller alone")
            }
            OUT_OF_SERVICE => None,
            key if key.starts_with("node.kubernetes.io/") => {
                Some("must not begin with node.kubernetes.io/, but for node.kubernetes.io/out-of-service")
            }
            key if key.starts_with("node.cloudprovider.kubernetes.io/") => {
                Some("must not begin with node.cloudprovider.kubernetes.io/")
            }
            "node-role.kubernetes.io/master" => Some("is not in use since Kubernetes 1.24"),
            "node-role.kubernetes.io/control-plane" if of_worker => {
                Some("is for Machines of a control plane")
            }
            _ => None,
        }
    }
}

/// What a taint does to Pods that do not tolerate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MachineTaintEffect {
    /// No new ones come.
    NoSchedule,
    /// New ones come if they find no other place.
    PreferNoSchedule,
    /// They have to go.
    NoExecute,
}

impl MachineTaintEffect {
    /// The word that the API uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::PreferNoSchedule => "PreferNoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }
}

/// When a taint is put on a Node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MachineTaintPropagation {
    /// Whenever it is not there.
    Always,
    /// When the Node is new.
    OnInitialization,
}

/// Where bootstrap data comes from: an object that makes it, or a Secret that has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.configRef) || has(self.dataSecretName)").message("one of configRef and dataSecretName must be set"))]
pub struct Bootstrap {
    /// The bootstrap configuration (or its template, inside of a template).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_ref: Option<ContractRef>,
    /// Secret with the bootstrap data under the key `value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub data_secret_name: Option<String>,
}

/// Time limits of the steps of a deletion. Zero and absent mean for ever, but for the Node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1))]
pub struct MachineDeletionSpec {
    /// How long draining the Node may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub node_drain_timeout_seconds: Option<i32>,
    /// How long to wait for volumes to be detached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub node_volume_detach_timeout_seconds: Option<i32>,
    /// How long to try to delete the Node: 10 when absent, zero for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub node_deletion_timeout_seconds: Option<i32>,
}

/// What a Machine is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineStatus {
    /// Available, Ready, UpToDate, BootstrapConfigReady, InfrastructureReady, NodeHealthy, Deleting, Paused and others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// What has once been reached. Never goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initialization: Option<MachineInitializationStatus>,
    /// The Node in the tenant cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_ref: Option<MachineNodeReference>,
    /// What the Node says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_info: Option<NodeSystemInfo>,
    /// When the phase last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_updated: Option<Time>,
    /// Addresses, from the infrastructure Machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), extend("x-kubernetes-list-type" = "atomic"))]
    pub addresses: Vec<MachineAddress>,
    /// Where the infrastructure placed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_domain: Option<String>,
    /// When the certificates of a control-plane Machine end, as its annotation says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates_expiry_date: Option<Time>,
    /// Pending, Provisioning, Provisioned, Running, Deleting and others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<MachinePhase>,
    /// The generation that this status is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the steps of the deletion began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<MachineDeletionStatus>,
    /// Status in the form of v1beta1, as clients of it have written it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<DeprecatedStatus>,
}

impl Machine {
    /// Its bootstrap configuration, until the Machine has its data.
    #[must_use]
    pub fn awaited_config(&self) -> Option<&ContractRef> {
        self.spec.bootstrap.config_ref.as_ref().filter(|_| self.spec.bootstrap.data_secret_name.is_none())
    }

    /// Its infrastructure Machine, until that was provisioned once.
    #[must_use]
    pub fn awaited_infrastructure(&self) -> Option<&ContractRef> {
        let reached = self.status.as_ref().and_then(|status| status.initialization.as_ref());
        let provisioned = reached.and_then(|reached| reached.infrastructure_provisioned);
        Some(&self.spec.infrastructure_ref).filter(|_| provisioned != Some(true))
    }
}

/// What a Machine has once reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineInitializationStatus {
    /// The infrastructure Machine has been provisioned and has a providerID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub infrastructure_provisioned: Option<bool>,
    /// The Secret with the bootstrap data has been made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap_data_secret_created: Option<bool>,
}

/// A Node of the tenant cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineNodeReference {
    /// Name of the Node.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// An address of a Machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineAddress {
    /// Hostname, ExternalIP, InternalIP, ExternalDNS or InternalDNS.
    #[serde(rename = "type")]
    pub type_: String,
    /// The address.
    #[schemars(length(min = 1, max = 256))]
    pub address: String,
}

/// When the steps of a deletion began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineDeletionStatus {
    /// Draining the Node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_drain_start_time: Option<Time>,
    /// Waiting for volumes to be detached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_for_node_volume_detach_start_time: Option<Time>,
    /// Waiting for pre-drain hooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_for_pre_drain_hook_start_time: Option<Time>,
    /// Waiting for pre-terminate hooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_for_pre_terminate_hook_start_time: Option<Time>,
}

/// How far a Machine has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MachinePhase {
    /// Waiting for bootstrap data.
    Pending,
    /// The infrastructure is being made.
    Provisioning,
    /// The infrastructure is there, the Node is not yet.
    Provisioned,
    /// The Node is there.
    Running,
    /// It is being changed in place; never written.
    Updating,
    /// It is going away.
    Deleting,
    /// It is gone but for the object.
    Deleted,
    /// Of v1beta1; never written.
    Failed,
    /// Not known.
    Unknown,
}
