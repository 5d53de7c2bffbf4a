//! From a template to the objects of one Machine. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::DynamicObject;
use kube::{Resource, ResourceExt};
use scute_api::cluster::{Bootstrap, MACHINE_FINALIZER, Machine, MachineSet, MachineSpec};
use scute_api::meta::{CLUSTER_NAME_LABEL, SET_NAME_LABEL};
use scute_api::naming::label_value;
use scute_contract::cloned::{ObjectPairs, Pairs, reference};

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

/// Labels and annotations of an object of a Machine of a set.
#[must_use]
pub fn pairs(template: Option<&DynamicObject>, set: &MachineSet) -> ObjectPairs {
    ObjectPairs::above(template, labels(set), annotations(set))
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
        taints: template.taints.clone(),
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
