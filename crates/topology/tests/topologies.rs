//! Clusters that are made of a class, from their first object to their last, on a real API server.

mod world;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use world::{Case, cluster, run};

const OLD: &str = "v1.34.0";
const NEW: &str = "v1.35.4";

async fn made(prefix: &str, workers: &[&str]) -> Case {
    let case = Case::new(prefix).await;
    case.class("small").await;
    case.create(cluster("c", "small", OLD, workers)).await;
    case.control_plane_has("c", OLD).await;
    case.reconciled("c").await;
    case
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().expect("a name")
}

/// What is asked for by all that belongs to the topology, by kind and name: statuses are others', who may write them late.
async fn contents(case: &Case) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for kind in [
        "Cluster",
        "TestCluster",
        "TestControlPlane",
        "MachineDeployment",
        "TestMachineTemplate",
        "TestConfigTemplate",
    ] {
        for mut object in case.owned(kind).await {
            let key = format!("{kind} {}", name(&object));
            object["status"] = Value::Null;
            object["metadata"]["resourceVersion"] = Value::Null;
            if let Some(writers) = object["metadata"]["managedFields"].as_array_mut() {
                writers.retain(|writer| writer["subresource"].is_null());
            }
            all.insert(key, object);
        }
    }
    all
}

#[test]
fn a_cluster_is_made_of_its_class() {
    run(async {
        let case = made("made", &["a"]).await;
        let cluster = case.reconciled("c").await;
        assert_eq!(
            cluster["spec"]["topology"]["variables"],
            json!([{"name": "cores", "value": 2}]),
            "its default"
        );
        let infrastructure = case.owned("TestCluster").await.remove(0);
        assert_eq!(cluster["spec"]["infrastructureRef"]["name"], infrastructure["metadata"]["name"]);
        assert_eq!(infrastructure["spec"], json!({"zone": "a"}));
        let owner = &infrastructure["metadata"]["ownerReferences"][0];
        assert_eq!((&owner["kind"], &owner["uid"]), (&json!("Cluster"), &cluster["metadata"]["uid"]));
        let control_plane = case.owned("TestControlPlane").await.remove(0);
        assert_eq!(control_plane["spec"], json!({"store": "default", "version": OLD, "replicas": 1}));
        let workers = case.owned("MachineDeployment").await.remove(0);
        let template = case.owned("TestMachineTemplate").await.remove(0);
        let reference = &workers["spec"]["template"]["spec"]["infrastructureRef"]["name"];
        assert_eq!(reference, &template["metadata"]["name"]);
        assert_eq!(template["spec"]["template"]["spec"], json!({"cores": 2, "disk": "10Gi"}));
        let class = case.when("TestMachineTemplate", "small", "held", |template| {
            template["metadata"]["ownerReferences"][0]["kind"] == "ClusterClass"
        });
        class.await;
    });
}

/// Complaints #9557, #12335 and #12341: what the API server fills in is no change, and nothing is written at rest.
#[test]
fn nothing_is_written_when_nothing_differs() {
    run(async {
        let case = made("rest", &["a", "b"]).await;
        case.until("MachineDeployment", "they have their Machines", |all| {
            all.iter().all(|workers| workers["status"]["replicas"] == 1)
        })
        .await;
        // A change that says nothing wakes the controller; its next run is over when it has taken note.
        case.patch("Cluster", "c", json!({"spec": {"topology": {"controlPlane": {"replicas": 2}}}})).await;
        case.reconciled("c").await;
        let mut before = contents(&case).await;
        for round in 3..5 {
            case.patch("Cluster", "c", json!({"spec": {"topology": {"controlPlane": {"replicas": round}}}}))
                .await;
            case.reconciled("c").await;
            let mut now = contents(&case).await;
            for all in [&mut before, &mut now] {
                all.retain(|object, _| {
                    !object.starts_with("TestControlPlane ") && !object.starts_with("Cluster ")
                });
            }
            assert_eq!(before, now);
        }
        // Somebody else's field of a template is no change either.
        let template = case.owned("TestConfigTemplate").await.remove(0);
        case.patch(
            "TestConfigTemplate",
            name(&template),
            json!({"spec": {"template": {"spec": {"theirs": 1}}}}),
        )
        .await;
        case.patch("Cluster", "c", json!({"spec": {"topology": {"controlPlane": {"replicas": 1}}}})).await;
        case.reconciled("c").await;
        let again = case.owned("TestConfigTemplate").await;
        assert!(again.iter().any(
            |object| name(object) == name(&template) && object["spec"]["template"]["spec"]["theirs"] == 1
        ));
    });
}

/// A new spec is a new template; the old one goes when no MachineSet needs it any more. Labels are changed in place.
#[test]
fn a_template_that_changes_is_made_anew_and_labels_are_changed_in_place() {
    run(async {
        let case = Case::new("rotated").await;
        case.class("small").await;
        let mut wanted = cluster("c", "small", OLD, &["a"]);
        // A MachineSet without Machines is gone as soon as another has its place.
        wanted["spec"]["topology"]["workers"]["machineDeployments"][0]["replicas"] = json!(0);
        case.create(wanted).await;
        case.control_plane_has("c", OLD).await;
        case.reconciled("c").await;
        case.until("MachineSet", "there is one", |all| all.len() == 1).await;
        let old = case.owned("TestMachineTemplate").await.remove(0);
        case.patch(
            "Cluster",
            "c",
            json!({"spec": {"topology": {"variables": [{"name": "cores", "value": 8}]}}}),
        )
        .await;
        let all = case
            .until("TestMachineTemplate", "the old one is gone", |all| {
                all.len() == 1 && all[0]["spec"]["template"]["spec"]["cores"] == 8
            })
            .await;
        assert_ne!(name(&all[0]), name(&old));
        let workers = case.owned("MachineDeployment").await.remove(0);
        assert_eq!(
            workers["spec"]["template"]["spec"]["infrastructureRef"]["name"],
            all[0]["metadata"]["name"]
        );
        let bootstrap = workers["spec"]["template"]["spec"]["bootstrap"]["configRef"]["name"].clone();
        case.patch(
            "ClusterClass",
            "small",
            json!({"spec": {"controlPlane": {"metadata": {"labels": {"tier": "one"}}}}}),
        )
        .await;
        case.until("TestControlPlane", "it has the label", |all| {
            all[0]["metadata"]["labels"]["tier"] == "one"
        })
        .await;
        case.patch("TestConfigTemplate", "small", json!({"metadata": {"labels": {"tier": "two"}}})).await;
        let all = case
            .until("TestConfigTemplate", "it has the label", |all| {
                all[0]["metadata"]["labels"]["tier"] == "two"
            })
            .await;
        assert_eq!((all.len(), &all[0]["metadata"]["name"]), (1, &bootstrap));
    });
}

/// Control plane first, then one MachineDeployment after the other; each is waited for.
#[test]
fn an_upgrade_goes_in_order() {
    run(async {
        let case = made("upgrade", &["a", "b"]).await;
        let machines = case.until("Machine", "each has one", |all| all.len() == 2).await;
        let of = |all: &[Value], topology: &str| {
            let mine = |object: &&Value| {
                object["metadata"]["labels"]["topology.cluster.x-k8s.io/deployment-name"] == topology
            };
            all.iter().find(mine).expect("it").clone()
        };
        let first = of(&machines, "a");
        // It ends when the test lets it.
        let held = json!({"metadata": {"finalizers": ["test.example/hold", "machine.cluster.x-k8s.io"]}});
        case.patch("Machine", name(&first), held).await;
        case.patch("Cluster", "c", json!({"spec": {"topology": {"version": NEW}}})).await;
        case.until("TestControlPlane", "it goes first", |all| all[0]["spec"]["version"] == NEW).await;
        let said = case.condition("Cluster", "c", "TopologyReconciled", "False").await;
        assert_eq!(said["reason"], "ClusterUpgrading");
        let version = |workers: &Value| workers["spec"]["template"]["spec"]["version"].clone();
        let workers = case.owned("MachineDeployment").await;
        assert_eq!((version(&of(&workers, "a")), version(&of(&workers, "b"))), (json!(OLD), json!(OLD)));
        let refused =
            case.try_patch("Cluster", "c", json!({"spec": {"topology": {"version": "v1.35.5"}}})).await;
        assert!(refused.expect_err("an upgrade is on its way").contains("still being upgraded from v1.34.0"));
        case.control_plane_has("c", NEW).await;
        case.until("MachineDeployment", "the first follows", |all| version(&of(all, "a")) == NEW).await;
        case.when("Cluster", "c", "b waits for a", |cluster| {
            let message =
                world::condition(cluster, "TopologyReconciled")["message"].as_str().unwrap_or_default();
            message.contains("c-a-") && message.contains("upgrading") && message.contains("pending")
        })
        .await;
        assert_eq!(version(&of(&case.owned("MachineDeployment").await, "b")), OLD);
        case.until("Machine", "the old one is on its way out", |all| {
            all.iter().any(|machine| {
                name(machine) == name(&first) && machine["metadata"]["deletionTimestamp"].is_string()
            })
        })
        .await;
        case.patch("Machine", name(&first), json!({"metadata": {"finalizers": null}})).await;
        case.until("MachineDeployment", "the second follows", |all| version(&of(all, "b")) == NEW).await;
        case.reconciled("c").await;
    });
}

#[test]
fn workers_come_and_go_with_the_topology() {
    run(async {
        let case = made("workers", &["a"]).await;
        let workers = json!([{"class": "worker", "name": "b", "replicas": 1}]);
        case.patch(
            "Cluster",
            "c",
            json!({"spec": {"topology": {"workers": {"machineDeployments": workers}}}}),
        )
        .await;
        let all = case
            .until("MachineDeployment", "b instead of a", |all| {
                all.len() == 1
                    && all[0]["metadata"]["labels"]["topology.cluster.x-k8s.io/deployment-name"] == "b"
            })
            .await;
        assert!(name(&all[0]).starts_with("c-b-"));
        for kind in ["TestMachineTemplate", "TestConfigTemplate"] {
            case.until(kind, "those of a are gone", |all| {
                all.len() == 1 && name(&all[0]).starts_with("c-b-")
            })
            .await;
        }
        // What somebody deletes comes back.
        case.delete("MachineDeployment", name(&all[0])).await.expect("deleted");
        let old = all[0]["metadata"]["uid"].clone();
        case.until("MachineDeployment", "it is back", |all| {
            all.len() == 1 && all[0]["metadata"]["uid"] != old
        })
        .await;
        case.delete("Cluster", "c").await.expect("deleted");
        scute_testkit::eventually_gone(case.api("Cluster"), "c").await;
        assert!(
            case.owned("TestControlPlane").await.is_empty() && case.owned("TestCluster").await.is_empty()
        );
    });
}

/// A Cluster may be there before its class and the class's templates.
#[test]
fn a_class_may_come_after_its_cluster() {
    run(async {
        let case = Case::new("late").await;
        case.create(cluster("c", "small", OLD, &[])).await;
        let said = case.condition("Cluster", "c", "TopologyReconciled", "False").await;
        assert!(said["message"].as_str().expect("a message").contains("there is no ClusterClass"), "{said}");
        let there =
            case.when("Cluster", "c", "looked at", |cluster| cluster["status"]["phase"].is_string()).await;
        assert!(
            there["status"]["initialization"].is_null(),
            "no infrastructure is none that is ready: {there}"
        );
        case.create(world::class("small")).await;
        case.when("Cluster", "c", "told of the templates", |cluster| {
            let message =
                world::condition(cluster, "TopologyReconciled")["message"].as_str().unwrap_or_default();
            message.contains("spec.infrastructure.templateRef of the ClusterClass small")
        })
        .await;
        for template in world::templates("small") {
            case.create(template).await;
        }
        case.control_plane_has("c", OLD).await;
        case.reconciled("c").await;
    });
}
