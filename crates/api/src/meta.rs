//! Shapes, labels, annotations and finalizers that the kinds share.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// Labels and annotations of an object made from a template.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateMeta {
    /// Labels of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Annotations of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// A reference to an object in the same namespace, without a version: the version follows from the
/// contract labels of its CustomResourceDefinition (Cluster API contract v1beta2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContractRef {
    /// API group, for example `infrastructure.cluster.x-k8s.io`.
    #[schemars(length(min = 1, max = 253))]
    pub api_group: String,
    /// Kind, for example `KubevirtMachineTemplate`.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Where an API server answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiEndpoint {
    /// Host name or IP address.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub host: String,
    /// TCP port, 1 to 65535.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0, max = 65535))]
    pub port: i32,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature is serde's
fn is_zero(port: &i32) -> bool {
    *port == 0
}

impl ApiEndpoint {
    /// Whether both parts are set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        !self.host.is_empty() && self.port > 0
    }
}

/// `cluster.x-k8s.io/cluster-name`: on every object of a Cluster.
pub const CLUSTER_NAME_LABEL: &str = "cluster.x-k8s.io/cluster-name";
/// `cluster.x-k8s.io/deployment-name`: MachineDeployment of a Machine.
pub const DEPLOYMENT_NAME_LABEL: &str = "cluster.x-k8s.io/deployment-name";
/// `cluster.x-k8s.io/set-name`: MachineSet of a Machine.
pub const SET_NAME_LABEL: &str = "cluster.x-k8s.io/set-name";
/// `cluster.x-k8s.io/control-plane`: on control-plane Machines, with an empty value.
pub const CONTROL_PLANE_LABEL: &str = "cluster.x-k8s.io/control-plane";
/// `clusterctl.cluster.x-k8s.io/block-move`: while an object has it, `clusterctl move` waits, and then gives up.
pub const BLOCK_MOVE_ANNOTATION: &str = "clusterctl.cluster.x-k8s.io/block-move";
/// `clusterctl.cluster.x-k8s.io/delete-for-move`: on an object that `clusterctl move` deletes here because it is elsewhere now. It
/// takes the place of all other annotations, those that pause the object among them.
pub const DELETE_FOR_MOVE_ANNOTATION: &str = "clusterctl.cluster.x-k8s.io/delete-for-move";
/// `cluster.x-k8s.io/paused`: its presence stops every controller on the object.
pub const PAUSED_ANNOTATION: &str = "cluster.x-k8s.io/paused";
/// `cluster.x-k8s.io/managed-by`: somebody else keeps this infrastructure object.
pub const MANAGED_BY_ANNOTATION: &str = "cluster.x-k8s.io/managed-by";
/// Type of the Secrets of a Cluster.
pub const CLUSTER_SECRET_TYPE: &str = "cluster.x-k8s.io/secret";

/// Requests and limits as users write them: a quantity may be a number, which Kubernetes' own type does not read.
pub(crate) fn requirements<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<ResourceRequirements>, D::Error> {
    let Some(mut given) = Option::<serde_json::Value>::deserialize(deserializer)? else { return Ok(None) };
    for field in ["limits", "requests"] {
        let amounts = given.get_mut(field).and_then(serde_json::Value::as_object_mut);
        for amount in amounts.into_iter().flat_map(serde_json::Map::values_mut) {
            if let serde_json::Value::Number(number) = amount {
                *amount = serde_json::Value::String(number.to_string());
            }
        }
    }
    serde_json::from_value(given).map_err(serde::de::Error::custom)
}
