//! The infrastructure object of a Cluster: told the endpoint, whatever its kind.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use scute_api::cluster::Cluster;
use scute_api::meta::{ApiEndpoint, ContractRef, MANAGED_BY_ANNOTATION};
use scute_kit::{Error, Hub, Key, Why};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::control_plane_of;
use super::report::{Stage, Stop};
use super::steps::failed;
use crate::context::Context;

const STAGE: Stage = Stage::Infrastructure;

/// Watches on the kinds of infrastructure that Clusters refer to; each starts with the first Cluster of its kind.
pub struct InfraClusters {
    watched: Mutex<HashSet<String>>,
    changed: mpsc::UnboundedSender<Key>,
}

/// What the endpoint of an infrastructure object needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing: it says what we say.
    Equal,
    /// To be filled in.
    Fill,
    /// It says something else; somebody has to change one of the two.
    Differs(String),
}

impl InfraClusters {
    /// No watches yet, and where the keys of control planes come out whose infrastructure changed.
    pub fn new(hub: &Arc<Hub>) -> (Self, mpsc::UnboundedReceiver<Key>) {
        let (changed, receive) = mpsc::unbounded_channel();
        // A kind that is installed later: everybody looks again.
        let (clusters, send) = (hub.watch::<Cluster>(), changed.clone());
        hub.watch_meta::<CustomResourceDefinition>().listen(move |crd| {
            let waiting = clusters.list();
            let refers = waiting.iter().filter(|cluster| {
                cluster
                    .spec
                    .infrastructure_ref
                    .as_ref()
                    .is_some_and(|infra| crd_name(infra) == crd.name_any())
            });
            refers.filter_map(|cluster| control_plane_of(cluster)).all(|key| send.send(key).is_ok())
        });
        (Self { watched: Mutex::default(), changed }, receive)
    }

    /// Sees to it that the infrastructure object of a Cluster knows the endpoint.
    ///
    /// # Errors
    /// What is missing, or both endpoints if they differ.
    pub async fn tell(
        &self,
        cluster: &Cluster,
        endpoint: &ApiEndpoint,
        context: &Context,
    ) -> Result<(), Stop> {
        let Some(reference) = &cluster.spec.infrastructure_ref else { return Ok(()) };
        let resource = served(reference, context).await?;
        let key = Key::new(cluster.namespace().unwrap_or_default(), reference.name.clone());
        let watch = context.hub.watch_dynamic(&resource);
        self.listen(&resource, context);
        watch.ready().await;
        let Some(infra) = watch.get(&key) else {
            let message = format!("{} {key} does not exist", reference.kind);
            return Err(Stop::wait(STAGE, Why::new("InfrastructureNotFound", message)));
        };
        match answer(&infra, endpoint) {
            Answer::Differs(theirs) => {
                let message = format!(
                    "{} {key} has spec.controlPlaneEndpoint {theirs}, but the control plane answers at {}:{}: change \
                     that field, or the address of the control plane",
                    reference.kind, endpoint.host, endpoint.port
                );
                Err(Stop::wait(STAGE, Why::new("EndpointMismatch", message)))
            }
            answer => write(&infra, &resource, &key, endpoint, answer, context).await.map_err(failed(STAGE)),
        }
    }

    fn listen(&self, resource: &ApiResource, context: &Context) {
        let kind = format!("{}/{}", resource.api_version, resource.kind);
        if !self.watched.lock().unwrap_or_else(PoisonError::into_inner).insert(kind) {
            return;
        }
        let (clusters, send, kind) =
            (context.hub.watch::<Cluster>(), self.changed.clone(), resource.kind.clone());
        context.hub.watch_dynamic(resource).listen(move |infra| {
            let key = Key::of(infra.as_ref());
            let all = clusters.list_in(&key.namespace);
            let refers = all.iter().filter(|cluster| {
                let reference = cluster.spec.infrastructure_ref.as_ref();
                reference.is_some_and(|infra| infra.kind == kind && infra.name == key.name)
            });
            refers.filter_map(|cluster| control_plane_of(cluster)).all(|key| send.send(key).is_ok())
        });
    }
}

/// Name of the CustomResourceDefinition of a kind, by Cluster API's rule.
fn crd_name(reference: &ContractRef) -> String {
    let gvk = GroupVersionKind::gvk(&reference.api_group, "v1", &reference.kind);
    format!("{}.{}", ApiResource::from_gvk(&gvk).plural, reference.api_group)
}

/// The version that a kind's contract labels name, newest contract first.
async fn served(reference: &ContractRef, context: &Context) -> Result<ApiResource, Stop> {
    let crds = context.hub.watch_meta::<CustomResourceDefinition>();
    crds.ready().await;
    let name = crd_name(reference);
    let unserved = |what: &str| {
        let message = format!("CustomResourceDefinition {name} {what}");
        Stop::wait(STAGE, Why::new("InfrastructureNotServed", message))
    };
    let crd = crds.get(&Key::new("", name.clone())).ok_or_else(|| unserved("does not exist"))?;
    let version =
        version(crd.as_ref()).ok_or_else(|| unserved("names no version of a Cluster API contract"))?;
    Ok(ApiResource::from_gvk(&GroupVersionKind::gvk(&reference.api_group, &version, &reference.kind)))
}

fn version<K: ResourceExt>(crd: &K) -> Option<String> {
    let labels = crd.labels();
    let listed = ["cluster.x-k8s.io/v1beta2", "cluster.x-k8s.io/v1beta1"]
        .iter()
        .find_map(|label| labels.get(*label))?;
    let versions = listed.split('_').filter(|version| !version.is_empty());
    versions.max_by_key(|version| kube::core::Version::parse(version).priority()).map(str::to_owned)
}

/// Compares. Half an endpoint is one to be filled in, as long as the half that is there is right.
pub fn answer(infra: &DynamicObject, endpoint: &ApiEndpoint) -> Answer {
    let theirs = &infra.data["spec"]["controlPlaneEndpoint"];
    let host = theirs["host"].as_str().unwrap_or_default();
    let port = theirs["port"].as_i64().unwrap_or_default();
    let (same_host, same_port) = (host == endpoint.host, port == i64::from(endpoint.port));
    match (host.is_empty() || same_host, port == 0 || same_port) {
        (true, true) if same_host && same_port => Answer::Equal,
        (true, true) => Answer::Fill,
        _ => Answer::Differs(format!("{host}:{port}")),
    }
}

/// Fills in the endpoint. An object that somebody else keeps (`managed-by`) has no controller that could say that it
/// is ready: the control plane says so, in the words of both contracts.
async fn write(
    infra: &DynamicObject,
    resource: &ApiResource,
    key: &Key,
    endpoint: &ApiEndpoint,
    answer: Answer,
    context: &Context,
) -> Result<(), Error> {
    if answer == Answer::Fill {
        let patch = json!({ "spec": { "controlPlaneEndpoint": endpoint } });
        context.hub.patch_dynamic(resource, key, None, &patch).await?;
    }
    if infra.annotations().contains_key(MANAGED_BY_ANNOTATION) && !says_ready(&infra.data["status"]) {
        let patch = json!({ "status": { "ready": true, "initialization": { "provisioned": true } } });
        context.hub.patch_dynamic(resource, key, Some("status"), &patch).await?;
    }
    Ok(())
}

/// In the words of one contract at least: a kind of contract v1beta1 drops `initialization`, and must not be written
/// to for ever.
fn says_ready(status: &Value) -> bool {
    let provisioned = &status["initialization"]["provisioned"];
    status["ready"] == json!(true) && (provisioned.is_null() || *provisioned == json!(true))
}
