//! Everything that the reconcile of a topology looks at. Reads, and writes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use scute_api::cluster::clusterclass::ClusterClass;
use scute_api::cluster::topology::{
    ClassTemplateRef, TOPOLOGY_DEPLOYMENT_LABEL, TOPOLOGY_OWNED_LABEL, Topology,
};
use scute_api::cluster::{Cluster, MachineDeployment};
use scute_api::meta::ContractRef;
use scute_contract::{Found, named};
use scute_kit::conditions::is_true;
use scute_kit::{Key, Why};

use crate::blueprint::{Blueprint, Source, WorkerSources};
use crate::context::{Context, class_key};
use crate::desired::{Current, CurrentWorkers};

/// The reason of a class that cannot be used yet.
pub const CLASS_NOT_RECONCILED: &str = "ClusterClassNotReconciled";
/// The reason of everything else that is wrong.
pub const FAILED: &str = "ReconcileFailed";

/// A Cluster, its class and what is there.
pub struct Observed {
    /// The class with its templates.
    pub blueprint: Blueprint,
    /// What is there.
    pub current: Current,
    /// MachineDeployments that a topology made and no topology names any more.
    pub surplus: Vec<Arc<MachineDeployment>>,
}

fn failed(message: impl Into<String>) -> Why {
    Why::new(FAILED, message)
}

/// Looks at everything.
///
/// # Errors
/// What is missing or cannot be known: nothing can be decided then.
pub async fn observe(cluster: &Cluster, topology: &Topology, context: &Context) -> Result<Observed, Why> {
    let asker = Key::of(cluster);
    let class = class(cluster, context)?;
    let blueprint = blueprint(&asker, class, topology, context).await?;
    let control_plane = match &cluster.spec.control_plane_ref {
        Some(reference) => existing(&asker, reference, context).await?,
        None => None,
    };
    let mut current = Current { control_plane, workers: BTreeMap::new() };
    let mut surplus = Vec::new();
    for object in deployments(cluster, context) {
        let name = object.labels().get(TOPOLOGY_DEPLOYMENT_LABEL).cloned().unwrap_or_default();
        let wanted = topology.machine_deployments().iter().any(|workers| workers.name == name);
        if !wanted || object.metadata.deletion_timestamp.is_some() || current.workers.contains_key(&name) {
            surplus.push(object);
            continue;
        }
        let upgrading = upgrading(cluster, &object, &name, context);
        current.workers.insert(name, CurrentWorkers { object, upgrading });
    }
    Ok(Observed { blueprint, current, surplus })
}

fn class(cluster: &Cluster, context: &Context) -> Result<Arc<ClusterClass>, Why> {
    let key = class_key(cluster).unwrap_or_else(|| Key::new("", ""));
    let Some(class) = context.classes.get(&key) else {
        return Err(failed(format!("spec.topology.classRef: there is no ClusterClass {key}")));
    };
    let status = class.status.clone().unwrap_or_default();
    if status.observed_generation != class.metadata.generation
        || !is_true(&status.conditions, "VariablesReady")
    {
        let message = format!(
            "The ClusterClass {key} has not been looked at yet, or its variables cannot be used: see its conditions"
        );
        return Err(Why::new(CLASS_NOT_RECONCILED, message));
    }
    Ok(class)
}

async fn blueprint(
    asker: &Key,
    class: Arc<ClusterClass>,
    topology: &Topology,
    context: &Context,
) -> Result<Blueprint, Why> {
    let namespace = class.namespace().unwrap_or_default();
    let source = async |field: &str, reference: &ClassTemplateRef| {
        let found = template(asker, &namespace, reference, context).await;
        found.map_err(|why| {
            failed(format!("{field} of the ClusterClass {}: {}", class.name_any(), why.message))
        })
    };
    let spec = &class.spec;
    let infrastructure = source("spec.infrastructure.templateRef", &spec.infrastructure.template_ref).await?;
    let control_plane = source("spec.controlPlane.templateRef", &spec.control_plane.template_ref).await?;
    let machines = match &spec.control_plane.machine_infrastructure {
        Some(holder) => {
            Some(source("spec.controlPlane.machineInfrastructure.templateRef", &holder.template_ref).await?)
        }
        None => None,
    };
    let mut workers = BTreeMap::new();
    for wanted in spec.machine_deployments() {
        if !topology.machine_deployments().iter().any(|part| part.class == wanted.class) {
            continue;
        }
        let field =
            |part: &str| format!("spec.workers.machineDeployments[{}].{part}.templateRef", wanted.class);
        let sources = WorkerSources {
            bootstrap: source(&field("bootstrap"), &wanted.bootstrap.template_ref).await?,
            infrastructure: source(&field("infrastructure"), &wanted.infrastructure.template_ref).await?,
        };
        workers.insert(wanted.class.clone(), sources);
    }
    Ok(Blueprint { class, infrastructure, control_plane, machines, workers })
}

/// A template of the class, in the version that the class names.
async fn template(
    asker: &Key,
    namespace: &str,
    reference: &ClassTemplateRef,
    context: &Context,
) -> Result<Source, Why> {
    let contract_ref = ContractRef {
        api_group: reference.group().to_owned(),
        kind: reference.kind.clone(),
        name: reference.name.clone(),
    };
    let found = context.externals.get(asker, namespace, &contract_ref).await;
    let Some(external) = found.object() else { return Err(absent(&contract_ref, &found)) };
    // The contract that counts is that of what is made.
    let made = reference.kind.strip_suffix("Template").unwrap_or(&reference.kind);
    let contract = match context.externals.served(asker, reference.group(), made).await {
        Ok(served) => served.contract,
        Err(found) => {
            let reference = ContractRef { kind: made.to_owned(), ..contract_ref };
            return Err(absent(&reference, &found));
        }
    };
    let (resource, object) = if external.served.resource.api_version == reference.api_version {
        (external.served.resource.clone(), Arc::clone(&external.object))
    } else {
        let version = reference.api_version.rsplit('/').next().unwrap_or_default();
        let kind = GroupVersionKind::gvk(reference.group(), version, &reference.kind);
        let resource = ApiResource::from_gvk(&kind);
        let read = context.hub.get_dynamic(&resource, &external.key()).await;
        match read.map_err(|error| Why::of(FAILED, &error))? {
            Some(object) => (resource, Arc::new(object)),
            None => return Err(failed(format!("there is no {} {}", reference.api_version, reference.kind))),
        }
    };
    Ok(Source { reference: reference.clone(), resource, contract, object })
}

fn absent(reference: &ContractRef, found: &Found) -> Why {
    let absence = found.absence(reference, "ClusterClass", false);
    failed(absence.map_or_else(|| format!("{} is missing", named(reference)), |absence| absence.message))
}

/// An object of the Cluster that is there; `None` where it is known not to be.
///
/// # Errors
/// When it is not known.
pub async fn existing(
    asker: &Key,
    reference: &ContractRef,
    context: &Context,
) -> Result<Option<Arc<DynamicObject>>, Why> {
    let found = context.externals.get(asker, &asker.namespace, reference).await;
    match found {
        Found::Object(external) => Ok(Some(external.object)),
        Found::Missing => Ok(None),
        other => Err(absent(reference, &other)),
    }
}

/// The MachineDeployments of a Cluster that a topology made, by name.
fn deployments(cluster: &Cluster, context: &Context) -> Vec<Arc<MachineDeployment>> {
    let name = cluster.name_any();
    let mut all = context.deployments.list_in(&cluster.namespace().unwrap_or_default());
    all.retain(|object| {
        object.spec.cluster_name == name && object.labels().contains_key(TOPOLOGY_OWNED_LABEL)
    });
    all.sort_by_key(|object| object.name_any());
    all
}

/// Whether a Machine of a MachineDeployment has another version than it should.
fn upgrading(cluster: &Cluster, object: &MachineDeployment, topology: &str, context: &Context) -> bool {
    let Some(version) = &object.spec.template.spec.version else { return false };
    let (name, namespace) = (cluster.name_any(), cluster.namespace().unwrap_or_default());
    context.machines.list_in(&namespace).iter().any(|machine| {
        machine.spec.cluster_name == name
            && machine.labels().get(TOPOLOGY_DEPLOYMENT_LABEL).is_some_and(|label| label == topology)
            && machine.spec.version.as_ref() != Some(version)
    })
}
