//! One kind, watched: a local copy of its objects and a call for every change.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use futures::{Stream, StreamExt};
use kube::runtime::watcher;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};

use crate::limits::REMEMBERED_DELETIONS;

/// What a type must be to be watched and written: everything that a Kubernetes object type is.
pub trait Kind:
    Resource<DynamicType: Clone + Send + Sync> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
}
impl<K> Kind for K where
    K: Resource<DynamicType: Clone + Send + Sync> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
}

/// Namespace and name of an object; the namespace of a cluster-scoped object is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Namespace, empty for a cluster-scoped object.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// A key from its parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object.
    pub fn of<K: Resource>(object: &K) -> Self {
        Self { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }

    /// The namespace as the API wants it: none for a cluster-scoped object.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        (!self.namespace.is_empty()).then_some(self.namespace.as_str())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace() {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

type Listener<K> = Box<dyn Fn(&Arc<K>) -> bool + Send + Sync>;

struct Objects<K> {
    by_key: HashMap<Key, Arc<K>>,
    deleted: VecDeque<String>,
}

struct Shared<K> {
    objects: RwLock<Objects<K>>,
    listeners: Mutex<Vec<Listener<K>>>,
    ready: watch::Sender<bool>,
}

/// A local copy of all objects of one kind. Cheap to clone.
pub struct Watch<K>(Arc<Shared<K>>);

impl<K> Clone for Watch<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Kind> Default for Watch<K> {
    fn default() -> Self {
        Self::empty()
    }
}

impl<K: Kind> Watch<K> {
    /// A copy without objects and without a source.
    pub(crate) fn empty() -> Self {
        Self(Arc::new(Shared {
            objects: RwLock::new(Objects { by_key: HashMap::new(), deleted: VecDeque::new() }),
            listeners: Mutex::new(Vec::new()),
            ready: watch::Sender::new(false),
        }))
    }

    /// The object of this key, as last seen.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.read().by_key.get(key).cloned()
    }

    /// All objects, ordered by key.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<K>> {
        let mut all: Vec<_> =
            self.read().by_key.iter().map(|(key, object)| (key.clone(), object.clone())).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all.into_iter().map(|(_, object)| object).collect()
    }

    /// The objects of one namespace, ordered by name.
    #[must_use]
    pub fn list_in(&self, namespace: &str) -> Vec<Arc<K>> {
        let mut all: Vec<_> = self
            .read()
            .by_key
            .iter()
            .filter(|(key, _)| key.namespace == namespace)
            .map(|(_, object)| object.clone())
            .collect();
        all.sort_by_key(|object| object.name_any());
        all
    }

    /// Returns when the first listing is complete.
    pub async fn ready(&self) {
        let mut ready = self.0.ready.subscribe();
        // The sender lives as long as `self`, so this ends only with `true`.
        let _ = ready.wait_for(|ready| *ready).await;
    }

    /// Whether the first listing is complete.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.0.ready.borrow()
    }

    /// Every object that is there now, and from now on every one that was added, changed or deleted
    /// (with its last known content).
    #[must_use]
    pub fn changes(&self) -> mpsc::UnboundedReceiver<Arc<K>> {
        let (send, receive) = mpsc::unbounded_channel();
        self.listen(move |object| send.send(object.clone()).is_ok());
        receive
    }

    /// Calls `listener` as [`Watch::changes`] sends, until it answers `false`.
    pub fn listen(&self, listener: impl Fn(&Arc<K>) -> bool + Send + Sync + 'static) {
        // Registered before the replay: a change in between is heard twice rather than never.
        let listener = Arc::new(listener);
        let registered = Arc::clone(&listener);
        self.0
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Box::new(move |object| registered(object)));
        for object in self.list() {
            listener(&object);
        }
    }

    /// Takes the answer to an own write into the copy, unless the watch is already as far; gives what
    /// the copy then has, or the answer itself when the object is gone again.
    pub fn learn(&self, object: K) -> Arc<K> {
        let object = Arc::new(trimmed(object));
        {
            let mut objects = self.0.objects.write().unwrap_or_else(PoisonError::into_inner);
            if !self.is_ready() || objects.deleted.contains(&object.uid().unwrap_or_default()) {
                return object;
            }
            let key = Key::of(object.as_ref());
            if let Some(known) =
                objects.by_key.get(&key).filter(|known| version(known.as_ref()) >= version(object.as_ref()))
            {
                return known.clone();
            }
            objects.by_key.insert(key, object.clone());
        }
        self.tell(&object);
        object
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Objects<K>> {
        self.0.objects.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, object: &Arc<K>) {
        let mut listeners = self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| listener(object));
    }

    fn put(&self, object: K) {
        let object = Arc::new(trimmed(object));
        let key = Key::of(object.as_ref());
        {
            let mut objects = self.0.objects.write().unwrap_or_else(PoisonError::into_inner);
            if objects.by_key.get(&key).is_some_and(|known| {
                known.uid() == object.uid() && version(known.as_ref()) >= version(object.as_ref())
            }) {
                return;
            }
            objects.by_key.insert(key, object.clone());
        }
        self.tell(&object);
    }

    fn delete(&self, object: K) {
        let object = Arc::new(trimmed(object));
        let key = Key::of(object.as_ref());
        {
            let mut objects = self.0.objects.write().unwrap_or_else(PoisonError::into_inner);
            if objects.by_key.get(&key).is_some_and(|known| known.uid() == object.uid()) {
                objects.by_key.remove(&key);
            }
            objects.deleted.push_back(object.uid().unwrap_or_default());
            if objects.deleted.len() > REMEMBERED_DELETIONS {
                objects.deleted.pop_front();
            }
        }
        self.tell(&object);
    }

    fn replace(&self, listed: Vec<K>) {
        let listed: HashMap<Key, Arc<K>> =
            listed.into_iter().map(|object| (Key::of(&object), Arc::new(trimmed(object)))).collect();
        let mut changed = Vec::new();
        {
            let mut objects = self.0.objects.write().unwrap_or_else(PoisonError::into_inner);
            let before = std::mem::replace(&mut objects.by_key, listed.clone());
            let kept: HashSet<_> = listed.keys().collect();
            changed.extend(
                before.iter().filter(|(key, _)| !kept.contains(key)).map(|(_, object)| object.clone()),
            );
            changed.extend(listed.iter().filter_map(|(key, object)| {
                let same =
                    before.get(key).is_some_and(|old| version(old.as_ref()) == version(object.as_ref()));
                (!same).then(|| object.clone())
            }));
        }
        self.0.ready.send_replace(true);
        for object in &changed {
            self.tell(object);
        }
    }

    /// Keeps the copy from a stream of watch events; returns when the stream ends. The stream has to
    /// bring its own back-off: an error is logged and the next item awaited.
    pub(crate) async fn follow<S>(self, kind: String, events: S)
    where
        S: Stream<Item = Result<watcher::Event<K>, watcher::Error>>,
    {
        let mut events = std::pin::pin!(events);
        let mut listing = Vec::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => listing.clear(),
                Ok(watcher::Event::InitApply(object)) => listing.push(object),
                Ok(watcher::Event::InitDone) => self.replace(std::mem::take(&mut listing)),
                Ok(watcher::Event::Apply(object)) => self.put(object),
                Ok(watcher::Event::Delete(object)) => self.delete(object),
                Err(error) => tracing::debug!(kind, %error, "watch interrupted"),
            }
        }
    }
}

/// managedFields are half of an object's memory, and nothing here reads them.
fn trimmed<K: Resource>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    object
}

/// Resource versions are comparable numbers (Kubernetes 1.35 made that a promise).
fn version<K: Resource>(object: &K) -> u64 {
    object.meta().resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or_default()
}
