//! What the controllers of this room share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use scute_etcd::Connect;
use scute_kit::tenants::Tenants;
use scute_kit::{Hub, Key};
use tokio::sync::mpsc;

use crate::Config;
use crate::datastore::upkeep;
use crate::inside::Inside;
use crate::start_limiter::StartLimiter;
use crate::stores::Stores;
use crate::tenant::{Ensured, Known};

/// Shared by all controllers of this room.
pub struct Context {
    /// The management cluster.
    pub hub: Arc<Hub>,
    /// The tenants' API servers.
    pub remotes: Arc<Tenants>,
    /// Settings.
    pub config: Config,
    /// The DataStores.
    pub stores: Stores,
    /// What was last found about the Secrets of a tenant.
    pub known: Cache<Known>,
    /// The user and prefix that exist in the DataStore.
    pub tenants: Cache<Ensured>,
    /// What was last seen of a DataStore.
    pub upkeep: Cache<upkeep::Memory>,
    /// What was last found inside a tenant.
    pub inside: Cache<Inside>,
    /// Name, version and origin of the Secrets of a KamajiControlPlane that Cluster API reads, when they were last right.
    pub copies: Cache<Vec<(String, String, String)>>,
    /// Whose Pods may start now.
    pub starts: StartLimiter,
    changed: mpsc::UnboundedSender<Key>,
    inside_wanted: mpsc::UnboundedSender<Key>,
}

/// The keys that one controller sends to another.
pub struct Wires {
    /// Tenants of which something is known that no watch tells: what was found inside, or that it is their turn.
    pub changed: mpsc::UnboundedReceiver<Key>,
    /// Tenants that are to be looked into.
    pub inside_wanted: mpsc::UnboundedReceiver<Key>,
}

impl Context {
    /// A context, and the ends of the wires between its controllers.
    pub fn new(
        hub: &Arc<Hub>,
        remotes: &Arc<Tenants>,
        config: Config,
        connect: Arc<dyn Connect>,
    ) -> (Arc<Self>, Wires) {
        let (send_changed, changed) = mpsc::unbounded_channel();
        let (inside_wanted, wanted) = mpsc::unbounded_channel();
        let context = Self {
            hub: Arc::clone(hub),
            remotes: Arc::clone(remotes),
            config,
            stores: Stores::new(hub, connect),
            known: Cache::default(),
            tenants: Cache::default(),
            upkeep: Cache::default(),
            inside: Cache::default(),
            copies: Cache::default(),
            starts: StartLimiter::default(),
            changed: send_changed,
            inside_wanted,
        };
        (Arc::new(context), Wires { changed, inside_wanted: wanted })
    }

    /// Has a tenant looked into.
    pub fn look_inside(&self, key: &Key) {
        // The receiver lives as long as the controller: without it nobody looks.
        let _ = self.inside_wanted.send(key.clone());
    }

    /// Has a tenant looked at again, though nothing that is watched changed.
    pub fn look_again(&self, key: &Key) {
        // The receiver lives as long as the controller: without it nobody looks.
        let _ = self.changed.send(key.clone());
    }

    /// Forgets a tenant that is gone.
    pub fn forget(&self, key: &Key) {
        self.known.remove(key);
        self.tenants.remove(key);
        self.inside.remove(key);
        self.start_is_over(key);
        self.remotes.forget(&crate::inside::admin(key, crate::inside::ADMIN));
        self.remotes.forget(&crate::inside::admin(key, crate::inside::SUPER_ADMIN));
    }

    /// Lets the next in line start its Pods.
    pub fn start_is_over(&self, key: &Key) {
        if let Some(next) = self.starts.leave(key, Instant::now()) {
            // The receiver lives as long as the controller: without it nobody starts anything.
            let _ = self.changed.send(next);
        }
    }

    /// Remembers what was found inside a tenant, and has it reported if it is new.
    pub fn found_inside(&self, key: &Key, found: Inside) {
        let is_news = self.inside.get(key).is_none_or(|before| !before.says_the_same(&found));
        self.inside.put(key, found);
        if is_news {
            // The receiver lives as long as the controller: without it nobody reports.
            let _ = self.changed.send(key.clone());
        }
    }
}

/// What a controller remembers of an object between two runs; lost with the process, never needed to be right.
pub struct Cache<T>(Mutex<HashMap<Key, Arc<T>>>);

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Cache<T> {
    /// What is remembered.
    pub fn get(&self, key: &Key) -> Option<Arc<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Remembers.
    pub fn put(&self, key: &Key, value: T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), Arc::new(value));
    }

    /// Forgets.
    pub fn remove(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}
