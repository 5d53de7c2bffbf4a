//! MachineDrainRule: which Pods are evicted when a Node is drained, and in which order.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which Pods of which Machines, and what is done about them.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "cluster.x-k8s.io",
    version = "v1beta2",
    kind = "MachineDrainRule",
    plural = "machinedrainrules",
    category = "cluster-api",
    namespaced,
    derive = "PartialEq",
    derive = "Default",
    doc = "MachineDrainRule says what is done about Pods when the Node of a Machine is drained. Of several rules for one Pod the first by name counts.",
    label("cluster.x-k8s.io/v1beta1", "v1beta1"),
    label("cluster.x-k8s.io/v1beta2", "v1beta2"),
    label("clusterctl.cluster.x-k8s.io", ""),
    printcolumn = r#"{"name":"Behavior","type":"string","jsonPath":".spec.drain.behavior","description":"What is done about the Pods"}"#,
    printcolumn = r#"{"name":"Order","type":"string","jsonPath":".spec.drain.order","description":"When they are evicted"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct MachineDrainRuleSpec {
    /// What is done about the Pods.
    pub drain: MachineDrainRuleDrain,
    /// Machines that the rule is about: those that one of the selectors selects. Absent: all of the namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = Rule::new("self.all(x, self.exists_one(y, x == y))").message("entries in machines must be unique"))]
    pub machines: Vec<MachineDrainRuleMachines>,
    /// Pods that the rule is about: those that one of the selectors selects. Absent: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = Rule::new("self.all(x, self.exists_one(y, x == y))").message("entries in pods must be unique"))]
    pub pods: Vec<MachineDrainRulePods>,
}

/// What is done about Pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.behavior == 'Drain' || !has(self.order)").message("order must not be set if drain behavior is \"Skip\" or \"WaitCompleted\"").field_path(".order"))]
pub struct MachineDrainRuleDrain {
    /// Drain: they are evicted. Skip: they are left alone. WaitCompleted: they are waited for, and never evicted.
    pub behavior: DrainBehavior,
    /// Those of a lower order are evicted first, and the next ones when they are gone. 0 when absent; for Drain only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<i32>,
}

/// What is done about a Pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DrainBehavior {
    /// It is evicted.
    #[default]
    Drain,
    /// It is left alone.
    Skip,
    /// It is waited for.
    WaitCompleted,
}

/// Machines, by their labels and those of their Cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1))]
pub struct MachineDrainRuleMachines {
    /// Labels of the Machine. Empty: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Labels of its Cluster. Empty: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_selector: Option<LabelSelector>,
}

/// Pods, by their labels and those of their namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1))]
pub struct MachineDrainRulePods {
    /// Labels of the Pod. Empty: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Labels of its namespace. Empty: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
}
