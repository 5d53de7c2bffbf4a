//! MachineHealthChecks on a real API server: who is found ill, who is replaced, and when nobody is.

mod world;

use serde_json::{Value, json};
use world::{Case, build, condition, name, names, run};

const LONG_AGO: &str = "2026-01-01T00:00:00Z";

/// A Cluster with as many Machines of one MachineSet as are wanted, all Available.
async fn ward(prefix: &str, machines: usize) -> (Case, Vec<String>) {
    let case = Case::new(prefix).await;
    case.ready_cluster("c").await;
    case.create(build::infra_template("t")).await;
    case.create(build::config_template("t")).await;
    case.create(build::set("ms", "c", "t", i32::try_from(machines).expect("few"))).await;
    let machines = case.until("Machine", "all are Available", available(machines)).await;
    (case, names(&machines))
}

fn available(count: usize) -> impl Fn(&[Value]) -> bool {
    move |all| {
        all.len() == count && all.iter().all(|machine| condition(machine, "Available")["status"] == "True")
    }
}

fn check(spec: Value) -> Value {
    let mut check = json!({"apiVersion": build::CORE, "kind": "MachineHealthCheck", "metadata": {"name": "mhc"}, "spec": {
        "clusterName": "c", "selector": {"matchLabels": {"set": "ms"}},
        "checks": {"unhealthyNodeConditions": [{"type": "Ready", "status": "False", "timeoutSeconds": 60}]}}});
    for (key, value) in spec.as_object().into_iter().flatten() {
        check["spec"][key] = value.clone();
    }
    check
}

/// The Node of a Machine says that it is (or is not) ready, and has for long.
async fn ready(case: &Case, machine: &str, ready: &str) {
    let node = format!("{}.{machine}", case.namespace);
    let mut status = build::node_status(ready);
    status["conditions"][0]["lastTransitionTime"] = json!(LONG_AGO);
    case.status("Node", &node, status).await;
}

fn counted(expected: i64, healthy: i64) -> impl Fn(&Value) -> bool {
    move |check| {
        check["status"]["expectedMachines"] == expected && check["status"]["currentHealthy"] == healthy
    }
}

#[test]
fn a_machine_whose_node_is_not_ready_for_too_long_is_replaced() {
    run(async {
        let (case, machines) = ward("ill", 3).await;
        case.create(check(json!({}))).await;
        let check = case.when("MachineHealthCheck", "mhc", "content", counted(3, 3)).await;
        assert_eq!(check["status"]["targets"], json!(machines));
        assert_eq!(check["metadata"]["ownerReferences"][0]["kind"], "Cluster");
        assert_eq!(check["metadata"]["labels"]["cluster.x-k8s.io/cluster-name"], "c");
        for machine in &machines {
            case.condition("Machine", machine, "HealthCheckSucceeded", "True", "HealthCheckSucceeded").await;
        }
        let ill = &machines[1];
        ready(&case, ill, "False").await;
        case.gone("Machine", ill).await;
        let others = case.until("Machine", "another has come", available(3)).await;
        assert!(names(&others).contains(&machines[0]) && names(&others).contains(&machines[2]));
        let told = case.until("Event", "the Machine was marked", |events| {
            events.iter().any(|event| event["reason"] == "MachineMarkedUnhealthy")
        });
        assert!(told.await.iter().any(|event| event["regarding"]["name"] == ill.as_str()));
        case.when("MachineHealthCheck", "mhc", "content again", counted(3, 3)).await;
    });
}

#[test]
fn too_many_that_are_ill_are_left_alone_and_told_of() {
    run(async {
        let (case, machines) = ward("epidemic", 3).await;
        let limit = json!({"remediation": {"triggerIf": {"unhealthyLessThanOrEqualTo": "40%"}}});
        case.create(check(limit)).await;
        case.when("MachineHealthCheck", "mhc", "content", counted(3, 3)).await;
        // One at a time would be replaced: it is paused until both are ill.
        let pause = |value: Value| json!({"metadata": {"annotations": {"cluster.x-k8s.io/paused": value}}});
        case.patch("MachineHealthCheck", "mhc", pause(json!(""))).await;
        case.condition("MachineHealthCheck", "mhc", "Paused", "True", "Paused").await;
        ready(&case, &machines[0], "False").await;
        ready(&case, &machines[1], "False").await;
        for machine in &machines[..2] {
            case.condition("Machine", machine, "NodeReady", "False", "").await;
        }
        case.patch("MachineHealthCheck", "mhc", pause(Value::Null)).await;
        let said = case
            .condition("MachineHealthCheck", "mhc", "RemediationAllowed", "False", "TooManyUnhealthy")
            .await;
        let message = said["message"].as_str().unwrap_or_default();
        assert!(message.ends_with("(total: 3, unhealthy: 2, maxUnhealthy: 40%)"), "{message}");
        for machine in &machines[..2] {
            case.condition("Machine", machine, "HealthCheckSucceeded", "False", "UnhealthyNode").await;
            let machine = case.get("Machine", machine).await.expect("it is there");
            assert!(condition(&machine, "OwnerRemediated").is_null(), "nobody is asked to replace it");
        }
        case.when("MachineSet", "ms", "who is ill and stays", |set| {
            condition(set, "Remediating")["message"]
                .as_str()
                .is_some_and(|text| text.ends_with("are not healthy (not to be remediated by MachineSet)"))
        })
        .await;
        // One that is well again makes room for the other.
        ready(&case, &machines[0], "True").await;
        case.gone("Machine", &machines[1]).await;
        case.until("Machine", "another has come", available(3)).await;
        assert!(case.get("Machine", &machines[0]).await.is_some());
    });
}

#[test]
fn a_person_decides_by_annotations() {
    run(async {
        let (case, machines) = ward("by-hand", 2).await;
        let annotate =
            |key: &str| json!({"metadata": {"annotations": {(format!("cluster.x-k8s.io/{key}")): ""}}});
        case.patch("Machine", &machines[0], annotate("skip-remediation")).await;
        case.create(check(json!({}))).await;
        let check = case.when("MachineHealthCheck", "mhc", "with one", counted(1, 1)).await;
        assert_eq!(check["status"]["targets"], json!([machines[1]]));
        ready(&case, &machines[0], "False").await;
        case.condition("Machine", &machines[0], "NodeReady", "False", "").await;
        case.patch("Machine", &machines[1], annotate("remediate-machine")).await;
        case.gone("Machine", &machines[1]).await;
        let left = case.until("Machine", "there are two", |all| all.len() == 2).await;
        let skipped = left.iter().find(|machine| name(machine) == machines[0]).expect("it is there");
        assert!(condition(skipped, "HealthCheckSucceeded").is_null());
    });
}

#[test]
fn a_machine_whose_node_somebody_deletes_is_replaced() {
    run(async {
        let (case, machines) = ward("deleted-node", 1).await;
        case.create(check(json!({}))).await;
        case.when("MachineHealthCheck", "mhc", "content", counted(1, 1)).await;
        case.delete("Node", &format!("{}.{}", case.namespace, machines[0])).await;
        case.gone("Machine", &machines[0]).await;
        case.until("Machine", "another has come", available(1)).await;
    });
}

#[test]
fn no_more_are_replaced_at_a_time_than_the_deployment_lets() {
    run(async {
        let case = Case::new("in-flight").await;
        case.ready_cluster("c").await;
        case.create(build::infra_template("t")).await;
        case.create(build::config_template("t")).await;
        let mut deployment = build::deployment("md", "c", "t", 2);
        deployment["spec"]["remediation"] = json!({"maxInFlight": 0});
        case.create(deployment).await;
        let machines = names(&case.until("Machine", "two are Available", available(2)).await);
        case.create(check(json!({"selector": {"matchLabels": {"cluster.x-k8s.io/deployment-name": "md"}}})))
            .await;
        case.when("MachineHealthCheck", "mhc", "content", counted(2, 2)).await;
        ready(&case, &machines[0], "False").await;
        let waits =
            case.condition("Machine", &machines[0], "OwnerRemediated", "False", "RemediationDeferred").await;
        assert!(waits["message"].as_str().is_some_and(|text| text.ends_with("maxInFlight is 0)")), "{waits}");
        let busy = case.condition("MachineDeployment", "md", "Remediating", "True", "Remediating").await;
        assert!(busy["message"].as_str().is_some_and(|text| text.contains(&machines[0])), "{busy}");
        case.patch("MachineDeployment", "md", json!({"spec": {"remediation": {"maxInFlight": "50%"}}})).await;
        case.gone("Machine", &machines[0]).await;
        case.until("Machine", "another has come", available(2)).await;
        case.condition("MachineDeployment", "md", "Remediating", "False", "NotRemediating").await;
    });
}

#[test]
fn a_remediation_of_another_provider_is_made_and_taken_away() {
    run(async {
        let (case, machines) = ward("external", 2).await;
        let template = json!({"apiVersion": "infrastructure.cluster.x-k8s.io/v1", "kind": "StrayRemediationTemplate",
            "metadata": {"name": "rt"}, "spec": {"template": {"spec": {"strategy": "reboot"}}}});
        let reference = json!({"apiVersion": "infrastructure.cluster.x-k8s.io/v1",
            "kind": "StrayRemediationTemplate", "name": "rt"});
        case.create(check(json!({"remediation": {"templateRef": reference}}))).await;
        case.when("MachineHealthCheck", "mhc", "content", counted(2, 2)).await;
        let ill = &machines[0];
        ready(&case, ill, "False").await;
        let missing = case
            .condition("Machine", ill, "ExternallyRemediated", "False", "RemediationTemplateNotFound")
            .await;
        assert_eq!(missing["message"], "StrayRemediationTemplate rt does not exist");

        case.create(template).await;
        let made = case.when("StrayRemediation", ill, "made", |_| true).await;
        assert_eq!(made["spec"], json!({"strategy": "reboot"}));
        let owner = &made["metadata"]["ownerReferences"][0];
        assert_eq!((owner["kind"].as_str(), owner["name"].as_str()), (Some("Machine"), Some(ill.as_str())));
        assert_eq!(made["metadata"]["annotations"]["cluster.x-k8s.io/cloned-from-name"], "rt");
        case.condition("Machine", ill, "ExternallyRemediated", "False", "WaitingForRemediation").await;

        ready(&case, ill, "True").await;
        case.gone("StrayRemediation", ill).await;
        case.condition("Machine", ill, "HealthCheckSucceeded", "True", "").await;
        case.when("Machine", ill, "no more under treatment", |machine| {
            condition(machine, "ExternallyRemediated").is_null()
        })
        .await;
        assert_eq!(names(&case.list("Machine").await), machines, "nobody was replaced");
    });
}

/// The Machine has a Node and says so, and its tenant takes connections and never answers.
#[test]
fn a_tenant_that_is_silent_makes_nobody_ill() {
    run(async {
        let case = Case::new("manual-mhc").await;
        let hole = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("https://{}", hole.local_addr().expect("an address"));
        case.create(build::infra_cluster("c")).await;
        case.create(build::control_plane("c")).await;
        case.kubeconfig_to("c", &address).await;
        case.create(build::cluster("c")).await;
        case.provision_cluster("c").await;
        case.initialize_control_plane("c").await;
        case.condition("Cluster", "c", "ControlPlaneInitialized", "True", "").await;
        let mut machine = build::machine("m", "c");
        machine["metadata"]["labels"] = json!({"set": "ms"});
        case.create(machine).await;
        case.when("Machine", "m", "seen", |machine| machine["status"]["phase"] == "Pending").await;
        case.status("Machine", "m", json!({"nodeRef": {"name": "of-nobody"}})).await;
        case.create(check(json!({}))).await;
        let said = case
            .condition("MachineHealthCheck", "mhc", "RemediationAllowed", "Unknown", "ConnectionDown")
            .await;
        let message = said["message"].as_str().unwrap_or_default();
        assert!(
            message.ends_with("what is said of Machine m stays, and nothing more is done for them"),
            "{message}"
        );
        let machine = case.get("Machine", "m").await.expect("it is there");
        assert!(condition(&machine, "HealthCheckSucceeded").is_null());
    });
}

#[test]
fn what_is_taken_away_comes_back_and_at_rest_nothing_is_written() {
    run(async {
        let (case, machines) = ward("rest", 2).await;
        case.create(check(json!({}))).await;
        case.when("MachineHealthCheck", "mhc", "content", counted(2, 2)).await;
        case.patch("MachineHealthCheck", "mhc", json!({"metadata": {"ownerReferences": null}})).await;
        case.when("MachineHealthCheck", "mhc", "owned again", |check| {
            check["metadata"]["ownerReferences"][0]["kind"] == "Cluster"
        })
        .await;
        for machine in &machines {
            case.condition("Machine", machine, "HealthCheckSucceeded", "True", "").await;
        }
        let before = case.get("Machine", &machines[0]).await.expect("it is there");
        // Each of these wakes the MachineHealthCheck, and the last one is seen to be heard.
        for beat in 0..5 {
            let node = format!("{}.{}", case.namespace, machines[0]);
            let mut status = build::node_status("True");
            status["conditions"][0]["lastTransitionTime"] = json!(LONG_AGO);
            status["conditions"][0]["lastHeartbeatTime"] = json!(format!("2026-01-01T00:00:0{beat}Z"));
            case.status("Node", &node, status).await;
        }
        ready(&case, &machines[1], "False").await;
        case.gone("Machine", &machines[1]).await;
        let after = case.get("Machine", &machines[0]).await.expect("it is there");
        assert_eq!(after["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"]);
    });
}

#[test]
fn what_cannot_be_meant_is_refused() {
    run(async {
        let case = Case::on(world::bare().await, "refused-mhc").await;
        let refused = async |spec: Value| {
            let error = case.try_create(check(spec)).await.expect_err("it is refused");
            error.to_string()
        };
        let range = |range: &str| json!({"remediation": {"triggerIf": {"unhealthyInRange": range}}});
        let machine_condition = |type_: &str| json!({"checks": {"unhealthyMachineConditions": [{"type": type_, "status": "False", "timeoutSeconds": 1}]}});
        let cases = [
            (json!({"selector": {}}), "selector must not be empty"),
            (
                json!({"checks": {"nodeStartupTimeoutSeconds": 29}}),
                "must be at least 30, or 0 to wait for ever",
            ),
            (json!({"checks": {}}), "spec.checks"),
            (
                json!({"remediation": {"triggerIf": {"unhealthyLessThanOrEqualTo": "many"}}}),
                "a percentage such as 40%",
            ),
            (range("3-5"), "unhealthyInRange"),
            (range("[5-3]"), "the first number must not be larger than the second"),
            (range("[3-99999999999]"), "neither may have more than nine digits"),
            (machine_condition("Ready"), "type must not be one of: Ready"),
        ];
        for (spec, want) in cases {
            let error = refused(spec.clone()).await;
            assert!(error.contains(want), "{spec}: {error}");
        }
        case.create(check(range("[3-5]"))).await;
        let other = json!({"spec": {"clusterName": "d"}});
        let api = case.api("MachineHealthCheck");
        let patched = api.patch("mhc", &Default::default(), &kube::api::Patch::Merge(&other)).await;
        let error = patched.expect_err("another Cluster").to_string();
        assert!(error.contains("clusterName cannot be changed"), "{error}");
    });
}
