//! An API server with everything as it is installed, and a manager.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::{Client, Error, ResourceExt};
use scute_testkit::{ApiServer, Process, free_port, until};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The old version of every kind here, and the new one.
pub const OLD: &str = "v1beta1";
pub const NEW: &str = "v1beta2";
/// Group of Metal3's kinds.
pub const METAL3: &str = "infrastructure.cluster.x-k8s.io";

/// An API server with everything as `scute up` installs it, and a manager.
pub struct World {
    _server: ApiServer,
    client: Client,
    pub folder: TempDir,
    pub port: u16,
    pub manager: Process,
}

impl World {
    /// Of a manager that waits for its lease: only webhooks.
    pub async fn start() -> Self {
        Self::with(None).await
    }

    /// Of a manager that works, with more in its configuration.
    pub async fn working(more: Value) -> Self {
        Self::with(Some(more)).await
    }

    async fn with(work: Option<Value>) -> Self {
        let server = ApiServer::start().await.expect("an API server");
        let client = server.client().await;
        let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port().expect("a port"));
        let (certificate, key, ca) = server.serving_certificate();
        let write =
            |name: &str, text: String| std::fs::write(folder.path().join(name), text).expect("written");
        write("tls.crt", certificate);
        write("tls.key", key);
        write("kubeconfig", server.kubeconfig());
        let mut config = work.clone().unwrap_or_else(|| json!({}));
        config["webhookCertificates"] = json!(folder.path());
        write("config.yaml", config.to_string());
        namespace(&client).await;
        if work.is_none() {
            held_by_another(&client).await;
        }
        scute_install::definitions(&client, &ca, &[]).await.expect("installed");
        // Its watches would back off from kinds that are not there yet, and its answers wait for them.
        let manager = manager(folder.path(), port);
        let world = Self { _server: server, client, folder, port, manager };
        world.call_the_manager(&ca).await;
        world
    }

    /// There are no Services on a bare API server: it calls the manager by its address.
    async fn call_the_manager(&self, ca: &str) {
        let called = |mut client_config: Value| {
            let path = client_config["service"]["path"].as_str().expect("a path").to_owned();
            client_config["url"] = format!("https://127.0.0.1:{}{path}", self.port).into();
            client_config["service"] = Value::Null;
            client_config
        };
        let definitions = self.of("apiextensions.k8s.io", "v1", "CustomResourceDefinition", None);
        for crd in definitions.list(&Default::default()).await.expect("listed") {
            let config = crd.data.pointer("/spec/conversion/webhook/clientConfig").cloned();
            let Some(config) = config else { continue };
            assert!(config["caBundle"].as_str().is_some_and(|text| !text.is_empty()), "{config}");
            let change = json!({"spec": {"conversion": {"webhook": {"clientConfig": called(config)}}}});
            let name = crd.name_any();
            definitions.patch(&name, &PatchParams::default(), &Patch::Merge(&change)).await.expect("patched");
        }
        for mut configuration in scute_install::webhook_configurations(Some(ca), &[]).expect("rendered") {
            for webhook in configuration["webhooks"].as_array_mut().expect("webhooks") {
                webhook["clientConfig"] = called(webhook["clientConfig"].take());
            }
            let kind = configuration["kind"].as_str().expect("a kind").to_owned();
            let api = self.of("admissionregistration.k8s.io", "v1", &kind, None);
            let object = serde_json::from_value(configuration).expect("an object");
            api.create(&PostParams::default(), &object).await.expect("created");
        }
        self.answers().await;
    }

    /// Until conversions and admission are asked for, and the manager answers both.
    pub async fn answers(&self) {
        static NAMES: AtomicU32 = AtomicU32::new(0);
        let bad = json!({"strategy": {"type": "Reboot", "timeout": "1s", "retryLimit": 1}});
        until("the webhooks answer", || {
            let name = format!("probe-{}", NAMES.fetch_add(1, Ordering::Relaxed));
            let object = object(OLD, "Metal3Remediation", &name, bad.clone());
            async move {
                let answer = self.create(OLD, "Metal3Remediation", object).await;
                answer.err().filter(|error| error.to_string().contains("denied the request"))
            }
        })
        .await;
    }

    pub fn of(&self, group: &str, version: &str, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
        let mut resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let ours = scute_movement::kinds().into_iter().map(|ours| ours.resource);
        if let Some(ours) =
            ours.into_iter().find(|ours| (&ours.group, &ours.kind) == (&resource.group, &resource.kind))
        {
            resource.plural = ours.plural;
        }
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }

    pub fn kind(&self, version: &str, kind: &str) -> Api<DynamicObject> {
        self.of(METAL3, version, kind, Some("default"))
    }

    pub async fn create(&self, version: &str, kind: &str, object: Value) -> Result<Value, Error> {
        let object = serde_json::from_value(object).expect("an object");
        Ok(whole(self.kind(version, kind).create(&PostParams::default(), &object).await?))
    }

    pub async fn get(&self, version: &str, kind: &str, name: &str) -> Result<Value, Error> {
        Ok(whole(self.kind(version, kind).get(name).await?))
    }

    pub async fn apply(&self, who: &str, version: &str, name: &str, spec: Value) -> Result<Value, Error> {
        let object = object(version, "Metal3Machine", name, spec);
        let api = self.kind(version, "Metal3Machine");
        Ok(whole(api.patch(name, &PatchParams::apply(who), &Patch::Apply(&object)).await?))
    }

    /// Of its administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    pub fn client(&self) -> Client {
        self.client.clone()
    }

    pub async fn text(&self, path: &str) -> String {
        let request = http::Request::get(path).body(Vec::new()).expect("a request");
        self.client.request_text(request).await.expect("an answer")
    }
}

/// The namespace of the manager.
async fn namespace(client: &Client) {
    let namespace =
        serde_json::from_value(json!({"metadata": {"name": "scute-system"}})).expect("a Namespace");
    Api::<k8s_openapi::api::core::v1::Namespace>::all(client.clone())
        .create(&PostParams::default(), &namespace)
        .await
        .expect("made");
}

/// Nobody gives this lease back.
async fn held_by_another(client: &Client) {
    let spec = json!({"holderIdentity": "another", "leaseDurationSeconds": 3600});
    let lease = serde_json::from_value(json!({"metadata": {"name": "scute-manager"}, "spec": spec}))
        .expect("a Lease");
    let leases = Api::<k8s_openapi::api::coordination::v1::Lease>::namespaced(client.clone(), "scute-system");
    leases.create(&PostParams::default(), &lease).await.expect("made");
}

pub fn manager(folder: &Path, port: u16) -> Process {
    let at = |name: &str| folder.join(name).display().to_string();
    let arguments = [
        format!("KUBECONFIG={}", at("kubeconfig")),
        env!("CARGO_BIN_EXE_scute").to_owned(),
        "manager".to_owned(),
        format!("--config={}", at("config.yaml")),
        format!("--webhook-port={port}"),
        format!("--health-port={}", free_port().expect("a port")),
    ];
    Process::start(Path::new("/usr/bin/env"), &arguments, &folder.join("log")).expect("a manager")
}

pub fn object(version: &str, kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("{METAL3}/{version}"), "kind": kind, "metadata": {"name": name}, "spec": spec})
}

pub fn whole(object: DynamicObject) -> Value {
    serde_json::to_value(object).expect("JSON")
}

/// Manager and version of every applied part.
pub fn appliers(object: &Value) -> Vec<(&str, &str)> {
    let entries = object["metadata"]["managedFields"].as_array().expect("managers");
    let applied = entries.iter().filter(|entry| entry["operation"] == "Apply");
    applied.map(|e| (e["manager"].as_str().unwrap_or(""), e["apiVersion"].as_str().unwrap_or(""))).collect()
}

/// What `wanted` says, whatever else there is: defaults.
pub fn says(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| found.get(name).is_some_and(|found| says(found, wanted)))
        }
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(found, wanted)| says(found, wanted))
        }
        (found, wanted) => found == wanted,
    }
}
