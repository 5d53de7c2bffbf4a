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

/// What no type can read, or no manager could carry out, does not get into the store.
#[tokio::test]
async fn numbers_and_times_out_of_bounds_are_refused_with_their_path() {
    let template = json!({"spec": {"clusterName": "c", "bootstrap": {"dataSecretName": "s"},
        "infrastructureRef": {"apiGroup": "a.b", "kind": "K", "name": "n"}}});
    let deployment = |field: &str, value: Value| {
        let mut spec =
            json!({"clusterName": "c", "selector": {"matchLabels": {"a": "b"}}, "template": template});
        spec[field] = value;
        json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDeployment",
            "metadata": {"name": "md"}, "spec": spec})
    };
    let uri = "/apis/cluster.x-k8s.io/v1beta2/namespaces/NAMESPACE/machinedeployments";
    let surge =
        |surge: Value| json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge}}});
    for (field, value, path) in [
        ("replicas", json!(10_001), "spec.replicas"),
        ("replicas", json!(99_999_999_999_u64), "spec.replicas"),
        ("replicas", json!(1e21), "spec.replicas"),
        ("rollout", json!({"after": "2026-01-01T00:00:00+99:99"}), "spec.rollout.after"),
        ("rollout", json!({"after": "2026-01-01T00:00:00Zt"}), "spec.rollout.after"),
        ("rollout", json!({"after": "9999-12-31T23:59:59Z"}), "spec.rollout.after"),
        ("rollout", surge(json!(99_999_999_999_u64)), "spec.rollout.strategy.rollingUpdate.maxSurge"),
        ("rollout", surge(json!(-1)), "spec.rollout.strategy.rollingUpdate.maxSurge"),
        ("rollout", surge(json!("some")), "spec.rollout.strategy.rollingUpdate.maxSurge"),
    ] {
        let refused = create(uri, &deployment(field, value.clone())).await.expect_err(&value.to_string());
        assert!(refused.message.contains(&format!("{path}:")), "{value}: {}", refused.message);
    }
    for (field, value) in [
        ("replicas", json!(10_000)),
        ("rollout", json!({"after": "2026-01-01T00:00:00.5+02:00"})),
        ("rollout", surge(json!("100%"))),
    ] {
        create(uri, &deployment(field, value)).await.unwrap();
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
        ("-f", "crates/api/tests/samples"),
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
