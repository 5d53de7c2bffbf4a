//! In which version our kinds' objects are stored. A definition names every version in which there may be objects yet, and can lose
//! none of them before they are written anew. In: our definitions. Out: every object in the version of today, and definitions
//! that name no other.

use futures::{StreamExt, stream};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use scute_api::engines::{Engine, crds_without};
use serde_json::json;

use crate::AT_ONCE;
use crate::kept::{self, UpkeepError, api, events};

/// Objects of one page of a listing.
const PAGE: u32 = 200;

/// Keeps objects in the version of today.
pub struct StorageVersions {
    client: Client,
    definitions: Vec<String>,
}

impl StorageVersions {
    /// Of our kinds, but for those of engines that are off.
    #[must_use]
    pub fn new(client: Client, without: &[Engine]) -> Self {
        Self::of(client, crds_without(without).iter().map(ResourceExt::name_any).collect())
    }

    /// Of the definitions of these names.
    #[must_use]
    pub fn of(client: Client, definitions: Vec<String>) -> Self {
        Self { client, definitions }
    }

    /// Looks after them; does not return. `failed` hears what could not be done, which is tried again.
    pub async fn keep(self, failed: impl Fn(&UpkeepError)) {
        let changes = events::<CustomResourceDefinition>(&self.client, watcher::Config::default());
        kept::again_and_again(changes, || self.look_after(), failed).await;
    }

    /// One look at all of them; one that cannot be brought up to date does not stop the others.
    ///
    /// # Errors
    /// The first of what could not be done.
    pub async fn look_after(&self) -> Result<(), UpkeepError> {
        let mut first = Ok(());
        for name in &self.definitions {
            first = first.and(self.definition(name).await);
        }
        first
    }

    async fn definition(&self, name: &str) -> Result<(), UpkeepError> {
        let all: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let refused = |source| api(format!("CustomResourceDefinition {name}"), source);
        let Some(found) = all.get_opt(name).await.map_err(refused)? else { return Ok(()) };
        let stored =
            found.status.as_ref().and_then(|status| status.stored_versions.clone()).unwrap_or_default();
        let Some(today) = found.spec.versions.iter().find(|version| version.storage) else { return Ok(()) };
        if stored.iter().all(|version| *version == today.name) {
            return Ok(());
        }
        let names = &found.spec.names;
        let resource = ApiResource {
            group: found.spec.group.clone(),
            version: today.name.clone(),
            api_version: format!("{}/{}", found.spec.group, today.name),
            kind: names.kind.clone(),
            plural: names.plural.clone(),
        };
        self.write_anew(&resource).await?;
        // Of this version of the definition: a newer one may store in another version.
        let patch = json!({
            "metadata": {"resourceVersion": found.metadata.resource_version},
            "status": {"storedVersions": [today.name]},
        });
        match all.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            // Its change has us look again.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            done => done.map(drop).map_err(refused),
        }
    }

    /// Has the API server write every object of a kind anew, by a change that changes nothing.
    async fn write_anew(&self, resource: &ApiResource) -> Result<(), UpkeepError> {
        let all: Api<DynamicObject> = Api::all_with(self.client.clone(), resource);
        let mut token = None;
        loop {
            let params = ListParams { limit: Some(PAGE), continue_token: token, ..ListParams::default() };
            let page = all.list_metadata(&params).await;
            let page = page.map_err(|source| api(format!("objects of kind {}", resource.kind), source))?;
            let writes: Vec<_> =
                page.items.iter().map(|object| touch(&self.client, resource, &object.metadata)).collect();
            let done: Vec<_> = stream::iter(writes).buffer_unordered(AT_ONCE).collect().await;
            done.into_iter().collect::<Result<(), _>>()?;
            token = page.metadata.continue_.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(());
            }
        }
    }
}

/// Changes nothing of an object; of one that is gone neither.
fn touch(
    client: &Client,
    resource: &ApiResource,
    meta: &ObjectMeta,
) -> impl Future<Output = Result<(), UpkeepError>> + use<> {
    let name = meta.name.clone().unwrap_or_default();
    let objects: Api<DynamicObject> = match &meta.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    };
    let namespace = meta.namespace.as_ref().map_or(String::new(), |namespace| format!("{namespace}/"));
    let what = format!("{} {namespace}{name}", resource.kind);
    async move {
        match objects.patch_metadata(&name, &PatchParams::default(), &Patch::Merge(json!({}))).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            done => done.map(drop).map_err(|source| api(what, source)),
        }
    }
}
