//! DataStore: credentials that resolve, an etcd that answers with authentication on, and who uses it.

mod report;
pub mod upkeep;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use scute_api::kamaji::{DATASTORE_FINALIZER, DataStore, TenantControlPlane};
use scute_etcd::{Error, Health, Store};
use scute_kit::{Controller, EventType, Hub, Key, Next, Why, finalizer, when_changed};
use tokio::time::Instant;

use crate::context::Context;
use crate::holders::{Holder, holders};
use crate::stores::references;
use upkeep::Compaction;

/// An etcd cannot be watched for its health.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Runs the controller; never returns.
pub async fn run(context: Arc<Context>) {
    let hub = Arc::clone(&context.hub);
    let (datastores, secrets) = (hub.watch::<DataStore>(), hub.watch_meta::<Secret>());
    let tenants = hub.watch::<TenantControlPlane>();
    let default = context.config.default_datastore.clone();
    // Who uses which DataStore: a tenant's status is nothing to it, and every look is four questions.
    let uses = move |tcp: &TenantControlPlane| {
        let there = tenants.get(&Key::of(tcp)).is_some();
        (there, tcp.spec.data_store.clone(), tcp.metadata.deletion_timestamp.is_some())
    };
    Controller::<DataStore>::new("datastore", &hub)
        .watches(when_changed(uses, move |tcp: &TenantControlPlane| {
            vec![Key::new("", tcp.spec.data_store.clone().unwrap_or_else(|| default.clone()))]
        }))
        .listen(secrets, move |secret| {
            let key = Key::of(secret);
            let reads = |datastore: &&Arc<DataStore>| references(datastore).contains(&key);
            datastores.list().iter().filter(reads).map(|datastore| Key::of(datastore.as_ref())).collect()
        })
        .run(context, reconcile)
        .await;
}

async fn reconcile(datastore: Arc<DataStore>, context: Arc<Context>) -> Next {
    let users = users(&datastore, &context).await;
    if datastore.metadata.deletion_timestamp.is_some() {
        return delete(&context, datastore, users).await;
    }
    let datastore = match finalizer::ensure(&context.hub, &datastore, DATASTORE_FINALIZER).await {
        Ok(datastore) => datastore,
        Err(error) => return Next::Failed(Why::of("FinalizerFailed", &error)),
    };
    let look = look(&context, &datastore, &users).await;
    let status = report::status(&datastore, &users, look.as_ref(), context.hub.now());
    if let Err(error) = write(&context.hub, &datastore, &status).await {
        return error;
    }
    match look {
        Ok(_) => Next::After(LOOK_AGAIN, Why::new("Ready", "watching its health")),
        Err(why) => {
            context.stores.doubt(&datastore.name_any());
            context.hub.event(datastore.as_ref(), EventType::Warning, &why.reason, &why.message).await;
            Next::Failed(why)
        }
    }
}

/// What a look at a store found.
pub struct Look {
    health: Health,
    compaction: Compaction,
}

async fn look(context: &Context, datastore: &DataStore, users: &[Key]) -> Result<Look, Why> {
    let opened = context.stores.open(datastore).await?;
    let key = Key::of(datastore);
    let mut memory = context.upkeep.get(&key).map(|known| *known).unwrap_or_default();
    let (health, was_open) = health(context, datastore, opened.store.as_ref()).await?;
    let now = Instant::now();
    // Not the store that it was: set up anew, or put back to an earlier day.
    if memory.went_back(health.revision) || was_open {
        context.stores.doubt(&datastore.name_any());
        users.iter().for_each(|tcp| context.look_again(tcp));
    }
    let history = opened.store.history(memory.mark).await.map_err(|error| why(&error))?;
    let compaction = memory.judge(history, now);
    match upkeep::defragment(opened.store.as_ref(), &mut memory, now).await {
        Ok(None) => {}
        Ok(Some((member, bytes))) => {
            let note = format!("{member} was defragmented and gave back {} MiB", bytes >> 20);
            context.hub.event(datastore, EventType::Normal, "Defragmented", &note).await;
        }
        Err(error) => {
            context.hub.event(datastore, EventType::Warning, "UpkeepFailed", &error.to_string()).await
        }
    }
    context.upkeep.put(&key, memory);
    Ok(Look { health, compaction })
}

/// Looks at the store, and turns authentication on where it is off; answers whether it was.
async fn health(context: &Context, datastore: &DataStore, store: &dyn Store) -> Result<(Health, bool), Why> {
    let mut health = store.health().await.map_err(|error| why(&error))?;
    let was_open = !health.auth;
    if was_open {
        store.secure().await.map_err(|error| why(&error))?;
        let note = "etcd answered everybody: made the user root and turned authentication on";
        context.hub.event(datastore, EventType::Normal, "AuthenticationEnabled", note).await;
        health = store.health().await.map_err(|error| why(&error))?;
    }
    match health.alarms.as_slice() {
        [] => Ok((health, was_open)),
        alarms => Err(Why::new("Alarm", format!("etcd raised {} and takes no writes", alarms.join(", ")))),
    }
}

fn why(error: &Error) -> Why {
    let reason = match error {
        Error::Access(_) => "TLSConfigurationValidationFailed",
        Error::Unavailable { .. } => "Unreachable",
        Error::Denied { .. } => "AccessDenied",
        Error::Foreign(_) | Error::Refused { .. } => "Refused",
    };
    Why::new(reason, error.to_string())
}

async fn delete(context: &Context, datastore: Arc<DataStore>, users: Vec<Key>) -> Next {
    if users.is_empty() {
        context.stores.forget(&datastore.name_any());
        context.upkeep.remove(&Key::of(datastore.as_ref()));
        return match finalizer::remove(&context.hub, &datastore, DATASTORE_FINALIZER).await {
            Ok(()) => Next::Settled,
            Err(error) => Next::Failed(Why::of("FinalizerFailed", &error)),
        };
    }
    let why = Why::new("DataStoreStillUsed", report::used_by(&users));
    let status = report::status(&datastore, &users, Err(&why), context.hub.now());
    if let Err(error) = write(&context.hub, &datastore, &status).await {
        return error;
    }
    // That a tenant is gone which could not be read is no change of one.
    Next::After(LOOK_AGAIN, why)
}

async fn write(hub: &Hub, datastore: &DataStore, status: &serde_json::Value) -> Result<(), Next> {
    match hub.patch_status(datastore, status.clone()).await {
        Err(error) if !error.is_not_found() => Err(Next::Failed(Why::of("StatusFailed", &error))),
        _ => Ok(()),
    }
}

/// Every TenantControlPlane that names this DataStore, sorted. One that came after the DataStore's end, and has nothing
/// in it, is refused and holds nothing up.
async fn users(datastore: &DataStore, context: &Context) -> Vec<Key> {
    let name = datastore.name_any();
    let ends = datastore.metadata.deletion_timestamp.is_some();
    let holders = holders(&context.hub.watch(), &context.config.default_datastore).await;
    let uses = |holder: &Holder| holder.data_store == name && (!ends || holder.is_settled);
    holders.into_iter().filter(uses).map(|holder| holder.key).collect()
}
