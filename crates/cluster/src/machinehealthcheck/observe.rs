//! Everything that a MachineHealthCheck looks at.

use std::sync::Arc;

use kube::ResourceExt;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use scute_api::cluster::{Cluster, Machine, MachineHealthCheck, SKIP_REMEDIATION_ANNOTATION};
use scute_api::meta::PAUSED_ANNOTATION;
use scute_contract::{Contract, Found, Served, selector};
use scute_kit::Key;
use scute_kit::conditions::is_true;
use scute_kit::tenants::{Standing, TenantKey, TenantNodes};

use super::Context;
use super::judge::NodeSeen;
use scute_contract::cloned::templated_kind;

/// A MachineHealthCheck and what it checks.
#[derive(Clone)]
pub struct Observed {
    /// The MachineHealthCheck.
    pub check: Arc<MachineHealthCheck>,
    /// Its Cluster, if it exists.
    pub cluster: Option<Arc<Cluster>>,
    /// The Machines that it checks, by name.
    pub targets: Vec<Target>,
    /// What mends a Machine, where that is not for its owner.
    pub remedy: Option<Remedy>,
}

/// A Machine that is checked.
#[derive(Clone)]
pub struct Target {
    /// The Machine.
    pub machine: Arc<Machine>,
    /// Its Node.
    pub node: NodeSeen,
    /// What was made to mend it.
    pub remediation: Option<Arc<DynamicObject>>,
}

/// The template of objects that mend Machines.
#[derive(Clone)]
pub struct Remedy {
    /// The template, or why there is none to be had.
    pub template: Result<Arc<DynamicObject>, String>,
    /// How what is made from it is addressed.
    pub resource: ApiResource,
}

/// Reads, and writes nothing.
pub async fn observe(check: Arc<MachineHealthCheck>, context: &Context) -> Observed {
    let asker = Key::of(check.as_ref());
    let cluster = context.clusters.get(&Key::new(asker.namespace.clone(), check.spec.cluster_name.clone()));
    let initialized = cluster.as_ref().is_some_and(|cluster| {
        let conditions = cluster.status.as_ref().map(|status| status.conditions.as_slice());
        cluster.metadata.deletion_timestamp.is_none()
            && is_true(conditions.unwrap_or_default(), "ControlPlaneInitialized")
    });
    let nodes = initialized
        .then(|| context.tenants.nodes(&TenantKey::capi(&asker.namespace, &check.spec.cluster_name)));
    let machines = context.machines.list_in(&asker.namespace);
    let mut targets: Vec<_> = machines
        .into_iter()
        .filter(|machine| is_target(&check, machine))
        .map(|machine| {
            let node = nodes.as_ref().map(|nodes| node(&machine, nodes)).unwrap_or_default();
            Target { machine, node, remediation: None }
        })
        .collect();
    targets.sort_by_key(|target| target.machine.name_any());
    let remedy = remedy(&asker, &check, &mut targets, context).await;
    Observed { check, cluster, targets, remedy }
}

/// Whether a MachineHealthCheck is about a Machine.
#[must_use]
pub fn is_about(check: &MachineHealthCheck, machine: &Machine) -> bool {
    machine.spec.cluster_name == check.spec.cluster_name
        && selector::matches(&check.spec.selector, machine.labels())
}

/// Whether it checks the Machine: nobody has asked to leave it alone.
fn is_target(check: &MachineHealthCheck, machine: &Machine) -> bool {
    let left_alone = [PAUSED_ANNOTATION, SKIP_REMEDIATION_ANNOTATION];
    is_about(check, machine) && !left_alone.iter().any(|key| machine.annotations().contains_key(*key))
}

fn node(machine: &Machine, nodes: &TenantNodes) -> NodeSeen {
    let standing = nodes.standing();
    let why = || standing.message().unwrap_or_default();
    if matches!(standing, Standing::NotYet | Standing::Silent) {
        return NodeSeen::Unknown(why());
    }
    let name = machine.status.as_ref().and_then(|status| status.node_ref.as_ref()).map(|node| &node.name);
    let found = match (name, &machine.spec.provider_id) {
        (Some(name), _) => nodes.get(name),
        // It has come, and the Machine has not been told yet.
        (None, Some(id)) => nodes.with_provider_id(id).into_iter().next(),
        (None, None) => None,
    };
    match (found, name) {
        (Some(node), _) => NodeSeen::Found(node),
        // One that is not among those that are kept may be there all the same.
        (None, _) if standing == Standing::Partial => NodeSeen::Unknown(why()),
        (None, Some(name)) => NodeSeen::Deleted(name.clone()),
        (None, None) => NodeSeen::None,
    }
}

/// The template, and what has been made from it for the targets.
async fn remedy(
    asker: &Key,
    check: &MachineHealthCheck,
    targets: &mut [Target],
    context: &Context,
) -> Option<Remedy> {
    let reference = check.spec.remediation.as_ref()?.template_ref.as_ref()?;
    let (group, version) = reference.api_version.split_once('/')?;
    let served = |kind: &str| {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        // The contract says nothing of remediations.
        Served { resource, contract: Contract::V1Beta2 }
    };
    // What it wants to hear of is said anew each time: Machines come and go.
    context.externals.forget(asker);
    let found = context.externals.get_as(asker, &served(&reference.kind), &reference.name).await;
    let template = match found {
        Found::Object(external) => Ok(external.object),
        other => {
            let contract_ref = scute_api::meta::ContractRef {
                api_group: group.to_owned(),
                kind: reference.kind.clone(),
                name: reference.name.clone(),
            };
            let absence = other.absence(&contract_ref, "MachineHealthCheck", false);
            Err(absence.map(|absence| absence.message).unwrap_or_default())
        }
    };
    let made = served(templated_kind(&reference.kind));
    for target in targets {
        let name = target.machine.name_any();
        let found = context.externals.get_as(asker, &made, &name).await;
        target.remediation = found.object().map(|external| Arc::clone(&external.object));
    }
    Some(Remedy { template, resource: made.resource })
}
