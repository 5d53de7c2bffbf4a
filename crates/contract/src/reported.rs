//! Conditions of others.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::DynamicObject;
use serde_json::Value;

use crate::fields::at;
use crate::served::Contract;

/// A condition of a provider's object, of either generation of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// True, False or Unknown.
    pub status: String,
    /// One word; never empty.
    pub reason: String,
    /// A sentence, possibly empty.
    pub message: String,
}

impl Reported {
    /// The condition of this type, if the object has one.
    #[must_use]
    pub fn of(object: &DynamicObject, type_: &str) -> Option<Self> {
        Self::among(at(object, &["status", "conditions"])?.as_array()?, type_)
    }

    /// The Ready condition of v1beta1, where the contract keeps it.
    #[must_use]
    pub fn deprecated_ready(object: &DynamicObject, contract: Contract) -> Option<Self> {
        match contract {
            Contract::V1Beta1 => Self::of(object, "Ready"),
            Contract::V1Beta2 => {
                let listed = at(object, &["status", "deprecated", "v1beta1", "conditions"])?.as_array()?;
                Self::among(listed, "Ready")
            }
        }
    }

    fn among(listed: &[Value], type_: &str) -> Option<Self> {
        let found =
            listed.iter().find(|condition| condition.get("type").and_then(Value::as_str) == Some(type_))?;
        let field = |name: &str| found.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (status, reason) = (field("status"), field("reason"));
        let reason = if reason.is_empty() { format!("{type_}{status}") } else { reason };
        Some(Self { status, reason, message: field("message") })
    }
}

impl From<&Condition> for Reported {
    fn from(condition: &Condition) -> Self {
        Self {
            status: condition.status.clone(),
            reason: condition.reason.clone(),
            message: condition.message.clone(),
        }
    }
}
