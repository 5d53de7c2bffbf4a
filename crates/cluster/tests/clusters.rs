//! Clusters on a real API server: how they come up, what they take from their providers, how they go.

mod world;

use serde_json::json;
use world::{Case, MANUAL, build, condition, run};

#[test]
fn a_cluster_comes_up_with_its_providers() {
    run(async {
        let case = Case::new(MANUAL).await;
        case.create(build::cluster("c")).await;
        case.condition("Cluster", "c", "InfrastructureReady", "False", "ObjectDoesNotExist").await;
        let seen = case.get("Cluster", "c").await.expect("there");
        assert_eq!(seen["metadata"]["finalizers"], json!(["cluster.cluster.x-k8s.io"]));
        assert_eq!(seen["status"]["phase"], "Provisioning");
        assert_eq!(condition(&seen, "Paused")["status"], "False");
        assert_eq!(condition(&seen, "Available")["status"], "False");

        case.create(build::infra_cluster("c")).await;
        let infra = case
            .when("TestCluster", "c", "owned", |infra| !infra["metadata"]["ownerReferences"].is_null())
            .await;
        let owner = &infra["metadata"]["ownerReferences"][0];
        assert_eq!((owner["kind"].as_str(), owner["name"].as_str()), (Some("Cluster"), Some("c")));
        assert_eq!(owner["controller"], json!(null));
        assert_eq!(infra["metadata"]["labels"]["cluster.x-k8s.io/cluster-name"], "c");

        let domains =
            |name: &str| json!({"initialization": {"provisioned": true}, "failureDomains": [{"name": name}]});
        case.provision_cluster("c").await;
        case.status("TestCluster", "c", domains("row-1")).await;
        let seen = case
            .when("Cluster", "c", "Provisioned", |cluster| cluster["status"]["phase"] == "Provisioned")
            .await;
        assert_eq!(seen["spec"]["controlPlaneEndpoint"], json!({"host": "10.0.0.1", "port": 6443}));
        assert_eq!(seen["status"]["initialization"]["infrastructureProvisioned"], true);
        let old = seen["status"]["deprecated"]["v1beta1"]["conditions"].as_array().expect("conditions");
        assert!(old.iter().any(|old| old["type"] == "InfrastructureReady" && old["status"] == "True"));

        // What has once been learned stays, but for failure domains.
        case.patch("TestCluster", "c", json!({"spec": {"controlPlaneEndpoint": {"host": "10.9.9.9"}}})).await;
        case.status(
            "TestCluster",
            "c",
            json!({"initialization": {"provisioned": false}, "failureDomains": [{"name": "row-2"}]}),
        )
        .await;
        let seen = case
            .when("Cluster", "c", "in row 2", |cluster| {
                cluster["status"]["failureDomains"][0]["name"] == "row-2"
            })
            .await;
        assert_eq!(seen["spec"]["controlPlaneEndpoint"]["host"], "10.0.0.1");
        assert_eq!(seen["status"]["initialization"]["infrastructureProvisioned"], true);

        case.create(build::control_plane("c")).await;
        case.kubeconfig("c").await;
        case.initialize_control_plane("c").await;
        case.condition("Cluster", "c", "ControlPlaneInitialized", "True", "Initialized").await;
        case.condition("Cluster", "c", "RemoteConnectionProbe", "True", "ProbeSucceeded").await;
        case.condition("Cluster", "c", "Available", "True", "Available").await;
        let seen = case.get("Cluster", "c").await.expect("there");
        assert_eq!(seen["status"]["controlPlane"]["desiredReplicas"], 1);
        assert_eq!(seen["status"]["controlPlane"]["versions"], json!([{"version": "v1.35.4"}]));
        case.status(
            "TestControlPlane",
            "c",
            json!({"initialization": {"controlPlaneInitialized": false}, "readyReplicas": 0}),
        )
        .await;
        let seen = case
            .when("Cluster", "c", "counted again", |cluster| {
                cluster["status"]["controlPlane"]["readyReplicas"] == 0
            })
            .await;
        assert_eq!(condition(&seen, "ControlPlaneInitialized")["status"], "True");
    });
}

#[test]
fn the_older_contract_works_equally() {
    run(async {
        let case = Case::new(MANUAL).await;
        let mut cluster = build::cluster("c");
        cluster["spec"]["infrastructureRef"]["kind"] = json!("OldCluster");
        case.create(cluster).await;
        let mut infra = build::infra_cluster("c");
        infra["kind"] = json!("OldCluster");
        infra["spec"] = json!({"controlPlaneEndpoint": {"host": "10.0.0.7", "port": 443}});
        case.create(infra).await;
        let status = json!({"ready": true, "failureDomains": {"row-1": {"controlPlane": true}},
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
        case.status("OldCluster", "c", status).await;
        let seen = case
            .when("Cluster", "c", "Provisioned", |cluster| cluster["status"]["phase"] == "Provisioned")
            .await;
        assert_eq!(seen["status"]["failureDomains"], json!([{"name": "row-1", "controlPlane": true}]));
        assert_eq!(condition(&seen, "InfrastructureReady")["status"], "True");
        assert_eq!(
            condition(&seen, "InfrastructureReady")["reason"],
            "ReadyTrue",
            "an empty reason would be refused"
        );
    });
}

#[test]
fn a_kind_without_a_contract_is_named_and_stops_nothing_else() {
    run(async {
        let case = Case::new(MANUAL).await;
        let mut cluster = build::cluster("c");
        cluster["spec"]["infrastructureRef"]["kind"] = json!("StrayCluster");
        case.create(cluster).await;
        case.create(build::control_plane("c")).await;
        case.patch(
            "TestControlPlane",
            "c",
            json!({"spec": {"controlPlaneEndpoint": {"host": "10.0.0.3", "port": 6443}}}),
        )
        .await;
        case.initialize_control_plane("c").await;
        let message = case.condition("Cluster", "c", "InfrastructureReady", "False", "NoContract").await;
        assert!(
            message["message"].as_str().is_some_and(
                |text| text.contains("strayclusters.infrastructure.cluster.x-k8s.io has no label")
            )
        );
        let seen = case
            .when("Cluster", "c", "initialized", |cluster| {
                condition(cluster, "ControlPlaneInitialized")["status"] == "True"
            })
            .await;
        assert_eq!(seen["spec"]["controlPlaneEndpoint"]["host"], "10.0.0.3", "taken from the control plane");
    });
}

#[test]
fn without_infrastructure_nothing_is_waited_for() {
    run(async {
        let case = Case::new(MANUAL).await;
        let mut cluster = build::cluster("c");
        cluster["spec"].as_object_mut().expect("a spec").remove("infrastructureRef");
        case.create(cluster).await;
        case.when("Cluster", "c", "provisioned", |cluster| {
            cluster["status"]["initialization"]["infrastructureProvisioned"] == true
        })
        .await;
    });
}

#[test]
fn a_cluster_goes_in_order() {
    run(async {
        let case = Case::new("order").await;
        case.ready_cluster("c").await;
        let held = json!({"metadata": {"finalizers": ["test/held"]}});
        case.patch("TestCluster", "c", held.clone()).await;
        case.patch("TestControlPlane", "c", held.clone()).await;
        case.create(build::infra_template("t")).await;
        case.create(build::config_template("t")).await;
        case.create(build::deployment("md", "c", "t", 1)).await;
        let machines = case
            .until("Machine", "one is Running", |all| {
                all.len() == 1 && all[0]["status"]["phase"] == "Running"
            })
            .await;
        let machine = world::name(&machines[0]);
        case.patch("TestMachine", &machine, held).await;
        let node = machines[0]["status"]["nodeRef"]["name"].as_str().expect("a Node").to_owned();
        let release = json!({"metadata": {"finalizers": null}});

        case.delete("Cluster", "c").await;
        let waiting = case.condition("Cluster", "c", "Deleting", "True", "WaitingForWorkersDeletion").await;
        assert!(
            waiting["message"].as_str().is_some_and(|text| text.contains("MachineDeployments: md")),
            "{waiting}"
        );
        case.when("TestMachine", &machine, "going", |object| {
            !object["metadata"]["deletionTimestamp"].is_null()
        })
        .await;
        let going = async |kind: &str| {
            !case.get(kind, "c").await.expect("there")["metadata"]["deletionTimestamp"].is_null()
        };
        assert!(!going("TestControlPlane").await && !going("TestCluster").await, "workers go first");
        assert_eq!(case.get("Cluster", "c").await.expect("there")["status"]["phase"], "Deleting");

        case.patch("TestMachine", &machine, release.clone()).await;
        case.condition("Cluster", "c", "Deleting", "True", "WaitingForControlPlaneDeletion").await;
        case.when("TestControlPlane", "c", "going", |object| {
            !object["metadata"]["deletionTimestamp"].is_null()
        })
        .await;
        assert!(!going("TestCluster").await, "the control plane goes before the infrastructure");
        assert!(
            case.get("Node", &node).await.is_some(),
            "nobody touches the Nodes of a cluster that goes as a whole"
        );
        assert!(case.list("Machine").await.is_empty() && case.list("MachineSet").await.is_empty());
        assert!(case.list("TestConfig").await.is_empty());

        case.patch("TestControlPlane", "c", release.clone()).await;
        case.condition("Cluster", "c", "Deleting", "True", "WaitingForInfrastructureDeletion").await;
        case.patch("TestCluster", "c", release).await;
        case.gone("Cluster", "c").await;
        case.delete("Node", &node).await;
    });
}

#[test]
fn a_cluster_of_nothing_can_be_deleted() {
    run(async {
        let case = Case::new(MANUAL).await;
        let mut cluster = build::cluster("c");
        cluster["spec"]["infrastructureRef"]["kind"] = json!("NoSuchCluster");
        case.create(cluster).await;
        case.condition("Cluster", "c", "InfrastructureReady", "False", "KindNotInstalled").await;
        case.delete("Cluster", "c").await;
        case.gone("Cluster", "c").await;
    });
}

#[test]
fn an_infrastructure_of_a_second_kind_is_adopted_and_goes_in_order() {
    run(async {
        let case = Case::new(MANUAL).await;
        let mut other = build::infra_cluster("c");
        other["kind"] = json!("OtherCluster");
        other["metadata"]["finalizers"] = json!(["test/held"]);
        case.create(other).await;
        case.create(build::infra_cluster("c")).await;
        case.create(build::cluster("c")).await;
        // Nobody asks for a kind that no Machine goes with.
        let mut machine = build::machine("m", "c");
        machine["spec"]["infrastructureRef"]["kind"] = json!("OtherMachine");
        case.create(machine).await;
        let other = case
            .when("OtherCluster", "c", "owned", |other| !other["metadata"]["ownerReferences"].is_null())
            .await;
        assert_eq!(other["metadata"]["ownerReferences"][0]["kind"], "Cluster");
        assert_eq!(other["metadata"]["labels"]["cluster.x-k8s.io/cluster-name"], "c");
        case.delete("Cluster", "c").await;
        let waiting =
            case.condition("Cluster", "c", "Deleting", "True", "WaitingForInfrastructureDeletion").await;
        assert!(waiting["message"].as_str().is_some_and(|text| text.contains("OtherCluster c")), "{waiting}");
        case.patch("OtherCluster", "c", json!({"metadata": {"finalizers": null}})).await;
        case.gone("Cluster", "c").await;
    });
}

#[test]
fn the_infrastructure_of_another_cluster_is_left_alone() {
    run(async {
        let case = Case::new(MANUAL).await;
        let mut theirs = build::cluster("theirs");
        theirs["spec"]["infrastructureRef"] =
            json!({"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "OtherCluster", "name": "c"});
        case.create(theirs).await;
        let mut other = build::infra_cluster("c");
        other["kind"] = json!("OtherCluster");
        case.create(other).await;
        case.when("OtherCluster", "c", "owned", |other| !other["metadata"]["ownerReferences"].is_null())
            .await;
        case.create(build::infra_cluster("c")).await;
        case.create(build::cluster("c")).await;
        case.when("TestCluster", "c", "owned", |infra| !infra["metadata"]["ownerReferences"].is_null()).await;
        let other = case.get("OtherCluster", "c").await.expect("there");
        let owners = other["metadata"]["ownerReferences"].as_array().expect("owners");
        assert_eq!(owners.iter().map(world::name_of).collect::<Vec<_>>(), ["theirs"]);
    });
}

#[test]
fn a_paused_cluster_stands_still_and_goes_on() {
    run(async {
        let case = Case::new("paused").await;
        case.ready_cluster("c").await;
        case.create(build::infra_template("t")).await;
        case.create(build::config_template("t")).await;
        case.create(build::deployment("md", "c", "t", 1)).await;
        case.until("Machine", "one is Running", |all| {
            all.len() == 1 && all[0]["status"]["phase"] == "Running"
        })
        .await;
        case.patch("Cluster", "c", json!({"spec": {"paused": true}})).await;
        for kind in ["Cluster", "MachineDeployment", "MachineSet", "Machine"] {
            let name = world::name(&case.list(kind).await[0]);
            case.condition(kind, &name, "Paused", "True", "Paused").await;
        }
        case.patch("MachineDeployment", "md", json!({"spec": {"replicas": 2}})).await;
        case.delete("Cluster", "c").await;
        case.patch("Cluster", "c", json!({"metadata": {"labels": {"touched": "1"}}})).await;
        // A controller that wrongly went on would have acted on these writes before it answers this one.
        case.patch("TestCluster", "c", json!({"metadata": {"labels": {"touched": "1"}}})).await;
        let machines = case.list("Machine").await;
        assert_eq!(machines.len(), 1);
        assert!(machines[0]["metadata"]["deletionTimestamp"].is_null(), "a deletion is frozen too");
        case.patch("Cluster", "c", json!({"spec": {"paused": false}})).await;
        case.gone("Cluster", "c").await;
    });
}
