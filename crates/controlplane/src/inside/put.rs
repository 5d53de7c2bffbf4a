//! Comparing what a tenant has inside with what it shall have, and writing the difference.

use futures::future::try_join_all;
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use scute_api::kamaji::PROJECT_LABEL;
use scute_kit::Why;
use scute_kit::json::covers;
use serde_json::{Value, json};

use super::kinds::{KINDS, resource};

/// Field manager inside tenants.
const MANAGER: &str = "scute";

/// A request that the tenant's API server did not grant.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The objects of a kind could not be listed.
    #[error("listing {kind}: {source}")]
    List {
        /// The kind.
        kind: &'static str,
        /// The cause.
        #[source]
        source: kube::Error,
    },
    /// An object could not be applied.
    #[error("applying {object}: {source}")]
    Apply {
        /// Kind and name.
        object: String,
        /// The cause.
        #[source]
        source: kube::Error,
    },
    /// An object could not be removed.
    #[error("removing {object}: {source}")]
    Delete {
        /// Kind and name.
        object: String,
        /// The cause.
        #[source]
        source: kube::Error,
    },
}

impl Error {
    /// As a reason: an answer of the API server is not the same as none.
    pub fn why(&self) -> Why {
        let (Self::List { source, .. } | Self::Apply { source, .. } | Self::Delete { source, .. }) = self;
        let reason = match source {
            kube::Error::Api(_) => "TenantObjectsRefused",
            _ => super::UNREACHABLE,
        };
        Why::new(reason, self.to_string())
    }
}

/// Applies objects, all at once.
///
/// # Errors
/// The first refusal.
pub async fn apply<'a>(client: &Client, objects: impl Iterator<Item = &'a Value>) -> Result<(), Error> {
    let writes = objects.map(|object| async move {
        let (api, name) = target(client, object);
        let params = PatchParams::apply(MANAGER).force();
        let named = || format!("{} {name}", object["kind"].as_str().unwrap_or_default());
        match api.patch(&name, &params, &Patch::Apply(object)).await {
            Ok(_) => Ok(()),
            Err(source) => Err(Error::Apply { object: named(), source }),
        }
    });
    try_join_all(writes).await.map(|_| ())
}

/// Lists what carries our label, applies what differs, removes what is not wanted.
///
/// # Errors
/// The first refusal.
pub async fn keep(client: &Client, desired: &[Value]) -> Result<(), Error> {
    let lists = KINDS.iter().map(|(version, kind)| list(client, version, kind));
    let present: Vec<Value> = try_join_all(lists).await?.concat();
    let differs = |want: &&Value| !present.iter().any(|seen| same(seen, want) && covers(seen, want));
    apply(client, desired.iter().filter(differs)).await?;
    let surplus = present.iter().filter(|seen| !desired.iter().any(|want| same(seen, want)));
    let removals = surplus.map(|object| async move {
        let (api, name) = target(client, object);
        match api.delete(&name, &DeleteParams::background()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(source) => {
                let object = format!("{} {name}", object["kind"].as_str().unwrap_or_default());
                Err(Error::Delete { object, source })
            }
        }
    });
    try_join_all(removals).await.map(|_| ())
}

async fn list(client: &Client, version: &str, kind: &'static str) -> Result<Vec<Value>, Error> {
    let resource: ApiResource = resource(version, kind);
    let ours = ListParams::default().labels(&format!("{PROJECT_LABEL}=kamaji"));
    let listed = Api::<DynamicObject>::all_with(client.clone(), &resource)
        .list(&ours)
        .await
        .map_err(|source| Error::List { kind, source })?;
    // The items of a list say neither version nor kind.
    let named = |object: DynamicObject| {
        let mut value = json!(object);
        value["apiVersion"] = json!(version);
        value["kind"] = json!(kind);
        value
    };
    Ok(listed.items.into_iter().map(named).collect())
}

fn same(a: &Value, b: &Value) -> bool {
    let id = |object: &Value| {
        let meta = &object["metadata"];
        (object["kind"].clone(), meta["namespace"].clone(), meta["name"].clone())
    };
    id(a) == id(b)
}

fn target(client: &Client, object: &Value) -> (Api<DynamicObject>, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let resource = resource(&text(&object["apiVersion"]), &text(&object["kind"]));
    let name = text(&object["metadata"]["name"]);
    let api = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    (api, name)
}
