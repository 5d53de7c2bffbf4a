//! The status of a Machine, computed as a whole on every pass.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::NodeSystemInfo;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;
use scute_api::cluster::{
    CERTIFICATES_EXPIRY_ANNOTATION, ConditionPolarity, MachineDeletionStatus, MachineInitializationStatus,
    MachineNodeReference, MachinePhase, MachineStatus,
};
use scute_api::meta::CONTROL_PLANE_LABEL;
use scute_contract::spoken::{EXTERNALLY_REMEDIATED, HEALTH_CHECK_SUCCEEDED, OWNER_REMEDIATED};
use scute_contract::summary::{Part, reason, summary};
use scute_contract::{Reported, fields, named, paused};
use scute_kit::conditions::{Conditions, Draft, Status, find, whole_seconds};

use super::node::{ailments, ready};
use super::observe::{Nodes, Observed};
use super::plan::Reached;

/// How a deletion stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleting {
    /// Reason of the Deleting condition.
    pub reason: &'static str,
    /// Its message.
    pub message: String,
    /// When the steps began.
    pub times: MachineDeletionStatus,
}

/// The status of a Machine.
#[must_use]
pub fn report(
    seen: &Observed,
    reached: &Reached,
    deleting: Option<&Deleting>,
    now: Timestamp,
) -> MachineStatus {
    let machine = &seen.machine;
    let before = machine.status.clone().unwrap_or_default();
    let phase = phase(reached, deleting);
    let node = seen.node();
    let conditions = Conditions::new(&before.conditions, machine.metadata.generation, now);
    let conditions = paused::put(conditions.put_all(parts(seen, reached, deleting)), None).finish();
    MachineStatus {
        conditions: summarised(seen, conditions, deleting.is_some(), now),
        initialization: initialization(reached),
        node_ref: reached.node.clone().map(|name| MachineNodeReference { name }),
        node_info: node
            .and_then(|node| node.status.as_ref()?.node_info.clone())
            .or(before.node_info)
            .filter(|_| reached.node.is_some())
            .map(settled),
        last_updated: if before.phase == Some(phase) {
            before.last_updated
        } else {
            Some(Time(whole_seconds(now)))
        },
        addresses: reached.addresses.clone().unwrap_or(before.addresses),
        failure_domain: reached.failure_domain.clone(),
        certificates_expiry_date: certificates_expiry(seen),
        phase: Some(phase),
        observed_generation: machine.metadata.generation,
        deletion: deleting
            .map(|deleting| deleting.times.clone())
            .filter(|times| *times != Default::default()),
        deprecated: before.deprecated,
    }
}

/// When the certificates of a control-plane Machine end: its own annotation counts before that of its bootstrap configuration.
/// What is no time is nothing.
fn certificates_expiry(seen: &Observed) -> Option<Time> {
    let own = seen.machine.annotations().get(CERTIFICATES_EXPIRY_ANNOTATION);
    let config = seen.bootstrap.as_ref().and_then(|found| found.object());
    let of_config =
        || config.and_then(|config| config.object.annotations().get(CERTIFICATES_EXPIRY_ANNOTATION));
    let said = own.or_else(of_config).filter(|_| seen.machine.labels().contains_key(CONTROL_PLANE_LABEL))?;
    said.parse().ok().map(|time| Time(whole_seconds(time)))
}

/// Swap sizes change all the time on some systems, and every change would be a write.
fn settled(mut info: NodeSystemInfo) -> NodeSystemInfo {
    info.swap = None;
    info
}

fn initialization(reached: &Reached) -> Option<MachineInitializationStatus> {
    let once = |is: bool| is.then_some(true);
    (reached.bootstrap_data || reached.infrastructure).then(|| MachineInitializationStatus {
        infrastructure_provisioned: once(reached.infrastructure),
        bootstrap_data_secret_created: once(reached.bootstrap_data),
    })
}

/// How far the Machine has come.
#[must_use]
pub fn phase(reached: &Reached, deleting: Option<&Deleting>) -> MachinePhase {
    match reached {
        _ if deleting.is_some() => MachinePhase::Deleting,
        Reached { node: Some(_), .. } => MachinePhase::Running,
        Reached { infrastructure: true, provider_id: Some(_), .. } => MachinePhase::Provisioned,
        Reached { bootstrap_data: true, .. } => MachinePhase::Provisioning,
        _ => MachinePhase::Pending,
    }
}

/// Every condition but Ready, Available and Paused.
fn parts(seen: &Observed, reached: &Reached, deleting: Option<&Deleting>) -> Vec<Draft> {
    let mut parts = vec![
        bootstrap(seen, reached),
        infrastructure(seen, reached),
        Draft::new("Updating", Status::False, "NotUpdating", ""),
        match deleting {
            Some(deleting) => Draft::new("Deleting", Status::True, deleting.reason, deleting.message.clone()),
            None => Draft::new("Deleting", Status::False, "NotDeleting", ""),
        },
    ];
    parts.extend(node(seen, reached));
    match &seen.rollout.differences {
        None => {}
        Some(none) if none.is_empty() => parts.push(Draft::new("UpToDate", Status::True, "UpToDate", "")),
        Some(differences) => {
            let lines: Vec<_> = differences.iter().map(|difference| format!("* {difference}")).collect();
            parts.push(Draft::new("UpToDate", Status::False, "NotUpToDate", lines.join("\n")));
        }
    }
    parts
}

fn bootstrap(seen: &Observed, reached: &Reached) -> Draft {
    const TYPE: &str = "BootstrapConfigReady";
    let (Some(reference), Some(found)) = (&seen.machine.spec.bootstrap.config_ref, &seen.bootstrap) else {
        return Draft::new(TYPE, Status::True, "DataSecretProvided", "");
    };
    match found.absence(reference, "Machine", false) {
        Some(absence) if reached.bootstrap_data && absence.status == Status::False => {
            Draft::new(TYPE, Status::True, "DataSecretProvided", "")
        }
        Some(absence) => absence.condition(TYPE),
        None => {
            let ready = found.object().and_then(|external| Reported::of(&external.object, "Ready"));
            let missing = format!("{} has not made its Secret yet", named(reference));
            mirrored(TYPE, ready, reached.bootstrap_data, &missing)
        }
    }
}

fn infrastructure(seen: &Observed, reached: &Reached) -> Draft {
    const TYPE: &str = "InfrastructureReady";
    let reference = &seen.machine.spec.infrastructure_ref;
    if let Some(absence) = seen.infrastructure.absence(reference, "Machine", reached.infrastructure) {
        return absence.condition(TYPE);
    }
    let external = seen.infrastructure.object();
    let ready = external.and_then(|external| Reported::of(&external.object, "Ready"));
    let provisioned =
        external.is_some_and(|external| fields::provisioned(&external.object, external.served.contract));
    let missing = if provisioned && reached.provider_id.is_none() {
        format!("{} is provisioned but has no spec.providerID", named(reference))
    } else {
        format!("{} is not provisioned yet", named(reference))
    };
    mirrored(TYPE, ready, reached.infrastructure, &missing)
}

/// The Ready condition of a provider's object, or, when it has none, whether it has been provisioned.
pub(crate) fn mirrored(type_: &str, ready: Option<Reported>, done: bool, missing: &str) -> Draft {
    match ready {
        Some(Reported { status, reason, message }) => Draft::new(type_, status.as_str(), &reason, message),
        None if done => Draft::new(type_, Status::True, "Ready", ""),
        None => Draft::new(type_, Status::False, "NotReady", missing),
    }
}

fn node(seen: &Observed, reached: &Reached) -> Vec<Draft> {
    let both = |status: Status, reason: &str, message: &str| {
        vec![
            Draft::new("NodeReady", status, reason, message),
            Draft::new("NodeHealthy", status, reason, message),
        ]
    };
    let before = seen.machine.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let last: Vec<_> = ["NodeReady", "NodeHealthy"]
        .into_iter()
        .filter_map(|type_| {
            let last = find(before, type_)?;
            Some(Draft::new(type_, last.status.as_str(), &last.reason, last.message.clone()))
        })
        .collect();
    match &seen.nodes {
        Nodes::NotYet(_) if reached.node.is_some() && !last.is_empty() => last,
        Nodes::NotYet(why) | Nodes::Unknown(why) if reached.node.is_some() => {
            both(Status::Unknown, "ConnectionDown", why)
        }
        Nodes::NotYet(why) | Nodes::Unknown(why) => both(Status::Unknown, "InspectionFailed", why),
        Nodes::Known(nodes) if nodes.len() > 1 => {
            let names: Vec<_> = nodes.iter().filter_map(|node| node.metadata.name.as_deref()).collect();
            // Theirs, as the Machine may not have it yet: they are found by what its infrastructure says too.
            let id = nodes.iter().find_map(|node| node.spec.as_ref()?.provider_id.as_deref());
            let id = id.unwrap_or_default();
            let message = format!("Nodes {} all have spec.providerID {id}", names.join(", "));
            both(Status::Unknown, "InternalError", &message)
        }
        Nodes::Known(nodes) => match (nodes.first(), &reached.node, &reached.provider_id) {
            (Some(node), _, _) => healthy(node),
            (None, Some(name), _) => both(
                Status::False,
                "NodeDeleted",
                &format!("Node {name} has been deleted while the Machine exists"),
            ),
            (None, None, Some(id)) => both(
                Status::Unknown,
                "NodeDoesNotExist",
                &format!("Waiting for a Node with spec.providerID {id} to exist"),
            ),
            (None, None, None) => {
                let reference = &seen.machine.spec.infrastructure_ref;
                let message =
                    format!("Waiting for {} {} to report spec.providerID", reference.kind, reference.name);
                both(Status::Unknown, "InspectionFailed", &message)
            }
        },
    }
}

fn healthy(node: &k8s_openapi::api::core::v1::Node) -> Vec<Draft> {
    let ready = match ready(node) {
        Some(Reported { status, message, .. }) => {
            let status = Status::from(status.as_str());
            let said =
                if status == Status::True { String::new() } else { format!("* Node.Ready: {message}") };
            Draft::new(
                "NodeReady",
                status,
                reason(status, "NodeReady", "NodeNotReady", "NodeReadyUnknown"),
                said,
            )
        }
        None => {
            Draft::new("NodeReady", Status::Unknown, "NodeReadyUnknown", "* Node.Ready: Not yet reported")
        }
    };
    let (found, bad) = ailments(node);
    let healthy = match (found.is_empty(), bad) {
        (true, _) => Draft::new("NodeHealthy", Status::True, "NodeHealthy", ""),
        (false, true) => Draft::new("NodeHealthy", Status::False, "NodeNotHealthy", found.join("\n")),
        (false, false) => Draft::new("NodeHealthy", Status::Unknown, "NodeHealthyUnknown", found.join("\n")),
    };
    vec![ready, healthy]
}

/// Conditions that others write onto the Machine: health checks, and the control plane that it is of.
pub const FOREIGN: [&str; 4] = [HEALTH_CHECK_SUCCEEDED, OWNER_REMEDIATED, EXTERNALLY_REMEDIATED, "UpToDate"];

/// Adds Ready and Available, and keeps what others have written.
fn summarised(seen: &Observed, own: Vec<Condition>, deleting: bool, now: Timestamp) -> Vec<Condition> {
    let machine = &seen.machine;
    let before = machine.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let gates = &machine.spec.readiness_gates;
    let mut all = own;
    for condition in before {
        let of_others = FOREIGN.contains(&condition.type_.as_str())
            || gates.iter().any(|gate| gate.condition_type == condition.type_);
        if of_others && find(&all, &condition.type_).is_none() {
            all.push(condition.clone());
        }
    }
    let reported = |type_: &str| find(&all, type_).map(Reported::from);
    let mut parts: Vec<_> = ["BootstrapConfigReady", "InfrastructureReady", "NodeHealthy"]
        .iter()
        .map(|type_| Part::positive(*type_, reported(type_).as_ref()))
        .collect();
    if seen.cluster.is_none() {
        let absent = || format!("Cluster {} does not exist", machine.spec.cluster_name);
        let message = seen.cluster_unknown.clone().unwrap_or_else(absent);
        parts.insert(0, Part { name: "spec.clusterName".to_owned(), status: Status::False, message });
    }
    if deleting {
        parts.push(Part::negative("Deleting", reported("Deleting").as_ref()));
    }
    if let Some(check) = reported(HEALTH_CHECK_SUCCEEDED) {
        parts.push(Part::positive(HEALTH_CHECK_SUCCEEDED, Some(&check)));
    }
    for gate in gates {
        let type_ = &gate.condition_type;
        parts.push(match gate.polarity.unwrap_or_default() {
            ConditionPolarity::Positive => Part::positive(type_, reported(type_).as_ref()),
            ConditionPolarity::Negative => Part::negative(type_, reported(type_).as_ref()),
        });
    }
    let (status, message) = summary(&parts);
    let status = if deleting { Status::False } else { status };
    let ready = Conditions::new(before, machine.metadata.generation, now)
        .put("Ready", status, reason(status, "Ready", "NotReady", "ReadyUnknown"), message)
        .finish();
    let available = available(seen, &ready, before, now);
    let mut conditions: Vec<_> = all.into_iter().chain(ready).chain(available).collect();
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    conditions
}

fn available(seen: &Observed, ready: &[Condition], before: &[Condition], now: Timestamp) -> Vec<Condition> {
    let conditions = Conditions::new(before, seen.machine.metadata.generation, now);
    let conditions = match find(ready, "Ready").filter(|ready| ready.status == "True") {
        None => conditions.put("Available", Status::False, "NotReady", ""),
        Some(_) if available_in(seen, ready, now).is_some() => {
            conditions.put("Available", Status::False, "WaitingForMinReadySeconds", "")
        }
        Some(_) => conditions.put("Available", Status::True, "Available", ""),
    };
    conditions.finish()
}

/// How long a Ready Machine still has to wait to be Available.
#[must_use]
pub fn available_in(seen: &Observed, conditions: &[Condition], now: Timestamp) -> Option<SignedDuration> {
    let ready = find(conditions, "Ready").filter(|ready| ready.status == "True")?;
    let seconds = i64::from(seen.machine.spec.min_ready_seconds.unwrap_or_default());
    let due = ready.last_transition_time.0 + SignedDuration::from_secs(seconds);
    (due > now).then(|| due.duration_since(now))
}
