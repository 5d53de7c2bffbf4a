//! Talking to the tenant about a Node that goes away: cordon, evictions, volumes, deletion.

use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::drain::{self, DrainPlan, PodId};
use super::node::is_unreachable;

/// How a drain stands.
pub enum Drained {
    /// Nothing is left to evict or to wait for.
    Done,
    /// Something is; and whether it is more than Pods that are on their way out.
    NotYet {
        /// What is waited for.
        message: String,
        /// An eviction was refused, or a Pod has to complete.
        blocked: bool,
    },
}

/// How long a step at the tenant may take: one that does not answer must not hold a controller.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a step at the tenant was not done.
#[derive(Debug, thiserror::Error)]
pub enum TenantError {
    /// It refused.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// It did not answer.
    #[error("the tenant cluster did not answer within {} s", PATIENCE.as_secs())]
    Silent,
}

async fn within<T>(step: impl Future<Output = Result<T, kube::Error>>) -> Result<T, TenantError> {
    match timeout(PATIENCE, step).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(TenantError::Silent),
    }
}

/// Cordons the Node and evicts its Pods. A Node that is gone is drained.
pub async fn drain(client: &Client, name: &str, now: Timestamp) -> Result<Drained, TenantError> {
    within(cordon_and_evict(client, name, now)).await
}

async fn cordon_and_evict(client: &Client, name: &str, now: Timestamp) -> Result<Drained, kube::Error> {
    let nodes = Api::<Node>::all(client.clone());
    let Some(node) = nodes.get_opt(name).await? else { return Ok(Drained::Done) };
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) != Some(true) {
        let cordon = json!({ "spec": { "unschedulable": true } });
        nodes.patch(name, &PatchParams::default(), &Patch::Merge(&cordon)).await?;
    }
    let unreachable = is_unreachable(&node);
    let plan = drain::plan(&pods_on(client, name).await?, unreachable, now);
    if plan.is_done() {
        return Ok(Drained::Done);
    }
    let refused = evict(client, &plan, unreachable).await?;
    let message = drain::message(name, &plan, &refused);
    Ok(Drained::NotYet { message, blocked: !refused.is_empty() || !plan.completing.is_empty() })
}

async fn pods_on(client: &Client, node: &str) -> Result<Vec<Pod>, kube::Error> {
    let here = ListParams::default().fields(&format!("spec.nodeName={node}"));
    Ok(Api::<Pod>::all(client.clone()).list(&here).await?.items)
}

/// Evicts, and returns the Pods whose eviction was refused.
async fn evict(
    client: &Client,
    plan: &DrainPlan,
    unreachable: bool,
) -> Result<Vec<(PodId, String)>, kube::Error> {
    // No kubelet of an unreachable Node is there to keep to a longer one.
    let grace = unreachable.then_some(1);
    let mut refused = Vec::new();
    for pod in &plan.evict {
        match evict_one(client, pod, grace).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(kube::Error::Api(status)) if status.code == 429 => {
                let causes =
                    status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
                let causes: Vec<_> = causes.iter().map(|cause| cause.message.clone()).collect();
                refused.push((
                    pod.clone(),
                    if causes.is_empty() { status.message.clone() } else { causes.join("; ") },
                ));
            }
            // A namespace that goes away takes its Pods with it; the rest is worth a retry and a word.
            Err(kube::Error::Api(status)) => refused.push((pod.clone(), status.message.clone())),
            Err(error) => return Err(error),
        }
    }
    Ok(refused)
}

/// By hand, as kube's own call misspells `deleteOptions` and so loses the grace period.
async fn evict_one(client: &Client, pod: &PodId, grace: Option<i64>) -> Result<(), kube::Error> {
    let eviction = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": { "name": pod.name, "namespace": pod.namespace },
        "deleteOptions": { "gracePeriodSeconds": grace },
    });
    let pods = Api::<Pod>::namespaced(client.clone(), &pod.namespace);
    let params = PostParams::default();
    pods.create_subresource::<Value, Value>("eviction", &pod.name, &params, &eviction).await.map(|_| ())
}

/// Volumes that are still attached to the Node, but for those of Pods that the drain left alone.
pub async fn attached_volumes(client: &Client, name: &str) -> Result<Vec<String>, TenantError> {
    within(volumes_of(client, name)).await
}

async fn volumes_of(client: &Client, name: &str) -> Result<Vec<String>, kube::Error> {
    let Some(node) = Api::<Node>::all(client.clone()).get_opt(name).await? else { return Ok(Vec::new()) };
    let attachments = Api::<VolumeAttachment>::all(client.clone()).list(&ListParams::default()).await?;
    let mut volumes: Vec<(String, Option<String>)> = attachments
        .items
        .into_iter()
        .filter(|attachment| attachment.spec.node_name == name)
        .map(|attachment| {
            let volume = attachment.spec.source.persistent_volume_name;
            (volume.clone().or(attachment.metadata.name).unwrap_or_default(), volume)
        })
        .collect();
    let known = volumes.clone();
    volumes.extend(
        node.status
            .and_then(|status| status.volumes_attached)
            .unwrap_or_default()
            .into_iter()
            .filter(|attached| !known.iter().any(|(id, _)| attached.name.ends_with(id.as_str())))
            .map(|attached| (attached.name, None)),
    );
    if volumes.is_empty() {
        return Ok(Vec::new());
    }
    let left = volumes_left_alone(client, name).await?;
    let mut names: Vec<_> = volumes
        .into_iter()
        .filter(|(_, volume)| !volume.as_ref().is_some_and(|volume| left.contains(volume)))
        .map(|(id, _)| id)
        .collect();
    names.sort();
    Ok(names)
}

async fn volumes_left_alone(client: &Client, node: &str) -> Result<Vec<String>, kube::Error> {
    let mut volumes = Vec::new();
    for (namespace, name) in drain::claims_left_alone(&pods_on(client, node).await?) {
        let claim =
            Api::<PersistentVolumeClaim>::namespaced(client.clone(), &namespace).get_opt(&name).await?;
        volumes.extend(claim.and_then(|claim| claim.spec?.volume_name));
    }
    Ok(volumes)
}

/// Deletes the Node; one that is gone is no error.
pub async fn delete_node(client: &Client, name: &str) -> Result<(), TenantError> {
    let (nodes, params) = (Api::<Node>::all(client.clone()), DeleteParams::default());
    match within(nodes.delete(name, &params)).await {
        Err(TenantError::Api(kube::Error::Api(status))) if status.code == 404 => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Merge patch of the Node. One that is gone needs nothing, and of one that somebody else wrote in
/// between a newer copy is on its way.
pub async fn patch_node(client: &Client, name: &str, patch: &Value) -> Result<(), TenantError> {
    let nodes = Api::<Node>::all(client.clone());
    let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
    match within(nodes.patch(name, &params, &patch)).await {
        Err(TenantError::Api(kube::Error::Api(status))) if status.code == 404 || status.code == 409 => Ok(()),
        other => other.map(|_| ()),
    }
}
