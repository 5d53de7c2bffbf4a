//! A real API server takes every CustomResourceDefinition that Scute serves, and refuses bad fields by name.

use std::process::Command;

use kube::core::Status;
use serde_json::{Value, json};

#[tokio::test]
async fn every_definition_is_taken() {
    let server = scute_testkit::server().await;
    let crds = scute_api::crds();
    assert!(crds.len() >= 14, "{} definitions", crds.len());
    server.install_crds(crds).await;
}

/// Creates an object as kubectl does: with strict field validation.
async fn create(path: &str, object: &Value) -> Result<Value, Box<Status>> {
    let server = scute_testkit::server().await;
    server.install_crds(scute_api::crds()).await;
    let namespace = server.namespace("crds").await;
    let uri = format!("{}?fieldValidation=Strict&dryRun=All", path.replace("NAMESPACE", &namespace));
    let request = http::Request::post(uri)
        .header("content-type", "application/json")
        .body(object.to_string().into_bytes())
        .unwrap();
    match server.client().await.request(request).await {
        Ok(object) => Ok(object),
        Err(kube::Error::Api(status)) => Err(status),
        Err(error) => panic!("{error}"),
    }
}

const CLUSTERS: &str = "/apis/cluster.x-k8s.io/v1beta2/namespaces/NAMESPACE/clusters";

fn cluster(spec: Value) -> Value {
    json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": {"name": "c"}, "spec": spec})
}

#[tokio::test]
async fn a_field_that_is_not_honoured_is_refused_with_its_path() {
    let reference = json!({"apiGroup": "a.b", "kind": "K", "name": "n"});
    let object = cluster(json!({"infrastructureRef": reference, "topology": {"version": "v1.35.4"}}));
    let refused = create(CLUSTERS, &object).await.unwrap_err();
    assert!(refused.message.contains(r#"unknown field "spec.topology""#), "{}", refused.message);
}

#[tokio::test]
async fn a_range_that_is_none_is_refused_with_its_path() {
    let reference = json!({"apiGroup": "a.b", "kind": "K", "name": "n"});
    let network = json!({"pods": {"cidrBlocks": ["10.244.0.0/33"]}});
    let object = cluster(json!({"infrastructureRef": reference, "clusterNetwork": network}));
    let refused = create(CLUSTERS, &object).await.unwrap_err();
    assert!(refused.message.contains("spec.clusterNetwork.pods.cidrBlocks"), "{}", refused.message);
}

/// The examples and the acceptance manifests are what users write: kubectl, with its strict field
/// validation, has to take every one.
#[tokio::test]
async fn kubectl_takes_the_examples() {
    let server = scute_testkit::server().await;
    server.install_crds(scute_api::crds()).await;
    let kubeconfig = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(kubeconfig.path(), server.kubeconfig()).unwrap();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    for (flag, path) in [
        ("-f", "examples/first-tenant.yaml"),
        ("-k", "e2e/30-arch3-hosted/10-kamaji-kubevirt"),
        ("-k", "e2e/30-arch3-hosted/11-kubevirtcluster-managed-by"),
    ] {
        let namespace = server.namespace("example").await;
        let out = Command::new(scute_testkit::kube_binary().unwrap())
            .args(["kubectl", "--namespace", &namespace, "apply", "--dry-run=server", flag, path])
            .env("KUBECONFIG", kubeconfig.path())
            .current_dir(root)
            .output()
            .unwrap();
        assert!(out.status.success(), "{path}:\n{}", String::from_utf8_lossy(&out.stderr));
    }
}
