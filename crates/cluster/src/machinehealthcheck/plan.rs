//! What to say on the Machines, and what to make for them. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::DynamicObject;
use scute_api::cluster::{CLONED_FROM_NAME_ANNOTATION, Cluster, Machine, MachineHealthCheckStatus};
use scute_api::meta::CLUSTER_NAME_LABEL;
use scute_contract::cloned::{self, ObjectPairs, Pairs};
use scute_contract::owners::owner;
use scute_contract::paused;
use scute_contract::spoken::{EXTERNALLY_REMEDIATED, HEALTH_CHECK_SUCCEEDED, OWNER_REMEDIATED, Words, is};
use scute_contract::summary::listed;
use scute_kit::Key;
use scute_kit::conditions::{Conditions, Draft, Status};

use super::breaker::breaker;
use super::judge::{Verdict, judge};
use super::observe::{Observed, Remedy, Target};

/// What follows from what was seen.
#[derive(Default)]
pub struct Plan {
    /// What to make or delete, and what to say, Machine by Machine.
    pub treatments: Vec<Treatment>,
    /// The status of the MachineHealthCheck.
    pub status: MachineHealthCheckStatus,
    /// Why nothing is done for Machines that are not healthy.
    pub restricted: Option<String>,
    /// When a check that fails will have failed for long enough.
    pub due: Option<Timestamp>,
}

/// What is done for one Machine.
pub struct Treatment {
    /// The Machine.
    pub machine: Arc<Machine>,
    /// A remediation to be made.
    pub make: Option<DynamicObject>,
    /// A remediation that is not needed any more.
    pub end: Option<Arc<DynamicObject>>,
    /// Conditions.
    pub words: Words,
}

/// Targets whose names are told.
const TOLD: usize = 10_000;
/// Machines that a message names.
const NAMED: usize = 3;

/// Judges all targets, asks the breaker, and says what to do.
#[must_use]
pub fn plan(seen: &Observed, cluster: &Cluster, now: Timestamp) -> Plan {
    let spec = &seen.check.spec;
    let checks = spec.checks.clone().unwrap_or_default();
    let judged: Vec<(&Target, Verdict)> = seen
        .targets
        .iter()
        .map(|target| (target, judge(&checks, cluster, &target.machine, &target.node, now)))
        .collect();
    let expected = count(judged.len());
    let healthy = count(judged.iter().filter(|(target, verdict)| counts(target, verdict)).count());
    let trigger = spec.remediation.as_ref().and_then(|remediation| remediation.trigger_if.as_ref());
    let breaker = breaker(trigger, expected, healthy);
    let ill = judged.iter().any(|(_, verdict)| matches!(verdict, Verdict::Unhealthy(..)));
    let treatments = judged
        .iter()
        .filter_map(|(target, verdict)| treatment(seen, target, verdict, breaker.allowed))
        .collect();
    let before = seen.check.status.clone().unwrap_or_default();
    let conditions = Conditions::new(&before.conditions, seen.check.metadata.generation, now);
    let conditions = match (breaker.allowed, unheard(&judged)) {
        (false, _) => {
            conditions.put("RemediationAllowed", Status::False, "TooManyUnhealthy", breaker.message.clone())
        }
        (true, Some(why)) => conditions.put("RemediationAllowed", Status::Unknown, "ConnectionDown", why),
        (true, None) => conditions.put("RemediationAllowed", Status::True, "RemediationAllowed", ""),
    };
    Plan {
        treatments,
        status: MachineHealthCheckStatus {
            conditions: paused::put(conditions, None).finish(),
            expected_machines: Some(expected),
            current_healthy: Some(healthy),
            remediations_allowed: Some(breaker.more),
            observed_generation: seen.check.metadata.generation,
            targets: seen.targets.iter().take(TOLD).map(|target| target.machine.name_any()).collect(),
            deprecated: None,
        },
        restricted: (!breaker.allowed && ill).then_some(breaker.message),
        due: judged.iter().filter_map(|(_, verdict)| due(verdict)).min(),
    }
}

fn count(many: usize) -> i32 {
    i32::try_from(many).unwrap_or(i32::MAX)
}

fn due(verdict: &Verdict) -> Option<Timestamp> {
    match verdict {
        Verdict::Failing(due) => Some(*due),
        Verdict::Healthy | Verdict::Unhealthy(..) | Verdict::TooEarly | Verdict::Unknown(_) => None,
    }
}

/// Whether a Machine counts as healthy. One that cannot be judged is what it was: an outage is no epidemic.
fn counts(target: &Target, verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Healthy => true,
        Verdict::Unknown(_) => is(&target.machine, HEALTH_CHECK_SUCCEEDED, "True"),
        Verdict::Unhealthy(..) | Verdict::Failing(_) | Verdict::TooEarly => false,
    }
}

/// Which Machines cannot be judged, and why.
fn unheard(judged: &[(&Target, Verdict)]) -> Option<String> {
    let unknown: Vec<_> = judged
        .iter()
        .filter_map(|(target, verdict)| match verdict {
            Verdict::Unknown(why) => Some((target.machine.name_any(), why)),
            _ => None,
        })
        .collect();
    let (_, why) = unknown.first()?;
    let machines = listed("Machine", unknown.iter().map(|(name, _)| name), NAMED);
    Some(format!("{why}: what is said of {machines} stays, and nothing more is done for them"))
}

fn treatment(seen: &Observed, target: &Target, verdict: &Verdict, allowed: bool) -> Option<Treatment> {
    let machine = &target.machine;
    let mut treatment =
        Treatment { machine: Arc::clone(machine), make: None, end: None, words: Words::default() };
    let words = &mut treatment.words;
    match verdict {
        Verdict::Unhealthy(reason, message) => {
            words.said.push(Draft::new(HEALTH_CHECK_SUCCEEDED, Status::False, reason, message.clone()));
            match &seen.remedy {
                _ if !allowed => {}
                Some(remedy) => external(target, remedy, &mut treatment),
                // Whoever has begun says how far it is.
                None if machine.metadata.deletion_timestamp.is_none()
                    && !is(machine, OWNER_REMEDIATED, "False") =>
                {
                    let waits = "Waiting for remediation";
                    words.said.push(Draft::new(
                        OWNER_REMEDIATED,
                        Status::False,
                        "WaitingForRemediation",
                        waits,
                    ));
                }
                None => {}
            }
        }
        Verdict::Healthy => {
            words.said.push(Draft::new(HEALTH_CHECK_SUCCEEDED, Status::True, "HealthCheckSucceeded", ""));
            for type_ in [OWNER_REMEDIATED, EXTERNALLY_REMEDIATED] {
                if is(machine, type_, "False") {
                    words.unsaid.push(type_);
                }
            }
            treatment.end = target.remediation.clone().filter(|made| is_ours(made, machine));
        }
        Verdict::Failing(_) | Verdict::TooEarly | Verdict::Unknown(_) => return None,
    }
    let idle = treatment.make.is_none() && treatment.end.is_none();
    (!idle || !treatment.words.stand(machine)).then_some(treatment)
}

/// Whether a remediation was made by a MachineHealthCheck for this Machine, and is not on its way out.
fn is_ours(remediation: &DynamicObject, machine: &Machine) -> bool {
    let uid = machine.metadata.uid.as_deref();
    let owned = remediation.owner_references().iter().any(|owner| Some(owner.uid.as_str()) == uid);
    owned
        && remediation.annotations().contains_key(CLONED_FROM_NAME_ANNOTATION)
        && remediation.metadata.deletion_timestamp.is_none()
}

fn external(target: &Target, remedy: &Remedy, treatment: &mut Treatment) {
    let said = &mut treatment.words.said;
    let machine = &target.machine;
    match (&target.remediation, &remedy.template) {
        (Some(_), _) if is(machine, EXTERNALLY_REMEDIATED, "False") => {}
        (Some(_), _) => {
            said.push(Draft::new(EXTERNALLY_REMEDIATED, Status::False, "WaitingForRemediation", ""));
        }
        // A Machine that goes away needs no more than that.
        (None, _) if machine.metadata.deletion_timestamp.is_some() => {}
        (None, Ok(template)) => {
            treatment.make = Some(remediation(template, remedy, machine));
            said.push(Draft::new(EXTERNALLY_REMEDIATED, Status::False, "WaitingForRemediation", ""));
        }
        (None, Err(why)) => {
            said.push(Draft::new(
                EXTERNALLY_REMEDIATED,
                Status::False,
                "RemediationTemplateNotFound",
                why.clone(),
            ));
        }
    }
}

/// What mends this Machine, with its name. It does not control it: the Machine is not its doing.
fn remediation(template: &DynamicObject, remedy: &Remedy, machine: &Machine) -> DynamicObject {
    let labels = Pairs::from([(CLUSTER_NAME_LABEL.to_owned(), machine.spec.cluster_name.clone())]);
    let pairs = ObjectPairs::above(Some(template), labels, Pairs::new());
    cloned::object(template, &remedy.resource, &Key::of(machine), pairs, owner(machine, false))
}

#[cfg(test)]
mod tests;
