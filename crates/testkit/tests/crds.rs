//! A real API server takes every CustomResourceDefinition that Scute serves, and refuses bad fields by name.

use std::process::Command;

use kube::core::Status;
use scute_api::unserved::Shape;
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
    create_with("Strict", path, object).await
}

async fn create_with(validation: &str, path: &str, object: &Value) -> Result<Value, Box<Status>> {
    let server = scute_testkit::server().await;
    server.install_crds(scute_api::crds()).await;
    let namespace = server.namespace("crds").await;
    let path = path.replace("NAMESPACE", &namespace);
    let uri = format!("{path}?fieldValidation={validation}&dryRun=All");
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
async fn a_field_that_nobody_knows_is_refused_with_its_path() {
    let reference = json!({"apiGroup": "a.b", "kind": "K", "name": "n"});
    let object = cluster(json!({"infrastructureRef": reference, "topologie": {"version": "v1.35.4"}}));
    let refused = create(CLUSTERS, &object).await.unwrap_err();
    assert!(refused.message.contains(r#"unknown field "spec.topologie""#), "{}", refused.message);
}

#[tokio::test]
async fn a_range_that_is_none_is_refused_with_its_path() {
    let reference = json!({"apiGroup": "a.b", "kind": "K", "name": "n"});
    let network = json!({"pods": {"cidrBlocks": ["10.244.0.0/33"]}});
    let object = cluster(json!({"infrastructureRef": reference, "clusterNetwork": network}));
    let refused = create(CLUSTERS, &object).await.unwrap_err();
    assert!(refused.message.contains("spec.clusterNetwork.pods.cidrBlocks"), "{}", refused.message);
}

/// An object of a kind with one field in it, and nothing else that its schema asks for.
fn with_field(kind: &str, version: &str, path: &str, value: Value) -> Value {
    let mut inner = value;
    for step in path.split('.').rev() {
        inner = match step.strip_suffix("[]") {
            Some(list) => json!({ list: [inner] }),
            None => json!({ step: inner }),
        };
    }
    inner["apiVersion"] = json!(version);
    inner["kind"] = json!(kind);
    inner["metadata"] = json!({"name": "n"});
    inner
}

/// Clients that ask for no validation (Flux, Argo, Terraform, controllers) hear the same as kubectl: the field, and why.
#[tokio::test]
async fn unserved_fields_are_refused_whatever_the_client_asks_for() {
    let crds = scute_api::crds();
    for field in scute_api::unserved::fields() {
        let crd = crds.iter().find(|crd| crd.spec.names.kind == field.kind).unwrap();
        let (group, plural) = (&crd.spec.group, &crd.spec.names.plural);
        for version in &crd.spec.versions {
            let uri = format!("/apis/{group}/{}/namespaces/NAMESPACE/{plural}", version.name);
            let value = match field.shape {
                Shape::Object => json!({"anything": 1}),
                Shape::List => json!([{"anything": 1}]),
                Shape::Flag => json!(true),
                Shape::Text => json!("x"),
            };
            let object = with_field(field.kind, &format!("{group}/{}", version.name), &field.path, value);
            let refused = create_with("Ignore", &uri, &object).await.unwrap_err();
            // Required fields are missing too, and rules are asked once those are there.
            if !refused.message.contains("Required value") {
                assert!(refused.message.contains(field.why), "{field:?}: {}", refused.message);
            }
        }
    }
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
