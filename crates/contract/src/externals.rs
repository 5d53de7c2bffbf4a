//! Providers' objects, of kinds known at run time only: read from watches, and heard of when they change.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{DynamicObject, PartialObjectMeta};
use scute_api::meta::ContractRef;
use scute_kit::{Hub, Key, Watch};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::served::{ContractError, Served, crd_name, served};

/// What became of looking up a reference.
#[derive(Clone, Debug)]
pub enum Found {
    /// There is no such object, or its kind is not installed.
    Missing,
    /// The kind cannot be used, and why.
    Unserved(String),
    /// The object.
    Object(External),
}

/// A provider's object, and how it is served.
#[derive(Clone, Debug)]
pub struct External {
    /// Version and contract of its kind.
    pub served: Served,
    /// The object as last seen.
    pub object: Arc<DynamicObject>,
}

impl External {
    /// Namespace and name.
    #[must_use]
    pub fn key(&self) -> Key {
        Key::new(self.object.namespace().unwrap_or_default(), self.object.name_any())
    }

    /// Whether a deletion has been asked for.
    #[must_use]
    pub fn is_deleting(&self) -> bool {
        self.object.metadata.deletion_timestamp.is_some()
    }
}

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
    wake: UnboundedSender<Key>,
}

/// How long a reconcile waits for the first listing of a kind. A kind whose listing fails for longer is
/// reported, and the reconcile is run again when the listing is there.
const LISTING: Duration = Duration::from_secs(5);

impl Externals {
    /// No interest yet. The receiver gets the keys of those whose objects changed.
    #[must_use]
    pub fn new(hub: &Arc<Hub>) -> (Self, UnboundedReceiver<Key>) {
        let (wake, woken) = unbounded_channel();
        let (crds, interest) = (hub.watch_meta(), Arc::<Mutex<Interest>>::default());
        let this = Self { hub: Arc::clone(hub), crds: crds.clone(), interest, heard: Mutex::default(), wake };
        let tell = this.teller(String::new());
        crds.listen(move |crd| tell(Key::of(crd.as_ref())));
        (this, woken)
    }

    /// How a kind is served; from now on `asker` hears of changes of its definition.
    pub async fn served(&self, asker: &Key, group: &str, kind: &str) -> Result<Served, Found> {
        let name = crd_name(group, kind);
        self.interested((String::new(), Key::new("", name.clone())), asker);
        self.crds.ready().await;
        let crd = self.crds.get(&Key::new("", name));
        served(group, kind, crd.as_ref().map(|crd| crd.labels())).map_err(|error| match error {
            ContractError::NoCrd(_) => Found::Missing,
            ContractError::NoContract(_) => Found::Unserved(error.to_string()),
        })
    }

    /// The object that a reference names; from now on `asker` hears of its changes.
    pub async fn get(&self, asker: &Key, namespace: &str, reference: &ContractRef) -> Found {
        let served = match self.served(asker, &reference.api_group, &reference.kind).await {
            Ok(served) => served,
            Err(found) => return found,
        };
        let key = Key::new(namespace, reference.name.clone());
        self.interested((kind_id(&served), key.clone()), asker);
        match self.watch(asker, &served).await {
            Ok(watch) => match watch.get(&key) {
                Some(object) => Found::Object(External { served, object }),
                None => Found::Missing,
            },
            Err(found) => found,
        }
    }

    /// As [`Externals::get`], but asks the API server: for steps that must not act on an old copy.
    pub async fn get_live(
        &self,
        asker: &Key,
        namespace: &str,
        reference: &ContractRef,
    ) -> Result<Found, scute_kit::Error> {
        let served = match self.served(asker, &reference.api_group, &reference.kind).await {
            Ok(served) => served,
            Err(found) => return Ok(found),
        };
        let key = Key::new(namespace, reference.name.clone());
        self.interested((kind_id(&served), key.clone()), asker);
        self.hear(&served);
        Ok(match self.hub.get_dynamic(&served.resource, &key).await? {
            Some(object) => Found::Object(External { served, object: Arc::new(object) }),
            None => Found::Missing,
        })
    }

    /// Every object of a kind in a namespace.
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
    }

    async fn watch(&self, asker: &Key, served: &Served) -> Result<Watch<DynamicObject>, Found> {
        let watch = self.hear(served);
        if tokio::time::timeout(LISTING, watch.ready()).await.is_ok() {
            return Ok(watch);
        }
        let (late, wake, asker) = (watch, self.wake.clone(), asker.clone());
        tokio::spawn(async move {
            late.ready().await;
            // A closed channel means that the controller is gone, and nobody waits any more.
            let _ = wake.send(asker);
        });
        Err(Found::Unserved(format!("{} cannot be listed", kind_id(served))))
    }

    /// The watch on a kind, whose changes are heard from now on.
    fn hear(&self, served: &Served) -> Watch<DynamicObject> {
        let watch = self.hub.watch_dynamic(&served.resource);
        let id = kind_id(served);
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

fn kind_id(served: &Served) -> String {
    format!("{} of {}", served.resource.kind, served.resource.api_version)
}
