//! The loop of IPPools: one at a time gives its addresses out.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use scute_api::cluster::Cluster;
use scute_api::ipam::{IP_POOL_FINALIZER, IPAddress, IPClaim, IPPool, IPPoolStatus};
use scute_api::ranges::Claim;
use scute_contract::owners::hold;
use scute_contract::paused::paused;
use scute_kit::conditions::whole_seconds;
use scute_kit::{Controller, EventType, Field, Hub, Key, Next, Watch, Why, when_changed};
use serde_json::{Value, json};

use super::apply::apply;
use super::clash::{clashes, elders};
use super::plan::{Observed, indexes, plan};

/// IPClaims by the name of their pool.
pub const POOL: Field<IPClaim> =
    Field { name: "spec.pool.name", of: |claim| claim.spec.pool.name.as_deref().map(Into::into) };

struct Context {
    hub: Arc<Hub>,
    reserved: Vec<Claim>,
}

/// Runs the controllers of pools and of claims without one.
pub async fn run(hub: Arc<Hub>, reserved: Vec<Claim>) {
    let (pools, claims) = (hub.watch::<IPPool>(), hub.watch::<IPClaim>());
    let by_cluster = pools.clone();
    let controller = Controller::<IPPool>::new("ippool", &hub)
        .watches::<IPClaim>(|claim| pool_key(claim.namespace(), claim.spec.pool.name.as_ref()))
        .watches::<IPAddress>(|address| pool_key(address.namespace(), address.spec.pool.name.as_ref()))
        // A pool that changes or goes may have stood in the way of another.
        .watches::<IPPool>(move |changed| waiting(&pools, &claims, changed))
        .watches::<Cluster>(when_changed(
            |cluster: &Cluster| (cluster.spec.paused, json!(cluster.spec.cluster_network).to_string()),
            move |cluster| of_cluster(&by_cluster, cluster),
        ));
    let pools = controller.run(Arc::new(Context { hub: Arc::clone(&hub), reserved }), reconcile);
    tokio::join!(pools, super::claims::run(hub));
}

fn pool_key(namespace: Option<String>, name: Option<&String>) -> Vec<Key> {
    let key = |name: &String| Key::new(namespace.clone().unwrap_or_default(), name.clone());
    name.map(key).into_iter().collect()
}

/// Other pools of the namespace with claims that have no address.
fn waiting(pools: &Watch<IPPool>, claims: &Watch<IPClaim>, changed: &IPPool) -> Vec<Key> {
    let namespace = changed.namespace().unwrap_or_default();
    let refused =
        |claim: &Arc<IPClaim>| claim.status.as_ref().is_some_and(|status| status.error_message.is_some());
    let others =
        pools.list_in(&namespace).into_iter().filter(|pool| pool.metadata.name != changed.metadata.name);
    let waits = |pool: &Arc<IPPool>| claims.list_by(&POOL, &namespace, &pool.name_any()).iter().any(refused);
    others.filter(waits).map(|pool| Key::of(pool.as_ref())).collect()
}

fn of_cluster(pools: &Watch<IPPool>, cluster: &Cluster) -> Vec<Key> {
    let mut pools = pools.list_in(&cluster.namespace().unwrap_or_default());
    pools.retain(|pool| pool.spec.cluster_name == cluster.metadata.name);
    pools.iter().map(|pool| Key::of(pool.as_ref())).collect()
}

async fn reconcile(pool: Arc<IPPool>, context: Arc<Context>) -> Next {
    let hub = &context.hub;
    let cluster = cluster_of(hub, &pool);
    if let Some(why) = paused(cluster.as_deref(), pool.as_ref()) {
        return Next::OnChange(Why::new("Paused", why));
    }
    let pool = match hold(hub, &pool, cluster.as_deref(), IP_POOL_FINALIZER).await {
        Ok(pool) => pool,
        Err(error) if error.is_not_found() => return Next::Settled,
        Err(error) => return Next::Failed(Why::of("WriteFailed", &error)),
    };
    let seen = observe(&context, &pool, cluster.as_deref());
    if let Some(clash) = &seen.clash {
        hub.event(pool.as_ref(), EventType::Warning, "RangesOverlap", clash).await;
    }
    let done = apply(hub, &pool, plan(&seen)).await;
    // With what was written just now.
    let after = observe(&context, &pool, cluster.as_deref());
    let told = hub.patch_status(pool.as_ref(), json!(status(&after, hub.now()))).await;
    match done.and(told) {
        Err(error) if error.is_not_found() => Next::Settled,
        Err(error) => Next::Failed(Why::of("WriteFailed", &error)),
        Ok(()) => Next::Settled,
    }
}

fn cluster_of(hub: &Arc<Hub>, pool: &IPPool) -> Option<Arc<Cluster>> {
    let name = pool.spec.cluster_name.clone().filter(|name| !name.is_empty())?;
    hub.watch::<Cluster>().get(&Key::new(pool.namespace().unwrap_or_default(), name))
}

fn observe(context: &Context, pool: &Arc<IPPool>, cluster: Option<&Cluster>) -> Observed {
    let (hub, namespace) = (&context.hub, pool.namespace().unwrap_or_default());
    let elders = elders(pool, hub.watch::<IPPool>().list_in(&namespace));
    let clash = clashes(pool, &elders, cluster, &context.reserved).into_iter().next();
    Observed {
        pool: Arc::clone(pool),
        claims: hub.watch::<IPClaim>().list_by(&POOL, &namespace, &pool.name_any()),
        addresses: hub.watch::<IPAddress>().list_in(&namespace),
        clash: clash.map(|bad| format!("{} ({}) {}", bad.path, bad.value, bad.detail)),
    }
}

fn status(seen: &Observed, now: Timestamp) -> Value {
    let before = seen.pool.status.clone().unwrap_or_default();
    let indexes = indexes(seen);
    let last_updated = match before.indexes == indexes {
        true => before.last_updated,
        false => Some(Time(whole_seconds(now))),
    };
    json!(IPPoolStatus { indexes, last_updated })
}
