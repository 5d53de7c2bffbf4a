//! Talking to the tenant about a Node: cordon, evictions, volumes, deletion, what a Machine writes onto it. Each is a
//! call of its own (see [`crate::calls`]), with a limit in time, and in what is taken from the tenant.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch};
use scute_kit::tenants::each_page;
use scute_kit::{patch_params, post_params};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::drain::{self, DrainPlan, PodId};
use super::node::is_unreachable;
use super::rules::Rules;

/// What is asked of a tenant.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// To drain a Node, and then to say which volumes are attached to it.
    Release {
        /// Name of the Node.
        node: String,
        /// Whether to cordon it and to evict its Pods.
        drain: bool,
        /// Whether to look for volumes.
        detach: bool,
        /// What is done about its Pods.
        rules: Rules,
    },
    /// To delete a Node.
    DeleteNode(String),
    /// To change a Node.
    PatchNode(String, Value),
}

/// What it came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// All is as was asked.
    Done,
    /// Pods are left.
    PodsLeft {
        /// What is waited for.
        message: String,
        /// Whether it is more than Pods on their way out: an eviction was refused, or a Pod has to complete.
        blocked: bool,
    },
    /// No Pods are left, but these volumes.
    VolumesLeft(Vec<String>),
}

/// Carries out what is asked.
pub async fn answer(client: Client, ask: Ask, now: Timestamp) -> Result<Answer, kube::Error> {
    match ask {
        Ask::Release { node, drain, detach, rules } => {
            release(&client, &node, drain, detach, rules, now).await
        }
        Ask::DeleteNode(node) => delete_node(&client, &node).await.map(|()| Answer::Done),
        Ask::PatchNode(node, patch) => patch_node(&client, &node, &patch).await.map(|()| Answer::Done),
    }
}

async fn release(
    client: &Client,
    name: &str,
    drain: bool,
    detach: bool,
    rules: Rules,
    now: Timestamp,
) -> Result<Answer, kube::Error> {
    // A Node that is gone has neither.
    let Some(node) = Api::<Node>::all(client.clone()).get_opt(name).await? else { return Ok(Answer::Done) };
    let rules = with_namespaces(client, rules).await?;
    if drain && let Some(left) = cordon_and_evict(client, &node, name, &rules, now).await? {
        return Ok(left);
    }
    let volumes = if detach { attached_volumes(client, &node, name, &rules).await? } else { Vec::new() };
    Ok(if volumes.is_empty() { Answer::Done } else { Answer::VolumesLeft(volumes) })
}

/// Namespaces whose labels are looked at; Pods of others have none.
const MOST_NAMESPACES: usize = 10_000;

/// Labels of namespaces, where a rule asks for them.
async fn with_namespaces(client: &Client, rules: Rules) -> Result<Rules, kube::Error> {
    if !rules.ask_for_namespaces() {
        return Ok(rules);
    }
    let mut labels = BTreeMap::new();
    each_page(&Api::<Namespace>::all(client.clone()), ListParams::default(), |namespaces| {
        labels.extend(namespaces.into_iter().filter_map(|namespace| {
            Some((namespace.metadata.name?, namespace.metadata.labels.unwrap_or_default()))
        }));
        if labels.len() < MOST_NAMESPACES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
    .await?;
    Ok(rules.with_namespaces(labels))
}

/// `None` when no Pods are left.
async fn cordon_and_evict(
    client: &Client,
    node: &Node,
    name: &str,
    rules: &Rules,
    now: Timestamp,
) -> Result<Option<Answer>, kube::Error> {
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) != Some(true) {
        let cordon = Patch::Merge(json!({ "spec": { "unschedulable": true } }));
        Api::<Node>::all(client.clone()).patch(name, &patch_params(), &cordon).await?;
    }
    let unreachable = is_unreachable(node);
    let mut plan = DrainPlan::default();
    each_pod(client, name, |pods| {
        plan.add(&pods, rules, unreachable, now);
        if plan.len() < MOST_PODS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
    .await?;
    if plan.is_done() {
        return Ok(None);
    }
    plan.settle();
    let refused = evict(client, &plan, unreachable).await?;
    let message = drain::message(name, &plan, &refused);
    Ok(Some(Answer::PodsLeft { message, blocked: !refused.is_empty() || !plan.completing.is_empty() }))
}

/// Pods that one pass looks after; as they go, the next one comes to the others.
const MOST_PODS: usize = 500;
/// Volumes that are told of at most.
const MOST_VOLUMES: usize = 100;
/// How long one pass goes on to evict.
const EVICTING: Duration = Duration::from_secs(5);

async fn each_pod(
    client: &Client,
    node: &str,
    take: impl FnMut(Vec<Pod>) -> ControlFlow<()>,
) -> Result<(), kube::Error> {
    let here = ListParams::default().fields(&format!("spec.nodeName={node}"));
    each_page(&Api::all(client.clone()), here, take).await
}

/// Evicts, and returns the Pods whose eviction was refused.
async fn evict(
    client: &Client,
    plan: &DrainPlan,
    unreachable: bool,
) -> Result<Vec<(PodId, String)>, kube::Error> {
    // No kubelet of an unreachable Node is there to keep to a longer one.
    let grace = unreachable.then_some(1);
    let (mut refused, until) = (Vec::new(), Instant::now() + EVICTING);
    for pod in &plan.evict {
        if Instant::now() >= until {
            break;
        }
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
    let params = post_params();
    pods.create_subresource::<Value, Value>("eviction", &pod.name, &params, &eviction).await.map(|_| ())
}

/// Volumes that are still attached to the Node, but for those of Pods that the drain left alone.
async fn attached_volumes(
    client: &Client,
    node: &Node,
    name: &str,
    rules: &Rules,
) -> Result<Vec<String>, kube::Error> {
    // An attachment can be selected by its name only.
    let mut volumes: Vec<(String, Option<String>)> = Vec::new();
    each_page(&Api::<VolumeAttachment>::all(client.clone()), ListParams::default(), |attachments| {
        let here = attachments.into_iter().filter(|attachment| attachment.spec.node_name == name);
        volumes.extend(here.map(|attachment| {
            let volume = attachment.spec.source.persistent_volume_name;
            (volume.clone().or(attachment.metadata.name).unwrap_or_default(), volume)
        }));
        if volumes.len() < MOST_VOLUMES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
    .await?;
    let known = volumes.clone();
    let attached = node.status.as_ref().and_then(|status| status.volumes_attached.as_ref());
    volumes.extend(
        attached
            .into_iter()
            .flatten()
            .filter(|attached| !known.iter().any(|(id, _)| attached.name.ends_with(id.as_str())))
            .map(|attached| (attached.name.clone(), None)),
    );
    if volumes.is_empty() {
        return Ok(Vec::new());
    }
    let left = volumes_left_alone(client, name, rules).await?;
    let mut names: Vec<_> = volumes
        .into_iter()
        .filter(|(_, volume)| !volume.as_ref().is_some_and(|volume| left.contains(volume)))
        .map(|(id, _)| id)
        .collect();
    names.sort();
    Ok(names)
}

async fn volumes_left_alone(
    client: &Client,
    node: &str,
    rules: &Rules,
) -> Result<BTreeSet<String>, kube::Error> {
    let mut claims = BTreeSet::new();
    each_pod(client, node, |pods| {
        claims.extend(drain::claims_left_alone(&pods, rules));
        if claims.len() < MOST_VOLUMES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
    .await?;
    let mut volumes = BTreeSet::new();
    for (namespace, name) in claims {
        let claim =
            Api::<PersistentVolumeClaim>::namespaced(client.clone(), &namespace).get_opt(&name).await?;
        volumes.extend(claim.and_then(|claim| claim.spec?.volume_name));
    }
    Ok(volumes)
}

/// Deletes the Node; one that is gone is no error.
async fn delete_node(client: &Client, name: &str) -> Result<(), kube::Error> {
    match Api::<Node>::all(client.clone()).delete(name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Merge patch of the Node. One that is gone needs nothing, and of one that somebody else wrote in
/// between a newer copy is on its way.
async fn patch_node(client: &Client, name: &str, patch: &Value) -> Result<(), kube::Error> {
    let (nodes, params) = (Api::<Node>::all(client.clone()), patch_params());
    match nodes.patch(name, &params, &Patch::Merge(patch)).await {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        other => other.map(|_| ()),
    }
}
