//! An object of any kind. It is never printed but by its name: it may be a Secret.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;

use crate::kinds::Kind;

/// What identifies an object in a namespace, at either side.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// API group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// An object as one side has it.
#[derive(Clone)]
pub struct Object {
    /// Its kind.
    pub of: Arc<Kind>,
    /// All of it.
    pub is: DynamicObject,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key())
    }
}

impl Object {
    /// Its key.
    #[must_use]
    pub fn key(&self) -> Key {
        Key {
            group: self.of.resource.group.clone(),
            kind: self.of.resource.kind.clone(),
            name: self.is.name_any(),
        }
    }

    /// Its kind, without the group.
    pub fn kind(&self) -> &str {
        &self.of.resource.kind
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.is.metadata.name.as_deref().unwrap_or_default()
    }

    /// Its UID, which every object of an API server has.
    pub fn uid(&self) -> &str {
        self.is.metadata.uid.as_deref().unwrap_or_default()
    }

    /// A field, or null.
    pub fn at(&self, pointer: &str) -> &Value {
        self.is.data.pointer(pointer).unwrap_or(&Value::Null)
    }

    /// A field that is a word, or nothing.
    pub fn text(&self, pointer: &str) -> &str {
        self.at(pointer).as_str().unwrap_or_default()
    }

    /// An annotation's value.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.is.annotations().get(name).map(String::as_str)
    }

    /// A label's value.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.is.labels().get(name).map(String::as_str)
    }

    /// Who owns it.
    pub fn owners(&self) -> &[OwnerReference] {
        self.is.metadata.owner_references.as_deref().unwrap_or_default()
    }

    /// A condition.
    pub fn condition(&self, kind: &str) -> Option<&Value> {
        self.at("/status/conditions").as_array()?.iter().find(|condition| condition["type"] == kind)
    }

    /// Whether it is content that controllers only read.
    pub fn is_content(&self) -> bool {
        matches!(self.kind(), "Secret" | "ConfigMap") && self.of.resource.group.is_empty()
    }
}
