//! MachineDeployments on a real API server: rollouts within their limits, and all that is no rollout.

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use world::{Case, condition, name, names, run};

async fn case(prefix: &str, replicas: i32) -> Case {
    let case = Case::new(prefix).await;
    case.ready_cluster("c").await;
    for template in ["t", "t2"] {
        case.create(world::build::infra_template(template)).await;
        case.create(world::build::config_template(template)).await;
    }
    case.create(world::build::deployment("md", "c", "t", replicas)).await;
    case.until("Machine", "all are Available", available(usize::try_from(replicas).expect("small"))).await;
    case
}

fn available(count: usize) -> impl Fn(&[Value]) -> bool {
    move |all| {
        all.len() == count && all.iter().all(|machine| condition(machine, "Available")["status"] == "True")
    }
}

fn infrastructure(name: &str) -> Value {
    json!({"spec": {"template": {"spec": {"infrastructureRef": {"name": name}}}}})
}

fn strategy(surge: Value, unavailable: Value) -> Value {
    json!({"spec": {"rollout": {"strategy": {"type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}}})
}

/// Waits until the rollout of the latest change is complete: one set, all of its Machines Available.
async fn rolled_out(case: &Case, replicas: usize) -> Value {
    let done = |deployment: &Value| {
        deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"]
            && condition(deployment, "RollingOut")["status"] == "False"
            && deployment["status"]["phase"] == "Running"
            && deployment["status"]["upToDateReplicas"] == replicas
    };
    case.when("MachineDeployment", "md", "rolled out", done).await;
    case.until("MachineSet", "one is left", |sets| {
        sets.len() == 1 && sets[0]["status"]["availableReplicas"] == replicas
    })
    .await
    .remove(0)
}

/// Watches that there are never more Machines than `most`, and never fewer Available than `least`.
fn guard(
    case: &Case,
    most: usize,
    least: usize,
) -> (Arc<AtomicBool>, tokio::task::JoinHandle<Option<String>>) {
    let stop = Arc::new(AtomicBool::new(false));
    let api = case.api("Machine");
    let watched = Arc::clone(&stop);
    let task = tokio::spawn(async move {
        while !watched.load(Ordering::Relaxed) {
            let Ok(all) = api.list(&Default::default()).await else { continue };
            let usable = all.items.iter().filter(|machine| {
                let machine = serde_json::to_value(machine).unwrap_or_default();
                condition(&machine, "Available")["status"] == "True"
            });
            let (there, usable) = (all.items.len(), usable.count());
            if there > most || usable < least {
                return Some(format!("{there} Machines, {usable} Available"));
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        None
    });
    (stop, task)
}

#[test]
fn a_deployment_makes_one_set() {
    run(async {
        let case = case("one", 1).await;
        let sets = case.list("MachineSet").await;
        assert_eq!(sets.len(), 1);
        let set = &sets[0];
        assert_eq!(set["metadata"]["annotations"]["machinedeployment.clusters.x-k8s.io/revision"], "1");
        assert!(set["metadata"]["labels"]["machine-template-hash"].is_string());
        assert_eq!(set["metadata"]["ownerReferences"][0]["kind"], "MachineDeployment");
        assert_eq!(set["metadata"]["ownerReferences"][0]["controller"], true);
        let deployment = case
            .when("MachineDeployment", "md", "Running", |deployment| {
                deployment["status"]["phase"] == "Running"
            })
            .await;
        assert_eq!(deployment["metadata"]["ownerReferences"][0]["kind"], "Cluster");
        assert_eq!(
            deployment["metadata"]["annotations"]["machinedeployment.clusters.x-k8s.io/revision"],
            "1"
        );
        assert_eq!(deployment["metadata"]["finalizers"], json!(["cluster.x-k8s.io/machinedeployment"]));
        assert!(
            deployment["status"]["selector"].as_str().is_some_and(|text| text.contains("deployment-name=md"))
        );
        let cluster = case
            .when("Cluster", "c", "counted", |cluster| cluster["status"]["workers"]["availableReplicas"] == 1)
            .await;
        assert_eq!(cluster["status"]["workers"]["desiredReplicas"], 1);
        case.condition("Cluster", "c", "WorkersAvailable", "True", "Available").await;
    });
}

#[test]
fn a_new_template_rolls_within_its_limits() {
    run(async {
        let case = case("roll", 3).await;
        let before = names(&case.list("Machine").await);
        let (stop, guard) = guard(&case, 4, 3);
        case.patch("MachineDeployment", "md", infrastructure("t2")).await;
        let set = rolled_out(&case, 3).await;
        stop.store(true, Ordering::Relaxed);
        assert_eq!(guard.await.expect("the guard"), None);
        assert_eq!(set["metadata"]["annotations"]["machinedeployment.clusters.x-k8s.io/revision"], "2");
        let after = names(&case.list("Machine").await);
        assert!(before.iter().all(|name| !after.contains(name)), "{before:?} {after:?}");
        let templates: Vec<_> = case.list("TestMachine").await;
        assert!(
            templates
                .iter()
                .all(|object| object["metadata"]["annotations"]["cluster.x-k8s.io/cloned-from-name"] == "t2")
        );
    });
}

#[test]
fn without_spare_hosts_one_goes_before_one_comes() {
    run(async {
        let case = case("metal", 2).await;
        case.patch("MachineDeployment", "md", strategy(json!(0), json!(1))).await;
        let (stop, guard) = guard(&case, 2, 1);
        case.patch("MachineDeployment", "md", infrastructure("t2")).await;
        rolled_out(&case, 2).await;
        stop.store(true, Ordering::Relaxed);
        assert_eq!(guard.await.expect("the guard"), None);
    });
}

#[test]
fn what_can_be_changed_in_place_rolls_nothing() {
    run(async {
        let case = case("inplace", 1).await;
        let before = case.list("Machine").await.remove(0);
        let change = json!({"spec": {"deletion": {"order": "Oldest"}, "template": {
            "metadata": {"labels": {"row": "1"}},
            "spec": {"minReadySeconds": 1, "deletion": {"nodeDrainTimeoutSeconds": 7}}}}});
        case.patch("MachineDeployment", "md", change).await;
        let machine = case
            .when("Machine", &name(&before), "changed", |machine| {
                machine["metadata"]["labels"]["row"] == "1"
                    && machine["spec"]["deletion"]["nodeDrainTimeoutSeconds"] == 7
            })
            .await;
        assert_eq!(machine["metadata"]["uid"], before["metadata"]["uid"]);
        let sets = case.list("MachineSet").await;
        assert_eq!((sets.len(), &sets[0]["spec"]["deletion"]["order"]), (1, &json!("Oldest")));
        assert_eq!(case.list("Machine").await.len(), 1);
    });
}

#[test]
fn rollout_after_rolls_exactly_once() {
    run(async {
        let case = case("after", 1).await;
        let before = names(&case.list("Machine").await);
        // Later than the Machines, whose times are whole seconds.
        let soon = jiff_seconds_from_now(2);
        case.patch("MachineDeployment", "md", json!({"spec": {"rollout": {"after": soon}}})).await;
        case.until("MachineSet", "a second one", |sets| {
            sets.iter().any(|set| {
                set["metadata"]["annotations"]["machinedeployment.clusters.x-k8s.io/revision"] == "2"
            })
        })
        .await;
        let set = rolled_out(&case, 1).await;
        assert_eq!(set["metadata"]["annotations"]["machinedeployment.clusters.x-k8s.io/revision"], "2");
        assert_ne!(names(&case.list("Machine").await), before);
        case.patch("MachineDeployment", "md", json!({"metadata": {"labels": {"touched": "1"}}})).await;
        let set = rolled_out(&case, 1).await;
        assert_eq!(set["metadata"]["annotations"]["machinedeployment.clusters.x-k8s.io/revision"], "2");
    });
}

fn jiff_seconds_from_now(seconds: i64) -> String {
    let now = jiff::Timestamp::now().as_second() + seconds;
    jiff::Timestamp::from_second(now).expect("a time").to_string()
}

#[test]
fn going_back_uses_the_set_that_is_still_there() {
    run(async {
        let case = Case::new("manual-back").await;
        case.ready_cluster("c").await;
        for template in ["t", "t2"] {
            case.create(world::build::infra_template(template)).await;
            case.create(world::build::config_template(template)).await;
        }
        case.create(world::build::deployment("md", "c", "t", 1)).await;
        let first = name(&case.until("MachineSet", "one", |sets| sets.len() == 1).await[0]);
        case.until("Machine", "one", |all| all.len() == 1).await;
        // The new Machine never gets ready, so the old set stays.
        case.patch("MachineDeployment", "md", infrastructure("t2")).await;
        case.until("MachineSet", "two", |sets| sets.len() == 2).await;
        case.patch("MachineDeployment", "md", infrastructure("t")).await;
        let set = case
            .when("MachineSet", &first, "the third revision", |set| {
                set["metadata"]["annotations"]["machinedeployment.clusters.x-k8s.io/revision"] == "3"
            })
            .await;
        assert_eq!(set["spec"]["replicas"], 1);
    });
}

#[test]
fn on_delete_waits_for_the_user() {
    run(async {
        let case = case("ondelete", 2).await;
        let before = names(&case.list("Machine").await);
        let change = json!({"spec": {"rollout": {"strategy": {"type": "OnDelete", "rollingUpdate": null}},
            "template": {"spec": {"infrastructureRef": {"name": "t2"}}}}});
        case.patch("MachineDeployment", "md", change).await;
        case.until("MachineSet", "two", |sets| sets.len() == 2).await;
        case.condition("MachineDeployment", "md", "RollingOut", "True", "RollingOut").await;
        assert_eq!(names(&case.list("Machine").await), before);
        case.delete("Machine", &before[0]).await;
        let after = case
            .until("Machine", "one is new", |all| {
                available(2)(all) && all.iter().any(|machine| !before.contains(&name(machine)))
            })
            .await;
        assert!(names(&after).contains(&before[1]), "the other one stays");
        case.delete("Machine", &before[1]).await;
        rolled_out(&case, 2).await;
    });
}

#[test]
fn a_paused_deployment_scales_and_does_not_roll() {
    run(async {
        let case = case("halted", 1).await;
        case.patch(
            "MachineDeployment",
            "md",
            json!({"spec": {"paused": true, "replicas": 2,
            "template": {"spec": {"infrastructureRef": {"name": "t2"}}}}}),
        )
        .await;
        let machines = case.until("Machine", "two are Available", available(2)).await;
        assert_eq!(machines.len(), 2);
        assert_eq!(case.list("MachineSet").await.len(), 1);
        case.patch("MachineDeployment", "md", json!({"spec": {"paused": false}})).await;
        rolled_out(&case, 2).await;
    });
}

#[test]
fn the_scale_subresource_scales() {
    run(async {
        let case = case("scale", 1).await;
        let api: Api<kube::api::DynamicObject> = case.api("MachineDeployment");
        let scale = json!({"spec": {"replicas": 2}});
        api.patch_scale("md", &PatchParams::default(), &Patch::Merge(&scale)).await.expect("scaled");
        case.until("Machine", "two are Available", available(2)).await;
        let scale = api.get_scale("md").await.expect("a scale");
        assert!(
            scale
                .status
                .and_then(|status| status.selector)
                .is_some_and(|text| text.contains("deployment-name=md"))
        );
        case.patch("MachineDeployment", "md", json!({"spec": {"replicas": 0}})).await;
        case.until("Machine", "none is left", <[Value]>::is_empty).await;
        case.delete("MachineDeployment", "md").await;
        case.gone("MachineDeployment", "md").await;
        assert!(case.list("MachineSet").await.is_empty());
    });
}

#[test]
fn a_steady_deployment_writes_nothing() {
    run(async {
        let case = case("steady", 1).await;
        rolled_out(&case, 1).await;
        case.condition("Cluster", "c", "Available", "True", "Available").await;
        let versions = async || {
            let mut versions = Vec::new();
            for kind in [
                "Cluster",
                "MachineDeployment",
                "MachineSet",
                "Machine",
                "TestMachine",
                "TestConfig",
                "TestCluster",
            ] {
                let all = case.list(kind).await;
                versions.extend(
                    all.iter().map(|object| (name(object), object["metadata"]["resourceVersion"].clone())),
                );
            }
            versions
        };
        // Nothing tells that nothing more will happen, and what sums up others may rest for ten seconds before its last word.
        scute_testkit::until("three seconds without a write", async || {
            let before = versions().await;
            tokio::time::sleep(std::time::Duration::from_secs(3)).await;
            (versions().await == before).then_some(())
        })
        .await;
    });
}

/// The time of a set's making has whole seconds; a value with a fraction lies after it for a moment.
#[test]
fn a_rollout_after_makes_one_set_for_each_value() {
    run(async {
        let case = case("after", 1).await;
        for _ in 0..3 {
            let after = jiff::Timestamp::now().to_string();
            case.patch("MachineDeployment", "md", json!({"spec": {"rollout": {"after": after}}})).await;
            let set = rolled_out(&case, 1).await;
            assert_eq!(set["metadata"]["annotations"]["scute.dev/rollout-after"], after);
        }
        let sets = case.list("MachineSet").await;
        let revision = &sets[0]["metadata"]["annotations"]["machinedeployment.clusters.x-k8s.io/revision"];
        assert_eq!(revision, "4", "the first one, and one for each value");
    });
}

#[test]
fn what_holds_the_new_set_back_is_said_on_the_deployment() {
    run(async {
        let case = case("held", 1).await;
        let newer = json!({"spec": {"template": {"spec": {"version": "v1.36.0"}}}});
        case.patch("MachineDeployment", "md", newer).await;
        let why = "version v1.36.0 of the Machines is newer than the control plane's v1.35.4";
        let told = |deployment: &Value| {
            condition(deployment, "RollingOut")["message"].as_str().is_some_and(|text| text.contains(why))
        };
        case.when("MachineDeployment", "md", why, told).await;
    });
}
