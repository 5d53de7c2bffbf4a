//! The MachineSets that a MachineDeployment makes and keeps. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::{Resource, ResourceExt};
use scute_api::cluster::{
    DESIRED_REPLICAS_ANNOTATION, DISABLE_MACHINE_CREATE_ANNOTATION, MAX_REPLICAS_ANNOTATION,
    MachineDeployment, MachineSet, MachineSetDeletionSpec, MachineSetSpec, MachineSpec, MachineTemplateSpec,
    REVISION_ANNOTATION, ROLLOUT_AFTER_ANNOTATION, RolloutStrategyType, TEMPLATE_HASH_LABEL,
};
use scute_api::conversion::LEFTOVERS;
use scute_api::naming::{child, suffix};
use scute_contract::owners::owner;

use super::rollout::Want;
use super::template::template_hash;

/// Annotations of a deployment that mean nothing on its sets.
const OWN_ANNOTATIONS: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    LEFTOVERS,
    REVISION_ANNOTATION,
    DESIRED_REPLICAS_ANNOTATION,
    MAX_REPLICAS_ANNOTATION,
    ROLLOUT_AFTER_ANNOTATION,
];

/// Number of the rollout that a set or deployment is of; 0 when it has none.
#[must_use]
pub fn revision_of<K: Resource>(object: &K) -> i64 {
    object
        .annotations()
        .get(REVISION_ANNOTATION)
        .and_then(|revision| revision.parse().ok())
        .unwrap_or_default()
}

/// The set of a new rollout. The same deployment, template and revision always give the same name: a pass
/// that was cut short makes no second set. `due` is a `rollout.after` that has passed: the set answers it.
#[must_use]
pub fn new_set(
    deployment: &MachineDeployment,
    want: Want,
    revision: i64,
    replicas: i32,
    due: Option<Timestamp>,
) -> MachineSet {
    let hash = template_hash(&deployment.spec.template.spec);
    let uid = deployment.metadata.uid.as_deref().unwrap_or_default();
    let suffix = suffix(&format!("{uid}/{hash}/{revision}"));
    let hash_label = format!("{}-{suffix}", hash % 10_000_000_000);
    let name = child(&deployment.name_any(), &suffix);
    let spec = deployment.spec.template.spec.clone();
    let mut selector = deployment.spec.selector.clone();
    selector.match_labels.get_or_insert_default().insert(TEMPLATE_HASH_LABEL.to_owned(), hash_label.clone());
    build(
        deployment,
        want,
        Kept {
            name,
            revision,
            replicas,
            hash_label: Some(hash_label),
            selector,
            spec,
            outdated: false,
            after: due.map(|due| due.to_string()),
        },
    )
}

/// An existing set with what the deployment changes in place.
#[must_use]
pub fn kept_set(
    deployment: &MachineDeployment,
    want: Want,
    existing: &MachineSet,
    replicas: i32,
    revision: i64,
    outdated: bool,
) -> MachineSet {
    let template = &deployment.spec.template.spec;
    let spec = MachineSpec {
        min_ready_seconds: template.min_ready_seconds,
        readiness_gates: template.readiness_gates.clone(),
        taints: template.taints.clone(),
        deletion: template.deletion.clone(),
        ..existing.spec.template.spec.clone()
    };
    let kept = Kept {
        name: existing.name_any(),
        revision,
        replicas,
        hash_label: existing.labels().get(TEMPLATE_HASH_LABEL).cloned(),
        selector: existing.spec.selector.clone(),
        spec,
        outdated,
        after: existing.annotations().get(ROLLOUT_AFTER_ANNOTATION).cloned(),
    };
    let mut set = build(deployment, want, kept);
    // An apply makes what is not there: with its uid, a set that is gone stays gone.
    set.metadata.uid = existing.metadata.uid.clone();
    set
}

struct Kept {
    name: String,
    revision: i64,
    replicas: i32,
    hash_label: Option<String>,
    selector: k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector,
    spec: MachineSpec,
    outdated: bool,
    after: Option<String>,
}

fn build(deployment: &MachineDeployment, want: Want, kept: Kept) -> MachineSet {
    let mut metadata = deployment.spec.template.metadata.clone().unwrap_or_default();
    let labels = metadata.labels.get_or_insert_default();
    if let Some(hash) = &kept.hash_label {
        labels.insert(TEMPLATE_HASH_LABEL.to_owned(), hash.clone());
    }
    let labels = labels.clone();
    let mut annotations: BTreeMap<String, String> = deployment
        .annotations()
        .iter()
        .filter(|(key, _)| !OWN_ANNOTATIONS.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    annotations.insert(REVISION_ANNOTATION.to_owned(), kept.revision.to_string());
    annotations.insert(DESIRED_REPLICAS_ANNOTATION.to_owned(), want.replicas.to_string());
    annotations.insert(MAX_REPLICAS_ANNOTATION.to_owned(), want.most().to_string());
    annotations.extend(kept.after.map(|after| (ROLLOUT_AFTER_ANNOTATION.to_owned(), after)));
    if kept.outdated && want.strategy == RolloutStrategyType::OnDelete {
        annotations.insert(DISABLE_MACHINE_CREATE_ANNOTATION.to_owned(), "true".to_owned());
    }
    let order = deployment.spec.deletion.as_ref().and_then(|deletion| deletion.order);
    let mut set = MachineSet::new(
        &kept.name,
        MachineSetSpec {
            cluster_name: deployment.spec.cluster_name.clone(),
            replicas: Some(kept.replicas),
            selector: kept.selector,
            template: MachineTemplateSpec { metadata: Some(metadata), spec: kept.spec },
            machine_naming: deployment.spec.machine_naming.clone(),
            deletion: order.map(|order| MachineSetDeletionSpec { order: Some(order) }),
        },
    );
    let meta = set.meta_mut();
    meta.namespace = deployment.namespace();
    meta.labels = Some(labels);
    meta.annotations = Some(annotations);
    meta.owner_references = Some(vec![owner(deployment, true)]);
    set
}
