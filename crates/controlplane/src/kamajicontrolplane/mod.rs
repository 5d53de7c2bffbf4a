//! KamajiControlPlane: Cluster API's hand on a TenantControlPlane of the same name.

mod infra;
pub mod mapping;
mod report;
mod secrets;
mod steps;
#[cfg(test)]
mod stories;
pub mod words;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use scute_api::cluster::Cluster;
use scute_api::controlplane::{KAMAJI_CONTROL_PLANE_FINALIZER, KamajiControlPlane};
use scute_api::kamaji::{KAMAJI_PAUSED_ANNOTATION, TenantControlPlane};
use scute_api::meta::PAUSED_ANNOTATION;
use scute_contract::Externals;
use scute_contract::paused::paused_by;
use scute_kit::{Controller, Key, Next, Why, finalizer, ladder};

use crate::context::Context;
use report::{Progress, Stage, Stop};

/// Field manager of what this controller applies.
const MANAGER: &str = "scute-kamajicontrolplane";
/// Kind that a Cluster refers to.
const KIND: &str = "KamajiControlPlane";

/// What this controller works with.
struct Shared {
    context: Arc<Context>,
    externals: Externals,
}

/// Runs the controller; never returns.
pub async fn run(context: Arc<Context>) {
    let hub = Arc::clone(&context.hub);
    let (externals, woken) = Externals::new(&hub);
    hub.watch::<Cluster>().ready().await;
    hub.watch::<TenantControlPlane>().ready().await;
    hub.watch_meta::<Secret>().ready().await;
    Controller::<KamajiControlPlane>::new("kamajicontrolplane", &hub)
        .owns::<TenantControlPlane>()
        .owns_meta::<Secret>()
        .watches(|cluster: &Cluster| control_plane_of(cluster).into_iter().collect())
        .on(woken)
        .run(Arc::new(Shared { context, externals }), reconcile)
        .await;
}

/// The KamajiControlPlane that a Cluster refers to.
pub fn control_plane_of(cluster: &Cluster) -> Option<Key> {
    let reference = cluster.spec.control_plane_ref.as_ref().filter(|reference| reference.kind == KIND)?;
    Some(Key::new(cluster.namespace().unwrap_or_default(), reference.name.clone()))
}

/// The Cluster of a KamajiControlPlane: the one that refers to it. Its ownerReference comes later.
fn cluster_of(kcp: &KamajiControlPlane, context: &Context) -> Option<Arc<Cluster>> {
    let key = Key::of(kcp);
    let clusters = context.hub.watch::<Cluster>().list_in(&key.namespace);
    clusters.into_iter().find(|cluster| control_plane_of(cluster).as_ref() == Some(&key))
}

async fn reconcile(kcp: Arc<KamajiControlPlane>, shared: Arc<Shared>) -> Next {
    let context = &shared.context;
    let cluster = cluster_of(&kcp, context);
    let mut progress = Progress { paused: is_paused(&kcp, cluster.as_deref()), ..Progress::default() };
    if progress.paused {
        return report(&kcp, context, progress).await;
    }
    if kcp.metadata.deletion_timestamp.is_some() {
        return delete(kcp, &shared).await;
    }
    progress.stopped = match &cluster {
        Some(cluster) => steps::advance(&kcp, cluster, &shared, &mut progress).await.err(),
        None => {
            let message = "no Cluster of this namespace has a spec.controlPlaneRef to this object";
            Some(Stop::wait(Stage::Created, Why::new("WaitingForCluster", message)))
        }
    };
    report(&kcp, context, progress).await
}

fn is_paused(kcp: &KamajiControlPlane, cluster: Option<&Cluster>) -> bool {
    paused_by(cluster, kcp, &[PAUSED_ANNOTATION, KAMAJI_PAUSED_ANNOTATION]).is_some()
}

/// Goes only after its TenantControlPlane, and so after the tenant's data.
async fn delete(kcp: Arc<KamajiControlPlane>, shared: &Shared) -> Next {
    let context = &shared.context;
    let key = Key::of(kcp.as_ref());
    let own = |tcp: &Arc<TenantControlPlane>| {
        tcp.owner_references().iter().any(|owner| Some(&owner.uid) == kcp.uid().as_ref())
    };
    let Some(tcp) = context.hub.watch::<TenantControlPlane>().get(&key).filter(own) else {
        context.copies.remove(&key);
        return match finalizer::remove(&context.hub, &kcp, KAMAJI_CONTROL_PLANE_FINALIZER).await {
            Ok(()) => {
                shared.externals.forget(&key);
                Next::Settled
            }
            Err(error) => Next::Failed(Why::of("FinalizerFailed", &error)),
        };
    };
    if tcp.metadata.deletion_timestamp.is_none()
        && let Err(error) = context.hub.delete(tcp.as_ref()).await
    {
        return Next::Failed(Why::of("DeleteFailed", &error));
    }
    let ready =
        tcp.status.iter().flat_map(|status| &status.conditions).find(|condition| condition.type_ == "Ready");
    let said = ready.filter(|ready| ready.reason == "Deleting").map_or("", |ready| ready.message.as_str());
    let why = Why::new("Deleting", format!("TenantControlPlane {key} is being deleted: {said}"));
    let progress = Progress { stopped: Some(Stop::wait(Stage::Created, why)), ..Progress::default() };
    report(&kcp, context, progress).await
}

async fn report(kcp: &KamajiControlPlane, context: &Context, progress: Progress) -> Next {
    let status = report::status(kcp, &progress, context.hub.now());
    ladder::finish(&context.hub, kcp, status, progress.stopped, || Next::Settled).await
}
