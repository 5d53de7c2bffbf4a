//! One kind, watched: a local copy of its objects and a call for every change.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use crate::health::Health;
use crate::key::{Key, Kind};
use crate::objects::{Field, Item, Objects};
use crate::unreadable::Unreadable;

type Listener<T> = Arc<dyn Fn(&Arc<T>) -> bool + Send + Sync>;

struct Shared<K> {
    objects: RwLock<Objects<K>>,
    listeners: Mutex<Vec<Listener<K>>>,
    /// Those who hear of objects that cannot be read.
    bad_listeners: Mutex<Vec<Listener<Unreadable>>>,
    /// Those who hear of objects that can be read again.
    mended_listeners: Mutex<Vec<Listener<Key>>>,
    subscribers: Mutex<HashMap<Key, Vec<Arc<Notify>>>>,
    ready: watch::Sender<bool>,
    health: Mutex<Health>,
}

/// A local copy of all objects of one kind. Cheap to clone.
///
/// To look: [`Watch::get`], [`Watch::find`], [`Watch::list`], [`Watch::list_in`], [`Watch::owned_by`],
/// [`Watch::list_by`]; none of them goes through all objects but `list`. To be woken: [`Watch::listen`] for every
/// change of the kind, [`Watch::subscribe`] for one object. Where the objects come from: [`Watch::follow`].
pub struct Watch<K>(Arc<Shared<K>>);

impl<K> Clone for Watch<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// What a watch knows of a key. The four are different things: who takes one for another deletes what is there, or makes
/// what exists.
#[derive(Debug)]
pub enum Found<K> {
    /// The object, as last seen.
    Object(Arc<K>),
    /// It is there and cannot be read, so nobody knows what it wants.
    Unreadable(Arc<Unreadable>),
    /// It is not there.
    Absent,
    /// Nobody knows yet: the first listing is not complete.
    NotListed,
}

impl<K> Found<K> {
    /// The object, if there is one that can be read.
    #[must_use]
    pub fn object(self) -> Option<Arc<K>> {
        match self {
            Self::Object(object) => Some(object),
            Self::Unreadable(_) | Self::Absent | Self::NotListed => None,
        }
    }
}

impl<K: Kind> Watch<K> {
    /// A copy without objects and without a source, and what its complaints call the objects.
    #[must_use]
    pub fn named(objects: impl Into<String>) -> Self {
        Self::of(Health { kind: objects.into(), ..Health::default() })
    }

    pub(crate) fn of(health: Health) -> Self {
        Self(Arc::new(Shared {
            objects: RwLock::default(),
            listeners: Mutex::default(),
            bad_listeners: Mutex::default(),
            mended_listeners: Mutex::default(),
            subscribers: Mutex::default(),
            ready: watch::Sender::new(false),
            health: Mutex::new(health),
        }))
    }

    /// The object of this key, as last seen; none when it is absent, unreadable or not listed yet. Who does something
    /// because an object is *not* there asks [`Watch::find`].
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.read().get(key)?.object().cloned()
    }

    /// What is known of this key.
    #[must_use]
    pub fn find(&self, key: &Key) -> Found<K> {
        match self.read().get(key) {
            Some(Item::Object(object)) => Found::Object(Arc::clone(object)),
            Some(Item::Unreadable(bad)) => Found::Unreadable(Arc::clone(bad)),
            None if self.is_ready() => Found::Absent,
            None => Found::NotListed,
        }
    }

    /// All objects, ordered by key.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<K>> {
        self.read().all().filter_map(Item::object).cloned().collect()
    }

    /// The objects of one namespace, ordered by name.
    #[must_use]
    pub fn list_in(&self, namespace: &str) -> Vec<Arc<K>> {
        self.read().of_namespace(namespace).filter_map(Item::object).cloned().collect()
    }

    /// The objects with an owner reference to this uid, controller or not, ordered by key.
    #[must_use]
    pub fn owned_by(&self, uid: &str) -> Vec<Arc<K>> {
        self.read().of_owner(uid).filter_map(Item::object).cloned().collect()
    }

    /// The objects of a namespace with this value of a field, ordered by name. The first question about a field goes
    /// through all objects; from then on the field is indexed.
    #[must_use]
    pub fn list_by(&self, field: &Field<K>, namespace: &str, value: &str) -> Vec<Arc<K>> {
        if let Some(found) = self.read().of_field(field, namespace, value) {
            return found.filter_map(Item::object).cloned().collect();
        }
        let mut objects = self.0.objects.write().unwrap_or_else(PoisonError::into_inner);
        objects.index(field);
        let found = objects.of_field(field, namespace, value);
        found.into_iter().flatten().filter_map(Item::object).cloned().collect()
    }

    /// As [`Watch::list_by`], of all namespaces, ordered by key.
    #[must_use]
    pub fn list_anywhere_by(&self, field: &Field<K>, value: &str) -> Vec<Arc<K>> {
        if let Some(found) = self.read().of_field_anywhere(field, value) {
            return found.filter_map(Item::object).cloned().collect();
        }
        let mut objects = self.0.objects.write().unwrap_or_else(PoisonError::into_inner);
        objects.index(field);
        let found = objects.of_field_anywhere(field, value);
        found.into_iter().flatten().filter_map(Item::object).cloned().collect()
    }

    /// Everything that cannot be read, ordered by key.
    #[must_use]
    pub fn unreadable(&self) -> Vec<Arc<Unreadable>> {
        let objects = self.read();
        if objects.unreadable() == 0 {
            return Vec::new();
        }
        objects.all().filter_map(Item::unreadable).cloned().collect()
    }

    /// What cannot be read and stands beside this object: owned by it, or owning it.
    pub(crate) fn unreadable_kin(&self, object: &ObjectMeta) -> Option<Arc<Unreadable>> {
        let objects = self.read();
        if objects.unreadable() == 0 {
            return None;
        }
        let owned = objects.of_owner(object.uid.as_deref()?).find_map(Item::unreadable);
        let namespace = object.namespace.clone().unwrap_or_default();
        let owner = || {
            object.owner_references.iter().flatten().find_map(|owner| {
                let key = Key::new(namespace.clone(), owner.name.clone());
                let bad = objects.get(&key)?.unreadable()?;
                (bad.metadata.uid.as_ref() == Some(&owner.uid)).then_some(bad)
            })
        };
        owned.or_else(owner).cloned()
    }

    /// The key after this one, in rounds.
    pub(crate) fn after(&self, key: &Key) -> Option<Key> {
        self.read().after(key)
    }

    /// How many objects there are, those that cannot be read among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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

    /// How the watch fares: when it was last heard of, what fails since when.
    #[must_use]
    pub fn health(&self) -> Health {
        let mut health = self.lock_health().clone();
        let objects = self.read();
        (health.objects, health.unreadable) = (objects.len(), objects.unreadable());
        health
    }

    /// How long ago the API server last said something of this kind; None before the first time.
    #[must_use]
    pub fn silent_for(&self) -> Option<Duration> {
        self.lock_health().heard.map(|heard| heard.elapsed())
    }

    /// Every object that is there now, and from now on every one that was added, changed or deleted
    /// (with its last known content).
    #[must_use]
    pub fn changes(&self) -> mpsc::UnboundedReceiver<Arc<K>> {
        let (send, receive) = mpsc::unbounded_channel();
        self.listen(move |object| send.send(object.clone()).is_ok());
        receive
    }

    /// Calls `listener` as [`Watch::changes`] sends, until it answers `false`. An object that can no longer be read is
    /// heard of once more, with its last good content.
    pub fn listen(&self, listener: impl Fn(&Arc<K>) -> bool + Send + Sync + 'static) {
        // Registered before the replay: a change in between is heard twice rather than never.
        let listener: Listener<K> = Arc::new(listener);
        lock(&self.0.listeners).push(Arc::clone(&listener));
        for object in self.list() {
            if !listener(&object) {
                return;
            }
        }
    }

    /// Calls `listener` for every object that cannot be read: now, when there is a new one, and when one is mended or
    /// gone; until it answers `false`.
    pub fn listen_unreadable(&self, listener: impl Fn(&Arc<Unreadable>) -> bool + Send + Sync + 'static) {
        let listener: Listener<Unreadable> = Arc::new(listener);
        lock(&self.0.bad_listeners).push(Arc::clone(&listener));
        for bad in self.unreadable() {
            if !listener(&bad) {
                return;
            }
        }
    }

    /// Calls `listener` from now on for every object that can be read and may have the condition that it cannot.
    pub(crate) fn listen_mended(&self, listener: impl Fn(&Arc<Key>) -> bool + Send + Sync + 'static) {
        lock(&self.0.mended_listeners).push(Arc::new(listener));
    }

    pub(crate) fn mended(&self, key: Key) {
        call(&self.0.mended_listeners, &Arc::new(key));
    }

    /// Wakes for changes of one object only, whether it is there yet or not.
    ///
    /// ```no_run
    /// # async fn example(secrets: scute_kit::Watch<k8s_openapi::api::core::v1::Secret>) {
    /// let key = scute_kit::Key::new("tenant", "c-kubeconfig");
    /// let secret = secrets.subscribe(&key);
    /// loop {
    ///     println!("{:?}", secrets.find(&key));
    ///     secret.changed().await;
    /// }
    /// # }
    /// ```
    #[must_use = "it wakes only as long as it is kept"]
    pub fn subscribe(&self, key: &Key) -> Subscription<K> {
        let notify = Arc::new(Notify::new());
        lock(&self.0.subscribers).entry(key.clone()).or_default().push(Arc::clone(&notify));
        Subscription { watch: self.clone(), key: key.clone(), notify }
    }

    /// Takes the answer to an own write into the copy, unless the watch is already as far; gives what
    /// the copy then has, or the answer itself when the object is gone again.
    pub fn learn(&self, mut object: K) -> Arc<K> {
        object.meta_mut().managed_fields = None;
        let object = Arc::new(object);
        if !self.is_ready() {
            return object;
        }
        let key = Key::of(object.as_ref());
        self.change(|objects| objects.learn(Item::Object(Arc::clone(&object))));
        self.get(&key).filter(|known| known.uid() == object.uid()).unwrap_or(object)
    }

    pub(crate) fn put(&self, item: Item<K>) {
        self.change(|objects| objects.put(item));
    }

    pub(crate) fn delete(&self, item: Item<K>) {
        self.change(|objects| objects.delete(item));
    }

    pub(crate) fn forget(&self, key: &Key) {
        self.change(|objects| objects.forget(key));
    }

    pub(crate) fn replace(&self, listed: Vec<Item<K>>, version: &str) {
        // Without a number nothing can be newer.
        let version = version.parse().unwrap_or(u64::MAX);
        let told = {
            let mut objects = self.0.objects.write().unwrap_or_else(PoisonError::into_inner);
            objects.replace(listed, version)
        };
        self.lock_health().listed = true;
        self.0.ready.send_replace(true);
        self.tell(&told);
    }

    pub(crate) fn heard(&self) {
        self.lock_health().heard(Instant::now());
    }

    pub(crate) fn failed(&self, reason: String) {
        self.lock_health().failed(Instant::now(), reason);
    }

    fn change(&self, change: impl FnOnce(&mut Objects<K>) -> Vec<Item<K>>) {
        let told = change(&mut self.0.objects.write().unwrap_or_else(PoisonError::into_inner));
        self.tell(&told);
    }

    /// Listeners are called without a lock held: one may look into the watch, or listen anew.
    fn tell(&self, items: &[Item<K>]) {
        for item in items {
            match item {
                Item::Object(object) => call(&self.0.listeners, object),
                Item::Unreadable(bad) => call(&self.0.bad_listeners, bad),
            }
            let subscribers = lock(&self.0.subscribers);
            if !subscribers.is_empty() {
                subscribers.get(&item.key()).into_iter().flatten().for_each(|notify| notify.notify_one());
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Objects<K>> {
        self.0.objects.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_health(&self) -> MutexGuard<'_, Health> {
        lock(&self.0.health)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn call<T>(listeners: &Mutex<Vec<Listener<T>>>, what: &Arc<T>) {
    let all = lock(listeners).clone();
    let over: Vec<_> = all.iter().filter(|listener| !listener(what)).collect();
    if !over.is_empty() {
        lock(listeners).retain(|listener| !over.iter().any(|over| Arc::ptr_eq(over, listener)));
    }
}

/// Wakes for changes of one object, until it is dropped.
pub struct Subscription<K: Kind> {
    watch: Watch<K>,
    key: Key,
    notify: Arc<Notify>,
}

impl<K: Kind> Subscription<K> {
    /// Returns when the object was added, changed or deleted, or became readable or unreadable, since the subscription
    /// began or since this last returned. Changes in between are one.
    pub async fn changed(&self) {
        self.notify.notified().await;
    }
}

impl<K: Kind> Drop for Subscription<K> {
    fn drop(&mut self) {
        let mut subscribers = lock(&self.watch.0.subscribers);
        if let Some(all) = subscribers.get_mut(&self.key) {
            all.retain(|notify| !Arc::ptr_eq(notify, &self.notify));
            if all.is_empty() {
                subscribers.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
