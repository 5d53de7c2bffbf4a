//! Objects of manifests, made in a tenant.

use std::collections::HashMap;

use kube::Client;
use kube::Resource;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::core::request::Request;
use kube::discovery::{Scope, pinned_kind};
use scute_api::addons::{ClusterResourceSetStrategy as Strategy, ResourceKind};
use scute_kit::{apply_body, post_params, said};
use serde_json::Value;

use super::manifest::Manifest;

/// Field manager of what is applied in tenants.
const MANAGER: &str = "scute-clusterresourceset";

/// A tenant, and how it serves the kinds that were asked for.
pub struct Tenant {
    client: Client,
    kinds: HashMap<GroupVersionKind, (ApiResource, Scope)>,
}

impl Tenant {
    /// Nothing has been asked yet.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, kinds: HashMap::new() }
    }

    /// Makes or applies all objects; one that fails does not stop the others. What was not done, each in one sentence, which
    /// for objects from a Secret repeats nothing of them.
    pub async fn put(&mut self, objects: &[Manifest], strategy: Strategy, from: ResourceKind) -> Vec<String> {
        let mut failures = Vec::new();
        for object in objects {
            if let Err(error) = self.put_one(object, strategy).await {
                failures.push(match from {
                    ResourceKind::ConfigMap => {
                        format!("{} {} ({}): {}", object.kind.kind, object.name, object.place, said(&error))
                    }
                    ResourceKind::Secret => format!("{}: {}", object.place, kind_of(&error)),
                });
            }
        }
        failures
    }

    async fn put_one(&mut self, manifest: &Manifest, strategy: Strategy) -> Result<(), kube::Error> {
        let (resource, scope) = self.served(&manifest.kind).await?;
        let namespace = match scope {
            Scope::Cluster => None,
            Scope::Namespaced => Some(manifest.namespace.clone().unwrap_or_else(|| "default".to_owned())),
        };
        let mut object = manifest.object.clone();
        if let Some(namespace) = &namespace {
            object["metadata"]["namespace"] = Value::from(namespace.clone());
        }
        let request = Request::new(DynamicObject::url_path(&resource, namespace.as_deref()));
        match strategy {
            Strategy::ApplyOnce => {
                let body = object.to_string().into_bytes();
                let made = request.create(&post_params(), body).map_err(kube::Error::BuildRequest)?;
                match self.client.request::<Value>(made).await {
                    // What is there is left as it is.
                    Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
                    other => other.map(drop),
                }
            }
            Strategy::Reconcile => {
                let params = PatchParams::apply(MANAGER).force();
                let body = apply_body(&object);
                let applied = request
                    .patch(&manifest.name, &params, &Patch::Apply(&object))
                    .map_err(kube::Error::BuildRequest)?;
                self.client.request::<Value>(applied.map(|_| body)).await.map(drop)
            }
        }
    }

    async fn served(&mut self, kind: &GroupVersionKind) -> Result<(ApiResource, Scope), kube::Error> {
        if let Some(known) = self.kinds.get(kind) {
            return Ok(known.clone());
        }
        let (resource, capabilities) = pinned_kind(&self.client, kind).await?;
        let known = (resource, capabilities.scope);
        self.kinds.insert(kind.clone(), known.clone());
        Ok(known)
    }
}

/// What kind of failure it is, without what it is about.
fn kind_of(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("the tenant refuses ({} {})", status.code, status.reason),
        kube::Error::Discovery(_) => "the tenant does not serve the kind".to_owned(),
        _ => "the tenant does not answer".to_owned(),
    }
}
