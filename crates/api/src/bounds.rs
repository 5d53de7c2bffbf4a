//! Bounds of everything in a schema. What a type says itself stays; for the rest they follow from the format of a
//! number and the name of a list or text. Pure.
//!
//! The API server stores whatever the schema lets through. A number that does not fit its type, or a time that only Go
//! can read, makes an object that no manager can decode.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

/// The largest whole number that JSON carries exactly everywhere.
const EXACT: f64 = 9_007_199_254_740_991.0;

/// RFC 3339, years 0 to 2999, offsets below a day: what every parser reads. The API server's own check of the
/// format `date-time` takes an offset of `+99:99` and text behind the time.
pub const TIME: &str = "^[0-2][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$";
/// A quantity such as `4Gi`, `500m` or `2`.
pub const QUANTITY: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";
/// A share of a whole; a plain number is written as one.
const PERCENT: &str = "^[0-9]+%$";

/// A definition in whose schemas every number, list, map and text has bounds.
#[must_use]
pub fn bounded(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            bound("", Place::Field, schema);
        }
    }
    crd
}

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Field,
    Item,
    Value,
}

/// `name` is that of the field that the schema is of, or that the list or map is of whose items or values it describes.
fn bound(name: &str, place: Place, schema: &mut JSONSchemaProps) {
    match schema.type_.as_deref() {
        Some("integer" | "number") => number(schema),
        Some("string") => text(name, place, schema),
        Some("array") => {
            schema.max_items.get_or_insert(longest_list(name));
        }
        Some("object") if schema.additional_properties.is_some() => {
            schema.max_properties.get_or_insert(LARGEST_MAP);
        }
        _ if schema.x_kubernetes_int_or_string == Some(true) => number_or_text(name, schema),
        _ => {}
    }
    for (name, field) in schema.properties.iter_mut().flatten() {
        bound(name, Place::Field, field);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        bound(name, Place::Item, items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        bound(name, Place::Value, values);
    }
}

/// What the type of a number holds.
#[must_use]
pub fn range(format: Option<&str>) -> (f64, f64) {
    match format {
        Some("uint8") => (0.0, f64::from(u8::MAX)),
        Some("uint16") => (0.0, f64::from(u16::MAX)),
        Some("uint32") => (0.0, f64::from(u32::MAX)),
        Some("uint64" | "uint") => (0.0, EXACT),
        Some("int32") => (f64::from(i32::MIN), f64::from(i32::MAX)),
        _ => (-EXACT, EXACT),
    }
}

fn number(schema: &mut JSONSchemaProps) {
    let (least, most) = range(schema.format.as_deref());
    schema.minimum.get_or_insert(least);
    schema.maximum.get_or_insert(most);
}

fn number_or_text(name: &str, schema: &mut JSONSchemaProps) {
    let share = matches!(name, "maxSurge" | "maxUnavailable" | "maxInFlight" | "unhealthyLessThanOrEqualTo");
    let (least, most, pattern) =
        if share { (f64::from(i32::MIN), f64::from(i32::MAX), PERCENT) } else { (-EXACT, EXACT, QUANTITY) };
    schema.minimum.get_or_insert(least);
    schema.maximum.get_or_insert(most);
    schema.max_length.get_or_insert(64);
    // A rule of its own says it better.
    if schema.x_kubernetes_validations.is_none() {
        schema.pattern.get_or_insert_with(|| pattern.to_owned());
    }
}

fn text(name: &str, place: Place, schema: &mut JSONSchemaProps) {
    if schema.enum_.is_some() {
        return;
    }
    if schema.format.as_deref() == Some("date-time") {
        schema.pattern.get_or_insert_with(|| TIME.to_owned());
        schema.max_length.get_or_insert(64);
        return;
    }
    schema.max_length.get_or_insert(longest_text(name, place));
}

/// More labels or annotations than an object has room for.
const LARGEST_MAP: i64 = 4096;

fn longest_list(name: &str) -> i64 {
    match name {
        // Every tenant of a DataStore: as many as the object has room for.
        "usedBy" => 65_536,
        _ => 1024,
    }
}

/// Names of objects are DNS subdomains; a qualified key is one more with a name of 63 behind it.
const NAME: i64 = 253;
const KEY: i64 = 317;

fn longest_text(name: &str, place: Place) -> i64 {
    match (name, place) {
        ("labels" | "matchLabels" | "nodeSelector" | "serviceLabels", Place::Value) => 63,
        // All annotations of an object together.
        ("annotations" | "serviceAnnotations", Place::Value) => 262_144,
        ("key" | "topologyKey" | "matchLabelKeys" | "mismatchLabelKeys" | "type", _) => KEY,
        // As long as the message of a condition may be.
        ("message" | "failureMessage" | "errorMessage", _) => 32_768,
        ("userData" | "userDataBase64" | "networkData" | "networkDataBase64" | "selector", _) => 65_536,
        // Certificates and keys; whole bundles of authorities are some hundred KiB.
        ("content", _) => 1 << 20,
        ("extraArgs" | "apiServer" | "controllerManager" | "scheduler", Place::Item) => 16_384,
        ("name" | "namespace" | "namespaces" | "usedBy", _) => NAME,
        (name, Place::Field) if name.ends_with("Name") => NAME,
        _ => 4096,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema(value: serde_json::Value) -> JSONSchemaProps {
        let mut schema = serde_json::from_value(value).expect("a schema");
        bound("spec", Place::Field, &mut schema);
        schema
    }

    #[test]
    fn what_a_type_says_itself_stays() {
        let given = schema(json!({"type": "integer", "format": "int32", "minimum": 1}));
        assert_eq!((given.minimum, given.maximum), (Some(1.0), Some(2_147_483_647.0)));
        let list = schema(json!({"type": "array", "maxItems": 2, "items": {"type": "string"}}));
        assert_eq!(list.max_items, Some(2));
        let Some(JSONSchemaPropsOrArray::Schema(item)) = list.items else { panic!("no items") };
        assert_eq!(item.max_length, Some(4096));
    }
}
