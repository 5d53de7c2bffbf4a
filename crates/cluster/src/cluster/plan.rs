//! What a Cluster needs next, and the order in which it goes. Pure.
//!
//! ```text
//! Workers ─► ControlPlane ─► Infrastructure ─► Done
//! ```

use kube::ResourceExt;
use scute_api::cluster::{CLUSTER_FINALIZER, FailureDomain};
use scute_api::meta::ApiEndpoint;
use scute_contract::owners::{belonging, controller, owner};
use scute_contract::{External, Found, fields};
use scute_kit::finalizer;

use super::observe::Observed;

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Put the finalizer.
    AddFinalizer,
    /// Make the infrastructure belong to the Cluster.
    AdoptInfrastructure,
    /// Make an InfraCluster of another kind belong to the Cluster.
    AdoptExtra(usize),
    /// Make the control plane belong to the Cluster.
    AdoptControlPlane,
    /// Write where the API server answers.
    SetEndpoint(ApiEndpoint),
    /// Delete a MachineDeployment.
    DeleteDeployment(String),
    /// Delete a MachineSet.
    DeleteSet(String),
    /// Delete a Machine.
    DeleteMachine(String),
    /// Delete the control plane.
    DeleteControlPlane,
    /// Delete the infrastructure.
    DeleteInfrastructure,
    /// Delete an InfraCluster of another kind.
    DeleteExtra(usize),
    /// Drop the finalizer.
    RemoveFinalizer,
}

/// What a Cluster has reached, with what this plan adds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reached {
    /// The infrastructure has been provisioned.
    pub infrastructure: bool,
    /// The control plane has answered.
    pub control_plane: bool,
    /// Where it answers.
    pub endpoint: Option<ApiEndpoint>,
    /// Failure domains of the infrastructure.
    pub failure_domains: Vec<FailureDomain>,
}

/// What is waited for before a Cluster can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// MachineDeployments, MachineSets and Machines.
    Workers,
    /// The control plane.
    ControlPlane,
    /// InfraClusters.
    Infrastructure,
    /// Nothing.
    Done,
}

impl Stage {
    /// The reason of the Deleting condition.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Workers => "WaitingForWorkersDeletion",
            Self::ControlPlane => "WaitingForControlPlaneDeletion",
            Self::Infrastructure => "WaitingForInfrastructureDeletion",
            Self::Done => "DeletionCompleted",
        }
    }
}

/// What to write, and what will have been reached then.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// Afterwards.
    pub reached: Reached,
    /// What a deletion waits for.
    pub stage: Option<Stage>,
}

/// What a Cluster needs next.
#[must_use]
pub fn plan(seen: &Observed) -> Plan {
    let reached = reached(seen);
    if seen.cluster.metadata.deletion_timestamp.is_some() {
        let stage = stage(seen);
        return Plan { actions: deletion(seen, stage), reached, stage: Some(stage) };
    }
    let cluster = &seen.cluster;
    let mut actions = Vec::new();
    if !finalizer::has(cluster.as_ref(), CLUSTER_FINALIZER) {
        actions.push(Action::AddFinalizer);
    }
    if object(seen.infrastructure.as_ref()).is_some_and(|external| is_stranger(seen, external)) {
        actions.push(Action::AdoptInfrastructure);
    }
    for (index, external) in seen.extra.iter().enumerate() {
        if is_stranger(seen, external) {
            actions.push(Action::AdoptExtra(index));
        }
    }
    if object(seen.control_plane.as_ref()).is_some_and(|external| is_stranger(seen, external)) {
        actions.push(Action::AdoptControlPlane);
    }
    let known = cluster.spec.control_plane_endpoint.as_ref().is_some_and(ApiEndpoint::is_set);
    if let Some(endpoint) = reached.endpoint.clone().filter(|_| !known) {
        actions.push(Action::SetEndpoint(endpoint));
    }
    Plan { actions, reached, stage: None }
}

fn is_stranger(seen: &Observed, external: &External) -> bool {
    let want = owner(seen.cluster.as_ref(), false);
    !external.is_deleting() && belonging(&external.object.metadata, &want, &seen.cluster.name_any()).is_some()
}

fn object(found: Option<&Found>) -> Option<&External> {
    found.and_then(Found::object)
}

/// What has once been reached is never lost. The endpoint is taken once: from the infrastructure when it
/// has one, else from the control plane.
fn reached(seen: &Observed) -> Reached {
    let spec = &seen.cluster.spec;
    let status = seen.cluster.status.clone().unwrap_or_default();
    let before = status.initialization.unwrap_or_default();
    let mut reached = Reached {
        // A topology names its infrastructure in its own time.
        infrastructure: before.infrastructure_provisioned == Some(true)
            || (seen.infrastructure.is_none() && spec.topology.is_none()),
        control_plane: before.control_plane_initialized == Some(true),
        endpoint: spec.control_plane_endpoint.clone().filter(ApiEndpoint::is_set),
        failure_domains: status.failure_domains,
    };
    if let Some(external) = object(seen.infrastructure.as_ref()) {
        let contract = external.served.contract;
        reached.infrastructure |= fields::provisioned(&external.object, contract);
        if reached.infrastructure {
            reached.endpoint = reached.endpoint.or_else(|| fields::endpoint(&external.object));
            reached.failure_domains = fields::failure_domains(&external.object, contract);
        }
    }
    match object(seen.control_plane.as_ref()) {
        Some(external) => {
            reached.control_plane |=
                fields::control_plane_initialized(&external.object, external.served.contract);
            reached.endpoint = reached.endpoint.or_else(|| fields::endpoint(&external.object));
        }
        None if seen.control_plane.is_none() => {
            reached.control_plane |= seen
                .control_plane_machines
                .iter()
                .any(|machine| machine.status.as_ref().is_some_and(|status| status.node_ref.is_some()));
        }
        None => {}
    }
    reached
}

/// What a deletion waits for now.
#[must_use]
pub fn stage(seen: &Observed) -> Stage {
    let machines_of_control_plane = seen.control_plane.is_none() && !seen.control_plane_machines.is_empty();
    if !seen.deployments.is_empty()
        || !seen.sets.is_empty()
        || !seen.workers.is_empty()
        || machines_of_control_plane
    {
        return Stage::Workers;
    }
    if object(seen.control_plane.as_ref()).is_some() || seen.control_plane_unknown().is_some() {
        return Stage::ControlPlane;
    }
    let infrastructure = object(seen.infrastructure.as_ref()).is_some();
    if infrastructure || seen.infrastructure_unknown().is_some() || !seen.extra.is_empty() {
        return Stage::Infrastructure;
    }
    Stage::Done
}

fn deletion(seen: &Observed, stage: Stage) -> Vec<Action> {
    let going = |external: Option<&External>| external.is_some_and(|external| !external.is_deleting());
    match stage {
        Stage::Workers => workers(seen),
        Stage::ControlPlane => {
            let delete = going(object(seen.control_plane.as_ref()));
            delete.then_some(Action::DeleteControlPlane).into_iter().collect()
        }
        Stage::Infrastructure => {
            let main = going(object(seen.infrastructure.as_ref())).then_some(Action::DeleteInfrastructure);
            let extra = seen.extra.iter().enumerate().filter(|(_, external)| !external.is_deleting());
            main.into_iter().chain(extra.map(|(index, _)| Action::DeleteExtra(index))).collect()
        }
        Stage::Done => vec![Action::RemoveFinalizer],
    }
}

/// MachineDeployments, MachineSets of none, and Machines of no set; those that are not going yet.
fn workers(seen: &Observed) -> Vec<Action> {
    let deployments = seen
        .deployments
        .iter()
        .filter(|deployment| deployment.metadata.deletion_timestamp.is_none())
        .map(|deployment| Action::DeleteDeployment(deployment.name_any()));
    let sets = seen
        .sets
        .iter()
        .filter(|set| set.metadata.deletion_timestamp.is_none())
        .map(|set| Action::DeleteSet(set.name_any()));
    let own = seen.control_plane_machines.iter().filter(|_| seen.control_plane.is_none());
    let machines = seen
        .workers
        .iter()
        .chain(own)
        .filter(|machine| machine.metadata.deletion_timestamp.is_none())
        .filter(|machine| controller(&machine.metadata).is_none())
        .map(|machine| Action::DeleteMachine(machine.name_any()));
    deployments.chain(sets).chain(machines).collect()
}
