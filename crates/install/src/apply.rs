//! Server-side apply of an object of any kind. In: JSON with kind and name. Out: the object in the cluster.

use crate::InstallError;
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
};
use serde::Serialize;
use serde_json::{Value, json};

/// Field manager of everything that is installed.
const FIELD_MANAGER: &str = "scute-site";

/// An object as JSON.
pub fn to_value(object: &impl Serialize) -> Result<Value, InstallError> {
    serde_json::to_value(object).map_err(|e| InstallError::Malformed(e.to_string()))
}

/// A namespace.
pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// Applies one object; fields that others set stay.
pub async fn apply(client: &Client, object: Value) -> Result<(), InstallError> {
    let (api, name) = find(client, &object)?;
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let result = api.patch(&name, &params, &Patch::Apply(&object)).await;
    result.map(drop).map_err(|source| match source {
        // A path that is not there, or an object's namespace, which would be named.
        kube::Error::Api(status) if status.code == 404 && !status.message.contains("namespaces") => {
            InstallError::NoKind(title(&object))
        }
        source => InstallError::Apply { object: title(&object), source },
    })
}

/// Whether an object of this kind and name is there.
pub async fn exists(client: &Client, object: &Value) -> Result<bool, InstallError> {
    let (api, name) = find(client, object)?;
    let found = api.get_metadata_opt(&name).await;
    found.map(|found| found.is_some()).map_err(|source| InstallError::Look { object: title(object), source })
}

fn title(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

/// Where an object is, by its kind and namespace, and its name.
fn find(client: &Client, object: &Value) -> Result<(Api<DynamicObject>, String), InstallError> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
    let malformed = || InstallError::Malformed(title(object));
    let (group, version) = match object["apiVersion"].as_str() {
        Some(both) => both.split_once('/').unwrap_or(("", both)),
        None => return Err(malformed()),
    };
    if kind.is_empty() || name.is_empty() {
        return Err(malformed());
    }
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
    let api = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    Ok((api, name))
}
