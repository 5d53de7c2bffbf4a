//! Kinds of providers that exist in tests only.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

/// All of them.
pub fn crds() -> Vec<CustomResourceDefinition> {
    const INFRASTRUCTURE: &str = "infrastructure.cluster.x-k8s.io";
    const BOOTSTRAP: &str = "bootstrap.cluster.x-k8s.io";
    const CONTROL_PLANE: &str = "controlplane.cluster.x-k8s.io";
    let new = json!({"cluster.x-k8s.io/v1beta2": "v1"});
    vec![
        crd(INFRASTRUCTURE, "TestCluster", &new),
        crd(INFRASTRUCTURE, "OtherCluster", &new),
        crd(INFRASTRUCTURE, "OldCluster", &json!({"cluster.x-k8s.io/v1beta1": "v1"})),
        crd(INFRASTRUCTURE, "OldMachine", &json!({"cluster.x-k8s.io/v1beta1": "v1"})),
        crd(INFRASTRUCTURE, "OldMachineTemplate", &json!({"cluster.x-k8s.io/v1beta1": "v1"})),
        crd(BOOTSTRAP, "OldConfig", &json!({"cluster.x-k8s.io/v1beta1": "v1"})),
        crd(BOOTSTRAP, "OldConfigTemplate", &json!({"cluster.x-k8s.io/v1beta1": "v1"})),
        crd(CONTROL_PLANE, "OldControlPlane", &json!({"cluster.x-k8s.io/v1beta1": "v1"})),
        crd(INFRASTRUCTURE, "StrayCluster", &json!({})),
        crd(INFRASTRUCTURE, "StrayRemediation", &json!({})),
        crd(INFRASTRUCTURE, "StrayRemediationTemplate", &json!({})),
        crd(INFRASTRUCTURE, "TestMachine", &new),
        crd(INFRASTRUCTURE, "OtherMachine", &new),
        crd(INFRASTRUCTURE, "TestMachineTemplate", &new),
        crd(BOOTSTRAP, "TestConfig", &new),
        crd(BOOTSTRAP, "TestConfigTemplate", &new),
        crd(CONTROL_PLANE, "TestControlPlane", &new),
        crd(CONTROL_PLANE, "HiddenControlPlane", &new),
    ]
}

fn crd(group: &str, kind: &str, labels: &Value) -> CustomResourceDefinition {
    let lower = kind.to_lowercase();
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let mut spec = open.clone();
    // An admission that says no, as a provider's webhook may.
    spec["x-kubernetes-validations"] =
        json!([{"rule": "!has(self.refused)", "message": "refused by the provider"}]);
    spec["properties"] = json!({"refused": {"type": "boolean"}});
    serde_json::from_value(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{lower}s.{group}"), "labels": labels},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"kind": kind, "plural": format!("{lower}s"), "singular": lower, "listKind": format!("{kind}List")},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": open}}}
            }]
        }
    }))
    .expect("a CustomResourceDefinition")
}
