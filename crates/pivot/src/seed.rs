//! What is asked of the seed, and written there.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::Scope;
use scute_movement::Side;
use serde_json::Value;

use crate::error::PivotError;
use crate::manifests::{Manifests, title};

/// Type of the Secret that says where a Cluster has been moved to.
pub const RECORD_TYPE: &str = "scute.dev/pivot";
/// Who writes.
const MANAGER: &str = "scute-bootstrap";
/// Key of a kubeconfig in a Secret, as in Cluster API's contract.
const VALUE: &str = "value";

/// The Secret at the seed that is there from before a Cluster is moved, with the kubeconfig of where it goes.
#[must_use]
pub fn record_name(cluster: &str) -> String {
    format!("{cluster}-pivot")
}

/// The seed, and the namespace in it.
pub struct Seed {
    pub client: Client,
    pub namespace: String,
}

impl Seed {
    /// Applies every object, after the API server has said that it would take all of them.
    pub async fn apply(&self, manifests: &Manifests) -> Result<(), PivotError> {
        let mut kinds = BTreeMap::new();
        for object in &manifests.objects {
            if let Entry::Vacant(unknown) = kinds.entry(kind_of(object)) {
                unknown.insert(self.served(object).await?);
            }
        }
        Side::new("seed", self.client.clone(), &self.namespace).make_namespace().await?;
        for params in [PatchParams::apply(MANAGER).dry_run(), PatchParams::apply(MANAGER)] {
            for object in &manifests.objects {
                let kind = &kinds[&kind_of(object)];
                let api: Api<DynamicObject> =
                    Api::namespaced_with(self.client.clone(), &self.namespace, kind);
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                let applied = api.patch(name, &params, &Patch::Apply(object)).await;
                applied.map_err(|error| PivotError::request(format!("applying {}", title(object)), error))?;
            }
        }
        Ok(())
    }

    async fn served(&self, object: &Value) -> Result<ApiResource, PivotError> {
        let (version, kind) = kind_of(object);
        let (group, version) = version.split_once('/').unwrap_or(("", &version));
        let kind = GroupVersionKind::gvk(group, version, &kind);
        let found = kube::discovery::pinned_kind(&self.client, &kind).await;
        let (kind, served) = found.map_err(|error| match error {
            kube::Error::Discovery(_) => PivotError::NoKind(title(object)),
            kube::Error::Api(status) if status.code == 404 => PivotError::NoKind(title(object)),
            error => PivotError::request(format!("asking for the kind of {}", title(object)), error),
        })?;
        match served.scope {
            Scope::Namespaced => Ok(kind),
            Scope::Cluster => Err(PivotError::NoNamespace(title(object))),
        }
    }

    /// The kubeconfig of a Cluster (Secret `<cluster>-kubeconfig`), which its control plane has made.
    pub async fn kubeconfig(&self, cluster: &str) -> Result<String, PivotError> {
        let name = format!("{cluster}-kubeconfig");
        self.secret(&name).await?.ok_or(PivotError::NoKubeconfig(name))
    }

    /// The kubeconfig of where the Cluster goes or has gone, if it was to go.
    pub async fn record(&self, cluster: &str) -> Result<Option<String>, PivotError> {
        self.secret(&record_name(cluster)).await
    }

    /// Says where the Cluster goes. From then on nothing is applied here any more.
    pub async fn write_record(&self, cluster: &str, kubeconfig: &str) -> Result<(), PivotError> {
        let name = record_name(cluster);
        let mut record = Secret {
            type_: Some(RECORD_TYPE.to_owned()),
            data: Some([(VALUE.to_owned(), ByteString(kubeconfig.as_bytes().to_vec()))].into()),
            ..Secret::default()
        };
        record.metadata.name = Some(name.clone());
        let written = self.secrets().create(&PostParams::default(), &record).await;
        written.map(drop).map_err(|error| PivotError::request(format!("writing Secret {name}"), error))
    }

    async fn secret(&self, name: &str) -> Result<Option<String>, PivotError> {
        let read = self.secrets().get_opt(name).await;
        let secret = read.map_err(|error| PivotError::request(format!("reading Secret {name}"), error))?;
        let value = secret.and_then(|secret| secret.data).and_then(|mut data| data.remove(VALUE));
        Ok(value.and_then(|value| String::from_utf8(value.0).ok()))
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

/// Its `apiVersion` and `kind`.
fn kind_of(object: &Value) -> (String, String) {
    let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
    (text("apiVersion"), text("kind"))
}
