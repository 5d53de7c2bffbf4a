//! The schema of the old version, from that of the new one and the rules.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceConversion, CustomResourceDefinition,
    CustomResourceDefinitionVersion, ServiceReference, WebhookClientConfig, WebhookConversion,
};
use serde_json::{Value, json};

use super::path::split;
use super::rule::REFERENCE;
use super::{Conversion, Rule, WEBHOOK};

/// A definition that has the old version too. Where the versions differ, the API server asks the webhook for the other one;
/// without it, it would drop what the stored version does not know. Whom to trust there is not in it: that is for who
/// installs it.
pub(crate) fn with_old(
    mut crd: CustomResourceDefinition,
    conversion: &Conversion,
    columns: &[Column],
) -> CustomResourceDefinition {
    let old = crd.spec.versions.first().and_then(|new| old_version(new, conversion, columns));
    crd.spec.versions.extend(old);
    if !conversion.rules.is_empty() {
        crd.spec.conversion = Some(by_webhook());
    }
    crd
}

fn by_webhook() -> CustomResourceConversion {
    let [namespace, name, path] = WEBHOOK.map(str::to_owned);
    let service = ServiceReference { namespace, name, path: Some(path), port: Some(443) };
    CustomResourceConversion {
        strategy: "Webhook".to_owned(),
        webhook: Some(WebhookConversion {
            client_config: Some(WebhookClientConfig {
                service: Some(service),
                ..WebhookClientConfig::default()
            }),
            conversion_review_versions: vec!["v1".to_owned()],
        }),
    }
}

/// Name, type and path of a column of `kubectl get`.
pub(crate) type Column = (&'static str, &'static str, &'static str);

fn old_version(
    new: &CustomResourceDefinitionVersion,
    conversion: &Conversion,
    columns: &[Column],
) -> Option<CustomResourceDefinitionVersion> {
    let mut schema = serde_json::to_value(&new.schema).ok()?;
    let root = schema.get_mut("openAPIV3Schema")?;
    conversion.rules.iter().rev().for_each(|rule| rule.backward_schema(root));
    let column = |(name, type_, json_path): &Column| CustomResourceColumnDefinition {
        name: (*name).to_owned(),
        type_: (*type_).to_owned(),
        json_path: (*json_path).to_owned(),
        ..CustomResourceColumnDefinition::default()
    };
    Some(CustomResourceDefinitionVersion {
        name: conversion.old.to_owned(),
        served: true,
        storage: false,
        deprecated: Some(true),
        schema: serde_json::from_value(schema).ok(),
        additional_printer_columns: Some(columns.iter().map(column).collect()),
        ..new.clone()
    })
}

impl Rule {
    fn backward_schema(&self, root: &mut Value) {
        match *self {
            Self::Moved(old, new) => {
                if let Some(moved) = take(root, new) {
                    put(root, old, moved);
                }
            }
            Self::Listed { path, key, value } => {
                if let Some(list) = take(root, path) {
                    put(root, path, map_of(list, key, value));
                }
            }
            Self::Opposite { old, .. } => put(root, old, json!({"type": "boolean", "nullable": true})),
            Self::Seconds(old, new) => {
                take(root, new);
                let pattern = r"^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$";
                put(root, old, json!({"type": "string", "maxLength": 64, "pattern": pattern}));
            }
            Self::Reference(path) => {
                for name in REFERENCE {
                    put(root, &format!("{path}.{name}"), json!({"type": "string"}));
                }
            }
            Self::OldOnly(path) => put(root, path, json!({"type": "string"})),
            Self::NewOnly(path) => {
                take(root, path);
            }
            Self::Emptied(_) => {}
        }
    }
}

fn map_of(mut list: Value, key: &str, value: Option<&str>) -> Value {
    let mut item = list["items"].take();
    let values = match value {
        Some(value) => {
            take(&mut item, value).unwrap_or_else(|| json!({"x-kubernetes-preserve-unknown-fields": true}))
        }
        None => {
            take(&mut item, key);
            item
        }
    };
    let mut map = json!({"type": "object", "additionalProperties": values});
    for name in ["description", "nullable"] {
        if let Some(kept) = list.get_mut(name) {
            map[name] = kept.take();
        }
    }
    if let Some(longest) = list.get_mut("maxItems") {
        map["maxProperties"] = longest.take();
    }
    map
}

/// The schema of what is at a place.
fn at<'a>(schema: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    path.split('.').filter(|step| !step.is_empty()).try_fold(schema, |schema, step| {
        let (name, list) = step.strip_suffix("[]").map_or((step, false), |name| (name, true));
        let field = schema.get_mut("properties")?.get_mut(name)?;
        if list { field.get_mut("items") } else { Some(field) }
    })
}

/// Takes a field, and what has no other.
fn take(root: &mut Value, path: &str) -> Option<Value> {
    let (holder, name) = split(path);
    let schema = at(root, holder)?;
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|required| required != name);
        if required.is_empty() {
            schema.as_object_mut()?.remove("required");
        }
    }
    let fields = schema.get_mut("properties")?.as_object_mut()?;
    let taken = fields.remove(name);
    if fields.is_empty() && !holder.is_empty() {
        take(root, holder);
    }
    taken
}

/// Puts a field, with what has to hold it.
fn put(root: &mut Value, path: &str, field: Value) {
    let (holder, name) = split(path);
    if !holder.is_empty() && at(root, holder).is_none() {
        put(root, holder, json!({"type": "object", "properties": {}}));
    }
    if let Some(schema) = at(root, holder) {
        schema["properties"][name] = field;
    }
}
