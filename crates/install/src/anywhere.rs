//! Scute in any Kubernetes cluster. In: [`Options`]. Out: the objects, as data or applied, in the order that they need.

use crate::{
    InstallError, LAUNCHER, ManagerConfig, NAMESPACE, REGISTRY, SCUTE, VERSION, apply, apply_all, available,
    etcd, image,
    manager::{Manager, WEBHOOK_SECRET},
    monitoring,
    parts::{self, Choice, When, when},
    rbac, serve, webhooks,
};
use kube::Client;
use scute_api::engines::engine_of;
use serde_json::Value;

/// What may be chosen.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the manager is told; images and the certificate of the webhooks are filled in.
    pub configuration: ManagerConfig,
    /// How many managers.
    pub replicas: u8,
    /// Where Scute's images are.
    pub registry: String,
    /// Where the manager is.
    pub namespace: String,
    /// Whether Prometheus and Grafana are told of it.
    pub monitoring: bool,
}

impl Options {
    /// A site: one manager, whose images are on the site itself.
    #[must_use]
    pub fn site(configuration: ManagerConfig) -> Self {
        let (registry, namespace) = (REGISTRY.to_owned(), NAMESPACE.to_owned());
        Self { configuration, replicas: 1, registry, namespace, monitoring: false }
    }
}

/// Every object, in the order of their needs, with parts that hang on what is chosen.
pub struct Parts {
    /// The kinds that are served.
    pub definitions: Vec<Value>,
    /// Rights and manager.
    pub objects: Vec<Value>,
    /// What has the API server ask the manager.
    pub webhooks: Vec<Value>,
    /// What watches the manager.
    pub monitoring: Vec<Value>,
}

impl Parts {
    /// All of them. Nothing secret is in it: the manager makes its certificates itself.
    ///
    /// # Errors
    /// When a definition is none.
    pub fn all() -> Result<Self, InstallError> {
        let mut definitions = Vec::new();
        for crd in scute_api::crds() {
            let mut definition = apply::to_value(&crd)?;
            let service = definition.pointer_mut("/spec/conversion/webhook/clientConfig/service/namespace");
            if let Some(namespace) = service {
                *namespace = parts::namespace();
            }
            definitions.push(when(When::Definitions, when(When::On(engine_of(&crd)), definition)));
        }
        let mut objects = rbac::objects();
        objects.extend(Manager { certificate: None, image_digest: "" }.objects());
        objects.extend(etcd::objects());
        // The manager says which authority to trust.
        let webhooks = webhooks::configurations(None);
        Ok(Self { definitions, objects, webhooks, monitoring: monitoring::objects() })
    }
}

/// Every object, in the order of their needs.
#[derive(Clone, Debug)]
pub struct Installation {
    /// The kinds that are served.
    pub definitions: Vec<Value>,
    /// What everything else is in.
    pub namespace: Value,
    /// Rights and manager.
    pub objects: Vec<Value>,
    /// What has the API server ask the manager: from then on nothing of our kinds is written that it has not seen.
    pub webhooks: Vec<Value>,
    /// What watches the manager. Last: its kinds are the Prometheus operator's, and nothing else waits for them.
    pub monitoring: Vec<Value>,
}

impl Installation {
    /// Renders it.
    ///
    /// # Errors
    /// When the configuration cannot be written as text.
    pub fn of(options: &Options) -> Result<Self, InstallError> {
        let configuration = ManagerConfig {
            scute_image: Some(image(&options.registry, SCUTE, VERSION)),
            launcher_image: Some(image(&options.registry, LAUNCHER, VERSION)),
            webhook_secret: Some(WEBHOOK_SECRET.to_owned()),
            webhook_certificates: None,
            ..options.configuration.clone()
        };
        let options = Options { configuration, ..options.clone() };
        let Parts { definitions, objects, webhooks, monitoring } = Parts::all()?;
        let choice = Choice::new(&options)?;
        Ok(Self {
            definitions: choice.resolve(&definitions)?,
            namespace: apply::namespace(&options.namespace),
            objects: choice.resolve(&objects)?,
            webhooks: choice.resolve(&webhooks)?,
            monitoring: choice.resolve(&monitoring)?,
        })
    }

    /// All of it, as YAML documents would have it.
    #[must_use]
    pub fn documents(&self) -> Vec<Value> {
        let Self { definitions, namespace, objects, webhooks, monitoring } = self;
        let others = objects.iter().chain(webhooks).chain(monitoring);
        definitions.iter().chain([namespace]).chain(others).cloned().collect()
    }

    /// Applies it and waits until every manager is available. To apply it again changes nothing; what an older release has
    /// installed is brought up to date, and running clusters are not touched by that.
    ///
    /// # Errors
    /// When the API server refuses or the managers do not come up.
    pub async fn apply(&self, client: &Client) -> Result<(), InstallError> {
        serve(client, self.definitions.clone()).await?;
        apply::apply(client, self.namespace.clone()).await?;
        apply_all(client, self.objects.clone()).await?;
        available(client, self.namespace["metadata"]["name"].as_str().unwrap_or_default()).await?;
        apply_all(client, self.webhooks.clone()).await?;
        apply_all(client, self.monitoring.clone()).await
    }
}
