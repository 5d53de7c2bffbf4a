//! Whether a Machine is healthy. Pure.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use scute_api::cluster::{
    Cluster, Machine, MachineHealthCheckChecks, NODE_STARTUP_TIMEOUT_SECONDS, REMEDIATE_MACHINE_ANNOTATION,
};
use scute_api::meta::CONTROL_PLANE_LABEL;
use scute_kit::conditions::{find, is_true};

/// What is known of the Node of a Machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum NodeSeen {
    /// There has been none yet.
    #[default]
    None,
    /// It is there.
    Found(Arc<Node>),
    /// It was there and has been deleted: its name.
    Deleted(String),
    /// The tenant cannot be asked, or not for all of its Nodes, and why.
    Unknown(String),
}

/// How it stands with a Machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All checks passed.
    Healthy,
    /// One failed: reason and message of a condition.
    Unhealthy(&'static str, String),
    /// Something is not as it should be, and will be a failure then.
    Failing(Timestamp),
    /// Not checked yet: the Cluster, or the Machine itself, is not so far.
    TooEarly,
    /// It cannot be judged, and why.
    Unknown(String),
}

/// Reasons of conditions that say that the tenant was not heard: nothing of the Machine follows from these.
const UNHEARD: [&str; 2] = ["ConnectionDown", "InspectionFailed"];

/// Judges a Machine.
#[must_use]
pub fn judge(
    checks: &MachineHealthCheckChecks,
    cluster: &Cluster,
    machine: &Machine,
    node: &NodeSeen,
    now: Timestamp,
) -> Verdict {
    if machine.annotations().contains_key(REMEDIATE_MACHINE_ANNOTATION) {
        let message = format!(
            "Health check failed: marked for remediation via {REMEDIATE_MACHINE_ANNOTATION} annotation"
        );
        return Verdict::Unhealthy("HasRemediateAnnotation", message);
    }
    let reached =
        |type_: &str| cluster.status.as_ref().is_some_and(|status| is_true(&status.conditions, type_));
    let of_control_plane = machine.labels().contains_key(CONTROL_PLANE_LABEL);
    if !reached("InfrastructureReady") || !(reached("ControlPlaneInitialized") || of_control_plane) {
        return Verdict::TooEarly;
    }
    let mut found = Findings::default();
    machine_conditions(checks, machine, now, &mut found);
    let of_machine = !found.messages.is_empty();
    let reason = node_checks(checks, cluster, machine, node, now, &mut found);
    if !found.messages.is_empty() {
        let lines: Vec<_> = found.messages.iter().map(|message| format!("  * {message}")).collect();
        let reason = if of_machine { "UnhealthyMachine" } else { reason };
        return Verdict::Unhealthy(reason, format!("Health check failed:\n{}", lines.join("\n")));
    }
    match (node, found.due) {
        (NodeSeen::Unknown(why), _) => Verdict::Unknown(why.clone()),
        (_, Some(due)) => Verdict::Failing(due),
        (NodeSeen::Found(_), None) if machine.metadata.deletion_timestamp.is_none() => Verdict::Healthy,
        _ => Verdict::TooEarly,
    }
}

#[derive(Default)]
struct Findings {
    messages: Vec<String>,
    due: Option<Timestamp>,
}

impl Findings {
    /// Something that has been so since then, and may be so for that long. Whether it has been for too long.
    fn since(&mut self, since: Timestamp, limit: i32, now: Timestamp, message: impl FnOnce(&str) -> String) {
        let due = since.checked_add(SignedDuration::from_secs(limit.into())).unwrap_or(Timestamp::MAX);
        if due < now {
            let limit = Duration::from_secs(u64::try_from(limit).unwrap_or_default());
            self.messages.push(message(&in_words(limit)));
        } else {
            self.due = Some(self.due.map_or(due, |known| known.min(due)));
        }
    }
}

fn machine_conditions(
    checks: &MachineHealthCheckChecks,
    machine: &Machine,
    now: Timestamp,
    found: &mut Findings,
) {
    let conditions = machine.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    for check in &checks.unhealthy_machine_conditions {
        let status = check.status.as_str();
        let Some(is) = find(conditions, &check.type_)
            .filter(|is| is.status == status && !UNHEARD.contains(&is.reason.as_str()))
        else {
            continue;
        };
        found.since(is.last_transition_time.0, check.timeout_seconds, now, |limit| {
            format!(
                "Condition {} on Machine is reporting status {status} with reason {} for more than {limit}",
                check.type_, is.reason
            )
        });
    }
}

/// The reason for what it finds.
fn node_checks(
    checks: &MachineHealthCheckChecks,
    cluster: &Cluster,
    machine: &Machine,
    node: &NodeSeen,
    now: Timestamp,
    found: &mut Findings,
) -> &'static str {
    match node {
        // A Machine that goes takes its Node with it.
        NodeSeen::Deleted(_) if machine.metadata.deletion_timestamp.is_some() => "",
        NodeSeen::Deleted(name) => {
            found.messages.push(format!("Node {name} has been deleted"));
            "NodeDeleted"
        }
        NodeSeen::Unknown(_) => "",
        NodeSeen::None => {
            let limit = checks.node_startup_timeout_seconds.unwrap_or(NODE_STARTUP_TIMEOUT_SECONDS);
            if let (Some(since), true) = (begun(cluster, machine), limit > 0) {
                found.since(since, limit, now, |limit| format!("Node failed to report startup in {limit}"));
            }
            "NodeStartupTimeout"
        }
        NodeSeen::Found(node) => {
            let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref());
            for check in &checks.unhealthy_node_conditions {
                let status = check.status.as_str();
                let condition = conditions
                    .unwrap_or_default()
                    .iter()
                    .find(|is| is.type_ == check.type_ && is.status == status);
                let Some((condition, since)) =
                    condition.and_then(|is| Some((is, is.last_transition_time.as_ref()?.0)))
                else {
                    continue;
                };
                let reason = condition.reason.as_deref().unwrap_or_default();
                found.since(since, check.timeout_seconds, now, |limit| {
                    format!(
                        "Condition {} on Node is reporting status {status} with reason {reason} for more than {limit}",
                        check.type_
                    )
                });
            }
            "UnhealthyNode"
        }
    }
}

/// From when on a Machine may be expected to become a Node: when the last thing that it needs was there.
fn begun(cluster: &Cluster, machine: &Machine) -> Option<Timestamp> {
    let of_cluster = cluster.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let of_machine = machine.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let reached = [
        find(of_cluster, "ControlPlaneInitialized"),
        find(of_cluster, "InfrastructureReady"),
        find(of_machine, "InfrastructureReady"),
    ];
    let made = machine.metadata.creation_timestamp.as_ref().map(|made| made.0);
    let reached = reached
        .into_iter()
        .flatten()
        .filter(|condition| condition.status == "True")
        .map(|condition| condition.last_transition_time.0);
    made.into_iter().chain(reached).max()
}

/// As Go writes it: `10m0s`, `1h0m0s`, `30s`.
fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests;
