//! Carries out what was planned for an IPPool. What a watch says may be old, so before an address is taken back, or when
//! its name is taken, the API server is asked.

use std::sync::Arc;

use futures::{StreamExt, stream};
use scute_api::ipam::{
    IP_ADDRESS_FINALIZER, IP_CLAIM_FINALIZER, IP_POOL_FINALIZER, IPAddress, IPClaim, IPClaimStatus, IPPool,
};
use scute_kit::{Error, Hub, Key, finalizer};
use serde_json::json;

use super::plan::{Action, has, is_for, leaves};
use crate::told;

/// How many claims are served at a time.
const AT_A_TIME: usize = 16;

/// The only place that writes, but for the pool's status. All is tried; the first failure is told.
pub async fn apply(hub: &Arc<Hub>, pool: &Arc<IPPool>, plan: Vec<Action>) -> Result<(), Error> {
    let done = stream::iter(plan).map(|action| act(hub, pool, action)).buffer_unordered(AT_A_TIME);
    let done: Vec<_> = done.collect().await;
    done.into_iter().collect()
}

async fn act(hub: &Arc<Hub>, pool: &Arc<IPPool>, action: Action) -> Result<(), Error> {
    match action {
        Action::Release(address) => release(hub, &address).await,
        Action::Give(claim, address) => give(hub, &claim, &address).await,
        Action::Tell(claim, status) => tell(hub, &claim, status).await,
        Action::Forget(claim) => finalizer::remove(hub, &claim, IP_CLAIM_FINALIZER).await,
        Action::RemoveFinalizer => finalizer::remove(hub, pool, IP_POOL_FINALIZER).await,
    }
}

/// Takes an address back whose claim is gone, or has another one.
async fn release(hub: &Arc<Hub>, address: &Arc<IPAddress>) -> Result<(), Error> {
    let name = address.spec.claim.name.clone().unwrap_or_default();
    let namespace = address.metadata.namespace.clone().unwrap_or_default();
    if let Some(claim) = hub.get::<IPClaim>(&Key::new(namespace, name)).await? {
        let told = claim.status.as_ref().and_then(|status| status.address.as_ref()?.name.clone());
        let has_it = told.is_none() || told == address.metadata.name;
        if !leaves(&claim) && is_for(address, &claim) && has_it {
            hub.watch::<IPClaim>().learn(claim);
            return Ok(());
        }
    }
    end(hub, address).await
}

/// Deletes an address. The finalizer goes last: without it, nobody would know whose the address was.
pub async fn end(hub: &Arc<Hub>, address: &Arc<IPAddress>) -> Result<(), Error> {
    hub.delete(address.as_ref()).await?;
    finalizer::remove(hub, address, IP_ADDRESS_FINALIZER).await
}

/// The claim is held first, so that it cannot go without giving its address back.
async fn give(hub: &Arc<Hub>, claim: &Arc<IPClaim>, address: &IPAddress) -> Result<(), Error> {
    let claim = match finalizer::ensure(hub, claim, IP_CLAIM_FINALIZER).await {
        Err(error) if error.is_not_found() => return Ok(()),
        held => held?,
    };
    if claim.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    match told::make(hub, address, |known| is_for(known, &claim)).await? {
        Some(its) => tell(hub, &claim, has(&its)).await,
        None => Ok(()),
    }
}

/// Says what became of a claim. One that has been told of another address that it has keeps that one.
pub async fn tell(hub: &Hub, claim: &IPClaim, status: IPClaimStatus) -> Result<(), Error> {
    let name = |status: &IPClaimStatus| status.address.as_ref().and_then(|address| address.name.clone());
    let (told, now) = (claim.status.as_ref().and_then(name), name(&status));
    let is_for_it = |known: &IPAddress| is_for(known, claim);
    if told::keeps(hub, claim, told, now.as_ref(), is_for_it).await? {
        return Ok(());
    }
    let IPClaimStatus { address, error_message } = status;
    hub.tell(claim, json!({ "address": address, "errorMessage": error_message })).await
}
