//! What a cluster knows: every object that the planner, the linter and the explainer read, as plain JSON.

use clap::Args;
use kube::api::{Api, ListParams};
use kube::core::DynamicObject;
use kube::discovery::{ApiResource, verbs};
use kube::{Client, Discovery};

use crate::client::ClientArgs;

/// Groups whose objects are read.
const GROUPS: [&str; 16] = [
    "",
    "apps",
    "cluster.x-k8s.io",
    "bootstrap.cluster.x-k8s.io",
    "controlplane.cluster.x-k8s.io",
    "infrastructure.cluster.x-k8s.io",
    "ipam.cluster.x-k8s.io",
    "addons.cluster.x-k8s.io",
    "kamaji.clastix.io",
    "kubevirt.io",
    "metal3.io",
    "ipam.metal3.io",
    "ironic.metal3.io",
    "metallb.io",
    "crd.projectcalico.org",
    "operator.tigera.io",
];
/// Kinds of the core and apps groups that are read; never Secrets.
const CORE: [&str; 6] = ["Node", "Pod", "Service", "Event", "Deployment", "PersistentVolumeClaim"];

/// Whether and which cluster to read.
#[derive(Args)]
pub struct LiveArgs {
    /// Read the management cluster instead of files
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    client: ClientArgs,
}

impl LiveArgs {
    /// No cluster.
    pub fn none() -> LiveArgs {
        let client = ClientArgs { kubeconfig: None, site: String::new(), namespace: None };
        LiveArgs { live: false, client }
    }

    /// Whether a cluster is asked for.
    pub fn wanted(&self) -> bool {
        self.live
    }

    /// Every object, and what could not be read.
    pub async fn objects(&self) -> anyhow::Result<(Vec<serde_json::Value>, Vec<String>)> {
        let (client, _) = self.client.connect().await?;
        objects(&client).await
    }
}

/// Lists every kind of the groups that exists in the cluster.
pub async fn objects(client: &Client) -> anyhow::Result<(Vec<serde_json::Value>, Vec<String>)> {
    let discovery = Discovery::new(client.clone()).filter(&GROUPS).run().await?;
    let (mut found, mut notes) = (Vec::new(), Vec::new());
    for group in discovery.groups() {
        let core = matches!(group.name(), "" | "apps");
        for (resource, capabilities) in group.recommended_resources() {
            if !capabilities.supports_operation(verbs::LIST)
                || (core && !CORE.contains(&resource.kind.as_str()))
            {
                continue;
            }
            match list(client, &resource).await {
                Ok(objects) => found.extend(objects),
                Err(error) => notes.push(format!("{} could not be listed: {error}", resource.plural)),
            }
        }
    }
    Ok((found, notes))
}

async fn list(client: &Client, resource: &ApiResource) -> anyhow::Result<Vec<serde_json::Value>> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), resource);
    let objects = api.list(&ListParams::default()).await?;
    let mut found = Vec::with_capacity(objects.items.len());
    for mut object in objects.items {
        object.metadata.managed_fields = None;
        let mut value = serde_json::to_value(&object)?;
        // Items of a list do not repeat what they are.
        value["apiVersion"] = resource.api_version.clone().into();
        value["kind"] = resource.kind.clone().into();
        found.push(value);
    }
    Ok(found)
}
