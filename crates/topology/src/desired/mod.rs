//! What a Cluster's objects should be: pure, from the class, its templates, the choices and what is there.
//!
//! ```text
//! class ─► choices with defaults ─► versions ─► names ─► patched templates ─► objects
//! ```

mod controlplane;
mod health;
mod object;
mod workers;

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt;
use kube::api::{ApiResource, DynamicObject};
use scute_api::cluster::topology::{
    DEFER_UPGRADE_ANNOTATION, HOLD_UPGRADE_SEQUENCE_ANNOTATION, Topology, UPGRADE_CONCURRENCY_ANNOTATION,
};
use scute_api::cluster::{Cluster, MachineDeployment};
use scute_api::meta::ContractRef;
use scute_contract::fields;
use serde_json::Value;

use crate::blueprint::Blueprint;
use crate::names;
use crate::patch::{Unpatched, Use, patched};
use crate::upgrade::{self, Facts, Upgrade};
use crate::variables::{self, Part};

pub use controlplane::refer_to_machines;
pub use object::Made;
pub use workers::DesiredWorkers;

/// What is there.
#[derive(Clone, Debug, Default)]
pub struct Current {
    /// The control plane.
    pub control_plane: Option<Arc<DynamicObject>>,
    /// The MachineDeployments of the topology, by their names in it.
    pub workers: BTreeMap<String, CurrentWorkers>,
}

/// A MachineDeployment that is there.
#[derive(Clone, Debug)]
pub struct CurrentWorkers {
    /// The object.
    pub object: Arc<MachineDeployment>,
    /// Some of its Machines have another version.
    pub upgrading: bool,
}

/// What should be there.
#[derive(Clone, Debug)]
pub struct Desired {
    /// `spec.infrastructureRef` of the Cluster.
    pub infrastructure_ref: ContractRef,
    /// `spec.controlPlaneRef` of the Cluster.
    pub control_plane_ref: ContractRef,
    /// The version that the control plane has on its way, while there is a way.
    pub step: Option<String>,
    /// The InfraCluster.
    pub infrastructure: Made,
    /// The template of the control plane's Machines.
    pub machines: Option<Made>,
    /// The control plane.
    pub control_plane: Made,
    /// The MachineDeployments, in their order.
    pub workers: Vec<DesiredWorkers>,
    /// MachineHealthChecks.
    pub checks: Vec<Value>,
    /// Versions.
    pub upgrade: Upgrade,
}

/// Everything that the answer depends on.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The Cluster.
    pub cluster: &'a Cluster,
    /// Its topology, with the class's defaults.
    pub topology: &'a Topology,
    /// Its class and the templates.
    pub blueprint: &'a Blueprint,
    /// What is there.
    pub current: &'a Current,
}

/// What should be there.
///
/// # Errors
/// What cannot be made, and which field of the class or Cluster is wrong.
pub fn desired(question: Question<'_>) -> Result<Desired, String> {
    let upgrade = upgrade::decide(&facts(question))?;
    let infrastructure = infrastructure(question)?;
    let (machines, control_plane) = controlplane::control_plane(question, &upgrade)?;
    let mut all = Vec::new();
    for (at, topology) in question.topology.machine_deployments().iter().enumerate() {
        let version = upgrade.workers.get(at).cloned().flatten();
        let Some(version) = version else { continue };
        let made = workers::workers(question, topology, version);
        all.push(
            made.map_err(|why| {
                format!("spec.topology.workers.machineDeployments[{}]: {why}", topology.name)
            })?,
        );
    }
    let mut names = BTreeMap::new();
    for workers in &all {
        if let Some(other) = names.insert(workers.object.name_any(), &workers.topology) {
            return Err(format!(
                "the MachineDeployments {other} and {} of the topology have one name, {}: naming.template of their class needs .random or .machineDeployment.topologyName",
                workers.topology,
                workers.object.name_any()
            ));
        }
    }
    let step =
        (!upgrade.plan.is_empty() || !upgrade.workers_plan.is_empty()).then(|| upgrade.control_plane.clone());
    Ok(Desired {
        infrastructure_ref: infrastructure.reference(),
        control_plane_ref: control_plane.reference(),
        step,
        checks: health::checks(question, &control_plane, &all),
        infrastructure,
        machines,
        control_plane,
        workers: all,
        upgrade,
    })
}

fn facts(question: Question<'_>) -> Facts {
    let Question { cluster, topology, blueprint, current } = question;
    let held = |at: usize| {
        let annotated = |at: usize, key: &str| {
            let metadata = topology.machine_deployments()[at].metadata.as_ref();
            metadata
                .and_then(|metadata| metadata.annotations.as_ref())
                .is_some_and(|all| all.contains_key(key))
        };
        annotated(at, DEFER_UPGRADE_ANNOTATION)
            || (0..=at).any(|before| annotated(before, HOLD_UPGRADE_SEQUENCE_ANNOTATION))
    };
    let workers = topology.machine_deployments().iter().enumerate().map(|(at, workers)| upgrade::Workers {
        topology: workers.name.clone(),
        now: current.workers.get(&workers.name).map(|now| upgrade::Now {
            name: now.object.name_any(),
            version: now.object.spec.template.spec.version.clone(),
            upgrading: now.upgrading,
        }),
        deferred: held(at),
    });
    let control_plane = current.control_plane.as_ref().and_then(|object| {
        Some(upgrade::ControlPlane {
            version: fields::wanted_version(object)?,
            has: fields::versions(object).into_iter().map(|version| version.version).collect(),
        })
    });
    Facts {
        wanted: topology.version.clone(),
        offered: blueprint.class.spec.kubernetes_versions.clone(),
        control_plane,
        workers: workers.collect(),
        concurrency: cluster
            .annotations()
            .get(UPGRADE_CONCURRENCY_ANNOTATION)
            .and_then(|number| number.parse().ok())
            .unwrap_or(1),
    }
}

fn infrastructure(question: Question<'_>) -> Result<Made, String> {
    let Question { cluster, topology, blueprint, .. } = question;
    let source = &blueprint.infrastructure;
    let name = known(cluster.spec.infrastructure_ref.as_ref(), &source.made());
    let naming = blueprint.class.spec.infrastructure.naming.as_ref();
    let name = name.map_or_else(|| names::by_template(cluster, naming, "infrastructure", None), Ok)?;
    let values = variables::values(cluster, topology, &blueprint.namespace(), Part::Cluster);
    let template = object::json(&source.object);
    let unpatched = Unpatched {
        api_version: &source.reference.api_version,
        kind: &source.reference.kind,
        for_use: Use::InfrastructureCluster,
        object: &template,
    };
    let template = patched(unpatched, &blueprint.class.spec.patches, &values)?;
    Ok(object::from_template(cluster, source, &template, &name, &object::Extra::default()))
}

/// The name in a reference, if that is of this kind.
fn known(reference: Option<&ContractRef>, kind: &ApiResource) -> Option<String> {
    reference
        .filter(|reference| reference.kind == kind.kind && reference.api_group == kind.group)
        .map(|reference| reference.name.clone())
}

#[cfg(test)]
mod tests;
