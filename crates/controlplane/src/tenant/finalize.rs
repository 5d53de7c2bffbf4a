//! The end of a TenantControlPlane: nothing of it stays in its DataStore, and whatever prevents that is named.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use scute_api::kamaji::{DATASTORE_SECRET_FINALIZER, DataStore, TENANT_FINALIZER, TenantControlPlane};
use scute_kit::{EventType, Key, Next, Why, finalizer};
use serde_json::json;

use super::progress::{Progress, Stage, Stop};
use super::validate::tenant_of;
use crate::context::Context;
use crate::names::Piece;

/// Finalizer that Kamaji puts beside its own; a tenant taken over from it carries both.
const SOOT_FINALIZER: &str = "finalizer.kamaji.clastix.io/soot";

/// Removes user, keys and role, then the finalizers; the rest goes with its owner. Pausing does not hold it up.
pub async fn finalize(tcp: Arc<TenantControlPlane>, context: &Context) -> Next {
    let key = Key::of(tcp.as_ref());
    if finalizer::has(tcp.as_ref(), TENANT_FINALIZER)
        && let Err(stop) = clean(&tcp, context).await
    {
        return super::report(&tcp, context, Progress { stopped: Some(stop), ..Progress::default() }).await;
    }
    context.forget(&key);
    if let Err(error) = release(&tcp, context).await {
        return Next::Failed(Why::new("FinalizerFailed", error.to_string()));
    }
    Next::Settled
}

async fn clean(tcp: &TenantControlPlane, context: &Context) -> Result<(), Stop> {
    let status = tcp.status.as_ref().and_then(|status| status.storage.as_ref());
    let set_up = status.and_then(|storage| storage.setup.as_ref());
    // What was set up counts, not what the spec says by now.
    let tenant = match set_up {
        Some(setup) => scute_etcd::Tenant { user: setup.user.clone(), schema: setup.schema.clone() },
        None => tenant_of(tcp, &tcp.uid().unwrap_or_default()),
    };
    let name = status
        .map(|storage| storage.data_store_name.clone())
        .or_else(|| tcp.spec.data_store.clone())
        .unwrap_or_else(|| context.config.default_datastore.clone());
    let datastores = context.hub.watch::<DataStore>();
    datastores.ready().await;
    let Some(datastore) = datastores.get(&Key::new("", name.clone())) else {
        let message = format!(
            "{name} DataStore does not exist, so user {}, role {} and the keys below /{}/ cannot be removed: bring it \
             back, or remove the finalizer {TENANT_FINALIZER} to leave them behind",
            tenant.user, tenant.schema, tenant.schema
        );
        return Err(Stop::wait(Stage::DataStore, Why::new("DataStoreNotFound", message)));
    };
    let failed = |detail: String| {
        let message = format!("removing the tenant from DataStore {name}: {detail}");
        Stop::failed(Stage::DataStore, Why::new("DataStoreCleanupFailed", message))
    };
    let opened = context.stores.open(&datastore).await.map_err(|why| failed(why.message))?;
    opened.store.remove(&tenant).await.map_err(|error| failed(error.to_string()))?;
    let left = opened.store.traces(&tenant).await.map_err(|error| failed(error.to_string()))?;
    if !left.is_none() {
        return Err(failed(format!(
            "still there: {} keys, user {}, role {}",
            left.keys, left.user, left.role
        )));
    }
    let note = format!("user, role and keys were removed from DataStore {name}");
    context.hub.event(tcp, EventType::Normal, "DataStoreCleaned", &note).await;
    Ok(())
}

/// Removes the finalizers, also those that Kamaji left.
async fn release(tcp: &Arc<TenantControlPlane>, context: &Context) -> Result<(), scute_kit::Error> {
    let namespace = tcp.namespace().unwrap_or_default();
    let secret = Key::new(namespace, Piece::DataStoreConfig.secret(&tcp.name_any()));
    if let Some(seen) = context.hub.watch_meta::<Secret>().get(&secret)
        && finalizer::has(seen.as_ref(), DATASTORE_SECRET_FINALIZER)
    {
        let mut kept = seen.metadata.finalizers.clone().unwrap_or_default();
        kept.retain(|finalizer| finalizer != DATASTORE_SECRET_FINALIZER);
        match context.hub.patch::<Secret>(&secret, &json!({ "metadata": { "finalizers": kept } })).await {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
    }
    let mut finalizers = tcp.metadata.finalizers.clone().unwrap_or_default();
    let before = finalizers.len();
    finalizers.retain(|finalizer| finalizer != TENANT_FINALIZER && finalizer != SOOT_FINALIZER);
    if finalizers.len() == before {
        return Ok(());
    }
    let patch = json!({ "metadata": {
        "finalizers": finalizers,
        "uid": tcp.uid(),
        "resourceVersion": tcp.resource_version(),
    }});
    match context.hub.patch::<TenantControlPlane>(&Key::of(tcp.as_ref()), &patch).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}
