//! The DataStore of a tenant: whether it may be used, and the user, role and prefix in it.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use scute_api::kamaji::{ALLOWED_NAMESPACES_ANNOTATION, DataStore, TenantControlPlane};
use scute_etcd::Error;
use scute_kit::{Key, Why};
use tokio::time::Instant;

use super::ownership;
use super::progress::{Stage, Stop};
use super::validate::Wanted;
use crate::context::Context;
use crate::stores::Opened;

/// What exists in an etcd cannot be watched: a user that somebody removed is made again within this time.
pub const LOOK_AGAIN: Duration = Duration::from_secs(3600);

/// What was last made sure of in a DataStore.
#[derive(Debug, PartialEq, Eq)]
pub struct Ensured {
    uid: String,
    tenant: scute_etcd::Tenant,
    store: String,
    since: Instant,
}

/// Opens the DataStore, if there is one, it is ready, and this namespace may use it.
///
/// # Errors
/// What stands against it.
pub async fn open(
    tcp: &TenantControlPlane,
    wanted: &Wanted,
    context: &Context,
) -> Result<(Arc<DataStore>, Arc<Opened>), Stop> {
    let name = &wanted.data_store;
    let datastores = context.hub.watch::<DataStore>();
    datastores.ready().await;
    let wait = |reason: &'static str, message| Stop::wait(Stage::DataStore, Why::new(reason, message));
    let Some(datastore) = datastores.get(&Key::new("", name.clone())) else {
        return Err(wait("DataStoreNotFound", format!("{name} DataStore does not exist")));
    };
    if !allows(&datastore, &wanted.namespace) {
        return Err(wait("DataStoreNotAllowed", not_allowed(name, &wanted.namespace)));
    }
    if datastore.metadata.deletion_timestamp.is_some() && !is_user(tcp) {
        return Err(wait("DataStoreDeleting", is_ending(name)));
    }
    let status = datastore.status.clone().unwrap_or_default();
    if !status.ready {
        context.tenants.remove(&Key::of(tcp));
        let said =
            status.conditions.iter().find(|condition| condition.type_.ends_with("DataStoreValidation"));
        let said = said.map_or("NotLookedAt", |condition| condition.reason.as_str());
        return Err(wait("WaitingForDataStore", not_ready(name, said)));
    }
    let opened = opened(&datastore, context).await.map_err(|why| Stop::failed(Stage::DataStore, why))?;
    Ok((datastore, opened))
}

/// A DataStore that can be asked.
///
/// # Errors
/// That it cannot, in words for its tenants.
pub async fn opened(datastore: &DataStore, context: &Context) -> Result<Arc<Opened>, Why> {
    context.stores.open(datastore).await.map_err(|why| {
        let message = not_ready(&datastore.name_any(), &why.reason);
        Why::new(why.reason, message)
    })
}

/// The DataStore's own words are the operator's: they name its Secrets, and the other tenants that use it.
fn not_ready(datastore: &str, reason: &str) -> String {
    format!("DataStore {datastore} is not ready: {reason}; its conditions say more")
}

/// Whether the tenant has something in its DataStore already.
pub fn is_user(tcp: &TenantControlPlane) -> bool {
    tcp.status.as_ref().is_some_and(|status| status.storage.is_some())
}

/// Whether TenantControlPlanes of a namespace may use a DataStore.
pub fn allows(datastore: &DataStore, namespace: &str) -> bool {
    let listed = datastore.annotations().get(ALLOWED_NAMESPACES_ANNOTATION);
    listed.is_none_or(|listed| listed.split(',').any(|allowed| allowed.trim() == namespace))
}

/// What is said where it may not.
pub fn not_allowed(datastore: &str, namespace: &str) -> String {
    format!(
        "DataStore {datastore} is not for namespace {namespace}: its annotation {ALLOWED_NAMESPACES_ANNOTATION} decides"
    )
}

/// What is said of one that is being deleted.
pub fn is_ending(datastore: &str) -> String {
    format!("DataStore {datastore} is being deleted: choose another")
}

/// User, role and prefix; looked at when the store is another or was not ready, every hour, and after every failure.
///
/// # Errors
/// What the store says, or that a name is not this tenant's.
pub async fn ensure(
    tcp: &TenantControlPlane,
    wanted: &Wanted,
    datastore: &DataStore,
    opened: &Opened,
    context: &Context,
) -> Result<(), Stop> {
    let key = Key::of(tcp);
    let made = Ensured {
        uid: tcp.uid().unwrap_or_default(),
        tenant: wanted.tenant.clone(),
        store: context.stores.identity(datastore),
        since: Instant::now(),
    };
    if context.tenants.get(&key).is_some_and(|known| still_holds(&known, &made)) {
        return Ok(());
    }
    context.tenants.remove(&key);
    ownership::ensure(tcp, &wanted.tenant, opened, context)
        .await
        .map_err(|error| refused(tcp, wanted, &error))?;
    context.tenants.put(&key, made);
    Ok(())
}

fn still_holds(known: &Ensured, now: &Ensured) -> bool {
    let Ensured { uid, tenant, store, since } = known;
    (uid, tenant, store) == (&now.uid, &now.tenant, &now.store) && now.since - *since < LOOK_AGAIN
}

fn refused(tcp: &TenantControlPlane, wanted: &Wanted, error: &Error) -> Stop {
    let name = &wanted.data_store;
    match error {
        Error::Foreign(foreign) => {
            tracing::warn!(tenant = %Key::of(tcp), store = %name, owner = foreign.owner, "{foreign}");
            let message = format!(
                "DataStore {name}: {foreign}; a prefix is spec.dataStoreSchema, a user spec.dataStoreUsername"
            );
            Stop::failed(Stage::DataStore, Why::new("DataStoreConflict", message))
        }
        error => Stop::failed(Stage::DataStore, Why::new("DataStoreSetupFailed", error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_another_store_or_another_name_are_looked_at_again() {
        let tenant = |name: &str| scute_etcd::Tenant { user: name.into(), schema: name.into() };
        let start = Instant::now();
        let at = |name: &str, store: &str, seconds| Ensured {
            uid: "1".into(),
            tenant: tenant(name),
            store: store.into(),
            since: start + Duration::from_secs(seconds),
        };
        let known = at("a", "uid 1", 0);
        assert!(still_holds(&known, &at("a", "uid 1", 3599)));
        assert!(!still_holds(&known, &at("a", "uid 1", 3600)));
        assert!(!still_holds(&known, &at("a", "uid 2", 1)));
        assert!(!still_holds(&known, &at("b", "uid 1", 1)));
    }
}
