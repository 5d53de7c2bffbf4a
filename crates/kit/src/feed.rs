//! What wakes a controller: watches, and which keys a change in them means.

use std::sync::Arc;

use futures::future::BoxFuture;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use tokio::sync::mpsc::UnboundedSender;

use crate::health::Health;
use crate::key::{Key, Kind};
use crate::memory::hash;
use crate::queue::Wake;
use crate::unreadable::Unreadable;
use crate::watch::Watch;

pub(crate) type Keys = UnboundedSender<(Key, Wake)>;

/// A watch that a controller of `K` was given.
pub(crate) trait Feed<K>: Send + Sync {
    /// Sends keys from now on.
    fn start(&self, keys: &Keys, main: &Watch<K>);
    /// How the watch fares.
    fn health(&self) -> Health;
    /// Returns when its first listing is complete.
    fn ready(&self) -> BoxFuture<'_, ()>;
    /// What cannot be read and owns this object or is owned by it.
    fn unreadable_kin(&self, object: &ObjectMeta) -> Option<Arc<Unreadable>>;
}

/// The controller's own objects.
pub(crate) struct Own<K>(pub Watch<K>);

impl<K: Kind> Feed<K> for Own<K> {
    fn start(&self, keys: &Keys, _main: &Watch<K>) {
        let keys = keys.clone();
        self.0.listen(move |object| {
            keys.send((Key::of(object.as_ref()), Wake::Wish(wish(object.meta())))).is_ok()
        });
    }

    fn health(&self) -> Health {
        self.0.health()
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.0.ready())
    }

    /// One object of the kind has nothing to do with another.
    fn unreadable_kin(&self, _object: &ObjectMeta) -> Option<Arc<Unreadable>> {
        None
    }
}

/// Other objects, and whom they concern.
pub(crate) struct Mapped<C, F> {
    pub watch: Watch<C>,
    pub map: Arc<F>,
    pub wake: Wake,
}

impl<K, C, F> Feed<K> for Mapped<C, F>
where
    K: Kind + Resource<DynamicType = ()>,
    C: Kind,
    F: Fn(&C) -> Vec<Key> + Send + Sync + 'static,
{
    fn start(&self, keys: &Keys, main: &Watch<K>) {
        let (send, map, wake) = (keys.clone(), Arc::clone(&self.map), self.wake);
        let wake = move |keys: &UnboundedSender<_>, all: Vec<Key>| {
            all.into_iter().all(|key| keys.send((key, wake)).is_ok()) && !keys.is_closed()
        };
        self.watch.listen(move |object| wake(&send, map(object.as_ref())));
        let (send, main) = (keys.clone(), main.clone());
        self.watch.listen_unreadable(move |bad| wake(&send, kin(&main, &bad.metadata)));
    }

    fn health(&self) -> Health {
        self.watch.health()
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.watch.ready())
    }

    fn unreadable_kin(&self, object: &ObjectMeta) -> Option<Arc<Unreadable>> {
        self.watch.unreadable_kin(object)
    }
}

/// The owners of an object that are of kind `K`, and the objects of that kind that it owns.
fn kin<K: Kind + Resource<DynamicType = ()>>(main: &Watch<K>, object: &ObjectMeta) -> Vec<Key> {
    let owned = object.uid.as_deref().map(|uid| main.owned_by(uid)).unwrap_or_default();
    owners::<K>(object).into_iter().chain(owned.iter().map(|owned| Key::of(owned.as_ref()))).collect()
}

/// The owners of an object that are of kind `K`.
pub(crate) fn owners<K: Resource<DynamicType = ()>>(object: &ObjectMeta) -> Vec<Key> {
    let namespace = object.namespace.clone().unwrap_or_default();
    let (group, kind) = (K::group(&()), K::kind(&()));
    object
        .owner_references
        .iter()
        .flatten()
        .filter(|owner| {
            owner.kind == kind && owner.api_version.split_once('/').map_or("", |(group, _)| group) == group
        })
        .map(|owner| Key::new(namespace.clone(), owner.name.clone()))
        .collect()
}

/// A digest of what an object asks for: its spec (by the generation; kinds without one, Secrets and Services, are heard
/// of by labels and annotations only), and what people write into its metadata. Not its status.
pub(crate) fn wish(object: &ObjectMeta) -> u64 {
    let deletion = object.deletion_timestamp.is_some();
    hash((&object.uid, object.generation, deletion, &object.labels, &object.annotations))
}
