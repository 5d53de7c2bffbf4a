//! `cargo xtask bench move`: 50 Clusters of 10 Machines on servers, from one real API server to another, beside a plain client
//! that makes the same writes one after the other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use scute_movement::{Kind, Movement, Scope, kinds};
use scute_testkit::{ApiServer, Figure};
use serde_json::{Value, json};

const CLUSTERS: usize = 50;
const MACHINES: usize = 10;
/// Requests at once while the objects are made.
const AT_ONCE: usize = 16;

const CORE: &str = "cluster.x-k8s.io/v1beta2";
const INFRA: &str = "infrastructure.cluster.x-k8s.io/v1beta2";

#[tokio::main]
async fn main() -> Result<()> {
    let (source, target) = (ApiServer::start().await?, ApiServer::start().await?);
    tokio::join!(source.install_crds(scute_api::crds()), target.install_crds(scute_api::crds()));
    let (source, target) = (source.client().await, target.client().await);
    let mut took = BTreeMap::new();
    for namespace in ["plain", "moved"] {
        for client in [&source, &target] {
            let mut made = Namespace::default();
            made.metadata.name = Some(namespace.to_owned());
            Api::all(client.clone()).create(&PostParams::default(), &made).await?;
        }
        let side = |client: &Client| Side { client: client.clone(), namespace: namespace.to_owned() };
        let (from, to) = (side(&source), side(&target));
        from.fill().await?;
        let objects = from.all().await?.len();
        let begin = Instant::now();
        if namespace == "plain" {
            plainly(&from, &to).await?;
        } else {
            let scope = Scope { clusters: None, hosts: true };
            Movement::new(source.clone(), target.clone(), namespace, scope, "bench").run(&|_| true).await?;
        }
        took.insert(namespace, begin.elapsed());
        let (left, there) = (from.all().await?.len(), to.all().await?.len());
        ensure!((left, there) == (0, objects), "{namespace}: {left} left, {there} of {objects} moved");
        if namespace == "moved" {
            Figure::of("objects moved", "").value(objects as f64).print();
        }
    }
    let seconds = |took: &Duration| took.as_secs_f64();
    let floor = seconds(&took["plain"]);
    let name = format!("move of {CLUSTERS} Clusters, {} Machines", CLUSTERS * MACHINES);
    Figure::of(&name, "s").value(seconds(&took["moved"])).floor(floor).at_most(floor * 0.5).print();
    Ok(())
}

/// One side's namespace.
struct Side {
    client: Client,
    namespace: String,
}

impl Side {
    fn api(&self, kind: &Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind.resource)
    }

    /// Every object with its kind.
    async fn all(&self) -> Result<Vec<(Kind, DynamicObject)>> {
        let mut all = Vec::new();
        for kind in kinds() {
            let listed = self.api(&kind).list(&ListParams::default()).await?;
            // The service account's, which every namespace has.
            let own = listed
                .items
                .into_iter()
                .filter(|object| object.metadata.name.as_deref() != Some("kube-root-ca.crt"));
            all.extend(own.map(|object| (kind.clone(), object)));
        }
        Ok(all)
    }

    async fn create(
        &self,
        kinds: &BTreeMap<String, Kind>,
        object: Value,
        status: Value,
    ) -> Result<DynamicObject> {
        let kind = object["kind"].as_str().and_then(|kind| kinds.get(kind)).context("a kind")?;
        let (api, object): (_, DynamicObject) = (self.api(kind), serde_json::from_value(object)?);
        let made = api.create(&PostParams::default(), &object).await?;
        if !status.is_null() {
            let (name, patch) = (made.metadata.name.clone().unwrap_or_default(), json!({"status": status}));
            api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        }
        Ok(made)
    }

    /// Clusters on servers as they are when nothing is under way.
    async fn fill(&self) -> Result<()> {
        let kinds: BTreeMap<String, Kind> =
            kinds().into_iter().map(|kind| (kind.resource.kind.clone(), kind)).collect();
        let clusters = stream::iter((0..CLUSTERS).map(|number| self.cluster(&kinds, number)));
        clusters.buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn cluster(&self, kinds: &BTreeMap<String, Kind>, number: usize) -> Result<()> {
        let cluster = format!("c{number}");
        let endpoint = json!({"host": "192.0.2.1", "port": 6443});
        let labels = json!({"cluster.x-k8s.io/cluster-name": cluster});
        let made = self
            .create(
                kinds,
                json!({"apiVersion": CORE, "kind": "Cluster",
                    "metadata": {"name": cluster, "finalizers": ["cluster.cluster.x-k8s.io"]},
                    "spec": {"controlPlaneEndpoint": endpoint, "infrastructureRef": refers("Metal3Cluster", &cluster)}}),
                json!({"observedGeneration": 1, "phase": "Provisioned",
                    "initialization": {"infrastructureProvisioned": true, "controlPlaneInitialized": true}}),
            )
            .await?;
        let metal = json!({"apiVersion": INFRA, "kind": "Metal3Cluster",
            "metadata": {"name": cluster, "labels": labels, "ownerReferences": [owner(&made)]},
            "spec": {"controlPlaneEndpoint": endpoint}});
        self.create(kinds, metal, Value::Null).await?;
        for name in ["ca", "kubeconfig"] {
            self.create(kinds, secret(&format!("{cluster}-{name}"), &[]), Value::Null).await?;
        }
        for machine in 0..MACHINES {
            self.machine(kinds, &made, &format!("{cluster}-{machine}"), &labels).await?;
        }
        Ok(())
    }

    async fn machine(
        &self,
        kinds: &BTreeMap<String, Kind>,
        cluster: &DynamicObject,
        name: &str,
        labels: &Value,
    ) -> Result<()> {
        let id = format!("metal3://{}/{name}/{name}", self.namespace);
        let machine = self
            .create(
                kinds,
                json!({"apiVersion": CORE, "kind": "Machine",
                    "metadata": {"name": name, "labels": labels, "finalizers": ["machine.cluster.x-k8s.io"],
                        "ownerReferences": [owner(cluster)]},
                    "spec": {"clusterName": cluster.metadata.name, "providerID": id, "version": "v1.35.4",
                        "bootstrap": {"dataSecretName": format!("{name}-data")},
                        "infrastructureRef": refers("Metal3Machine", name)}}),
                json!({"phase": "Running", "nodeRef": {"name": name}}),
            )
            .await?;
        let image = json!({"url": "http://images/node.raw", "checksum": "0".repeat(64)});
        let metal = json!({"apiVersion": INFRA, "kind": "Metal3Machine",
            "metadata": {"name": name, "labels": labels, "ownerReferences": [owner(&machine)],
                "finalizers": ["metal3machine.infrastructure.cluster.x-k8s.io"]},
            "spec": {"providerID": id, "image": image}});
        self.create(kinds, metal, json!({"initialization": {"provisioned": true}})).await?;
        self.create(kinds, secret(&format!("{name}-data"), &[owner(&machine)]), Value::Null).await?;
        let bmc = format!("{name}-bmc");
        let credentials = self.create(kinds, secret(&bmc, &[]), Value::Null).await?;
        let consumer =
            json!({"kind": "Metal3Machine", "name": name, "namespace": self.namespace, "apiVersion": INFRA});
        let host = json!({"apiVersion": "metal3.io/v1alpha1", "kind": "BareMetalHost",
            "metadata": {"name": name, "finalizers": ["baremetalhost.metal3.io"]},
            "spec": {"online": true, "bootMACAddress": "52:54:00:00:00:01", "image": image, "consumerRef": consumer,
                "bmc": {"address": "redfish-virtualmedia://192.0.2.9/redfish/v1/Systems/1", "credentialsName": bmc}}});
        let status = json!({"operationalStatus": "OK", "errorCount": 0, "errorMessage": "", "hardwareProfile": "unknown",
            "poweredOn": true, "provisioning": {"state": "provisioned", "ID": name},
            "goodCredentials": {"credentials": {"name": bmc, "namespace": self.namespace},
                "credentialsVersion": credentials.metadata.resource_version}});
        self.create(kinds, host, status).await?;
        let hardware = json!({"apiVersion": "metal3.io/v1alpha1", "kind": "HardwareData", "metadata": {"name": name},
            "spec": {"hardware": {"hostname": name, "ramMebibytes": 1024}}});
        self.create(kinds, hardware, Value::Null).await.map(drop)
    }
}

fn refers(kind: &str, name: &str) -> Value {
    json!({"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": kind, "name": name})
}

fn owner(object: &DynamicObject) -> Value {
    let types = object.types.clone().unwrap_or_default();
    json!({"apiVersion": types.api_version, "kind": types.kind, "name": object.metadata.name, "uid": object.metadata.uid})
}

fn secret(name: &str, owners: &[Value]) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "ownerReferences": owners},
        "stringData": {"value": "x".repeat(2048)}})
}

/// What a move has to write: pauses, objects, statuses, finalizers and deletions, ends of pauses; one after the other.
async fn plainly(from: &Side, to: &Side) -> Result<()> {
    let merge = PatchParams::default();
    let objects = from.all().await?;
    let pause = |kind: &Kind, paused: bool| match kind.resource.kind.as_str() {
        "Cluster" => Some(json!({"spec": {"paused": paused.then_some(true)}})),
        "BareMetalHost" => {
            let name = "baremetalhost.metal3.io/paused";
            Some(json!({"metadata": {"annotations": {name: paused.then_some("bench")}}}))
        }
        _ => None,
    };
    let name = |object: &DynamicObject| object.metadata.name.clone().unwrap_or_default();
    for (kind, object) in &objects {
        if let Some(patch) = pause(kind, true) {
            from.api(kind).patch(&name(object), &merge, &Patch::Merge(&patch)).await?;
        }
    }
    for (kind, object) in &objects {
        let mut made = object.clone();
        made.metadata.resource_version = None;
        made.metadata.uid = None;
        made.metadata.managed_fields = None;
        to.api(kind).create(&PostParams::default(), &made).await?;
        if kind.has_status && !object.data["status"].is_null() {
            let patch = Patch::Merge(json!({"status": object.data["status"]}));
            to.api(kind).patch_status(&name(object), &merge, &patch).await?;
        }
    }
    for (kind, object) in &objects {
        if object.metadata.finalizers.is_some() {
            let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
            from.api(kind).patch(&name(object), &merge, &patch).await?;
        }
        from.api(kind).delete(&name(object), &DeleteParams::background()).await?;
    }
    for (kind, object) in &objects {
        if let Some(patch) = pause(kind, false) {
            to.api(kind).patch(&name(object), &merge, &Patch::Merge(&patch)).await?;
        }
    }
    Ok(())
}
