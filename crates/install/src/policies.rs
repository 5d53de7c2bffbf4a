//! A word to who makes a NetworkPolicy: the bridge of a site's Pods knows none. In: a client. Out: a policy of admission
//! that warns, and refuses nothing. Who brings a network that has them deletes the binding, which stays away then:
//! `kubectl delete validatingadmissionpolicybinding networkpolicies.scute.dev`.

use crate::{
    InstallError,
    apply::{apply, exists},
};
use kube::Client;
use serde_json::{Value, json};

/// Name of the policy and of its binding.
pub const NAME: &str = "networkpolicies.scute.dev";
const GROUP: &str = "admissionregistration.k8s.io/v1";

/// Puts both in place the first time; later the policy alone, as the binding is the switch.
pub async fn warn(client: &Client) -> Result<(), InstallError> {
    // The binding first: should this break off between the two, the next call is still the first one.
    if !exists(client, &policy()).await? {
        apply(client, binding()).await?;
    }
    apply(client, policy()).await
}

fn policy() -> Value {
    json!({
        "apiVersion": GROUP,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": NAME},
        "spec": {
            "failurePolicy": "Ignore",
            "matchConstraints": {"resourceRules": [{
                "apiGroups": ["networking.k8s.io"],
                "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"],
                "resources": ["networkpolicies"],
            }]},
            "validations": [{
                "expression": "false",
                "message": "this site has no policy engine: the NetworkPolicy is stored and filters nothing",
            }],
        },
    })
}

fn binding() -> Value {
    json!({
        "apiVersion": GROUP,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": NAME},
        "spec": {"policyName": NAME, "validationActions": ["Warn"]},
    })
}
