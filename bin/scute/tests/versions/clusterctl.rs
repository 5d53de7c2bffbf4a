//! `clusterctl` judges: what it reads, and what it moves from one management cluster to another. `cargo xtask test` builds it.

use std::process::Command;

use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use scute_testkit::until;
use serde_json::{Value, json};

use crate::world::{World, whole};

const CORE: &str = "cluster.x-k8s.io/v1beta2";
const BOOTSTRAP: &str = "bootstrap.cluster.x-k8s.io/v1beta2";
const METAL3: &str = "infrastructure.cluster.x-k8s.io/v1beta2";
const TEMPLATE: &str = include_str!("cluster-template.yaml");

/// What it says; it must succeed.
async fn clusterctl(world: &World, arguments: &[&str]) -> String {
    let program = std::env::var("SCUTE_CLUSTERCTL").expect("cargo xtask test says where clusterctl is");
    let mut command = Command::new(program);
    command.args(arguments).arg("--kubeconfig").arg(world.folder.path().join("kubeconfig"));
    // It looks for nothing on the internet, and keeps its configuration to itself.
    command.env("CLUSTERCTL_DISABLE_VERSIONCHECK", "true").env("XDG_CONFIG_HOME", world.folder.path());
    let done = tokio::task::spawn_blocking(move || command.output()).await.expect("joined").expect("it runs");
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "clusterctl {arguments:?}: {err}{out}");
    out.into_owned()
}

fn api(world: &World, api_version: &str, kind: &str) -> Api<DynamicObject> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    world.of(group, version, kind, Some("default"))
}

/// Makes an object of the Cluster `c`, and gives its reference for what it owns.
async fn make(world: &World, api_version: &str, kind: &str, name: &str, more: Value) -> Value {
    let labels = json!({"cluster.x-k8s.io/cluster-name": "c"});
    let mut object =
        json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "labels": labels}});
    for (field, value) in more.as_object().expect("fields") {
        match field.as_str() {
            "owner" => object["metadata"]["ownerReferences"] = json!([value]),
            "annotations" => object["metadata"]["annotations"] = value.clone(),
            _ => object[field] = value.clone(),
        }
    }
    let object = serde_json::from_value(object).expect("an object");
    let made = api(world, api_version, kind).create(&PostParams::default(), &object).await;
    let made = whole(made.unwrap_or_else(|error| panic!("{kind} {name}: {error}")));
    json!({"apiVersion": api_version, "kind": kind, "name": name, "uid": made["metadata"]["uid"]})
}

async fn report(world: &World, kind: &str, name: &str, status: Value) {
    let change = Patch::Merge(json!({"status": status}));
    api(world, CORE, kind).patch_status(name, &PatchParams::default(), &change).await.expect("reported");
}

fn condition(kind: &str) -> Value {
    json!({"type": kind, "status": "True", "reason": "Yes", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

/// A Cluster of one server that has joined.
async fn a_cluster(world: &World) {
    let reference = |kind: &str, name: &str| json!({"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": kind, "name": name});
    let cluster = make(
        world,
        CORE,
        "Cluster",
        "c",
        json!({"spec": {"infrastructureRef": reference("Metal3Cluster", "c"),
        "controlPlaneEndpoint": {"host": "10.0.0.1", "port": 6443}}}),
    )
    .await;
    let endpoint =
        json!({"controlPlaneEndpoint": {"host": "10.0.0.1", "port": 6443}, "cloudProviderEnabled": false});
    make(world, METAL3, "Metal3Cluster", "c", json!({"spec": endpoint, "owner": cluster})).await;
    let config = json!({"configRef": {"apiGroup": "bootstrap.cluster.x-k8s.io", "kind": "KubeadmConfig", "name": "m"}, "dataSecretName": "m"});
    let machine = json!({"clusterName": "c", "bootstrap": config, "infrastructureRef": reference("Metal3Machine", "m"), "providerID": "metal3://default/host/m"});
    let machine = make(world, CORE, "Machine", "m", json!({"spec": machine, "owner": cluster})).await;
    let controlled = |mut owner: Value| {
        owner["controller"] = json!(true);
        owner
    };
    let config = make(
        world,
        BOOTSTRAP,
        "KubeadmConfig",
        "m",
        json!({"spec": {}, "owner": controlled(machine.clone())}),
    )
    .await;
    let data = json!({"stringData": {"value": "#cloud-config", "format": "cloud-config"}, "type": "cluster.x-k8s.io/secret"});
    let mut secret = data.clone();
    secret["owner"] = controlled(config);
    make(world, "v1", "Secret", "m", secret).await;
    make(
        world,
        "v1",
        "Secret",
        "c-kubeconfig",
        json!({"stringData": {"value": "the kubeconfig"}, "type": "cluster.x-k8s.io/secret"}),
    )
    .await;
    let image = json!({"url": "http://i/a", "checksum": "http://i/sums", "diskFormat": "raw"});
    make(
        world,
        METAL3,
        "Metal3Machine",
        "m",
        json!({"spec": {"image": image, "providerID": "metal3://default/host/m"},
        "owner": controlled(machine), "annotations": {"metal3.io/BareMetalHost": "default/host"}}),
    )
    .await;
    let consumer =
        json!({"apiVersion": METAL3, "kind": "Metal3Machine", "name": "m", "namespace": "default"});
    make(
        world,
        "metal3.io/v1alpha1",
        "BareMetalHost",
        "host",
        json!({"spec": {"online": true, "consumerRef": consumer}}),
    )
    .await;
    report(
        world,
        "Cluster",
        "c",
        json!({"initialization": {"infrastructureProvisioned": true, "controlPlaneInitialized": true},
        "conditions": [condition("ControlPlaneInitialized"), condition("Available")]}),
    )
    .await;
    report(world, "Machine", "m", json!({"nodeRef": {"name": "n"}, "initialization": {"infrastructureProvisioned": true, "bootstrapDataSecretCreated": true}})).await;
}

/// What must be the same after a move, by kind and name.
async fn moved_parts(world: &World) -> Vec<(String, Value)> {
    let mut parts = Vec::new();
    for (api_version, kind) in [
        (CORE, "Cluster"),
        (METAL3, "Metal3Cluster"),
        (CORE, "Machine"),
        (BOOTSTRAP, "KubeadmConfig"),
        (METAL3, "Metal3Machine"),
        ("metal3.io/v1alpha1", "BareMetalHost"),
        ("v1", "Secret"),
    ] {
        for object in api(world, api_version, kind).list(&ListParams::default()).await.expect("listed") {
            let object = whole(object);
            let owners = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
            let owners: Vec<_> = owners.map(|owner| (owner["kind"].clone(), owner["name"].clone())).collect();
            let part = json!({"spec": object["spec"], "data": object["data"], "owners": owners});
            parts.push((format!("{kind} {}", object["metadata"]["name"]), part));
        }
    }
    parts
}

#[tokio::test]
#[ignore = "cargo xtask test builds clusterctl for it"]
async fn clusterctl_reads_a_cluster_and_moves_it() {
    let (source, target) = tokio::join!(World::start(), World::working());
    a_cluster(&source).await;
    let tree = clusterctl(&source, &["describe", "cluster", "c", "--echo", "--color=false"]).await;
    for wanted in ["Cluster/c", "ClusterInfrastructure - Metal3Cluster/c", "Machine/m"] {
        assert!(tree.contains(wanted), "{wanted} in {tree}");
    }
    assert_eq!(clusterctl(&source, &["get", "kubeconfig", "c"]).await.trim(), "the kubeconfig");

    let folder = source.folder.path().join("moved");
    std::fs::create_dir(&folder).expect("a folder");
    let place = folder.to_str().expect("UTF-8");
    clusterctl(&source, &["move", "--to-directory", place]).await;
    let before = moved_parts(&source).await;
    assert_eq!(before.len(), 8, "{before:?}");

    let to = target.folder.path().join("kubeconfig");
    clusterctl(&source, &["move", "--to-kubeconfig", to.to_str().expect("UTF-8")]).await;
    assert_eq!(moved_parts(&source).await, [], "nothing is left behind");
    // Status does not come along: the controllers find it again.
    let found = |api_version: &'static str, kind: &'static str, name: &'static str, place: &'static str| {
        let api = api(&target, api_version, kind);
        async move {
            until(&format!("{kind} {name} has {place}"), || {
                let api = api.clone();
                async move {
                    whole(api.get(name).await.expect("read"))
                        .pointer(place)
                        .cloned()
                        .filter(|found| *found == json!(true))
                }
            })
            .await
        }
    };
    found(BOOTSTRAP, "KubeadmConfig", "m", "/status/initialization/dataSecretCreated").await;
    found(CORE, "Machine", "m", "/status/initialization/bootstrapDataSecretCreated").await;
    assert_eq!(moved_parts(&target).await, before, "the same Machines, hosts and Secrets");

    clusterctl(&source, &["move", "--from-directory", place]).await;
    assert_eq!(moved_parts(&source).await, before, "a backup comes back as well");
}

#[tokio::test]
#[ignore = "cargo xtask test builds clusterctl for it"]
async fn clusterctl_renders_templates_that_are_taken_as_they_are() {
    let world = World::start().await;
    let template = world.folder.path().join("template.yaml");
    std::fs::write(&template, TEMPLATE).expect("written");
    let from = template.to_str().expect("UTF-8");
    let arguments = [
        "generate",
        "cluster",
        "tenant",
        "--from",
        from,
        "--kubernetes-version=v1.35.4",
        "--worker-machine-count=2",
    ];
    let rendered = clusterctl(&world, &arguments).await;
    let mut taken = 0;
    for document in rendered.split("\n---\n") {
        let object: Value = serde_saphyr::from_str(document).expect("YAML");
        let (api_version, kind) =
            (object["apiVersion"].as_str().expect("text"), object["kind"].as_str().expect("text"));
        let api = api(&world, api_version, kind);
        let made = api
            .create(&PostParams::default(), &serde_json::from_value(object.clone()).expect("an object"))
            .await;
        made.unwrap_or_else(|error| panic!("{kind}: {error}"));
        taken += 1;
    }
    assert_eq!(taken, 3);
}
