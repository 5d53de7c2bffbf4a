//! The lock of a Cluster that is not there yet: a ConfigMap `<cluster>-lock` that names the one Machine whose host begins
//! it. The shape is upstream's, so that either manager finds the other's lock.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::ObjectMeta;
use scute_api::cluster::{Cluster, Machine};
use scute_api::meta::CLUSTER_NAME_LABEL;
use scute_contract::owners::owner;
use scute_kit::{Error, Hub, Key};
use serde_json::{Value, json};

/// Key in the ConfigMap's data; its value is JSON with `machineName`.
const INFORMATION: &str = "lock-information";

/// Who begins the Cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum Lock {
    /// Nobody yet.
    Free,
    /// This Machine.
    Mine,
    /// Another Machine, which exists.
    Held(String),
    /// A Machine that is gone: whoever wants the lock may take it away.
    Lost(String),
    /// Nobody can say: the ConfigMap is none of this shape.
    Unreadable,
}

/// Name of the ConfigMap.
#[must_use]
pub fn name(cluster: &str) -> String {
    format!("{cluster}-lock")
}

fn key(cluster: &Cluster) -> Key {
    Key::new(cluster.namespace().unwrap_or_default(), name(&cluster.name_any()))
}

/// The Machine that a lock names.
fn holder(lock: &ConfigMap) -> Option<String> {
    let text = lock.data.as_ref()?.get(INFORMATION)?;
    let information: Value = serde_json::from_str(text).ok()?;
    information["machineName"].as_str().filter(|name| !name.is_empty()).map(ToOwned::to_owned)
}

/// Who begins the Cluster. Asks the API server: a copy may be old.
///
/// # Errors
/// When the API server does not answer.
pub async fn look(hub: &Hub, cluster: &Cluster, machine: &str) -> Result<Lock, Error> {
    let key = key(cluster);
    let Some(found) = hub.get::<ConfigMap>(&key).await? else { return Ok(Lock::Free) };
    let Some(holder) = holder(&found) else { return Ok(Lock::Unreadable) };
    if holder == machine {
        return Ok(Lock::Mine);
    }
    let exists = hub.get::<Machine>(&Key::new(key.namespace, holder.clone())).await?.is_some();
    Ok(if exists { Lock::Held(holder) } else { Lock::Lost(holder) })
}

/// Takes the lock. False when another Machine was faster.
///
/// # Errors
/// When the API server refuses or does not answer.
pub async fn take(hub: &Hub, cluster: &Cluster, machine: &str) -> Result<bool, Error> {
    let key = key(cluster);
    let lock = ConfigMap {
        metadata: ObjectMeta {
            name: Some(key.name),
            namespace: Some(key.namespace),
            labels: Some([(CLUSTER_NAME_LABEL.to_owned(), cluster.name_any())].into()),
            owner_references: Some(vec![owner(cluster, false)]),
            ..ObjectMeta::default()
        },
        data: Some([(INFORMATION.to_owned(), json!({ "machineName": machine }).to_string())].into()),
        ..ConfigMap::default()
    };
    match hub.create(&lock).await {
        Ok(_) => Ok(true),
        Err(error) if error.is_conflict() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the Cluster is still there and not begun. Asks the API server: a copy may be old.
///
/// # Errors
/// When the API server does not answer.
pub async fn is_to_be_begun(hub: &Hub, cluster: &Cluster) -> Result<bool, Error> {
    let found = hub.get::<Cluster>(&Key::of(cluster)).await?;
    let status = found.filter(|found| found.uid() == cluster.uid()).map(|found| found.status);
    let initialization = status.map(|status| status.and_then(|status| status.initialization));
    Ok(initialization.is_some_and(|initialization| {
        initialization.is_none_or(|initialization| initialization.control_plane_initialized != Some(true))
    }))
}

/// Gives the lock of this Machine back. One that names another stays.
///
/// # Errors
/// When the API server refuses or does not answer.
pub async fn release(hub: &Hub, cluster: &Cluster, machine: &str) -> Result<(), Error> {
    match hub.get::<ConfigMap>(&key(cluster)).await? {
        // By uid: a lock that another took in between is another's.
        Some(found) if holder(&found).as_deref() == Some(machine) => hub.delete(&found).await,
        _ => Ok(()),
    }
}
