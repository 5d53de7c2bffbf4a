//! Why a Metal3Machine cannot take a BareMetalHost. In: the host. Out: the first reason, for a person. Pure.

use std::fmt;

use super::{BareMetalHost, ProvisioningState};

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
        if let Some(user) = &self.spec.consumer_ref {
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
