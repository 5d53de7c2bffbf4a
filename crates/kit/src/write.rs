//! Writing: server-side apply and merge patches that are skipped when nothing would change.

mod error;
mod told;
mod trial;

pub use error::Error;

use std::sync::Arc;

use kube::Resource;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, PartialObjectMeta, Patch, PatchParams, PostParams,
    Preconditions,
};
use kube::core::Status;
use kube::core::request::Request;
use serde::Serialize;
use serde_json::{Value, json};

use crate::hub::Hub;
use crate::json::{covers, merge_patch, without_nulls};
use crate::key::{Key, Kind};
use crate::memory::hash;
use crate::owned::is_applied;
use crate::watch::Watch;

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

/// Who writes what is not applied, and from whom events come.
pub const MANAGER: &str = "scute";

/// Of a create or replace that says who writes.
#[must_use]
pub fn post_params() -> PostParams {
    post_params_of(MANAGER)
}

pub(crate) fn post_params_of(manager: &str) -> PostParams {
    PostParams { field_manager: Some(manager.to_owned()), ..PostParams::default() }
}

/// Of a patch that says who writes.
#[must_use]
pub fn patch_params() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

/// An object as the body of a server-side apply: JSON that is the same text when it is read as YAML, as the API server
/// does. What YAML refuses (DEL, the byte order mark) or takes for a line break (NEL, LS, PS) is escaped; characters
/// beyond U+FFFF stay, as JSON would escape them in two halves that YAML does not know.
#[must_use]
pub fn apply_body(object: &Value) -> Vec<u8> {
    let mut body = String::new();
    // Outside of strings JSON is ASCII without control characters.
    for letter in object.to_string().chars() {
        match letter {
            '\u{7f}'..='\u{a0}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                body.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            _ => body.push(letter),
        }
    }
    body.into_bytes()
}

impl Hub {
    /// Server-side apply with force. Skipped, and the known object returned, when this manager's last
    /// apply was the same and the watched copy still has everything that is wanted. What the last apply of an earlier process
    /// was is asked of the API server.
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
        let (memory, hash) = remembered(target, manager, &body);
        if let Some(seen) = self.stands(target, manager, &body, watch.as_ref()).await? {
            return Ok(seen);
        }
        let params = PatchParams::apply(manager).force();
        let request = Request::new(&target.path).patch(&target.key.name, &params, &Patch::Apply(&body));
        let request = target.built(request)?.map(|_| apply_body(&body));
        let object: K = target.answered("apply", self.client().request(request).await)?;
        self.applied.say(&memory, hash);
        Ok(learned(watch, object))
    }

    /// The known object, when an apply would change nothing.
    async fn stands<K: Kind + Serialize>(
        &self,
        target: &Target,
        manager: &str,
        body: &Value,
        watch: Option<&Watch<K>>,
    ) -> Result<Option<Arc<K>>, Error> {
        let (memory, hash) = remembered(target, manager, body);
        let last = self.applied.last(&memory);
        if let Some(seen) = watch.and_then(|watch| watch.get(&target.key))
            && last.is_none_or(|last| last == hash)
            && seen.meta().deletion_timestamp.is_none()
            && covers(&target.encoded(serde_json::to_value(seen.as_ref()))?, body)
            // A new manager does not know what the one before it applied.
            && (last.is_some() || self.is_applied(target, manager, seen.as_ref(), body).await)
        {
            self.applied.say(&memory, hash);
            return Ok(Some(seen));
        }
        Ok(None)
    }

    /// Asks the API server whether this manager applied the same before. Copies have no record of who owns what: it is
    /// longer than most objects.
    async fn is_applied<K: Kind>(&self, target: &Target, manager: &str, seen: &K, body: &Value) -> bool {
        let get = Request::new(&target.path).get_metadata(&target.key.name, &kube::api::GetParams::default());
        let Ok(request) = target.built(get) else { return false };
        let Ok(now) = self.client().request::<PartialObjectMeta<DynamicObject>>(request).await else {
            return false;
        };
        now.metadata.resource_version == seen.meta().resource_version
            && is_applied(now.metadata.managed_fields.as_deref().unwrap_or_default(), manager, body)
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
        let request = target.built(Request::new(&target.path).create(&post_params(), body))?;
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
        let request = target.built(Request::new(&target.path).create(&post_params(), body))?;
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
            &patch_params(),
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
        let (params, patch) = (patch_params(), Patch::Merge(patch));
        let request = target.built(match subresource {
            Some(subresource) => builder.patch_subresource(subresource, &key.name, &params, &patch),
            None => builder.patch(&key.name, &params, &patch),
        })?;
        let object: DynamicObject = target.answered("patch", self.client().request(request).await)?;
        Ok(learned(self.existing_dynamic(resource), object))
    }

    /// Makes the status of this object exactly `status`, by a patch of the fields that differ; skipped when none does.
    /// An object that was made again under its name in between is another, and keeps its own.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn patch_status<K>(&self, seen: &K, status: Value) -> Result<(), Error>
    where
        K: Kind + Serialize + Resource<DynamicType = ()>,
    {
        self.write_status(seen, None, status).await
    }

    /// As [`Hub::patch_status`], of an object that has this version: that somebody else has written to it since is a conflict.
    ///
    /// # Errors
    /// As [`Hub::patch_status`].
    pub async fn patch_status_of<K>(&self, seen: &K, version: &str, status: Value) -> Result<(), Error>
    where
        K: Kind + Serialize + Resource<DynamicType = ()>,
    {
        self.write_status(seen, Some(version), status).await
    }

    async fn write_status<K>(&self, seen: &K, version: Option<&str>, status: Value) -> Result<(), Error>
    where
        K: Kind + Serialize + Resource<DynamicType = ()>,
    {
        let target = Target::typed::<K>(Key::of(seen));
        let current = target.encoded(serde_json::to_value(seen))?.get("status").cloned();
        let Some(mut changes) = status_patch(seen.meta().uid.as_deref(), current, status) else {
            return Ok(());
        };
        if let (Some(version), Some(changes)) = (version, changes.as_array_mut()) {
            changes.push(json!({ "op": "replace", "path": "/metadata/resourceVersion", "value": version }));
        }
        let patch = Patch::<Value>::Json(target.encoded(serde_json::from_value(changes))?);
        let (name, params) = (&target.key.name, patch_params());
        let request =
            target.built(Request::new(&target.path).patch_subresource("status", name, &params, &patch))?;
        match target.answered("patch the status of", self.client().request::<K>(request).await) {
            Ok(object) => {
                learned(self.existing::<K>(), object);
                Ok(())
            }
            // The test of the uid fails like any other part of the patch.
            Err(error) if error.code() == Some(422) => {
                let now: Option<PartialObjectMeta<K>> = self.get(&target.key).await?;
                match now.is_some_and(|now| now.metadata.uid == seen.meta().uid) {
                    true => Err(error),
                    false => Err(Error::Replaced { kind: target.kind, key: target.key }),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Deletes this object in the background; one that is already gone is no error, and one that was made again under its
    /// name stays.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn delete<K>(&self, object: &K) -> Result<(), Error>
    where
        K: Kind + Resource<DynamicType = ()>,
    {
        self.delete_at(&Target::typed::<K>(Key::of(object)), object.meta().uid.clone()).await
    }

    /// As [`Hub::delete`], for a kind known at run time only.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn delete_dynamic(&self, resource: &ApiResource, object: &DynamicObject) -> Result<(), Error> {
        self.delete_at(&Target::dynamic(resource, Key::of(object)), object.metadata.uid.clone()).await
    }

    async fn delete_at(&self, target: &Target, uid: Option<String>) -> Result<(), Error> {
        let preconditions = Preconditions { uid, resource_version: None };
        let params = DeleteParams::background().preconditions(preconditions);
        let request = target.built(Request::new(&target.path).delete(&target.key.name, &params))?;
        let answer = self.client().request_status::<Value>(request).await.map(|_: either_status::Answer| ());
        match target.answered("delete", answer) {
            // Another has its name now.
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            other => other,
        }
    }
}

/// The JSON patch (RFC 6902) of the fields of a status that differ, for the object of this uid alone. (In the body of a
/// patch the API server does not look at the uid of a custom resource's status.)
fn status_patch(uid: Option<&str>, current: Option<Value>, wanted: Value) -> Option<Value> {
    let mut patch: Vec<_> =
        uid.map(|uid| json!({ "op": "test", "path": "/metadata/uid", "value": uid })).into_iter().collect();
    let wanted = without_nulls(wanted);
    let Some(current) = current.map(without_nulls) else {
        let nothing = wanted.as_object().is_some_and(serde_json::Map::is_empty);
        patch.push(json!({ "op": "add", "path": "/status", "value": wanted }));
        return (!nothing).then(|| json!(patch));
    };
    let changes = merge_patch(&current, &wanted)?;
    for (field, change) in changes.as_object()? {
        let path = format!("/status/{field}");
        // What is already gone could not be removed.
        patch.push(json!({ "op": "add", "path": path, "value": wanted.get(field) }));
        if change.is_null() {
            patch.push(json!({ "op": "remove", "path": path }));
        }
    }
    Some(json!(patch))
}

/// Under what an apply is remembered, and as what.
fn remembered(target: &Target, manager: &str, body: &Value) -> (String, u64) {
    (format!("{manager} {} {}", target.path, target.key.name), hash(body.to_string()))
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
