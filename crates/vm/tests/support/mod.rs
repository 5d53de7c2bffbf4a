//! Controllers against a real API server, and a kubelet that does what a test tells it.

#![allow(dead_code)] // each test binary uses its part

use std::ops::Deref;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, DeleteParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use scute_kit::Hub;
use scute_kit::tenants::Tenants;
use scute_testkit::{Case, server};
use scute_vm::Config;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// A namespace of one test, with the controllers of this binary at work.
pub struct Bench(Case);

impl Deref for Bench {
    type Target = Case;

    fn deref(&self) -> &Case {
        &self.0
    }
}

/// Starts all controllers of this room.
pub fn spawn(client: Client) -> (JoinSet<()>, Arc<Hub>) {
    let hub = Hub::new(client);
    let tenants = Tenants::new(&hub);
    let mut tasks = JoinSet::new();
    let config = Config { pod_ranges: vec!["10.85.0.0/16".parse().unwrap()], ..Config::default() };
    scute_vm::spawn(&hub, &tenants, config, &mut tasks);
    (tasks, hub)
}

impl Bench {
    pub async fn new(prefix: &str) -> Self {
        let server = server().await;
        scute_testkit::once(async {
            server.install_crds(scute_api::crds()).await;
            let client = server.client().await;
            let (mut tasks, _hub) = spawn(client.clone());
            tokio::spawn(bury(client));
            tokio::spawn(async move { while tasks.join_next().await.is_some() {} });
        })
        .await;
        Self(Case::on(server, prefix).await)
    }

    /// The Pod of the VMI of this name and UID, once it is there.
    pub async fn pod_of(&self, vmi: &str, uid: &str) -> Pod {
        scute_testkit::until(&format!("a Pod of VMI {vmi}"), || async {
            let pods = self.api::<Pod>().list(&Default::default()).await.unwrap();
            pods.items.into_iter().find(|pod| pod.owner_references().iter().any(|owner| owner.uid == uid))
        })
        .await
    }

    /// What the scheduler does.
    pub async fn bind(&self, pod: &str, node: &str) {
        let body = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node}});
        let uri = format!("/api/v1/namespaces/{}/pods/{pod}/binding", self.namespace);
        let request = http::Request::post(uri)
            .header("content-type", "application/json")
            .body(body.to_string().into_bytes())
            .unwrap();
        let _: Value = self.client.request(request).await.unwrap();
    }

    /// What scheduler and kubelet do when all goes well.
    pub async fn boot(&self, pod: &Pod, address: &str) {
        let name = pod.name_any();
        self.bind(&name, "node-1").await;
        let network = container("network", ended(0, r#"{"mac":"02:42:00:00:00:07"}"#), true);
        self.patch_status::<Pod>(
            &name,
            json!({
                "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
                "initContainerStatuses": [network],
                "containerStatuses": [container("compute", json!({"running": {}}), true)],
            }),
        )
        .await;
    }

    /// How a kubelet reports the readiness probe of a launcher that has started.
    pub async fn set_ready(&self, pod: &Pod, ready: bool) {
        let mut compute = container("compute", json!({"running": {}}), true);
        compute["ready"] = json!(ready);
        let status = json!({"containerStatuses": [compute], "conditions": [{"type": "ContainersReady",
            "status": if ready { "True" } else { "False" }, "lastTransitionTime": second()}]});
        self.patch_status::<Pod>(&pod.name_any(), status).await;
    }

    /// How a kubelet reports the end of the launcher.
    pub async fn end(&self, pod: &Pod, code: i32, message: &str) {
        let phase = if code == 0 { "Succeeded" } else { "Failed" };
        self.patch_status::<Pod>(
            &pod.name_any(),
            json!({"phase": phase, "containerStatuses": [container("compute", ended(code, message), false)]}),
        )
        .await;
    }

    /// A Pod that waits for its image.
    pub async fn waiting(&self, pod: &Pod, reason: &str) {
        let state = json!({"waiting": {"reason": reason, "message": "no such image"}});
        let status = json!({"phase": "Pending", "containerStatuses": [container("compute", state, false)]});
        self.patch_status::<Pod>(&pod.name_any(), status).await;
    }

    pub async fn secrets(&self) -> Vec<String> {
        let list = self.api::<Secret>().list(&Default::default()).await.unwrap();
        list.items.iter().map(ResourceExt::name_any).collect()
    }
}

/// Now, as objects have it.
pub fn second() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn ended(code: i32, message: &str) -> Value {
    let reason = if code == 137 {
        "OOMKilled"
    } else if code == 0 {
        "Completed"
    } else {
        "Error"
    };
    json!({"terminated": {"exitCode": code, "reason": reason, "message": message}})
}

fn container(name: &str, state: Value, ready: bool) -> Value {
    json!({"name": name, "state": state, "ready": ready, "started": ready, "image": "i", "imageID": "", "restartCount": 0})
}

/// What every kubelet does: a Pod that is told to go ends, and goes.
async fn bury(client: Client) {
    use futures::StreamExt;
    let pods = watcher(Api::<Pod>::all(client.clone()), watcher::Config::default()).default_backoff();
    let mut pods = std::pin::pin!(pods.applied_objects());
    while let Some(pod) = pods.next().await {
        let Ok(pod) = pod else { continue };
        if pod.metadata.deletion_timestamp.is_some() {
            let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap());
            // It may be gone already.
            let _ = api.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await;
        }
    }
}

/// A spec of a small guest.
pub fn guest() -> Value {
    json!({
        "domain": {
            "cpu": {"cores": 2}, "memory": {"guest": "1Gi"},
            "devices": {"disks": [{"name": "root", "disk": {"bus": "virtio"}}]},
        },
        "volumes": [{"name": "root", "containerDisk": {"image": "registry.example/disk:1"}}],
    })
}

pub fn vm(name: &str, strategy: &str) -> Value {
    json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": name},
        "spec": {"runStrategy": strategy, "template": {"metadata": {"labels": {"app": name}}, "spec": guest()}},
    })
}
