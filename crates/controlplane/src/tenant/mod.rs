//! TenantControlPlane: from a spec to Pods that serve it, and back to nothing.

mod authorities;
#[cfg(test)]
mod certificate_stories;
pub mod certificates;
mod containers;
pub mod deployment;
mod dns;
pub mod endpoint;
mod finalize;
#[cfg(test)]
pub mod fixture;
mod issue;
mod network;
pub mod network_policy;
mod node_cidr_mask;
mod objects;
mod occupied;
mod ownership;
mod probes;
pub mod progress;
mod report;
mod resources;
mod rollout;
mod secrets;
pub mod service;
mod steps;
pub mod storage;
#[cfg(test)]
mod stories;
mod trouble;
pub mod validate;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use scute_api::kamaji::{DataStore, KAMAJI_PAUSED_ANNOTATION, TenantControlPlane};
use scute_api::meta::PAUSED_ANNOTATION;
use scute_contract::paused::paused_by;
use scute_kit::conditions::is_true;
use scute_kit::{Controller, Key, Next, Why, ladder};
use tokio::sync::mpsc;

pub use report::INSIDE;
pub use secrets::{Known, write_exactly};
pub use steps::{facts, installed_version};
pub use storage::Ensured;

use crate::context::Context;
use progress::{Progress, Retry, Stage};

/// A tenant is looked at again at least this often: its user in the DataStore may be gone, its clock may have been set.
const LONGEST_REST: Duration = storage::LOOK_AGAIN;

/// What a load balancer takes to answer.
const SOON: Duration = Duration::from_secs(2);

/// Runs the controller; never returns. `changed` names tenants of which something is known that no watch tells.
pub async fn run(context: Arc<Context>, changed: mpsc::UnboundedReceiver<Key>) {
    let hub = Arc::clone(&context.hub);
    let tenants = hub.watch::<TenantControlPlane>();
    let default = context.config.default_datastore.clone();
    Controller::<TenantControlPlane>::new("tenantcontrolplane", &hub)
        .owns::<Deployment>()
        .owns::<Service>()
        .owns::<NetworkPolicy>()
        .owns_meta::<Secret>()
        .owns_meta::<ConfigMap>()
        .watches(|pod: &Pod| trouble::whose(pod).into_iter().collect())
        .watches(move |datastore: &DataStore| {
            let name = datastore.name_any();
            let uses =
                |tcp: &&Arc<TenantControlPlane>| tcp.spec.data_store.as_deref().unwrap_or(&default) == name;
            tenants.list().iter().filter(uses).map(|tcp| Key::of(tcp.as_ref())).collect()
        })
        .on(changed)
        .run(context, reconcile)
        .await;
}

/// Brings one TenantControlPlane to what it asks for.
async fn reconcile(tcp: Arc<TenantControlPlane>, context: Arc<Context>) -> Next {
    if tcp.metadata.deletion_timestamp.is_some() {
        return finalize::finalize(tcp, &context).await;
    }
    let mut progress = Progress { paused: is_paused(&tcp), ..Progress::default() };
    if !progress.paused {
        progress.stopped = steps::advance(&tcp, &context, &mut progress).await.err();
    }
    if is_about_to_tell(&tcp, &context, &progress) {
        return Next::OnChange(Why::new(
            "LookingInside",
            "the first answer of the API server goes into the same write",
        ));
    }
    if let Some(why) = is_being_given_an_address(&tcp, &progress, context.hub.now()) {
        return Next::After(SOON, why);
    }
    report(&tcp, &context, progress).await
}

/// Whether the tenant is so new that its load balancer has hardly looked: what it then waits for is not worth a write,
/// for the address comes within milliseconds, or is waited for a moment later, too.
fn is_being_given_an_address(tcp: &TenantControlPlane, progress: &Progress, now: Timestamp) -> Option<Why> {
    let stop = progress.stopped.as_ref().filter(|stop| stop.stage == Stage::Endpoint)?;
    let waits = matches!(stop.retry, Retry::OnChange) && tcp.status.is_none();
    let age = now.duration_since(tcp.metadata.creation_timestamp.as_ref()?.0);
    (waits && age < SignedDuration::try_from(SOON).ok()?).then(|| stop.why.clone())
}

/// Whether somebody asked to leave it alone.
pub fn is_paused(tcp: &TenantControlPlane) -> bool {
    paused_by(None, tcp, &[PAUSED_ANNOTATION, KAMAJI_PAUSED_ANNOTATION]).is_some()
}

/// Whether the first Pod has just become ready: what is found inside follows at once, be it good or bad, and one write
/// says both.
fn is_about_to_tell(tcp: &TenantControlPlane, context: &Context, progress: &Progress) -> bool {
    let pods = progress.deployment.as_ref().and_then(|deployment| deployment.status.as_ref()?.ready_replicas);
    let was_ready = tcp.status.as_ref().is_some_and(|status| is_true(&status.conditions, report::READY));
    progress.stopped.is_none()
        && pods.is_some_and(|pods| pods > 0)
        && !was_ready
        && context.inside.get(&Key::of(tcp)).is_none()
}

/// Writes the status and says when to look again.
async fn report(tcp: &TenantControlPlane, context: &Context, progress: Progress) -> Next {
    let now = context.hub.now();
    let inside = context.inside.get(&Key::of(tcp));
    let status = report::status(tcp, &progress, inside.as_deref(), now);
    let (stopped, paused) = (progress.stopped, progress.paused);
    let due = progress.known.as_ref().and_then(|known| known.due);
    ladder::finish(&context.hub, tcp, status, stopped, || {
        if paused {
            return Next::Settled;
        }
        // Neither the end of a certificate nor a loss in the DataStore is an event.
        let rest =
            due.map_or(LONGEST_REST, |due| Duration::try_from(due.duration_since(now)).unwrap_or_default());
        let why = Why::new("Settled", "certificates and the DataStore are looked at again");
        Next::After(rest.clamp(Duration::from_secs(1), LONGEST_REST), why)
    })
    .await
}
