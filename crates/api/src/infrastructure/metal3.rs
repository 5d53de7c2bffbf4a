//! Shapes that the kinds of Metal3's provider share, and those that every Metal3 kind's status has.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::V1Beta1Condition;

/// An object of Metal3 by its name; its kind follows from the field.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Metal3ObjectRef {
    /// Name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Namespace; that of the object that has the reference when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Status in the form of older API versions.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
pub struct Metal3Deprecated {
    /// Of v1beta1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v1beta1: Option<Metal3V1Beta1>,
}

/// Status in the form of v1beta1.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Metal3V1Beta1 {
    /// Conditions of v1beta1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub conditions: Vec<V1Beta1Condition>,
    /// What is wrong for good, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// What is wrong for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_message: Option<String>,
}
