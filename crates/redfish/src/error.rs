//! Why a BMC did not do what it was asked, in the classes that a state machine acts on.

use std::time::Duration;

/// A failed operation. Its words are for a person; they carry no credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No answer, or none that is Redfish. It may come back.
    #[error("the BMC does not answer: {0}")]
    Unreachable(String),
    /// It answers, and is not trusted.
    #[error("the BMC's certificate is not trusted: {words}{}", shown(.fingerprint))]
    Tls {
        /// SHA-256 of the certificate that it showed, if it came so far.
        fingerprint: Option<String>,
        /// What is wrong with it.
        words: String,
    },
    /// User name or password are wrong, or the account may not do this.
    #[error("the BMC refuses the credentials: {0}")]
    Refused(String),
    /// The credentials were refused twice; they are not sent again, lest the BMC lock the account.
    #[error("the BMC has refused these credentials twice; they are not tried again until the Secret changes")]
    Locked,
    /// Not now: the host is in POST, the BMC is busy, there are too many sessions.
    #[error("the BMC cannot do that now: {words}")]
    Busy {
        /// When it wants to be asked again, if it says so.
        retry_after: Option<Duration>,
        /// What it says.
        words: String,
    },
    /// The BMC cannot do this at all.
    #[error("the BMC does not support this: {0}")]
    NotSupported(String),
    /// The address names no System, or leaves open which.
    #[error("{0}")]
    NoSystem(String),
    /// A value is refused.
    #[error("the BMC refuses {}: {words}", field.as_deref().unwrap_or("the request"))]
    Rejected {
        /// Which property or parameter, if it says so.
        field: Option<String>,
        /// What it says.
        words: String,
    },
    /// The BMC answered success, and nothing has changed.
    #[error("the BMC took {field} {wanted:?} and still shows {found:?}")]
    NotTaken {
        /// The property that was read back.
        field: &'static str,
        /// What was written.
        wanted: String,
        /// What is shown.
        found: String,
    },
}

impl Error {
    /// Whether another try, later, may succeed without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Busy { .. } | Self::NotTaken { .. } => true,
            Self::Tls { .. }
            | Self::Refused(_)
            | Self::Locked
            | Self::NotSupported(_)
            | Self::NoSystem(_)
            | Self::Rejected { .. } => false,
        }
    }

    pub(crate) fn busy(words: impl Into<String>) -> Self {
        Self::Busy { retry_after: None, words: words.into() }
    }
}

fn shown(fingerprint: &Option<String>) -> String {
    fingerprint.as_ref().map_or_else(String::new, |print| format!(" (its SHA-256 is {print})"))
}
