//! Why a write failed.

use crate::key::Key;

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
    /// It has been deleted, and another made under its name.
    #[error("{kind} {key} has been deleted and made again")]
    Replaced {
        /// Kind of the object.
        kind: String,
        /// Its key.
        key: Key,
    },
    /// The API server refused, or did not answer.
    #[error("{verb} {kind} {key}: {}", crate::said(source))]
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

    /// Whether the object is not there any more (404), or not the same.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404) || matches!(self, Self::Replaced { .. })
    }

    /// Whether somebody else wrote first, or the object exists already (409).
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// Whether it passes by itself: somebody else wrote in between, or the namespace is going away. (That a name is taken
    /// does not.)
    #[must_use]
    pub fn passes(&self) -> bool {
        let Self::Api { source, .. } = self else { return false };
        let is_conflict = matches!(source.as_ref(), kube::Error::Api(status) if status.code == 409 && status.reason == "Conflict");
        is_conflict || self.is_terminating()
    }

    /// Whether the object's namespace is going away, so that nothing can be made in it any more.
    #[must_use]
    pub fn is_terminating(&self) -> bool {
        matches!(self, Self::Api { source, .. } if crate::is_terminating(source))
    }
}
