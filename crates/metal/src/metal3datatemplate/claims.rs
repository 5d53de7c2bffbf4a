//! The loop of Metal3DataClaims whose template is not there. Those that have one are its template's business.

use std::sync::Arc;

use kube::ResourceExt;
use scute_api::infrastructure::{
    METAL3_DATA_CLAIM_FINALIZER, Metal3Data, Metal3DataClaim, Metal3DataClaimStatus, Metal3DataTemplate,
    Metal3Machine,
};
use scute_contract::owners::owner_of_kind;
use scute_kit::{Controller, Error, Found, Hub, Key, Next, Why, finalizer};

use super::apply::tell;
use super::controller::{TEMPLATE, seen, template_of};
use super::plan::is_for;

/// Runs the controller.
pub async fn run(hub: Arc<Hub>) {
    let (templates, claims) = (hub.watch::<Metal3DataTemplate>(), hub.watch::<Metal3DataClaim>());
    let controller = Controller::<Metal3DataClaim>::new("metal3dataclaim", &hub)
        .watches::<Metal3DataTemplate>(move |template| {
            let key = Key::of(template);
            if templates.get(&key).is_some() {
                return Vec::new();
            }
            let claims = claims.list_by(&TEMPLATE, &key.namespace, &key.name);
            claims.iter().map(|claim| Key::of(claim.as_ref())).collect()
        })
        // A claim that is deleted waits for its machine to go, and then for what it got.
        .watches::<Metal3Machine>(|machine| vec![Key::of(machine)])
        .watches::<Metal3Data>(|data| {
            owner_of_kind::<Metal3DataClaim>(&data.metadata)
                .map(|owner| Key::new(data.namespace().unwrap_or_default(), owner.name.clone()))
                .into_iter()
                .collect()
        });
    controller.run(hub, reconcile).await;
}

async fn reconcile(claim: Arc<Metal3DataClaim>, hub: Arc<Hub>) -> Next {
    let Some(key) = template_of(&claim) else { return Next::Settled };
    if !matches!(hub.watch::<Metal3DataTemplate>().find(&key), Found::Absent) {
        return Next::Settled;
    }
    match hub.get::<Metal3DataTemplate>(&key).await {
        // The watch will have it.
        Ok(Some(_)) => return Next::Settled,
        Ok(None) => {}
        Err(error) => return Next::Failed(Why::of("ObserveFailed", &error)),
    }
    let message = format!("Metal3DataTemplate {} does not exist in this namespace", key.name);
    let done = match claim.metadata.deletion_timestamp.is_some() {
        true => forget(&hub, &claim).await,
        false => tell(&hub, &claim, refused(&claim, &message)).await,
    };
    match done {
        Ok(()) => Next::OnChange(Why::new("NoTemplate", message)),
        Err(error) => Next::Failed(Why::of("WriteFailed", &error)),
    }
}

/// What it has got stays its own.
fn refused(claim: &Metal3DataClaim, message: &str) -> Metal3DataClaimStatus {
    let rendered_data = claim.status.as_ref().and_then(|status| status.rendered_data.clone());
    Metal3DataClaimStatus { rendered_data, error_message: Some(message.to_owned()) }
}

async fn forget(hub: &Arc<Hub>, claim: &Arc<Metal3DataClaim>) -> Result<(), Error> {
    if seen(&hub.watch::<Metal3Machine>(), Arc::clone(claim)).is_needed {
        return Ok(());
    }
    let datas = hub.watch::<Metal3Data>().list_in(&claim.namespace().unwrap_or_default());
    let own: Vec<_> = datas.iter().filter(|data| is_for(data, claim)).collect();
    for data in &own {
        hub.delete(data.as_ref()).await?;
    }
    if own.is_empty() { finalizer::remove(hub, claim, METAL3_DATA_CLAIM_FINALIZER).await } else { Ok(()) }
}
