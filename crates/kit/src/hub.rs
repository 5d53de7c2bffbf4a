//! The hub: one client, and one watch per kind for the whole process.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, PartialObjectMeta};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource};

use crate::clock::Clock;
use crate::memory::Memory;
use crate::watch::{Kind, Watch};

#[derive(PartialEq, Eq, Hash)]
enum WatchId {
    Typed(TypeId),
    Dynamic(String),
}

/// The client and the watches that all controllers of a process share.
pub struct Hub {
    client: Client,
    clock: Clock,
    watches: Mutex<HashMap<WatchId, Box<dyn Any + Send + Sync>>>,
    pub(crate) applied: Memory,
    pub(crate) events: Memory,
}

impl Hub {
    /// A hub without watches; they start on first use.
    #[must_use]
    pub fn new(client: Client) -> Arc<Self> {
        Self::with_clock(client, Clock::system())
    }

    /// A hub whose controllers live in the time of this clock.
    #[must_use]
    pub fn with_clock(client: Client, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            client,
            clock,
            watches: Mutex::default(),
            applied: Memory::default(),
            events: Memory::default(),
        })
    }

    /// The current time; the only clock that controllers read. Pure code gets it as an argument.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The client of this API server.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The watch on all objects of a kind.
    pub fn watch<K>(&self) -> Watch<K>
    where
        K: Kind + Resource<DynamicType = ()>,
    {
        self.once(WatchId::Typed(TypeId::of::<K>()), || {
            let stream = watcher(Api::<K>::all(self.client()), watcher::Config::default()).default_backoff();
            let watch = Watch::empty();
            tokio::spawn(watch.clone().follow(K::kind(&()).into_owned(), stream));
            watch
        })
    }

    /// The watch on the metadata of all objects of a kind whose content is nobody's business here.
    pub fn watch_meta<K>(&self) -> Watch<PartialObjectMeta<K>>
    where
        K: Kind + Resource<DynamicType = ()>,
    {
        self.once(WatchId::Typed(TypeId::of::<PartialObjectMeta<K>>()), || {
            let stream = watcher(Api::<PartialObjectMeta<K>>::all(self.client()), watcher::Config::default())
                .default_backoff();
            let watch = Watch::empty();
            tokio::spawn(watch.clone().follow(K::kind(&()).into_owned(), stream));
            watch
        })
    }

    /// The watch on all objects of a kind that is known at run time only.
    pub fn watch_dynamic(&self, resource: &ApiResource) -> Watch<DynamicObject> {
        let id = format!("{}/{}", resource.api_version, resource.kind);
        self.once(WatchId::Dynamic(id.clone()), || {
            let api = Api::<DynamicObject>::all_with(self.client(), resource);
            let watch = Watch::empty();
            tokio::spawn(
                watch.clone().follow(id, watcher(api, watcher::Config::default()).default_backoff()),
            );
            watch
        })
    }

    /// The watch on a kind if some controller has started it.
    pub(crate) fn existing<K: Kind>(&self) -> Option<Watch<K>> {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.get(&WatchId::Typed(TypeId::of::<K>()))?.downcast_ref::<Watch<K>>().cloned()
    }

    /// The watch on a run-time kind if some controller has started it.
    pub(crate) fn existing_dynamic(&self, resource: &ApiResource) -> Option<Watch<DynamicObject>> {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let id = WatchId::Dynamic(format!("{}/{}", resource.api_version, resource.kind));
        watches.get(&id)?.downcast_ref::<Watch<DynamicObject>>().cloned()
    }

    fn once<K: Kind>(&self, id: WatchId, start: impl FnOnce() -> Watch<K>) -> Watch<K> {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watch) = watches.get(&id).and_then(|any| any.downcast_ref::<Watch<K>>()) {
            return watch.clone();
        }
        let watch = start();
        watches.insert(id, Box::new(watch.clone()));
        watch
    }
}
