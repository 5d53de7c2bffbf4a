//! From a template to the objects of one Machine. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, TypeMeta};
use kube::{Resource, ResourceExt};
use scute_api::cluster::{
    Bootstrap, CLONED_FROM_GROUP_KIND_ANNOTATION, CLONED_FROM_NAME_ANNOTATION, MACHINE_FINALIZER, Machine,
    MachineSet, MachineSpec,
};
use scute_api::meta::{CLUSTER_NAME_LABEL, ContractRef, SET_NAME_LABEL};
use scute_api::naming::label_value;
use scute_contract::Served;
use serde_json::json;

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

type Pairs = BTreeMap<String, String>;

/// Labels of everything that a set makes.
#[must_use]
pub fn labels(set: &MachineSet) -> Pairs {
    let template = set.spec.template.metadata.clone().unwrap_or_default();
    let mut labels = template.labels.unwrap_or_default();
    labels.insert(CLUSTER_NAME_LABEL.to_owned(), set.spec.cluster_name.clone());
    labels.insert(SET_NAME_LABEL.to_owned(), label_value(&set.name_any()));
    labels
}

/// Annotations of everything that a set makes.
#[must_use]
pub fn annotations(set: &MachineSet) -> Pairs {
    set.spec.template.metadata.clone().unwrap_or_default().annotations.unwrap_or_default()
}

/// An object made from a template, owned by the set until its Machine takes over.
#[must_use]
pub fn object(
    template: &DynamicObject,
    resource: &ApiResource,
    set: &MachineSet,
    name: &str,
    owner: OwnerReference,
) -> DynamicObject {
    let inner = template.data.pointer("/spec/template").cloned().unwrap_or_default();
    let ObjectPairs { labels, mut annotations } = ObjectPairs::of(Some(template), set);
    annotations.insert(CLONED_FROM_NAME_ANNOTATION.to_owned(), template.name_any());
    let (group, kind) = (&resource.group, template.types.as_ref().map(|types| types.kind.clone()));
    let kind = kind.unwrap_or_else(|| format!("{}Template", resource.kind));
    annotations.insert(CLONED_FROM_GROUP_KIND_ANNOTATION.to_owned(), format!("{kind}.{group}"));
    let spec = inner.get("spec").filter(|spec| spec.is_object()).cloned().unwrap_or_else(|| json!({}));
    DynamicObject {
        types: Some(TypeMeta { api_version: resource.api_version.clone(), kind: resource.kind.clone() }),
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: set.namespace(),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: Some(vec![owner]),
            ..Default::default()
        },
        data: json!({ "spec": spec }),
    }
}

/// Labels and annotations of an object of a Machine: its template's own, and above them the set's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectPairs {
    /// Labels.
    pub labels: Pairs,
    /// Annotations.
    pub annotations: Pairs,
}

impl ObjectPairs {
    /// From a template, or from the set alone when the template is gone.
    #[must_use]
    pub fn of(template: Option<&DynamicObject>, set: &MachineSet) -> Self {
        let own = |field: &str| -> Pairs {
            template
                .and_then(|template| template.data.pointer(&format!("/spec/template/metadata/{field}")))
                .and_then(|pairs| serde_json::from_value(pairs.clone()).ok())
                .unwrap_or_default()
        };
        let mut pairs = Self { labels: own("labels"), annotations: own("annotations") };
        pairs.labels.extend(labels(set));
        pairs.annotations.extend(annotations(set));
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

/// A new Machine of a set.
#[must_use]
pub fn machine(set: &MachineSet, name: &str, owner: OwnerReference) -> Machine {
    let template = &set.spec.template.spec;
    let spec = MachineSpec {
        bootstrap: Bootstrap {
            config_ref: template.bootstrap.config_ref.as_ref().map(|template| reference(template, name)),
            data_secret_name: template.bootstrap.data_secret_name.clone(),
        },
        infrastructure_ref: reference(&template.infrastructure_ref, name),
        provider_id: None,
        ..template.clone()
    };
    with_meta(set, name, owner, spec)
}

/// An existing Machine with what the set changes in place; what would need a new Machine stays.
#[must_use]
pub fn machine_in_place(set: &MachineSet, existing: &Machine, owner: OwnerReference) -> Machine {
    let template = &set.spec.template.spec;
    let from_config = existing.spec.bootstrap.config_ref.is_some();
    let spec = MachineSpec {
        min_ready_seconds: template.min_ready_seconds,
        readiness_gates: template.readiness_gates.clone(),
        deletion: template.deletion.clone(),
        provider_id: None,
        bootstrap: Bootstrap {
            config_ref: existing.spec.bootstrap.config_ref.clone(),
            // Filled in by the Machine itself when it comes from a configuration.
            data_secret_name: existing.spec.bootstrap.data_secret_name.clone().filter(|_| !from_config),
        },
        ..existing.spec.clone()
    };
    with_meta(set, &existing.name_any(), owner, spec)
}

fn with_meta(set: &MachineSet, name: &str, owner: OwnerReference, spec: MachineSpec) -> Machine {
    let mut machine = Machine::new(name, spec);
    let meta = machine.meta_mut();
    meta.namespace = set.namespace();
    meta.labels = Some(labels(set));
    meta.annotations = Some(annotations(set)).filter(|annotations| !annotations.is_empty());
    meta.owner_references = Some(vec![owner]);
    // The Machine would put it by a write of its own.
    meta.finalizers = Some(vec![MACHINE_FINALIZER.to_owned()]);
    machine
}

/// Whether an object has every label and annotation that is wanted.
#[must_use]
pub fn has_pairs<K: Resource>(object: &K, labels: &Pairs, annotations: &Pairs) -> bool {
    let covers = |have: &Pairs, want: &Pairs| want.iter().all(|(key, value)| have.get(key) == Some(value));
    covers(object.labels(), labels) && covers(object.annotations(), annotations)
}
