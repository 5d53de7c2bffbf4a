//! Whether the variables of a class can be used at all.

use std::collections::BTreeSet;

use scute_api::cluster::clusterclass::ClusterClassVariable;
use scute_kit::FieldError;

use super::schema::Schema;
use super::validate::{pattern, shown};

/// How deep schemas lie in each other.
const DEEPEST: usize = 32;
const TYPES: [&str; 6] = ["object", "array", "string", "integer", "number", "boolean"];

/// What is wrong with the variables of a class.
#[must_use]
pub fn check_class(variables: &[ClusterClassVariable]) -> Vec<FieldError> {
    let (mut errors, mut names) = (Vec::new(), BTreeSet::new());
    for (at, variable) in variables.iter().enumerate() {
        let path = format!("spec.variables[{at}]");
        let mut wrong =
            |detail: &str| errors.push(FieldError::new(format!("{path}.name"), &variable.name, detail));
        if !names.insert(&variable.name) {
            wrong("there is another variable of this name");
        }
        if variable.name == "builtin" {
            wrong("builtin is what every class has already");
        }
        if variable.name.contains('.') {
            wrong("must not contain '.': it separates the parts of a value");
        }
        let path = format!("{path}.schema.openAPIV3Schema");
        match Schema::read(&variable.schema.open_api_v3_schema) {
            Ok(schema) => check(&path, &schema, DEEPEST, &mut errors),
            Err(why) => errors.push(FieldError::new(path, &variable.name, why)),
        }
    }
    errors
}

fn check(path: &str, schema: &Schema, depth: usize, errors: &mut Vec<FieldError>) {
    let mut wrong = |field: &str, value: &str, detail: String| {
        errors.push(FieldError::new(format!("{path}.{field}"), value, detail));
    };
    if depth == 0 {
        return wrong("properties", "", format!("schemas may lie in each other {DEEPEST} times"));
    }
    match schema.type_.as_deref() {
        Some(name) if !TYPES.contains(&name) => {
            wrong("type", name, format!("must be one of {}", TYPES.join(", ")));
        }
        None if schema.int_or_string != Some(true) && !schema.keeps_unknown() => {
            wrong("type", "", "is required".to_owned());
        }
        _ => {}
    }
    if !schema.validations.is_empty() {
        let detail =
            "rules in CEL are not served: say it with pattern, enum, minimum, maxLength and the like";
        wrong("x-kubernetes-validations", "", detail.to_owned());
    }
    if let Some(why) = schema.pattern.as_deref().and_then(|text| pattern(text).err()) {
        wrong("pattern", schema.pattern.as_deref().unwrap_or_default(), why);
    }
    if schema.type_.as_deref() == Some("array") && schema.items.is_none() {
        wrong("items", "", "a list needs a schema of its items".to_owned());
    }
    if !schema.properties.is_empty() && schema.additional_properties.is_some() {
        wrong("additionalProperties", "", "cannot be beside properties".to_owned());
    }
    if schema.properties.is_empty()
        && schema.type_.as_deref() != Some("object")
        && !schema.required.is_empty()
    {
        wrong("required", "", "is for objects".to_owned());
    }
    for name in schema.required.iter().filter(|name| {
        schema.additional_properties.is_none()
            && !schema.keeps_unknown()
            && !schema.properties.contains_key(*name)
    }) {
        wrong("required", name, "no such property".to_owned());
    }
    check_values(path, schema, errors);
    for (name, inner) in &schema.properties {
        check(&format!("{path}.properties[{name}]"), inner, depth - 1, errors);
    }
    for (name, inner) in [("items", &schema.items), ("additionalProperties", &schema.additional_properties)] {
        if let Some(inner) = inner {
            check(&format!("{path}.{name}"), inner, depth - 1, errors);
        }
    }
    check_combined(path, schema, depth, errors);
}

/// The values that a schema itself names must be of it.
fn check_values(path: &str, schema: &Schema, errors: &mut Vec<FieldError>) {
    let named = [("default", &schema.default), ("example", &schema.example)];
    for (field, value) in named {
        let Some(value) = value else { continue };
        let mut filled = value.clone();
        schema.fill(&mut filled);
        schema.validate(&format!("{path}.{field}"), &filled, errors);
    }
    let plain = Schema { enum_: None, ..schema.clone() };
    for (at, value) in schema.enum_.iter().flatten().enumerate() {
        plain.validate(&format!("{path}.enum[{at}]"), value, errors);
    }
    if schema.enum_.as_ref().is_some_and(Vec::is_empty) {
        errors.push(FieldError::new(
            format!("{path}.enum"),
            shown(&serde_json::json!([])),
            "must not be empty",
        ));
    }
}

/// What stands in combinations is a condition: it has no type of its own, and no defaults.
fn check_combined(path: &str, schema: &Schema, depth: usize, errors: &mut Vec<FieldError>) {
    let all = [("allOf", &schema.all_of), ("anyOf", &schema.any_of), ("oneOf", &schema.one_of)];
    let listed = all.into_iter().flat_map(|(name, list)| list.iter().map(move |inner| (name, inner)));
    for (name, inner) in listed.chain(schema.not.as_deref().map(|inner| ("not", inner))) {
        let path = format!("{path}.{name}");
        if inner.default.is_some() {
            errors.push(FieldError::new(
                format!("{path}.default"),
                "",
                "cannot be in a combination of schemas",
            ));
        }
        let typed = Schema {
            type_: inner.type_.clone().or_else(|| schema.type_.clone()),
            preserve_unknown_fields: Some(true),
            default: None,
            ..inner.clone()
        };
        check(&path, &typed, depth - 1, errors);
    }
}
