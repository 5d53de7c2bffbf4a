//! ClusterResourceSetBinding: goes with its Cluster.

use std::sync::Arc;

use kube::ResourceExt;
use scute_api::addons::ClusterResourceSetBinding;
use scute_api::cluster::Cluster;
use scute_kit::{Controller, Found, Hub, Key, Next, Watch, Why};

struct Context {
    hub: Arc<Hub>,
    clusters: Watch<Cluster>,
}

/// Runs the controller; never returns.
pub async fn run(hub: Arc<Hub>) {
    let context = Context { hub: Arc::clone(&hub), clusters: hub.watch() };
    context.clusters.ready().await;
    Controller::<ClusterResourceSetBinding>::new("clusterresourcesetbinding", &hub)
        .watches::<Cluster>(|cluster| vec![Key::of(cluster)])
        .run(Arc::new(context), reconcile)
        .await;
}

async fn reconcile(binding: Arc<ClusterResourceSetBinding>, context: Arc<Context>) -> Next {
    let namespace = binding.namespace().unwrap_or_default();
    let gone = match context.clusters.find(&Key::new(namespace, binding.spec.cluster_name.clone())) {
        Found::Object(cluster) => cluster.metadata.deletion_timestamp.is_some(),
        Found::Absent => true,
        Found::Unreadable(_) | Found::NotListed => false,
    };
    if !gone || binding.metadata.deletion_timestamp.is_some() {
        return Next::Settled;
    }
    match context.hub.delete(binding.as_ref()).await {
        Ok(()) => Next::Settled,
        Err(error) => Next::Failed(Why::of("BindingNotDeleted", &error)),
    }
}
