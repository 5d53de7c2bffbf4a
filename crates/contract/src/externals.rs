//! Providers' objects, of kinds known at run time only: read from watches, and heard of when they change.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{ApiResource, DynamicObject, PartialObjectMeta};
use scute_api::meta::ContractRef;
use scute_kit::{Hub, Key, Watch};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use crate::found::{External, Found, Unknown};
use crate::listing::Listings;
use crate::served::{ContractError, Served, crd_name, served};

/// A kind and a key; for a CustomResourceDefinition the kind is empty.
type ObjectId = (String, Key);
/// Who wants to hear of an object.
type Interest = HashMap<ObjectId, HashSet<Key>>;

/// The providers' objects that the objects of one controller name.
pub struct Externals {
    hub: Arc<Hub>,
    crds: Watch<PartialObjectMeta<CustomResourceDefinition>>,
    interest: Arc<Mutex<Interest>>,
    heard: Mutex<HashSet<String>>,
    listings: Listings,
    wake: UnboundedSender<Key>,
}

/// How long the API server may take to answer a request for one object.
const PATIENCE: Duration = Duration::from_secs(10);

impl Externals {
    /// No interest yet. The receiver gets the keys of those whose objects changed, or whose kinds can be
    /// listed now.
    #[must_use]
    pub fn new(hub: &Arc<Hub>) -> (Self, UnboundedReceiver<Key>) {
        let (wake, woken) = unbounded_channel();
        let (crds, interest) = (hub.watch_meta(), Arc::<Mutex<Interest>>::default());
        let this = Self {
            hub: Arc::clone(hub),
            crds: crds.clone(),
            interest,
            heard: Mutex::default(),
            listings: Listings::new(hub, wake.clone()),
            wake,
        };
        let tell = this.teller(String::new());
        crds.listen(move |crd| tell(Key::of(crd.as_ref())));
        (this, woken)
    }

    /// How a kind is served; from now on `asker` hears of changes of its definition.
    ///
    /// # Errors
    /// [`Found::NotInstalled`], [`Found::NoContract`], or [`Found::Unknown`] when definitions cannot be listed.
    pub async fn served(&self, asker: &Key, group: &str, kind: &str) -> Result<Served, Found> {
        let name = crd_name(group, kind);
        self.interested((String::new(), Key::new("", name.clone())), asker);
        self.listings.definitions(asker, &self.crds).await?;
        let crd = self.crds.get(&Key::new("", name));
        served(group, kind, crd.as_ref().map(|crd| crd.labels())).map_err(|error| match error {
            ContractError::NoCrd(name) => Found::NotInstalled(name),
            ContractError::NoContract(name) => Found::NoContract(name),
        })
    }

    /// The object that a reference names; from now on `asker` hears of its changes.
    pub async fn get(&self, asker: &Key, namespace: &str, reference: &ContractRef) -> Found {
        let found = self.look(asker, namespace, reference).await;
        found.map_or_else(
            |found| found,
            |(served, key, watch)| match watch.get(&key) {
                Some(object) => Found::Object(External { served, object }),
                None => Found::Missing,
            },
        )
    }

    /// As [`Externals::get`], of a kind of which the version is known: it need not be of any contract. The namespace is that of
    /// who asks.
    pub async fn get_as(&self, asker: &Key, served: &Served, name: &str) -> Found {
        let ApiResource { group, kind, .. } = &served.resource;
        if let Err(found @ (Found::NotInstalled(_) | Found::Unknown(_))) =
            self.served(asker, group, kind).await
        {
            return found;
        }
        let key = Key::new(asker.namespace.clone(), name);
        self.interested((served.to_string(), key.clone()), asker);
        match self.watch(asker, served).await {
            Ok(watch) => watch
                .get(&key)
                .map_or(Found::Missing, |object| Found::Object(External { served: served.clone(), object })),
            Err(found) => found,
        }
    }

    /// As [`Externals::get`], but asks the API server: for steps that must not act on an old copy. The kind must
    /// have been listed before: a version that is not served answers as an object that is not there.
    pub async fn get_live(&self, asker: &Key, namespace: &str, reference: &ContractRef) -> Found {
        let (served, key) = match self.look(asker, namespace, reference).await {
            Ok((served, key, _)) => (served, key),
            Err(found) => return found,
        };
        match timeout(PATIENCE, self.hub.get_dynamic(&served.resource, &key)).await {
            Ok(Ok(Some(object))) => Found::Object(External { served, object: Arc::new(object) }),
            Ok(Ok(None)) => Found::Missing,
            Ok(Err(error)) => Found::Unknown(Unknown::Refused(error.to_string())),
            Err(_) => Found::Unknown(Unknown::Silent),
        }
    }

    /// Every object of a kind in a namespace.
    ///
    /// # Errors
    /// [`Found::Unknown`] when they cannot be listed.
    pub async fn list(
        &self,
        asker: &Key,
        namespace: &str,
        served: &Served,
    ) -> Result<Vec<Arc<DynamicObject>>, Found> {
        Ok(self.watch(asker, served).await?.list_in(namespace))
    }

    /// Forgets an asker that is gone.
    pub fn forget(&self, asker: &Key) {
        self.lock().retain(|_, askers| {
            askers.remove(asker);
            !askers.is_empty()
        });
        self.listings.forget(asker);
    }

    async fn look(
        &self,
        asker: &Key,
        namespace: &str,
        reference: &ContractRef,
    ) -> Result<(Served, Key, Watch<DynamicObject>), Found> {
        let served = self.served(asker, &reference.api_group, &reference.kind).await?;
        let key = Key::new(namespace, reference.name.clone());
        self.interested((served.to_string(), key.clone()), asker);
        let watch = self.watch(asker, &served).await?;
        Ok((served, key, watch))
    }

    async fn watch(&self, asker: &Key, served: &Served) -> Result<Watch<DynamicObject>, Found> {
        let watch = self.hear(served);
        self.listings.objects(asker, served, &watch).await?;
        Ok(watch)
    }

    /// The watch on a kind, whose changes are heard from now on.
    fn hear(&self, served: &Served) -> Watch<DynamicObject> {
        let watch = self.hub.watch_dynamic(&served.resource);
        let id = served.to_string();
        let first = self.heard.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
        if first {
            let tell = self.teller(id);
            watch.listen(move |object| tell(Key::of(object.as_ref())));
        }
        watch
    }

    fn teller(&self, id: String) -> impl Fn(Key) -> bool + Send + Sync + 'static {
        let (interest, wake) = (Arc::clone(&self.interest), self.wake.clone());
        move |key| {
            let interest = interest.lock().unwrap_or_else(PoisonError::into_inner);
            let askers = interest.get(&(id.clone(), key)).into_iter().flatten();
            askers.cloned().all(|asker| wake.send(asker).is_ok()) && !wake.is_closed()
        }
    }

    fn interested(&self, object: ObjectId, asker: &Key) {
        self.lock().entry(object).or_default().insert(asker.clone());
    }

    fn lock(&self) -> MutexGuard<'_, Interest> {
        self.interest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
