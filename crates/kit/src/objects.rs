//! The copy of one kind: objects in order, who owns them, what is gone and what cannot be read. Pure.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;

use crate::key::Key;
use crate::limits::REMEMBERED_DELETIONS;
use crate::unreadable::Unreadable;

/// One object as the API server has it.
#[derive(Debug)]
pub(crate) enum Item<K> {
    /// It is understood.
    Object(Arc<K>),
    /// It is there, and nobody can say what it is.
    Unreadable(Arc<Unreadable>),
}

impl<K> Clone for Item<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Object(object) => Self::Object(Arc::clone(object)),
            Self::Unreadable(bad) => Self::Unreadable(Arc::clone(bad)),
        }
    }
}

impl<K: Resource> Item<K> {
    pub(crate) fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Object(object) => object.meta(),
            Self::Unreadable(bad) => &bad.metadata,
        }
    }

    pub(crate) fn key(&self) -> Key {
        let meta = self.meta();
        Key::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    }

    pub(crate) fn object(&self) -> Option<&Arc<K>> {
        match self {
            Self::Object(object) => Some(object),
            Self::Unreadable(_) => None,
        }
    }

    pub(crate) fn unreadable(&self) -> Option<&Arc<Unreadable>> {
        match self {
            Self::Object(_) => None,
            Self::Unreadable(bad) => Some(bad),
        }
    }

    fn uid(&self) -> &str {
        self.meta().uid.as_deref().unwrap_or_default()
    }

    fn is_as_new_as(&self, other: &Self) -> bool {
        match (version(self.meta()), version(other.meta())) {
            (Some(this), Some(other)) => this >= other,
            _ => self.meta().resource_version == other.meta().resource_version,
        }
    }
}

/// Resource versions are comparable numbers (Kubernetes 1.35 made that a promise).
fn version(meta: &ObjectMeta) -> Option<u64> {
    meta.resource_version.as_deref()?.parse().ok()
}

/// A value by which objects are looked up: the name of a Cluster that they belong to, a label.
///
/// ```
/// # use k8s_openapi::api::core::v1::Pod;
/// const NODE: scute_kit::Field<Pod> =
///     scute_kit::Field { name: "spec.nodeName", of: |pod| pod.spec.as_ref()?.node_name.as_deref().map(Into::into) };
/// ```
pub struct Field<K> {
    /// What tells it from other fields of the kind.
    pub name: &'static str,
    /// Its value in an object, in the form in which values are compared.
    pub of: fn(&K) -> Option<Cow<'_, str>>,
}

/// Keys by a value that objects have.
#[derive(Debug, Default)]
struct Index(HashMap<String, BTreeSet<Arc<Key>>>);

impl Index {
    fn insert(&mut self, value: &str, key: &Arc<Key>) {
        self.0.entry(value.to_owned()).or_default().insert(Arc::clone(key));
    }

    fn remove(&mut self, value: &str, key: &Key) {
        if let Some(keys) = self.0.get_mut(value) {
            keys.remove(key);
            if keys.is_empty() {
                self.0.remove(value);
            }
        }
    }

    fn keys(&self, value: &str) -> impl Iterator<Item = &Arc<Key>> {
        self.0.get(value).into_iter().flatten()
    }

    fn keys_in<'a>(&'a self, namespace: &'a str, value: &str) -> impl Iterator<Item = &'a Arc<Key>> {
        let first = Key::new(namespace, "");
        let all = self.0.get(value).into_iter().flat_map(move |keys| keys.range::<Key, _>(first.clone()..));
        all.take_while(move |key| key.namespace == namespace)
    }
}

/// Uids of objects that are gone, the newest of them.
#[derive(Debug, Default)]
struct Gone {
    uids: HashSet<String>,
    order: VecDeque<String>,
}

impl Gone {
    fn remember(&mut self, uid: &str) {
        if uid.is_empty() || !self.uids.insert(uid.to_owned()) {
            return;
        }
        self.order.push_back(uid.to_owned());
        if self.order.len() > REMEMBERED_DELETIONS
            && let Some(oldest) = self.order.pop_front()
        {
            self.uids.remove(&oldest);
        }
    }

    fn forget(&mut self, uid: &str) {
        if self.uids.remove(uid) {
            self.order.retain(|known| known != uid);
        }
    }
}

/// The value of a field, and who has which.
type FieldIndex<K> = (fn(&K) -> Option<Cow<'_, str>>, Index);

/// All objects of one kind.
pub(crate) struct Objects<K> {
    items: BTreeMap<Arc<Key>, Item<K>>,
    owners: Index,
    fields: HashMap<&'static str, FieldIndex<K>>,
    unreadable: usize,
    gone: Gone,
}

impl<K> Default for Objects<K> {
    fn default() -> Self {
        Self {
            items: BTreeMap::new(),
            owners: Index::default(),
            fields: HashMap::new(),
            unreadable: 0,
            gone: Gone::default(),
        }
    }
}

impl<K: Resource> Objects<K> {
    pub(crate) fn get(&self, key: &Key) -> Option<&Item<K>> {
        self.items.get(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn unreadable(&self) -> usize {
        self.unreadable
    }

    /// All, ordered by key.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Item<K>> {
        self.items.values()
    }

    /// Those of a namespace, ordered by name.
    pub(crate) fn of_namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Item<K>> {
        let first = Key::new(namespace, "");
        self.items
            .range::<Key, _>(&first..)
            .take_while(move |(key, _)| key.namespace == namespace)
            .map(|(_, item)| item)
    }

    /// Those with an owner reference to this uid, ordered by key.
    pub(crate) fn of_owner(&self, uid: &str) -> impl Iterator<Item = &Item<K>> {
        self.owners.keys(uid).filter_map(|key| self.items.get(key.as_ref()))
    }

    /// Those of a namespace with this value of a field, ordered by name. None until the field is indexed.
    pub(crate) fn of_field<'a>(
        &'a self,
        field: &Field<K>,
        namespace: &'a str,
        value: &str,
    ) -> Option<impl Iterator<Item = &'a Item<K>>> {
        let (_, index) = self.fields.get(field.name)?;
        Some(index.keys_in(namespace, value).filter_map(|key| self.items.get(key.as_ref())))
    }

    /// As [`Objects::of_field`], of all namespaces, ordered by key.
    pub(crate) fn of_field_anywhere<'a>(
        &'a self,
        field: &Field<K>,
        value: &str,
    ) -> Option<impl Iterator<Item = &'a Item<K>>> {
        let (_, index) = self.fields.get(field.name)?;
        Some(index.keys(value).filter_map(|key| self.items.get(key.as_ref())))
    }

    /// Keeps an index of a field from now on.
    pub(crate) fn index(&mut self, field: &Field<K>) {
        if self.fields.contains_key(field.name) {
            return;
        }
        let mut index = Index::default();
        for (key, item) in &self.items {
            if let Some(value) = item.object().and_then(|object| (field.of)(object)) {
                index.insert(&value, key);
            }
        }
        self.fields.insert(field.name, (field.of, index));
    }

    /// The first key after this one; from the start again at the end.
    pub(crate) fn after(&self, key: &Key) -> Option<Key> {
        use std::ops::Bound::{Excluded, Unbounded};
        let next = self.items.range::<Key, _>((Excluded(key), Unbounded)).next();
        next.or_else(|| self.items.first_key_value()).map(|(key, _)| key.as_ref().clone())
    }

    /// Takes what a watch event or a listing says. Gives what there is to tell, the newest first: nothing when the copy
    /// is as far already.
    pub(crate) fn put(&mut self, item: Item<K>) -> Vec<Item<K>> {
        let key = item.key();
        if self.items.get(&key).is_some_and(|known| known.is_as_new_as(&item)) {
            return Vec::new();
        }
        // An object that left the selection of a watch may come back.
        self.gone.forget(item.uid());
        self.insert(key, item)
    }

    /// As [`Objects::put`] for the answer to an own write, which may come when the object is gone already.
    pub(crate) fn learn(&mut self, item: Item<K>) -> Vec<Item<K>> {
        if self.gone.uids.contains(item.uid()) { Vec::new() } else { self.put(item) }
    }

    /// Drops an object that is there and not wanted in the copy. Gives what there is to tell.
    pub(crate) fn forget(&mut self, key: &Key) -> Vec<Item<K>> {
        self.take(key).into_iter().collect()
    }

    /// Takes a deletion. Gives what there is to tell.
    pub(crate) fn delete(&mut self, item: Item<K>) -> Vec<Item<K>> {
        self.gone.remember(item.uid());
        let key = item.key();
        let known = self.items.get(&key).is_some_and(|known| known.uid() == item.uid());
        let before = known.then(|| self.take(&key)).flatten();
        let mut told = vec![item];
        told.extend(before.filter(|before| before.object().is_some() != told[0].object().is_some()));
        told
    }

    /// Takes a listing of this version. What is newer than the listing stays: an own write may have been answered while
    /// it was under way. What vanished is remembered like a deletion. Gives what there is to tell.
    pub(crate) fn replace(&mut self, listed: Vec<Item<K>>, listed_at: u64) -> Vec<Item<K>> {
        let uids: HashSet<&str> = listed.iter().map(Item::uid).collect();
        let is_newer = |known: &Item<K>| version(known.meta()).is_some_and(|version| version > listed_at);
        let vanished: Vec<_> = self
            .items
            .iter()
            .filter(|(_, known)| !uids.contains(known.uid()) && !is_newer(known))
            .map(|(key, _)| Arc::clone(key))
            .collect();
        let mut told: Vec<_> = vanished.iter().filter_map(|key| self.take(key)).collect();
        for item in &told {
            self.gone.remember(item.uid());
        }
        for item in listed {
            told.extend(self.put(item));
        }
        told
    }

    /// What is told of an exchange: the new, and the old where the one can be read and the other cannot.
    fn insert(&mut self, key: Key, item: Item<K>) -> Vec<Item<K>> {
        let before = self.take(&key);
        let key = Arc::new(key);
        for owner in item.meta().owner_references.iter().flatten() {
            self.owners.insert(&owner.uid, &key);
        }
        for (of, index) in self.fields.values_mut() {
            if let Some(value) = item.object().and_then(|object| of(object)) {
                index.insert(&value, &key);
            }
        }
        self.unreadable += usize::from(item.unreadable().is_some());
        self.items.insert(key, item.clone());
        let mut told = vec![item];
        told.extend(before.filter(|before| before.object().is_some() != told[0].object().is_some()));
        told
    }

    fn take(&mut self, key: &Key) -> Option<Item<K>> {
        let item = self.items.remove(key)?;
        for owner in item.meta().owner_references.iter().flatten() {
            self.owners.remove(&owner.uid, key);
        }
        for (of, index) in self.fields.values_mut() {
            if let Some(value) = item.object().and_then(|object| of(object)) {
                index.remove(&value, key);
            }
        }
        self.unreadable -= usize::from(item.unreadable().is_some());
        Some(item)
    }
}

#[cfg(test)]
#[path = "objects_tests.rs"]
mod tests;
