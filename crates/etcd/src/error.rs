//! Why the store could not do what it was asked.

/// A failed operation. The variant names it; messages never carry credentials.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificates or endpoints cannot be used.
    #[error("the DataStore's endpoints or certificates cannot be used: {0}")]
    Access(String),
    /// No member answers.
    #[error("{doing}: no member answers: {cause}")]
    Unavailable {
        /// What was being done.
        doing: &'static str,
        /// What the transport said.
        cause: String,
    },
    /// The client certificate is not that of `root`, or `root` may not do this.
    #[error("{doing}: not allowed: {cause}")]
    Denied {
        /// What was being done.
        doing: &'static str,
        /// What the store said.
        cause: String,
    },
    /// A user or prefix is not the claimant's.
    #[error("{0}")]
    Foreign(crate::Foreign),
    /// The store refused for another reason.
    #[error("{doing}: {cause}")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// What the store said.
        cause: String,
    },
}

impl Error {
    /// Whether another try, later, may succeed without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}
