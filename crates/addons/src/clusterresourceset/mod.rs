//! ClusterResourceSet: puts manifests into every Cluster with certain labels.

mod apply;
mod manifest;
mod plan;
mod report;
mod resources;
mod tenant;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;
use kube::api::PartialObjectMeta;
use scute_api::addons::{
    CLUSTER_RESOURCE_SET_FINALIZER, ClusterResourceSet, ClusterResourceSetBinding, ResourceKind,
};
use scute_api::cluster::Cluster;
use scute_contract::{paused, selector};
use scute_kit::conditions::find;
use scute_kit::tenants::Tenants;
use scute_kit::{Controller, Hub, Key, Next, Watch, Why, finalizer, when_changed};
use serde_json::json;

use resources::Resources;

/// What the controller works with.
pub struct Context {
    hub: Arc<Hub>,
    tenants: Arc<Tenants>,
    clusters: Watch<Cluster>,
    bindings: Watch<ClusterResourceSetBinding>,
    resources: Resources,
}

/// Runs the controller; never returns.
pub async fn run(hub: Arc<Hub>, tenants: Arc<Tenants>) {
    let context = Context {
        hub: Arc::clone(&hub),
        tenants,
        clusters: hub.watch(),
        bindings: hub.watch(),
        resources: Resources::new(&hub),
    };
    context.clusters.ready().await;
    context.bindings.ready().await;
    context.resources.ready().await;
    let sets = hub.watch::<ClusterResourceSet>();
    let of_cluster = {
        let sets = sets.clone();
        move |cluster: &Cluster| {
            keys(&sets, &cluster.namespace().unwrap_or_default(), |set| selects(set, cluster))
        }
    };
    let naming = |kind: ResourceKind| {
        let sets = sets.clone();
        move |namespace: Option<String>, name: String| {
            keys(&sets, &namespace.unwrap_or_default(), |set| {
                set.spec.resources.iter().any(|resource| resource.kind == kind && resource.name == name)
            })
        }
    };
    let (of_config_map, of_secret) = (naming(ResourceKind::ConfigMap), naming(ResourceKind::Secret));
    let of_binding = |binding: &ClusterResourceSetBinding| {
        let namespace = binding.namespace().unwrap_or_default();
        let named = binding.spec.bindings.iter().map(|binding| binding.cluster_resource_set_name.clone());
        named.map(|name| Key::new(namespace.clone(), name)).collect()
    };
    Controller::<ClusterResourceSet>::new("clusterresourceset", &hub)
        .watches::<Cluster>(when_changed(cluster_facts, of_cluster))
        .watches::<ClusterResourceSetBinding>(of_binding)
        .listen(hub.watch_meta::<ConfigMap>(), move |meta: &PartialObjectMeta<ConfigMap>| {
            of_config_map(meta.namespace(), meta.name_any())
        })
        .listen(hub.watch_meta::<Secret>(), move |meta: &PartialObjectMeta<Secret>| {
            of_secret(meta.namespace(), meta.name_any())
        })
        .run(Arc::new(context), reconcile)
        .await;
}

fn keys(
    sets: &Watch<ClusterResourceSet>,
    namespace: &str,
    is: impl Fn(&ClusterResourceSet) -> bool,
) -> Vec<Key> {
    let sets = sets.list_in(namespace);
    sets.iter().filter(|set| is(set)).map(|set| Key::of(set.as_ref())).collect()
}

fn selects(set: &ClusterResourceSet, cluster: &Cluster) -> bool {
    selector::matches(&set.spec.cluster_selector, cluster.labels())
}

/// What of a Cluster matters: its labels, whether it is paused or goes away, and whether its control plane answers.
fn cluster_facts(cluster: &Cluster) -> (Option<i64>, String, bool, Vec<String>) {
    let conditions = cluster.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let reached = ["ControlPlaneInitialized", "RemoteConnectionProbe"]
        .iter()
        .filter_map(|type_| find(conditions, type_).map(|is| format!("{type_} {}", is.status)))
        .collect();
    (
        cluster.metadata.generation,
        format!("{:?}", cluster.metadata.labels),
        cluster.metadata.deletion_timestamp.is_some(),
        reached,
    )
}

/// Brings one set into its Clusters.
async fn reconcile(set: Arc<ClusterResourceSet>, context: Arc<Context>) -> Next {
    let hub = &context.hub;
    if let Some(why) = paused::paused(None, set.as_ref()) {
        return paused::pause(hub, set.as_ref(), why).await;
    }
    if set.metadata.deletion_timestamp.is_some() {
        let done = apply::withdraw(&set, &context).await;
        return match done {
            Ok(()) => Next::Settled,
            Err(why) => Next::Failed(why),
        };
    }
    let set = match finalizer::ensure(hub, &set, CLUSTER_RESOURCE_SET_FINALIZER).await {
        Ok(set) => set,
        Err(error) if error.is_not_found() => return Next::Settled,
        Err(error) => return Next::Failed(Why::of("FinalizerNotWritten", &error)),
    };
    let done = apply::apply(&set, &context).await;
    let status = report::report(&set, &done, hub.now());
    let next = report::next(&done);
    hub.report(set.as_ref(), json!(status), next).await
}
