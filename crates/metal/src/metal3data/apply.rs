//! Carries out what was planned for a Metal3Data.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::{Resource, ResourceExt};
use scute_api::infrastructure::{METAL3_DATA_FINALIZER, Metal3Data};
use scute_kit::{Error, Hub, Key, Kind, finalizer};
use serde::Serialize;
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
        Action::Ask(claim) => match claim.as_ref() {
            AddressClaim::Metal3(claim) => ask(hub, data, claim.as_ref()).await,
            AddressClaim::Contract(claim) => ask(hub, data, claim.as_ref()).await,
        },
        Action::MakeSecret(secret) => {
            let will_do = |known: &Secret| usable(data, &known.metadata).is_ok();
            make(hub, secret.as_ref(), will_do).await.map(drop)
        }
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
async fn ask<K>(hub: &Hub, data: &Metal3Data, claim: &K) -> Result<(), Error>
where
    K: Kind + Serialize + Resource<DynamicType = ()>,
{
    let ours =
        |known: &K| known.owner_references().iter().any(|owner| Some(&owner.uid) == data.uid().as_ref());
    if let Some(known) = make(hub, claim, ours).await? {
        hub.watch::<K>().learn(known);
    }
    Ok(())
}

/// One that is there already is never overwritten: it is given back if it will do, and else the conflict.
async fn make<K>(hub: &Hub, wanted: &K, will_do: impl Fn(&K) -> bool) -> Result<Option<K>, Error>
where
    K: Kind + Serialize + Resource<DynamicType = ()>,
{
    match hub.create(wanted).await {
        Err(error) if error.is_conflict() => match hub.get::<K>(&Key::of(wanted)).await? {
            Some(known) if will_do(&known) => Ok(Some(known)),
            _ => Err(error),
        },
        made => made.map(|_| None),
    }
}
