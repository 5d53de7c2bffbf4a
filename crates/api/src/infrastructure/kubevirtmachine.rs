//! KubevirtMachine: the VM of a Machine.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Initialization;
use crate::kubevirt::{Quantity, VirtualMachineSpec};

/// The VM of a Machine.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "infrastructure.cluster.x-k8s.io",
    version = "v1alpha1",
    kind = "KubevirtMachine",
    namespaced,
    status = "KubevirtMachineStatus",
    derive = "PartialEq",
    derive = "Default",
    category = "cluster-api",
    label("cluster.x-k8s.io/provider", "infrastructure-kubevirt"),
    label("cluster.x-k8s.io/v1beta1", "v1alpha1"),
    label("cluster.x-k8s.io/v1beta2", "v1alpha1"),
    label("clusterctl.cluster.x-k8s.io", ""),
    doc = "The virtual machine of a Machine.",
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Ready",
        type_ = "boolean",
        json_path = ".status.ready",
        description = "Is the machine ready"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct KubevirtMachineSpec {
    /// The VirtualMachine.
    pub virtual_machine_template: VirtualMachineTemplate,
    /// `kubevirt://<name>`, on the Node too; written by the controller.
    #[serde(default, rename = "providerID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub provider_id: Option<String>,
    /// How it is known that the guest has joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_machine_bootstrap_check: Option<BootstrapCheck>,
}

impl KubevirtMachineSpec {
    /// How it is known that the guest has joined.
    #[must_use]
    pub fn check_strategy(&self) -> CheckStrategy {
        self.virtual_machine_bootstrap_check
            .as_ref()
            .and_then(|check| check.check_strategy)
            .unwrap_or(CheckStrategy::Ssh)
    }
}

/// The VirtualMachine of a KubevirtMachine.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
pub struct VirtualMachineTemplate {
    /// Metadata of the VirtualMachine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "virtual_machine_metadata")]
    pub metadata: Option<VirtualMachineMeta>,
    /// Spec of the VirtualMachine.
    pub spec: VirtualMachineSpec,
}

/// The part of the VirtualMachine's metadata that counts.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct VirtualMachineMeta {
    /// Namespace; that of the KubevirtMachine when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// Upstream takes a whole ObjectMeta here; what does not count (`name`, `creationTimestamp: null`)
/// is let through.
fn virtual_machine_metadata(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "nullable": true,
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "namespace": {"type": "string", "nullable": true, "maxLength": 63},
            "labels": {"type": "object", "nullable": true, "additionalProperties": {"type": "string"}},
            "annotations": {"type": "object", "nullable": true, "additionalProperties": {"type": "string"}},
        },
    })
}

/// How it is known that the guest has joined.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BootstrapCheck {
    /// `ssh` (default) reads the sentinel file in the guest; `none` asks nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_strategy: Option<CheckStrategy>,
}

/// How it is known that the guest has joined.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum CheckStrategy {
    /// Nothing is asked.
    None,
    /// The sentinel file is read over SSH.
    Ssh,
}

/// What is seen of a KubevirtMachine.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct KubevirtMachineStatus {
    /// The VM is there (contract v1beta1).
    #[serde(default)]
    pub ready: bool,
    /// The VM is there (contract v1beta2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initialization: Option<Initialization>,
    /// Addresses of the guest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<MachineAddress>,
    /// Conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The Node has the providerID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodeupdated: Option<bool>,
    /// UID of the VMI whose guest became the Node. Another VMI has none of its state.
    #[serde(default, rename = "nodeInstanceUID", skip_serializing_if = "Option::is_none")]
    pub node_instance_uid: Option<String>,
    /// Why the VM is beyond repair, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// Why the VM is beyond repair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_message: Option<String>,
}

/// An address of a guest.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct MachineAddress {
    /// Hostname, InternalIP, ExternalIP, InternalDNS or ExternalDNS.
    #[serde(rename = "type")]
    pub type_: String,
    /// The address.
    pub address: String,
}

/// KubevirtMachines to be made. Its spec does not change: the admission handler refuses that, but for
/// a dry run of ClusterClass.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "infrastructure.cluster.x-k8s.io",
    version = "v1alpha1",
    kind = "KubevirtMachineTemplate",
    namespaced,
    status = "KubevirtMachineTemplateStatus",
    derive = "PartialEq",
    derive = "Default",
    category = "cluster-api",
    label("cluster.x-k8s.io/provider", "infrastructure-kubevirt"),
    label("cluster.x-k8s.io/v1beta1", "v1alpha1"),
    label("cluster.x-k8s.io/v1beta2", "v1alpha1"),
    label("clusterctl.cluster.x-k8s.io", ""),
    doc = "KubevirtMachines to be made."
)]
pub struct KubevirtMachineTemplateSpec {
    /// The KubevirtMachine.
    pub template: KubevirtMachineTemplateResource,
}

/// A KubevirtMachine to be made.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
pub struct KubevirtMachineTemplateResource {
    /// Spec.
    pub spec: KubevirtMachineSpec,
}

/// What one Machine of a template brings; read by the cluster autoscaler to scale from zero.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
pub struct KubevirtMachineTemplateStatus {
    /// `cpu` and `memory` of one Machine.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub capacity: BTreeMap<String, Quantity>,
}
