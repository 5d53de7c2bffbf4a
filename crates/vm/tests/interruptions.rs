//! The manager is killed over and over while a VM comes and while it goes: nothing is made twice, nothing stays.

mod support;

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, DeleteParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use scute_api::kubevirt::{VirtualMachine, VirtualMachineInstance};
use scute_testkit::{ApiServer, Mortal};
use serde_json::json;
use support::vm;

/// How long each manager lives, in milliseconds: from before its first listing to well into the work.
const LIVES: [u64; 12] = [1, 30, 60, 90, 120, 150, 180, 210, 250, 300, 400, 600];

async fn manager(server: &'static ApiServer) -> Mortal {
    Mortal::start(async { support::spawn(server.client().await) }).await
}

/// Runs one manager and kills it.
async fn one_life(server: &'static ApiServer, life: Duration) {
    let mortal = manager(server).await;
    tokio::time::sleep(life).await;
    mortal.kill().await;
}

#[tokio::test]
async fn killed_at_any_moment() {
    let server: &'static ApiServer = Box::leak(Box::new(ApiServer::start().await.unwrap()));
    server.install_crds(scute_api::crds()).await;
    let client = server.client().await;
    let namespace = server.namespace("kill").await;
    let vms: Api<VirtualMachine> = Api::namespaced(client.clone(), &namespace);
    let vmis: Api<VirtualMachineInstance> = Api::namespaced(client.clone(), &namespace);
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let mut object = vm("a", "Always");
    let seed = json!({"name": "seed", "cloudInitNoCloud": {"userData": "#cloud-config\n"}});
    object["spec"]["template"]["spec"]["volumes"].as_array_mut().unwrap().push(seed);

    let made_pods = count_pods(client.clone());
    vms.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    for life in LIVES {
        one_life(server, Duration::from_millis(life)).await;
    }
    let last = manager(server).await;
    let began = |vm: &VirtualMachine| vm.status.as_ref().is_some_and(|status| status.created == Some(true));
    scute_testkit::eventually(vms.clone(), "a", "created", began).await;
    let vmi = scute_testkit::eventually(vmis.clone(), "a", "with a Pod", |vmi: &VirtualMachineInstance| {
        vmi.status.as_ref().is_some_and(|status| !status.active_pods.is_empty())
    })
    .await;
    let there = pods.list(&Default::default()).await.unwrap().items;
    assert_eq!(there.len(), 1);
    assert_eq!(there[0].owner_references()[0].uid, vmi.uid().unwrap());
    last.kill().await;

    vms.delete("a", &DeleteParams::default()).await.unwrap();
    for life in LIVES {
        one_life(server, Duration::from_millis(life)).await;
    }
    let last = manager(server).await;
    scute_testkit::eventually_gone(vms, "a").await;
    scute_testkit::eventually_gone(vmis, "a").await;
    assert!(pods.list(&Default::default()).await.unwrap().items.is_empty());
    last.kill().await;
    // The Secret is the VMI's child: the garbage collector, which this server lacks, takes it.
    let secrets: Api<Secret> = Api::namespaced(client, &namespace);
    for secret in secrets.list(&Default::default()).await.unwrap().items {
        assert_eq!(secret.owner_references().first().map(|owner| owner.uid.clone()), vmi.uid());
    }
    assert!(!made_pods.is_finished(), "two Pods of one VMI");
    made_pods.abort();
}

/// Watches for a second Pod, which would be a second guest with the same disks.
fn count_pods(client: Client) -> tokio::task::JoinHandle<()> {
    use futures::StreamExt;
    tokio::spawn(async move {
        let pods = watcher(Api::<Pod>::all(client), watcher::Config::default()).default_backoff();
        let mut pods = std::pin::pin!(pods.applied_objects());
        let mut first = None;
        while let Some(Ok(pod)) = pods.next().await {
            let uid = pod.uid();
            assert_eq!(first.get_or_insert_with(|| uid.clone()), &uid, "two Pods of one VMI");
        }
    })
}
