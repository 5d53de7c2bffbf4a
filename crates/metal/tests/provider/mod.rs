//! The controllers of Cluster API's kinds against a real API server, with hosts that do what they are told.

#![allow(dead_code)] // each test binary uses its part

use std::ops::Deref;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use scute_api::cluster::{Cluster, Machine};
use scute_api::infrastructure::Metal3Machine;
use scute_api::metal3::{BareMetalHost, ProvisioningState as State};
use scute_kit::Hub;
use scute_kit::conditions::find;
use scute_kit::tenants::Tenants;
use scute_testkit::{Case, server};
use serde_json::{Value, json};
use tokio::task::JoinSet;

pub const INFRA: &str = "infrastructure.cluster.x-k8s.io";
/// Annotation of a host of these tests: it stays in the state that it is in.
pub const STUCK: &str = "tests.scute.dev/stuck";

/// A namespace of one test, with the controllers of this room at work.
pub struct Bench(Case);

impl Deref for Bench {
    type Target = Case;

    fn deref(&self) -> &Case {
        &self.0
    }
}

/// The controllers of this room as one process has them; they stop when it is dropped.
pub struct Manager(#[allow(dead_code, reason = "held")] JoinSet<()>);

impl Manager {
    pub async fn start() -> Self {
        let hub = Hub::new(server().await.client().await);
        let tenants = Tenants::new(&hub);
        let mut tasks = JoinSet::new();
        scute_metal::spawn_provider(&hub, &tenants, Vec::new(), &mut tasks);
        Self(tasks)
    }
}

impl Bench {
    pub async fn new(prefix: &str) -> Self {
        Self::with(prefix, |_, _, _| {}).await
    }

    /// With more controllers; those of the first test of a binary work for all.
    pub async fn with(
        prefix: &str,
        more: impl FnOnce(&Arc<Hub>, &Arc<Tenants>, &mut JoinSet<()>) + Send + 'static,
    ) -> Self {
        let server = server().await;
        scute_testkit::once(async {
            server.install_crds(scute_api::crds()).await;
            let client = server.client().await;
            let hub = Hub::new(client.clone());
            let tenants = Tenants::new(&hub);
            let mut tasks = JoinSet::new();
            scute_metal::spawn_provider(&hub, &tenants, Vec::new(), &mut tasks);
            more(&hub, &tenants, &mut tasks);
            tokio::spawn(obey(client));
            tokio::spawn(async move { while tasks.join_next().await.is_some() {} });
        })
        .await;
        Self(Case::on(server, prefix).await)
    }

    /// Without controllers: the test starts them itself.
    pub async fn bare(prefix: &str) -> Self {
        let server = server().await;
        server.install_crds(scute_api::crds()).await;
        Self(Case::on(server, prefix).await)
    }

    /// A Cluster whose infrastructure and control plane are there, and the way into it.
    pub async fn cluster(&self, name: &str) -> Cluster {
        self.cluster_as(name, false).await
    }

    /// One that is paused from the beginning: watches of different kinds do not wait for each other.
    pub async fn cluster_as(&self, name: &str, paused: bool) -> Cluster {
        self.create::<Cluster>(json!({
            "metadata": {"name": name}, "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
            "spec": {
                "paused": paused,
                "infrastructureRef": {"apiGroup": INFRA, "kind": "Metal3Cluster", "name": name},
                "clusterNetwork": {"pods": {"cidrBlocks": ["10.245.0.0/16"]}},
            },
        }))
        .await;
        self.secret(&format!("{name}-kubeconfig"), "value", &server().await.kubeconfig()).await;
        let reached = json!({"infrastructureProvisioned": true, "controlPlaneInitialized": true});
        self.patch_status(name, json!({ "initialization": reached })).await
    }

    pub async fn secret(&self, name: &str, key: &str, text: &str) {
        let secret = json!({"metadata": {"name": name}, "stringData": {key: text}});
        self.create::<Secret>(secret).await;
    }

    /// A host that is available.
    pub async fn host(&self, name: &str, labels: Value) -> BareMetalHost {
        self.secret(&format!("{name}-bmc"), "username", "admin").await;
        self.create::<BareMetalHost>(json!({
            "apiVersion": "metal3.io/v1alpha1", "kind": "BareMetalHost",
            "metadata": {"name": name, "labels": labels},
            "spec": {"online": false, "bootMACAddress": "52:54:00:00:00:01",
                "bmc": {"address": "redfish://10.0.0.9/redfish/v1/Systems/1", "credentialsName": format!("{name}-bmc")}},
        }))
        .await;
        let nics = json!([{"name": "eno1", "mac": "52:54:00:00:00:01", "ip": "10.77.0.5"}]);
        let status = host_status("available", json!({"hardware": {"hostname": name, "nics": nics}}));
        self.patch_status::<BareMetalHost>(name, status).await
    }

    /// A Machine with bootstrap data, and its Metal3Machine.
    pub async fn machine(&self, name: &str, cluster: &str, spec: Value) -> Metal3Machine {
        self.machine_of(name, cluster, json!({}), spec).await
    }

    /// The same, with labels of the Machine.
    pub async fn machine_of(&self, name: &str, cluster: &str, labels: Value, spec: Value) -> Metal3Machine {
        self.secret(name, "value", "#cloud-config\n{}\n").await;
        let machine: Machine = self
            .create(json!({
                "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
                "metadata": {"name": name, "labels": labels},
                "spec": {
                    "clusterName": cluster, "bootstrap": {"dataSecretName": name},
                    "infrastructureRef": {"apiGroup": INFRA, "kind": "Metal3Machine", "name": name},
                },
            }))
            .await;
        let mut whole = json!({"image": {"url": "http://10.0.0.1/node.raw", "checksum": "http://10.0.0.1/sums",
            "checksumType": "sha256", "diskFormat": "raw"}});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        self.create(json!({
            "apiVersion": format!("{INFRA}/v1beta2"), "kind": "Metal3Machine",
            "metadata": {
                "name": name, "ownerReferences": [machine.controller_owner_ref(&()).unwrap()],
                "labels": {"cluster.x-k8s.io/cluster-name": cluster},
            },
            "spec": whole,
        }))
        .await
    }

    /// What the server's kubelet does.
    pub async fn join(&self, name: &str, labels: Value) -> Api<Node> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let node = serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap();
        nodes.create(&PostParams::default(), &node).await.unwrap();
        nodes
    }

    /// Waits until a condition of a Metal3Machine has this reason.
    pub async fn says(&self, name: &str, type_: &'static str, reason: &'static str) -> Condition {
        let of = move |machine: &Metal3Machine| condition(machine, type_);
        let is =
            move |machine: &Metal3Machine| of(machine).is_some_and(|condition| condition.reason == reason);
        let machine = self.eventually::<Metal3Machine>(name, &format!("{type_} {reason}"), is).await;
        condition(&machine, type_).unwrap()
    }
}

pub fn condition(machine: &Metal3Machine, type_: &str) -> Option<Condition> {
    find(&machine.status.as_ref()?.conditions, type_).cloned()
}

pub fn host_status(state: &str, more: Value) -> Value {
    let mut status = json!({"operationalStatus": "OK", "errorMessage": "", "errorCount": 0, "provisioningFailCount": 0,
        "poweredOn": false, "provisioning": {"state": state, "ID": "id"}});
    status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    status
}

/// A few words of what the controller of BareMetalHosts does: a host that has an image gets it, and one that has none any
/// more becomes available.
async fn obey(client: Client) {
    let hosts =
        watcher(Api::<BareMetalHost>::all(client.clone()), watcher::Config::default()).default_backoff();
    let mut hosts = std::pin::pin!(hosts.applied_objects());
    while let Some(host) = hosts.next().await {
        let Ok(host) = host else { continue };
        let Some(status) = &host.status else { continue };
        if host.annotations().contains_key(STUCK) {
            continue;
        }
        let (image, next) = (host.spec.image.is_some(), |state: &str, on: bool| Some((state.to_owned(), on)));
        let next = match status.provisioning.state {
            State::Available if image && host.spec.online => next("provisioning", true),
            State::Provisioning if image => next("provisioned", true),
            State::Provisioning | State::Provisioned if !image => next("deprovisioning", true),
            State::Provisioned if status.powered_on == is_held_off(&host) => {
                next("provisioned", !status.powered_on)
            }
            State::Deprovisioning => next("available", false),
            _ => None,
        };
        let Some((state, on)) = next else { continue };
        let api: Api<BareMetalHost> = Api::namespaced(client.clone(), &host.namespace().unwrap());
        let patch = json!({"status": {"poweredOn": on, "provisioning": {"state": state}}});
        // It may be gone already.
        let _ = api.patch_status(&host.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await;
    }
}

/// By a reboot annotation with a key.
fn is_held_off(host: &BareMetalHost) -> bool {
    host.annotations().keys().any(|name| name.starts_with("reboot.metal3.io/"))
}
