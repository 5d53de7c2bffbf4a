//! The infrastructure object of a Cluster: told the endpoint, whatever its kind.

use kube::ResourceExt;
use kube::api::DynamicObject;
use scute_api::cluster::Cluster;
use scute_api::meta::{ApiEndpoint, MANAGED_BY_ANNOTATION};
use scute_contract::owners::owner;
use scute_contract::{External, Found, Served, fields};
use scute_kit::{Error, Key, Why};
use serde_json::json;

use super::Shared;
use super::report::{Stage, Stop};
use super::steps::failed;
use crate::context::Context;

const STAGE: Stage = Stage::Infrastructure;

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

/// Sees to it that the infrastructure object of a Cluster knows the endpoint. `asker` is the control plane, which hears
/// of changes of that object from now on.
///
/// # Errors
/// What is missing, or both endpoints if they differ.
pub async fn tell(
    asker: &Key,
    cluster: &Cluster,
    endpoint: &ApiEndpoint,
    shared: &Shared,
) -> Result<(), Stop> {
    let Some(reference) = &cluster.spec.infrastructure_ref else { return Ok(()) };
    let key = Key::new(asker.namespace.clone(), reference.name.clone());
    let found =
        shared.externals.get(asker, &asker.namespace, reference).await.for_owner(&owner(cluster, false));
    if let Some(absence) = found.absence(reference, "Cluster", false) {
        return Err(Stop::wait(STAGE, Why::new(reason(&found), absence.message)));
    }
    let Found::Object(External { served, object: infra }) = found else { return Ok(()) };
    match answer(&infra, endpoint) {
        Answer::Differs(theirs) => {
            let message = format!(
                "{} {key} has spec.controlPlaneEndpoint {theirs}, but the control plane answers at {}:{}: change \
                 that field, or the address of the control plane",
                reference.kind, endpoint.host, endpoint.port
            );
            Err(Stop::wait(STAGE, Why::new("EndpointMismatch", message)))
        }
        answer => {
            let done = write(&infra, &served, &key, endpoint, answer, &shared.context).await;
            done.map_err(failed(STAGE))
        }
    }
}

fn reason(found: &Found) -> &'static str {
    match found {
        Found::Missing => "InfrastructureNotFound",
        Found::NotInstalled(_) | Found::NoContract(_) => "InfrastructureNotServed",
        Found::Foreign(_) => "InfrastructureOfAnother",
        Found::Unknown(_) | Found::Object(_) => "InfrastructureUnknown",
    }
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
    served: &Served,
    key: &Key,
    endpoint: &ApiEndpoint,
    answer: Answer,
    context: &Context,
) -> Result<(), Error> {
    if answer == Answer::Fill {
        let patch = json!({ "spec": { "controlPlaneEndpoint": endpoint } });
        context.hub.patch_dynamic(&served.resource, key, None, &patch).await?;
    }
    if infra.annotations().contains_key(MANAGED_BY_ANNOTATION) && !fields::provisioned(infra, served.contract)
    {
        let patch = json!({ "status": { "ready": true, "initialization": { "provisioned": true } } });
        context.hub.patch_dynamic(&served.resource, key, Some("status"), &patch).await?;
    }
    Ok(())
}
