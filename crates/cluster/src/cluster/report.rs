//! The status of a Cluster, computed as a whole on every pass.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;
use scute_api::cluster::{
    ClusterInitializationStatus, ClusterPhase, ClusterStatus, ConditionPolarity, DeprecatedStatus, Machine,
    ReplicaCounts, V1Beta1Condition, V1Beta1Status,
};
use scute_api::meta::{ApiEndpoint, ContractRef};
use scute_contract::owners::controller;
use scute_contract::summary::{Part, reason, summary};
use scute_contract::{Absence, Contract, Found, Reported, fields, named, paused};
use scute_kit::conditions::{Conditions, Draft, Status, find, is_true, whole_seconds};

use super::observe::Observed;
use super::plan::{Plan, Reached, Stage};
use super::probe::Connection;
use crate::machine::mirrored;
use crate::machines::{self, Counted, READY, UP_TO_DATE, aggregate};

/// Written by the controller of topologies.
const TOPOLOGY_RECONCILED: &str = "TopologyReconciled";

/// The status of a Cluster.
#[must_use]
pub fn report(seen: &Observed, plan: &Plan, now: Timestamp) -> ClusterStatus {
    let cluster = &seen.cluster;
    let before = cluster.status.clone().unwrap_or_default();
    let generation = cluster.metadata.generation;
    let conditions = Conditions::new(&before.conditions, generation, now);
    let conditions = paused::put(conditions.put_all(parts(seen, plan)), None).finish();
    let Reached { infrastructure, control_plane, failure_domains, .. } = &plan.reached;
    let once = |is: bool| is.then_some(true);
    ClusterStatus {
        deprecated: Some(deprecated(seen, &plan.reached, now)),
        conditions: with_available(seen, conditions, plan.stage.is_some(), now),
        initialization: (*infrastructure || *control_plane).then(|| ClusterInitializationStatus {
            infrastructure_provisioned: once(*infrastructure),
            control_plane_initialized: once(*control_plane),
        }),
        control_plane: control_plane_counts(seen),
        workers: Some(worker_counts(seen)),
        failure_domains: failure_domains.clone(),
        phase: Some(phase(seen, plan)),
        observed_generation: generation,
    }
}

/// How far the Cluster has come.
#[must_use]
pub fn phase(seen: &Observed, plan: &Plan) -> ClusterPhase {
    let spec = &seen.cluster.spec;
    if plan.stage.is_some() {
        ClusterPhase::Deleting
    } else if plan.reached.infrastructure && plan.reached.endpoint.as_ref().is_some_and(ApiEndpoint::is_set) {
        ClusterPhase::Provisioned
    } else if spec.infrastructure_ref.is_some() || spec.control_plane_ref.is_some() {
        ClusterPhase::Provisioning
    } else {
        ClusterPhase::Pending
    }
}

/// Every condition but Available and Paused.
fn parts(seen: &Observed, plan: &Plan) -> Vec<Draft> {
    let (workers, control_plane) = (seen.workers(), seen.control_plane_machines());
    let of_machines = |type_: &str, machines: &[&Machine], of: &str, reasons| {
        let (status, reason, message) = aggregate(machines, of, reasons);
        Draft::new(type_, status, reason, message)
    };
    let mut parts = vec![
        infrastructure(seen, &plan.reached),
        initialized(seen, &plan.reached),
        control_plane_available(seen, &plan.reached),
        workers_available(seen),
        of_machines("ControlPlaneMachinesReady", &control_plane, "Ready", READY),
        of_machines("WorkerMachinesReady", &workers, "Ready", READY),
        of_machines("ControlPlaneMachinesUpToDate", &control_plane, "UpToDate", UP_TO_DATE),
        of_machines("WorkerMachinesUpToDate", &workers, "UpToDate", UP_TO_DATE),
        Draft::new("Remediating", Status::False, "NotRemediating", ""),
        probe(seen, &plan.reached),
        deleting(seen, plan.stage),
    ];
    parts.extend(
        [("RollingOut", "NotRollingOut"), ("ScalingUp", "NotScalingUp"), ("ScalingDown", "NotScalingDown")]
            .map(|(type_, not)| movement(seen, type_, not)),
    );
    parts
}

fn infrastructure(seen: &Observed, reached: &Reached) -> Draft {
    const TYPE: &str = "InfrastructureReady";
    let (Some(reference), Some(found)) = (&seen.cluster.spec.infrastructure_ref, &seen.infrastructure) else {
        if seen.cluster.spec.topology.is_some() && !reached.infrastructure {
            return Draft::new(TYPE, Status::False, "NotReady", "The topology has not named it yet");
        }
        return Draft::new(TYPE, Status::True, "Ready", "");
    };
    if let Some(absence) = found.absence(reference, "Cluster", reached.infrastructure) {
        return absence.condition(TYPE);
    }
    let ready = found.object().and_then(|external| Reported::of(&external.object, "Ready"));
    mirrored(TYPE, ready, reached.infrastructure, &format!("{} is not provisioned yet", named(reference)))
}

fn initialized(seen: &Observed, reached: &Reached) -> Draft {
    const TYPE: &str = "ControlPlaneInitialized";
    const NOT_YET: &str = "NotInitialized";
    if reached.control_plane {
        return Draft::new(TYPE, Status::True, "Initialized", "");
    }
    let (Some(reference), Some(found)) = (&seen.cluster.spec.control_plane_ref, &seen.control_plane) else {
        let message = "Waiting for the first control plane Machine to have a Node";
        return Draft::new(TYPE, Status::False, NOT_YET, message);
    };
    match found.absence(reference, "Cluster", false) {
        Some(Absence { status: Status::Unknown, reason, message }) => {
            Draft::new(TYPE, Status::Unknown, reason, message)
        }
        Some(absence) => Draft::new(TYPE, Status::False, NOT_YET, absence.message),
        None => {
            let message = format!("{} is not initialized yet", named(reference));
            Draft::new(TYPE, Status::False, NOT_YET, message)
        }
    }
}

fn control_plane_available(seen: &Observed, reached: &Reached) -> Draft {
    const TYPE: &str = "ControlPlaneAvailable";
    let (Some(reference), Some(found)) = (&seen.cluster.spec.control_plane_ref, &seen.control_plane) else {
        let good = Counted::of(&seen.control_plane_machines()).available > 0;
        return Draft::new(TYPE, good, if good { "Available" } else { "NotAvailable" }, "");
    };
    if let Some(absence) = found.absence(reference, "Cluster", reached.control_plane) {
        return absence.condition(TYPE);
    }
    let said = |type_: &str| found.object().and_then(|external| Reported::of(&external.object, type_));
    let of_v1beta2 = found.object().is_some_and(|external| external.served.contract == Contract::V1Beta2);
    match of_v1beta2.then(|| said("Available")).flatten().or_else(|| said("Ready")) {
        Some(Reported { status, reason, message }) => Draft::new(TYPE, status.as_str(), &reason, message),
        None if reached.control_plane => Draft::new(TYPE, Status::True, "Available", ""),
        None => {
            let message = format!("{} is not available yet", named(reference));
            Draft::new(TYPE, Status::False, "NotAvailable", message)
        }
    }
}

fn workers_available(seen: &Observed) -> Draft {
    const TYPE: &str = "WorkersAvailable";
    if seen.deployments.is_empty() {
        return Draft::new(TYPE, Status::True, "NoWorkers", "");
    }
    let parts: Vec<_> = seen
        .deployments
        .iter()
        .map(|deployment| {
            let conditions = deployment.status.as_ref().map(|status| status.conditions.as_slice());
            let available =
                conditions.and_then(|conditions| find(conditions, "Available")).map(Reported::from);
            Part::positive(format!("MachineDeployment {}", deployment.name_any()), available.as_ref())
        })
        .collect();
    let (status, message) = summary(&parts);
    Draft::new(TYPE, status, reason(status, "Available", "NotAvailable", "AvailableUnknown"), message)
}

fn probe(seen: &Observed, reached: &Reached) -> Draft {
    const TYPE: &str = "RemoteConnectionProbe";
    const FAILED: &str = "ProbeFailed";
    let before = seen.cluster.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    match &seen.connection {
        Some(Connection::Up) => {
            Draft::new(TYPE, Status::True, "ProbeSucceeded", seen.left_out.clone().unwrap_or_default())
        }
        // A new manager has not asked yet: what the one before it was told counts until then.
        Some(Connection::NotYet(_)) if is_true(before, TYPE) => {
            let last = find(before, TYPE).map(|last| (last.reason.clone(), last.message.clone()));
            let (reason, message) = last.unwrap_or_default();
            Draft::new(TYPE, Status::True, &reason, message)
        }
        Some(Connection::NotYet(why)) if why.is_empty() => {
            Draft::new(TYPE, Status::Unknown, FAILED, "Not asked yet")
        }
        Some(Connection::NotYet(why)) => Draft::new(TYPE, Status::Unknown, FAILED, why.clone()),
        Some(Connection::Down(why)) => Draft::new(TYPE, Status::False, FAILED, why.clone()),
        None if reached.control_plane => Draft::new(TYPE, Status::Unknown, FAILED, "Not asked yet"),
        None => Draft::new(TYPE, Status::False, FAILED, "The control plane is not initialized yet"),
    }
}

/// A condition that is True when the control plane or a group of Machines says so.
fn movement(seen: &Observed, type_: &str, not: &str) -> Draft {
    let mut lines = Vec::new();
    if let (Some(Found::Object(external)), Some(reference)) =
        (&seen.control_plane, &seen.cluster.spec.control_plane_ref)
        && let Some(own) = Reported::of(&external.object, type_)
        && own.status == "True"
    {
        lines.push(format!("* {}: {}", named(reference), own.message));
    }
    let groups = seen
        .deployments
        .iter()
        .map(|deployment| {
            let conditions = deployment.status.as_ref().map(|status| status.conditions.as_slice());
            (format!("MachineDeployment {}", deployment.name_any()), conditions.unwrap_or_default())
        })
        .chain(seen.sets.iter().map(|set| {
            let conditions = set.status.as_ref().map(|status| status.conditions.as_slice());
            (format!("MachineSet {}", set.name_any()), conditions.unwrap_or_default())
        }));
    for (name, conditions) in groups {
        if let Some(own) = find(conditions, type_).filter(|own| own.status == "True") {
            lines.push(format!("* {name}: {}", own.message.replace('\n', " ")));
        }
    }
    if lines.is_empty() {
        Draft::new(type_, Status::False, not, "")
    } else {
        Draft::new(type_, Status::True, type_, lines.join("\n"))
    }
}

fn deleting(seen: &Observed, stage: Option<Stage>) -> Draft {
    let Some(stage) = stage else { return Draft::new("Deleting", Status::False, "NotDeleting", "") };
    let spec = &seen.cluster.spec;
    let message = match stage {
        Stage::Workers => workers_left(seen),
        Stage::ControlPlane => left(spec.control_plane_ref.as_ref(), seen.control_plane_unknown()),
        Stage::Infrastructure => {
            let mut lines = Vec::new();
            let unknown = seen.infrastructure_unknown();
            if unknown.is_some() || seen.infrastructure.as_ref().and_then(Found::object).is_some() {
                lines.push(left(spec.infrastructure_ref.as_ref(), unknown));
            }
            lines.extend(seen.extra.iter().map(|external| {
                let kind = &external.served.resource.kind;
                format!("* {kind} {}: deletion in progress", external.object.name_any())
            }));
            lines.join("\n")
        }
        Stage::Done => "Deletion completed".to_owned(),
    };
    Draft::new("Deleting", Status::True, stage.reason(), message)
}

fn left(reference: Option<&ContractRef>, unknown: Option<String>) -> String {
    let named = reference.map(named).unwrap_or_default();
    match unknown {
        Some(why) => format!("* {named} cannot be looked up: {why}"),
        None => format!("* {named}: deletion in progress"),
    }
}

fn workers_left(seen: &Observed) -> String {
    let mut lines = Vec::new();
    let names = |names: Vec<String>| names.join(", ");
    if !seen.deployments.is_empty() {
        lines.push(format!(
            "* MachineDeployments: {}",
            names(seen.deployments.iter().map(|md| md.name_any()).collect())
        ));
    }
    if !seen.sets.is_empty() {
        lines.push(format!("* MachineSets: {}", names(seen.sets.iter().map(|ms| ms.name_any()).collect())));
    }
    let workers = seen.workers();
    if !workers.is_empty() {
        lines.push(format!("* {}", machines::named(&workers)));
    }
    lines.join("\n")
}

/// What the whole depends on.
fn with_available(
    seen: &Observed,
    mut own: Vec<Condition>,
    deleting: bool,
    now: Timestamp,
) -> Vec<Condition> {
    let before = seen.cluster.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let gates = &seen.cluster.spec.availability_gates;
    for gate in gates {
        if find(&own, &gate.condition_type).is_none() {
            own.extend(find(before, &gate.condition_type).cloned());
        }
    }
    // It is the topology's to write, and to be kept meanwhile.
    let topology = seen.cluster.spec.topology.as_ref().and_then(|_| find(before, TOPOLOGY_RECONCILED));
    own.extend(
        topology
            .filter(|_| find(&own, TOPOLOGY_RECONCILED).is_none())
            .cloned()
            .into_iter()
            .collect::<Vec<_>>(),
    );
    let reported = |type_: &str| find(&own, type_).map(Reported::from);
    let mut parts: Vec<_> =
        ["RemoteConnectionProbe", "InfrastructureReady", "ControlPlaneAvailable", "WorkersAvailable"]
            .iter()
            .map(|type_| Part::positive(*type_, reported(type_).as_ref()))
            .collect();
    if deleting {
        parts.push(Part::negative("Deleting", reported("Deleting").as_ref()));
    }
    // An upgrade on its way is no fault.
    let failed = |condition: &&Condition| {
        ["ReconcileFailed", "ClusterClassNotReconciled"].contains(&condition.reason.as_str())
    };
    if let Some(failed) = topology.filter(failed) {
        parts.push(Part::positive(TOPOLOGY_RECONCILED, Some(&Reported::from(failed))));
    }
    for gate in gates {
        let type_ = &gate.condition_type;
        parts.push(match gate.polarity.unwrap_or_default() {
            ConditionPolarity::Positive => Part::positive(type_, reported(type_).as_ref()),
            ConditionPolarity::Negative => Part::negative(type_, reported(type_).as_ref()),
        });
    }
    let (status, message) = summary(&parts);
    let available = Conditions::new(before, seen.cluster.metadata.generation, now)
        .put("Available", status, reason(status, "Available", "NotAvailable", "AvailableUnknown"), message)
        .finish();
    own.extend(available);
    own.sort_by(|a, b| a.type_.cmp(&b.type_));
    own
}

fn control_plane_counts(seen: &Observed) -> Option<ReplicaCounts> {
    if let Some(Found::Object(external)) = &seen.control_plane {
        return fields::replica_counts(&external.object, external.served.contract);
    }
    let machines = seen.control_plane_machines();
    (!machines.is_empty()).then(|| counts(&machines, i32::try_from(machines.len()).unwrap_or(i32::MAX)))
}

fn worker_counts(seen: &Observed) -> ReplicaCounts {
    let machines = seen.workers();
    let deployments = seen.deployments.iter().map(|deployment| deployment.spec.replicas.unwrap_or(1));
    let sets = seen.sets.iter().map(|set| set.spec.replicas.unwrap_or(1));
    let alone = machines.iter().filter(|machine| controller(&machine.metadata).is_none()).map(|_| 1);
    let desired = deployments.chain(sets).chain(alone).fold(0_i32, i32::saturating_add);
    counts(&machines, desired)
}

fn counts(machines: &[&Machine], desired: i32) -> ReplicaCounts {
    let counted = Counted::of(machines);
    ReplicaCounts {
        desired_replicas: Some(desired),
        replicas: Some(counted.replicas),
        up_to_date_replicas: Some(counted.up_to_date),
        ready_replicas: Some(counted.ready),
        available_replicas: Some(counted.available),
        versions: counted.versions,
    }
}

/// Conditions of v1beta1: providers exist that wait for InfrastructureReady here.
fn deprecated(seen: &Observed, reached: &Reached, now: Timestamp) -> DeprecatedStatus {
    let infrastructure = match &seen.infrastructure {
        Some(Found::Object(external)) => {
            Reported::deprecated_ready(&external.object, external.served.contract)
        }
        _ => None,
    };
    let before = seen
        .cluster
        .status
        .as_ref()
        .and_then(|status| status.deprecated.as_ref()?.v1beta1.as_ref())
        .map(|old| old.conditions.clone())
        .unwrap_or_default();
    let mut put = Vec::new();
    for (type_, mirror, done) in [
        ("ControlPlaneReady", None, reached.control_plane),
        ("InfrastructureReady", infrastructure, reached.infrastructure),
    ] {
        let reported = mirror.unwrap_or_else(|| Reported {
            status: Status::from(done).as_str().to_owned(),
            reason: if done { String::new() } else { "NotProvisioned".to_owned() },
            message: String::new(),
        });
        let since = before
            .iter()
            .find(|old| old.type_ == type_ && old.status == reported.status)
            .map_or_else(|| Time(whole_seconds(now)), |old| old.last_transition_time.clone());
        let bad = reported.status != "True";
        put.push(V1Beta1Condition {
            type_: type_.to_owned(),
            status: reported.status,
            severity: bad.then(|| "Info".to_owned()),
            last_transition_time: since,
            reason: bad.then_some(reported.reason).filter(|reason| !reason.is_empty()),
            message: Some(reported.message).filter(|message| !message.is_empty()),
        });
    }
    DeprecatedStatus { v1beta1: Some(V1Beta1Status { conditions: put, ..V1Beta1Status::default() }) }
}
