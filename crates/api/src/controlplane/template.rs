//! KamajiControlPlaneTemplate: hosted control planes to be made by a ClusterClass. What differs between Clusters, the
//! version and the number of Pods, is the topology's.

#![allow(clippy::duplicated_attributes)] // every printer column has a type: the lint does not know lists

use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;

use super::KamajiControlPlaneSpec;
use crate::meta::TemplateMeta;

/// Hosted control planes to be made by a ClusterClass.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "controlplane.cluster.x-k8s.io",
    version = "v1alpha2",
    kind = "KamajiControlPlaneTemplate",
    plural = "kamajicontrolplanetemplates",
    shortname = "ktcpt",
    category = "cluster-api",
    category = "kamaji",
    namespaced,
    derive = "PartialEq",
    derive = "Default",
    doc = "KamajiControlPlaneTemplate is what a ClusterClass makes hosted control planes from.",
    label("cluster.x-k8s.io/v1beta1", "v1alpha1"),
    label("cluster.x-k8s.io/v1beta2", "v1alpha2"),
    label("cluster.x-k8s.io/provider", "control-plane-kamaji"),
    label("clusterctl.cluster.x-k8s.io", ""),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct KamajiControlPlaneTemplateSpec {
    /// The control plane.
    pub template: KamajiControlPlaneTemplateResource,
}

/// A hosted control plane to be made.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct KamajiControlPlaneTemplateResource {
    /// Labels and annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TemplateMeta>,
    /// Spec.
    pub spec: SharedSpec,
}

/// Fields of a KamajiControlPlane that a Cluster does not say.
const OF_THE_CLUSTER: [&str; 3] = ["version", "replicas", "controlPlaneEndpoint"];

/// The spec of a KamajiControlPlane without what each Cluster says: version, replicas and endpoint.
#[derive(Serialize, Clone, Debug, Default, PartialEq)]
#[serde(transparent)]
pub struct SharedSpec(Map<String, Value>);

impl<'de> Deserialize<'de> for SharedSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Map::deserialize(deserializer)?;
        let mut whole = fields.clone();
        whole.insert("version".to_owned(), "v1.35.0".into());
        serde_json::from_value::<KamajiControlPlaneSpec>(whole.into()).map_err(D::Error::custom)?;
        Ok(Self(fields))
    }
}

impl JsonSchema for SharedSpec {
    fn schema_name() -> Cow<'static, str> {
        "KamajiControlPlaneSharedSpec".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = KamajiControlPlaneSpec::json_schema(generator);
        for name in OF_THE_CLUSTER {
            if let Some(Value::Object(properties)) = schema.get_mut("properties") {
                properties.remove(name);
            }
            if let Some(Value::Array(required)) = schema.get_mut("required") {
                required.retain(|field| field != name);
            }
        }
        // A template can be changed: the control planes that are there say what they cannot do.
        if let Some(Value::Array(rules)) = schema.get_mut("x-kubernetes-validations") {
            rules.retain(|rule| rule["rule"].as_str().is_some_and(|rule| !rule.contains("oldSelf")));
        }
        schema.insert("description".to_owned(), "Spec of the control plane.".into());
        schema
    }
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_schema_is_the_control_planes_without_what_a_cluster_says() {
        let crd = serde_json::to_value(KamajiControlPlaneTemplate::crd()).expect("JSON");
        let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
            ["template"]["properties"]["spec"];
        assert_eq!(spec["properties"]["dataStoreName"]["type"], "string");
        assert_eq!(spec["properties"]["version"], Value::Null);
        assert!(!spec["required"].to_string().contains("version"), "{}", spec["required"]);
        assert!(!spec["x-kubernetes-validations"].to_string().contains("oldSelf"));
    }

    #[test]
    fn what_no_control_plane_could_be_made_of_is_not_read() {
        let read = |spec: Value| serde_json::from_value::<SharedSpec>(spec);
        assert!(read(json!({"dataStoreName": "default", "network": {"serviceType": "NodePort"}})).is_ok());
        let wrong = read(json!({"network": {"serviceType": "Carrier"}})).expect_err("no such type");
        assert!(wrong.to_string().contains("Carrier"), "{wrong}");
    }
}
