//! A field that cannot be accepted: what validation of a kind gives, and what the webhook says. Pure.

use std::fmt;

/// One field that cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Path of the field, for example `spec.bmc.address`.
    pub path: String,
    /// The value that was given; never that of a secret.
    pub value: String,
    /// What is wrong, and what would be right.
    pub detail: String,
}

impl Invalid {
    /// A field, its value, and what would be right.
    pub fn new(path: impl Into<String>, value: impl fmt::Display, detail: impl fmt::Display) -> Self {
        Self { path: path.into(), value: value.to_string(), detail: detail.to_string() }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: Invalid value: {:?}: {}", self.path, self.value, self.detail)
    }
}
