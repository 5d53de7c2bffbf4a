//! References that are a mistake, or that cannot be followed, on a real API server: named in a condition, not in the
//! way of a deletion, and nothing that they point at is touched.

mod world;

use serde_json::{Value, json};
use world::{Case, MANUAL, build, condition, run};

fn cluster(name: &str, group: &str, kind: &str, object: &str) -> Value {
    let mut cluster = build::cluster(name);
    cluster["spec"]["infrastructureRef"] = json!({"apiGroup": group, "kind": kind, "name": object});
    cluster["spec"].as_object_mut().expect("a spec").remove("controlPlaneRef");
    cluster
}

const INFRASTRUCTURE: &str = "infrastructure.cluster.x-k8s.io";

#[test]
fn a_wrong_reference_of_a_cluster_is_named_and_its_object_is_left_alone() {
    run(async {
        let case = Case::new(MANUAL).await;
        let mut stray = build::infra_cluster("stray");
        stray["kind"] = json!("StrayCluster");
        let stray = case.create(stray).await;
        let mut theirs = build::cluster("theirs");
        theirs["spec"].as_object_mut().expect("a spec").remove("controlPlaneRef");
        case.create(build::infra_cluster("theirs")).await;
        case.create(theirs).await;
        case.when("TestCluster", "theirs", "owned", |infra| !infra["metadata"]["ownerReferences"].is_null())
            .await;
        for (name, group, kind, object, reason, word) in [
            (
                "absent",
                INFRASTRUCTURE,
                "TestCluster",
                "nothing",
                "ObjectDoesNotExist",
                "TestCluster nothing does not exist",
            ),
            (
                "no-kind",
                INFRASTRUCTURE,
                "BananaCluster",
                "nothing",
                "KindNotInstalled",
                "no provider of kind BananaCluster",
            ),
            (
                "core",
                "apps",
                "Deployment",
                "nothing",
                "KindNotInstalled",
                "no provider of kind Deployment of apps",
            ),
            (
                "stray",
                INFRASTRUCTURE,
                "StrayCluster",
                "stray",
                "NoContract",
                "has no label cluster.x-k8s.io/v1beta2",
            ),
            (
                "taken",
                INFRASTRUCTURE,
                "TestCluster",
                "theirs",
                "BelongsToAnother",
                "belongs to Cluster theirs already",
            ),
        ] {
            case.create(cluster(name, group, kind, object)).await;
            let said = case.condition("Cluster", name, "InfrastructureReady", "False", reason).await;
            assert!(said["message"].as_str().is_some_and(|text| text.contains(word)), "{said}");
            case.delete("Cluster", name).await;
            case.gone("Cluster", name).await;
        }
        let same = case.get("StrayCluster", "stray").await.expect("left alone");
        assert_eq!(same["metadata"]["resourceVersion"], stray["metadata"]["resourceVersion"]);
        let theirs = case.get("TestCluster", "theirs").await.expect("left alone");
        assert!(theirs["metadata"]["deletionTimestamp"].is_null());
        assert_eq!(theirs["metadata"]["ownerReferences"].as_array().map(Vec::len), Some(1));
    });
}

#[test]
fn a_wrong_reference_to_a_control_plane_is_named_and_its_object_is_left_alone() {
    run(async {
        let case = Case::new(MANUAL).await;
        let mut stray = build::infra_cluster("stray");
        stray["kind"] = json!("StrayCluster");
        let stray = case.create(stray).await;
        let mut cluster = build::cluster("c");
        cluster["spec"]["controlPlaneRef"] =
            json!({"apiGroup": INFRASTRUCTURE, "kind": "StrayCluster", "name": "stray"});
        case.create(cluster).await;
        case.condition("Cluster", "c", "ControlPlaneAvailable", "False", "NoContract").await;
        case.delete("Cluster", "c").await;
        case.gone("Cluster", "c").await;
        let same = case.get("StrayCluster", "stray").await.expect("left alone");
        assert_eq!(same["metadata"]["resourceVersion"], stray["metadata"]["resourceVersion"]);
    });
}

#[test]
fn a_wrong_reference_of_a_machine_is_named_and_its_object_is_left_alone() {
    run(async {
        let case = Case::new(MANUAL).await;
        case.ready_cluster("c").await;
        let mut stray = build::infra_cluster("stray");
        stray["kind"] = json!("StrayCluster");
        let stray = case.create(stray).await;
        let mut machine = build::machine("m", "c");
        machine["spec"]["bootstrap"] =
            json!({"configRef": {"apiGroup": "apps", "kind": "Deployment", "name": "x"}});
        machine["spec"]["infrastructureRef"] =
            json!({"apiGroup": INFRASTRUCTURE, "kind": "StrayCluster", "name": "stray"});
        case.create(machine).await;
        case.condition("Machine", "m", "InfrastructureReady", "False", "NoContract").await;
        case.condition("Machine", "m", "BootstrapConfigReady", "False", "KindNotInstalled").await;
        case.delete("Machine", "m").await;
        case.gone("Machine", "m").await;
        let same = case.get("StrayCluster", "stray").await.expect("left alone");
        assert_eq!(same["metadata"]["resourceVersion"], stray["metadata"]["resourceVersion"]);
    });
}

#[test]
fn a_machine_does_not_take_the_infrastructure_of_another() {
    run(async {
        let case = Case::new(MANUAL).await;
        case.ready_cluster("c").await;
        case.create(build::infra_machine("m")).await;
        case.create(build::machine("m", "c")).await;
        case.when("TestMachine", "m", "owned", |object| !object["metadata"]["ownerReferences"].is_null())
            .await;
        let mut thief = build::machine("thief", "c");
        thief["spec"]["infrastructureRef"]["name"] = json!("m");
        case.create(thief).await;
        let said =
            case.condition("Machine", "thief", "InfrastructureReady", "False", "BelongsToAnother").await;
        assert!(said["message"].as_str().is_some_and(|text| text.contains("Machine m already")), "{said}");
        case.delete("Machine", "thief").await;
        case.gone("Machine", "thief").await;
        let left = case.get("TestMachine", "m").await.expect("left alone");
        assert!(left["metadata"]["deletionTimestamp"].is_null());
        assert_eq!(left["metadata"]["ownerReferences"][0]["name"], "m");
    });
}

#[test]
fn a_machine_without_its_cluster_says_so() {
    run(async {
        let case = Case::new(MANUAL).await;
        case.create(build::machine("m", "nowhere")).await;
        let said = case.condition("Machine", "m", "Ready", "False", "NotReady").await;
        let message = said["message"].as_str().unwrap_or_default();
        assert!(message.contains("spec.clusterName: Cluster nowhere does not exist"), "{message}");
        case.delete("Machine", "m").await;
        case.gone("Machine", "m").await;
    });
}

#[test]
fn a_deletion_during_a_pause_says_what_it_waits_for() {
    run(async {
        let case = Case::new(MANUAL).await;
        case.ready_cluster("c").await;
        case.patch("Cluster", "c", json!({"spec": {"paused": true}})).await;
        case.condition("Cluster", "c", "Paused", "True", "Paused").await;
        case.delete("Cluster", "c").await;
        let said = case.condition("Cluster", "c", "Deleting", "True", "Paused").await;
        assert!(said["message"].as_str().is_some_and(|text| text.contains("Cluster.spec.paused")), "{said}");
        case.patch("Cluster", "c", json!({"spec": {"paused": false}})).await;
        case.gone("Cluster", "c").await;
    });
}

/// A kind whose objects are there, and cannot be listed: its definition names a version that is not served, as after a
/// half-done upgrade of a provider.
async fn hide(case: &Case, crd: &str, hidden: bool) {
    let version = if hidden { "v9" } else { "v1" };
    case.patch(
        "CustomResourceDefinition",
        crd,
        json!({"metadata": {"labels": {"cluster.x-k8s.io/v1beta2": version}}}),
    )
    .await;
}

#[test]
fn a_drain_waits_for_a_control_plane_that_cannot_be_looked_up() {
    run(async {
        let case = Case::new("manual-hidden").await;
        // A kind of its own: other tests need theirs.
        let (crd, kind) = ("hiddencontrolplanes.controlplane.cluster.x-k8s.io", "HiddenControlPlane");
        let mut control_plane = build::control_plane("c");
        control_plane["kind"] = json!(kind);
        case.create(control_plane).await;
        case.create(build::infra_cluster("c")).await;
        let mut cluster = build::cluster("c");
        cluster["spec"]["controlPlaneRef"]["kind"] = json!(kind);
        case.create(cluster).await;
        case.kubeconfig("c").await;
        case.provision_cluster("c").await;
        case.status(
            kind,
            "c",
            json!({"initialization": {"controlPlaneInitialized": true}, "externalManagedControlPlane": true,
                "version": "v1.35.4"}),
        )
        .await;
        case.condition("Cluster", "c", "ControlPlaneInitialized", "True", "Initialized").await;
        let (node, id) = (format!("{}.m", case.namespace), format!("test://{}/m", case.namespace));
        case.create(build::config("m")).await;
        case.create(build::infra_machine("m")).await;
        case.create(build::machine("m", "c")).await;
        case.status(
            "TestConfig",
            "m",
            json!({"dataSecretName": "m", "initialization": {"dataSecretCreated": true}}),
        )
        .await;
        case.patch("TestMachine", "m", json!({"spec": {"providerID": id}})).await;
        case.status("TestMachine", "m", json!({"initialization": {"provisioned": true}})).await;
        case.create(build::node(&node, &id)).await;
        case.status("Node", &node, build::node_status("True")).await;
        case.condition("Machine", "m", "Ready", "True", "Ready").await;
        case.create(build::pod("p", &node, json!({}))).await;

        hide(&case, crd, true).await;
        case.condition("Cluster", "c", "ControlPlaneAvailable", "Unknown", "InternalError").await;
        case.delete("Machine", "m").await;
        let said = case.condition("Machine", "m", "Deleting", "True", "InternalError").await;
        let message = said["message"].as_str().unwrap_or_default();
        assert!(
            message.contains(&format!("whether Node {node} has to be drained is not known")),
            "{message}"
        );
        assert!(
            case.get("TestMachine", "m").await.expect("there")["metadata"]["deletionTimestamp"].is_null()
        );

        hide(&case, crd, false).await;
        let evicted = |pod: &Value| !pod["metadata"]["deletionTimestamp"].is_null();
        case.when("Pod", "p", "evicted", evicted).await;
        let api = case.api("Pod");
        let _ = api.delete("p", &kube::api::DeleteParams::default().grace_period(0)).await;
        case.gone("Machine", "m").await;
        assert!(case.get("Node", &node).await.is_none());
        assert_eq!(condition(&case.get("Cluster", "c").await.expect("there"), "Deleting")["status"], "False");
    });
}
