//! What no two tenants can have: user and prefix in a DataStore, an address with its port. Who has them, also among the
//! TenantControlPlanes that cannot be read: such a one may have had them for long.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use scute_api::kamaji::{NetworkProfile, TENANT_FINALIZER, TenantControlPlane};
use scute_etcd::Tenant;
use scute_kit::{Key, Unreadable, Watch};

use crate::tenant::validate::tenant_of;

/// One TenantControlPlane as the holder of such things.
#[derive(Clone, Debug)]
pub struct Holder {
    /// Its key. Not for other tenants' eyes.
    pub key: Key,
    /// Its UID.
    pub uid: Option<String>,
    /// Its DataStore.
    pub data_store: String,
    /// User and prefix in it.
    pub tenant: Tenant,
    /// Address that it asks for; empty for none.
    pub address: String,
    /// Port of its API server.
    pub port: i64,
    /// Whether it may have something in its DataStore.
    pub is_settled: bool,
    created: Option<Timestamp>,
}

impl Holder {
    /// What a TenantControlPlane has.
    pub fn of(tcp: &TenantControlPlane, default_datastore: &str) -> Self {
        let (spec, network) = (&tcp.spec, &tcp.spec.network_profile);
        Self {
            data_store: spec.data_store.clone().unwrap_or_else(|| default_datastore.to_owned()),
            tenant: tenant_of(tcp, tcp.metadata.uid.as_deref().unwrap_or_default()),
            address: network.address.clone(),
            port: i64::from(network.port),
            ..Self::from(&tcp.metadata)
        }
    }

    /// What one has that cannot be read, as far as that can be.
    fn of_unreadable(bad: &Unreadable, default_datastore: &str) -> Self {
        let text = |pointer: &str| bad.value(pointer)?.as_str().map(str::to_owned);
        let or_uid = |given: Option<String>| given.or(bad.metadata.uid.clone()).unwrap_or_default();
        let port = bad.value("/spec/networkProfile/port").and_then(|port| port.as_i64());
        Self {
            data_store: text("/spec/dataStore").unwrap_or_else(|| default_datastore.to_owned()),
            tenant: Tenant {
                user: or_uid(text("/spec/dataStoreUsername")),
                schema: or_uid(text("/spec/dataStoreSchema")),
            },
            address: text("/spec/networkProfile/address").unwrap_or_default(),
            port: port.unwrap_or_else(|| NetworkProfile::default().port.into()),
            ..Self::from(&bad.metadata)
        }
    }

    /// Whether it came first. Who has the finalizer may have keys already; creation times are whole seconds.
    pub fn is_older_than(&self, other: &Self) -> bool {
        let age = |holder: &Self| (!holder.is_settled, holder.created, holder.uid.clone());
        age(self) < age(other)
    }
}

impl From<&ObjectMeta> for Holder {
    fn from(meta: &ObjectMeta) -> Self {
        let finalizers = meta.finalizers.as_deref().unwrap_or_default();
        Self {
            key: Key::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default()),
            uid: meta.uid.clone(),
            data_store: String::new(),
            tenant: Tenant { user: String::new(), schema: String::new() },
            address: String::new(),
            port: 0,
            is_settled: finalizers.iter().any(|finalizer| finalizer == TENANT_FINALIZER),
            created: meta.creation_timestamp.as_ref().map(|time| time.0),
        }
    }
}

/// Every holder, once all are listed, ordered by key.
pub async fn holders(tenants: &Watch<TenantControlPlane>, default_datastore: &str) -> Vec<Holder> {
    tenants.ready().await;
    let readable = tenants.list();
    let unreadable = tenants.unreadable();
    let mut all: Vec<_> = readable.iter().map(|tcp| Holder::of(tcp, default_datastore)).collect();
    all.extend(unreadable.iter().map(|bad| Holder::of_unreadable(bad, default_datastore)));
    all.sort_by(|a, b| a.key.cmp(&b.key));
    all
}
