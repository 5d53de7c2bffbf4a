//! Controllers against a real API server, and a kubelet that does what a test tells it.

#![allow(dead_code)] // each test binary uses its part

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use scute_kit::Hub;
use scute_kit::tenants::Tenants;
use scute_testkit::{eventually, server};
use scute_vm::Config;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// A namespace of one test, with the controllers of this binary at work.
pub struct Bench {
    pub client: Client,
    pub namespace: String,
}

/// The controllers live on a runtime of their own: that of a test ends with it.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("a runtime"))
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
        static STARTED: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
        STARTED
            .get_or_init(|| async {
                server.install_crds(scute_api::crds()).await;
                runtime()
                    .spawn(async {
                        let client = scute_testkit::server().await.client().await;
                        let (mut tasks, _hub) = spawn(client.clone());
                        tokio::spawn(bury(client));
                        tokio::spawn(async move { while tasks.join_next().await.is_some() {} });
                    })
                    .await
                    .unwrap();
            })
            .await;
        Self { client: server.client().await, namespace: server.namespace(prefix).await }
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates an object from its JSON.
    pub async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Serialize,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.api::<K>().create(&PostParams::default(), &object).await.unwrap()
    }

    pub async fn patch<K>(&self, name: &str, patch: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap()
    }

    pub async fn patch_status<K>(&self, name: &str, status: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let patch = json!({"status": status});
        self.api::<K>().patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap()
    }

    pub async fn delete<K>(&self, name: &str)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        self.api::<K>().delete(name, &DeleteParams::default()).await.unwrap();
    }

    pub async fn eventually<K>(&self, name: &str, what: &str, is: impl Fn(&K) -> bool) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        eventually(self.api::<K>(), name, what, is).await
    }

    pub async fn gone<K>(&self, name: &str)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        scute_testkit::eventually_gone(self.api::<K>(), name).await;
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
