//! The schema of the old version, from that of the new one and the rules.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceConversion, CustomResourceDefinition,
    CustomResourceDefinitionVersion, ServiceReference, WebhookClientConfig, WebhookConversion,
};
use serde_json::{Value, json};

use super::path::split;
use super::rule::REFERENCE;
use super::{Conversion, Rule, WEBHOOK};

/// Every definition that has an old version, with it; the others as they are.
pub(crate) fn with_old(crds: Vec<CustomResourceDefinition>) -> Vec<CustomResourceDefinition> {
    let conversions = super::conversions();
    let both = |crd: CustomResourceDefinition| {
        let same = |both: &&Conversion| both.group == crd.spec.group && both.kind == crd.spec.names.kind;
        match conversions.iter().find(same) {
            Some(conversion) => with(crd, conversion),
            None => crd,
        }
    };
    crds.into_iter().map(both).collect()
}

/// A definition that has the old version too. Where the versions differ, the API server asks the webhook for the other one;
/// without it, it would drop what the stored version does not know. Whom to trust there is not in it: that is for who
/// installs it.
fn with(mut crd: CustomResourceDefinition, conversion: &Conversion) -> CustomResourceDefinition {
    let old = crd.spec.versions.first().and_then(|new| old_version(new, conversion));
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
pub type Column = (&'static str, &'static str, &'static str);

fn old_version(
    new: &CustomResourceDefinitionVersion,
    conversion: &Conversion,
) -> Option<CustomResourceDefinitionVersion> {
    let mut schema = serde_json::to_value(&new.schema).ok()?;
    let root = schema.get_mut("openAPIV3Schema")?;
    conversion.rules.iter().rev().for_each(|rule| rule.backward_schema(root));
    let same = new.additional_printer_columns.clone();
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
        additional_printer_columns: match conversion.columns {
            [] => same,
            columns => Some(columns.iter().map(column).collect()),
        },
        ..new.clone()
    })
}

impl Rule {
    fn backward_schema(&self, root: &mut Value) {
        match *self {
            Self::Moved(old, new) => {
                let required = is_required(root, new);
                if let Some(moved) = take(root, new) {
                    put(root, old, moved);
                    require(root, old, required);
                }
            }
            Self::Listed { path, key, value } => {
                if let Some(list) = take(root, path) {
                    put(root, path, map_of(list, key, value));
                }
            }
            Self::Opposite { old, .. } => put(root, old, json!({"type": "boolean", "nullable": true})),
            Self::Seconds(old, new) => {
                let required = is_required(root, new);
                take(root, new);
                let pattern = r"^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$";
                put(root, old, json!({"type": "string", "maxLength": 64, "pattern": pattern}));
                require(root, old, required);
            }
            Self::Reference(path) => {
                for name in REFERENCE {
                    put(root, &format!("{path}.{name}"), json!({"type": "string"}));
                }
            }
            Self::ContractReference(path) => {
                if let Some(reference) = at(root, path) {
                    contract_reference(reference);
                }
            }
            Self::Fixed(path, _) => {
                let (holder, _) = split(path);
                if at(root, holder).is_some() {
                    put(root, path, json!({"type": "string"}));
                }
            }
            Self::TemplateReference(path) => {
                if let Some(reference) = at(root, path) {
                    old_reference(reference);
                }
            }
            Self::Positive(path, _) => put(root, path, json!({"type": "boolean"})),
            Self::OldOnly(path, type_) => put(root, path, json!({"type": type_})),
            Self::Default(path, value) => {
                let (holder, name) = split(path);
                if let Some(field) = at(root, path) {
                    field["default"] = value.into();
                }
                not_required(at(root, holder), name);
            }
            Self::Within(path, rules) => {
                if let Some(inner) = at(root, path) {
                    rules.iter().rev().for_each(|rule| rule.backward_schema(inner));
                }
            }
            Self::NewOnly(path) => {
                take(root, path);
            }
            Self::Emptied(path) => {
                if let Some(fields) = at(root, path).and_then(Value::as_object_mut) {
                    fields.remove("minProperties");
                }
            }
        }
    }
}

/// What a reference of the old version has: `apiVersion` where the new one has `apiGroup`, and the rest of what the
/// object reference of Kubernetes has.
fn contract_reference(reference: &mut Value) {
    let required = reference.get_mut("required").and_then(Value::as_array_mut);
    for name in required.into_iter().flatten().filter(|name| *name == "apiGroup") {
        *name = "apiVersion".into();
    }
    take(reference, "apiGroup");
    let version = json!({"type": "string", "maxLength": 317, "pattern": r"^[^/]+/v[a-z0-9]+$",
        "description": "API group and version, for example `infrastructure.cluster.x-k8s.io/v1beta1`."});
    put(reference, "apiVersion", version);
    old_reference(reference);
}

/// What the object reference of Kubernetes has more than version, kind and name.
fn old_reference(reference: &mut Value) {
    for name in ["fieldPath", "resourceVersion", "uid"] {
        put(reference, name, json!({"type": "string"}));
    }
    let namespace = json!({"type": "string", "description": "That of the object itself, and of no other."});
    put(reference, "namespace", namespace);
}

fn is_required(root: &mut Value, path: &str) -> bool {
    let (holder, name) = split(path);
    let required = at(root, holder).and_then(|holder| holder.get("required")?.as_array());
    required.is_some_and(|required| required.iter().any(|required| required == name))
}

fn require(root: &mut Value, path: &str, required: bool) {
    let (holder, name) = split(path);
    let Some(holder) = at(root, holder).filter(|_| required) else { return };
    let list = holder.get_mut("required").and_then(Value::as_array_mut);
    match list {
        Some(list) => list.push(name.into()),
        None => holder["required"] = json!([name]),
    }
}

fn not_required(holder: Option<&mut Value>, name: &str) {
    let Some(holder) = holder.and_then(Value::as_object_mut) else { return };
    if let Some(required) = holder.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|required| required != name);
        if required.is_empty() {
            holder.remove("required");
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
    not_required(Some(&mut *schema), name);
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
