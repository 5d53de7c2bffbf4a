//! A management cluster without nodes: a real API server, a real etcd for tenants, the controllers, and a hand that
//! does what a kubelet would.
#![allow(dead_code)] // each test binary uses its part

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use scute_api::kamaji::{DataStore, TenantControlPlane};
use scute_controlplane::Config;
use scute_etcd::Connect;
use scute_kit::Hub;
use scute_kit::tenants::Tenants;
use scute_testkit::{Etcd, Process, eventually, kube_binary, server};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinSet;

/// One test's world; all of it ends when dropped.
pub struct World {
    pub client: Client,
    pub namespace: String,
    pub datastore: String,
    pub hub: Arc<Hub>,
    management_pods: Vec<ipnet::IpNet>,
    controllers: JoinSet<()>,
    _alone: MutexGuard<'static, ()>,
}

/// The controllers of a test see the whole API server: one test at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

impl World {
    /// Starts controllers on DataStores that `connect` opens.
    pub async fn start(name: &str, connect: Arc<dyn Connect>) -> Self {
        Self::start_with(name, connect, &[]).await
    }

    /// As [`World::start`], in a management cluster with these Pod ranges.
    pub async fn start_with(name: &str, connect: Arc<dyn Connect>, pods: &[&str]) -> Self {
        let alone = ALONE.lock().await;
        let server = server().await;
        server.install_crds(scute_api::crds()).await;
        let namespace = server.namespace(name).await;
        let mut world = Self {
            client: server.client().await,
            datastore: namespace.clone(),
            namespace,
            hub: Hub::new(server.client().await),
            management_pods: pods.iter().map(|range| range.parse().expect("a range")).collect(),
            controllers: JoinSet::new(),
            _alone: alone,
        };
        world.sweep().await;
        world.run(connect).await;
        world
    }

    /// Removes what earlier tests left, finalizers and all.
    async fn sweep(&self) {
        sweep::<scute_api::controlplane::KamajiControlPlane>(&self.client).await;
        sweep::<TenantControlPlane>(&self.client).await;
        sweep::<scute_api::cluster::Cluster>(&self.client).await;
        sweep::<DataStore>(&self.client).await;
        sweep::<Node>(&self.client).await;
    }

    /// (Re)starts the controllers, as a new process would.
    pub async fn run(&mut self, connect: Arc<dyn Connect>) {
        self.controllers = JoinSet::new();
        self.hub = Hub::new(server().await.client().await);
        let remotes = Tenants::new(&self.hub);
        let config = Config {
            default_datastore: self.datastore.clone(),
            management_pod_cidrs: self.management_pods.clone(),
            ..Config::default()
        };
        scute_controlplane::spawn_on(&self.hub, &remotes, config, connect, &mut self.controllers);
    }

    /// Ends the controllers, as a kill would.
    pub fn kill(&mut self) {
        self.controllers = JoinSet::new();
    }

    /// A DataStore whose certificates are good enough for a fake.
    pub async fn fake_datastore(&self) {
        let now = jiff::Timestamp::now();
        let ca = scute_pki::Ca::generate(
            "etcd-ca",
            scute_pki::CA_VALIDITY,
            scute_pki::KeyAlgorithm::EcdsaP256,
            now,
        );
        let ca = ca.expect("a CA");
        self.secret("etcd-ca", &[("ca.crt", ca.certificate_pem()), ("ca.key", ca.key_pem())]).await;
        self.secret("etcd-root", &[("tls.crt", ca.certificate_pem()), ("tls.key", ca.key_pem())]).await;
        self.datastore_at("fake:2379").await;
    }

    /// Waits until the DataStore is ready.
    pub async fn datastore_ready(&self) {
        let ready = |datastore: &DataStore| datastore.status.as_ref().is_some_and(|status| status.ready);
        eventually(Api::<DataStore>::all(self.client.clone()), &self.datastore, "ready", ready).await;
    }

    /// The DataStore of this test, with its Secrets in the test's namespace.
    pub async fn datastore(&self, etcd: &Etcd) {
        let (certificate, key) = etcd.client_certificate("root").expect("issued");
        self.secret("etcd-ca", &[("ca.crt", &etcd.ca_certificate), ("ca.key", &etcd.ca_key)]).await;
        self.secret("etcd-root", &[("tls.crt", &certificate), ("tls.key", &key)]).await;
        self.datastore_at(etcd.endpoint.trim_start_matches("https://")).await;
    }

    /// The DataStore object, at this endpoint.
    pub async fn datastore_at(&self, endpoint: &str) {
        let content = |name: &str, key: &str| json!({ "secretReference": { "name": name, "namespace": self.namespace, "keyPath": key } });
        let datastore: DataStore = serde_json::from_value(json!({
            "apiVersion": "kamaji.clastix.io/v1alpha1",
            "kind": "DataStore",
            "metadata": { "name": self.datastore },
            "spec": {
                "driver": "etcd",
                "endpoints": [endpoint],
                "tlsConfig": {
                    "certificateAuthority": {
                        "certificate": content("etcd-ca", "ca.crt"), "privateKey": content("etcd-ca", "ca.key"),
                    },
                    "clientCertificate": {
                        "certificate": content("etcd-root", "tls.crt"), "privateKey": content("etcd-root", "tls.key"),
                    },
                },
            },
        }))
        .expect("a DataStore");
        Api::all(self.client.clone()).create(&PostParams::default(), &datastore).await.expect("created");
    }

    /// Creates a Secret.
    pub async fn secret(&self, name: &str, data: &[(&str, &str)]) {
        let secret: Secret = serde_json::from_value(json!({
            "metadata": { "name": name, "namespace": self.namespace },
            "stringData": data.iter().copied().collect::<BTreeMap<_, _>>(),
        }))
        .expect("a Secret");
        self.api::<Secret>().create(&PostParams::default(), &secret).await.expect("created");
    }

    /// The objects of a kind in the test's namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates a TenantControlPlane with this spec, one replica unless it says otherwise.
    pub async fn tenant(&self, name: &str, spec: Value) -> TenantControlPlane {
        let tcp = tenant(&self.namespace, name, spec);
        self.api().create(&PostParams::default(), &tcp).await.expect("created")
    }

    /// Waits for a condition of a TenantControlPlane to have this reason.
    pub async fn condition(&self, name: &str, type_: &str, reason: &str) -> TenantControlPlane {
        let what = format!("{type_}/{reason}");
        eventually(self.api(), name, &what, |tcp: &TenantControlPlane| {
            said(tcp, type_).is_some_and(|(_, said, _)| said == reason)
        })
        .await
    }

    /// What a Secret holds, as text.
    pub async fn data(&self, name: &str) -> BTreeMap<String, String> {
        let secret = self.api::<Secret>().get(name).await.expect("the Secret");
        let text = |bytes: k8s_openapi::ByteString| String::from_utf8(bytes.0).expect("text");
        secret.data.unwrap_or_default().into_iter().map(|(key, bytes)| (key, text(bytes))).collect()
    }

    /// Adds a Node that takes Pods.
    pub async fn node(&self, name: &str, cpus: u32) {
        let node: Node = serde_json::from_value(json!({ "metadata": { "name": name } })).expect("a Node");
        let api = Api::<Node>::all(self.client.clone());
        api.create(&PostParams::default(), &node).await.expect("created");
        let status = json!({ "status": {
            "allocatable": { "cpu": cpus.to_string() },
            "conditions": [{ "type": "Ready", "status": "True" }],
        }});
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await.expect("patched");
    }

    /// Says of a Deployment what its controller would say when this many Pods are ready.
    pub async fn pods_ready(&self, name: &str, ready: i32) {
        let deployment = self.api::<Deployment>().get(name).await.expect("the Deployment");
        let wanted = deployment.spec.and_then(|spec| spec.replicas).unwrap_or_default();
        let status = json!({ "status": {
            "observedGeneration": deployment.metadata.generation,
            "replicas": wanted,
            "updatedReplicas": wanted,
            "readyReplicas": ready,
            "availableReplicas": ready,
            "unavailableReplicas": wanted - ready,
        }});
        self.api::<Deployment>()
            .patch_status(name, &PatchParams::default(), &Patch::Merge(&status))
            .await
            .expect("patched");
    }

    /// Runs a container of the Deployment as a process: its arguments, its files, as a kubelet would mount them.
    pub async fn run_container(&self, tenant: &str, container: &str, dir: &Path) -> Process {
        let deployment = self.api::<Deployment>().get(tenant).await.expect("the Deployment");
        let pod = deployment.spec.expect("a spec").template.spec.expect("a Pod");
        let root = dir.join(container);
        for volume in pod.volumes.into_iter().flatten().filter(|volume| volume.name == container) {
            for source in volume.projected.expect("projected").sources.into_iter().flatten() {
                let secret = source.secret.expect("a Secret");
                let data = self.data(&secret.name).await;
                for item in secret.items.into_iter().flatten() {
                    let path = root.join(item.path);
                    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
                    std::fs::write(path, &data[&item.key]).expect("written");
                }
            }
        }
        let found = pod.containers.iter().find(|found| found.name == container).expect("the container");
        let arguments = found.command.iter().flatten().chain(found.args.iter().flatten());
        let mounted = root.display().to_string();
        let mut arguments: Vec<_> =
            arguments.map(|argument| argument.replace("/etc/kubernetes", &mounted)).collect();
        arguments.push("--bind-address=127.0.0.1".to_owned());
        // In a Pod's network the port is free; on this machine it need not be.
        if container != "kube-apiserver" {
            arguments.push(format!("--secure-port={}", scute_testkit::free_port().expect("a port")));
        }
        let log = dir.join(format!("{container}.log"));
        Process::start(&kube_binary().expect("built"), &arguments, &log).expect("starts")
    }
}

async fn sweep<K>(client: &Client)
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let all = Api::<K>::all(client.clone()).list(&ListParams::default()).await.expect("listed");
    for object in all {
        let path = K::url_path(&(), object.meta().namespace.as_deref());
        let name = object.meta().name.clone().unwrap_or_default();
        let request = kube::core::Request::new(path);
        let bare = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
        let patch = request.patch(&name, &PatchParams::default(), &bare).expect("a request");
        let _: Result<Value, _> = client.request(patch).await;
        let delete = request.delete(&name, &DeleteParams::default()).expect("a request");
        // It may be gone with its finalizers already.
        let _: Result<Value, _> = client.request(delete).await;
    }
}

/// Waits until a tenant's API server is ready. A machine that builds and tests much at a time needs minutes.
pub async fn answers(process: &mut Process, client: &Client) {
    for _ in 0..1200 {
        process.still_runs().expect("it runs");
        let request = http::Request::get("/readyz").body(Vec::new()).expect("a request");
        if client.request_text(request).await.is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the API server never got ready");
}

/// A TenantControlPlane object.
pub fn tenant(namespace: &str, name: &str, over: Value) -> TenantControlPlane {
    let mut spec = json!({
        "controlPlane": { "deployment": { "replicas": 1 }, "service": { "serviceType": "ClusterIP" } },
        "kubernetes": { "version": "v1.35.4", "kubelet": {} },
    });
    merge(&mut spec, over);
    serde_json::from_value(json!({
        "apiVersion": "kamaji.clastix.io/v1alpha1",
        "kind": "TenantControlPlane",
        "metadata": { "name": name, "namespace": namespace },
        "spec": spec,
    }))
    .expect("a TenantControlPlane")
}

fn merge(into: &mut Value, over: Value) {
    match (into, over) {
        (Value::Object(into), Value::Object(over)) => {
            for (key, value) in over {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, over) => *into = over,
    }
}

/// Status, reason and message of a condition.
pub fn said(tcp: &TenantControlPlane, type_: &str) -> Option<(String, String, String)> {
    let conditions = tcp.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let found = conditions.iter().find(|condition| condition.type_ == type_)?;
    Some((found.status.clone(), found.reason.clone(), found.message.clone()))
}

/// The phase.
pub fn phase(tcp: &TenantControlPlane) -> String {
    let resources = tcp.status.as_ref().and_then(|status| status.kubernetes_resources.as_ref());
    resources.map(|resources| format!("{:?}", resources.version.status)).unwrap_or_default()
}
