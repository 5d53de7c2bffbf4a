//! `scute move` as a person runs it, between two real API servers.

use std::path::Path;
use std::process::{Command, Output};

use kube::api::{Api, Patch, PatchParams};
use scute_api::cluster::Cluster;
use serde_json::json;

fn scute_move(dir: &Path, namespace: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scute"));
    command.current_dir(dir).args(["move", "--from", "from", "--to", "to", "-n", namespace]).args(more);
    command.output().expect("the command runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_moved_is_told_before_it_is_and_then_it_is() {
    let (first, second) = (scute_testkit::server().await, scute_testkit::second_server().await);
    tokio::join!(first.install_crds(scute_api::crds()), second.install_crds(scute_api::crds()));
    let namespace = first.namespace("moving").await;
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("from"), first.kubeconfig()).expect("written");
    std::fs::write(dir.path().join("to"), second.kubeconfig()).expect("written");
    let clusters: Api<Cluster> = Api::namespaced(first.client().await, &namespace);
    let cluster = json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": {"name": "c"},
        "spec": {"controlPlaneEndpoint": {"host": "192.0.2.1", "port": 6443},
            "infrastructureRef": {"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "Metal3Cluster", "name": "c"}}});
    clusters
        .create(&Default::default(), &serde_json::from_value(cluster).expect("a Cluster"))
        .await
        .expect("made");

    let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let refused = scute_move(dir.path(), &namespace, &["--dry-run", "--cluster", "c", "d"]);
    assert!(!refused.status.success());
    for line in [
        "Cluster c\n",
        "  1 Cluster.cluster.x-k8s.io\n",
        "Cluster c: its control plane is not initialized\n",
        "Cluster d: ",
    ] {
        assert!(text(&refused).contains(line), "{line:?} in {}", text(&refused));
    }

    let ready = json!({"status": {"initialization": {"infrastructureProvisioned": true, "controlPlaneInitialized": true}}});
    clusters.patch_status("c", &PatchParams::default(), &Patch::Merge(ready)).await.expect("settled");
    let dry = scute_move(dir.path(), &namespace, &["--dry-run"]);
    assert!(dry.status.success(), "{}", text(&dry));
    assert_eq!(clusters.get("c").await.expect("there").spec.paused, None, "nothing is changed");
    let moved = scute_move(dir.path(), &namespace, &[]);
    assert!(moved.status.success(), "{}", String::from_utf8_lossy(&moved.stderr));
    assert!(
        text(&moved).ends_with("resumed at the target: 1\n  1 Cluster.cluster.x-k8s.io\n"),
        "{}",
        text(&moved)
    );
    assert!(clusters.get_opt("c").await.expect("an answer").is_none());
    let there: Api<Cluster> = Api::namespaced(second.client().await, &namespace);
    assert_eq!(there.get("c").await.expect("moved").spec.paused, None);
}
