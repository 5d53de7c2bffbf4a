//! Metal3Clusters on a real API server.

mod provider;

use kube::ResourceExt;
use provider::{Bench, INFRA};
use scute_api::cluster::Cluster;
use scute_api::controlplane::KamajiControlPlane;
use scute_api::infrastructure::{METAL3_CLUSTER_FINALIZER, Metal3Cluster};
use scute_kit::conditions::find;
use serde_json::{Value, json};

async fn infra(bench: &Bench, name: &str, endpoint: Value) {
    bench
        .create::<Metal3Cluster>(json!({
            "apiVersion": format!("{INFRA}/v1beta2"), "kind": "Metal3Cluster", "metadata": {"name": name},
            "spec": {"controlPlaneEndpoint": endpoint, "failureDomains": [{"name": "row-1"}]},
        }))
        .await;
}

/// A Cluster with a hosted control plane that has no address yet.
async fn hosted(bench: &Bench, name: &str, kind: &str) {
    bench
        .create::<Cluster>(json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": {"name": name},
            "spec": {
                "clusterNetwork": {"pods": {"cidrBlocks": ["10.245.0.0/16"]}},
                "infrastructureRef": {"apiGroup": INFRA, "kind": kind, "name": name},
                "controlPlaneRef": {"apiGroup": "controlplane.cluster.x-k8s.io", "kind": "KamajiControlPlane", "name": name},
            },
        }))
        .await;
}

async fn control_plane(bench: &Bench, name: &str) {
    bench
        .create::<KamajiControlPlane>(json!({
            "apiVersion": "controlplane.cluster.x-k8s.io/v1alpha1", "kind": "KamajiControlPlane",
            "metadata": {"name": name}, "spec": {"version": "1.33.1", "replicas": 1, "dataStoreName": "default"},
        }))
        .await;
    bench.patch_status::<KamajiControlPlane>(name, json!({"externalManagedControlPlane": true})).await;
}

async fn answers_at(bench: &Bench, name: &str, host: &str) {
    let endpoint = json!({"spec": {"controlPlaneEndpoint": {"host": host, "port": 6443}}});
    bench.patch::<KamajiControlPlane>(name, endpoint).await;
}

fn said(infra: &Metal3Cluster) -> String {
    let conditions = infra.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let ready = find(conditions, "Ready")
        .map(|ready| format!("{} {}: {}", ready.status, ready.reason, ready.message));
    ready.unwrap_or_default()
}

fn provisioned(infra: &Metal3Cluster) -> bool {
    let status = infra.status.as_ref().and_then(|status| status.initialization.as_ref());
    status.is_some_and(|is| is.provisioned == Some(true))
}

#[tokio::test]
async fn an_empty_endpoint_is_filled_in_from_the_hosted_control_plane() {
    let bench = Bench::new("hosted").await;
    infra(&bench, "c", json!(null)).await;
    let waits = |word: &'static str| move |infra: &Metal3Cluster| said(infra).contains(word);
    bench.eventually("c", "waiting for the Cluster", waits("WaitingForCluster")).await;
    hosted(&bench, "c", "Metal3Cluster").await;
    bench
        .eventually("c", "waiting for the control plane", waits("KamajiControlPlane c does not exist"))
        .await;
    control_plane(&bench, "c").await;
    bench
        .eventually("c", "waiting for the address", waits("has not set spec.controlPlaneEndpoint yet"))
        .await;
    answers_at(&bench, "c", "10.77.0.172").await;
    let seen = bench.eventually("c", "provisioned", provisioned).await;
    assert_eq!(seen.spec.control_plane_endpoint.unwrap().host, "10.77.0.172");
    assert_eq!(seen.status.unwrap().failure_domains[0].name, "row-1");
    assert_eq!(seen.metadata.finalizers, Some(vec![METAL3_CLUSTER_FINALIZER.to_owned()]));
}

#[tokio::test]
async fn an_endpoint_that_differs_is_told_with_both() {
    let bench = Bench::new("differs").await;
    hosted(&bench, "c", "Metal3Cluster").await;
    control_plane(&bench, "c").await;
    answers_at(&bench, "c", "10.77.0.172").await;
    infra(&bench, "c", json!({"host": "10.77.0.171", "port": 6443})).await;
    let told =
        bench.eventually("c", "told", |infra| said(infra).contains("ControlPlaneEndpointFailed")).await;
    assert!(
        said(&told).contains("10.77.0.171:6443") && said(&told).contains("10.77.0.172:6443"),
        "{}",
        said(&told)
    );
    assert!(!provisioned(&told));
    bench
        .patch::<Metal3Cluster>("c", json!({"spec": {"controlPlaneEndpoint": {"host": "10.77.0.172"}}}))
        .await;
    bench.eventually("c", "provisioned", provisioned).await;
}

#[tokio::test]
async fn the_second_infracluster_of_a_cluster_belongs_to_it_and_gets_its_endpoint() {
    let bench = Bench::new("second").await;
    hosted(&bench, "duo", "KubevirtCluster").await;
    control_plane(&bench, "duo").await;
    answers_at(&bench, "duo", "10.77.0.175").await;
    infra(&bench, "duo", json!(null)).await;
    let seen = bench.eventually("duo", "provisioned", provisioned).await;
    assert_eq!(seen.spec.control_plane_endpoint.clone().unwrap().host, "10.77.0.175");
    assert_eq!(seen.owner_references()[0].name, "duo");
    assert_eq!(seen.labels()["cluster.x-k8s.io/cluster-name"], "duo");
}

#[tokio::test]
async fn it_goes_after_its_servers() {
    let bench = Bench::new("last").await;
    bench.cluster("c").await;
    infra(&bench, "c", json!({"host": "10.77.0.20", "port": 6443})).await;
    bench.eventually("c", "provisioned", provisioned).await;
    bench.host("server-1", json!({})).await;
    bench.machine("last-m0", "c", json!({})).await;
    bench
        .eventually("last-m0", "there", |machine: &scute_api::infrastructure::Metal3Machine| {
            !machine.finalizers().is_empty()
        })
        .await;
    bench.delete::<Metal3Cluster>("c").await;
    let waits = bench.eventually("c", "waiting", |infra| said(infra).contains("Deleting")).await;
    assert!(said(&waits).contains("Metal3Machine last-m0"), "{}", said(&waits));
    bench.delete::<scute_api::infrastructure::Metal3Machine>("last-m0").await;
    bench.gone::<Metal3Cluster>("c").await;
}

#[tokio::test]
async fn what_somebody_else_keeps_is_left_alone_and_leaves_nothing_behind() {
    let bench = Bench::new("managed").await;
    hosted(&bench, "c", "Metal3Cluster").await;
    control_plane(&bench, "c").await;
    answers_at(&bench, "c", "10.77.0.172").await;
    infra(&bench, "c", json!(null)).await;
    bench.eventually("c", "provisioned", provisioned).await;
    // Handed over later, it still has the finalizer.
    let annotation = json!({"metadata": {"annotations": {"cluster.x-k8s.io/managed-by": "somebody"}}});
    bench.patch::<Metal3Cluster>("c", annotation).await;
    bench.delete::<Metal3Cluster>("c").await;
    bench.gone::<Metal3Cluster>("c").await;
}
