//! What an answer that is no success means. By the names of its messages first, by its status only where they say nothing:
//! vendors answer 400 for "not now" and 500 for "this value is wrong".

use std::time::Duration;

use serde_json::Value;

use crate::error::Error;

/// Words of a BMC are cut here.
const WORDS: usize = 300;
/// Nobody waits longer because a BMC says so.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// Not now. The last part of the message's id, of any registry.
const BUSY: [&str; 18] = [
    "UnableToModifyDuringSystemPOST",
    "InvalidOperationForSystemState",
    "SystemResetRequired",
    "ResetInProgress",
    "NodeBusy",
    "ResourceInUse",
    "ResourceInStandby",
    "ResourceNotReady",
    "ResourceExhaustion",
    "ServiceTemporarilyUnavailable",
    "ServiceShuttingDown",
    "ServiceInUnknownState",
    "SYS518",
    "RAC0218",
    "SessionLimitExceeded",
    "CreateLimitReachedForResource",
    "ServerActionInProgress",
    "ActionParameterValueConflict",
];

/// As many sessions as there may be.
const TOO_MANY_SESSIONS: [&str; 3] = ["RAC0218", "SessionLimitExceeded", "CreateLimitReachedForResource"];

/// Not at all.
const UNSUPPORTED: [&str; 5] = [
    "ActionNotSupported",
    "OperationNotAllowed",
    "QueryNotSupported",
    "ResourceMissingAtURI",
    "ResourceNotFound",
];

/// A field that should not have been sent, or not so.
const FIELD: [&str; 14] = [
    "PropertyUnknown",
    "PropertyNotWritable",
    "PropertyMissing",
    "PropertyValueTypeError",
    "PropertyValueFormatError",
    "PropertyValueNotInList",
    "PropertyValueConflict",
    "ActionParameterMissing",
    "ActionParameterUnknown",
    "ActionParameterNotSupported",
    "ActionParameterValueTypeError",
    "ActionParameterValueFormatError",
    "ActionParameterValueNotInList",
    "CreateFailedMissingReqProperties",
];

/// A message of an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Last part of its id.
    name: String,
    words: String,
    args: Vec<String>,
    /// The property that it is about.
    property: Option<String>,
}

/// An answer that is no success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub status: u16,
    pub messages: Vec<Message>,
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// From the status, the document and the header Retry-After.
    pub fn read(status: u16, document: &Value, retry_after: Option<&str>) -> Self {
        let error = document.get("error").unwrap_or(document);
        let info = error.get("@Message.ExtendedInfo");
        let mut messages: Vec<Message> = match info {
            Some(Value::Array(all)) => all.iter().map(message).collect(),
            Some(one @ Value::Object(_)) => vec![message(one)],
            _ => Vec::new(),
        };
        if messages.is_empty()
            && let Some(code) = error.get("code").and_then(Value::as_str)
        {
            let words = error.get("message").and_then(Value::as_str).unwrap_or_default();
            messages.push(Message {
                name: last(code),
                words: words.into(),
                args: Vec::new(),
                property: None,
            });
        }
        let retry_after = retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        Self { status, messages, retry_after: retry_after.map(|wait| wait.min(LONGEST_WAIT)) }
    }

    fn named(&self, names: &[&str]) -> Option<&Message> {
        self.messages.iter().find(|message| names.contains(&message.name.as_str()))
    }

    pub fn is_too_many_sessions(&self) -> bool {
        self.named(&TOO_MANY_SESSIONS).is_some()
    }

    /// Whether it lacks, or complains of, one of these, in whichever way it says so.
    pub fn mentions(&self, field: &str) -> bool {
        self.messages.iter().any(|message| {
            message.property.as_deref() == Some(field)
                || message.args.iter().any(|arg| arg == field)
                || message.words.contains(field)
        })
    }

    /// Whether it says nothing that could be acted on.
    pub fn says_nothing(&self) -> bool {
        self.messages.iter().all(|message| matches!(message.name.as_str(), "GeneralError" | "Success" | ""))
    }

    pub fn error(&self) -> Error {
        let words = self.words();
        if self.named(&BUSY).is_some() {
            return Error::Busy { retry_after: self.retry_after, words };
        }
        if let Some(message) = self.named(&FIELD) {
            return Error::Rejected { field: message.field(), words };
        }
        if self.named(&UNSUPPORTED).is_some() && self.status != 400 {
            return Error::NotSupported(words);
        }
        let about = self.messages.iter().find_map(|message| message.property.clone());
        match self.status {
            401 | 403 => Error::Refused(words),
            404 | 405 | 410 | 501 => Error::NotSupported(words),
            409 | 412 | 423 | 425 | 428 | 429 | 503 => Error::Busy { retry_after: self.retry_after, words },
            500.. if about.is_none() => Error::Busy { retry_after: self.retry_after, words },
            _ => Error::Rejected { field: about, words },
        }
    }

    fn words(&self) -> String {
        let all = self.messages.iter().filter(|message| !message.words.is_empty());
        let said = all.map(|message| message.words.as_str()).collect::<Vec<_>>().join(" ");
        let said: String = said.chars().filter(|c| !c.is_control()).take(WORDS).collect();
        if said.is_empty() {
            format!("status {}", self.status)
        } else {
            format!("status {}: {said}", self.status)
        }
    }
}

impl Message {
    fn field(&self) -> Option<String> {
        let action = self.name.starts_with("ActionParameter");
        let arg = match (action, self.args.len()) {
            // The first argument is the action for some messages, the parameter's value for others.
            (true, _) if self.name == "ActionParameterMissing" || self.name == "ActionParameterUnknown" => 1,
            (false, _) if self.name.starts_with("PropertyValue") => 1,
            (true, 2..) if self.name.starts_with("ActionParameterValue") => 1,
            _ => 0,
        };
        self.property.clone().or_else(|| self.args.get(arg).cloned())
    }
}

fn last(id: &str) -> String {
    id.rsplit('.').next().unwrap_or_default().to_owned()
}

fn message(value: &Value) -> Message {
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let args = value.get("MessageArgs").and_then(Value::as_array).into_iter().flatten();
    let related = value.get("RelatedProperties").and_then(Value::as_array).into_iter().flatten();
    let related = related.filter_map(Value::as_str).next();
    Message {
        name: last(&text("MessageId")),
        words: text("Message"),
        args: args.filter_map(|arg| arg.as_str().map(str::to_owned)).collect(),
        property: related.and_then(|pointer| pointer.rsplit(['/', '#']).next()).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn class(status: u16, id: &str, args: &[&str]) -> Error {
        let info = json!([{"MessageId": id, "Message": "No.", "MessageArgs": args}]);
        Failure::read(status, &json!({"error": {"@Message.ExtendedInfo": info}}), Some("7")).error()
    }

    #[test]
    fn the_message_decides_and_the_status_only_without_one() {
        let busy = Error::Busy { retry_after: Some(Duration::from_secs(7)), words: "status 400: No.".into() };
        assert_eq!(class(400, "iLO.2.25.UnableToModifyDuringSystemPOST", &[]), busy);
        let rejected = |field: &str, status: u16| Error::Rejected {
            field: Some(field.into()),
            words: format!("status {status}: No."),
        };
        assert_eq!(class(400, "Base.1.5.PropertyValueNotInList", &["x", "Mode"]), rejected("Mode", 400));
        assert_eq!(
            class(500, "Base.1.5.ActionParameterMissing", &["Insert", "UserName"]),
            rejected("UserName", 500)
        );
        assert_eq!(class(400, "Base.1.5.PropertyUnknown", &["Mode"]), rejected("Mode", 400));
        assert!(matches!(class(404, "Base.1.5.ResourceMissingAtURI", &["x"]), Error::NotSupported(_)));
        assert!(matches!(class(401, "Base.1.5.Whatever", &[]), Error::Refused(_)));
        for status in [409, 412, 429, 500, 502, 503] {
            assert!(matches!(class(status, "Base.1.5.GeneralError", &[]), Error::Busy { .. }), "{status}");
        }
        assert!(matches!(class(400, "Base.1.5.GeneralError", &[]), Error::Rejected { field: None, .. }));
    }

    #[test]
    fn errors_of_other_shapes_are_read_too() {
        let bare = Failure::read(
            400,
            &json!({"error": {"code": "Base.1.0.PropertyMissing", "message": "TransferProtocolType"}}),
            None,
        );
        assert!(bare.mentions("TransferProtocolType"));
        let none = Failure::read(418, &Value::Null, Some("soon"));
        assert_eq!(none.error(), Error::Rejected { field: None, words: "status 418".into() });
        assert!(none.says_nothing());
        let pointer =
            json!({"@Message.ExtendedInfo": [{"MessageId": "x", "RelatedProperties": ["#/TransferMethod"]}]});
        assert!(Failure::read(400, &pointer, None).mentions("TransferMethod"));
    }
}
