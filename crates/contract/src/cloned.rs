//! From a template to the objects of one Machine: the same for whoever makes Machines. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, TypeMeta};
use kube::{Resource, ResourceExt};
use scute_api::cluster::{CLONED_FROM_GROUP_KIND_ANNOTATION, CLONED_FROM_NAME_ANNOTATION};
use scute_api::meta::ContractRef;
use scute_kit::Key;
use serde_json::json;

use crate::served::Served;

/// The kind that a template is a template of: `KubevirtMachineTemplate` makes `KubevirtMachine`.
#[must_use]
pub fn templated_kind(kind: &str) -> &str {
    kind.strip_suffix("Template").unwrap_or(kind)
}

/// How objects of a template's kind are addressed: same group and version as the template.
#[must_use]
pub fn templated(served: &Served) -> ApiResource {
    let ApiResource { group, version, kind, .. } = &served.resource;
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, templated_kind(kind)))
}

/// A reference to the object of a Machine that comes from a template.
#[must_use]
pub fn reference(template: &ContractRef, name: &str) -> ContractRef {
    ContractRef {
        api_group: template.api_group.clone(),
        kind: templated_kind(&template.kind).to_owned(),
        name: name.to_owned(),
    }
}

/// Labels or annotations.
pub type Pairs = BTreeMap<String, String>;

/// An object made from a template, owned by whoever makes it until its Machine takes over.
#[must_use]
pub fn object(
    template: &DynamicObject,
    resource: &ApiResource,
    key: &Key,
    pairs: ObjectPairs,
    owner: OwnerReference,
) -> DynamicObject {
    let inner = template.data.pointer("/spec/template").cloned().unwrap_or_default();
    let ObjectPairs { labels, mut annotations } = pairs;
    annotations.insert(CLONED_FROM_NAME_ANNOTATION.to_owned(), template.name_any());
    let (group, kind) = (&resource.group, template.types.as_ref().map(|types| types.kind.clone()));
    let kind = kind.unwrap_or_else(|| format!("{}Template", resource.kind));
    annotations.insert(CLONED_FROM_GROUP_KIND_ANNOTATION.to_owned(), format!("{kind}.{group}"));
    let spec = inner.get("spec").filter(|spec| spec.is_object()).cloned().unwrap_or_else(|| json!({}));
    DynamicObject {
        types: Some(TypeMeta { api_version: resource.api_version.clone(), kind: resource.kind.clone() }),
        metadata: ObjectMeta {
            name: Some(key.name.clone()),
            namespace: Some(key.namespace.clone()),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: Some(vec![owner]),
            ..Default::default()
        },
        data: json!({ "spec": spec }),
    }
}

/// Labels and annotations of an object of a Machine: its template's own, and above them the maker's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectPairs {
    /// Labels.
    pub labels: Pairs,
    /// Annotations.
    pub annotations: Pairs,
}

impl ObjectPairs {
    /// From a template, or from the maker alone when the template is gone.
    #[must_use]
    pub fn above(template: Option<&DynamicObject>, labels: Pairs, annotations: Pairs) -> Self {
        let own = |field: &str| -> Pairs {
            template
                .and_then(|template| template.data.pointer(&format!("/spec/template/metadata/{field}")))
                .and_then(|pairs| serde_json::from_value(pairs.clone()).ok())
                .unwrap_or_default()
        };
        let mut pairs = Self { labels: own("labels"), annotations: own("annotations") };
        pairs.labels.extend(labels);
        pairs.annotations.extend(annotations);
        pairs
    }
}

/// An existing object of a Machine with its labels and annotations as they are wanted now. The spec is
/// repeated as it is, or what this manager once set would vanish; the resource version keeps that from
/// undoing anybody's write.
#[must_use]
pub fn object_in_place(
    existing: &DynamicObject,
    resource: &ApiResource,
    pairs: ObjectPairs,
) -> DynamicObject {
    let ObjectPairs { labels, mut annotations } = pairs;
    for key in [CLONED_FROM_NAME_ANNOTATION, CLONED_FROM_GROUP_KIND_ANNOTATION] {
        if let Some(value) = existing.annotations().get(key) {
            annotations.insert(key.to_owned(), value.clone());
        }
    }
    let spec = existing.data.get("spec").cloned().unwrap_or_else(|| json!({}));
    DynamicObject {
        types: Some(TypeMeta { api_version: resource.api_version.clone(), kind: resource.kind.clone() }),
        metadata: ObjectMeta {
            name: existing.metadata.name.clone(),
            namespace: existing.metadata.namespace.clone(),
            uid: existing.metadata.uid.clone(),
            resource_version: existing.metadata.resource_version.clone(),
            labels: Some(labels),
            annotations: Some(annotations),
            ..Default::default()
        },
        data: json!({ "spec": spec }),
    }
}

/// Whether an object has every label and annotation that is wanted.
#[must_use]
pub fn has_pairs<K: Resource>(object: &K, labels: &Pairs, annotations: &Pairs) -> bool {
    let covers = |have: &Pairs, want: &Pairs| want.iter().all(|(key, value)| have.get(key) == Some(value));
    covers(object.labels(), labels) && covers(object.annotations(), annotations)
}
