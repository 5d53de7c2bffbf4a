//! What an API server, or its silence, says to a person: one sentence, never a debug dump.

use std::error::Error;

use crate::client::GivenUp;

/// The error in one sentence, without what the client library adds to it.
#[must_use]
pub fn said(error: &kube::Error) -> String {
    match error {
        // Of a patch that does not fit, say, the message is always the same, and the cause tells.
        kube::Error::Api(status) if status.message.starts_with("the server rejected our request") => {
            let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
            causes.first().map_or(&status.message, |cause| &cause.message).clone()
        }
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        kube::Error::Api(status) => format!("the API server answered {} {}", status.code, status.reason),
        // What was answered may be a Secret.
        kube::Error::SerdeError(_) => "the API server's answer is not of the expected form".to_owned(),
        kube::Error::Service(_) | kube::Error::HyperError(_) | kube::Error::ReadEvents(_) => {
            let mut cause: &(dyn Error + 'static) = error;
            while let Some(next) = cause.source() {
                cause = next;
            }
            match cause.downcast_ref::<GivenUp>() {
                Some(given_up) => given_up.to_string(),
                None => format!("the API server cannot be reached: {cause}"),
            }
        }
        other => other.to_string(),
    }
}

/// An error and its causes in one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(&format!(": {next}"));
        cause = next.source();
    }
    text
}

/// Whether the API server refused because the object's namespace is going away: it takes with it what is there, and
/// nothing can be made in it any more.
#[must_use]
pub fn is_terminating(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn the_api_servers_own_words_are_all_that_is_said() {
        let refused = kube::Error::Api(Box::new(
            Status::failure("pods \"a\" is forbidden: no", "Forbidden").with_code(403),
        ));
        assert_eq!(said(&refused), "pods \"a\" is forbidden: no");
        let silent = kube::Error::Api(Box::new(Status::failure("", "Conflict").with_code(409)));
        assert_eq!(said(&silent), "the API server answered 409 Conflict");
        let odd = kube::Error::SerdeError(serde_json::from_str::<u8>("\"hunter2\"").unwrap_err());
        assert!(!said(&odd).contains("hunter2"));
    }
}
