//! A management API server with the controllers, one API server more that plays the tenant, and players of what is not
//! there: infrastructure, bootstrap data, and hosts on which kubeadm runs.

#![allow(dead_code)] // each test binary uses its part

mod kinds;
pub mod player;

use std::future::Future;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Secret};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use scute_api::cluster::{Cluster, Machine};
use scute_api::controlplane::KubeadmControlPlane;
use scute_etcd::fake_members::Ring;
use scute_etcd::{Error, Members};
use scute_kit::Hub;
use scute_kit::tenants::Tenants;
use scute_kubeadmcontrolplane::{ClientCertificate, Config, Reach};
use scute_testkit::{ApiServer, Case};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

pub use kinds::resource;
use player::Player;

/// One runtime for the binary: what works for all tests must outlive the test that starts it.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().expect("a runtime")
});

/// Runs a test in the runtime of the binary.
pub fn run(test: impl Future<Output = ()>) {
    RUNTIME.block_on(test);
}

/// The etcds of all tests: a member is found by the name of its Node.
#[derive(Clone, Default)]
struct Rings(Arc<Mutex<Vec<Ring>>>);

static RINGS: LazyLock<Rings> = LazyLock::new(Rings::default);

impl Reach for Rings {
    fn member(
        &self,
        _tenant: Client,
        node: &str,
        client: ClientCertificate,
    ) -> BoxFuture<'static, Result<Arc<dyn Members>, Error>> {
        assert!(client.ca_pem.contains("CERTIFICATE") && client.pair.key_pem.contains("PRIVATE KEY"));
        let rings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = rings.iter().find(|ring| ring.names().iter().any(|name| name == node)).cloned();
        let member = known.unwrap_or_default().member(node);
        Box::pin(async move { Ok(member) })
    }

    fn certificates_end(
        &self,
        _tenant: Client,
        _node: &str,
        authority: String,
    ) -> BoxFuture<'static, Result<Timestamp, String>> {
        assert!(authority.contains("CERTIFICATE"));
        Box::pin(async { "2099-01-01T00:00:00Z".parse().map_err(|_| "no time".to_owned()) })
    }
}

/// The management API server, with CustomResourceDefinitions and without controllers.
pub async fn bare() -> &'static ApiServer {
    static READY: tokio::sync::OnceCell<&'static ApiServer> = tokio::sync::OnceCell::const_new();
    READY
        .get_or_init(|| async {
            let server = scute_testkit::server().await;
            server.install_crds([scute_api::crds(), kinds::crds()].concat()).await;
            server
        })
        .await
}

/// Starts a manager: controllers that end when the set is dropped.
pub async fn manager() -> JoinSet<()> {
    let hub = Hub::new(bare().await.client().await);
    let tenants = Tenants::new(&hub);
    let mut tasks = JoinSet::new();
    scute_cluster::spawn(&hub, &tenants, Default::default(), &mut tasks);
    scute_kubeadmcontrolplane::spawn(&hub, &tenants, Config { etcd: Arc::new(RINGS.clone()) }, &mut tasks);
    tasks
}

/// The controllers that all tests share, started once.
async fn shared_manager() {
    static STARTED: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    STARTED.get_or_init(|| async { std::mem::forget(manager().await) }).await;
}

/// One Cluster with a control plane on Machines, its tenant and its etcd.
pub struct World {
    /// The namespace.
    pub case: Case,
    /// The tenant's API server.
    pub tenant: ApiServer,
    /// A client of it.
    pub inside: Client,
    /// Its etcd.
    pub ring: Ring,
    /// What becomes of hosts.
    pub player: Arc<Player>,
    _tasks: JoinSet<()>,
}

/// Name of the Cluster and of its control plane.
pub const NAME: &str = "duo";
/// The version that control planes begin with.
pub const VERSION: &str = "v1.35.4";

impl World {
    /// A Cluster whose infrastructure is there, without a control plane; the shared controllers run.
    pub async fn new(prefix: &str) -> Self {
        shared_manager().await;
        Self::without_manager(prefix).await
    }

    /// The same without controllers.
    pub async fn without_manager(prefix: &str) -> Self {
        let case = Case::on(bare().await, prefix).await;
        let tenant = ApiServer::start().await.expect("the tenant's API server");
        let (inside, ring) = (tenant.client().await, Ring::new());
        RINGS.0.lock().unwrap_or_else(PoisonError::into_inner).push(ring.clone());
        let player = Arc::new(Player::new(&case, inside.clone(), ring.clone()));
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&player).run());
        let world = Self { case, tenant, inside, ring, player, _tasks: tasks };
        world.cluster().await;
        world
    }

    async fn cluster(&self) {
        let port: u16 =
            self.tenant.url().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        // The tenant is certified by an authority of its user's: the other key pairs are made.
        let (certificate, key) = self.tenant.authority();
        self.case
            .create::<Secret>(json!({"metadata": {"name": format!("{NAME}-ca")}, "type": "Opaque",
                "stringData": {"tls.crt": certificate, "tls.key": key}}))
            .await;
        self.dynamic(
            "TestCluster",
            json!({"metadata": {"name": NAME},
                "spec": {"controlPlaneEndpoint": {"host": "127.0.0.1", "port": port}}}),
        )
        .await;
        self.dynamic_status("TestCluster", NAME, json!({"initialization": {"provisioned": true}})).await;
        self.template("t1").await;
        self.case
            .create::<Cluster>(json!({
                "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": {"name": NAME}, "spec": {
                    "clusterNetwork": {"pods": {"cidrBlocks": ["10.245.0.0/16"]}, "services": {"cidrBlocks": ["10.93.0.0/16"]}},
                    "controlPlaneRef": {"apiGroup": "controlplane.cluster.x-k8s.io", "kind": "KubeadmControlPlane", "name": NAME},
                    "infrastructureRef": {"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "TestCluster", "name": NAME}}}))
            .await;
    }

    /// A template of infrastructure Machines.
    pub async fn template(&self, name: &str) {
        let spec = json!({"template": {"spec": {"cores": 2}}});
        self.dynamic("TestMachineTemplate", json!({"metadata": {"name": name}, "spec": spec})).await;
    }

    /// A control plane of so many Machines.
    pub async fn control_plane(&self, replicas: i32) {
        self.control_plane_with(replicas, json!({})).await;
    }

    /// The same with more in its spec.
    pub async fn control_plane_with(&self, replicas: i32, more: Value) {
        let mut spec = json!({"replicas": replicas, "version": VERSION,
            "kubeadmConfigSpec": {"clusterConfiguration": {"encryptionAlgorithm": "ECDSA-P256"}},
            "machineTemplate": {"spec": {"infrastructureRef": {
                "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "TestMachineTemplate", "name": "t1"}}}});
        for (field, value) in more.as_object().into_iter().flatten() {
            spec[field.as_str()] = value.clone();
        }
        self.case
            .create::<KubeadmControlPlane>(json!({"apiVersion": "controlplane.cluster.x-k8s.io/v1beta2",
                "kind": "KubeadmControlPlane", "metadata": {"name": NAME}, "spec": spec}))
            .await;
    }

    /// Changes the spec of the control plane.
    pub async fn change(&self, spec: Value) {
        self.case.patch::<KubeadmControlPlane>(NAME, json!({ "spec": spec })).await;
    }

    /// Creates an object of a provider's kind.
    pub async fn dynamic(&self, kind: &str, mut object: Value) {
        let resource = resource(kind);
        object["apiVersion"] = json!(resource.api_version);
        object["kind"] = json!(kind);
        let object: DynamicObject = serde_json::from_value(object).expect("an object");
        self.providers(kind).create(&PostParams::default(), &object).await.expect("created");
    }

    /// Patches the status of a provider's object.
    pub async fn dynamic_status(&self, kind: &str, name: &str, status: Value) {
        let patch = Patch::Merge(json!({ "status": status }));
        self.providers(kind).patch_status(name, &PatchParams::default(), &patch).await.expect("patched");
    }

    /// Objects of a provider's kind.
    pub fn providers(&self, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.case.client.clone(), &self.case.namespace, &resource(kind))
    }

    /// Waits until a condition of the control plane has this status and, unless empty, reason; gives its message.
    pub async fn condition(&self, type_: &str, status: &str, reason: &str) -> String {
        let is = |kcp: &KubeadmControlPlane| {
            let conditions = kcp.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|condition| {
                condition.type_ == type_
                    && condition.status == status
                    && (reason.is_empty() || condition.reason == reason)
            })
        };
        let kcp = self.case.eventually(NAME, &format!("{type_}={status} {reason}"), is).await;
        let conditions = kcp.status.unwrap_or_default().conditions;
        conditions
            .into_iter()
            .find(|condition| condition.type_ == type_)
            .map(|found| found.message)
            .unwrap_or_default()
    }

    /// Waits until there are so many Machines, all of them well, and the control plane is at rest.
    pub async fn rests(&self, replicas: i32) -> KubeadmControlPlane {
        let is = |kcp: &KubeadmControlPlane| {
            let status = kcp.status.clone().unwrap_or_default();
            let counts = [
                status.replicas,
                status.ready_replicas,
                status.available_replicas,
                status.up_to_date_replicas,
            ];
            counts.iter().all(|count| *count == Some(replicas))
                && status.observed_generation == kcp.metadata.generation
                && ["Available", "EtcdClusterHealthy", "ControlPlaneComponentsHealthy", "MachinesReady"]
                    .iter()
                    .all(|type_| scute_kit::conditions::is_true(&status.conditions, type_))
        };
        self.case.eventually(NAME, &format!("at rest with {replicas}"), is).await
    }

    /// The Machines, by name.
    pub async fn machines(&self) -> Vec<Machine> {
        let mut all = self.case.api::<Machine>().list(&ListParams::default()).await.expect("listed").items;
        all.sort_by_key(|machine| machine.name_any());
        all
    }

    /// Names of the Machines.
    pub async fn names(&self) -> Vec<String> {
        self.machines().await.iter().map(|machine| machine.name_any()).collect()
    }

    /// Gives a Machine up, as a health check does.
    pub async fn give_up(&self, machine: &str) {
        self.mark(machine, "False").await;
    }

    /// Puts the two conditions of a health check until they stick: the status has more than one writer.
    async fn mark(&self, machine: &str, status: &str) {
        scute_testkit::until("a health check's conditions", || async {
            let found = self.case.api::<Machine>().get(machine).await.expect("a Machine");
            let mut conditions = json!(found.status.clone().unwrap_or_default().conditions);
            let all = conditions.as_array_mut().expect("a list");
            if all.iter().any(|condition| condition["type"] == "HealthCheckSucceeded") {
                return Some(());
            }
            for (type_, reason) in [("HealthCheckSucceeded", "UnhealthyNode"), ("OwnerRemediated", "WaitingForRemediation")] {
                all.push(json!({"type": type_, "status": status, "reason": reason, "message": "",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"}));
            }
            let patch = json!({"metadata": {"resourceVersion": found.resource_version()}, "status": {"conditions": conditions}});
            let patch = Patch::Merge(&patch);
            let _ = self.case.api::<Machine>().patch_status(machine, &PatchParams::default(), &patch).await;
            None
        })
        .await;
    }

    /// An object of the tenant's `kube-system`.
    pub fn system<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.inside.clone(), "kube-system")
    }

    /// Nodes of the tenant.
    pub fn nodes(&self) -> Api<Node> {
        Api::all(self.inside.clone())
    }

    /// kubeadm's record in the tenant.
    pub async fn record(&self) -> ConfigMap {
        self.system().get("kubeadm-config").await.expect("kubeadm's record")
    }

    /// A host dies: its Pods are not ready any more, its etcd does not answer.
    pub async fn host_dies(&self, machine: &str) {
        self.ring.kill(machine);
        for component in ["kube-apiserver", "etcd"] {
            let patch = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
            let name = format!("{component}-{machine}");
            let pods = self.system::<Pod>();
            pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch)).await.expect("patched");
        }
    }

    /// Deletes the control plane and waits for its end.
    pub async fn delete(&self) {
        let api = self.case.api::<KubeadmControlPlane>();
        api.delete(NAME, &DeleteParams::default()).await.expect("deleted");
    }
}
