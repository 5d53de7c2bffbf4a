//! The schema of a variable: the keywords of OpenAPI v3 that ClusterClasses have. Reading and filling in.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// A schema, also one inside of another.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Schema {
    /// For people.
    pub description: Option<String>,
    /// For people.
    pub example: Option<Value>,
    /// object, array, string, integer, number or boolean.
    #[serde(rename = "type")]
    pub type_: Option<String>,
    /// Fields of an object.
    pub properties: BTreeMap<String, Schema>,
    /// All other fields of an object.
    pub additional_properties: Option<Box<Schema>>,
    /// Fields at most.
    pub max_properties: Option<u64>,
    /// Fields at least.
    pub min_properties: Option<u64>,
    /// Fields that must be there.
    pub required: Vec<String>,
    /// Items of an array.
    pub items: Option<Box<Schema>>,
    /// Items at most.
    pub max_items: Option<u64>,
    /// Items at least.
    pub min_items: Option<u64>,
    /// No two items are the same.
    pub unique_items: Option<bool>,
    /// What a text is.
    pub format: Option<String>,
    /// Letters at most.
    pub max_length: Option<u64>,
    /// Letters at least.
    pub min_length: Option<u64>,
    /// Regular expression of a text.
    pub pattern: Option<String>,
    /// A number is not above.
    pub maximum: Option<i64>,
    /// Nor the same.
    pub exclusive_maximum: Option<bool>,
    /// A number is not below.
    pub minimum: Option<i64>,
    /// Nor the same.
    pub exclusive_minimum: Option<bool>,
    /// Fields that are not listed stay.
    #[serde(rename = "x-kubernetes-preserve-unknown-fields")]
    pub preserve_unknown_fields: Option<bool>,
    /// One of these.
    #[serde(rename = "enum")]
    pub enum_: Option<Vec<Value>>,
    /// Where nothing is given.
    #[serde(deserialize_with = "present")]
    pub default: Option<Value>,
    /// Rules in CEL, which are refused.
    #[serde(rename = "x-kubernetes-validations")]
    pub validations: Vec<Value>,
    /// For people.
    #[serde(rename = "x-metadata")]
    pub metadata: Option<Value>,
    /// A number or a text.
    #[serde(rename = "x-kubernetes-int-or-string")]
    pub int_or_string: Option<bool>,
    /// All of these hold.
    pub all_of: Vec<Schema>,
    /// Exactly one of these holds.
    pub one_of: Vec<Schema>,
    /// One of these holds.
    pub any_of: Vec<Schema>,
    /// This does not hold.
    pub not: Option<Box<Schema>>,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Schema {
    /// Reads a schema.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    pub fn read(value: &Value) -> Result<Self, String> {
        Self::deserialize(value).map_err(|error| error.to_string())
    }

    /// Puts defaults where nothing is given.
    pub fn fill(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, schema) in &self.properties {
                    match fields.get_mut(name) {
                        Some(inner) => schema.fill(inner),
                        None => {
                            if let Some(mut default) = schema.default.clone() {
                                schema.fill(&mut default);
                                fields.insert(name.clone(), default);
                            }
                        }
                    }
                }
                if let Some(schema) = &self.additional_properties {
                    let others = fields.iter_mut().filter(|(name, _)| !self.properties.contains_key(*name));
                    others.for_each(|(_, inner)| schema.fill(inner));
                }
            }
            Value::Array(items) => {
                if let Some(schema) = &self.items {
                    items.iter_mut().for_each(|item| schema.fill(item));
                }
            }
            _ => {}
        }
    }

    /// Whether fields that are not listed stay.
    pub(super) fn keeps_unknown(&self) -> bool {
        self.preserve_unknown_fields == Some(true)
    }
}
