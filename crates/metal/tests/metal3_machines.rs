//! Metal3Machines on a real API server, which plays the tenant's too.

mod provider;

use k8s_openapi::api::core::v1::{Node, Secret};
use kube::ResourceExt;
use kube::api::DeleteParams;
use provider::{Bench, INFRA, STUCK, condition, host_status};
use scute_api::cluster::{Cluster, MachineDeployment};
use scute_api::infrastructure::{Metal3Machine, Metal3MachineTemplate};
use scute_api::metal3::{AutomatedCleaningMode, BareMetalHost};
use serde_json::json;

fn provisioned(machine: &Metal3Machine) -> bool {
    let status = machine.status.as_ref().and_then(|status| status.initialization.as_ref());
    status.is_some_and(|is| is.provisioned == Some(true))
}

fn ready(machine: &Metal3Machine) -> bool {
    condition(machine, "Ready").is_some_and(|ready| ready.status == "True")
}

fn consumer(host: &BareMetalHost) -> Option<String> {
    host.spec.consumer_ref.as_ref().and_then(|consumer| consumer.name.clone())
}

#[tokio::test]
async fn a_machine_gets_a_host_becomes_a_node_and_gives_the_host_back() {
    let bench = Bench::new("server").await;
    let host = bench.host("server-1", json!({"pool": "tenants"})).await;
    bench.host("server-2", json!({"pool": "spare"})).await;
    bench.cluster("c").await;
    bench
        .machine("server-m0", "c", json!({"hostSelector": {"matchLabels": {"pool": "tenants"}}, "automatedCleaningMode": "disabled"}))
        .await;
    let machine = bench.eventually("server-m0", "provisioned", provisioned).await;
    let id = format!("metal3://{}/server-1/server-m0", bench.namespace);
    assert_eq!(machine.spec.provider_id.as_deref(), Some(id.as_str()));
    assert_eq!(machine.annotations()["metal3.io/BareMetalHost"], format!("{}/server-1", bench.namespace));
    let addresses = serde_json::to_value(machine.status.unwrap().addresses).unwrap();
    assert_eq!(
        addresses,
        json!([{"type": "InternalIP", "address": "10.77.0.5"}, {"type": "Hostname", "address": "server-1"},
            {"type": "InternalDNS", "address": "server-1"}])
    );
    let used = bench.api::<BareMetalHost>().get("server-1").await.unwrap();
    let spec = serde_json::to_value(&used.spec).unwrap();
    assert_eq!(spec["consumerRef"]["name"], "server-m0");
    assert_eq!(
        spec["image"],
        json!({"url": "http://10.0.0.1/node.raw", "checksum": "http://10.0.0.1/sums",
        "checksumType": "sha256", "format": "raw"})
    );
    assert_eq!(spec["userData"], json!({"name": "server-m0", "namespace": bench.namespace}));
    assert_eq!((&spec["online"], &spec["automatedCleaningMode"]), (&json!(true), &json!("disabled")));
    assert_eq!(used.labels()["cluster.x-k8s.io/cluster-name"], "c");
    let credentials = bench.api::<Secret>().get("server-1-bmc").await.unwrap();
    assert_eq!(credentials.labels()["cluster.x-k8s.io/cluster-name"], "c");

    let label = format!("metal3.io/uuid={}", host.uid().unwrap());
    let told = |machine: &Metal3Machine| {
        condition(machine, "KubernetesNodeReady").is_some_and(|waits| waits.message.contains(&label))
    };
    bench.eventually("server-m0", "waiting for a Node with the label", told).await;
    let nodes = bench.join("server-node", json!({"metal3.io/uuid": host.uid().unwrap()})).await;
    let marked =
        |node: &Node| node.spec.as_ref().is_some_and(|spec| spec.provider_id.as_deref() == Some(&id));
    scute_testkit::eventually(nodes.clone(), "server-node", "marked", marked).await;
    bench.eventually("server-m0", "ready", ready).await;

    bench.delete::<Metal3Machine>("server-m0").await;
    bench.gone::<Metal3Machine>("server-m0").await;
    let free = bench.api::<BareMetalHost>().get("server-1").await.unwrap();
    let spec = serde_json::to_value(&free.spec).unwrap();
    for field in ["consumerRef", "image", "userData", "metaData", "networkData"] {
        assert!(spec[field].is_null(), "{field}: {spec}");
    }
    assert_eq!(free.status.unwrap().provisioning.state, scute_api::metal3::ProvisioningState::Available);
    assert!(!free.metadata.labels.unwrap().contains_key("cluster.x-k8s.io/cluster-name"));
    assert!(!free.spec.online);
    nodes.delete("server-node", &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn of_two_machines_one_gets_the_host_and_the_other_takes_over() {
    let bench = Bench::new("scarce").await;
    bench.cluster("c").await;
    bench.machine("scarce-m0", "c", json!({})).await;
    let none = bench.says("scarce-m0", "AssociateBareMetalHost", "AssociateBareMetalHostFailed").await;
    assert_eq!(none.message, "there is no BareMetalHost in this namespace");
    bench.machine("scarce-m1", "c", json!({})).await;
    bench.host("server-1", json!({})).await;
    let taken = bench.eventually::<BareMetalHost>("server-1", "taken", |host| consumer(host).is_some()).await;
    let (winner, loser) = match consumer(&taken).as_deref() {
        Some("scarce-m0") => ("scarce-m0", "scarce-m1"),
        _ => ("scarce-m1", "scarce-m0"),
    };
    bench.eventually(winner, "provisioned", provisioned).await;
    let is_told = |machine: &Metal3Machine| {
        condition(machine, "Ready").is_some_and(|ready| {
            ready.message.contains(&format!("server-1 is in use by Metal3Machine {winner}"))
        })
    };
    bench.eventually(loser, "told why", is_told).await;
    bench.delete::<Metal3Machine>(winner).await;
    bench.gone::<Metal3Machine>(winner).await;
    bench.eventually(loser, "provisioned", provisioned).await;
    let host = bench.api::<BareMetalHost>().get("server-1").await.unwrap();
    assert_eq!(consumer(&host).as_deref(), Some(loser));
}

#[tokio::test]
async fn a_host_that_fails_says_so_and_a_dead_one_does_not_hold_up_a_deletion() {
    let bench = Bench::new("dead").await;
    bench.cluster("c").await;
    bench.host("server-1", json!({})).await;
    bench.patch::<BareMetalHost>("server-1", json!({"metadata": {"annotations": {STUCK: ""}}})).await;
    bench.machine("dead-m0", "c", json!({})).await;
    bench.says("dead-m0", "Ready", "WaitingForHost").await;
    let failed = json!({"errorType": "provisioning error", "errorMessage": "no such image", "errorCount": 1});
    bench.patch_status::<BareMetalHost>("server-1", host_status("provisioning", failed)).await;
    let told = bench.says("dead-m0", "Ready", "BareMetalHostError").await;
    assert_eq!(told.message, "BareMetalHost server-1 is provisioning: no such image");

    bench.patch_status::<BareMetalHost>("server-1", host_status("provisioned", json!({}))).await;
    bench.eventually("dead-m0", "provisioned", provisioned).await;
    bench.delete::<Metal3Machine>("dead-m0").await;
    let waits = bench.says("dead-m0", "Ready", "Deleting").await;
    assert!(waits.message.contains("BareMetalHost server-1"), "{}", waits.message);
    let silent =
        json!({"errorType": "power management error", "errorMessage": "the BMC is silent", "errorCount": 3});
    bench.patch_status::<BareMetalHost>("server-1", host_status("deprovisioning", silent)).await;
    bench.gone::<Metal3Machine>("dead-m0").await;
    let host = bench.api::<BareMetalHost>().get("server-1").await.unwrap();
    assert_eq!((consumer(&host), host.spec.image), (None, None));
    // It is not clean, so nobody gets it.
    bench.machine("dead-m1", "c", json!({})).await;
    let refused = bench.says("dead-m1", "AssociateBareMetalHost", "AssociateBareMetalHostFailed").await;
    assert!(refused.message.contains("server-1 has an error: the BMC is silent"), "{}", refused.message);
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_told() {
    let bench = Bench::new("wrong").await;
    bench.host("server-1", json!({})).await;
    bench.machine("wrong-m0", "c", json!({})).await;
    bench.says("wrong-m0", "AssociateBareMetalHost", "WaitingForClusterInfrastructureReady").await;
    bench.cluster("c").await;
    bench.eventually("wrong-m0", "provisioned", provisioned).await;
    let host = bench.api::<BareMetalHost>().get("server-1").await.unwrap();
    let uid = host.uid().unwrap();
    let nodes = bench.join("wrong-a", json!({"metal3.io/uuid": uid})).await;
    bench.eventually("wrong-m0", "ready", ready).await;
    bench.join("wrong-b", json!({"metal3.io/uuid": uid})).await;
    // The first one has the providerID, so the second is a stranger.
    assert!(ready(&bench.api::<Metal3Machine>().get("wrong-m0").await.unwrap()));
    for name in ["wrong-a", "wrong-b"] {
        nodes.delete(name, &DeleteParams::default()).await.unwrap();
    }
    let expression =
        json!({"hostSelector": {"matchExpressions": [{"key": "rack", "operator": "like", "values": ["1"]}]}});
    bench.machine("wrong-m1", "c", expression).await;
    let told = bench.says("wrong-m1", "AssociateBareMetalHost", "AssociateBareMetalHostFailed").await;
    assert!(told.message.starts_with("spec.hostSelector.matchExpressions[0].operator"), "{}", told.message);
    // A host that is gone is no reason to become another server.
    bench.delete::<BareMetalHost>("server-1").await;
    bench.gone::<BareMetalHost>("server-1").await;
    bench.host("server-2", json!({})).await;
    let told = bench.says("wrong-m0", "AssociateBareMetalHost", "AssociateBareMetalHostFailed").await;
    assert!(
        told.message.contains("server-1 is gone") && told.message.contains("delete Machine wrong-m0"),
        "{}",
        told.message
    );
    bench.delete::<Metal3Machine>("wrong-m0").await;
    bench.gone::<Metal3Machine>("wrong-m0").await;
}

#[tokio::test]
async fn a_pause_is_told_and_nothing_else_is_done() {
    let bench = Bench::new("paused").await;
    bench.cluster_as("c", true).await;
    bench.host("server-1", json!({})).await;
    bench.machine("paused-m0", "c", json!({})).await;
    let told =
        |machine: &Metal3Machine| condition(machine, "Paused").is_some_and(|paused| paused.status == "True");
    bench.eventually("paused-m0", "paused", told).await;
    assert_eq!(consumer(&bench.api::<BareMetalHost>().get("server-1").await.unwrap()), None);
    bench.patch::<Cluster>("c", json!({"spec": {"paused": false}})).await;
    bench.eventually("paused-m0", "provisioned", provisioned).await;
}

/// A MachineDeployment, of which nothing is read but that it is there, and the template of its machines.
async fn deployment(bench: &Bench, name: &str, reuse: bool) {
    bench
        .create::<MachineDeployment>(json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDeployment", "metadata": {"name": name},
            "spec": {
                "clusterName": "c", "replicas": 1, "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {
                    "clusterName": "c", "bootstrap": {"dataSecretName": "s"},
                    "infrastructureRef": {"apiGroup": INFRA, "kind": "Metal3MachineTemplate", "name": name},
                }},
            },
        }))
        .await;
    let image = json!({"url": "http://10.0.0.1/node.raw", "checksum": "http://10.0.0.1/sums"});
    bench
        .create::<Metal3MachineTemplate>(json!({
            "apiVersion": format!("{INFRA}/v1beta2"), "kind": "Metal3MachineTemplate", "metadata": {"name": name},
            "spec": {"nodeReuse": reuse, "template": {"spec": {"image": image}}},
        }))
        .await;
}

/// A machine of that MachineDeployment, made from that template.
async fn machine_of(bench: &Bench, name: &str, deployment: &str) {
    let labels = json!({"cluster.x-k8s.io/deployment-name": deployment});
    bench.machine_of(name, "c", labels, json!({})).await;
    let noted = json!({
        "cluster.x-k8s.io/cloned-from-name": deployment,
        "cluster.x-k8s.io/cloned-from-groupkind": format!("Metal3MachineTemplate.{INFRA}"),
    });
    bench.patch::<Metal3Machine>(name, json!({"metadata": {"annotations": noted}})).await;
}

const REUSE: &str = "infrastructure.cluster.x-k8s.io/node-reuse";

async fn released(bench: &Bench, machine: &str) -> Option<String> {
    bench.delete::<Metal3Machine>(machine).await;
    bench.gone::<Metal3Machine>(machine).await;
    let host = bench.api::<BareMetalHost>().get("server-1").await.unwrap();
    assert_eq!(consumer(&host), None);
    host.labels().get(REUSE).cloned()
}

#[tokio::test]
async fn a_host_is_kept_for_the_machines_of_its_deployment_where_the_template_says_so() {
    let bench = Bench::new("reuse").await;
    bench.cluster("c").await;
    bench.host("server-1", json!({})).await;
    deployment(&bench, "md", true).await;
    deployment(&bench, "other", true).await;
    machine_of(&bench, "reuse-m0", "md").await;
    bench.eventually("reuse-m0", "provisioned", provisioned).await;
    assert_eq!(released(&bench, "reuse-m0").await.as_deref(), Some("md"));

    // Others do not get it, and its own get it and not one that is as good.
    machine_of(&bench, "reuse-m1", "other").await;
    let told = bench.says("reuse-m1", "AssociateBareMetalHost", "AssociateBareMetalHostFailed").await;
    assert!(told.message.contains("server-1 is kept for the machines of md"), "{}", told.message);
    machine_of(&bench, "reuse-m2", "md").await;
    bench.eventually("reuse-m2", "provisioned", provisioned).await;
    let host = bench.api::<BareMetalHost>().get("server-1").await.unwrap();
    assert_eq!((consumer(&host).as_deref(), host.labels().get(REUSE)), (Some("reuse-m2"), None));

    bench.patch::<Metal3MachineTemplate>("md", json!({"spec": {"nodeReuse": false}})).await;
    bench.delete::<Metal3Machine>("reuse-m1").await;
    bench.gone::<Metal3Machine>("reuse-m1").await;
    let seen = bench.api::<Metal3MachineTemplate>().get("md").await.unwrap();
    assert!(!seen.spec.node_reuse);
    assert_eq!(released(&bench, "reuse-m2").await, None);
}

#[tokio::test]
async fn a_host_is_not_kept_for_a_deployment_or_cluster_that_goes() {
    let bench = Bench::new("leaving").await;
    bench.cluster("c").await;
    bench.host("server-1", json!({})).await;
    deployment(&bench, "md", true).await;
    machine_of(&bench, "leaving-m0", "md").await;
    bench.eventually("leaving-m0", "provisioned", provisioned).await;
    bench
        .patch::<MachineDeployment>("md", json!({"metadata": {"finalizers": ["tests.scute.dev/hold"]}}))
        .await;
    bench.delete::<MachineDeployment>("md").await;
    assert_eq!(released(&bench, "leaving-m0").await, None);
    bench.patch::<MachineDeployment>("md", json!({"metadata": {"finalizers": null}})).await;

    deployment(&bench, "next", true).await;
    machine_of(&bench, "leaving-m1", "next").await;
    bench.eventually("leaving-m1", "provisioned", provisioned).await;
    bench.patch::<Cluster>("c", json!({"metadata": {"finalizers": ["tests.scute.dev/hold"]}})).await;
    bench.delete::<Cluster>("c").await;
    assert_eq!(released(&bench, "leaving-m1").await, None);
    bench.patch::<Cluster>("c", json!({"metadata": {"finalizers": null}})).await;
}

#[tokio::test]
async fn how_disks_are_cleaned_goes_from_a_template_to_its_machines_and_their_hosts() {
    let bench = Bench::new("cleaning").await;
    bench.cluster("c").await;
    bench.host("server-1", json!({})).await;
    deployment(&bench, "md", false).await;
    machine_of(&bench, "cleaning-m0", "md").await;
    bench.eventually("cleaning-m0", "provisioned", provisioned).await;
    for mode in [AutomatedCleaningMode::Disabled, AutomatedCleaningMode::Metadata] {
        let spec = json!({"spec": {"template": {"spec": {"automatedCleaningMode": mode}}}});
        bench.patch::<Metal3MachineTemplate>("md", spec).await;
        let inherits = |machine: &Metal3Machine| machine.spec.automated_cleaning_mode == Some(mode);
        bench.eventually("cleaning-m0", "as its template", inherits).await;
        let is = |host: &BareMetalHost| host.spec.automated_cleaning_mode == mode;
        bench.eventually("server-1", "as its machine", is).await;
    }
}

#[tokio::test]
async fn a_pause_that_upstream_puts_on_a_host_for_a_move_ends_where_the_cluster_goes_on() {
    const PAUSED: &str = "baremetalhost.metal3.io/paused";
    let bench = Bench::new("arrived").await;
    let pause = |value: &str| json!({"metadata": {"annotations": {PAUSED: value}}});
    bench.cluster("c").await;
    bench.host("server-1", json!({})).await;
    bench.machine("arrived-m0", "c", json!({})).await;
    bench.eventually("arrived-m0", "provisioned", provisioned).await;
    bench.patch::<Cluster>("c", json!({"spec": {"paused": true}})).await;
    bench.says("arrived-m0", "Paused", "Paused").await;
    bench.patch::<BareMetalHost>("server-1", pause("metal3.io/capm3")).await;
    bench.patch::<Cluster>("c", json!({"spec": {"paused": null}})).await;
    let goes_on = |host: &BareMetalHost| !host.annotations().contains_key(PAUSED);
    bench.eventually("server-1", "no longer paused", goes_on).await;

    // The user's own stays, whatever else is written to the host.
    bench.patch::<BareMetalHost>("server-1", pause("")).await;
    bench.patch::<Metal3Machine>("arrived-m0", json!({"spec": {"automatedCleaningMode": "disabled"}})).await;
    let told = |host: &BareMetalHost| host.spec.automated_cleaning_mode == AutomatedCleaningMode::Disabled;
    let host = bench.eventually::<BareMetalHost>("server-1", "told how to clean", told).await;
    assert_eq!(host.annotations()[PAUSED], "");
}
