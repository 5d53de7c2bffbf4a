//! The end of a TenantControlPlane: nothing of it stays in its DataStore, and whatever prevents that is named.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use scute_api::kamaji::{
    DATASTORE_SECRET_FINALIZER, DELETION_POLICY_ANNOTATION, DataStore, TENANT_FINALIZER, TenantControlPlane,
};
use scute_etcd::{Part, Tenant};
use scute_kit::{EventType, Key, Next, Why, finalizer};
use serde_json::json;

use super::ownership;
use super::progress::{Progress, Stage, Stop};
use super::storage::opened;
use super::validate::tenant_of;
use crate::context::Context;
use crate::names::TenantSecret;

/// Finalizer that Kamaji puts beside its own; a tenant taken over from it carries both.
const SOOT_FINALIZER: &str = "finalizer.kamaji.clastix.io/soot";

/// Removes user, keys and role, then the finalizers; the rest goes with its owner. Pausing does not hold it up.
pub async fn finalize(tcp: Arc<TenantControlPlane>, context: &Context) -> Next {
    let key = Key::of(tcp.as_ref());
    let mut tcp = tcp;
    if finalizer::has(tcp.as_ref(), TENANT_FINALIZER) {
        match clean(&tcp, context).await {
            Err(stop) => {
                let progress = Progress { stopped: Some(stop), ..Progress::default() };
                return super::report(&tcp, context, progress).await;
            }
            Ok(None) => {}
            // What is left is said, and holds nothing up: it is not this tenant's.
            Ok(Some(left)) => {
                let stopped = Some(Stop::wait(Stage::DataStore, left));
                super::report(&tcp, context, Progress { stopped, ..Progress::default() }).await;
                tcp = context.hub.watch::<TenantControlPlane>().get(&key).unwrap_or(tcp);
            }
        }
    }
    context.forget(&key);
    if let Err(error) = release(&tcp, context).await {
        return Next::Failed(Why::of("FinalizerFailed", &error));
    }
    Next::Settled
}

/// Removes what is the tenant's own and answers what else stays. The spec's names count, which nobody can change:
/// a status can be written by whoever may write the tenant.
async fn clean(tcp: &TenantControlPlane, context: &Context) -> Result<Option<Why>, Stop> {
    let tenant = tenant_of(tcp, &tcp.uid().unwrap_or_default());
    let name = tcp.spec.data_store.clone().unwrap_or_else(|| context.config.default_datastore.clone());
    let policy = policy(tcp).map_err(|why| Stop::wait(Stage::DataStore, why))?;
    let datastores = context.hub.watch::<DataStore>();
    datastores.ready().await;
    let datastore = datastores.get(&Key::new("", name.clone()));
    if policy == Policy::Retain {
        return Ok(Some(retain(tcp, &tenant, &name, datastore.as_deref(), context).await));
    }
    let Some(datastore) = datastore else {
        return Err(Stop::wait(Stage::DataStore, not_found(&name, &tenant)));
    };
    let failed = |detail: String| {
        let message = format!("removing the tenant from DataStore {name}: {detail}");
        Stop::failed(Stage::DataStore, Why::new("DataStoreCleanupFailed", message))
    };
    let opened = opened(&datastore, context).await.map_err(|why| failed(why.message))?;
    let foreign =
        ownership::remove(tcp, &tenant, &opened, context).await.map_err(|error| failed(error.to_string()))?;
    let left = opened.store.traces(&tenant).await.map_err(|error| failed(error.to_string()))?;
    let is_own = |part| foreign.iter().all(|foreign| foreign.part != part);
    let (user, prefix) = (is_own(Part::User), is_own(Part::Prefix));
    if (user && left.user) || (prefix && (left.role || left.keys > 0)) {
        return Err(failed(format!(
            "still there: {} keys, user {}, role {}",
            left.keys, left.user, left.role
        )));
    }
    if !foreign.is_empty() {
        for foreign in &foreign {
            tracing::warn!(tenant = %Key::of(tcp), store = %name, owner = foreign.owner, "{foreign}: left as it is");
        }
        return Ok(Some(Why::new("DataStoreLeft", ownership::left(&name, &foreign))));
    }
    let note = format!("user, role and keys were removed from DataStore {name}");
    context.hub.event(tcp, EventType::Normal, "DataStoreCleaned", &note).await;
    Ok(None)
}

/// What becomes of a deleted tenant's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Delete,
    Retain,
}

/// A word that is neither must not cost anybody his data.
fn policy(tcp: &TenantControlPlane) -> Result<Policy, Why> {
    match tcp.annotations().get(DELETION_POLICY_ANNOTATION).map(String::as_str) {
        None | Some("Delete") => Ok(Policy::Delete),
        Some("Retain") => Ok(Policy::Retain),
        Some(other) => {
            let message =
                format!("annotation {DELETION_POLICY_ANNOTATION} is {other:?}: it must be Retain or Delete");
            Err(Why::new("InvalidDeletionPolicy", message))
        }
    }
}

/// Gives up the records and nothing else. A store that does not answer is not waited for: it may be lost for good.
async fn retain(
    tcp: &TenantControlPlane,
    tenant: &Tenant,
    name: &str,
    datastore: Option<&DataStore>,
    context: &Context,
) -> Why {
    let released = match datastore {
        None => Err("it does not exist".to_owned()),
        Some(datastore) => match opened(datastore, context).await {
            Ok(opened) => ownership::release(tcp, tenant, &opened).await.map_err(|error| error.to_string()),
            Err(why) => Err(why.message),
        },
    };
    let Tenant { user, schema } = tenant;
    let kept = match released {
        Ok(()) => String::new(),
        Err(error) => format!("; so does the record of whose they are: {error}"),
    };
    let message = format!(
        "user {user}, role {schema} and the keys below /{schema}/ stay in DataStore {name}, as annotation \
         {DELETION_POLICY_ANNOTATION} asks{kept}"
    );
    Why::new("DataStoreRetained", message)
}

fn not_found(name: &str, tenant: &Tenant) -> Why {
    let Tenant { user, schema } = tenant;
    let message = format!(
        "{name} DataStore does not exist, so user {user}, role {schema} and the keys below /{schema}/ cannot be removed: \
         bring it back, or set annotation {DELETION_POLICY_ANNOTATION} to Retain to leave them behind"
    );
    Why::new("DataStoreNotFound", message)
}

/// Removes the finalizers, also those that Kamaji left.
async fn release(tcp: &Arc<TenantControlPlane>, context: &Context) -> Result<(), scute_kit::Error> {
    let namespace = tcp.namespace().unwrap_or_default();
    let secret = Key::new(namespace, TenantSecret::DataStoreConfig.name(&tcp.name_any()));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::fixture::tcp;

    #[test]
    fn a_mistyped_policy_keeps_the_data_and_is_named() {
        let with = |value: &str| {
            policy(&tcp(json!({ "metadata": { "annotations": { "scute.dev/deletion-policy": value } } })))
        };
        assert_eq!(policy(&tcp(json!({}))), Ok(Policy::Delete));
        assert_eq!((with("Delete"), with("Retain")), (Ok(Policy::Delete), Ok(Policy::Retain)));
        let why = with("retain").expect_err("neither");
        assert!(
            why.message.contains("\"retain\"") && why.message.contains("Retain or Delete"),
            "{}",
            why.message
        );
    }
}
