//! MachineSets on a real API server: equal names, scaling, adoption, changes in place, preflight checks.

mod world;

use serde_json::{Value, json};
use world::{Case, condition, name, names, run};

async fn case(prefix: &str) -> Case {
    let case = Case::new(prefix).await;
    case.ready_cluster("c").await;
    case.create(world::build::infra_template("t")).await;
    case.create(world::build::config_template("t")).await;
    case
}

fn running(count: usize) -> impl Fn(&[Value]) -> bool {
    move |all| {
        all.len() == count && all.iter().all(|machine| condition(machine, "Available")["status"] == "True")
    }
}

#[test]
fn a_set_makes_triples_of_equal_names() {
    run(async {
        let case = case("triples").await;
        case.create(world::build::set("ms", "c", "t", 3)).await;
        let machines = case.until("Machine", "three are Available", running(3)).await;
        assert_eq!(names(&machines), names(&case.list("TestMachine").await));
        assert_eq!(names(&machines), names(&case.list("TestConfig").await));
        for machine in &machines {
            assert!(
                name(machine).starts_with("ms-") && name(machine).len() == "ms-".len() + 5,
                "{}",
                name(machine)
            );
            let labels = &machine["metadata"]["labels"];
            assert_eq!(labels["cluster.x-k8s.io/set-name"], "ms");
            assert_eq!(labels["cluster.x-k8s.io/cluster-name"], "c");
            let owner = &machine["metadata"]["ownerReferences"][0];
            assert_eq!(
                (owner["kind"].as_str(), owner["controller"].as_bool()),
                (Some("MachineSet"), Some(true))
            );
        }
        for object in case.list("TestMachine").await {
            let annotations = &object["metadata"]["annotations"];
            assert_eq!(annotations["cluster.x-k8s.io/cloned-from-name"], "t");
            assert_eq!(
                annotations["cluster.x-k8s.io/cloned-from-groupkind"],
                "TestMachineTemplate.infrastructure.cluster.x-k8s.io"
            );
            let owners = object["metadata"]["ownerReferences"].as_array().expect("owners");
            assert_eq!(owners.len(), 1, "the Machine takes over from the set");
            assert_eq!(
                (owners[0]["kind"].as_str(), owners[0]["name"].as_str()),
                (Some("Machine"), object["metadata"]["name"].as_str())
            );
            assert_eq!(object["spec"]["cores"], 2);
        }
        let template = case
            .when("TestMachineTemplate", "t", "owned", |template| {
                !template["metadata"]["ownerReferences"].is_null()
            })
            .await;
        assert_eq!(template["metadata"]["ownerReferences"][0]["kind"], "Cluster");
        let set =
            case.when("MachineSet", "ms", "counted", |set| set["status"]["availableReplicas"] == 3).await;
        assert_eq!(set["status"]["selector"], "cluster.x-k8s.io/cluster-name=c,set=ms");
        assert_eq!(set["status"]["versions"], json!([{"version": "v1.35.4", "replicas": 3}]));

        case.patch("MachineSet", "ms", json!({"spec": {"replicas": 0}})).await;
        case.until("Machine", "none is left", <[Value]>::is_empty).await;
        assert!(case.list("TestMachine").await.is_empty() && case.list("TestConfig").await.is_empty());
        case.delete("MachineSet", "ms").await;
        case.gone("MachineSet", "ms").await;
    });
}

#[test]
fn a_provider_that_refuses_is_named_and_nothing_piles_up() {
    run(async {
        let case = case("refused").await;
        let mut template = world::build::infra_template("refused");
        template["spec"]["template"]["spec"]["refused"] = json!(true);
        case.create(template).await;
        let mut set = world::build::set("ms", "c", "refused", 1);
        set["spec"]["template"]["spec"]["bootstrap"]["configRef"]["name"] = json!("t");
        case.create(set).await;
        let said = |set: &Value| {
            condition(set, "ScalingUp")["message"]
                .as_str()
                .is_some_and(|text| text.contains("refused by the provider"))
        };
        case.when("MachineSet", "ms", "told why", said).await;
        // Another try, with another event, uses what the first one made.
        case.patch("MachineSet", "ms", json!({"metadata": {"labels": {"again": "1"}}})).await;
        case.patch("MachineSet", "ms", json!({"metadata": {"labels": {"again": "2"}}})).await;
        assert!(case.list("TestConfig").await.len() <= 1);
        assert!(case.list("Machine").await.is_empty());
        case.patch("MachineSet", "ms", json!({"spec": {"replicas": 0}})).await;
        case.until("TestConfig", "none is left", <[Value]>::is_empty).await;
        case.delete("MachineSet", "ms").await;
        case.gone("MachineSet", "ms").await;
    });
}

#[test]
fn the_marked_machine_goes_first() {
    run(async {
        let case = case("marked").await;
        case.create(world::build::set("ms", "c", "t", 3)).await;
        let machines = case.until("Machine", "three are Available", running(3)).await;
        let marked = name(&machines[2]);
        case.patch(
            "Machine",
            &marked,
            json!({"metadata": {"annotations": {"cluster.x-k8s.io/delete-machine": ""}}}),
        )
        .await;
        case.patch("MachineSet", "ms", json!({"spec": {"replicas": 2}})).await;
        let left = case.until("Machine", "two are left", |all| all.len() == 2).await;
        assert!(!names(&left).contains(&marked));
    });
}

#[test]
fn a_machine_that_was_given_up_is_replaced_unless_it_is_well() {
    run(async {
        let case = case("given-up").await;
        case.create(world::build::set("ms", "c", "t", 3)).await;
        let machines = case.until("Machine", "three are Available", running(3)).await;
        let condition = |type_: &str, status: &str| {
            json!({"type": type_, "status": status, "reason": "Test", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        let given_up = condition("OwnerRemediated", "False");
        let say = async |machine: &Value, what: &[&Value]| {
            let mut all = machine["status"]["conditions"].as_array().cloned().unwrap();
            all.extend(what.iter().copied().cloned());
            case.status("Machine", &name(machine), json!({ "conditions": all })).await;
            name(machine)
        };
        let well = say(&machines[0], &[&given_up, &condition("HealthCheckSucceeded", "True")]).await;
        let lost = say(&machines[1], &[&given_up]).await;
        let there = |all: &[Value]| running(3)(all) && !names(all).contains(&lost);
        let left = case.until("Machine", "another has come", there).await;
        assert!(names(&left).contains(&well));
    });
}

#[test]
fn orphans_are_adopted_and_strangers_are_not() {
    run(async {
        let case = case("adopt").await;
        let mut orphan = world::build::machine("orphan", "c");
        orphan["metadata"]["labels"] =
            json!({"set": "ms", "cluster.x-k8s.io/cluster-name": "c", "cluster.x-k8s.io/set-name": "ms"});
        case.create(orphan).await;
        let mut stranger = world::build::machine("stranger", "c");
        stranger["metadata"]["labels"] = json!({"set": "ms", "cluster.x-k8s.io/cluster-name": "c"});
        stranger["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x", "controller": true}]);
        case.create(stranger).await;
        case.create(world::build::set("ms", "c", "t", 2)).await;
        let orphan = case
            .when("Machine", "orphan", "adopted", |machine| !machine["metadata"]["ownerReferences"].is_null())
            .await;
        assert_eq!(orphan["metadata"]["ownerReferences"][0]["name"], "ms");
        case.when("MachineSet", "ms", "counted", |set| set["status"]["replicas"] == 2).await;
        let stranger = case.get("Machine", "stranger").await.expect("there");
        assert_eq!(stranger["metadata"]["ownerReferences"][0]["kind"], "ConfigMap");
        assert_eq!(case.list("Machine").await.len(), 3, "the orphan, a new one and the stranger");
    });
}

#[test]
fn labels_and_timeouts_change_in_place() {
    run(async {
        let case = case("inplace").await;
        case.create(world::build::set("ms", "c", "t", 1)).await;
        let before = case.until("Machine", "one is Available", running(1)).await.remove(0);
        let name = name(&before);
        case.patch("Machine", &name, json!({"metadata": {"labels": {"third-party": "kept"}}})).await;
        let change = json!({"spec": {"template": {
            "metadata": {"labels": {"row": "1"}, "annotations": {"note": "x"}},
            "spec": {"deletion": {"nodeDrainTimeoutSeconds": 5}, "minReadySeconds": 0}}}});
        case.patch("MachineSet", "ms", change).await;
        for kind in ["Machine", "TestMachine", "TestConfig"] {
            let object =
                case.when(kind, &name, "labelled", |object| object["metadata"]["labels"]["row"] == "1").await;
            assert_eq!(object["metadata"]["annotations"]["note"], "x", "{kind}");
        }
        let machine = case
            .when("Machine", &name, "limited", |machine| {
                machine["spec"]["deletion"]["nodeDrainTimeoutSeconds"] == 5
            })
            .await;
        assert_eq!(machine["metadata"]["uid"], before["metadata"]["uid"]);
        assert_eq!(machine["spec"]["providerID"], before["spec"]["providerID"]);
        assert_eq!(machine["spec"]["bootstrap"], before["spec"]["bootstrap"]);
        case.patch(
            "MachineSet",
            "ms",
            json!({"spec": {"template": {"metadata": {"labels": {"row": null}}}}}),
        )
        .await;
        for kind in ["Machine", "TestMachine", "TestConfig"] {
            let object = case
                .when(kind, &name, "unlabelled", |object| object["metadata"]["labels"]["row"].is_null())
                .await;
            if kind == "Machine" {
                assert_eq!(object["metadata"]["labels"]["third-party"], "kept");
            }
            if kind == "TestMachine" {
                assert_eq!(object["spec"]["cores"], 2, "the provider's spec is untouched");
                assert!(object["spec"]["providerID"].is_string());
            }
        }
    });
}

#[test]
fn no_machine_is_made_while_the_control_plane_is_upgraded() {
    run(async {
        let case = case("preflight").await;
        case.patch("TestControlPlane", "c", json!({"spec": {"version": "v1.36.0"}})).await;
        case.create(world::build::set("ms", "c", "t", 1)).await;
        let said = |set: &Value| {
            condition(set, "ScalingUp")["message"].as_str().is_some_and(|text| {
                text.contains("the control plane is being upgraded from v1.35.4 to v1.36.0")
            })
        };
        case.when("MachineSet", "ms", "told why", said).await;
        assert!(case.list("Machine").await.is_empty() && case.list("TestConfig").await.is_empty());
        case.status("TestControlPlane", "c", json!({"version": "v1.36.0"})).await;
        case.until("Machine", "one is Available", running(1)).await;

        let mut newer = world::build::set("newer", "c", "t", 1);
        newer["spec"]["template"]["spec"]["version"] = json!("v1.37.0");
        case.create(newer).await;
        let said = |set: &Value| {
            condition(set, "ScalingUp")["message"]
                .as_str()
                .is_some_and(|text| text.contains("KubernetesVersionSkew"))
        };
        case.when("MachineSet", "newer", "told why", said).await;
        let skip = json!({"metadata": {"annotations": {"machineset.cluster.x-k8s.io/skip-preflight-checks": "All"}}});
        case.patch("MachineSet", "newer", skip).await;
        case.until("Machine", "two are Available", running(2)).await;
    });
}

#[test]
fn what_a_machine_waits_for_in_vain_is_made_again() {
    run(async {
        let case = case("manual-lost").await;
        case.create(world::build::set("ms", "c", "t", 1)).await;
        let one =
            |all: &[Value]| all.len() == 1 && all[0]["metadata"]["ownerReferences"][0]["kind"] == "Machine";
        let machine = name(&case.until("Machine", "one", |all| all.len() == 1).await[0]);
        for kind in ["TestConfig", "TestMachine"] {
            let lost = case.until(kind, "one", one).await[0]["metadata"]["uid"].clone();
            case.delete(kind, &machine).await;
            let again = |all: &[Value]| one(all) && all[0]["metadata"]["uid"] != lost;
            let again = case.until(kind, "another", again).await;
            assert_eq!(names(&again), [machine.as_str()]);
        }
        assert_eq!(names(&case.list("Machine").await), [machine]);
    });
}

#[test]
fn a_set_waits_for_a_template_that_is_not_there_yet() {
    run(async {
        let case = Case::new("later").await;
        case.ready_cluster("c").await;
        case.create(world::build::set("ms", "c", "t", 1)).await;
        let said = |set: &Value| {
            let text = condition(set, "ScalingUp")["message"].as_str().unwrap_or_default();
            text.contains("TestConfigTemplate t does not exist")
                && text.contains("TestMachineTemplate t does not exist")
        };
        case.when("MachineSet", "ms", "told why", said).await;
        case.create(world::build::infra_template("t")).await;
        case.create(world::build::config_template("t")).await;
        case.until("Machine", "one is Available", running(1)).await;
    });
}

async fn scale(case: &Case, name: &str, replicas: i64) -> Result<(), String> {
    let patch = kube::api::Patch::Merge(json!({"spec": {"replicas": replicas}}));
    let done = case.api("MachineSet").patch_scale(name, &Default::default(), &patch).await;
    done.map(|_| ()).map_err(|error| error.to_string())
}

#[test]
fn a_number_that_was_a_mistake_is_not_carried_out() {
    run(async {
        let case = case("mistake").await;
        case.create(world::build::set("ms", "c", "t", 1)).await;
        case.until("Machine", "one is there", |all| all.len() == 1).await;
        let refused = scale(&case, "ms", 10_001).await.expect_err("more than a set may have");
        assert!(refused.contains("spec.replicas"), "{refused}");
        scale(&case, "ms", 10_000).await.expect("the most that a set may have");
        case.until("Machine", "it grows", |all| all.len() > 1).await;
        scale(&case, "ms", 1).await.expect("corrected");
        let most = std::cell::Cell::new(0);
        let left = |all: &[Value]| {
            most.set(most.get().max(all.len()));
            all.len() == 1
        };
        case.until("Machine", "one is left", left).await;
        assert!(most.get() < 500, "{} Machines were made", most.get());
        case.until("TestMachine", "one is left", |all| all.len() == 1).await;
    });
}

/// Every try under another name would be another message, another status and another try at once.
#[test]
fn what_a_quota_refuses_is_tried_again_under_the_same_name() {
    run(async {
        let case = case("quota").await;
        let quotas: kube::Api<k8s_openapi::api::core::v1::ResourceQuota> =
            kube::Api::namespaced(case.client.clone(), &case.namespace);
        // The controller that would count is not here: the test says what it would say.
        let limit = |hard: &str| {
            json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"},
                "spec": {"hard": {"count/testconfigs.bootstrap.cluster.x-k8s.io": hard}},
                "status": {"hard": {"count/testconfigs.bootstrap.cluster.x-k8s.io": hard},
                    "used": {"count/testconfigs.bootstrap.cluster.x-k8s.io": "0"}}})
        };
        let quota = serde_json::from_value(limit("0")).expect("a quota");
        quotas.create(&Default::default(), &quota).await.expect("a quota");
        let apply = async |hard: &str| {
            let patch = kube::api::Patch::Merge(limit(hard));
            quotas.patch("q", &Default::default(), &patch).await.expect("a quota");
            quotas.patch_status("q", &Default::default(), &patch).await.expect("its status");
        };
        apply("0").await;
        case.create(world::build::set("ms", "c", "t", 2)).await;
        let told = |set: &Value| {
            let message = condition(set, "ScalingUp")["message"].as_str().unwrap_or_default().to_owned();
            message.contains("could not be made").then_some(message)
        };
        let set = case.when("MachineSet", "ms", "it is refused", |set| told(set).is_some()).await;
        let message = told(&set).expect("a message");
        let tried = message.split_whitespace().find(|word| word.starts_with("ms-")).expect("a name");
        apply("5").await;
        let machines = case.until("Machine", "two are there", |all| all.len() == 2).await;
        assert!(
            names(&machines).iter().any(|name| name == tried),
            "{tried} of {message}: {:?}",
            names(&machines)
        );
    });
}
