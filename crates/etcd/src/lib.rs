//! In: the endpoints and root credentials of an etcd that many tenants share, and which tenant is wanted or not; or the
//! way to a member of an etcd that is one cluster's own; or the seats of one that is to start. Out: authentication that is
//! on, and per tenant a user, a role and a key prefix of its own, or no trace of them; who the members are, and one less;
//! how a member starts.
//! Never: knows what a tenant is for, issues certificates, reads a tenant's keys.

mod claim;
mod error;
pub mod fake;
pub mod fake_members;
pub mod joining;
mod members;
mod permission;
mod real;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use claim::{Claim, Foreign, Part, ROOT};
pub use error::Error;
pub use members::{Connecting, Credentials, Members, Peer, Stream, View, Way};
pub use permission::Range;
pub use real::Etcd;
pub use real::members::open as open_member;

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
    /// Revision of its last write. It goes back only where a backup was restored or everything was lost.
    pub revision: i64,
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

/// One member of a store, seen through its own endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// `host:port`, as it was given.
    pub endpoint: String,
    /// Size of its database file.
    pub size: u64,
    /// What of it is in use; the rest is given back by a defragmentation.
    pub in_use: u64,
    /// Whether it leads.
    pub leads: bool,
}

/// Whether a store forgets old revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// The revision of now.
    pub revision: i64,
    /// Whether the revision that was asked for can still be read.
    pub kept: bool,
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

    /// Records the tenant's user and prefix as the claimant's, makes user and role, and takes from them whatever is
    /// more than the tenant's own prefix. [`Error::Foreign`], and nothing is changed, when one is not the claimant's.
    /// Writes nothing when all is so already: each write makes etcd check every session anew.
    fn ensure<'a>(&'a self, tenant: &'a Tenant, claim: &'a Claim) -> Answer<'a, ()>;

    /// Removes what is the claimant's: the user, then the keys, then the role, in this order, so that an API server
    /// that still runs cannot write keys after they were removed; then the records. Answers what is not the claimant's
    /// and was left as it is.
    fn remove<'a>(&'a self, tenant: &'a Tenant, claim: &'a Claim) -> Answer<'a, Vec<Foreign>>;

    /// Removes the claimant's records and nothing else: whoever holds the user's certificate may claim it.
    fn release<'a>(&'a self, tenant: &'a Tenant, claim: &'a Claim) -> Answer<'a, ()>;

    /// What exists of the tenant.
    fn traces<'a>(&'a self, tenant: &'a Tenant) -> Answer<'a, Traces>;

    /// The revision of now, and whether `revision` can still be read.
    fn history(&self, revision: i64) -> Answer<'_, History>;

    /// Every member, each asked at its own endpoint; one that does not answer fails the whole.
    fn members(&self) -> Answer<'_, Vec<Member>>;

    /// Gives back what one member does not use. It answers nobody meanwhile.
    fn defragment<'a>(&'a self, endpoint: &'a str) -> Answer<'a, ()>;
}

/// Opens stores. A connection is made on first use, so opening says nothing of whether the store answers.
pub trait Connect: Send + Sync {
    /// Opens the store behind these endpoints.
    ///
    /// # Errors
    /// When the certificates or endpoints cannot be used at all.
    fn open(&self, access: &Access) -> Answer<'_, Arc<dyn Store>>;
}
