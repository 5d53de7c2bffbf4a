//! Carries out what was planned for a Metal3DataTemplate. What a watch says may be old, so before a rendering is taken back,
//! or when its name is taken, the API server is asked.

use std::sync::Arc;

use futures::{StreamExt, stream};
use scute_api::infrastructure::{
    METAL3_DATA_CLAIM_FINALIZER, METAL3_DATA_TEMPLATE_FINALIZER, Metal3Data, Metal3DataClaim,
    Metal3DataClaimStatus, Metal3DataTemplate,
};
use scute_kit::{Error, Hub, Key, finalizer};
use serde_json::json;

use super::plan::{Action, has, is_for};
use crate::told;

/// How many claims are served at a time.
const AT_A_TIME: usize = 16;

/// The only place that writes, but for the template's status. All is tried; the first failure is told.
pub async fn apply(
    hub: &Arc<Hub>,
    template: &Arc<Metal3DataTemplate>,
    plan: Vec<Action>,
) -> Result<(), Error> {
    let done = stream::iter(plan).map(|action| act(hub, template, action)).buffer_unordered(AT_A_TIME);
    let done: Vec<_> = done.collect().await;
    done.into_iter().collect()
}

async fn act(hub: &Arc<Hub>, template: &Arc<Metal3DataTemplate>, action: Action) -> Result<(), Error> {
    match action {
        Action::Delete(data) => take_back(hub, &data).await,
        Action::Make(claim, data) => make(hub, &claim, &data).await,
        Action::Tell(claim, status) => tell(hub, &claim, status).await,
        Action::Forget(claim) => finalizer::remove(hub, &claim, METAL3_DATA_CLAIM_FINALIZER).await,
        Action::RemoveFinalizer => finalizer::remove(hub, template, METAL3_DATA_TEMPLATE_FINALIZER).await,
    }
}

/// Deletes a rendering whose claim is gone, or has another one.
async fn take_back(hub: &Arc<Hub>, data: &Arc<Metal3Data>) -> Result<(), Error> {
    let name = data.spec.claim.as_ref().and_then(|claim| claim.name.clone()).unwrap_or_default();
    let namespace = data.metadata.namespace.clone().unwrap_or_default();
    if let Some(claim) = hub.get::<Metal3DataClaim>(&Key::new(namespace, name)).await? {
        let told = claim.status.as_ref().and_then(|status| status.rendered_data.as_ref()?.name.clone());
        let has_it = told.is_none() || told == data.metadata.name;
        if claim.metadata.deletion_timestamp.is_none() && is_for(data, &claim) && has_it {
            hub.watch::<Metal3DataClaim>().learn(claim);
            return Ok(());
        }
    }
    hub.delete(data.as_ref()).await
}

/// The claim is held first, so that it cannot go without giving its rendering back.
async fn make(hub: &Arc<Hub>, claim: &Arc<Metal3DataClaim>, data: &Metal3Data) -> Result<(), Error> {
    let claim = match finalizer::ensure(hub, claim, METAL3_DATA_CLAIM_FINALIZER).await {
        Err(error) if error.is_not_found() => return Ok(()),
        held => held?,
    };
    match told::make(hub, data, |known| is_for(known, &claim)).await? {
        Some(its) => tell(hub, &claim, has(&its)).await,
        None => Ok(()),
    }
}

/// Says what became of a claim. One that has been told of another rendering that it has keeps that one.
pub async fn tell(hub: &Hub, claim: &Metal3DataClaim, status: Metal3DataClaimStatus) -> Result<(), Error> {
    let name =
        |status: &Metal3DataClaimStatus| status.rendered_data.as_ref().and_then(|data| data.name.clone());
    let (told, now) = (claim.status.as_ref().and_then(name), name(&status));
    let is_for_it = |known: &Metal3Data| is_for(known, claim);
    if told::keeps(hub, claim, told, now.as_ref(), is_for_it).await? {
        return Ok(());
    }
    let Metal3DataClaimStatus { rendered_data, error_message } = status;
    hub.tell(claim, json!({ "renderedData": rendered_data, "errorMessage": error_message })).await
}
