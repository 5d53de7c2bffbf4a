//! Scute in any Kubernetes cluster. In: [`Options`]. Out: the objects, as data or applied, in the order that they need.

use crate::{
    InstallError, LAUNCHER, ManagerConfig, NAMESPACE, SCUTE, VERSION, apply, apply_all, available, image,
    manager::{Manager, WEBHOOK_SECRET},
    rbac, serve, webhooks,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use scute_api::engines::crds_without;
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
}

/// Every object, in the order of their needs.
#[derive(Clone, Debug)]
pub struct Installation {
    /// The kinds that are served.
    pub definitions: Vec<CustomResourceDefinition>,
    /// What everything else is in.
    pub namespace: Value,
    /// Rights and manager.
    pub objects: Vec<Value>,
    /// What has the API server ask the manager: from then on nothing of our kinds is written that it has not seen.
    pub webhooks: Vec<Value>,
}

impl Installation {
    /// Renders it. Nothing secret is in it: the manager makes its certificates itself.
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
        let manager = Manager {
            configuration: &configuration,
            certificate: None,
            image_digest: "",
            replicas: options.replicas,
            registry: &options.registry,
        };
        let mut objects = rbac::objects(&configuration.without);
        objects.extend(manager.objects()?);
        Ok(Self {
            definitions: crds_without(&configuration.without),
            namespace: apply::namespace(NAMESPACE),
            objects,
            // The manager says which authority to trust.
            webhooks: webhooks::configurations(None, &configuration.without),
        })
    }

    /// All of it, as YAML documents would have it.
    ///
    /// # Errors
    /// When a definition is none.
    pub fn documents(&self) -> Result<Vec<Value>, InstallError> {
        let definitions = self.definitions.iter().map(apply::to_value);
        let others =
            [&self.namespace].into_iter().chain(&self.objects).chain(&self.webhooks).cloned().map(Ok);
        definitions.chain(others).collect()
    }

    /// Applies it and waits until every manager is available. To apply it again changes nothing; what an older release has
    /// installed is brought up to date, and running clusters are not touched by that.
    ///
    /// # Errors
    /// When the API server refuses or the managers do not come up.
    pub async fn apply(&self, client: &Client) -> Result<(), InstallError> {
        serve(client, &self.definitions).await?;
        apply::apply(client, self.namespace.clone()).await?;
        apply_all(client, self.objects.clone()).await?;
        available(client).await?;
        apply_all(client, self.webhooks.clone()).await
    }
}
