//! The bars of Cluster API's own end-to-end tests: what is taken away comes back, what changes in place rolls nothing out, and
//! at rest nothing is written.

mod world;

use serde_json::{Value, json};
use world::{Case, build, condition, name, names, run};

/// A Cluster with a MachineDeployment of two, all Available.
async fn fleet(prefix: &str) -> (Case, Vec<String>) {
    let case = Case::new(prefix).await;
    case.ready_cluster("c").await;
    case.create(build::infra_template("t")).await;
    case.create(build::config_template("t")).await;
    case.create(build::deployment("md", "c", "t", 2)).await;
    let machines = case.until("Machine", "two are Available", available(2)).await;
    case.when("MachineDeployment", "md", "content", |md| md["status"]["phase"] == "Running").await;
    (case, names(&machines))
}

fn available(count: usize) -> impl Fn(&[Value]) -> bool {
    move |all| {
        all.len() == count && all.iter().all(|machine| condition(machine, "Available")["status"] == "True")
    }
}

/// Kind and name of every object of a fleet.
async fn objects(case: &Case, machines: &[String]) -> Vec<(&'static str, String)> {
    let set = name(&case.list("MachineSet").await[0]);
    let mut all = vec![
        ("Cluster", "c".to_owned()),
        ("MachineDeployment", "md".to_owned()),
        ("MachineSet", set),
        ("TestMachineTemplate", "t".to_owned()),
        ("TestConfigTemplate", "t".to_owned()),
        ("TestCluster", "c".to_owned()),
        ("TestControlPlane", "c".to_owned()),
    ];
    for machine in machines {
        all.extend(["Machine", "TestMachine", "TestConfig"].map(|kind| (kind, machine.clone())));
    }
    all
}

#[test]
fn owner_references_and_finalizers_come_back() {
    run(async {
        let (case, machines) = fleet("resilient").await;
        for (kind, name) in objects(&case, &machines).await {
            let before = case.get(kind, &name).await.expect("it is there")["metadata"].clone();
            let bare = json!({"metadata": {"ownerReferences": null, "finalizers": null}});
            case.patch(kind, &name, bare).await;
            let same = |object: &Value| {
                object["metadata"]["ownerReferences"] == before["ownerReferences"]
                    && object["metadata"]["finalizers"] == before["finalizers"]
            };
            case.when(kind, &name, &format!("as it was, a {kind}"), same).await;
        }
        assert_eq!(names(&case.list("Machine").await), machines, "nobody was replaced");
        assert_eq!(case.list("MachineSet").await.len(), 1);
    });
}

#[test]
fn an_owner_reference_of_an_older_version_is_brought_up_to_date() {
    run(async {
        let (case, machines) = fleet("older-owner").await;
        for (kind, name) in objects(&case, &machines).await {
            let before =
                case.get(kind, &name).await.expect("it is there")["metadata"]["ownerReferences"].clone();
            let Some(mut old) = before.as_array().cloned() else { continue };
            for owner in &mut old {
                owner["apiVersion"] = json!("cluster.x-k8s.io/v1beta1");
            }
            case.patch(kind, &name, json!({"metadata": {"ownerReferences": old}})).await;
            let same = |object: &Value| object["metadata"]["ownerReferences"] == before;
            case.when(kind, &name, &format!("of the newer version, a {kind}"), same).await;
        }
    });
}

/// Row by row what `reference` calls the propagation in place: MachineDeployment to MachineSet to Machine, its objects and Node.
#[test]
fn what_changes_in_place_reaches_everything_and_rolls_nothing_out() {
    run(async {
        let (case, machines) = fleet("in-place").await;
        let taint = |key: &str| json!({"key": key, "effect": "NoSchedule", "propagation": "Always"});
        let change = json!({
            "metadata": {"annotations": {"of-deployment": "yes"}},
            "spec": {
                "deletion": {"order": "Newest"}, "rollout": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2}}},
                "machineNaming": {"template": "{{ .cluster.name }}-{{ .random }}"},
                "template": {
                    "metadata": {"labels": {"node-role.kubernetes.io/special": "", "row": "1"},
                        "annotations": {"node.cluster.x-k8s.io/note": "x"}},
                    "spec": {"minReadySeconds": 1, "taints": [taint("mine")],
                        "readinessGates": [{"conditionType": "Deleting", "polarity": "Negative"}],
                        "deletion": {"nodeDrainTimeoutSeconds": 7, "nodeVolumeDetachTimeoutSeconds": 8,
                            "nodeDeletionTimeoutSeconds": 9}}}}});
        case.patch("MachineDeployment", "md", change).await;
        let set = name(&case.list("MachineSet").await[0]);
        let set = case
            .when("MachineSet", &set, "changed", |set| {
                set["spec"]["template"]["metadata"]["labels"]["row"] == "1"
            })
            .await;
        assert_eq!(set["metadata"]["annotations"]["of-deployment"], "yes");
        assert_eq!(set["metadata"]["labels"]["row"], "1");
        assert_eq!(set["spec"]["deletion"]["order"], "Newest");
        assert_eq!(set["spec"]["template"]["metadata"]["annotations"]["node.cluster.x-k8s.io/note"], "x");
        assert!(
            set["metadata"]["annotations"]["node.cluster.x-k8s.io/note"].is_null(),
            "those of the template are the Machines'"
        );
        for machine in &machines {
            let is = |machine: &Value| {
                let spec = &machine["spec"];
                spec["minReadySeconds"] == 1
                    && spec["taints"] == json!([taint("mine")])
                    && spec["readinessGates"][0]["conditionType"] == "Deleting"
                    && spec["deletion"]
                        == json!({"nodeDrainTimeoutSeconds": 7, "nodeVolumeDetachTimeoutSeconds": 8,
                            "nodeDeletionTimeoutSeconds": 9})
            };
            case.when("Machine", machine, "changed in place", is).await;
            for kind in ["Machine", "TestMachine", "TestConfig"] {
                case.when(kind, machine, &format!("labelled, a {kind}"), |object| {
                    object["metadata"]["labels"]["row"] == "1"
                        && object["metadata"]["annotations"]["node.cluster.x-k8s.io/note"] == "x"
                })
                .await;
            }
            let node = format!("{}.{machine}", case.namespace);
            let node = case
                .when("Node", &node, "tainted and labelled", |node| {
                    let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
                    taints.iter().any(|taint| taint["key"] == "mine")
                        && node["metadata"]["labels"]["node-role.kubernetes.io/special"] == ""
                        && node["metadata"]["annotations"]["node.cluster.x-k8s.io/note"] == "x"
                })
                .await;
            assert!(
                node["metadata"]["labels"]["row"].is_null(),
                "only labels of a few domains go onto Nodes"
            );
            assert_eq!(
                node["metadata"]["annotations"]["cluster.x-k8s.io/taints-from-machine"],
                "mine:NoSchedule"
            );
        }
        case.until("Machine", "both are Available again", available(2)).await;
        assert_eq!(names(&case.list("Machine").await), machines, "nobody was replaced");
        assert_eq!(case.list("MachineSet").await.len(), 1);

        // What is taken away goes everywhere, and a new Machine has the new name.
        let less = json!({"spec": {"replicas": 3, "template": {"metadata": {"labels": {"row": null}}, "spec": {"taints": null}}}});
        case.patch("MachineDeployment", "md", less).await;
        for machine in &machines {
            for kind in ["Machine", "TestMachine", "TestConfig"] {
                case.when(kind, machine, &format!("without the label, a {kind}"), |object| {
                    object["metadata"]["labels"]["row"].is_null()
                })
                .await;
            }
            let node = format!("{}.{machine}", case.namespace);
            case.when("Node", &node, "without the taint", |node| {
                let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
                !taints.iter().any(|taint| taint["key"] == "mine")
            })
            .await;
        }
        let three = case.until("Machine", "there are three", |all| all.len() == 3).await;
        let new: Vec<_> = names(&three).into_iter().filter(|name| !machines.contains(name)).collect();
        assert!(new[0].starts_with("c-") && new[0].len() == "c-".len() + 5, "{new:?}");
    });
}

/// A reconcile that writes although nothing has changed wakes itself and goes on for ever: with as many wakings as would make that
/// seen, the versions stand still.
#[test]
fn at_rest_nothing_is_written_however_often_somebody_is_woken() {
    run(async {
        let (case, machines) = fleet("standing").await;
        let all = objects(&case, &machines).await;
        let versions = async || {
            let mut versions = Vec::new();
            for (kind, name) in &all {
                let object = case.get(kind, name).await.expect("it is there");
                versions.push((*kind, object["metadata"]["resourceVersion"].clone()));
            }
            versions
        };
        // Sums settle last, after a rest. Who wakes itself never stands still.
        scute_testkit::until("the versions stand still", async || {
            let first = versions().await;
            tickle(&case, &machines, 20).await;
            (versions().await == first).then_some(())
        })
        .await;
    });
}

/// Changes of Nodes that matter to nobody, and then one that is seen to be heard: all before it has been heard too.
async fn tickle(case: &Case, machines: &[String], times: usize) {
    for machine in machines {
        let node = format!("{}.{machine}", case.namespace);
        let annotate = |key: &str, value: Value| json!({"metadata": {"annotations": {(key): value}}});
        for beat in 0..times {
            case.patch("Node", &node, annotate("node.cluster.x-k8s.io/beat", json!(beat.to_string()))).await;
        }
        case.patch("Node", &node, annotate("cluster.x-k8s.io/owner-name", json!("somebody-else"))).await;
        case.when("Node", &node, "its Machine's again", |node| {
            node["metadata"]["annotations"]["cluster.x-k8s.io/owner-name"] != "somebody-else"
        })
        .await;
    }
}
