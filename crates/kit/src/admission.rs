//! The webhook server: one handler per kind behind `/validate` and `/mutate`, and the versions of kinds behind `/convert`.

mod certificate;
mod convert;
mod review;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use axum_server::tls_rustls::RustlsConfig;
use futures::future::BoxFuture;
use kube::Resource;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

pub use certificate::Told;
use certificate::{exchange, look, read};
use review::{GroupKind, LARGEST_REVIEW, Request, Review, mutate, validate};

use crate::decode::{Decoder, decode};
use crate::guard::guarded;
use crate::json::overlay;
use crate::limits::LOOK_AT_CERTIFICATES;

/// What is asked of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Operation {
    /// It is created.
    Create,
    /// It is changed.
    Update,
    /// It is deleted.
    Delete,
    /// A subresource is connected to.
    Connect,
}

/// One request for admission.
#[derive(Clone, Debug)]
pub struct AdmissionRequest {
    /// What is asked.
    pub operation: Operation,
    /// Namespace, empty for a cluster-scoped object.
    pub namespace: String,
    /// Name; empty when the API server is to generate it.
    pub name: String,
    /// Subresource, empty for the object itself.
    pub subresource: String,
    /// The object as it would be; null for a deletion.
    pub object: Value,
    /// The object as it is.
    pub old: Option<Value>,
    /// Nothing will be written.
    pub dry_run: bool,
    /// Name of the user that asks.
    pub user: String,
}

impl AdmissionRequest {
    /// Whether the object itself, not a subresource of it, is made or gets another spec.
    #[must_use]
    pub fn changes_spec(&self) -> bool {
        let writes = matches!(self.operation, Operation::Create | Operation::Update);
        let same = self.old.as_ref().is_some_and(|old| old.get("spec") == self.object.get("spec"));
        writes && self.subresource.is_empty() && !same
    }

    /// Whether an object on its way out is written without a change of its spec. It must be able to lose its
    /// finalizers, whatever a later rule says of its spec.
    #[must_use]
    pub fn is_departure(&self) -> bool {
        self.operation == Operation::Update
            && self.subresource.is_empty()
            && !self.changes_spec()
            && self.object.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null())
    }
}

/// One field that cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Path of the field, for example `spec.networkProfile.podCidr`.
    pub path: String,
    /// The value that was given.
    pub value: String,
    /// What is wrong, and what would be right.
    pub detail: String,
}

impl FieldError {
    /// A field, its value, and what would be right.
    pub fn new(path: impl Into<String>, value: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { path: path.into(), value: value.into(), detail: detail.into() }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: Invalid value: {:?}: {}", self.path, self.value, self.detail)
    }
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// As it is.
    Allow,
    /// With defaults filled in: the whole object as it shall be.
    Replace(Value),
    /// Not at all.
    Deny(Vec<FieldError>),
    /// Not now: HTTP status and message, for example 429 for an eviction.
    Refuse(u16, String),
}

impl Verdict {
    /// The object as it was sent, with what was filled in: fields that our types do not know stay for the schema to judge.
    #[must_use]
    pub fn filled<K: Serialize + PartialEq>(request: &AdmissionRequest, new: &K, filled: &K) -> Self {
        if filled == new {
            return Self::Allow;
        }
        let filled = serde_json::to_value(filled);
        filled.map_or(Self::Allow, |filled| Self::Replace(overlay(request.object.clone(), filled)))
    }
}

/// The path of a field and its value.
pub type PathAndValue = (String, String);

/// An object in another version, or why not.
type Convert = Arc<dyn Fn(&Value, &str) -> Result<Value, String> + Send + Sync>;

/// What knows the versions of kinds. Objects are whole, versions are apiVersions.
#[derive(Clone)]
pub struct Versions {
    /// An object in another version, or why not.
    pub convert: Convert,
    /// The path of a field of the object and its value in the words of another version, where they differ.
    pub worded: fn(&Value, &str, &str, &str) -> Option<PathAndValue>,
}

type Handler = Arc<dyn Fn(AdmissionRequest) -> BoxFuture<'static, Verdict> + Send + Sync>;
/// What to say of an object that is taken: the sentences that its user reads.
type Adviser = Arc<dyn Fn(AdmissionRequest) -> BoxFuture<'static, Vec<String>> + Send + Sync>;

/// Decoders and handlers by group and kind, and the versions of all of them.
#[derive(Clone, Default)]
pub struct Admission {
    versions: Option<Versions>,
    decoders: HashMap<(String, String), Decoder>,
    handlers: HashMap<(String, String), Vec<Handler>>,
    advisers: HashMap<(String, String), Vec<Adviser>>,
}

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Certificate or key could not be read.
    #[error("reading the serving certificate")]
    Certificate(#[source] std::io::Error),
    /// The socket failed.
    #[error("serving admission")]
    Serve(#[source] std::io::Error),
}

impl Admission {
    /// No handlers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a handler of a kind. Several of one kind are asked in the order in which they were added, each with what those
    /// before it have filled in; the first that says no is heard.
    #[must_use]
    pub fn on<F>(mut self, group: &str, kind: &str, handler: F) -> Self
    where
        F: Fn(AdmissionRequest) -> BoxFuture<'static, Verdict> + Send + Sync + 'static,
    {
        self.handlers.entry((group.to_owned(), kind.to_owned())).or_default().push(Arc::new(handler));
        self
    }

    /// Warns whoever writes an object of a kind that is taken as it is: `adviser` is asked when its spec is new.
    #[must_use]
    pub fn advises<F>(mut self, group: &str, kind: &str, adviser: F) -> Self
    where
        F: Fn(AdmissionRequest) -> BoxFuture<'static, Vec<String>> + Send + Sync + 'static,
    {
        self.advisers.entry((group.to_owned(), kind.to_owned())).or_default().push(Arc::new(adviser));
        self
    }

    /// Denies objects of a kind that cannot be decoded, before its handler is asked, if it has one.
    #[must_use]
    pub fn decodes<K: Resource<DynamicType = ()> + DeserializeOwned>(mut self) -> Self {
        let kind = (K::group(&()).into_owned(), K::kind(&()).into_owned());
        self.decoders.insert(kind, decode::<K>);
        self
    }

    /// Answers for the versions of kinds, and words refusals as the object was written.
    #[must_use]
    pub fn versions(mut self, versions: Versions) -> Self {
        self.versions = Some(versions);
        self
    }

    /// The groups and kinds whose objects are decoded, sorted.
    #[must_use]
    pub fn decoded(&self) -> Vec<(String, String)> {
        let mut kinds: Vec<_> = self.decoders.keys().cloned().collect();
        kinds.sort();
        kinds
    }

    /// The groups and kinds that have a handler, sorted.
    #[must_use]
    pub fn kinds(&self) -> Vec<(String, String)> {
        let mut kinds: Vec<_> = self.handlers.keys().cloned().collect();
        kinds.sort();
        kinds
    }

    /// The HTTP routes: `/validate`, `/mutate`, `/convert`, `/healthz`.
    pub fn router(self) -> Router {
        Router::new()
            .route("/validate", post(validate))
            .route("/mutate", post(mutate))
            .route("/convert", post(convert::convert))
            .route("/healthz", get(|| async { "ok" }))
            .layer(DefaultBodyLimit::max(LARGEST_REVIEW))
            .with_state(Arc::new(self))
    }

    /// Serves on an address; see [`Admission::serve_on`].
    ///
    /// # Errors
    /// When the certificate cannot be read or the address not be bound.
    pub async fn serve(self, address: SocketAddr, certificates: &Path) -> Result<(), ServeError> {
        let listener = TcpListener::bind(address).await.map_err(ServeError::Serve)?;
        self.serve_on(listener, certificates, LOOK_AT_CERTIFICATES).await
    }

    /// Serves over TLS with `tls.crt` and `tls.key` of a folder, which are looked at again and again: when they are
    /// exchanged, the next connection has the new ones.
    ///
    /// # Errors
    /// When the certificate cannot be read or the socket fails.
    pub async fn serve_on(
        self,
        listener: TcpListener,
        certificates: &Path,
        look_every: Duration,
    ) -> Result<(), ServeError> {
        let pair = read(certificates).await.map_err(ServeError::Certificate)?;
        let (tell, told) = watch::channel(Some(pair));
        tokio::select! {
            ended = self.serve_told(listener, told) => ended,
            () = look(&tell, certificates, look_every) => Ok(()),
        }
    }

    /// Serves on a socket with the certificate that it is told of, from the first one on, and takes each new one.
    ///
    /// # Errors
    /// When the first certificate cannot be used or the socket fails.
    pub async fn serve_told(self, listener: TcpListener, mut told: Told) -> Result<(), ServeError> {
        // Who would have told of one may be gone.
        let first = told.wait_for(Option::is_some).await.ok().and_then(|pair| pair.clone());
        let Some(first) = first else { return Ok(()) };
        let tls = RustlsConfig::from_pem(first.certificate_pem.into(), first.key_pem.into());
        let tls = tls.await.map_err(ServeError::Certificate)?;
        let listener = listener.into_std().map_err(ServeError::Serve)?;
        let server = axum_server::from_tcp_rustls(listener, tls.clone()).map_err(ServeError::Serve)?;
        tokio::select! {
            ended = server.serve(self.router().into_make_service()) => ended.map_err(ServeError::Serve),
            () = exchange(&tls, told) => Ok(()),
        }
    }

    async fn judge(&self, review: &Review) -> Verdict {
        match self.judge_as_sent(review).await {
            Verdict::Deny(bad) => Verdict::Deny(self.as_written(&review.request, bad)),
            verdict => verdict,
        }
    }

    /// What is wrong, in the words of the version that the object was written in. The API server sends it in the one that
    /// is registered.
    fn as_written(&self, request: &Request, bad: Vec<FieldError>) -> Vec<FieldError> {
        let GroupKind { group, version, .. } = &request.request_kind;
        let (Some(versions), false) = (&self.versions, *version == request.kind.version) else { return bad };
        let written = format!("{group}/{version}");
        let worded =
            |bad: FieldError| match (versions.worded)(&request.object, &written, &bad.path, &bad.value) {
                Some((path, value)) => FieldError { path, value, ..bad },
                None => bad,
            };
        bad.into_iter().map(worded).collect()
    }

    async fn judge_as_sent(&self, review: &Review) -> Verdict {
        let kind = (review.request.kind.group.clone(), review.request.kind.kind.clone());
        let request = AdmissionRequest::from(review.request.clone());
        if request.is_departure() {
            return Verdict::Allow;
        }
        if let Some(decoder) = self.decoders.get(&kind).filter(|_| request.changes_spec())
            && let Err(bad) = decoder(&request.object)
        {
            return Verdict::Deny(vec![bad]);
        }
        let (mut request, mut filled) = (request, false);
        for handler in self.handlers.get(&kind).into_iter().flatten() {
            // A fault in a handler must not end the process for whoever sends the same object again and again.
            let verdict = guarded(handler(request.clone())).await;
            match verdict.unwrap_or_else(|fault| Verdict::Refuse(500, fault.to_string())) {
                Verdict::Allow => {}
                Verdict::Replace(object) => (request.object, filled) = (object, true),
                no => return no,
            }
        }
        if filled { Verdict::Replace(request.object) } else { Verdict::Allow }
    }

    /// What is to be said of an object that is taken. An adviser that fails has nothing to say.
    async fn warnings(&self, review: &Review) -> Vec<String> {
        let kind = (review.request.kind.group.clone(), review.request.kind.kind.clone());
        let request = AdmissionRequest::from(review.request.clone());
        let mut warnings = Vec::new();
        for adviser in self.advisers.get(&kind).into_iter().flatten().filter(|_| request.changes_spec()) {
            warnings.extend(guarded(adviser(request.clone())).await.unwrap_or_default());
        }
        warnings
    }
}
