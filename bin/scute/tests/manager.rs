//! Two managers on one API server.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::ResourceExt;
use kube::api::{Api, PostParams};
use scute_testkit::{PATIENCE, eventually, free_port, server};
use serde_json::json;
use tokio::process::{Child, Command};

const NAMESPACE: &str = "scute-system";

fn manager(kubeconfig: &Path, pod: Option<&Pod>) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scute"));
    command.args(["manager", "--health-port", &free_port().expect("a port").to_string()]);
    command.env("KUBECONFIG", kubeconfig).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    if let Some(pod) = pod {
        let uid = pod.uid().expect("a uid");
        command.env("POD_NAMESPACE", NAMESPACE).env("POD_NAME", pod.name_any()).env("POD_UID", uid);
    }
    command.spawn().expect("a manager")
}

/// The holder of the lease, once there is one and it is not this.
async fn holder(leases: &Api<Lease>, other_than: &str) -> String {
    let named =
        |lease: &Lease| lease.spec.as_ref()?.holder_identity.clone().filter(|holder| !holder.is_empty());
    let lease = eventually(leases.clone(), "scute-manager", "held by another", |lease| {
        named(lease).is_some_and(|holder| holder != other_than)
    })
    .await;
    named(&lease).expect("a holder")
}

#[tokio::test]
async fn of_two_managers_one_works_and_the_other_takes_over() {
    let client = server().await.client().await;
    let namespace: Namespace =
        serde_json::from_value(json!({"metadata": {"name": NAMESPACE}})).expect("a Namespace");
    Api::all(client.clone()).create(&PostParams::default(), &namespace).await.expect("created");
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "manager"},
        "spec": {"automountServiceAccountToken": false, "containers": [{"name": "c", "image": "i"}]}}))
    .expect("a Pod");
    let pods = Api::<Pod>::namespaced(client.clone(), NAMESPACE);
    let pod = pods.create(&PostParams::default(), &pod).await.expect("created");
    let folder = tempfile::tempdir().expect("a folder");
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, server().await.kubeconfig()).expect("written");
    let leases = Api::<Lease>::namespaced(client, NAMESPACE);

    let mut first = manager(&kubeconfig, None);
    let of_first = holder(&leases, "").await;
    let mut second = manager(&kubeconfig, Some(&pod));
    // A clean end gives the lease back: nobody waits for its end.
    let pid = i32::try_from(first.id().expect("it runs")).expect("a pid");
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).expect("a pid"),
        rustix::process::Signal::TERM,
    )
    .expect("told");
    let ended = tokio::time::timeout(PATIENCE, first.wait()).await.expect("in time").expect("waited for");
    assert!(ended.success(), "{ended}");
    let of_second = holder(&leases, &of_first).await;
    assert!(of_second.starts_with(&format!("{NAMESPACE}/manager/")), "{of_second}");

    // The same Pod, started again after it was killed, does not wait for itself.
    second.kill().await.expect("killed");
    let begun = Instant::now();
    let mut third = manager(&kubeconfig, Some(&pod));
    holder(&leases, &of_second).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    third.kill().await.expect("killed");
}
