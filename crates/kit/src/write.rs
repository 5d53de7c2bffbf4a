//! Writing: server-side apply and merge patches that are skipped when nothing would change.

use std::sync::Arc;

use kube::Resource;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::Status;
use kube::core::request::Request;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use serde::Serialize;
use serde_json::{Value, json};

use crate::hub::Hub;
use crate::json::{covers, merge_patch, without_nulls};
use crate::key::{Key, Kind};
use crate::memory::hash;
use crate::watch::Watch;

/// A write that failed. The variant names the operation; the cause is in the source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object could not be turned into JSON or back.
    #[error("encoding {kind} {key}")]
    Encode {
        /// Kind of the object.
        kind: String,
        /// Its key.
        key: Key,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// The request could not be built.
    #[error("building a request for {kind} {key}")]
    Request {
        /// Kind of the object.
        kind: String,
        /// Its key.
        key: Key,
        /// The cause.
        #[source]
        source: kube::core::request::Error,
    },
    /// The API server refused, or did not answer.
    #[error("{verb} {kind} {key}: {source}")]
    Api {
        /// What was asked: apply, create, patch, delete, get.
        verb: &'static str,
        /// Kind of the object.
        kind: String,
        /// Its key.
        key: Key,
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
}

impl Error {
    /// HTTP status of the API server's answer, if it answered.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether the object is not there (404).
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// Whether somebody else wrote first, or the object exists already (409).
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }
}

/// Type information of one object: what a path is made of.
struct Target {
    kind: String,
    path: String,
    key: Key,
}

impl Target {
    fn typed<K: Resource<DynamicType = ()>>(key: Key) -> Self {
        Self { kind: K::kind(&()).into_owned(), path: K::url_path(&(), key.namespace()), key }
    }

    fn dynamic(resource: &ApiResource, key: Key) -> Self {
        Self { kind: resource.kind.clone(), path: DynamicObject::url_path(resource, key.namespace()), key }
    }

    fn built(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<http::Request<Vec<u8>>, Error> {
        request.map_err(|source| Error::Request { kind: self.kind.clone(), key: self.key.clone(), source })
    }

    fn answered<T>(&self, verb: &'static str, answer: Result<T, kube::Error>) -> Result<T, Error> {
        if verb != "get" {
            crate::metrics::wrote(verb, &self.kind);
        }
        answer.map_err(|source| Error::Api {
            verb,
            kind: self.kind.clone(),
            key: self.key.clone(),
            source: Box::new(source),
        })
    }

    fn encoded<T>(&self, value: Result<T, serde_json::Error>) -> Result<T, Error> {
        value.map_err(|source| Error::Encode { kind: self.kind.clone(), key: self.key.clone(), source })
    }
}

/// Who an event came from.
pub(crate) const REPORTER: &str = "scute";

impl Hub {
    /// Server-side apply with force. Skipped, and the known object returned, when this manager's last
    /// apply was the same and the watched copy still has everything that is wanted.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn apply<K>(&self, manager: &str, want: &K) -> Result<Arc<K>, Error>
    where
        K: Kind + Serialize + Resource<DynamicType = ()>,
    {
        let target = Target::typed::<K>(Key::of(want));
        let body = without_nulls(target.encoded(serde_json::to_value(want))?);
        self.apply_to(&target, manager, body, self.existing::<K>()).await
    }

    /// As [`Hub::apply`], for a kind known at run time only.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn apply_dynamic(
        &self,
        resource: &ApiResource,
        manager: &str,
        want: &DynamicObject,
    ) -> Result<Arc<DynamicObject>, Error> {
        let target = Target::dynamic(resource, Key::of(want));
        let body = without_nulls(target.encoded(serde_json::to_value(want))?);
        self.apply_to(&target, manager, body, self.existing_dynamic(resource)).await
    }

    async fn apply_to<K: Kind + Serialize>(
        &self,
        target: &Target,
        manager: &str,
        body: Value,
        watch: Option<Watch<K>>,
    ) -> Result<Arc<K>, Error> {
        let memory = format!("{manager} {} {}", target.path, target.key.name);
        let hash = hash(body.to_string());
        let known = self.applied.last(&memory) == Some(hash);
        if let Some(seen) = watch.as_ref().filter(|_| known).and_then(|watch| watch.get(&target.key)) {
            let seen_value = target.encoded(serde_json::to_value(seen.as_ref()))?;
            if seen.meta().deletion_timestamp.is_none() && covers(&seen_value, &body) {
                return Ok(seen);
            }
        }
        let params = PatchParams::apply(manager).force();
        let request = target.built(Request::new(&target.path).patch(
            &target.key.name,
            &params,
            &Patch::Apply(&body),
        ))?;
        let object: K = target.answered("apply", self.client().request(request).await)?;
        self.applied.say(&memory, hash);
        Ok(learned(watch, object))
    }

    /// Creates an object; a name conflict is an error (see [`Error::is_conflict`]).
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn create<K>(&self, object: &K) -> Result<Arc<K>, Error>
    where
        K: Kind + Serialize + Resource<DynamicType = ()>,
    {
        let target = Target::typed::<K>(Key::of(object));
        let body = target.encoded(serde_json::to_vec(object))?;
        let request = target.built(Request::new(&target.path).create(&PostParams::default(), body))?;
        let object: K = target.answered("create", self.client().request(request).await)?;
        Ok(learned(self.existing::<K>(), object))
    }

    /// As [`Hub::create`], for a kind known at run time only.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn create_dynamic(
        &self,
        resource: &ApiResource,
        object: &DynamicObject,
    ) -> Result<Arc<DynamicObject>, Error> {
        let target = Target::dynamic(resource, Key::of(object));
        let body = target.encoded(serde_json::to_vec(object))?;
        let request = target.built(Request::new(&target.path).create(&PostParams::default(), body))?;
        let object: DynamicObject = target.answered("create", self.client().request(request).await)?;
        Ok(learned(self.existing_dynamic(resource), object))
    }

    /// Reads one object from the API server, past the watch.
    ///
    /// # Errors
    /// When the API server does not answer, or refuses for another reason than 404.
    pub async fn get<K>(&self, key: &Key) -> Result<Option<K>, Error>
    where
        K: Kind + Resource<DynamicType = ()>,
    {
        let target = Target::typed::<K>(key.clone());
        let request =
            target.built(Request::new(&target.path).get(&key.name, &kube::api::GetParams::default()))?;
        optional(target.answered("get", self.client().request(request).await))
    }

    /// As [`Hub::get`], for a kind known at run time only.
    ///
    /// # Errors
    /// As [`Hub::get`].
    pub async fn get_dynamic(
        &self,
        resource: &ApiResource,
        key: &Key,
    ) -> Result<Option<DynamicObject>, Error> {
        let target = Target::dynamic(resource, key.clone());
        let request =
            target.built(Request::new(&target.path).get(&key.name, &kube::api::GetParams::default()))?;
        optional(target.answered("get", self.client().request(request).await))
    }

    /// Merge patch of an object. With a `metadata.resourceVersion` in the patch, somebody else's
    /// write in between is a conflict.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn patch<K>(&self, key: &Key, patch: &Value) -> Result<Arc<K>, Error>
    where
        K: Kind + Serialize + Resource<DynamicType = ()>,
    {
        let target = Target::typed::<K>(key.clone());
        let request = target.built(Request::new(&target.path).patch(
            &key.name,
            &PatchParams::default(),
            &Patch::Merge(patch),
        ))?;
        let object: K = target.answered("patch", self.client().request(request).await)?;
        Ok(learned(self.existing::<K>(), object))
    }

    /// As [`Hub::patch`], for a kind known at run time only; `subresource` is for example `status`.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn patch_dynamic(
        &self,
        resource: &ApiResource,
        key: &Key,
        subresource: Option<&str>,
        patch: &Value,
    ) -> Result<Arc<DynamicObject>, Error> {
        let target = Target::dynamic(resource, key.clone());
        let builder = Request::new(&target.path);
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let request = target.built(match subresource {
            Some(subresource) => builder.patch_subresource(subresource, &key.name, &params, &patch),
            None => builder.patch(&key.name, &params, &patch),
        })?;
        let object: DynamicObject = target.answered("patch", self.client().request(request).await)?;
        Ok(learned(self.existing_dynamic(resource), object))
    }

    /// Makes the status of an object exactly `status`, by a merge patch of the difference; skipped
    /// when there is none.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn patch_status<K>(&self, seen: &K, status: Value) -> Result<(), Error>
    where
        K: Kind + Serialize + Resource<DynamicType = ()>,
    {
        let target = Target::typed::<K>(Key::of(seen));
        let seen = target.encoded(serde_json::to_value(seen))?;
        let current = seen.get("status").cloned().unwrap_or_else(|| json!({}));
        let Some(change) = merge_patch(&without_nulls(current), &without_nulls(status)) else {
            return Ok(());
        };
        let body = json!({ "status": change });
        let request = target.built(Request::new(&target.path).patch_subresource(
            "status",
            &target.key.name,
            &PatchParams::default(),
            &Patch::Merge(&body),
        ))?;
        let object: K = target.answered("patch the status of", self.client().request(request).await)?;
        learned(self.existing::<K>(), object);
        Ok(())
    }

    /// Deletes an object in the background; one that is already gone is no error.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn delete<K>(&self, key: &Key) -> Result<(), Error>
    where
        K: Kind + Resource<DynamicType = ()>,
    {
        self.delete_at(&Target::typed::<K>(key.clone())).await
    }

    /// As [`Hub::delete`], for a kind known at run time only.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn delete_dynamic(&self, resource: &ApiResource, key: &Key) -> Result<(), Error> {
        self.delete_at(&Target::dynamic(resource, key.clone())).await
    }

    async fn delete_at(&self, target: &Target) -> Result<(), Error> {
        let request =
            target.built(Request::new(&target.path).delete(&target.key.name, &DeleteParams::background()))?;
        let answer = self.client().request_status::<Value>(request).await.map(|_: either_status::Answer| ());
        optional(target.answered("delete", answer)).map(|_| ())
    }

    /// Writes an Event about an object; the same reason and note about the same object are written once.
    /// A failure is logged: an event is never worth failing a reconcile.
    pub async fn event<K>(&self, about: &K, kind: EventType, reason: &str, note: &str)
    where
        K: Kind + Resource<DynamicType = ()>,
    {
        let memory = format!("{} {reason}", about.meta().uid.as_deref().unwrap_or_default());
        let hash = hash((reason, note));
        if self.events.say(&memory, hash) == Some(hash) {
            return;
        }
        let recorder =
            Recorder::new(self.client(), Reporter { controller: REPORTER.to_owned(), instance: None });
        let event = Event {
            type_: kind,
            reason: reason.to_owned(),
            note: Some(note.to_owned()),
            action: reason.to_owned(),
            secondary: None,
        };
        crate::metrics::wrote("create", "Event");
        if let Err(error) = recorder.publish(&event, &about.object_ref(&())).await {
            tracing::warn!(object = %Key::of(about), reason, %error, "event not written");
        }
    }
}

mod either_status {
    //! The two answers to a deletion, neither of which matters here.
    pub type Answer = either::Either<serde_json::Value, super::Status>;
}

fn learned<K: Kind>(watch: Option<Watch<K>>, object: K) -> Arc<K> {
    match watch {
        Some(watch) => watch.learn(object),
        None => Arc::new(object),
    }
}

fn optional<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
