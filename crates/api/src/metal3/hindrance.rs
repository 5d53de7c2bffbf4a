//! Why a Metal3Machine cannot take a BareMetalHost. In: the host. Out: the first reason, for a person. Pure.

use std::fmt;

use k8s_openapi::api::core::v1::ObjectReference;

use super::{BareMetalHost, ProvisioningState};
use crate::infrastructure::NODE_REUSE_LABEL;

/// Why a host cannot be taken now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// Somebody has it.
    InUse {
        /// Kind of the user.
        kind: String,
        /// Its name.
        name: String,
    },
    /// It goes.
    Deleted,
    /// Nobody works on it, by annotation.
    Paused,
    /// Its BMC is left alone, by annotation.
    Detached,
    /// Somebody has marked it as broken.
    Unhealthy,
    /// The last error.
    Failed(String),
    /// A state in which nobody can have it.
    State(ProvisioningState),
}

impl BareMetalHost {
    /// Why no Metal3Machine can take it; `None` when one can.
    #[must_use]
    pub fn hindrance(&self) -> Option<Hindrance> {
        if let Some(user) = self.spec.consumer_ref.as_ref().filter(|user| !self.is_kept(user)) {
            let text = |part: &Option<String>| part.clone().unwrap_or_default();
            return Some(Hindrance::InUse { kind: text(&user.kind), name: text(&user.name) });
        }
        let error = self.status.as_ref().map(|status| status.error_message.as_str()).unwrap_or_default();
        let state = self.status.as_ref().map(|status| status.provisioning.state).unwrap_or_default();
        match state {
            _ if self.metadata.deletion_timestamp.is_some() => Some(Hindrance::Deleted),
            _ if self.is_paused() => Some(Hindrance::Paused),
            _ if self.detached().is_some() => Some(Hindrance::Detached),
            _ if self.is_unhealthy() => Some(Hindrance::Unhealthy),
            _ if !error.is_empty() => Some(Hindrance::Failed(error.to_owned())),
            ProvisioningState::Available | ProvisioningState::Ready => None,
            state => Some(Hindrance::State(state)),
        }
    }

    /// Whether a consumer is only the Cluster of the machines that come next: upstream's controllers write it down beside the
    /// label of a host that is kept for them.
    fn is_kept(&self, user: &ObjectReference) -> bool {
        let labels = self.metadata.labels.as_ref();
        user.kind.as_deref() == Some("Cluster")
            && labels.is_some_and(|labels| labels.contains_key(NODE_REUSE_LABEL))
    }
}

impl fmt::Display for Hindrance {
    /// What follows the name of the host.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { kind, name } => write!(f, "is in use by {kind} {name}"),
            Self::Deleted => f.write_str("is being deleted"),
            Self::Paused => f.write_str("is paused"),
            Self::Detached => f.write_str("is detached"),
            Self::Unhealthy => f.write_str("is marked as unhealthy"),
            Self::Failed(error) => write!(f, "has an error: {error}"),
            Self::State(ProvisioningState::None) => f.write_str("is not looked at yet"),
            Self::State(state) => write!(f, "is {state}"),
        }
    }
}
