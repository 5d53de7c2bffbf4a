//! Carries out what was planned for a Metal3Machine.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use scute_api::infrastructure::{HOST_ANNOTATION, METAL3_MACHINE_FINALIZER, Metal3DataClaim, Metal3Machine};
use scute_api::meta::CLUSTER_NAME_LABEL;
use scute_api::metal3::{BareMetalHost, PAUSED_ANNOTATION};
use scute_kit::tenants::{NodeError, TenantKey, Tenants};
use scute_kit::{Error, EventType, Hub, Key, finalizer};
use serde_json::{Value, json};

use super::observe::Observed;
use super::plan::{Action, Plan};
use super::render::{claim, clearing, liberation, provisioning, reservation};

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The API server did not take a write.
    #[error(transparent)]
    Write(#[from] Error),
    /// A Metal3DataClaim of this name belongs to somebody else.
    #[error("Metal3DataClaim {0} exists and belongs to somebody else")]
    Taken(String),
    /// The Node could not be written.
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// The only place that writes, but for the status.
pub async fn apply(
    hub: &Arc<Hub>,
    tenants: &Tenants,
    object: &Arc<Metal3Machine>,
    seen: &Observed,
    plan: &Plan,
) -> Result<(), ApplyError> {
    for action in &plan.actions {
        act(hub, tenants, object, seen, action).await?;
    }
    Ok(())
}

async fn act(
    hub: &Arc<Hub>,
    tenants: &Tenants,
    object: &Arc<Metal3Machine>,
    seen: &Observed,
    action: &Action,
) -> Result<(), ApplyError> {
    let key = Key::of(object.as_ref());
    match action {
        Action::Claim => {
            finalizer::ensure(hub, object, METAL3_MACHINE_FINALIZER).await?;
        }
        Action::Reserve(host) => reserve(hub, object, seen, host).await?,
        Action::Note(host) => {
            let patch = json!({ "metadata": { "annotations": { HOST_ANNOTATION: host.to_string() }, "uid": object.uid() } });
            hub.patch::<Metal3Machine>(&key, &patch).await?;
        }
        Action::MakeDataClaim => make_claim(hub, object, seen).await?,
        Action::Provision(host, secrets) => write(hub, host, &provisioning(host, object, secrets)).await?,
        Action::Inherit(mode) => {
            let patch =
                json!({ "metadata": { "uid": object.uid() }, "spec": { "automatedCleaningMode": mode } });
            hub.patch::<Metal3Machine>(&key, &patch).await?;
        }
        Action::SetCleaning(host) => {
            let mode = json!({ "automatedCleaningMode": object.spec.automated_cleaning_mode });
            write(hub, host, &json!({ "spec": mode })).await?;
        }
        Action::Resume(host) => {
            // A pause that somebody has asked for since then stays.
            let metadata = json!({
                "uid": host.metadata.uid, "resourceVersion": host.metadata.resource_version,
                "annotations": {PAUSED_ANNOTATION: null},
            });
            write(hub, host, &json!({ "metadata": metadata })).await?;
        }
        Action::SetProviderId(id) => {
            let patch = json!({ "metadata": { "uid": object.uid() }, "spec": { "providerID": id } });
            hub.patch::<Metal3Machine>(&key, &patch).await?;
        }
        Action::MarkNode(node, id) => {
            let tenant = TenantKey::capi(&object.namespace().unwrap_or_default(), &cluster_name(seen));
            tenants.set_provider_id(&tenant, node, id).await?;
        }
        Action::Clear(host) => write(hub, host, &clearing(host)).await?,
        Action::Free(host, keeper) => free(hub, object, host, keeper.as_deref()).await?,
        Action::DeleteDataClaim => {
            if let Some(claim) = &seen.claim {
                hub.delete(claim.as_ref()).await?;
            }
        }
        Action::RemoveFinalizer => finalizer::remove(hub, object, METAL3_MACHINE_FINALIZER).await?,
    }
    Ok(())
}

async fn write(hub: &Hub, host: &BareMetalHost, patch: &Value) -> Result<(), Error> {
    hub.patch::<BareMetalHost>(&Key::of(host), patch).await.map(drop)
}

/// The finalizer first: a host that is reserved has to be given back.
async fn reserve(
    hub: &Arc<Hub>,
    object: &Arc<Metal3Machine>,
    seen: &Observed,
    host: &BareMetalHost,
) -> Result<(), ApplyError> {
    finalizer::ensure(hub, object, METAL3_MACHINE_FINALIZER).await?;
    let cluster = cluster_name(seen);
    write(hub, host, &reservation(host, object, &cluster)).await?;
    label_credentials(hub, host, Some(&cluster)).await?;
    Ok(())
}

async fn free(
    hub: &Hub,
    object: &Metal3Machine,
    host: &BareMetalHost,
    keeper: Option<&str>,
) -> Result<(), ApplyError> {
    let status = host.status.clone().unwrap_or_default();
    if !status.error_message.is_empty() {
        let note = format!(
            "BareMetalHost {} was given back with an error, so it may not be off nor clean; nobody gets it before it is: {}",
            host.name_any(),
            status.error_message
        );
        hub.event(object, EventType::Warning, "HostNotClean", &note).await;
    }
    label_credentials(hub, host, None).await?;
    write(hub, host, &liberation(host, keeper)).await?;
    Ok(())
}

/// A move of the Cluster takes along what has its label.
async fn label_credentials(hub: &Hub, host: &BareMetalHost, cluster: Option<&str>) -> Result<(), Error> {
    let Some(bmc) = host.spec.bmc.as_ref().filter(|bmc| !bmc.credentials_name.is_empty()) else {
        return Ok(());
    };
    let key = Key::new(host.namespace().unwrap_or_default(), bmc.credentials_name.clone());
    let patch = json!({ "metadata": { "labels": { CLUSTER_NAME_LABEL: cluster } } });
    match hub.patch::<Secret>(&key, &patch).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

fn cluster_name(seen: &Observed) -> String {
    seen.machine.as_ref().map(|machine| machine.spec.cluster_name.clone()).unwrap_or_default()
}

async fn make_claim(hub: &Hub, object: &Metal3Machine, seen: &Observed) -> Result<(), ApplyError> {
    let claim = claim(object, &cluster_name(seen));
    match hub.create(&claim).await {
        Err(error) if error.is_conflict() => {
            let known = hub.get::<Metal3DataClaim>(&Key::of(object)).await?;
            let ours = |claim: &Metal3DataClaim| {
                claim.owner_references().iter().any(|owner| Some(&owner.uid) == object.uid().as_ref())
            };
            match known {
                Some(claim) if !ours(&claim) => Err(ApplyError::Taken(claim.name_any())),
                _ => Ok(()),
            }
        }
        made => made.map(drop).map_err(ApplyError::from),
    }
}
