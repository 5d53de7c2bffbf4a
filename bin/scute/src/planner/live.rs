//! What a cluster knows: every object that the planner, the linter and the explainer read, as plain JSON.

use anyhow::Context;
use clap::Args;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::ConfigMap;
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
        let client = ClientArgs { kubeconfig: None, site: scute_site::SiteName::default(), namespace: None };
        LiveArgs { live: false, client }
    }

    /// Whether a cluster is asked for.
    pub fn wanted(&self) -> bool {
        self.live
    }

    /// Every object; what could not be read is said.
    pub async fn objects(&self) -> anyhow::Result<Vec<serde_json::Value>> {
        let (seen, _) = seen(&self.client).await?;
        Ok(seen.objects)
    }
}

/// What the cluster that is meant has, and the namespace that is meant. What could not be read is said.
pub async fn seen(client: &ClientArgs) -> anyhow::Result<(Seen, String)> {
    let (connected, namespace) = client.connect().await?;
    let seen = objects(&connected).await.with_context(|| match &client.kubeconfig {
        Some(path) => format!("the cluster of kubeconfig {} does not answer", path.display()),
        None => "the cluster does not answer; --kubeconfig names another".to_owned(),
    })?;
    seen.notes.iter().for_each(|n| eprintln!("note: {n}"));
    Ok((seen, namespace))
}

/// What a cluster has.
pub struct Seen {
    /// Objects.
    pub objects: Vec<serde_json::Value>,
    /// Kinds that were listed.
    pub kinds: Vec<String>,
    /// What could not be read.
    notes: Vec<String>,
}

/// Lists every kind of the groups that exists in the cluster.
async fn objects(client: &Client) -> anyhow::Result<Seen> {
    let discovery = Discovery::new(client.clone()).filter(&GROUPS).run().await?;
    let mut seen = Seen { objects: Vec::new(), kinds: Vec::new(), notes: Vec::new() };
    for group in discovery.groups() {
        let core = matches!(group.name(), "" | "apps");
        // Of the group's versions not every one has every kind.
        let mut resources = group.resources_by_stability();
        resources.sort_by(|(a, _), (b, _)| a.kind.cmp(&b.kind));
        for (resource, capabilities) in resources {
            if !capabilities.supports_operation(verbs::LIST)
                || (core && !CORE.contains(&resource.kind.as_str()))
            {
                continue;
            }
            match list(client, &resource).await {
                Ok(objects) => seen.objects.extend(objects),
                Err(error) => seen.notes.push(format!("{} could not be listed: {error}", resource.plural)),
            }
            seen.kinds.push(resource.kind);
        }
    }
    let namespace = manager(client).await.unwrap_or_else(|error| {
        seen.notes.push(format!("where the manager is could not be read: {error}"));
        scute_install::NAMESPACE.to_owned()
    });
    let maps: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), &namespace, &ApiResource::erase::<ConfigMap>(&()));
    // Of all ConfigMaps, the one that says which addresses are the management cluster's own.
    match maps.get_opt(scute_install::MANAGER).await {
        Ok(map) => seen.objects.extend(map.map(|map| plain(map, "v1", "ConfigMap")).transpose()?),
        Err(error) => seen.notes.push(format!("the manager's configuration could not be read: {error}")),
    }
    Ok(seen)
}

/// The namespace of the manager: that of the Service which the API server asks about our kinds. Whoever may write in some
/// namespace cannot change that.
async fn manager(client: &Client) -> Result<String, kube::Error> {
    let hooks: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let hooks = hooks.get_opt(scute_install::WEBHOOKS).await?.and_then(|found| found.webhooks);
    let mut services = hooks.into_iter().flatten().filter_map(|hook| hook.client_config.service);
    Ok(services.next().map_or_else(|| scute_install::NAMESPACE.to_owned(), |service| service.namespace))
}

/// Items of a list do not repeat what they are.
fn plain(mut object: DynamicObject, version: &str, kind: &str) -> anyhow::Result<serde_json::Value> {
    object.metadata.managed_fields = None;
    let mut value = serde_json::to_value(&object)?;
    value["apiVersion"] = version.into();
    value["kind"] = kind.into();
    Ok(value)
}

async fn list(client: &Client, resource: &ApiResource) -> anyhow::Result<Vec<serde_json::Value>> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), resource);
    let objects = api.list(&ListParams::default()).await?;
    objects.items.into_iter().map(|object| plain(object, &resource.api_version, &resource.kind)).collect()
}
