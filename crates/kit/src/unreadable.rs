//! Objects that the API server stores and our types refuse: what is known of them, and where they are at fault.
//!
//! An unreadable object is neither its last good copy nor absent. It is not among the objects of its [`Watch`], so that
//! nobody acts on it; but its metadata is kept, [`Watch::find`] tells it from an absent one, and a [`Controller`] leaves
//! its owners and what it owns alone until it can be read or is gone.
//!
//! [`Watch`]: crate::Watch
//! [`Watch::find`]: crate::Watch::find
//! [`Controller`]: crate::Controller

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::admission::FieldError;
use crate::decode::decode as decode_value;
use crate::key::Key;
use crate::text::cut;

/// Type of the condition that is False on an object that cannot be read, where its kind has conditions.
pub(crate) const CONDITION: &str = "scute.dev/Readable";

/// Whether an object, as it was sent, may have that condition. Cheap, as it is asked of every object.
pub(crate) fn may_say_unreadable(raw: &RawValue) -> bool {
    raw.get().contains(CONDITION)
}

/// The most bytes that a message quotes of what the decoder says.
const LONGEST_QUOTE: usize = 300;

/// An object whose content cannot be understood.
#[derive(Clone)]
pub struct Unreadable {
    /// Its kind.
    pub kind: String,
    /// Its metadata, without managed fields.
    pub metadata: ObjectMeta,
    /// The first field at fault and what is wrong with it. It quotes the value: not for logs.
    pub fault: FieldError,
    raw: Box<RawValue>,
}

impl Unreadable {
    /// Its key.
    #[must_use]
    pub fn key(&self) -> Key {
        Key::new(
            self.metadata.namespace.clone().unwrap_or_default(),
            self.metadata.name.clone().unwrap_or_default(),
        )
    }

    /// What one of its fields holds, for who must know that one field of every object: `/spec/dataStoreSchema`.
    #[must_use]
    pub fn value(&self, pointer: &str) -> Option<Value> {
        serde_json::from_str::<Value>(self.raw.get()).ok()?.pointer(pointer).cloned()
    }

    /// A sentence for who made the object.
    #[must_use]
    pub fn message(&self) -> String {
        format!("{} {} cannot be read: {}", self.kind, self.key(), self.fault)
    }
}

impl fmt::Debug for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unreadable({} {} at {:?})", self.kind, self.key(), self.fault.path)
    }
}

/// Decodes one object. None when not even its metadata can be read, which no API server sends.
pub(crate) fn decode<K>(kind: &str, raw: &RawValue) -> Option<Result<K, Unreadable>>
where
    K: DeserializeOwned + Resource,
{
    if let Ok(object) = serde_json::from_str::<K>(raw.get()) {
        return Some(Ok(object));
    }
    let Metadata { mut metadata } = serde_json::from_str(raw.get()).ok()?;
    metadata.managed_fields = None;
    // Only now, that it is known to be at fault: keeping the path costs time.
    let fault = decode_value::<K>(&serde_json::from_str(raw.get()).ok()?).err();
    let FieldError { path: field, value, detail: mut reason } =
        fault.unwrap_or_else(|| FieldError::new("object", "", "it is not what the kind has"));
    cut(&mut reason, LONGEST_QUOTE);
    // The content of a Secret goes nowhere, not even a word of it.
    let fault = match kind {
        "Secret" => FieldError::new(field, "", "it is not what the kind has"),
        _ => FieldError::new(field, value, reason),
    };
    Some(Err(Unreadable { kind: kind.to_owned(), metadata, fault, raw: raw.to_owned() }))
}

#[derive(Deserialize)]
struct Metadata {
    metadata: ObjectMeta,
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Pod, Secret};
    use serde_json::json;

    use super::*;

    fn raw(value: &Value) -> Box<RawValue> {
        serde_json::value::to_raw_value(value).unwrap()
    }

    #[test]
    fn the_field_and_the_fault_are_named() {
        let pod = raw(&json!({
            "metadata": {"namespace": "a", "name": "b", "uid": "u", "managedFields": [{"manager": "m"}]},
            "spec": {"containers": [{"name": "c", "ports": [{"containerPort": "http"}]}]},
        }));
        let bad = decode::<Pod>("Pod", &pod).unwrap().unwrap_err();
        assert_eq!(bad.fault.path, "spec.containers[0].ports[0].containerPort");
        assert_eq!(bad.metadata.managed_fields, None);
        assert_eq!(bad.value("/spec/containers/0/name"), Some(json!("c")));
        assert_eq!(
            bad.message(),
            "Pod a/b cannot be read: spec.containers[0].ports[0].containerPort: \
             Invalid value: \"http\": invalid type: string \"http\", expected i32"
        );
    }

    #[test]
    fn a_secret_is_not_quoted_and_no_debug_output_has_content() {
        let secret = raw(&json!({"metadata": {"name": "b"}, "data": "hunter2"}));
        let bad = decode::<Secret>("Secret", &secret).unwrap().unwrap_err();
        assert!(!bad.message().contains("hunter2"), "{}", bad.message());
        assert!(!format!("{bad:?}").contains("hunter2"), "{bad:?}");
    }

    #[test]
    fn what_is_no_object_is_none() {
        assert!(decode::<Pod>("Pod", &raw(&json!({"metadata": 1}))).is_none());
    }
}
