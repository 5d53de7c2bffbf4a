//! DataStore: credentials that resolve, an etcd that answers with authentication on, and who uses it.

mod report;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use scute_api::kamaji::{DATASTORE_FINALIZER, DataStore, TenantControlPlane};
use scute_etcd::{Error, Health};
use scute_kit::{Controller, EventType, Hub, Key, Next, Why, finalizer};

use crate::context::Context;
use crate::stores::references;

/// An etcd cannot be watched for its health.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Runs the controller; never returns.
pub async fn run(context: Arc<Context>) {
    let hub = Arc::clone(&context.hub);
    let (datastores, secrets) = (hub.watch::<DataStore>(), hub.watch_meta::<Secret>());
    let default = context.config.default_datastore.clone();
    Controller::<DataStore>::new("datastore", &hub)
        .watches(move |tcp: &TenantControlPlane| {
            vec![Key::new("", tcp.spec.data_store.clone().unwrap_or_else(|| default.clone()))]
        })
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
        Err(error) => return Next::Failed(Why::new("FinalizerFailed", error.to_string())),
    };
    let health = health(&context, &datastore).await;
    let status = report::status(&datastore, &users, health.as_ref(), context.hub.now());
    if let Err(error) = write(&context.hub, &datastore, &status).await {
        return error;
    }
    match health {
        Ok(_) => Next::After(LOOK_AGAIN, Why::new("Ready", "watching its health")),
        Err(why) => {
            context.hub.event(datastore.as_ref(), EventType::Warning, &why.reason, &why.message).await;
            Next::Failed(why)
        }
    }
}

/// Opens the store, looks at it, and turns authentication on where it is off.
async fn health(context: &Context, datastore: &DataStore) -> Result<Health, Why> {
    let opened = context.stores.open(datastore).await?;
    let mut health = opened.store.health().await.map_err(|error| why(&error))?;
    if !health.auth {
        opened.store.secure().await.map_err(|error| why(&error))?;
        let note = "etcd answered everybody: made the user root and turned authentication on";
        context.hub.event(datastore, EventType::Normal, "AuthenticationEnabled", note).await;
        health = opened.store.health().await.map_err(|error| why(&error))?;
    }
    match health.alarms.as_slice() {
        [] => Ok(health),
        alarms => Err(Why::new("Alarm", format!("etcd raised {} and takes no writes", alarms.join(", ")))),
    }
}

fn why(error: &Error) -> Why {
    let reason = match error {
        Error::Access(_) => "TLSConfigurationValidationFailed",
        Error::Unavailable { .. } => "Unreachable",
        Error::Denied { .. } => "AccessDenied",
        Error::Refused { .. } => "Refused",
    };
    Why::new(reason, error.to_string())
}

async fn delete(context: &Context, datastore: Arc<DataStore>, users: Vec<String>) -> Next {
    if users.is_empty() {
        context.stores.forget(&datastore.name_any());
        return match finalizer::remove(&context.hub, &datastore, DATASTORE_FINALIZER).await {
            Ok(()) => Next::Settled,
            Err(error) => Next::Failed(Why::new("FinalizerFailed", error.to_string())),
        };
    }
    let why = Why::new("DataStoreStillUsed", format!("used by {}", users.join(", ")));
    let status = report::status(&datastore, &users, Err(&why), context.hub.now());
    if let Err(error) = write(&context.hub, &datastore, &status).await {
        return error;
    }
    Next::OnChange(why)
}

async fn write(hub: &Hub, datastore: &DataStore, status: &serde_json::Value) -> Result<(), Next> {
    match hub.patch_status(datastore, status.clone()).await {
        Err(error) if !error.is_not_found() => Err(Next::Failed(Why::new("StatusFailed", error.to_string()))),
        _ => Ok(()),
    }
}

/// `namespace/name` of every TenantControlPlane that names this DataStore, sorted.
async fn users(datastore: &DataStore, context: &Context) -> Vec<String> {
    let name = datastore.name_any();
    let tenants = context.hub.watch::<TenantControlPlane>();
    tenants.ready().await;
    let uses = |tcp: &&Arc<TenantControlPlane>| {
        tcp.spec.data_store.as_deref().unwrap_or(&context.config.default_datastore) == name
    };
    tenants.list().iter().filter(uses).map(|tcp| Key::of(tcp.as_ref()).to_string()).collect()
}
