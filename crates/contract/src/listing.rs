//! Waiting for the first listing of a kind, once for all who ask.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, PartialObjectMeta};
use scute_kit::{Hub, Key, Kind, Watch};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::timeout;

use crate::found::{Found, Unknown};
use crate::served::Served;

/// How long a reconcile waits for the first listing of a kind. The next one does not wait for a kind that was late.
const LISTING: Duration = Duration::from_secs(5);
/// How long a kind may be late before the API server is asked why, and how long until it is asked again.
const ASK_WHY: Duration = Duration::from_secs(30);
/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A kind that is not listed.
struct Late {
    why: Unknown,
    askers: HashSet<Key>,
}

/// Kinds that are not listed, each with one task that waits for it.
pub(crate) struct Listings {
    hub: Arc<Hub>,
    late: Arc<Mutex<HashMap<String, Late>>>,
    wake: UnboundedSender<Key>,
}

impl Listings {
    pub(crate) fn new(hub: &Arc<Hub>, wake: UnboundedSender<Key>) -> Self {
        Self { hub: Arc::clone(hub), late: Arc::default(), wake }
    }

    /// Returns when the objects of a kind are listed. If they are not yet, `asker` is woken when they are.
    pub(crate) async fn objects(
        &self,
        asker: &Key,
        served: &Served,
        watch: &Watch<DynamicObject>,
    ) -> Result<(), Found> {
        self.wait(asker, &served.to_string(), served.resource.clone(), watch).await
    }

    /// As [`Listings::objects`], of CustomResourceDefinitions.
    pub(crate) async fn definitions(
        &self,
        asker: &Key,
        watch: &Watch<PartialObjectMeta<CustomResourceDefinition>>,
    ) -> Result<(), Found> {
        let resource = ApiResource::erase::<CustomResourceDefinition>(&());
        self.wait(asker, "CustomResourceDefinition", resource, watch).await
    }

    /// Forgets an asker that is gone.
    pub(crate) fn forget(&self, asker: &Key) {
        for late in lock(&self.late).values_mut() {
            late.askers.remove(asker);
        }
    }

    async fn wait<K: Kind>(
        &self,
        asker: &Key,
        id: &str,
        resource: ApiResource,
        watch: &Watch<K>,
    ) -> Result<(), Found> {
        if watch.is_ready() {
            return Ok(());
        }
        if let Some(late) = lock(&self.late).get_mut(id) {
            late.askers.insert(asker.clone());
            return Err(Found::Unknown(late.why.clone()));
        }
        if timeout(LISTING, watch.ready()).await.is_ok() {
            return Ok(());
        }
        let mut all = lock(&self.late);
        let first = !all.contains_key(id);
        let late = all
            .entry(id.to_owned())
            .or_insert_with(|| Late { why: Unknown::NotListedYet(id.to_owned()), askers: HashSet::new() });
        late.askers.insert(asker.clone());
        let why = late.why.clone();
        drop(all);
        if first {
            let (hub, late, wake) = (Arc::clone(&self.hub), Arc::clone(&self.late), self.wake.clone());
            tokio::spawn(until_listed(id.to_owned(), resource, watch.clone(), hub, late, wake));
        }
        Err(Found::Unknown(why))
    }
}

/// Waits for the first listing, finds out what keeps it, and wakes who asked: when the reason is another one, and in the
/// end. Stops when the controller is gone.
async fn until_listed<K: Kind>(
    id: String,
    resource: ApiResource,
    watch: Watch<K>,
    hub: Arc<Hub>,
    late: Arc<Mutex<HashMap<String, Late>>>,
    wake: UnboundedSender<Key>,
) {
    loop {
        let why = tokio::select! {
            () = watch.ready() => break,
            () = wake.closed() => return,
            why = reason(&id, &resource, &hub) => why,
        };
        if let Some(late) = lock(&late).get_mut(&id).filter(|late| late.why != why) {
            late.why = why;
            tell(&late.askers, &wake);
        }
        // Nothing tells that a reason has become another one.
        tokio::select! {
            () = watch.ready() => break,
            () = wake.closed() => return,
            () = tokio::time::sleep(ASK_WHY) => {}
        }
    }
    // The askers are told after the kind is forgotten: who asks in between finds it listed.
    let askers = lock(&late).remove(&id).map(|late| late.askers).unwrap_or_default();
    tell(&askers, &wake);
}

/// What the API server says to a listing: a watch only tries again.
async fn reason(id: &str, resource: &ApiResource, hub: &Hub) -> Unknown {
    let api = Api::<DynamicObject>::all_with(hub.client(), resource);
    match timeout(PATIENCE, api.list_metadata(&ListParams::default().limit(1))).await {
        Ok(Ok(_)) => Unknown::NotListedYet(id.to_owned()),
        Ok(Err(kube::Error::Api(status))) => Unknown::CannotBeListed(id.to_owned(), status.message.clone()),
        Ok(Err(error)) => Unknown::CannotBeListed(id.to_owned(), error.to_string()),
        Err(_) => Unknown::CannotBeListed(id.to_owned(), Unknown::Silent.to_string()),
    }
}

fn tell(askers: &HashSet<Key>, wake: &UnboundedSender<Key>) {
    for asker in askers {
        // A closed channel means that the controller is gone, and nobody waits any more.
        let _ = wake.send(asker.clone());
    }
}

fn lock(late: &Mutex<HashMap<String, Late>>) -> MutexGuard<'_, HashMap<String, Late>> {
    late.lock().unwrap_or_else(PoisonError::into_inner)
}
