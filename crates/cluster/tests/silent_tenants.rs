//! Tenants whose API servers take connections and never answer, beside some that do: they cost those nothing.

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;
use tokio::net::TcpListener;
use world::{Case, build, condition, run};

const DEAD: usize = 60;
const LIVE: usize = 3;
/// A worker that waits for a dead tenant waits for ten seconds, and a controller has sixteen: the Machines of sixty dead
/// tenants would keep them busy for most of a minute.
const GENEROUS: Duration = Duration::from_secs(20);

/// A server that accepts and never answers: its address, and how many connections it has taken.
async fn black_hole() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            kept.push(connection);
        }
    });
    (format!("https://{address}"), taken)
}

/// A Cluster of a dead tenant, and a Machine of it that is to be drained.
async fn dead(case: &Case, name: &str, server: &str) {
    case.create(build::control_plane(name)).await;
    case.kubeconfig_to(name, server).await;
    case.create(build::cluster(name)).await;
    case.initialize_control_plane(name).await;
    case.condition("Cluster", name, "ControlPlaneInitialized", "True", "Initialized").await;
    case.create(build::config(name)).await;
    case.create(build::infra_machine(name)).await;
    case.create(build::machine(name, name)).await;
    case.when("Machine", name, "seen", |machine| machine["status"]["phase"] == "Pending").await;
    case.status("Machine", name, json!({"nodeRef": {"name": format!("{}.{name}", case.namespace)}})).await;
    case.delete("Machine", name).await;
}

/// Brings a Machine of a live tenant up and takes it down, with all that asks the tenant; how long that takes.
async fn through_a_life(case: &Case, cluster: &str, prefix: &str) -> Duration {
    let (begun, name) = (Instant::now(), &format!("{prefix}-{cluster}"));
    let (node, id) = (format!("{}.{name}", case.namespace), format!("test://{}/{name}", case.namespace));
    case.create(build::config(name)).await;
    case.create(build::infra_machine(name)).await;
    case.create(build::machine(name, cluster)).await;
    let made = json!({"dataSecretName": name, "initialization": {"dataSecretCreated": true}});
    case.status("TestConfig", name, made).await;
    case.patch("TestMachine", name, json!({"spec": {"providerID": id}})).await;
    case.status("TestMachine", name, json!({"initialization": {"provisioned": true}})).await;
    case.create(build::node(&node, &id)).await;
    case.status("Node", &node, build::node_status("True")).await;
    case.condition("Machine", name, "Ready", "True", "Ready").await;
    let tainted = |node: &serde_json::Value| {
        let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
        taints.iter().any(|taint| taint["key"] == "node.cluster.x-k8s.io/uninitialized")
    };
    case.when("Node", &node, "without the taint", |node| !tainted(node)).await;
    case.delete("Machine", name).await;
    case.gone("Machine", name).await;
    assert!(case.get("Node", &node).await.is_none());
    begun.elapsed()
}

#[test]
fn dead_tenants_cost_the_others_nothing() {
    run(async {
        let case = Case::new("manual-silent").await;
        let live: Vec<_> = (0..LIVE).map(|n| format!("live-{n}")).collect();
        join_all(live.iter().map(|name| case.ready_cluster(name))).await;
        let alone = join_all(live.iter().map(|name| through_a_life(&case, name, "alone"))).await;

        let (server, taken) = black_hole().await;
        let names: Vec<_> = (0..DEAD).map(|n| format!("dead-{n}")).collect();
        for some in names.chunks(10) {
            join_all(some.iter().map(|name| dead(&case, name, &server))).await;
        }
        for name in &names {
            case.condition("Machine", name, "Deleting", "True", "DrainingNode").await;
        }
        assert!(taken.load(Ordering::Relaxed) >= DEAD, "all of them are asked");

        let beside = join_all(live.iter().map(|name| through_a_life(&case, name, "beside"))).await;
        for (alone, beside) in alone.iter().zip(&beside) {
            assert!(*beside < *alone + GENEROUS, "{beside:?} beside {DEAD} dead tenants, {alone:?} without");
        }
        for name in &live {
            case.condition("Cluster", name, "RemoteConnectionProbe", "True", "ProbeSucceeded").await;
        }
        // What is not heard is not taken for gone: no Machine of a dead tenant has lost its infrastructure.
        for name in &names {
            let machine = case.get("TestMachine", name).await.expect("there");
            assert!(machine["metadata"]["deletionTimestamp"].is_null(), "{name}");
            let cluster = case.get("Cluster", name).await.expect("there");
            assert_ne!(condition(&cluster, "RemoteConnectionProbe")["status"], "True", "{name}");
        }
        let silent = |machine: &serde_json::Value| {
            condition(machine, "Deleting")["message"]
                .as_str()
                .is_some_and(|text| text.contains("did not answer"))
        };
        case.when("Machine", &names[0], "told that its tenant does not answer", silent).await;
    });
}
