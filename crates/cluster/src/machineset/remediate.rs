//! Machines that were given up: which of them are replaced now, and what the others wait for. Pure.

use std::cmp::Reverse;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use scute_api::cluster::{
    Machine, MachineDeployment, MachineSet, REMEDIATE_MACHINE_ANNOTATION, REVISION_ANNOTATION,
};
use scute_contract::spoken::{HEALTH_CHECK_SUCCEEDED, OWNER_REMEDIATED, Words, condition, is};
use scute_kit::conditions::{Draft, Status};

use crate::machinedeployment::resolve;

/// Reason of a Machine whose remediation is its deletion.
const DELETING: &str = "MachineDeleting";

/// What is done about the Machines of a set that were given up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remediation {
    /// Those that are told why they wait.
    pub deferred: Vec<(String, Words)>,
    /// Those that are told that they go, and go.
    pub now: Vec<String>,
}

/// Whether a Machine is to be replaced: who was to mend it says that its owner shall, and no health check says that it is well.
#[must_use]
pub fn is_given_up(machine: &Machine) -> bool {
    is(machine, OWNER_REMEDIATED, "False") && !is(machine, HEALTH_CHECK_SUCCEEDED, "True")
}

/// What a Machine is told that goes.
#[must_use]
pub fn farewell() -> Words {
    told(DELETING, "Machine is deleting")
}

fn told(reason: &str, message: impl Into<String>) -> Words {
    Words { said: vec![Draft::new(OWNER_REMEDIATED, Status::False, reason, message)], unsaid: Vec::new() }
}

/// Which Machines are replaced now. `obstacles` keep new ones from being made: a Machine that is not well is better than none.
#[must_use]
pub fn remediate(
    set: &MachineSet,
    deployment: Option<&MachineDeployment>,
    machines: &[&Machine],
    obstacles: &[String],
) -> Remediation {
    let goes = |machine: &&&Machine| machine.metadata.deletion_timestamp.is_some();
    let mut given_up: Vec<&Machine> =
        machines.iter().filter(|machine| !goes(machine) && is_given_up(machine)).copied().collect();
    let defer = |machines: &[&Machine], words: &Words| -> Vec<(String, Words)> {
        let new = machines.iter().filter(|machine| !words.stand(machine));
        new.map(|machine| (machine.name_any(), words.clone())).collect()
    };
    if deployment.is_some_and(|deployment| !is_current(set, deployment)) {
        let words = told(
            "CannotBeRemediated",
            "Machine won't be remediated because it is pending removal due to rollout",
        );
        return Remediation { deferred: defer(&given_up, &words), now: Vec::new() };
    }
    // Those that are hardly used yet, and most likely to be replaced soon, come first.
    given_up.sort_by_key(|machine| {
        let made = machine.metadata.creation_timestamp.as_ref().map_or(0, |made| made.0.as_second());
        let marked = machine.annotations().contains_key(REMEDIATE_MACHINE_ANNOTATION);
        (!marked, Reverse(made), machine.name_any())
    });
    let most = deployment.and_then(|deployment| {
        let limit = deployment.spec.remediation.as_ref()?.max_in_flight.as_ref()?;
        Some((limit, resolve(Some(limit), 0, deployment.spec.replicas.unwrap_or(1), true)))
    });
    let mut deferred = Vec::new();
    let mut now = given_up;
    if let Some((limit, most)) = most {
        let under_way = machines.iter().filter(goes).filter(|machine| {
            condition(machine, OWNER_REMEDIATED)
                .is_some_and(|is| is.status == "False" && is.reason == DELETING)
        });
        let room = usize::try_from(most).unwrap_or_default().saturating_sub(under_way.count());
        let later = now.split_off(room.min(now.len()));
        let limit = match limit {
            IntOrString::Int(number) => number.to_string(),
            IntOrString::String(text) => text.clone(),
        };
        let message = format!(
            "Waiting because there are already too many remediations in progress (spec.remediation.maxInFlight is {limit})"
        );
        deferred = defer(&later, &told("RemediationDeferred", message));
    }
    if !obstacles.is_empty() {
        let lines: Vec<_> = obstacles.iter().map(|obstacle| format!("* {obstacle}")).collect();
        deferred.extend(defer(&now, &told("RemediationDeferred", lines.join("\n"))));
        now.clear();
    }
    Remediation { deferred, now: now.iter().map(|machine| machine.name_any()).collect() }
}

fn is_current(set: &MachineSet, deployment: &MachineDeployment) -> bool {
    set.annotations().get(REVISION_ANNOTATION) == deployment.annotations().get(REVISION_ANNOTATION)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn machine(name: &str, made: &str, more: Value) -> Machine {
        let said = |type_: &str, reason: &str| json!({"type": type_, "status": "False", "reason": reason, "message": "", "lastTransitionTime": made});
        let mut machine = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": {"name": name, "creationTimestamp": made},
            "spec": {"clusterName": "c", "bootstrap": {}, "infrastructureRef": {"apiGroup": "g", "kind": "k", "name": "n"}},
            "status": {"conditions": [said("HealthCheckSucceeded", "UnhealthyNode"),
                said("OwnerRemediated", "WaitingForRemediation")]}
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            machine["metadata"][key] = value.clone();
        }
        serde_json::from_value(machine).expect("a Machine")
    }

    fn set(revision: &str) -> MachineSet {
        let mut set = MachineSet::default();
        set.annotations_mut().insert(REVISION_ANNOTATION.to_owned(), revision.to_owned());
        set
    }

    fn deployment(max_in_flight: Value) -> MachineDeployment {
        let mut deployment = MachineDeployment::default();
        deployment.annotations_mut().insert(REVISION_ANNOTATION.to_owned(), "2".to_owned());
        deployment.spec.replicas = Some(4);
        deployment.spec.remediation =
            Some(serde_json::from_value(json!({"maxInFlight": max_in_flight})).expect("a limit"));
        deployment
    }

    fn ward() -> Vec<Machine> {
        vec![
            machine("a-old", "2026-01-01T00:00:00Z", json!({})),
            machine("b-young", "2026-03-01T00:00:00Z", json!({})),
            machine(
                "c-marked",
                "2026-01-01T00:00:00Z",
                json!({"annotations": {REMEDIATE_MACHINE_ANNOTATION: ""}}),
            ),
        ]
    }

    fn reasons(remediation: &Remediation) -> Vec<String> {
        remediation.deferred.iter().map(|(name, words)| format!("{name} {}", words.said[0].reason)).collect()
    }

    #[test]
    fn marked_ones_go_first_then_the_youngest_and_no_more_than_are_let() {
        let machines = ward();
        let machines: Vec<_> = machines.iter().collect();
        assert_eq!(remediate(&set("2"), None, &machines, &[]).now, ["c-marked", "b-young", "a-old"]);
        let two = remediate(&set("2"), Some(&deployment(json!("30%"))), &machines, &[]);
        assert_eq!(two.now, ["c-marked", "b-young"], "30% of four is two, rounded up");
        assert_eq!(reasons(&two), ["a-old RemediationDeferred"]);
        assert!(two.deferred[0].1.said[0].message.ends_with("maxInFlight is 30%)"));
        assert!(remediate(&set("2"), Some(&deployment(json!(0))), &machines, &[]).now.is_empty());
    }

    #[test]
    fn one_that_still_goes_takes_a_place() {
        let mut machines = ward();
        machines[0].metadata.deletion_timestamp = machines[0].metadata.creation_timestamp.clone();
        let going = machines[0].status.as_mut().expect("a status");
        going.conditions[1].reason = DELETING.to_owned();
        let machines: Vec<_> = machines.iter().collect();
        let one = remediate(&set("2"), Some(&deployment(json!(2))), &machines, &[]);
        assert_eq!((one.now.as_slice(), one.deferred.len()), (&["c-marked".to_owned()][..], 1));
    }

    #[test]
    fn a_set_of_an_earlier_rollout_leaves_it_to_the_rollout() {
        let machines = ward();
        let machines: Vec<_> = machines.iter().collect();
        let old = remediate(&set("1"), Some(&deployment(json!(3))), &machines, &[]);
        assert!(old.now.is_empty());
        assert_eq!(old.deferred[0].1.said[0].reason, "CannotBeRemediated");
    }

    #[test]
    fn nothing_goes_that_could_not_be_made_again() {
        let machines = ward();
        let machines: Vec<_> = machines.iter().collect();
        let held = remediate(&set("2"), None, &machines, &["Template t does not exist".to_owned()]);
        assert!(held.now.is_empty());
        assert_eq!(held.deferred[0].1.said[0].message, "* Template t does not exist");
    }

    #[test]
    fn who_is_well_again_stays() {
        let mut machines = ward();
        for machine in &mut machines {
            machine.status.as_mut().expect("a status").conditions[0].status = "True".to_owned();
        }
        let machines: Vec<_> = machines.iter().collect();
        assert_eq!(remediate(&set("2"), None, &machines, &[]), Remediation::default());
    }
}
