//! The loop of IPClaims whose pool is not there. Those that have one are its pool's business.

use std::sync::Arc;

use kube::ResourceExt;
use scute_api::ipam::{IP_CLAIM_FINALIZER, IPAddress, IPClaim, IPClaimStatus, IPPool};
use scute_kit::{Controller, Error, Found, Hub, Key, Next, Why, finalizer};

use super::apply::{end, tell};
use super::controller::POOL;
use super::plan::{is_for, leaves};

/// Runs the controller.
pub async fn run(hub: Arc<Hub>) {
    let (pools, claims) = (hub.watch::<IPPool>(), hub.watch::<IPClaim>());
    let controller = Controller::<IPClaim>::new("ipclaim", &hub).watches::<IPPool>(move |pool| {
        let key = Key::of(pool);
        if pools.get(&key).is_some() {
            return Vec::new();
        }
        claims.list_by(&POOL, &key.namespace, &key.name).iter().map(|claim| Key::of(claim.as_ref())).collect()
    });
    hub.watch::<IPAddress>().ready().await;
    controller.run(hub, reconcile).await;
}

async fn reconcile(claim: Arc<IPClaim>, hub: Arc<Hub>) -> Next {
    let name = claim.spec.pool.name.clone().unwrap_or_default();
    let key = Key::new(claim.namespace().unwrap_or_default(), name.clone());
    if !matches!(hub.watch::<IPPool>().find(&key), Found::Absent) {
        return Next::Settled;
    }
    match hub.get::<IPPool>(&key).await {
        // The watch will have it.
        Ok(Some(_)) => return Next::Settled,
        Ok(None) => {}
        Err(error) => return Next::Failed(Why::of("ObserveFailed", &error)),
    }
    let message = format!("IPPool {name} does not exist in this namespace");
    let done = match leaves(&claim) {
        true => forget(&hub, &claim).await,
        false => tell(&hub, &claim, refused(&claim, &message)).await,
    };
    match done {
        Ok(()) => Next::OnChange(Why::new("NoPool", message)),
        Err(error) => Next::Failed(Why::of("WriteFailed", &error)),
    }
}

/// An address that it has stays its own.
fn refused(claim: &IPClaim, message: &str) -> IPClaimStatus {
    let address = claim.status.as_ref().and_then(|status| status.address.clone());
    IPClaimStatus { address, error_message: Some(message.to_owned()) }
}

async fn forget(hub: &Arc<Hub>, claim: &Arc<IPClaim>) -> Result<(), Error> {
    let addresses = hub.watch::<IPAddress>().list_in(&claim.namespace().unwrap_or_default());
    for address in addresses.iter().filter(|address| is_for(address, claim)) {
        end(hub, address).await?;
    }
    finalizer::remove(hub, claim, IP_CLAIM_FINALIZER).await
}
