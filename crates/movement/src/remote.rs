//! One side of a move: its requests, each with a limit in time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{
    Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions,
};
use kube::{Client, Error};
use serde_json::{Value, json};

use crate::kinds::Kind;
use crate::object::Object;

/// Requests under way at once.
pub const AT_ONCE: usize = 8;
/// Objects per page.
const PAGE: u32 = 250;
/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Who writes.
const MANAGER: &str = "scute-move";

/// Why a move ends before its end. It goes on where it ended when it is run again.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// There are reasons against it, and nothing was changed.
    #[error("not moved:\n  {}", .0.join("\n  "))]
    Refused(Vec<String>),
    /// A request was refused.
    #[error("{what} at the {side}")]
    Request {
        /// Which side.
        side: &'static str,
        /// What was asked for.
        what: String,
        /// Why.
        #[source]
        source: Box<Error>,
    },
    /// A request was not answered.
    #[error("{what} at the {side}: no answer within {} s", PATIENCE.as_secs())]
    NoAnswer {
        /// Which side.
        side: &'static str,
        /// What was asked for.
        what: String,
    },
    /// Somebody else writes.
    #[error("{0} is changed by somebody else at the same time; run the move again")]
    Changed(String),
    /// Controllers still work.
    #[error("{0} does not come to rest; run the move again")]
    Restless(String),
    /// The target has not taken everything.
    #[error("the target is not as the source, and nothing was deleted:\n  {}", .0.join("\n  "))]
    Differs(Vec<String>),
    /// Whoever hears of the steps does not want to any more.
    #[error("nobody listens")]
    Unheard,
}

impl MoveError {
    /// The API server's code, if it answered.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Request { source, .. } => match source.as_ref() {
                Error::Api(status) => Some(status.code),
                _ => None,
            },
            _ => None,
        }
    }
}

/// One side.
#[derive(Clone)]
pub struct Side {
    /// `source` or `target`.
    pub name: &'static str,
    /// The namespace.
    pub namespace: String,
    client: Client,
}

impl Side {
    /// A side, by its client.
    #[must_use]
    pub fn new(name: &'static str, client: Client, namespace: &str) -> Self {
        Self { name, namespace: namespace.to_owned(), client }
    }

    /// Access to a kind.
    pub fn api(&self, kind: &Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind.resource)
    }

    async fn ask<T>(
        &self,
        what: impl FnOnce() -> String,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, MoveError> {
        match tokio::time::timeout(PATIENCE, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(source)) => {
                Err(MoveError::Request { side: self.name, what: what(), source: Box::new(source) })
            }
            Err(_) => Err(MoveError::NoAnswer { side: self.name, what: what() }),
        }
    }

    /// All objects of a kind; `None` when it is not served.
    pub async fn list(&self, kind: &Arc<Kind>) -> Result<Option<Vec<Object>>, MoveError> {
        let api = self.api(kind);
        let mut params = ListParams::default().limit(PAGE);
        let mut all = Vec::new();
        loop {
            let what = || format!("listing {}", kind.name());
            let page = match self.ask(what, api.list(&params)).await {
                Err(error) if error.code() == Some(404) => return Ok(None),
                page => page?,
            };
            all.extend(page.items.into_iter().map(|is| Object { of: kind.clone(), is }));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(Some(all)),
            }
        }
    }

    /// The object as it is now; `None` when it is gone.
    pub async fn get(&self, object: &Object) -> Result<Option<DynamicObject>, MoveError> {
        let api = self.api(&object.of);
        self.ask(|| format!("reading {}", object.key()), api.get_opt(object.name())).await
    }

    /// Makes the namespace, if need be.
    pub async fn make_namespace(&self) -> Result<(), MoveError> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let what = || format!("making namespace {}", self.namespace);
        if self.ask(what, api.get_opt(&self.namespace)).await?.is_some() {
            return Ok(());
        }
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(self.namespace.clone());
        match self.ask(what, api.create(&post(), &namespace)).await {
            Err(error) if error.code() == Some(409) => Ok(()),
            done => done.map(drop),
        }
    }

    /// Creates an object.
    pub async fn create(&self, like: &Object, object: &DynamicObject) -> Result<DynamicObject, MoveError> {
        let api = self.api(&like.of);
        self.ask(|| format!("creating {}", like.key()), api.create(&post(), object)).await
    }

    /// Replaces an object, in the version that was read.
    pub async fn replace(&self, like: &Object, object: &DynamicObject) -> Result<DynamicObject, MoveError> {
        let api = self.api(&like.of);
        self.ask(|| format!("replacing {}", like.key()), api.replace(like.name(), &post(), object)).await
    }

    /// Patches an object if it is still in the version that was read.
    pub async fn patch(&self, object: &Object, mut patch: Value) -> Result<DynamicObject, MoveError> {
        patch["metadata"]["uid"] = json!(object.uid());
        patch["metadata"]["resourceVersion"] = json!(object.is.metadata.resource_version);
        let api = self.api(&object.of);
        let request = async { api.patch(object.name(), &params(), &Patch::Merge(&patch)).await };
        self.ask(|| format!("changing {}", object.key()), request).await
    }

    /// Writes a status.
    pub async fn status(&self, object: &Object, status: &Value) -> Result<DynamicObject, MoveError> {
        let patch = json!({"metadata": {"uid": object.uid()}, "status": status});
        let api = self.api(&object.of);
        let request = async { api.patch_status(object.name(), &params(), &Patch::Merge(&patch)).await };
        self.ask(|| format!("writing the status of {}", object.key()), request).await
    }

    /// Deletes an object if it is still in this version.
    pub async fn delete(&self, object: &Object, version: Option<String>) -> Result<(), MoveError> {
        let preconditions = Preconditions { resource_version: version, uid: Some(object.uid().to_owned()) };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
        let api = self.api(&object.of);
        let what = || format!("deleting {}", object.key());
        match self.ask(what, api.delete(object.name(), &params)).await {
            Err(error) if error.code() == Some(404) => Ok(()),
            done => done.map(drop),
        }
    }
}

fn post() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}

fn params() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}
