//! In: the endpoints and root credentials of an etcd that many tenants share, and which tenant is wanted or not.
//! Out: authentication that is on, and per tenant a user, a role and a key prefix of its own, or no trace of them.
//! Never: knows what a tenant is for, issues certificates, reads a tenant's keys.

mod error;
pub mod fake;
mod permission;
mod real;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use error::Error;
pub use permission::Range;
pub use real::Etcd;

/// How to reach an etcd as its user `root`. `Debug` hides the key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Access {
    /// `host:port` of each member.
    pub endpoints: Vec<String>,
    /// Authority of the members' certificates, PEM.
    pub ca_pem: String,
    /// Client certificate of `root`, PEM.
    pub certificate_pem: String,
    /// Its key, PEM. A secret.
    pub key_pem: String,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

/// The user and the key prefix of one tenant. Its role is named as the prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenant {
    /// Common name of the tenant's client certificate.
    pub user: String,
    /// Keys of the tenant start with `/<schema>/`.
    pub schema: String,
}

impl Tenant {
    /// The keys that the tenant may read and write: those below `/<schema>/`, and no other.
    #[must_use]
    pub fn range(&self) -> Range {
        Range::of_schema(&self.schema)
    }
}

/// What a store says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Version of the member that answered.
    pub version: String,
    /// Whether requests are checked against users and roles.
    pub auth: bool,
    /// Alarms that are raised, for example `NOSPACE`: the store takes no writes.
    pub alarms: Vec<String>,
}

/// What is left of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Keys below its prefix.
    pub keys: u64,
    /// Whether its user exists.
    pub user: bool,
    /// Whether its role exists.
    pub role: bool,
}

impl Traces {
    /// Whether nothing is left.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// What a method of [`Store`] returns.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// An etcd with many tenants, seen by its user `root`. Every method may be repeated at any time, also after
/// one that failed half-way: it does what is missing.
pub trait Store: Send + Sync {
    /// Whether the store answers, lets `root` in, and checks permissions.
    fn health(&self) -> Answer<'_, Health>;

    /// Makes the user and role `root` and turns authentication on.
    fn secure(&self) -> Answer<'_, ()>;

    /// Makes the tenant's user and role, and takes from them whatever is more than the tenant's own prefix.
    /// Writes nothing when all is so already: each write makes etcd check every session anew.
    fn ensure<'a>(&'a self, tenant: &'a Tenant) -> Answer<'a, ()>;

    /// Removes the tenant's user, then its keys, then its role; in this order, so that an API server that still
    /// runs cannot write keys after they were removed.
    fn remove<'a>(&'a self, tenant: &'a Tenant) -> Answer<'a, ()>;

    /// What exists of the tenant.
    fn traces<'a>(&'a self, tenant: &'a Tenant) -> Answer<'a, Traces>;
}

/// Opens stores. A connection is made on first use, so opening says nothing of whether the store answers.
pub trait Connect: Send + Sync {
    /// Opens the store behind these endpoints.
    ///
    /// # Errors
    /// When the certificates or endpoints cannot be used at all.
    fn open(&self, access: &Access) -> Answer<'_, Arc<dyn Store>>;
}
