//! References to objects of other kinds: `apiVersion` and namespace in the old version, `apiGroup` in the new one.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::About;
use super::rule::REFERENCE;

/// Of a reference only version, kind and name.
pub(super) fn bare(fields: &mut Map<String, Value>) {
    fields.retain(|name, _| name == "apiVersion" || name == "kind" || !is_of_old(name));
}

fn is_of_old(name: &str) -> bool {
    name == "namespace" || REFERENCE.contains(&name)
}

/// The API group of a reference takes the place of its version. The namespace is that of the object.
pub(super) fn forward(fields: &mut Map<String, Value>) {
    let group = fields.get("apiVersion").and_then(Value::as_str).map(group_of).map(str::to_owned);
    fields.retain(|name, _| name == "kind" || !is_of_old(name));
    if let Some(group) = group {
        fields.insert("apiGroup".to_owned(), group.into());
    }
}

/// The version of a reference is the one that its kind has in the contract of the old version.
pub(super) fn backward(fields: &mut Map<String, Value>, about: &About) {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let version = fields.get("apiGroup").map(|_| version_of(text("apiGroup"), text("kind"), about));
    fields.remove("apiGroup");
    if let Some(version) = version {
        fields.insert("apiVersion".to_owned(), version.into());
    }
    settle(fields, about);
}

/// A reference without a namespace is one to the object's own.
pub(super) fn settle(fields: &mut Map<String, Value>, about: &About) {
    if !about.namespace.is_empty() && !fields.is_empty() {
        fields.entry("namespace").or_insert_with(|| about.namespace.into());
    }
}

/// The namespace of a reference that is not the object's own.
pub(super) fn elsewhere<'a>(fields: &'a Map<String, Value>, about: &About) -> Option<&'a str> {
    let namespace = fields.get("namespace").and_then(Value::as_str)?;
    let differs = !namespace.is_empty() && !about.namespace.is_empty() && namespace != about.namespace;
    differs.then_some(namespace)
}

fn group_of(api_version: &str) -> &str {
    api_version.rsplit_once('/').map_or("", |(group, _)| group)
}

/// Of a kind that nobody knows the version is a guess: one object that names it must not hide all others from who reads
/// the old version.
fn version_of(group: &str, kind: &str, about: &About) -> String {
    let ours = ours().get(&(group.to_owned(), kind.to_owned())).cloned();
    let version = ours.or_else(|| (about.versions)(group, kind)).unwrap_or_else(|| "v1beta1".to_owned());
    format!("{group}/{version}")
}

/// The version that each of our own kinds has in contract v1beta1.
fn ours() -> &'static BTreeMap<(String, String), String> {
    static OURS: OnceLock<BTreeMap<(String, String), String>> = OnceLock::new();
    OURS.get_or_init(|| {
        let version = |crd: k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition| {
            let labels = crd.metadata.labels.unwrap_or_default();
            let version = labels.get("cluster.x-k8s.io/v1beta1").or_else(|| labels.get("cluster.x-k8s.io/v1beta2"))?;
            Some(((crd.spec.group, crd.spec.names.kind), version.clone()))
        };
        crate::served().into_iter().filter_map(version).collect()
    })
}
