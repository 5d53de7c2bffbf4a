//! A management cluster without nodes: a real API server, a real etcd for tenants, the controllers, and a hand that
//! does what a kubelet would.
#![allow(dead_code)] // each test binary uses its part

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use scute_api::kamaji::{DataStore, TenantControlPlane};
use scute_controlplane::Config;
use scute_etcd::Connect;
use scute_kit::Hub;
use scute_kit::remote::Remotes;
use scute_testkit::{Etcd, Process, eventually, kube_binary, server};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// One test's world; all of it ends when dropped.
pub struct World {
    pub client: Client,
    pub namespace: String,
    pub datastore: String,
    pub hub: Arc<Hub>,
    controllers: JoinSet<()>,
}

impl World {
    /// Starts controllers on DataStores that `connect` opens.
    pub async fn start(name: &str, connect: Arc<dyn Connect>) -> Self {
        let server = server().await;
        server.install_crds(scute_api::crds()).await;
        let namespace = server.namespace(name).await;
        let mut world = Self {
            client: server.client().await,
            datastore: namespace.clone(),
            namespace,
            hub: Hub::new(server.client().await),
            controllers: JoinSet::new(),
        };
        world.run(connect).await;
        world
    }

    /// (Re)starts the controllers, as a new process would.
    pub async fn run(&mut self, connect: Arc<dyn Connect>) {
        self.controllers = JoinSet::new();
        self.hub = Hub::new(server().await.client().await);
        let remotes = Remotes::new(&self.hub);
        let config = Config { default_datastore: self.datastore.clone(), ..Config::default() };
        scute_controlplane::spawn_on(&self.hub, &remotes, config, connect, &mut self.controllers);
    }

    /// Ends the controllers, as a kill would.
    pub fn kill(&mut self) {
        self.controllers = JoinSet::new();
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

    /// Runs the Deployment's kube-apiserver as a process: its arguments, its files, as a kubelet would mount them.
    pub async fn run_api_server(&self, name: &str, dir: &Path) -> Process {
        let deployment = self.api::<Deployment>().get(name).await.expect("the Deployment");
        let pod = deployment.spec.expect("a spec").template.spec.expect("a Pod");
        let root = dir.join("etc-kubernetes");
        for volume in pod.volumes.into_iter().flatten().filter(|volume| volume.name == "kube-apiserver") {
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
        let container = &pod.containers[0];
        let arguments = container.command.iter().flatten().chain(container.args.iter().flatten());
        let mounted = root.display().to_string();
        let mut arguments: Vec<_> =
            arguments.map(|argument| argument.replace("/etc/kubernetes", &mounted)).collect();
        arguments.push("--bind-address=127.0.0.1".to_owned());
        Process::start(&kube_binary().expect("built"), &arguments, &dir.join("apiserver.log"))
            .expect("starts")
    }
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
