//! Answers: a document, nothing, or an error with the messages of a registry.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};

/// Prefix of the messages of DMTF's base registry.
pub const BASE: &str = "Base.1.18";

/// The messages that the service uses: name, words (`%1` is the first argument), severity, resolution.
pub const MESSAGES: [(&str, &str, &str, &str); 26] = [
    ("Success", "The request completed successfully.", "OK", "None."),
    (
        "GeneralError",
        "A general error has occurred: see the further messages.",
        "Critical",
        "See the messages.",
    ),
    ("MalformedJSON", "The body of the request is no JSON that can be read.", "Critical", "Send JSON."),
    (
        "UnrecognizedRequestBody",
        "The body of the request is not understood.",
        "Warning",
        "Send a JSON object.",
    ),
    ("NoOperation", "The body of the request has nothing to act on.", "Warning", "Send properties."),
    ("PropertyUnknown", "The property %1 is not one of this resource.", "Warning", "Leave the property out."),
    ("PropertyNotWritable", "The property %1 is read-only.", "Warning", "Leave the property out."),
    ("PropertyMissing", "The property %1 is required and was not sent.", "Warning", "Send the property."),
    (
        "PropertyValueTypeError",
        "The value %1 of %2 has another type than the property.",
        "Warning",
        "Correct it.",
    ),
    ("PropertyValueNotInList", "The value %1 of %2 is not one of those allowed.", "Warning", "Choose one."),
    ("ActionNotSupported", "The action %1 is not supported by the resource.", "Critical", "Look at Actions."),
    ("ActionParameterMissing", "The action %1 requires the parameter %2.", "Critical", "Send the parameter."),
    ("ActionParameterUnknown", "The action %1 does not know the parameter %2.", "Warning", "Leave it out."),
    (
        "ActionParameterNotSupported",
        "The parameter %1 of the action %2 is not taken.",
        "Warning",
        "Leave it out.",
    ),
    (
        "ActionParameterValueNotInList",
        "The value %1 of %2 is not one that %3 takes.",
        "Warning",
        "Choose one.",
    ),
    ("ResourceMissingAtURI", "There is no resource at %1.", "Critical", "Correct the address."),
    ("ResourceAtUriUnauthorized", "Access to %1 was refused: %2.", "Critical", "Send valid credentials."),
    ("InsufficientPrivilege", "The account may not do this.", "Critical", "Use another account."),
    (
        "SessionLimitExceeded",
        "There are as many sessions as there may be.",
        "Critical",
        "End other sessions.",
    ),
    ("ServiceDisabled", "The service at %1 is disabled.", "Critical", "Enable the service, if it can be."),
    (
        "CreateLimitReachedForResource",
        "There are as many resources of this kind as there may be.",
        "Critical",
        "Remove one, if there is one.",
    ),
    ("OperationNotAllowed", "The method is not allowed on this resource.", "Critical", "Use one of Allow."),
    ("PreconditionFailed", "The ETag is not that of the resource.", "Critical", "Read the resource again."),
    ("PreconditionRequired", "A precondition is required.", "Critical", "Send If-Match."),
    ("QueryNotSupported", "The query is not supported.", "Warning", "Leave the query out."),
    ("InternalError", "The service has failed: %1.", "Critical", "Send the request again."),
];

/// One message of an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    id: String,
    args: Vec<String>,
    property: Option<String>,
}

impl Message {
    /// A message of the base registry.
    pub fn base(name: &str, args: &[&str]) -> Self {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Self { id: format!("{BASE}.{name}"), args, property: None }
    }

    /// A message of a vendor's registry.
    pub fn oem(id: &str) -> Self {
        Self { id: id.to_owned(), args: Vec::new(), property: None }
    }

    /// It is about this property, a JSON pointer.
    pub fn about(mut self, pointer: &str) -> Self {
        self.property = Some(pointer.to_owned());
        self
    }

    pub fn document(&self) -> Value {
        let name = self.id.rsplit('.').next().unwrap_or_default();
        let known = MESSAGES.iter().find(|known| known.0 == name && self.id.starts_with(BASE));
        let (words, severity, resolution) = known
            .map_or(("The request was refused.", "Warning", "None."), |known| (known.1, known.2, known.3));
        let mut text = words.to_owned();
        for (at, arg) in self.args.iter().enumerate() {
            text = text.replace(&format!("%{}", at + 1), &format!("'{arg}'"));
        }
        let mut document = json!({
            "@odata.type": "#Message.v1_2_1.Message",
            "MessageId": self.id,
            "Message": text,
            "MessageArgs": self.args,
            "MessageSeverity": severity,
            "Severity": severity,
            "Resolution": resolution,
        });
        if let Some(property) = &self.property {
            document["RelatedProperties"] = json!([property]);
        }
        document
    }
}

/// A request that is not done.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub status: StatusCode,
    pub messages: Vec<Message>,
    pub headers: Vec<(HeaderName, String)>,
}

impl Refusal {
    pub fn new(status: StatusCode, message: Message) -> Self {
        Self { status, messages: vec![message], headers: Vec::new() }
    }

    pub fn bad(message: Message) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub fn missing(path: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, Message::base("ResourceMissingAtURI", &[path]))
    }

    pub fn unauthorized(path: &str) -> Self {
        let message = Message::base("ResourceAtUriUnauthorized", &[path, "no valid credentials"]);
        Self::new(StatusCode::UNAUTHORIZED, message)
            .with(header::WWW_AUTHENTICATE, "Basic realm=\"Redfish\"".into())
    }

    pub fn not_allowed(allow: &str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, Message::base("OperationNotAllowed", &[]))
            .with(header::ALLOW, allow.to_owned())
    }

    pub fn with(mut self, name: HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    pub fn later(self, after: Duration) -> Self {
        self.with(header::RETRY_AFTER, after.as_secs().max(1).to_string())
    }
}

/// A request that is done.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: StatusCode,
    pub body: Option<Value>,
    pub headers: Vec<(HeaderName, String)>,
}

impl Reply {
    pub fn document(body: Value) -> Self {
        Self { status: StatusCode::OK, body: Some(body), headers: Vec::new() }
    }

    pub fn nothing() -> Self {
        Self { status: StatusCode::NO_CONTENT, body: None, headers: Vec::new() }
    }

    pub fn created(location: String, body: Value) -> Self {
        Self { status: StatusCode::CREATED, body: Some(body), headers: vec![(header::LOCATION, location)] }
    }

    pub fn with(mut self, name: HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        let code = match &refusal.messages[..] {
            [only] => only.id.clone(),
            _ => format!("{BASE}.GeneralError"),
        };
        let info: Vec<Value> = refusal.messages.iter().map(Message::document).collect();
        let words = info.first().map(|first| first["Message"].clone()).unwrap_or_default();
        let body = json!({"error": {"code": code, "message": words, "@Message.ExtendedInfo": info}});
        Self { status: refusal.status, body: Some(body), headers: refusal.headers }
    }
}

/// The reply as HTTP; `head` sends its headers only.
pub fn response(reply: Reply, head: bool) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.insert("odata-version", HeaderValue::from_static("4.0"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    if let Some(body) = reply.body {
        let (kind, text) = match body {
            // The service's metadata is the one document that is XML.
            Value::String(xml) => ("application/xml;charset=utf-8", xml),
            json => ("application/json;charset=utf-8", json.to_string()),
        };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if !head {
            *response.body_mut() = Body::from(text);
        }
    }
    response
}
