//! Objects from templates, and templates from templates.

use std::collections::BTreeMap;

use kube::ResourceExt;
use kube::api::{ApiResource, DynamicObject};
use scute_api::cluster::topology::{TOPOLOGY_DEPLOYMENT_LABEL, TOPOLOGY_OWNED_LABEL};
use scute_api::cluster::{CLONED_FROM_GROUP_KIND_ANNOTATION, CLONED_FROM_NAME_ANNOTATION, Cluster};
use scute_api::meta::{CLUSTER_NAME_LABEL, ContractRef, TemplateMeta};
use scute_api::naming::suffix;
use scute_contract::owners::owner;
use serde_json::{Map, Value, json};

use crate::blueprint::Source;
use crate::names::random;

/// An object to be applied.
#[derive(Clone, Debug)]
pub struct Made {
    /// How it is addressed.
    pub resource: ApiResource,
    /// What it should be.
    pub object: DynamicObject,
}

impl Made {
    /// Group, kind and name.
    #[must_use]
    pub fn reference(&self) -> ContractRef {
        ContractRef {
            api_group: self.resource.group.clone(),
            kind: self.resource.kind.clone(),
            name: self.object.name_any(),
        }
    }

    /// Kind and name, for messages.
    #[must_use]
    pub fn named(&self) -> String {
        format!("{} {}", self.resource.kind, self.object.name_any())
    }

    /// Another name for a template whose spec has changed. It follows from the old name and the new spec.
    pub fn rotate(&mut self, prefix: &str) {
        let old = self.object.name_any();
        let new = suffix(&format!("{old}/{}", self.object.data));
        self.object.metadata.name = Some(prefixed(prefix, &new));
    }
}

/// `<prefix><five letters>`, cut to what a name may have.
pub fn prefixed(prefix: &str, random: &str) -> String {
    scute_api::naming::child(prefix.trim_end_matches('-'), random)
}

/// Labels and annotations besides those of the template.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// What the topology says, and where it says nothing, the class.
#[must_use]
pub fn merged(topology: Option<&TemplateMeta>, class: Option<&TemplateMeta>) -> Extra {
    let both = |part: fn(&TemplateMeta) -> Option<&BTreeMap<String, String>>| {
        let mut all = class.and_then(part).cloned().unwrap_or_default();
        all.extend(topology.and_then(part).cloned().unwrap_or_default());
        all
    };
    Extra { labels: both(|meta| meta.labels.as_ref()), annotations: both(|meta| meta.annotations.as_ref()) }
}

/// An object as JSON.
pub fn json(object: &DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// An object made from a patched template, with the Cluster as its owner.
pub fn from_template(
    cluster: &Cluster,
    source: &Source,
    template: &Value,
    name: &str,
    extra: &Extra,
) -> Made {
    let inner = &template["spec"]["template"];
    let mut labels = texts(&inner["metadata"]["labels"]);
    let mut annotations = texts(&inner["metadata"]["annotations"]);
    labels.extend(extra.labels.clone());
    annotations.extend(extra.annotations.clone());
    let spec = match &inner["spec"] {
        Value::Object(spec) => Value::Object(spec.clone()),
        _ => json!({}),
    };
    made(cluster, source, source.made(), name, labels, annotations, spec)
}

/// A template of a Cluster's own, made from a patched template of the class.
pub fn from_template_as_template(
    cluster: &Cluster,
    source: &Source,
    template: &Value,
    name: &str,
    topology_name: Option<&str>,
) -> Made {
    let mut labels = texts(&template["metadata"]["labels"]);
    let mut annotations = texts(&template["metadata"]["annotations"]);
    // Tools' copies of the class's template are not the Cluster's.
    annotations
        .retain(|key, _| !key.starts_with("kubectl.kubernetes.io/") && !key.ends_with("/conversion-data"));
    if let Some(name) = topology_name {
        labels.insert(TOPOLOGY_DEPLOYMENT_LABEL.to_owned(), name.to_owned());
    }
    made(cluster, source, source.resource.clone(), name, labels, annotations, template["spec"].clone())
}

/// The name of the first template of its use.
pub fn first_name(cluster: &Cluster, prefix: &str, what: &str) -> String {
    prefixed(prefix, &random(cluster, what))
}

fn made(
    cluster: &Cluster,
    source: &Source,
    resource: ApiResource,
    name: &str,
    mut labels: BTreeMap<String, String>,
    mut annotations: BTreeMap<String, String>,
    spec: Value,
) -> Made {
    labels.insert(CLUSTER_NAME_LABEL.to_owned(), cluster.name_any());
    labels.insert(TOPOLOGY_OWNED_LABEL.to_owned(), String::new());
    annotations.insert(CLONED_FROM_NAME_ANNOTATION.to_owned(), source.object.name_any());
    annotations.insert(
        CLONED_FROM_GROUP_KIND_ANNOTATION.to_owned(),
        format!("{}.{}", source.resource.kind, source.resource.group),
    );
    let mut object = DynamicObject::new(name, &resource).data(json!({ "spec": spec }));
    object.metadata.namespace = cluster.namespace();
    object.metadata.labels = Some(labels);
    object.metadata.annotations = Some(annotations);
    object.metadata.owner_references = Some(vec![owner(cluster, false)]);
    Made { resource, object }
}

fn texts(value: &Value) -> BTreeMap<String, String> {
    let pairs = value.as_object().into_iter().flatten();
    pairs.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// Puts a value at a path of fields, making those on the way.
pub fn put(object: &mut Value, path: &[&str], value: Value) {
    let mut place = object;
    for field in path {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[*field];
    }
    *place = value;
}
