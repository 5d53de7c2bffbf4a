//! The cluster autoscaler of the Kubernetes project, with its provider clusterapi: by hand, with `SCUTE_AUTOSCALER` naming its
//! binary (`go build -tags clusterapi` in its repository),
//! `cargo test -p scute-cluster --test autoscaler -- --ignored`.

mod world;

use std::path::PathBuf;

use scute_testkit::Process;
use serde_json::{Value, json};
use world::{Case, condition, name, names, run};

/// A Pod that asks for most of a Node, as the scheduler leaves one that fits nowhere.
async fn hungry(case: &Case, name: &str) {
    case.create(
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [
        {"name": "c", "image": "i", "resources": {"requests": {"cpu": "1500m"}}}]}}),
    )
    .await;
    let waits = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable"});
    case.status("Pod", name, json!({"phase": "Pending", "conditions": [waits]})).await;
}

/// What the scheduler and the kubelet do once there is a Node.
async fn placed(case: &Case, name: &str, node: &str) {
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node}});
    let pods = kube::Api::<k8s_openapi::api::core::v1::Pod>::namespaced(case.client.clone(), &case.namespace);
    pods.create_subresource::<Value, Value>("binding", name, &Default::default(), &binding)
        .await
        .expect("bound");
    case.status("Pod", name, json!({"phase": "Running"})).await;
}

/// Waits for so many Machines with a Node, whose kubelets then say what they have; gives Machines and Nodes.
async fn running(case: &Case, count: usize) -> Vec<(String, String)> {
    let is = |machines: &[Value]| {
        machines.len() == count
            && machines.iter().all(|machine| condition(machine, "Available")["status"] == "True")
    };
    let machines = case.until("Machine", &format!("{count} run"), is).await;
    let mut nodes = Vec::new();
    for machine in machines {
        let node = machine["status"]["nodeRef"]["name"].as_str().expect("a Node").to_owned();
        let has = json!({"cpu": "2", "memory": "4Gi", "pods": "110"});
        case.status("Node", &node, json!({"capacity": has, "allocatable": has})).await;
        // Nobody else here takes away what the API server puts on a Node that is not ready yet.
        case.patch("Node", &node, json!({"spec": {"taints": null}})).await;
        nodes.push((name(&machine), node));
    }
    nodes
}

#[test]
#[ignore = "by hand: SCUTE_AUTOSCALER names the autoscaler's binary"]
fn the_cluster_autoscaler_makes_and_takes_away() {
    run(async {
        let program = PathBuf::from(std::env::var("SCUTE_AUTOSCALER").expect("SCUTE_AUTOSCALER"));
        let case = Case::new("autoscaled").await;
        case.ready_cluster("c").await;
        case.create(world::build::infra_template("t")).await;
        case.status("TestMachineTemplate", "t", json!({"capacity": {"cpu": "2", "memory": "4Gi"}})).await;
        case.create(world::build::config_template("t")).await;
        let mut deployment = world::build::deployment("md", "c", "t", 0);
        deployment["metadata"]["annotations"] = json!({
            "cluster.x-k8s.io/cluster-api-autoscaler-node-group-min-size": "0",
            "cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size": "3",
        });
        case.create(deployment).await;

        let folder = tempfile::tempdir().expect("a folder");
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, world::server().await.kubeconfig()).expect("written");
        let arguments = [
            "--cloud-provider=clusterapi".to_owned(),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--cloud-config={}", kubeconfig.display()),
            "--clusterapi-cloud-config-authoritative".to_owned(),
            format!("--node-group-auto-discovery=clusterapi:namespace={}", case.namespace),
            "--leader-elect=false".to_owned(),
            "--address=127.0.0.1:0".to_owned(),
            "--scan-interval=1s".to_owned(),
            "--scale-down-delay-after-add=1s".to_owned(),
            "--scale-down-unneeded-time=2s".to_owned(),
            "--scale-down-unready-time=2s".to_owned(),
            "--v=2".to_owned(),
        ];
        let log = std::env::var("SCUTE_AUTOSCALER_LOG").map_or(folder.path().join("log"), PathBuf::from);
        let _autoscaler = Process::start(&program, &arguments, &log).expect("started");

        // From nothing, by what the template says that a Machine brings; then one more for each that fits nowhere.
        let mut all: Vec<(String, String)> = Vec::new();
        for (count, pod) in ["a", "b", "d"].into_iter().enumerate() {
            hungry(&case, pod).await;
            let now = running(&case, count + 1).await;
            let new = now.into_iter().find(|machine| !all.contains(machine)).expect("a new one");
            placed(&case, pod, &new.1).await;
            all.push(new);
        }

        // The Machine whose Node is empty goes, and no other.
        let pods =
            kube::Api::<k8s_openapi::api::core::v1::Pod>::namespaced(case.client.clone(), &case.namespace);
        pods.delete("b", &kube::api::DeleteParams::default().grace_period(0)).await.expect("deleted");
        let two = running(&case, 2).await;
        assert!(two.contains(&all[0]) && two.contains(&all[2]), "{two:?} of {all:?}");
        assert_eq!(names(&case.list("TestMachine").await).len(), 2);
    });
}
