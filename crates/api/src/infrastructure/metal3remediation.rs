//! Metal3Remediation: a server that is restarted because its Node is not well.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Keeps a Metal3Remediation until its server is on again.
pub const METAL3_REMEDIATION_FINALIZER: &str = "metal3remediation.infrastructure.cluster.x-k8s.io";

/// A server that is restarted because its Node is not well.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "infrastructure.cluster.x-k8s.io",
    version = "v1beta2",
    kind = "Metal3Remediation",
    namespaced,
    status = "Metal3RemediationStatus",
    derive = "PartialEq",
    derive = "Default",
    shortname = "m3r",
    shortname = "m3remediation",
    category = "cluster-api",
    label("cluster.x-k8s.io/provider", "infrastructure-metal3"),
    label("cluster.x-k8s.io/v1beta1", "v1beta1"),
    label("cluster.x-k8s.io/v1beta2", "v1beta2"),
    label("clusterctl.cluster.x-k8s.io", ""),
    doc = "A server that is restarted because its Node is not well.",
    printcolumn = r#"{"name":"Retry limit","type":"string","jsonPath":".spec.strategy.retryLimit","description":"How often it is tried"}"#,
    printcolumn = r#"{"name":"Retry count","type":"string","jsonPath":".status.retryCount","description":"How often it was tried"}"#,
    printcolumn = r#"{"name":"Last Remediated","type":"string","jsonPath":".status.lastRemediated","description":"When it was tried last"}"#,
    printcolumn = r#"{"name":"Strategy","type":"string","jsonPath":".spec.strategy.type","description":"What is tried"}"#,
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase","description":"How far it is"}"#
)]
#[schemars(extend("default" = {}))]
pub struct Metal3RemediationSpec {
    /// What is tried, and how often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<RemediationStrategy>,
}

/// What is tried, and how often.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct RemediationStrategy {
    /// What is tried.
    #[serde(rename = "type")]
    pub type_: RemediationType,
    /// How often it is tried.
    #[schemars(range(min = 1))]
    pub retry_limit: i32,
    /// How long one try may take.
    #[schemars(range(min = 100))]
    pub timeout_seconds: i32,
}

impl Default for RemediationStrategy {
    fn default() -> Self {
        Self { type_: RemediationType::Reboot, retry_limit: 1, timeout_seconds: 600 }
    }
}

/// What is tried.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RemediationType {
    /// The server is powered off and on.
    #[default]
    Reboot,
}

/// What is seen of a Metal3Remediation.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Metal3RemediationStatus {
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<RemediationPhase>,
    /// How often it was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub retry_count: Option<i32>,
    /// When it was tried last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_remediated: Option<Time>,
}

/// How far a remediation is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemediationPhase {
    /// The server is powered off and on.
    Running,
    /// The Node is waited for.
    Waiting,
    /// The Machine is given up.
    #[serde(rename = "Deleting machine")]
    DeletingMachine,
    /// It did not help.
    Failed,
}

/// Metal3Remediations to be made.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "infrastructure.cluster.x-k8s.io",
    version = "v1beta2",
    kind = "Metal3RemediationTemplate",
    namespaced,
    status = "Metal3RemediationTemplateStatus",
    derive = "PartialEq",
    derive = "Default",
    shortname = "m3rt",
    shortname = "m3remediationtemplate",
    shortname = "m3remediationtemplates",
    shortname = "metal3rt",
    category = "cluster-api",
    label("cluster.x-k8s.io/provider", "infrastructure-metal3"),
    label("cluster.x-k8s.io/v1beta1", "v1beta1"),
    label("cluster.x-k8s.io/v1beta2", "v1beta2"),
    label("clusterctl.cluster.x-k8s.io", ""),
    doc = "Metal3Remediations to be made."
)]
pub struct Metal3RemediationTemplateSpec {
    /// The Metal3Remediation.
    pub template: Metal3RemediationTemplateResource,
}

/// A Metal3Remediation to be made.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
pub struct Metal3RemediationTemplateResource {
    /// Spec.
    pub spec: Metal3RemediationSpec,
}

/// Never written; there because upstream has it.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
pub struct Metal3RemediationTemplateStatus {
    /// As of a Metal3Remediation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Metal3RemediationStatus>,
}
