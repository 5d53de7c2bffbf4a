//! What a user makes of a server, and what must be written until it is available, by a plain client.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use scute_api::metal3::{BareMetalHost, HardwareData};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::server::{PASSWORD, USER};

/// All servers are in one namespace, as users of Metal3 have them.
const NAMESPACE: &str = "metal";

/// Where and how servers are written.
pub struct Writer {
    client: Client,
    at_once: usize,
}

impl Writer {
    pub fn new(client: &Client, at_once: usize) -> Self {
        Self { client: client.clone(), at_once }
    }

    pub fn hosts(&self) -> Api<BareMetalHost> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// The namespaces that there must be.
    pub async fn prepare(&self) -> Result<()> {
        for name in [NAMESPACE, "scute-system"] {
            create(&Api::<Namespace>::all(self.client.clone()), json!({"metadata": {"name": name}})).await?;
        }
        Ok(())
    }

    /// A Secret and a BareMetalHost for each of these: name, interface, address.
    pub async fn make(&self, servers: &[(String, String, String)]) -> Result<()> {
        let make = |(name, mac, address): (String, String, String)| async move {
            let login = json!({"username": USER, "password": PASSWORD});
            create(&self.secrets(), json!({"metadata": {"name": name}, "stringData": login})).await?;
            let bmc =
                json!({"address": address, "credentialsName": name, "disableCertificateVerification": true});
            let spec = json!({"online": false, "bootMACAddress": mac, "bmc": bmc});
            create(&self.hosts(), json!({"metadata": {"name": name}, "spec": spec})).await
        };
        stream::iter(servers.to_vec()).map(make).buffer_unordered(self.at_once).try_collect().await
    }

    pub async fn delete(&self, names: &[String]) -> Result<()> {
        for name in names {
            self.hosts().delete(name, &DeleteParams::default()).await?;
        }
        Ok(())
    }

    /// What must be written for each of these: the Secret is marked and the host gets its finalizer; three times what the
    /// start from virtual media has come to, as it must survive a manager; HardwareData; a status for each state.
    async fn life(&self, name: &str, hardware: &Value) -> Result<()> {
        let params = PatchParams::default();
        let mark = json!({"metadata": {"labels": {"environment.metal3.io": "baremetal"}}});
        self.secrets().patch(name, &params, &Patch::Merge(&mark)).await?;
        let mark = json!({"metadata": {"finalizers": ["baremetalhost.metal3.io"]}});
        self.hosts().patch(name, &params, &Patch::Merge(&mark)).await?;
        let start = format!("{name}-agent");
        create(&self.secrets(), json!({"metadata": {"name": start}, "stringData": {"boot": "{}"}})).await?;
        for boot in ["{\"started\":1}", "{\"taken\":1}"] {
            let patch = json!({"stringData": {"boot": boot}});
            self.secrets().patch(&start, &params, &Patch::Merge(&patch)).await?;
        }
        self.secrets().delete(&start, &DeleteParams::default()).await?;
        let data: Api<HardwareData> = Api::namespaced(self.client.clone(), NAMESPACE);
        create(&data, json!({"metadata": {"name": name}, "spec": {"hardware": hardware}})).await?;
        for state in ["registering", "inspecting", "preparing", "available"] {
            let known = matches!(state, "preparing" | "available").then_some(hardware);
            let status = json!({"status": {"errorCount": 0, "errorMessage": "", "hardware": known, "poweredOn": false,
                "operationalStatus": "OK", "provisioning": {"ID": "", "state": state}}});
            self.hosts().patch_status(name, &params, &Patch::Merge(&status)).await?;
        }
        Ok(())
    }

    /// The writes of a plain client until all these are available.
    pub async fn floor(&self, servers: &[(String, String, String)], hardware: &Value) -> Result<Duration> {
        let start = Instant::now();
        self.make(servers).await?;
        stream::iter(servers.to_vec())
            .map(|(name, _, _)| async move { self.life(&name, hardware).await })
            .buffer_unordered(self.at_once)
            .try_collect::<()>()
            .await?;
        Ok(start.elapsed())
    }
}

async fn create<K>(api: &Api<K>, object: Value) -> Result<()>
where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned + Serialize,
{
    api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    Ok(())
}
