//! The warning about NetworkPolicies, on a real API server.

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kube::{Api, Client, api::DeleteParams};
use scute_install::{NETWORK_POLICIES, warn_of_network_policies};
use scute_testkit::until;
use serde_json::json;

/// Makes a NetworkPolicy, without keeping it; gives what the API server warned of.
async fn warnings(client: &Client, namespace: &str) -> Vec<String> {
    let policy = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "deny", "namespace": namespace},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
    });
    let path = format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies?dryRun=All");
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .body(policy.to_string().into_bytes().into())
        .unwrap();
    let answer = client.send(request).await.unwrap();
    assert!(answer.status().is_success(), "refused: {}", answer.status());
    answer.headers().get_all("warning").iter().map(|text| text.to_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn who_makes_a_network_policy_is_warned_until_the_binding_is_deleted_for_good() {
    let server = scute_testkit::server().await;
    let client = server.client().await;
    let namespace = server.namespace("policies").await;
    assert_eq!(warnings(&client, &namespace).await, [""; 0]);
    warn_of_network_policies(&client).await.unwrap();
    // The API server takes a moment to read a policy of its own.
    let said = until("a warning", async || warnings(&client, &namespace).await.pop()).await;
    assert!(said.contains("this site has no policy engine"), "{said}");

    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    bindings.delete(NETWORK_POLICIES, &DeleteParams::default()).await.unwrap();
    warn_of_network_policies(&client).await.unwrap();
    assert!(bindings.get_opt(NETWORK_POLICIES).await.unwrap().is_none(), "it came back");
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    assert!(policies.get_opt(NETWORK_POLICIES).await.unwrap().is_some());
    until("no warning", async || warnings(&client, &namespace).await.is_empty().then_some(())).await;
}
