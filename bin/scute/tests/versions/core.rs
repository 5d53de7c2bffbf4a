//! v1beta1 of Cluster API's own kinds beside v1beta2.

use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams, ValidationDirective};
use serde_json::{Value, json};

use crate::world::{NEW, OLD, World, appliers, says, whole};

const SAMPLES: &str = include_str!("core-v1beta1.yaml");
const CORE: &str = "cluster.x-k8s.io";
const KEPT: &str = "scute.dev/conversion-data";

fn samples() -> impl Iterator<Item = Value> {
    SAMPLES.split("\n---\n").map(|document| serde_saphyr::from_str(document).expect("YAML"))
}

/// Group, kind and name of a sample.
fn identity(object: &Value) -> (&str, &str, &str) {
    let text = |place: &str| object.pointer(place).and_then(Value::as_str).expect("text");
    (text("/apiVersion").split('/').next().expect("a group"), text("/kind"), text("/metadata/name"))
}

fn api(world: &World, version: &str, object: &Value) -> Api<DynamicObject> {
    let (group, kind, _) = identity(object);
    world.of(group, version, kind, Some("default"))
}

fn machine(name: &str, spec: Value) -> Value {
    let mut sample = samples().find(|object| identity(object).1 == "Machine").expect("a Machine");
    sample["metadata"]["name"] = name.into();
    for (field, value) in spec.as_object().expect("a spec") {
        sample["spec"][field] = value.clone();
    }
    sample
}

async fn create(world: &World, object: &Value) -> Result<Value, kube::Error> {
    let made = serde_json::from_value(object.clone()).expect("an object");
    Ok(whole(api(world, OLD, object).create(&PostParams::default(), &made).await?))
}

#[tokio::test]
async fn what_is_written_in_v1beta1_is_read_in_both() {
    let world = World::start().await;
    for written in samples() {
        let (_, kind, name) = identity(&written);
        create(&world, &written).await.unwrap_or_else(|error| panic!("{kind}: {error}"));
        let read = whole(api(&world, OLD, &written).get(name).await.expect("read"));
        assert!(says(&read["spec"], &written["spec"]), "{kind}: {}", read["spec"]);
        assert_eq!(read["metadata"]["annotations"].get(KEPT), None, "{kind}: {}", read["metadata"]);
        let stored = whole(api(&world, NEW, &written).get(name).await.expect("read"));
        assert_eq!(stored["metadata"]["annotations"].get(KEPT), None, "{kind}: {}", stored["metadata"]);
        let (place, right) = match kind {
            "Cluster" => ("/spec/controlPlaneRef/apiGroup", json!("controlplane.cluster.x-k8s.io")),
            "MachineDeployment" => ("/spec/template/spec/deletion/nodeDrainTimeoutSeconds", json!(300)),
            "MachineSet" => ("/spec/deletion/order", json!("Newest")),
            "Machine" => ("/spec/deletion/nodeDeletionTimeoutSeconds", json!(10)),
            "KubeadmConfig" => {
                ("/spec/joinConfiguration/nodeRegistration/kubeletExtraArgs/0/name", json!("v"))
            }
            _ => ("/spec/template/spec/joinConfiguration/timeouts/tlsBootstrapSeconds", json!(300)),
        };
        assert_eq!(stored.pointer(place), Some(&right), "{kind}: {stored}");
    }
    let columns = |path: &str| {
        let request =
            http::Request::get(path).header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
        let request = request.body(Vec::new()).expect("a request");
        let client = world.client();
        async move {
            let table: Value = client.request(request).await.expect("a table");
            let names = table["columnDefinitions"].as_array().expect("columns").iter();
            names.filter_map(|column| column["name"].as_str().map(str::to_owned)).collect::<Vec<_>>()
        }
    };
    let found = columns("/apis/cluster.x-k8s.io/v1beta1/namespaces/default/machines").await;
    assert_eq!(found, ["Name", "Cluster", "NodeName", "ProviderID", "Phase", "Age", "Version"]);
}

#[tokio::test]
async fn owners_of_fields_change_versions() {
    let world = World::start().await;
    let name = "tenant-md";
    let old = samples().find(|object| identity(object).1 == "MachineDeployment").expect("a sample");
    let apply = |version: &str, who: &'static str, object: Value| {
        let api = api(&world, version, &object);
        async move { api.patch(name, &PatchParams::apply(who), &Patch::Apply(&object)).await.map(whole) }
    };
    let made = apply(OLD, "kubectl", old.clone()).await.expect("applied");
    assert_eq!(appliers(&made), [("kubectl", "cluster.x-k8s.io/v1beta1")]);
    let again = apply(OLD, "kubectl", old.clone()).await.expect("applied");
    assert_eq!(
        again["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"],
        "nothing has changed"
    );

    let mut new = old.clone();
    new["apiVersion"] = "cluster.x-k8s.io/v1beta2".into();
    new["spec"] = json!({"clusterName": "tenant", "replicas": 3, "selector": {"matchLabels": {"role": "worker"}},
        "rollout": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 0}}},
        "template": {"metadata": {"labels": {"role": "worker"}}, "spec": {"clusterName": "tenant", "version": "v1.35.4",
            "bootstrap": {"configRef": {"apiGroup": "bootstrap.cluster.x-k8s.io", "kind": "KubeadmConfigTemplate", "name": "tenant-md"}},
            "infrastructureRef": {"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "KubevirtMachineTemplate", "name": "tenant-md"}}}});
    let applied = apply(NEW, "kubectl", new.clone()).await.expect("applied");
    assert_eq!(appliers(&applied), [("kubectl", "cluster.x-k8s.io/v1beta2")], "one owner");
    assert_eq!(
        applied["spec"]["template"]["spec"].get("minReadySeconds"),
        None,
        "what is no longer said goes"
    );
    assert_eq!(applied["spec"].get("deletion"), None, "{}", applied["spec"]);
    let again = apply(NEW, "kubectl", new).await.expect("applied");
    assert_eq!(
        again["metadata"]["resourceVersion"], applied["metadata"]["resourceVersion"],
        "nothing has changed"
    );

    let mut theirs = old.clone();
    theirs["spec"]["strategy"]["rollingUpdate"]["maxSurge"] = json!(5);
    let conflict = apply(OLD, "other", theirs).await.expect_err("a conflict").to_string();
    assert!(conflict.contains("maxSurge") && conflict.contains("kubectl"), "{conflict}");
    let back = apply(OLD, "kubectl", old).await.expect("applied");
    assert_eq!(back["spec"]["strategy"]["rollingUpdate"]["deletePolicy"], "Oldest");
    assert_eq!(appliers(&back), [("kubectl", "cluster.x-k8s.io/v1beta1")]);
}

#[tokio::test]
async fn a_client_that_knows_v1beta1_only_loses_nothing_of_v1beta2() {
    let world = World::start().await;
    let (old, new) =
        (world.of(CORE, OLD, "Machine", Some("default")), world.of(CORE, NEW, "Machine", Some("default")));
    create(&world, &machine("m", json!({}))).await.expect("created");
    let later = json!({"spec": {"minReadySeconds": 7}});
    new.patch("m", &PatchParams::default(), &Patch::Merge(&later)).await.expect("patched");
    let status = json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
        "status": {"failureDomain": "rack-1", "nodeRef": {"name": "n"}, "phase": "Running",
            "initialization": {"infrastructureProvisioned": true}}});
    new.patch_status("m", &PatchParams::apply("scute").force(), &Patch::Apply(&status))
        .await
        .expect("reported");

    let mut read = old.get("m").await.expect("read");
    let node = json!({"apiVersion": "v1", "kind": "Node", "name": "n"});
    assert_eq!(
        (&read.data["status"]["nodeRef"], &read.data["status"]["infrastructureReady"]),
        (&node, &json!(true))
    );
    assert_eq!(read.data["spec"].get("minReadySeconds"), None);
    read.data["spec"]["nodeDrainTimeout"] = "1m".into();
    old.replace("m", &PostParams::default(), &read).await.expect("replaced");
    let stored = whole(new.get("m").await.expect("read"));
    assert_eq!(stored["spec"]["minReadySeconds"], 7);
    assert_eq!(stored["spec"]["deletion"]["nodeDrainTimeoutSeconds"], 60);
    assert_eq!(stored["status"]["failureDomain"], "rack-1");
    assert_eq!(old.get("m").await.expect("read").data["spec"]["nodeDrainTimeout"], "1m", "as it was written");

    // Conditions of v1beta1 that such a client writes are not those of v1beta2.
    let condition = json!({"type": "HealthCheckSucceeded", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let mut read = old.get("m").await.expect("read");
    read.data["status"]["conditions"] = json!([condition]);
    old.replace_status("m", &PostParams::default(), &read).await.expect("replaced");
    let stored = whole(new.get("m").await.expect("read"));
    assert_eq!(stored["status"]["deprecated"]["v1beta1"]["conditions"], json!([condition]));
    assert_eq!(stored["status"].get("conditions"), None);
}

#[tokio::test]
async fn refusals_speak_v1beta1() {
    let world = World::start().await;
    let elsewhere = json!({"apiVersion": "infrastructure.cluster.x-k8s.io/v1beta1", "kind": "Metal3Machine", "name": "m", "namespace": "other"});
    let ungrouped = json!({"apiVersion": "v1", "kind": "Pod", "name": "m"});
    for (spec, wanted) in [
        (
            json!({"infrastructureRef": elsewhere}),
            r#"spec.infrastructureRef.namespace: Invalid value: "other": must be the namespace of the object itself"#,
        ),
        (json!({"infrastructureRef": ungrouped}), "spec.infrastructureRef.apiVersion"),
        (json!({"nodeDrainTimeout": "soon"}), "spec.nodeDrainTimeout"),
        (json!({"version": "latest"}), "spec.version"),
    ] {
        let refused = create(&world, &machine("bad", spec)).await.expect_err("refused").to_string();
        assert!(refused.contains(wanted), "{refused}");
    }
    // What v1beta1 has not is unknown there, by the name that v1beta2 has for it.
    let strict =
        PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::apply("kubectl") };
    let object = machine("bad", json!({"minReadySeconds": 1}));
    let applied = api(&world, OLD, &object).patch("bad", &strict, &Patch::Apply(&object)).await;
    let refused = applied.expect_err("refused").to_string();
    assert!(refused.contains("minReadySeconds"), "{refused}");
}
