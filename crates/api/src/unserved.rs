//! Upstream's fields that users bring and that are not honoured (yet): the schema has them, and refuses them with a
//! reason. A field that no schema has is refused only where the client asks for strict validation, and lost in silence
//! everywhere else. Pure.

mod fields;

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, ValidationRule,
};
use serde_json::json;

pub use fields::fields;

/// A field that is not honoured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unserved {
    /// Kind.
    pub kind: &'static str,
    /// Path in the object, with `[]` behind a list.
    pub path: String,
    /// What the field holds.
    pub shape: Shape,
    /// Why it is refused, and what to do.
    pub why: &'static str,
}

/// What a field holds, and so when it asks for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// An object; even an empty one is a wish.
    Object,
    /// An object; an empty one asks for nothing.
    Settings,
    /// A list of objects; an empty one is no wish.
    List,
    /// true or false; false is no wish.
    Flag,
    /// A text; an empty one is no wish.
    Text,
}

impl Unserved {
    /// The path of what holds the field, and its name.
    fn split(&self) -> (&str, &str) {
        self.path.rsplit_once('.').unwrap_or(("", &self.path))
    }

    fn schema(&self) -> JSONSchemaProps {
        let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let (schema, rule) = match self.shape {
            Shape::Object => (any, "false"),
            // Its size cannot be asked for where nothing is said of what is in it.
            Shape::Settings => (json!({"type": "object", "additionalProperties": any}), "size(self) == 0"),
            Shape::List => (json!({"type": "array", "items": any}), "size(self) == 0"),
            Shape::Flag => (json!({"type": "boolean"}), "!self"),
            Shape::Text => (json!({"type": "string"}), "size(self) == 0"),
        };
        let mut schema: JSONSchemaProps = serde_json::from_value(schema).unwrap_or_default();
        schema.description = Some(format!("Refused: {}.", self.why));
        schema.x_kubernetes_validations = Some(vec![ValidationRule {
            rule: rule.to_owned(),
            message: Some(self.why.to_owned()),
            reason: Some("FieldValueForbidden".to_owned()),
            ..ValidationRule::default()
        }]);
        schema
    }
}

/// A definition whose schemas refuse the unserved fields of its kind.
#[must_use]
pub fn refusing(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let fields: Vec<_> = fields().into_iter().filter(|field| field.kind == crd.spec.names.kind).collect();
    for version in &mut crd.spec.versions {
        let Some(root) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) else {
            continue;
        };
        for field in &fields {
            let (parent, name) = field.split();
            // A field that is served in the meantime keeps its schema; a test says that its line has to go.
            if let Some(siblings) = fields_at(root, parent) {
                siblings.entry(name.to_owned()).or_insert_with(|| field.schema());
            }
        }
    }
    crd
}

/// The fields of what stands at a path.
fn fields_at<'a>(
    root: &'a mut JSONSchemaProps,
    path: &str,
) -> Option<&'a mut BTreeMap<String, JSONSchemaProps>> {
    let mut schema = root;
    for step in path.split('.') {
        let (name, list) = step.strip_suffix("[]").map_or((step, false), |name| (name, true));
        schema = schema.properties.as_mut()?.get_mut(name)?;
        if list {
            let Some(JSONSchemaPropsOrArray::Schema(items)) = schema.items.as_mut() else { return None };
            schema = items;
        }
    }
    // An object without fields of its own (a spec that may be empty) has none listed.
    Some(schema.properties.get_or_insert_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unserved_field_has_a_place_and_is_not_served() {
        // The definitions before unserved fields are put in.
        let mut served: BTreeMap<_, _> =
            crate::served().into_iter().map(|crd| (crd.spec.names.kind.clone(), crd)).collect();
        for field in fields() {
            let (parent, name) = field.split();
            let crd = served.get_mut(field.kind).unwrap_or_else(|| panic!("no kind for {field:?}"));
            for version in &mut crd.spec.versions {
                let schema = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut());
                let siblings = schema.and_then(|root| fields_at(root, parent));
                let siblings = siblings.unwrap_or_else(|| panic!("nothing holds {field:?}"));
                assert!(!siblings.contains_key(name), "{field:?} is served: take its line out");
            }
        }
    }
}
