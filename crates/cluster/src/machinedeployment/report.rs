//! The status of a MachineDeployment, computed as a whole on every pass.

use jiff::Timestamp;
use scute_api::cluster::{Machine, MachineDeploymentPhase, MachineDeploymentStatus};
use scute_contract::paused;
use scute_contract::selector;
use scute_kit::conditions::{Conditions, Status, find};

use super::observe::{Observed, SetSeen};
use super::plan::current;
use super::rollout::Want;
use super::template::differences;
use crate::machines::{self, Counted};

/// The status of a deployment. `failed` says what went wrong.
#[must_use]
pub fn report(seen: &Observed, failed: Option<&str>, now: Timestamp) -> MachineDeploymentStatus {
    let deployment = &seen.deployment;
    let machines: Vec<&Machine> = seen.sets.iter().flat_map(|set| &set.machines).map(AsRef::as_ref).collect();
    let counted = Counted::of(&machines);
    let want = Want::of(deployment);
    let before = deployment.status.clone().unwrap_or_default();
    let deleting = deployment.metadata.deletion_timestamp.is_some();
    let conditions = Conditions::new(&before.conditions, deployment.metadata.generation, now);
    let mut why: Vec<String> = obstacles(seen);
    why.extend(failed.map(str::to_owned));
    let conditions = put_available(conditions, want, &counted, &why);
    let conditions = machines::put_scaling(conditions, counted.replicas, want.replicas, deleting, &why);
    let conditions = machines::put_machines(conditions, &machines);
    let conditions = put_rolling_out(conditions, seen, &why, now);
    let conditions = machines::put_remediating(conditions, &machines);
    let conditions = if deleting {
        let message = format!("Waiting for {} MachineSets to be deleted", seen.sets.len());
        conditions.put("Deleting", Status::True, "Deleting", message)
    } else {
        conditions.put("Deleting", Status::False, "NotDeleting", "")
    };
    MachineDeploymentStatus {
        conditions: paused::put(conditions, None).finish(),
        // A pass that failed has not seen to everything in the spec.
        observed_generation: if failed.is_none() {
            deployment.metadata.generation
        } else {
            before.observed_generation
        },
        selector: Some(selector::text(&deployment.spec.selector)),
        replicas: Some(counted.replicas),
        ready_replicas: Some(counted.ready),
        available_replicas: Some(counted.available),
        up_to_date_replicas: Some(counted.up_to_date),
        phase: Some(phase(want, &counted)),
        versions: counted.versions,
        deprecated: before.deprecated,
    }
}

fn phase(want: Want, counted: &Counted) -> MachineDeploymentPhase {
    match counted.replicas.cmp(&want.replicas) {
        std::cmp::Ordering::Less => MachineDeploymentPhase::ScalingUp,
        std::cmp::Ordering::Greater => MachineDeploymentPhase::ScalingDown,
        std::cmp::Ordering::Equal if counted.available == want.replicas => MachineDeploymentPhase::Running,
        std::cmp::Ordering::Equal => MachineDeploymentPhase::ScalingUp,
    }
}

fn put_available<'a>(
    conditions: Conditions<'a>,
    want: Want,
    counted: &Counted,
    why: &[String],
) -> Conditions<'a> {
    let at_least = (want.replicas - want.unavailable).max(0);
    if counted.available >= at_least {
        return conditions.put("Available", Status::True, "Available", "");
    }
    let mut message = format!(
        "{} available replicas, at least {at_least} required (spec.rollout.strategy.rollingUpdate.maxUnavailable is {}, spec.replicas is {})",
        counted.available, want.unavailable, want.replicas
    );
    // Who reads this one only must hear what is in the way.
    if counted.replicas < want.replicas && !why.is_empty() {
        message = format!("{message}; scaling up is blocked: {}", why.join("; "));
    }
    conditions.put("Available", Status::False, "NotAvailable", message)
}

/// What keeps the sets from growing, as they say themselves.
fn obstacles(seen: &Observed) -> Vec<String> {
    let mut found = Vec::new();
    if seen.cluster.is_none() {
        found.push(format!("Cluster {} does not exist", seen.deployment.spec.cluster_name));
    }
    let blocked = |set: &SetSeen| -> Vec<String> {
        let conditions =
            set.set.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        let message =
            find(conditions, "ScalingUp").map(|condition| condition.message.clone()).unwrap_or_default();
        message.lines().filter_map(|line| line.strip_prefix("* ")).map(str::to_owned).collect()
    };
    found.extend(seen.sets.iter().flat_map(blocked));
    found.dedup();
    found
}

fn with_lines(first: String, more: &[String]) -> String {
    let more = more.iter().map(|line| format!("* {line}"));
    std::iter::once(first).chain(more).collect::<Vec<_>>().join("\n")
}

fn put_rolling_out<'a>(
    conditions: Conditions<'a>,
    seen: &Observed,
    why: &[String],
    now: Timestamp,
) -> Conditions<'a> {
    let deployment = &seen.deployment;
    let current = current(deployment, &seen.sets, now);
    let old = seen.sets.iter().enumerate().filter(|(index, _)| Some(*index) != current).map(|(_, set)| set);
    let mut outdated = 0;
    let mut reasons: Vec<String> = Vec::new();
    for set in old {
        outdated += set.machines.len();
        if set.machines.is_empty() {
            continue;
        }
        reasons.extend(differences(&set.set.spec.template.spec, &deployment.spec.template.spec));
    }
    if outdated == 0 {
        return conditions.put("RollingOut", Status::False, "NotRollingOut", "");
    }
    reasons.sort();
    reasons.dedup();
    // Why the replacements are needed, then what keeps them from being made.
    reasons.extend_from_slice(why);
    let message = with_lines(format!("Rolling out {outdated} not up-to-date replicas"), &reasons);
    conditions.put("RollingOut", Status::True, "RollingOut", message)
}

#[cfg(test)]
mod tests {
    use scute_api::cluster::RolloutStrategyType;

    use super::*;

    #[test]
    fn who_reads_available_only_hears_what_is_in_the_way() {
        let want = Want {
            replicas: 3,
            surge: 1,
            unavailable: 0,
            strategy: RolloutStrategyType::RollingUpdate,
            paused: false,
        };
        let said = |counted: &Counted| {
            let conditions = Conditions::new(&[], None, Timestamp::UNIX_EPOCH);
            let why = ["version v1.36.0 of the Machines is newer than the control plane's 1.35.4".to_owned()];
            put_available(conditions, want, counted, &why).finish()[0].message.clone()
        };
        let held = said(&Counted { replicas: 1, ..Counted::default() });
        assert!(held.ends_with("scaling up is blocked: version v1.36.0 of the Machines is newer than the control plane's 1.35.4"), "{held}");
        let starting = said(&Counted { replicas: 3, ..Counted::default() });
        assert!(starting.ends_with("spec.replicas is 3)"), "nothing is in the way: {starting}");
    }
}
