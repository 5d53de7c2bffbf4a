//! KamajiControlPlane on a real API server, between a Cluster, its infrastructure and a TenantControlPlane.

mod support;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Secret, Service};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use scute_api::cluster::Cluster;
use scute_api::controlplane::KamajiControlPlane;
use scute_api::infrastructure::KubevirtCluster;
use scute_api::kamaji::TenantControlPlane;
use scute_etcd::fake::{Fake, Fault, Operation};
use scute_testkit::{eventually, eventually_gone};
use serde_json::{Value, json};
use support::World;

async fn create(world: &World, object: Value) {
    let (group, version) =
        object["apiVersion"].as_str().and_then(|text| text.split_once('/')).expect("a group");
    let gvk = kube::core::GroupVersionKind::gvk(group, version, object["kind"].as_str().expect("a kind"));
    let resource = kube::core::ApiResource::from_gvk(&gvk);
    let api: Api<DynamicObject> = Api::namespaced_with(world.client.clone(), &world.namespace, &resource);
    let object = serde_json::from_value(object).expect("an object");
    api.create(&PostParams::default(), &object).await.expect("created");
}

/// As in the acceptance manifests: any order, v1alpha1, `deployment: null`, a version without `v`.
async fn cluster(world: &World, name: &str, control_plane: &str, pods: &str, infra: Value) {
    let mut infra = infra;
    infra["metadata"]["name"] = json!(name);
    create(
        world,
        json!({
            "apiVersion": "controlplane.cluster.x-k8s.io/v1alpha1",
            "kind": "KamajiControlPlane",
            "metadata": { "name": control_plane },
            "spec": {
                "kubelet": { "cgroupfs": "systemd", "preferredAddressTypes": ["ExternalIP", "InternalIP", "Hostname"] },
                "addons": { "coreDNS": {}, "kubeProxy": {} },
                "network": {
                    "serviceType": "LoadBalancer",
                    "serviceAnnotations": { "metallb.io/loadBalancerIPs": "10.77.0.171" },
                },
                "deployment": null,
                "replicas": 2,
                "version": "1.35.4",
            },
        }),
    )
    .await;
    create(
        world,
        json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2",
            "kind": "Cluster",
            "metadata": { "name": name },
            "spec": {
                "clusterNetwork": {
                    "pods": { "cidrBlocks": [pods] },
                    "services": { "cidrBlocks": ["10.93.0.0/16"] },
                },
                "controlPlaneRef": {
                    "apiGroup": "controlplane.cluster.x-k8s.io", "kind": "KamajiControlPlane", "name": control_plane,
                },
                "infrastructureRef": {
                    "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "KubevirtCluster", "name": name,
                },
            },
        }),
    )
    .await;
    create(world, infra).await;
}

fn infra(spec: Value, managed_by: Option<&str>) -> Value {
    let mut infra = json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha1",
        "kind": "KubevirtCluster",
        "metadata": {},
        "spec": spec,
    });
    if let Some(managed_by) = managed_by {
        infra["metadata"]["annotations"] = json!({ "cluster.x-k8s.io/managed-by": managed_by });
    }
    infra
}

async fn load_balancer_gives(world: &World, name: &str, ip: &str) {
    eventually(world.api::<Service>(), name, "there", |_| true).await;
    let status = json!({ "status": { "loadBalancer": { "ingress": [{ "ip": ip }] } } });
    let patch = Patch::Merge(&status);
    world.api::<Service>().patch_status(name, &PatchParams::default(), &patch).await.expect("patched");
}

fn condition(kcp: &KamajiControlPlane, type_: &str) -> (String, String, String) {
    let conditions = kcp.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
    let found = conditions.into_iter().find(|condition| condition.type_ == type_);
    found.map(|found| (found.status, found.reason, found.message)).unwrap_or_default()
}

async fn says(world: &World, name: &str, type_: &str, reason: &str) -> String {
    let is = |kcp: &KamajiControlPlane| condition(kcp, type_).1 == reason;
    let kcp = eventually(world.api(), name, &format!("{type_}/{reason}"), is).await;
    condition(&kcp, type_).2
}

/// Says of a TenantControlPlane what its controller says when a request got through.
async fn tenant_is_ready(world: &World, name: &str) {
    eventually(world.api::<Deployment>(), name, "there", |_| true).await;
    // The controllers would not believe it without an API server: the test writes the phase past them.
    let numbers = json!({
        "name": name, "namespace": world.namespace, "selector": format!("kamaji.clastix.io/name={name}"),
        "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2, "unavailableReplicas": 0,
    });
    let status = json!({ "status": { "kubernetesResources": {
        "version": { "version": "v1.35.4", "status": "Ready" }, "deployment": numbers,
    } } });
    let api = world.api::<TenantControlPlane>();
    api.patch(
        name,
        &PatchParams::default(),
        &Patch::Merge(json!({ "metadata": { "annotations": {
        "kamaji.clastix.io/paused": "" } } })),
    )
    .await
    .expect("paused");
    let paused = |tcp: &TenantControlPlane| support::said(tcp, "Paused").is_some();
    eventually(world.api(), name, "paused", paused).await;
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await.expect("patched");
}

#[tokio::test]
async fn a_managed_kubevirtcluster_gets_endpoint_and_readiness() {
    let world = World::start("kcp", Arc::new(Fake::new())).await;
    world.fake_datastore().await;
    cluster(&world, "t", "t", "10.245.0.0/16", infra(json!({}), Some("kamaji"))).await;
    load_balancer_gives(&world, "t", "10.77.0.171").await;

    let told = |infra: &KubevirtCluster| infra.status.as_ref().is_some_and(|status| status.ready);
    let infra = eventually(world.api::<KubevirtCluster>(), "t", "ready", told).await;
    let endpoint = infra.spec.control_plane_endpoint.expect("filled in");
    assert_eq!((endpoint.host.as_str(), endpoint.port), ("10.77.0.171", 6443));
    let provisioned = infra.status.and_then(|status| status.initialization).and_then(|made| made.provisioned);
    assert_eq!(provisioned, Some(true));

    let tcp = world.api::<TenantControlPlane>().get("t").await.expect("the TenantControlPlane");
    assert_eq!(tcp.spec.kubernetes.version, "v1.35.4");
    assert_eq!(tcp.spec.network_profile.pod_cidrs, ["10.245.0.0/16"]);
    assert_eq!(tcp.annotations()["scute.dev/pod-network"], "embedded");
    assert_eq!(tcp.owner_references()[0].kind, "KamajiControlPlane");

    tenant_is_ready(&world, "t").await;
    says(&world, "t", "Available", "Available").await;
    let kcp = world.api::<KamajiControlPlane>().get("t").await.expect("the KamajiControlPlane");
    assert_eq!(kcp.spec.control_plane_endpoint.as_ref().map(|endpoint| endpoint.port), Some(6443));
    let status = kcp.status.expect("a status");
    assert!(status.external_managed_control_plane && status.initialized && status.ready);
    assert_eq!(status.initialization.and_then(|made| made.control_plane_initialized), Some(true));
    let counters =
        [status.replicas, status.ready_replicas, status.available_replicas, status.up_to_date_replicas];
    assert_eq!((counters, status.version.as_deref()), ([2, 2, 2, 2], Some("v1.35.4")));

    let kubeconfig = world.api::<Secret>().get("t-kubeconfig").await.expect("the kubeconfig");
    assert_eq!(kubeconfig.type_.as_deref(), Some("cluster.x-k8s.io/secret"));
    assert_eq!(kubeconfig.labels()["cluster.x-k8s.io/cluster-name"], "t");
    let (copied, original) = (world.data("t-kubeconfig").await, world.data("t-admin-kubeconfig").await);
    assert_eq!(copied["value"], original["admin.conf"]);
    assert_eq!(world.data("t-ca").await["tls.crt"], world.data("t-ca").await["ca.crt"]);
}

#[tokio::test]
async fn a_preset_endpoint_must_be_ours_and_both_are_named_if_not() {
    let world = World::start("kcp-preset", Arc::new(Fake::new())).await;
    world.fake_datastore().await;
    let preset = json!({ "controlPlaneEndpoint": { "host": "10.77.0.99", "port": 6443 } });
    cluster(&world, "t", "t", "10.245.0.0/16", infra(preset, None)).await;
    load_balancer_gives(&world, "t", "10.77.0.171").await;
    let message = says(&world, "t", "InfrastructureClusterPatched", "EndpointMismatch").await;
    assert!(message.contains("10.77.0.99:6443") && message.contains("10.77.0.171:6443"), "{message}");
    let fixed = json!({ "spec": { "controlPlaneEndpoint": { "host": "10.77.0.171" } } });
    let patch = Patch::Merge(&fixed);
    world.api::<KubevirtCluster>().patch("t", &PatchParams::default(), &patch).await.expect("patched");
    says(&world, "t", "InfrastructureClusterPatched", "Succeeded").await;
    let infra = world.api::<KubevirtCluster>().get("t").await.expect("the KubevirtCluster");
    assert!(infra.status.is_none_or(|status| !status.ready), "its own controller says when it is ready");
}

#[tokio::test]
async fn a_tenant_range_inside_the_management_range_is_refused_with_both_named() {
    let world = World::start_with("kcp-range", Arc::new(Fake::new()), &["10.85.0.0/16"]).await;
    world.fake_datastore().await;
    cluster(&world, "t", "t", "10.85.64.0/18", infra(json!({}), Some("kamaji"))).await;
    let message = says(&world, "t", "TenantControlPlaneCreated", "RangeOverlap").await;
    assert!(message.contains("10.85.64.0/18") && message.contains("10.85.0.0/16"), "{message}");
    assert!(world.api::<TenantControlPlane>().get_opt("t").await.expect("asked").is_none());
}

#[tokio::test]
async fn a_control_plane_with_another_name_than_its_cluster_copies_the_ca() {
    let world = World::start("kcp-name", Arc::new(Fake::new())).await;
    world.fake_datastore().await;
    cluster(&world, "c", "t", "10.245.0.0/16", infra(json!({}), Some("kamaji"))).await;
    load_balancer_gives(&world, "t", "10.77.0.172").await;
    tenant_is_ready(&world, "t").await;
    eventually(world.api::<Secret>(), "c-ca", "there", |_| true).await;
    assert_eq!(world.data("c-ca").await["tls.crt"], world.data("t-ca").await["ca.crt"]);
    assert_eq!(
        world.data("c-kubeconfig").await["value"],
        world.data("t-admin-kubeconfig").await["admin.conf"]
    );
}

#[tokio::test]
async fn a_mistyped_datastore_can_be_corrected_while_nothing_was_made() {
    let world = World::start("kcp-typo", Arc::new(Fake::new())).await;
    cluster(&world, "t", "t", "10.245.0.0/16", infra(json!({}), Some("kamaji"))).await;
    for name in ["typo", &world.datastore] {
        let named = Patch::Merge(json!({ "spec": { "dataStoreName": name } }));
        let api = world.api::<KamajiControlPlane>();
        api.patch("t", &PatchParams::default(), &named).await.expect("a name can be corrected");
        let passed_on = |tcp: &TenantControlPlane| tcp.spec.data_store.as_deref() == Some(name);
        eventually(world.api(), "t", name, passed_on).await;
    }
    world.fake_datastore().await;
    let made = |tcp: &TenantControlPlane| tcp.status.as_ref().is_some_and(|status| status.storage.is_some());
    load_balancer_gives(&world, "t", "10.77.0.175").await;
    eventually(world.api(), "t", "in its DataStore", made).await;
    // From here on it would be a migration: the control plane says so.
    let late = Patch::Merge(json!({ "spec": { "dataStoreName": "late" } }));
    let api = world.api::<KamajiControlPlane>();
    api.patch("t", &PatchParams::default(), &late).await.expect("not initialized yet");
    let message = says(&world, "t", "TenantControlPlaneCreated", "Refused").await;
    assert!(message.contains("needs a migration"), "{message}");
}

#[tokio::test]
async fn what_cluster_api_reads_is_put_right_when_it_was_edited() {
    let world = World::start("kcp-edited", Arc::new(Fake::new())).await;
    world.fake_datastore().await;
    // Somebody's own Secret is not overwritten: its key may be the only one.
    world.secret("c-ca", &[("tls.crt", "theirs"), ("tls.key", "theirs")]).await;
    cluster(&world, "c", "t", "10.245.0.0/16", infra(json!({}), Some("kamaji"))).await;
    load_balancer_gives(&world, "t", "10.77.0.174").await;
    tenant_is_ready(&world, "t").await;
    let message = says(&world, "t", "KubeadmResourcesCreated", "NameTaken").await;
    assert!(message.contains("Secret c-ca"), "{message}");
    assert_eq!(world.data("c-ca").await["tls.key"], "theirs");
    let secrets = world.api::<Secret>();
    secrets.delete("c-ca", &DeleteParams::default()).await.expect("deleted");
    let kcp = eventually(world.api::<KamajiControlPlane>(), "t", "available", |kcp: &KamajiControlPlane| {
        condition(kcp, "Available").0 == "True"
    })
    .await;
    assert!(
        kcp.annotations().contains_key("clusterctl.cluster.x-k8s.io/block-move"),
        "a move would lose the data"
    );

    let original = world.data("t-admin-kubeconfig").await["admin.conf"].clone();
    // The annotation that says what it was made from stays as it is.
    let edited = json!({ "stringData": { "value": "server: https://evil", "more": "x" } });
    secrets.patch("c-kubeconfig", &PatchParams::default(), &Patch::Merge(&edited)).await.expect("patched");
    let right = |secret: &Secret| {
        let data = secret.data.clone().unwrap_or_default();
        data.len() == 1 && data.get("value").is_some_and(|value| value.0 == original.as_bytes())
    };
    eventually(secrets.clone(), "c-kubeconfig", "as it was", right).await;
    let emptied = json!({ "data": { "tls.key": null } });
    secrets.patch("c-ca", &PatchParams::default(), &Patch::Merge(&emptied)).await.expect("patched");
    let whole = |secret: &Secret| secret.data.as_ref().is_some_and(|data| data.contains_key("tls.key"));
    eventually(secrets, "c-ca", "whole again", whole).await;
}

#[tokio::test]
async fn deletion_waits_for_the_tenants_data_and_says_so() {
    let fake = Fake::new();
    let world = World::start("kcp-delete", Arc::new(fake.clone())).await;
    world.fake_datastore().await;
    cluster(&world, "t", "t", "10.245.0.0/16", infra(json!({}), Some("kamaji"))).await;
    load_balancer_gives(&world, "t", "10.77.0.173").await;
    eventually(world.api::<Deployment>(), "t", "there", |_| true).await;
    assert_eq!(fake.users().len(), 2, "root and the tenant");
    fake.fail(Operation::Remove, [Fault::Unavailable, Fault::LostAfter(1), Fault::Unavailable]);
    let api = world.api::<KamajiControlPlane>();
    api.delete("t", &DeleteParams::default()).await.expect("deleted");
    let deleting = |kcp: &KamajiControlPlane| condition(kcp, "Available").2.contains("no member answers");
    let kcp = eventually(api.clone(), "t", "waiting for the store", deleting).await;
    assert!(kcp.finalizers().iter().any(|finalizer| finalizer.contains("kamajicontrolplane")));
    eventually_gone(world.api::<TenantControlPlane>(), "t").await;
    eventually_gone(api, "t").await;
    assert_eq!((fake.users(), fake.roles()), (vec!["root".to_owned()], vec!["root".to_owned()]));
}

#[tokio::test]
async fn infrastructure_that_cannot_be_listed_is_said_and_holds_no_deletion() {
    let world = World::start("kcp-hidden", Arc::new(Fake::new())).await;
    world.fake_datastore().await;
    // The label names a version that is not served, as in the middle of a provider's upgrade.
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "hiddenclusters.infrastructure.cluster.x-k8s.io",
            "labels": { "cluster.x-k8s.io/v1beta2": "v9" },
        },
        "spec": {
            "group": "infrastructure.cluster.x-k8s.io",
            "scope": "Namespaced",
            "names": { "kind": "HiddenCluster", "plural": "hiddenclusters", "singular": "hiddencluster" },
            "versions": [{ "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object" } } }],
        },
    });
    let crds = Api::<CustomResourceDefinition>::all(world.client.clone());
    let crd = serde_json::from_value(crd).expect("a CustomResourceDefinition");
    crds.create(&PostParams::default(), &crd).await.expect("created");
    cluster(&world, "t", "t", "10.245.0.0/16", infra(json!({}), Some("kamaji"))).await;
    let hidden = json!({ "spec": { "infrastructureRef": { "kind": "HiddenCluster" } } });
    let clusters = world.api::<Cluster>();
    clusters.patch("t", &PatchParams::default(), &Patch::Merge(&hidden)).await.expect("patched");
    load_balancer_gives(&world, "t", "10.77.0.174").await;
    let cannot = |kcp: &KamajiControlPlane| {
        condition(kcp, "InfrastructureClusterPatched").2.contains("HiddenCluster t: the objects of kind")
    };
    let api = world.api::<KamajiControlPlane>();
    eventually(api.clone(), "t", "told that its infrastructure cannot be listed", cannot).await;
    says(&world, "t", "InfrastructureClusterPatched", "InfrastructureUnknown").await;
    api.delete("t", &DeleteParams::default()).await.expect("deleted");
    eventually_gone(api, "t").await;
    crds.delete(&crd.name_any(), &DeleteParams::default()).await.expect("deleted");
}

#[tokio::test]
async fn without_a_cluster_nothing_is_made_and_the_reason_is_there() {
    let world = World::start("kcp-alone", Arc::new(Fake::new())).await;
    let kcp = json!({
        "apiVersion": "controlplane.cluster.x-k8s.io/v1alpha2",
        "kind": "KamajiControlPlane",
        "metadata": { "name": "t" },
        "spec": { "version": "v1.35.4" },
    });
    create(&world, kcp).await;
    says(&world, "t", "Available", "WaitingForCluster").await;
    let _ = world.api::<Cluster>();
}

/// Patches the KamajiControlPlane that `cluster` makes.
async fn change(world: &World, name: &str, spec: Value) {
    let patch = Patch::Merge(json!({ "spec": spec }));
    world.api::<KamajiControlPlane>().patch(name, &PatchParams::default(), &patch).await.expect("patched");
}

#[tokio::test]
async fn a_node_port_is_told_in_the_users_fields() {
    let world = World::start("words", Arc::new(Fake::new())).await;
    world.fake_datastore().await;
    cluster(&world, "c", "c", "10.245.0.0/16", infra(json!({}), None)).await;
    change(&world, "c", json!({ "network": { "serviceType": "NodePort" } })).await;
    let said = says(&world, "c", "TenantControlPlaneCreated", "InvalidSpec").await;
    assert!(said.contains("spec.network.serviceAddress") && !said.contains("networkProfile"), "{said}");
    change(&world, "c", json!({ "network": { "serviceAddress": "10.0.0.9" } })).await;
    let said = says(&world, "c", "TenantControlPlaneAddressReady", "EndpointRefused").await;
    assert!(said.contains("Cluster spec.clusterNetwork.apiServerPort 6443"), "{said}");
    assert!(!said.contains("networkProfile"), "{said}");
}

#[tokio::test]
async fn a_cluster_of_63_letters_gets_its_control_plane() {
    let world = World::start("long", Arc::new(Fake::new())).await;
    world.fake_datastore().await;
    let name = "c".repeat(63);
    cluster(&world, &name, &name, "10.245.0.0/16", infra(json!({}), None)).await;
    load_balancer_gives(&world, &name, "10.77.0.171").await;
    tenant_is_ready(&world, &name).await;
    says(&world, &name, "Available", "Available").await;
    let kubeconfig = world.api::<Secret>().get(&format!("{name}-kubeconfig")).await.expect("the Secret");
    assert!(kubeconfig.data.is_some());
}

/// How often the controller was stopped by what passes by itself.
fn passed_by() -> u64 {
    let is = |line: &&str| line.contains("\"kamajicontrolplane\"") && line.contains("\"again\"");
    let text = scute_kit::metrics::render(&[]);
    let line = text.lines().filter(|line| line.starts_with("scute_reconciles_total")).find(is);
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
}

/// Nothing can be made there any more, and that is no fault of the object.
#[tokio::test]
async fn in_a_namespace_that_goes_away_nothing_is_said_to_be_refused() {
    let world = World::start("goes-away", Arc::new(Fake::new())).await;
    world.fake_datastore().await;
    let reference =
        json!({ "apiGroup": "controlplane.cluster.x-k8s.io", "kind": "KamajiControlPlane", "name": "c" });
    create(
        &world,
        json!({
            "apiVersion": "controlplane.cluster.x-k8s.io/v1alpha2",
            "kind": "KamajiControlPlane",
            "metadata": { "name": "c", "annotations": { "cluster.x-k8s.io/paused": "" } },
            "spec": { "replicas": 1, "version": "1.35.4", "network": { "serviceType": "ClusterIP" }, "addons": {} },
        }),
    )
    .await;
    create(
        &world,
        json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2",
            "kind": "Cluster",
            "metadata": { "name": "c" },
            "spec": { "controlPlaneRef": reference },
        }),
    )
    .await;
    says(&world, "c", "Paused", "Paused").await;
    let namespaces = Api::<Namespace>::all(world.client.clone());
    namespaces.delete(&world.namespace, &DeleteParams::default()).await.expect("deleted");
    scute_testkit::until("nothing can be made", || async {
        let probe = json!({ "metadata": { "name": "probe" } });
        let probe: Secret = serde_json::from_value(probe).expect("a Secret");
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        world.api::<Secret>().create(&dry, &probe).await.err()
    })
    .await;
    let before = passed_by();
    let resume = Patch::Merge(json!({ "metadata": { "annotations": { "cluster.x-k8s.io/paused": null } } }));
    let api = world.api::<KamajiControlPlane>();
    api.patch("c", &PatchParams::default(), &resume).await.expect("patched");
    scute_testkit::until("it was tried", || async { (passed_by() >= before + 3).then_some(()) }).await;
    let kcp = api.get("c").await.expect("there");
    let said = condition(&kcp, "TenantControlPlaneCreated");
    assert!(!["Refused", "WriteFailed"].contains(&said.1.as_str()), "{said:?}");
}
