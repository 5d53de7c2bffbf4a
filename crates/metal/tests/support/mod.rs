//! The controllers on a real API server, with servers whose BMCs and agents are real, too.

#![allow(dead_code, unused_imports, reason = "each test binary uses its part")]

mod images;
mod server;

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use scute_api::metal3::{BareMetalHost, ErrorType, ProvisioningState};
use scute_kit::{Hub, Key};
use scute_metal::{Config, Listeners, Patience};
use scute_redfish::{Patience as BmcPatience, Trust};
use scute_testkit::{ApiServer, Case, eventually, free_port};
use serde_json::{Value, json};
use tokio::task::JoinSet;

pub use images::{Images, content};
pub use server::{DISK, Metal, PASSWORD, Rig, USER};

/// Everything is near, and no test waits for minutes.
pub fn patience() -> Patience {
    Patience {
        boot: Duration::from_secs(5),
        look: Duration::from_secs(1),
        rest: Duration::from_millis(20),
        ..Patience::default()
    }
}

/// What a manager is told: its ports stay the same when another takes its place.
pub fn config() -> Config {
    Config {
        address: "127.0.0.1".into(),
        service_port: free_port().unwrap(),
        media_port: free_port().unwrap(),
        ramdisk: ramdisk(),
        images: BTreeMap::new(),
        identity: Key::new("scute-system", "scute-metal"),
        owner: "scute/test".into(),
        trust: Trust::Pinned(String::new()),
        patience: patience(),
        bmc_patience: BmcPatience {
            connect: Duration::from_secs(2),
            request: Duration::from_secs(3),
            settle: Duration::from_secs(3),
            poll: Duration::from_millis(20),
        },
    }
}

/// An ISO of which nothing but its command line is read: the descriptor says where that is.
fn ramdisk() -> std::path::PathBuf {
    static FILE: OnceLock<tempfile::NamedTempFile> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        let mut medium = vec![0; 128 << 10];
        let (note, line) = (16 * 2048 + 883, 64 << 10);
        let words = format!("scute command line at {line}");
        medium[note..note + words.len()].copy_from_slice(words.as_bytes());
        medium[line..line + 2000].fill(b' ');
        medium[line..line + 5].copy_from_slice(b"quiet");
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&medium).unwrap();
        file
    });
    file.path().to_owned()
}

/// Starts the room.
pub fn spawn(client: Client, config: &Config) -> JoinSet<()> {
    let hub = Hub::new(client);
    let mut tasks = JoinSet::new();
    let listeners = Listeners::open(config).unwrap();
    scute_metal::spawn(&hub, config.clone(), listeners, &mut tasks);
    tasks
}

/// What every API server needs once.
pub async fn prepare(server: &ApiServer) {
    server.install_crds(scute_api::crds()).await;
    let system: Namespace = serde_json::from_value(json!({"metadata": {"name": "scute-system"}})).unwrap();
    Api::all(server.client().await).create(&PostParams::default(), &system).await.unwrap();
}

/// A namespace of one test, with the controllers of this binary at work.
pub struct Bench(Case);

impl Deref for Bench {
    type Target = Case;

    fn deref(&self) -> &Case {
        &self.0
    }
}

impl Bench {
    pub async fn new(prefix: &str) -> Self {
        let server = scute_testkit::server().await;
        scute_testkit::once(async {
            prepare(server).await;
            let mut tasks = spawn(server.client().await, &config());
            tokio::spawn(async move { while tasks.join_next().await.is_some() {} });
        })
        .await;
        Self::on(server, prefix).await
    }

    pub async fn on(server: &ApiServer, prefix: &str) -> Self {
        Self(Case::on(server, prefix).await)
    }

    /// The Secret with a BMC's credentials.
    pub async fn credentials(&self, name: &str, password: &str) -> Secret {
        let data = json!({"username": USER, "password": password});
        self.create(json!({"metadata": {"name": name}, "stringData": data})).await
    }

    /// A host, with more in its spec.
    pub async fn host(&self, name: &str, address: &str, more: Value) -> BareMetalHost {
        let mut spec = json!({"online": true, "bmc": {
            "address": address, "credentialsName": name, "disableCertificateVerification": true,
        }});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.create(json!({"metadata": {"name": name}, "spec": spec})).await
    }

    /// A host that is available.
    pub async fn available(&self, rig: &Rig, name: &str) -> BareMetalHost {
        self.credentials(name, PASSWORD).await;
        self.host(name, &rig.address, bare(&rig.mac)).await;
        self.until_state(name, ProvisioningState::Available).await
    }

    pub async fn patch(&self, name: &str, patch: Value) -> BareMetalHost {
        let params = PatchParams::default();
        self.api::<BareMetalHost>().patch(name, &params, &Patch::Merge(&patch)).await.unwrap()
    }

    pub async fn delete(&self, name: &str) {
        self.api::<BareMetalHost>().delete(name, &DeleteParams::default()).await.unwrap();
    }

    pub async fn until(&self, name: &str, what: &str, is: impl Fn(&BareMetalHost) -> bool) -> BareMetalHost {
        eventually(self.api::<BareMetalHost>(), name, what, is).await
    }

    pub async fn until_state(&self, name: &str, wanted: ProvisioningState) -> BareMetalHost {
        self.until(name, &format!("{wanted:?}"), |host| state(host) == wanted).await
    }

    pub async fn gone(&self, name: &str) {
        scute_testkit::eventually_gone(self.api::<BareMetalHost>(), name).await;
    }

    /// The reasons and notes of a host's events so far.
    pub async fn events(&self, name: &str) -> Vec<(String, String)> {
        let events: Api<k8s_openapi::api::events::v1::Event> = self.api();
        let all = events.list(&Default::default()).await.unwrap();
        let about = |event: &k8s_openapi::api::events::v1::Event| {
            event.regarding.as_ref().is_some_and(|regarding| regarding.name.as_deref() == Some(name))
        };
        let said = |event: k8s_openapi::api::events::v1::Event| {
            (event.reason.unwrap_or_default(), event.note.unwrap_or_default())
        };
        all.items.into_iter().filter(about).map(said).collect()
    }
}

/// Nothing is cleaned, so that a host is available at once.
pub fn bare(mac: &str) -> Value {
    json!({"inspectionMode": "disabled", "automatedCleaningMode": "disabled", "bootMACAddress": mac})
}

pub fn error(host: &BareMetalHost) -> Option<(ErrorType, String)> {
    let status = host.status.as_ref()?;
    Some((status.error_type?, status.error_message.clone()))
}

pub fn state(host: &BareMetalHost) -> ProvisioningState {
    host.status.as_ref().map(|status| status.provisioning.state).unwrap_or_default()
}

/// The message of a condition.
pub fn said(host: &BareMetalHost, type_: &str) -> String {
    let conditions = host.status.iter().flat_map(|status| &status.conditions);
    conditions
        .filter(|condition| condition.type_ == type_)
        .map(|condition| format!("{} {} {}", condition.status, condition.reason, condition.message))
        .collect()
}
