//! The control plane, and the template of its Machines.

use scute_api::cluster::topology::ControlPlaneTopology;
use scute_api::meta::CLUSTER_NAME_LABEL;
use scute_contract::Contract;
use serde_json::{Value, json};

use super::object::{self, Extra, Made, put};
use super::{Question, known};
use crate::blueprint::Source;
use crate::names;
use crate::patch::{Unpatched, Use, patched};
use crate::upgrade::Upgrade;
use crate::variables::{self, Part};
use kube::ResourceExt;
use scute_api::cluster::topology::TOPOLOGY_OWNED_LABEL;

/// The control plane, and the template of its Machines if it has any.
pub fn control_plane(question: Question<'_>, upgrade: &Upgrade) -> Result<(Option<Made>, Made), String> {
    let Question { cluster, topology, blueprint, .. } = question;
    let class = &blueprint.class.spec.control_plane;
    let source = &blueprint.control_plane;
    let own = topology.control_plane.as_ref();
    let mut extra = object::merged(own.and_then(|own| own.metadata.as_ref()), class.metadata.as_ref());
    extra.labels.insert(CLUSTER_NAME_LABEL.to_owned(), cluster.name_any());
    extra.labels.insert(TOPOLOGY_OWNED_LABEL.to_owned(), String::new());
    let name = known(cluster.spec.control_plane_ref.as_ref(), &source.made());
    let name =
        name.map_or_else(|| names::by_template(cluster, class.naming.as_ref(), "control-plane", None), Ok)?;
    let machines_name = blueprint.machines.as_ref().map(|machines| machines_name(question, machines));
    // What patches see of the control plane, before they have been applied.
    let plain = object::from_template(cluster, source, &object::json(&source.object), &name, &extra);
    let part = Part::ControlPlane {
        topology: own,
        metadata: &plain.object.metadata,
        version: &upgrade.control_plane,
        machines: machines_name.as_deref(),
    };
    let values = variables::values(cluster, topology, &blueprint.namespace(), part);
    let patch = |source: &Source| {
        let template = object::json(&source.object);
        let unpatched = Unpatched {
            api_version: &source.reference.api_version,
            kind: &source.reference.kind,
            for_use: Use::ControlPlane,
            object: &template,
        };
        patched(unpatched, &blueprint.class.spec.patches, &values)
    };
    let machines = match (&blueprint.machines, machines_name) {
        (Some(machines), Some(name)) => {
            Some(object::from_template_as_template(cluster, machines, &patch(machines)?, &name, None))
        }
        _ => None,
    };
    let mut made = object::from_template(cluster, source, &patch(source)?, &name, &extra);
    complete(&mut made.object.data, question, &extra, upgrade, machines.as_ref());
    Ok((machines, made))
}

/// What the topology, not the template, says of a control plane.
fn complete(
    data: &mut Value,
    question: Question<'_>,
    extra: &Extra,
    upgrade: &Upgrade,
    machines: Option<&Made>,
) {
    let none = ControlPlaneTopology::default();
    let (class, contract) =
        (&question.blueprint.class.spec.control_plane, question.blueprint.control_plane.contract);
    let own = question.topology.control_plane.as_ref().unwrap_or(&none);
    put(data, &["spec", "version"], json!(upgrade.control_plane));
    if let Some(replicas) = own.replicas {
        put(data, &["spec", "replicas"], json!(replicas));
    }
    if let Some(machines) = machines {
        refer_to_machines(data, machines, contract);
        for (field, texts) in [("labels", &extra.labels), ("annotations", &extra.annotations)] {
            for (key, value) in texts {
                put(data, &["spec", "machineTemplate", "metadata", field, key], json!(value));
            }
        }
    }
    if let Some(after) = own.rollout.as_ref().and_then(|rollout| rollout.after.as_ref()) {
        let path: &[&str] = match contract {
            Contract::V1Beta2 => &["spec", "rollout", "after"],
            Contract::V1Beta1 => &["spec", "rolloutAfter"],
        };
        put(data, path, json!(after));
    }
    let inner = |field: &'static str| match contract {
        Contract::V1Beta2 => vec!["spec", "machineTemplate", "spec", field],
        Contract::V1Beta1 => vec!["spec", "machineTemplate", field],
    };
    let gates = if own.readiness_gates.is_empty() { &class.readiness_gates } else { &own.readiness_gates };
    if !gates.is_empty() {
        put(data, &inner("readinessGates"), json!(gates));
    }
    let taints = if own.taints.is_empty() { &class.taints } else { &own.taints };
    if !taints.is_empty() {
        put(data, &inner("taints"), json!(taints));
    }
    let (class, own) = (class.deletion.clone().unwrap_or_default(), own.deletion.clone().unwrap_or_default());
    let limits = [
        ("nodeDrainTimeout", own.node_drain_timeout_seconds.or(class.node_drain_timeout_seconds)),
        (
            "nodeVolumeDetachTimeout",
            own.node_volume_detach_timeout_seconds.or(class.node_volume_detach_timeout_seconds),
        ),
        ("nodeDeletionTimeout", own.node_deletion_timeout_seconds.or(class.node_deletion_timeout_seconds)),
    ];
    for (field, seconds) in limits {
        let Some(seconds) = seconds else { continue };
        match contract {
            Contract::V1Beta2 => {
                let field = format!("{field}Seconds");
                put(data, &["spec", "machineTemplate", "spec", "deletion", &field], json!(seconds));
            }
            Contract::V1Beta1 => put(data, &["spec", "machineTemplate", field], json!(format!("{seconds}s"))),
        }
    }
}

/// The name of the template that the control plane has, or of its first one.
fn machines_name(question: Question<'_>, machines: &Source) -> String {
    let Question { cluster, blueprint, current, .. } = question;
    let reference = current.control_plane.as_ref().and_then(|object| {
        let path = match blueprint.control_plane.contract {
            Contract::V1Beta2 => "/spec/machineTemplate/spec/infrastructureRef",
            Contract::V1Beta1 => "/spec/machineTemplate/infrastructureRef",
        };
        object.data.pointer(path).filter(|reference| reference["kind"] == machines.resource.kind)
    });
    let name = reference.and_then(|reference| reference["name"].as_str());
    let first = || object::first_name(cluster, &cluster.name_any(), "control-plane-machines");
    name.map_or_else(first, str::to_owned)
}

/// Names the template of its Machines in a control plane.
pub fn refer_to_machines(data: &mut Value, machines: &Made, contract: Contract) {
    let reference = machines.reference();
    match contract {
        Contract::V1Beta2 => {
            put(data, &["spec", "machineTemplate", "spec", "infrastructureRef"], json!(reference));
        }
        Contract::V1Beta1 => {
            let reference = json!({"apiVersion": machines.resource.api_version, "kind": reference.kind,
                "name": reference.name, "namespace": machines.object.namespace()});
            put(data, &["spec", "machineTemplate", "infrastructureRef"], reference);
        }
    }
}
