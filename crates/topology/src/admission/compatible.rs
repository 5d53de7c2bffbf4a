//! Whether Clusters of one class can go on with another, or with a change of it: what refers to an object cannot refer to
//! one of another kind.

use scute_api::cluster::clusterclass::ClusterClassSpec;
use scute_api::cluster::topology::ClassTemplateRef;
use scute_kit::FieldError;

/// What is wrong with a change of a class, or of a Cluster to another.
#[must_use]
pub fn classes(old: &ClusterClassSpec, new: &ClusterClassSpec) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let fixed = [
        (
            "spec.infrastructure.templateRef",
            &old.infrastructure.template_ref,
            &new.infrastructure.template_ref,
        ),
        ("spec.controlPlane.templateRef", &old.control_plane.template_ref, &new.control_plane.template_ref),
    ];
    for (field, old, new) in fixed {
        same_kind(field, old, new, &mut errors);
    }
    let machines = |class: &ClusterClassSpec| class.control_plane.machine_infrastructure.clone();
    match (machines(old), machines(new)) {
        (Some(old), Some(new)) => {
            let field = "spec.controlPlane.machineInfrastructure.templateRef";
            same_kind(field, &old.template_ref, &new.template_ref, &mut errors);
        }
        (None, None) => {}
        _ => errors.push(FieldError::new(
            "spec.controlPlane.machineInfrastructure",
            "",
            "can neither be added nor removed: Clusters use the class",
        )),
    }
    for (at, new) in new.machine_deployments().iter().enumerate() {
        let Some(old) = old.machine_deployments().iter().find(|old| old.class == new.class) else { continue };
        let field = format!("spec.workers.machineDeployments[{at}].infrastructure.templateRef");
        // Bootstrap configurations of another kind are made for new Machines.
        same_kind(&field, &old.infrastructure.template_ref, &new.infrastructure.template_ref, &mut errors);
    }
    errors
}

/// The version may change, and the name.
fn same_kind(field: &str, old: &ClassTemplateRef, new: &ClassTemplateRef, errors: &mut Vec<FieldError>) {
    if old.group() != new.group() {
        let detail = format!("the group cannot be another than {}", old.group());
        errors.push(FieldError::new(format!("{field}.apiVersion"), &new.api_version, detail));
    }
    if old.kind != new.kind {
        let detail = format!("the kind cannot be another than {}", old.kind);
        errors.push(FieldError::new(format!("{field}.kind"), &new.kind, detail));
    }
}
