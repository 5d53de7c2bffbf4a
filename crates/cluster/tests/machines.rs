//! Machines on a real API server: phases, Nodes, conditions, and the order in which they go.

mod world;

use kube::api::{Api, DeleteParams};
use serde_json::{Value, json};
use world::{Case, condition, run};

/// A Machine of its own, whose objects the test writes.
async fn machine(case: &Case) {
    case.ready_cluster("c").await;
    case.create(world::build::config("m")).await;
    case.create(world::build::infra_machine("m")).await;
    case.create(world::build::machine("m", "c")).await;
}

fn node(case: &Case) -> String {
    format!("{}.m", case.namespace)
}

fn provider_id(case: &Case) -> String {
    format!("test://{}/m", case.namespace)
}

async fn bootstrapped(case: &Case) {
    case.status(
        "TestConfig",
        "m",
        json!({"dataSecretName": "m", "initialization": {"dataSecretCreated": true}}),
    )
    .await;
}

async fn provisioned(case: &Case) {
    case.patch("TestMachine", "m", json!({"spec": {"providerID": provider_id(case)}})).await;
    case.status(
        "TestMachine",
        "m",
        json!({"initialization": {"provisioned": true}, "failureDomain": "row-1",
        "addresses": [{"type": "InternalIP", "address": "10.1.0.1"}]}),
    )
    .await;
}

async fn joined(case: &Case) {
    case.create(world::build::node(&node(case), &provider_id(case))).await;
    case.status("Node", &node(case), world::build::node_status("True")).await;
}

/// A Machine with a Ready Node.
async fn running(case: &Case) {
    machine(case).await;
    bootstrapped(case).await;
    provisioned(case).await;
    joined(case).await;
    case.condition("Machine", "m", "Ready", "True", "Ready").await;
}

fn phase(phase: &'static str) -> impl Fn(&Value) -> bool {
    move |machine| machine["status"]["phase"] == phase
}

#[test]
fn phases_follow_what_providers_write() {
    run(async {
        let case = Case::new("manual-phases").await;
        machine(&case).await;
        let seen = case.when("Machine", "m", "Pending", phase("Pending")).await;
        assert_eq!(seen["metadata"]["finalizers"], json!(["machine.cluster.x-k8s.io"]));
        assert_eq!(seen["metadata"]["labels"]["cluster.x-k8s.io/cluster-name"], "c");
        assert_eq!(seen["metadata"]["ownerReferences"][0]["kind"], "Cluster", "it belongs to no set");
        for kind in ["TestConfig", "TestMachine"] {
            let owned = |object: &Value| object["metadata"]["ownerReferences"][0]["kind"] == "Machine";
            let object = case.when(kind, "m", "owned", owned).await;
            assert_eq!(object["metadata"]["ownerReferences"][0]["controller"], true);
        }
        bootstrapped(&case).await;
        let seen = case.when("Machine", "m", "Provisioning", phase("Provisioning")).await;
        assert_eq!(seen["spec"]["bootstrap"]["dataSecretName"], "m");
        assert_eq!(seen["status"]["initialization"]["bootstrapDataSecretCreated"], true);

        // Provisioned is not enough without a providerID.
        case.status("TestMachine", "m", json!({"initialization": {"provisioned": true}})).await;
        let named = |machine: &Value| {
            condition(machine, "InfrastructureReady")["message"]
                .as_str()
                .is_some_and(|text| text.contains("has no spec.providerID"))
        };
        case.when("Machine", "m", "told what is missing", named).await;
        provisioned(&case).await;
        let placed =
            |machine: &Value| phase("Provisioned")(machine) && !machine["status"]["failureDomain"].is_null();
        let seen = case.when("Machine", "m", "Provisioned", placed).await;
        assert_eq!(seen["spec"]["providerID"], provider_id(&case));
        assert_eq!(seen["status"]["failureDomain"], "row-1");
        assert_eq!(seen["status"]["addresses"][0]["address"], "10.1.0.1");
        case.condition("Machine", "m", "NodeReady", "Unknown", "NodeDoesNotExist").await;

        joined(&case).await;
        let seen = case.when("Machine", "m", "Running", phase("Running")).await;
        assert_eq!(seen["status"]["nodeRef"]["name"], node(&case));
        case.condition("Machine", "m", "Available", "True", "Available").await;
        let seen = case.get("Machine", "m").await.expect("there");
        assert_eq!(seen["status"]["nodeInfo"]["osImage"], "Debian");
    });
}

#[test]
fn a_control_plane_that_nobody_provides_begins_with_the_node_of_its_first_machine() {
    run(async {
        let case = Case::new("manual-unprovided").await;
        let mut cluster = world::build::cluster("c");
        cluster["spec"]["controlPlaneRef"] = Value::Null;
        case.create(world::build::infra_cluster("c")).await;
        case.create(cluster).await;
        case.kubeconfig("c").await;
        case.provision_cluster("c").await;
        case.create(world::build::config("m")).await;
        case.create(world::build::infra_machine("m")).await;
        let mut machine = world::build::machine("m", "c");
        machine["metadata"]["labels"] = json!({"cluster.x-k8s.io/control-plane": ""});
        case.create(machine).await;
        bootstrapped(&case).await;
        provisioned(&case).await;
        case.when("Machine", "m", "Provisioned", phase("Provisioned")).await;
        joined(&case).await;
        case.when("Machine", "m", "Running", phase("Running")).await;
        case.condition("Cluster", "c", "ControlPlaneInitialized", "True", "Initialized").await;
    });
}

#[test]
fn a_secret_may_be_given_instead_of_a_configuration() {
    run(async {
        let case = Case::new("manual-secret").await;
        case.ready_cluster("c").await;
        case.create(world::build::infra_machine("m")).await;
        let mut machine = world::build::machine("m", "c");
        machine["spec"]["bootstrap"] = json!({"dataSecretName": "given"});
        case.create(machine).await;
        case.when("Machine", "m", "Provisioning", phase("Provisioning")).await;
        case.condition("Machine", "m", "BootstrapConfigReady", "True", "DataSecretProvided").await;
    });
}

#[test]
fn two_nodes_of_one_provider_id_are_nobodys() {
    run(async {
        let case = Case::new("manual-twins").await;
        machine(&case).await;
        bootstrapped(&case).await;
        for twin in ["a", "b"] {
            case.create(world::build::node(&format!("{}.{twin}", case.namespace), &provider_id(&case))).await;
        }
        // Its infrastructure names the providerID before the Machine has it.
        case.patch("TestMachine", "m", json!({"spec": {"providerID": provider_id(&case)}})).await;
        let seen = case.condition("Machine", "m", "NodeHealthy", "Unknown", "InternalError").await;
        assert!(case.get("Machine", "m").await.expect("there")["spec"]["providerID"].is_null());
        assert!(seen["message"].as_str().is_some_and(|text| text.contains(&provider_id(&case))), "{seen}");
        assert!(case.get("Machine", "m").await.expect("there")["status"]["nodeRef"].is_null());
    });
}

#[test]
fn the_node_gets_what_is_its_machines() {
    run(async {
        let case = Case::new("manual-labels").await;
        running(&case).await;
        case.patch("Node", &node(&case), json!({"metadata": {"labels": {"theirs": "1"}}})).await;
        let labels = json!({"metadata": {"labels": {"node-role.kubernetes.io/worker": "", "team": "a"}}});
        case.patch("Machine", "m", labels).await;
        let labelled = |node: &Value| node["metadata"]["labels"]["node-role.kubernetes.io/worker"] == "";
        let seen = case.when("Node", &node(&case), "labelled", labelled).await;
        assert_eq!(seen["metadata"]["annotations"]["cluster.x-k8s.io/machine"], "m");
        assert_eq!(seen["metadata"]["annotations"]["cluster.x-k8s.io/cluster-name"], "c");
        assert_eq!(
            seen["metadata"]["annotations"]["cluster.x-k8s.io/cluster-namespace"],
            json!(case.namespace)
        );
        assert!(seen["metadata"]["labels"]["team"].is_null());
        let taints = seen["spec"]["taints"].as_array().cloned().unwrap_or_default();
        assert!(
            taints.iter().all(|taint| taint["key"] != "node.cluster.x-k8s.io/uninitialized"),
            "{taints:?}"
        );
        case.patch("Machine", "m", json!({"metadata": {"labels": {"node-role.kubernetes.io/worker": null}}}))
            .await;
        let seen = case.when("Node", &node(&case), "unlabelled", |node| !labelled(node)).await;
        assert_eq!(seen["metadata"]["labels"]["theirs"], "1");
    });
}

#[test]
fn a_machine_is_available_when_it_has_been_ready_for_long_enough_and_its_gates_are_open() {
    run(async {
        let case = Case::new("manual-ready").await;
        running(&case).await;
        case.patch(
            "Machine",
            "m",
            json!({"spec": {"readinessGates": [{"conditionType": "Sick", "polarity": "Negative"}]}}),
        )
        .await;
        case.condition("Machine", "m", "Ready", "True", "Ready").await;
        case.patch(
            "Machine",
            "m",
            json!({"spec": {"readinessGates": [{"conditionType": "Fit"}], "minReadySeconds": 2}}),
        )
        .await;
        case.condition("Machine", "m", "Ready", "Unknown", "ReadyUnknown").await;
        let mut conditions = case.get("Machine", "m").await.expect("there")["status"]["conditions"].clone();
        conditions
            .as_array_mut()
            .expect("a list")
            .push(json!({"type": "Fit", "status": "True", "reason": "Fit",
            "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}));
        case.status("Machine", "m", json!({ "conditions": conditions })).await;
        case.condition("Machine", "m", "Available", "False", "WaitingForMinReadySeconds").await;
        case.condition("Machine", "m", "Available", "True", "Available").await;
    });
}

#[test]
fn a_machine_goes_step_by_step() {
    run(async {
        let case = Case::new("manual-steps").await;
        running(&case).await;
        let held = json!({"metadata": {"finalizers": ["test/held"]}});
        let release = json!({"metadata": {"finalizers": null}});
        case.patch("TestMachine", "m", held.clone()).await;
        case.patch("TestConfig", "m", held).await;
        let hooks = [
            "pre-drain.delete.hook.machine.cluster.x-k8s.io/a",
            "pre-terminate.delete.hook.machine.cluster.x-k8s.io/b",
        ];
        case.patch("Machine", "m", json!({"metadata": {"annotations": {hooks[0]: "", hooks[1]: ""}}})).await;
        case.create(world::build::pod("p", &node(&case), json!({}))).await;
        let going = async |kind: &str| {
            !case.get(kind, "m").await.expect("there")["metadata"]["deletionTimestamp"].is_null()
        };

        case.delete("Machine", "m").await;
        let waiting = case.condition("Machine", "m", "Deleting", "True", "WaitingForPreDrainHook").await;
        assert!(waiting["message"].as_str().is_some_and(|text| text.contains(hooks[0])));
        let unschedulable = |node: &Value| node["spec"]["unschedulable"] == true;
        assert!(!unschedulable(&case.get("Node", &node(&case)).await.expect("there")));

        case.patch("Machine", "m", json!({"metadata": {"annotations": {hooks[0]: null}}})).await;
        let pod = format!("{}/p", case.namespace);
        let draining = |machine: &Value| {
            let deleting = condition(machine, "Deleting");
            deleting["reason"] == "DrainingNode"
                && deleting["message"].as_str().is_some_and(|text| text.contains(&pod))
        };
        case.when("Machine", "m", "draining, and told of the Pod", draining).await;
        case.when("Node", &node(&case), "cordoned", unschedulable).await;
        case.when("Pod", "p", "evicted", |pod| !pod["metadata"]["deletionTimestamp"].is_null()).await;
        assert!(!going("TestMachine").await);
        // What the kubelet would do.
        kill(&case, "p").await;

        case.condition("Machine", "m", "Deleting", "True", "WaitingForPreTerminateHook").await;
        assert!(!going("TestMachine").await);
        case.patch("Machine", "m", json!({"metadata": {"annotations": {hooks[1]: null}}})).await;
        case.condition("Machine", "m", "Deleting", "True", "WaitingForInfrastructureDeletion").await;
        assert!(!going("TestConfig").await, "the bootstrap data goes after the infrastructure");
        case.patch("TestMachine", "m", release.clone()).await;
        case.condition("Machine", "m", "Deleting", "True", "WaitingForBootstrapDeletion").await;
        assert!(case.get("Node", &node(&case)).await.is_some(), "the Node goes last");
        case.patch("TestConfig", "m", release).await;
        case.gone("Machine", "m").await;
        assert!(case.get("Node", &node(&case)).await.is_none());
    });
}

async fn kill(case: &Case, pod: &str) {
    let api: Api<kube::api::DynamicObject> = case.api("Pod");
    let _ = api.delete(pod, &DeleteParams::default().grace_period(0)).await;
}

/// A budget that allows no disruption, as its controller would write it.
async fn budget(case: &Case) {
    case.create(
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}}),
    )
    .await;
    case.status(
        "PodDisruptionBudget",
        "web",
        json!({"observedGeneration": 1, "disruptionsAllowed": 0,
        "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}),
    )
    .await;
    case.create(world::build::pod("web", &node(case), json!({"labels": {"app": "web"}}))).await;
    case.status(
        "Pod",
        "web",
        json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}),
    )
    .await;
}

#[test]
fn a_disruption_budget_is_honoured_until_the_time_limit() {
    run(async {
        let case = Case::new("manual-budget").await;
        running(&case).await;
        budget(&case).await;
        case.delete("Machine", "m").await;
        let names = |machine: &Value| {
            let text = condition(machine, "Deleting")["message"].as_str().unwrap_or_default();
            text.contains(&format!("Pod {}/web: cannot be evicted", case.namespace)) && text.contains("web")
        };
        case.when("Machine", "m", "told who blocks", names).await;
        assert!(case.get("Pod", "web").await.expect("there")["metadata"]["deletionTimestamp"].is_null());
        case.patch("Machine", "m", json!({"spec": {"deletion": {"nodeDrainTimeoutSeconds": 1}}})).await;
        case.gone("Machine", "m").await;
        assert!(
            case.get("Pod", "web").await.expect("there")["metadata"]["deletionTimestamp"].is_null(),
            "given up, not forced"
        );
        assert!(case.get("Node", &node(&case)).await.is_none());
        kill(&case, "web").await;
    });
}

#[test]
fn a_machine_can_be_excluded_from_draining() {
    run(async {
        let case = Case::new("manual-exclude").await;
        running(&case).await;
        budget(&case).await;
        case.patch(
            "Machine",
            "m",
            json!({"metadata": {"annotations": {"machine.cluster.x-k8s.io/exclude-node-draining": ""}}}),
        )
        .await;
        case.delete("Machine", "m").await;
        case.gone("Machine", "m").await;
        assert!(case.get("Pod", "web").await.expect("there")["metadata"]["deletionTimestamp"].is_null());
        kill(&case, "web").await;
    });
}

#[test]
fn some_pods_are_left_alone_and_some_are_waited_for() {
    run(async {
        let case = Case::new("manual-pods").await;
        running(&case).await;
        let daemon = json!({"ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "1"}]});
        case.create(world::build::pod("daemon", &node(&case), daemon)).await;
        case.create(world::build::pod(
            "skipped",
            &node(&case),
            json!({"labels": {"cluster.x-k8s.io/drain": "skip"}}),
        ))
        .await;
        case.create(world::build::pod(
            "job",
            &node(&case),
            json!({"labels": {"cluster.x-k8s.io/drain": "wait-completed"}}),
        ))
        .await;
        case.delete("Machine", "m").await;
        let waits = |machine: &Value| {
            condition(machine, "Deleting")["message"]
                .as_str()
                .is_some_and(|text| text.contains("job: waiting for completion"))
        };
        case.when("Machine", "m", "waiting for the job", waits).await;
        case.status("Pod", "job", json!({"phase": "Succeeded"})).await;
        case.gone("Machine", "m").await;
        for pod in ["daemon", "skipped", "job"] {
            assert!(
                case.get("Pod", pod).await.expect("there")["metadata"]["deletionTimestamp"].is_null(),
                "{pod}"
            );
            kill(&case, pod).await;
        }
    });
}

#[test]
fn without_a_control_plane_nobody_is_asked_about_the_node() {
    run(async {
        let case = Case::new("manual-orphaned").await;
        running(&case).await;
        budget(&case).await;
        // No Machine of the control plane, and it does not say that it runs elsewhere.
        case.status("TestControlPlane", "c", json!({"externalManagedControlPlane": null})).await;
        case.when("TestControlPlane", "c", "seen", |_| true).await;
        case.when("Cluster", "c", "settled", |_| true).await;
        case.delete("Machine", "m").await;
        case.gone("Machine", "m").await;
        let left = case.get("Node", &node(&case)).await.expect("left alone");
        assert_ne!(left["spec"]["unschedulable"], true);
        kill(&case, "web").await;
        case.delete("Node", &node(&case)).await;
    });
}

#[test]
fn an_unreachable_node_holds_nothing_for_ever() {
    run(async {
        let case = Case::new("manual-lost").await;
        running(&case).await;
        case.create(world::build::pod("p", &node(&case), json!({}))).await;
        case.status("Node", &node(&case), world::build::node_status("Unknown")).await;
        case.condition("Machine", "m", "NodeReady", "Unknown", "NodeReadyUnknown").await;
        case.delete("Machine", "m").await;
        case.gone("Machine", "m").await;
        kill(&case, "p").await;
    });
}

#[test]
fn a_node_that_is_gone_already_holds_nothing() {
    run(async {
        let case = Case::new("manual-gone").await;
        running(&case).await;
        case.delete("Node", &node(&case)).await;
        case.condition("Machine", "m", "NodeHealthy", "False", "NodeDeleted").await;
        case.delete("Machine", "m").await;
        case.gone("Machine", "m").await;
    });
}

#[test]
fn what_is_taken_away_by_hand_comes_back() {
    run(async {
        let case = Case::new("manual-restored").await;
        running(&case).await;
        case.patch("Machine", "m", json!({"metadata": {"finalizers": null, "ownerReferences": null}})).await;
        let restored = |machine: &Value| {
            machine["metadata"]["finalizers"] == json!(["machine.cluster.x-k8s.io"])
                && machine["metadata"]["ownerReferences"][0]["kind"] == "Cluster"
        };
        case.when("Machine", "m", "restored", restored).await;
        case.patch("TestMachine", "m", json!({"metadata": {"ownerReferences": null, "labels": null}})).await;
        let restored = |object: &Value| object["metadata"]["ownerReferences"][0]["name"] == "m";
        case.when("TestMachine", "m", "restored", restored).await;
    });
}

#[test]
fn a_paused_machine_stands_still_alone() {
    run(async {
        let case = Case::new("manual-frozen").await;
        machine(&case).await;
        case.when("Machine", "m", "Pending", phase("Pending")).await;
        case.patch("Machine", "m", json!({"metadata": {"annotations": {"cluster.x-k8s.io/paused": ""}}}))
            .await;
        case.condition("Machine", "m", "Paused", "True", "Paused").await;
        bootstrapped(&case).await;
        case.condition("Cluster", "c", "Paused", "False", "NotPaused").await;
        assert_eq!(case.get("Machine", "m").await.expect("there")["status"]["phase"], "Pending");
        case.patch("Machine", "m", json!({"metadata": {"annotations": {"cluster.x-k8s.io/paused": null}}}))
            .await;
        case.when("Machine", "m", "Provisioning", phase("Provisioning")).await;
    });
}

#[test]
fn an_infrastructure_that_vanishes_is_said_and_not_made_again() {
    run(async {
        let case = Case::new("manual-vanished").await;
        running(&case).await;
        case.delete("TestMachine", "m").await;
        case.condition("Machine", "m", "InfrastructureReady", "False", "ObjectDeleted").await;
        assert_eq!(case.get("Machine", "m").await.expect("there")["status"]["phase"], "Running");
        assert!(case.get("TestMachine", "m").await.is_none());
    });
}
