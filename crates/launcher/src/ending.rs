//! How a VM ended, as the kubelet and the VirtualMachineInstance controller read it.

use serde::{Deserialize, Serialize};

/// The kubelet keeps this many bytes of a termination message.
const MESSAGE_LIMIT: usize = 4096;

/// The termination message of `compute`, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ending {
    /// One CamelCase word.
    pub reason: String,
    /// One line for people.
    pub message: String,
    /// Phase of the VirtualMachineInstance.
    pub phase: Phase,
}

/// Final phase of a VirtualMachineInstance; exit status 0 and 1 of `compute`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// The guest powered itself off.
    Succeeded,
    /// Anything else.
    Failed,
}

impl Ending {
    /// The guest powered itself off.
    pub fn succeeded(reason: &str, message: impl Into<String>) -> Ending {
        Ending { reason: reason.to_owned(), message: message.into(), phase: Phase::Succeeded }
    }

    /// It did not end well.
    pub fn failed(reason: &str, message: impl Into<String>) -> Ending {
        Ending { reason: reason.to_owned(), message: message.into(), phase: Phase::Failed }
    }

    /// It did not end well, and this is why, with all causes.
    pub fn error(reason: &str, error: &dyn std::error::Error) -> Ending {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            message = format!("{message}: {inner}");
            cause = inner.source();
        }
        Ending::failed(reason, message)
    }

    /// The termination message: valid JSON within the kubelet's limit.
    pub fn to_json(&self) -> String {
        let mut ending = self.clone();
        loop {
            let json = serde_json::to_string(&ending).unwrap_or_default();
            if json.len() <= MESSAGE_LIMIT {
                return json;
            }
            let keep = ending.message.floor_char_boundary(ending.message.len() / 2);
            ending.message.truncate(keep);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_but_stays_json() {
        let ending = Ending::failed("QemuCrashed", "ö\u{1}\"".repeat(5000));
        let json = ending.to_json();
        assert!(json.len() <= MESSAGE_LIMIT);
        let read: Ending = serde_json::from_str(&json).unwrap();
        assert_eq!((read.reason.as_str(), read.phase), ("QemuCrashed", Phase::Failed));
    }

    #[test]
    fn causes_follow_in_order() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] std::io::Error);
        let ending = Ending::error("X", &Outer(std::io::Error::other("inner")));
        assert_eq!(ending.message, "outer: inner");
    }
}
