//! Two API servers without controllers, and a Cluster on a bare-metal server at the first.

#![allow(dead_code)] // each test binary uses its part

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, LazyLock, Mutex};

use kube::Client;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use scute_movement::{COPIED_FROM, Kind, MOVE, MOVED_FROM, MoveError, Movement, Scope, kinds};
use scute_testkit::ApiServer;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
});

/// Runs a test in the runtime of the binary: the second server lives in it.
pub fn run(test: impl Future<Output = ()>) {
    RUNTIME.block_on(test);
}

async fn servers() -> (&'static ApiServer, &'static ApiServer) {
    static BOTH: OnceCell<(&'static ApiServer, &'static ApiServer)> = OnceCell::const_new();
    *BOTH
        .get_or_init(|| async {
            let (first, second) = (scute_testkit::server().await, scute_testkit::second_server().await);
            tokio::join!(first.install_crds(scute_api::crds()), second.install_crds(scute_api::crds()));
            (first, second)
        })
        .await
}

/// One side's namespace.
#[derive(Clone)]
pub struct End {
    pub client: Client,
    pub namespace: String,
}

impl End {
    fn api(&self, kind: &str) -> Api<DynamicObject> {
        let kind = kinds().into_iter().find(|known| known.resource.kind == kind).expect("a kind");
        self.of(&kind)
    }

    fn of(&self, kind: &Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind.resource)
    }

    pub async fn create(&self, object: Value) -> DynamicObject {
        let api = self.api(object["kind"].as_str().expect("a kind"));
        let object: DynamicObject = serde_json::from_value(object).expect("an object");
        let name = object.metadata.name.clone().unwrap_or_default();
        api.create(&Default::default(), &object).await.unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub async fn status(&self, kind: &str, name: &str, status: Value) {
        let patch = Patch::Merge(json!({ "status": null }));
        self.api(kind).patch_status(name, &PatchParams::default(), &patch).await.expect("cleared");
        let patch = Patch::Merge(json!({ "status": status }));
        let done = self.api(kind).patch_status(name, &PatchParams::default(), &patch).await;
        done.unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
    }

    pub async fn patch(&self, kind: &str, name: &str, patch: Value) {
        let done = self.api(kind).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        done.unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
    }

    pub async fn get(&self, kind: &str, name: &str) -> Option<DynamicObject> {
        self.api(kind).get_opt(name).await.expect("an answer")
    }

    pub async fn has(&self, kind: &str, name: &str) -> bool {
        self.get(kind, name).await.is_some()
    }

    /// Every object, by kind and name.
    pub async fn all(&self) -> BTreeMap<String, DynamicObject> {
        let lists = kinds().into_iter().map(|kind| async move {
            let list = self.of(&kind).list(&ListParams::default()).await.expect("a list");
            let key = |object: &DynamicObject| {
                format!("{}/{}", kind.resource.kind, object.metadata.name.clone().unwrap_or_default())
            };
            list.items.into_iter().map(|object| (key(&object), object)).collect::<Vec<_>>()
        });
        futures::future::join_all(lists).await.into_iter().flatten().collect()
    }
}

pub struct World {
    pub source: End,
    pub target: End,
}

impl World {
    pub async fn new(prefix: &str) -> Self {
        let (first, second) = servers().await;
        let namespace = first.namespace(prefix).await;
        let source = End { client: first.client().await, namespace: namespace.clone() };
        let target = End { client: second.client().await, namespace };
        let mut made = k8s_openapi::api::core::v1::Namespace::default();
        made.metadata.name = Some(target.namespace.clone());
        Api::all(target.client.clone()).create(&Default::default(), &made).await.expect("a namespace");
        Self { source, target }
    }

    /// Makes the Cluster `c` with one Machine on the host `h0`, as it is when nothing is under way; a host `spare` that has the
    /// same BMC Secret, and a Secret of somebody else. Returns all of the source.
    pub async fn settle(&self) -> BTreeMap<String, DynamicObject> {
        let make = |object: Value| self.source.create(object);
        let own = |owner: &DynamicObject, controller: bool| {
            let types = owner.types.clone().unwrap_or_default();
            json!({"apiVersion": types.api_version, "kind": types.kind, "name": owner.metadata.name,
                "uid": owner.metadata.uid, "controller": controller})
        };
        let (core, infra) = ("cluster.x-k8s.io/v1beta2", "infrastructure.cluster.x-k8s.io/v1beta2");
        let labels = json!({"cluster.x-k8s.io/cluster-name": "c"});
        let cluster = make(json!({"apiVersion": core, "kind": "Cluster",
            "metadata": {"name": "c", "finalizers": ["cluster.cluster.x-k8s.io"]},
            "spec": {"controlPlaneEndpoint": {"host": "192.0.2.1", "port": 6443},
                "infrastructureRef": {"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "Metal3Cluster", "name": "c"}}}))
        .await;
        make(json!({"apiVersion": infra, "kind": "Metal3Cluster",
            "metadata": {"name": "c", "labels": labels, "ownerReferences": [own(&cluster, true)]},
            "spec": {"controlPlaneEndpoint": {"host": "192.0.2.1", "port": 6443}}}))
        .await;
        let machine = make(json!({"apiVersion": core, "kind": "Machine",
            "metadata": {"name": "m0", "labels": labels, "finalizers": ["machine.cluster.x-k8s.io"],
                "ownerReferences": [own(&cluster, false)]},
            "spec": {"clusterName": "c", "providerID": "metal3://x/h0/m0", "version": "v1.35.4",
                "bootstrap": {"dataSecretName": "m0"},
                "infrastructureRef": {"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "Metal3Machine", "name": "m0"}}}))
        .await;
        let image = json!({"url": "http://images/node.raw", "checksum": "0".repeat(64)});
        let metal = make(json!({"apiVersion": infra, "kind": "Metal3Machine",
            "metadata": {"name": "m0", "labels": labels, "finalizers": ["metal3machine.infrastructure.cluster.x-k8s.io"],
                "ownerReferences": [own(&machine, true)]},
            "spec": {"providerID": "metal3://x/h0/m0", "image": image}}))
        .await;
        let secret = |name: &str, owners: Value| {
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "ownerReferences": owners},
                "stringData": {"value": format!("secret of {name}")}})
        };
        make(secret("m0-metadata", json!([own(&metal, false)]))).await;
        for name in ["c-ca", "c-kubeconfig", "m0", "h0-bmc", "others"] {
            make(secret(name, json!([]))).await;
        }
        self.hosts(&image).await;
        let status = |kind, name, status| self.source.status(kind, name, status);
        status(
            "Cluster",
            "c",
            json!({"observedGeneration": 1, "phase": "Provisioned",
            "initialization": {"infrastructureProvisioned": true, "controlPlaneInitialized": true}}),
        )
        .await;
        status("Machine", "m0", json!({"phase": "Running", "nodeRef": {"name": "n0"}})).await;
        status("Metal3Machine", "m0", json!({"initialization": {"provisioned": true}})).await;
        self.source.all().await
    }

    async fn hosts(&self, image: &Value) {
        let secret = self.source.get("Secret", "h0-bmc").await.expect("made").metadata.resource_version;
        for (name, consumer) in [
            (
                "h0",
                json!({"kind": "Metal3Machine", "name": "m0", "namespace": self.source.namespace,
                "apiVersion": "infrastructure.cluster.x-k8s.io/v1beta2"}),
            ),
            ("spare", Value::Null),
        ] {
            let is_used = !consumer.is_null();
            let image = if is_used { image.clone() } else { Value::Null };
            let mut host = json!({"apiVersion": "metal3.io/v1alpha1", "kind": "BareMetalHost",
                "metadata": {"name": name, "finalizers": ["baremetalhost.metal3.io"]},
                "spec": {"online": is_used, "bootMACAddress": "52:54:00:00:00:01",
                    "bmc": {"address": "redfish-virtualmedia://192.0.2.9/redfish/v1/Systems/1", "credentialsName": "h0-bmc"}}});
            if is_used {
                host["spec"]["image"] = image;
                host["spec"]["consumerRef"] = consumer;
            }
            self.source.create(host).await;
            let state = if is_used { "provisioned" } else { "available" };
            self.source
                .status("BareMetalHost", name, json!({"operationalStatus": "OK", "errorCount": 0, "errorMessage": "",
                    "hardwareProfile": "unknown", "poweredOn": is_used, "provisioning": {"state": state, "ID": name},
                    "goodCredentials": {"credentials": {"name": "h0-bmc", "namespace": self.source.namespace},
                        "credentialsVersion": secret}}))
                .await;
            self.source
                .create(json!({"apiVersion": "metal3.io/v1alpha1", "kind": "HardwareData", "metadata": {"name": name},
                    "spec": {"hardware": {"hostname": name, "ramMebibytes": 1024}}}))
                .await;
        }
    }

    pub fn movement(&self, from: Client, to: Client, clusters: &[&str], hosts: bool) -> Movement {
        let clusters =
            clusters.iter().map(|name| (*name).to_owned()).collect::<std::collections::BTreeSet<_>>();
        let clusters = (!clusters.is_empty()).then_some(clusters);
        Movement::new(from, to, &self.source.namespace, Scope { clusters, hosts }, "test")
    }

    /// Moves; returns what was said.
    pub async fn moves(&self, clusters: &[&str], hosts: bool) -> Result<Vec<String>, MoveError> {
        let movement = self.movement(self.source.client.clone(), self.target.client.clone(), clusters, hosts);
        let lines = Arc::new(Mutex::new(Vec::new()));
        let said = lines.clone();
        let say = move |line: &str| {
            said.lock().expect("a lock").push(line.to_owned());
            true
        };
        movement.run(&say).await?;
        Ok(lines.lock().expect("a lock").clone())
    }

    pub async fn snapshot(&self) -> (BTreeMap<String, DynamicObject>, BTreeMap<String, DynamicObject>) {
        tokio::join!(self.source.all(), self.target.all())
    }

    /// Nothing is lost, and no object that controllers act on is awake at both sides; the target's wakes when the source has none.
    pub async fn is_safe(&self, before: &BTreeMap<String, DynamicObject>) {
        let (source, target) = self.snapshot().await;
        for (key, was) in before {
            let (here, there) = (source.get(key), target.get(key));
            let is = here.or(there).unwrap_or_else(|| panic!("{key} is lost"));
            assert_eq!(is.data["data"], was.data["data"], "{key}");
            let awake = |object: &&DynamicObject| !sleeps(object);
            let (here, there) = (here.filter(awake), there.filter(awake));
            let acts = ["Cluster/", "BareMetalHost/"].iter().any(|kind| key.starts_with(kind));
            assert!(!acts || here.is_none() || there.is_none(), "{key} is awake at both sides");
            if acts && there.is_some() {
                let left: Vec<_> = source.keys().filter(|key| before.contains_key(*key)).collect();
                assert_eq!(left, ["Secret/others"], "{key} woke too early");
            }
        }
    }

    /// Everything of the move is at the target as it was, awake, and not at the source any more.
    pub async fn is_moved(&self, before: &BTreeMap<String, DynamicObject>) {
        let (source, target) = self.snapshot().await;
        for (key, was) in before {
            let stayed = OTHERS.contains(&key.as_str()) && source.contains_key(key);
            if stayed {
                assert!(!target.contains_key(key), "{key} is at both sides");
                continue;
            }
            let is = target.get(key).unwrap_or_else(|| panic!("{key} is lost"));
            assert_eq!(plain(was), plain(is), "{key}");
            let is_copy = key == SHARED && source.contains_key("BareMetalHost/spare");
            assert!(is_copy == source.contains_key(key), "{key} is still at the source");
            assert!(
                !is.metadata.annotations.iter().flatten().any(|(name, _)| name == MOVE),
                "{key} is marked"
            );
            let owners = is.metadata.owner_references.iter().flatten();
            for owner in owners {
                let there = &target[&format!("{}/{}", owner.kind, owner.name)];
                assert_eq!(there.metadata.uid.as_ref(), Some(&owner.uid), "owner of {key}");
            }
        }
    }
}

/// Secret that a host which stays uses, too.
const SHARED: &str = "Secret/h0-bmc";
/// What does not move.
const OTHERS: [&str; 3] = ["BareMetalHost/spare", "HardwareData/spare", "Secret/others"];

/// Whether controllers leave it alone.
fn sleeps(object: &DynamicObject) -> bool {
    let annotated = |(name, _): (&String, &String)| name.ends_with("/paused");
    object.data["spec"]["paused"] == true || object.metadata.annotations.iter().flatten().any(annotated)
}

/// An object without what an API server gives.
fn plain(object: &DynamicObject) -> Value {
    let meta = &object.metadata;
    let mut annotations = meta.annotations.clone().unwrap_or_default();
    annotations.retain(|name, _| ![MOVED_FROM, COPIED_FROM].contains(&name.as_str()));
    let mut data = object.data.clone();
    if let Some(version) = data.pointer_mut("/status/goodCredentials/credentialsVersion") {
        *version = Value::Null;
    }
    json!({"labels": meta.labels, "annotations": annotations, "finalizers": meta.finalizers, "data": data})
}
