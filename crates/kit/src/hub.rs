//! The hub: one client, one clock, and one watch per kind for the whole process.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::{Client, Resource};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::health::Health;
use crate::key::Kind;
use crate::memory::Memory;
use crate::source::Source;
use crate::teller::tell_of_unreadable;
use crate::watch::Watch;

#[derive(PartialEq, Eq, Hash)]
enum WatchId {
    Typed(TypeId),
    Selected(TypeId, &'static str),
    Dynamic(String),
}

/// A watch of any kind.
trait AnyWatch: Send + Sync {
    fn health(&self) -> Health;
    fn as_any(&self) -> &dyn Any;
}

impl<K: Kind> AnyWatch for Watch<K> {
    fn health(&self) -> Health {
        Self::health(self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The client, the clock and the watches that all controllers of a process share.
pub struct Hub {
    client: Client,
    clock: Clock,
    watches: Mutex<HashMap<WatchId, Box<dyn AnyWatch>>>,
    /// Whether a controller runs. Until then nothing is written, not even about objects that cannot be read.
    works: watch::Sender<bool>,
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
            works: watch::Sender::new(false),
            applied: Memory::default(),
            events: Memory::default(),
        })
    }

    /// A controller runs.
    pub(crate) fn work(&self) {
        self.works.send_replace(true);
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
        let source = Source::all(self.client(), &());
        self.once(WatchId::Typed(TypeId::of::<K>()), &(), true, source)
    }

    /// The watch on the metadata of all objects of a kind whose content is nobody's business here.
    pub fn watch_meta<K>(&self) -> Watch<PartialObjectMeta<K>>
    where
        K: Kind + Resource<DynamicType = ()>,
    {
        let source = Source::all(self.client(), &());
        self.once(WatchId::Typed(TypeId::of::<PartialObjectMeta<K>>()), &(), true, source)
    }

    /// The watch on those objects of a kind that a field selector lets through, of a kind that is too many for all.
    /// What is learnt from own writes does not come in. `/readyz` does not wait for it.
    pub fn watch_fields<K>(&self, selector: &'static str) -> Watch<K>
    where
        K: Kind + Resource<DynamicType = ()>,
    {
        let source = Source::all(self.client(), &()).fields(selector);
        self.once(WatchId::Selected(TypeId::of::<K>(), selector), &(), false, source)
    }

    /// The watch on all objects of a kind that is known at run time only. The process does its work without it, so
    /// neither controllers nor `/readyz` wait for it.
    pub fn watch_dynamic(&self, resource: &ApiResource) -> Watch<DynamicObject> {
        let source = Source::all(self.client(), resource);
        self.once(WatchId::of(resource), resource, false, source)
    }

    /// How all watches fare, ordered by kind.
    #[must_use]
    pub fn health(&self) -> Vec<Health> {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = watches.values().map(|watch| watch.health()).collect();
        all.sort_by(|a, b| a.kind.cmp(&b.kind));
        all
    }

    /// The watch on a kind if some controller has started it.
    pub(crate) fn existing<K: Kind>(&self) -> Option<Watch<K>> {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.get(&WatchId::Typed(TypeId::of::<K>()))?.as_any().downcast_ref::<Watch<K>>().cloned()
    }

    /// The watch on a run-time kind if some controller has started it.
    pub(crate) fn existing_dynamic(&self, resource: &ApiResource) -> Option<Watch<DynamicObject>> {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.get(&WatchId::of(resource))?.as_any().downcast_ref::<Watch<DynamicObject>>().cloned()
    }

    fn once<K: Kind>(
        &self,
        id: WatchId,
        kind: &K::DynamicType,
        required: bool,
        source: Source<K>,
    ) -> Watch<K> {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watch) = watches.get(&id).and_then(|any| any.as_any().downcast_ref::<Watch<K>>()) {
            return watch.clone();
        }
        let watch = Watch::of(Health { kind: source.kind.clone(), required, ..Health::default() });
        tell_of_unreadable(&watch, self.client(), self.clock.clone(), kind, self.works.subscribe());
        let copy = watch.clone();
        tokio::spawn(async move { copy.follow(source).await });
        watches.insert(id, Box::new(watch.clone()));
        watch
    }
}

impl WatchId {
    fn of(resource: &ApiResource) -> Self {
        Self::Dynamic(format!("{}/{}", resource.api_version, resource.kind))
    }
}
