//! Carries out what was planned for a Metal3Data.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use scute_api::infrastructure::{METAL3_DATA_FINALIZER, Metal3Data};
use scute_api::ipam::{IPAddressClaim, IPClaim};
use scute_kit::{Error, Hub, Key, finalizer};
use serde_json::json;

use super::observe::AddressClaim;
use super::plan::{Action, usable};

/// The only place that writes, but for the status.
pub async fn apply(hub: &Arc<Hub>, data: &Arc<Metal3Data>, actions: &[Action]) -> Result<(), Error> {
    for action in actions {
        act(hub, data, action).await?;
    }
    Ok(())
}

async fn act(hub: &Arc<Hub>, data: &Arc<Metal3Data>, action: &Action) -> Result<(), Error> {
    match action {
        Action::Ask(claim) => ask(hub, data, claim).await,
        Action::MakeSecret(secret) => make_secret(hub, data, secret).await,
        Action::Refer(meta_data, network_data) => {
            let patch = json!({
                "metadata": { "uid": data.uid() },
                "spec": { "metaData": meta_data, "networkData": network_data },
            });
            hub.patch::<Metal3Data>(&Key::of(data.as_ref()), &patch).await.map(drop)
        }
        Action::GiveBack(AddressClaim::Metal3(claim)) => {
            hub.delete(claim.as_ref()).await?;
            finalizer::remove(hub, claim, METAL3_DATA_FINALIZER).await
        }
        Action::GiveBack(AddressClaim::Contract(claim)) => {
            hub.delete(claim.as_ref()).await?;
            finalizer::remove(hub, claim, METAL3_DATA_FINALIZER).await
        }
        Action::RemoveFinalizer => finalizer::remove(hub, data, METAL3_DATA_FINALIZER).await,
    }
}

/// A claim of that name that is ours was made by an earlier run, and the watch will have it.
async fn ask(hub: &Arc<Hub>, data: &Metal3Data, claim: &AddressClaim) -> Result<(), Error> {
    let ours = |owners: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference]| {
        owners.iter().any(|owner| Some(&owner.uid) == data.metadata.uid.as_ref())
    };
    match claim {
        AddressClaim::Metal3(claim) => match hub.create(claim.as_ref()).await {
            Err(error) if error.is_conflict() => match hub.get::<IPClaim>(&Key::of(claim.as_ref())).await? {
                Some(known) if ours(known.owner_references()) => {
                    hub.watch::<IPClaim>().learn(known);
                    Ok(())
                }
                _ => Err(error),
            },
            made => made.map(drop),
        },
        AddressClaim::Contract(claim) => match hub.create(claim.as_ref()).await {
            Err(error) if error.is_conflict() => {
                match hub.get::<IPAddressClaim>(&Key::of(claim.as_ref())).await? {
                    Some(known) if ours(known.owner_references()) => {
                        hub.watch::<IPAddressClaim>().learn(known);
                        Ok(())
                    }
                    _ => Err(error),
                }
            }
            made => made.map(drop),
        },
    }
}

/// One that is there already is never overwritten.
async fn make_secret(hub: &Arc<Hub>, data: &Metal3Data, secret: &Secret) -> Result<(), Error> {
    match hub.create(secret).await {
        Err(error) if error.is_conflict() => match hub.get::<Secret>(&Key::of(secret)).await? {
            Some(known) if usable(data, &known.metadata).is_ok() => Ok(()),
            _ => Err(error),
        },
        made => made.map(drop),
    }
}
