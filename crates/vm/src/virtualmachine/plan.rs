//! What to do about a VirtualMachine. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use scute_api::kubevirt::{
    RunStrategy, StartFailure, StateChange, StateChangeRequest, VM_FINALIZER, VirtualMachine,
    VirtualMachineInstance, VmiPhase,
};
use scute_kit::finalizer;

/// Seconds of the first wait after a VMI failed before it ran; grows with the square of the failures.
const FIRST_BACKOFF: i64 = 10;
/// Seconds of the longest wait.
const LONGEST_BACKOFF: i64 = 300;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Hold the VirtualMachine until its VMI is gone.
    AddFinalizer,
    /// Make the VMI.
    CreateVmi,
    /// Delete the VMI.
    DeleteVmi,
    /// Let the VirtualMachine go.
    RemoveFinalizer,
}

/// What to do, and what to remember of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In this order, after the status is written.
    pub actions: Vec<Action>,
    /// Starts that failed in a row.
    pub start_failure: Option<StartFailure>,
    /// Requests that are not carried out yet.
    pub requests: Vec<StateChangeRequest>,
    /// Look again after this time, to start the next VMI.
    pub wait: Option<Duration>,
}

/// Decides.
#[must_use]
pub fn plan(vm: &VirtualMachine, vmi: Option<&VirtualMachineInstance>, now: Timestamp) -> Plan {
    if vm.metadata.deletion_timestamp.is_some() {
        return deletion(vm, vmi);
    }
    let mut plan = Plan { start_failure: failures(vm, vmi, now), ..Plan::default() };
    if !finalizer::has(vm, VM_FINALIZER) {
        plan.actions.push(Action::AddFinalizer);
    }
    plan.requests = open_requests(vm, vmi);
    let stop = plan.requests.iter().any(|request| request.action == StateChange::Stop);
    let start = plan.requests.iter().any(|request| request.action == StateChange::Start);
    if vmi.is_some_and(|vmi| vmi.metadata.deletion_timestamp.is_some()) {
        return plan;
    }
    let wanted = match (vm.spec.strategy(), vmi) {
        (RunStrategy::Halted, Some(_)) => Some(Action::DeleteVmi),
        (RunStrategy::Halted, None) => None,
        (_, Some(_)) if stop => Some(Action::DeleteVmi),
        (RunStrategy::Always, Some(vmi)) => ended(vmi).map(|_| Action::DeleteVmi),
        (RunStrategy::RerunOnFailure, Some(vmi)) => {
            ended(vmi).filter(|phase| *phase == VmiPhase::Failed).map(|_| Action::DeleteVmi)
        }
        (RunStrategy::Manual, Some(vmi)) => ended(vmi).filter(|_| start).map(|_| Action::DeleteVmi),
        (RunStrategy::Once, Some(_)) => None,
        (RunStrategy::Always | RunStrategy::RerunOnFailure, None) => Some(Action::CreateVmi),
        (RunStrategy::Manual, None) => start.then_some(Action::CreateVmi),
        (RunStrategy::Once, None) => (!was_created(vm)).then_some(Action::CreateVmi),
    };
    let Some(action) = wanted else { return plan };
    // A VMI that failed stays until its successor may come, so that people can see why it failed.
    let replaces = matches!(vm.spec.strategy(), RunStrategy::Always | RunStrategy::RerunOnFailure) && !stop;
    match backoff(plan.start_failure.as_ref(), now).filter(|_| replaces) {
        Some(wait) => plan.wait = Some(wait),
        None => plan.actions.push(action),
    }
    plan
}

/// An orphaning deletion leaves the VMI: the garbage collector takes the owner reference off it.
fn deletion(vm: &VirtualMachine, vmi: Option<&VirtualMachineInstance>) -> Plan {
    let orphan = vm.finalizers().iter().any(|finalizer| finalizer == "orphan");
    let action = match vmi {
        Some(vmi) if !orphan && vmi.metadata.deletion_timestamp.is_some() => None,
        Some(_) if !orphan => Some(Action::DeleteVmi),
        _ => Some(Action::RemoveFinalizer),
    };
    Plan { actions: action.into_iter().collect(), ..Plan::default() }
}

fn ended(vmi: &VirtualMachineInstance) -> Option<VmiPhase> {
    vmi.status.as_ref()?.phase.filter(|phase| phase.is_final())
}

/// With Once, `status.created` stays true when the VMI is gone.
fn was_created(vm: &VirtualMachine) -> bool {
    vm.status.as_ref().and_then(|status| status.created) == Some(true)
}

/// Whether the guest of a VMI has ever run.
#[must_use]
pub fn ran(vmi: &VirtualMachineInstance) -> bool {
    let transitions = vmi.status.iter().flat_map(|status| &status.phase_transition_timestamps);
    transitions.into_iter().any(|transition| transition.phase == VmiPhase::Running)
}

/// Counts each VMI that failed before it ran once, and forgets them when one runs.
fn failures(
    vm: &VirtualMachine,
    vmi: Option<&VirtualMachineInstance>,
    now: Timestamp,
) -> Option<StartFailure> {
    let known = vm.status.as_ref().and_then(|status| status.start_failure.clone());
    let Some(vmi) = vmi else { return known };
    if ran(vmi) {
        return None;
    }
    let counted = known.as_ref().is_some_and(|known| known.last_failed_vmi_uid == vmi.uid());
    if ended(vmi) != Some(VmiPhase::Failed) || counted {
        return known;
    }
    let count = known.map_or(0, |known| known.consecutive_fail_count).saturating_add(1);
    let seconds =
        FIRST_BACKOFF.saturating_mul(i64::from(count)).saturating_mul(i64::from(count)).min(LONGEST_BACKOFF);
    Some(StartFailure {
        consecutive_fail_count: count,
        last_failed_vmi_uid: vmi.uid(),
        retry_after_timestamp: Timestamp::from_second(now.as_second() + seconds).ok().map(Time),
    })
}

fn backoff(failure: Option<&StartFailure>, now: Timestamp) -> Option<Duration> {
    let until = failure?.retry_after_timestamp.as_ref()?.0;
    Duration::try_from(until.duration_since(now)).ok().filter(|wait| !wait.is_zero())
}

/// A stop is done when its VMI is gone, a start when a VMI is there that has not ended.
fn open_requests(vm: &VirtualMachine, vmi: Option<&VirtualMachineInstance>) -> Vec<StateChangeRequest> {
    let mut requests = vm.status.clone().unwrap_or_default().state_change_requests;
    requests.retain(|request| match request.action {
        StateChange::Stop => vmi.is_some_and(|vmi| request.uid.is_none() || request.uid == vmi.uid()),
        StateChange::Start => {
            vmi.is_none_or(|vmi| ended(vmi).is_some() || vmi.metadata.deletion_timestamp.is_some())
        }
    });
    requests
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_000_000).unwrap()
    }

    fn vm(strategy: &str, status: Value) -> VirtualMachine {
        serde_json::from_value(json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
            "metadata": {"name": "a", "namespace": "b", "finalizers": [VM_FINALIZER]},
            "spec": {"runStrategy": strategy, "template": {"spec": {"domain": {}}}},
            "status": status,
        }))
        .unwrap()
    }

    fn vmi(phase: &str, ran: bool) -> VirtualMachineInstance {
        let transitions = if ran {
            json!([{"phase": "Running", "phaseTransitionTimestamp": "2026-01-01T00:00:00Z"}])
        } else {
            json!([])
        };
        serde_json::from_value(json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
            "metadata": {"name": "a", "namespace": "b", "uid": "u1"},
            "spec": {"domain": {}},
            "status": {"phase": phase, "phaseTransitionTimestamps": transitions},
        }))
        .unwrap()
    }

    fn actions(strategy: &str, vmi: Option<&VirtualMachineInstance>) -> Vec<Action> {
        plan(&vm(strategy, json!({})), vmi, now()).actions
    }

    #[test]
    fn the_strategy_decides_about_start_and_restart() {
        use Action::{CreateVmi, DeleteVmi};
        let (running, succeeded, failed) =
            (vmi("Running", true), vmi("Succeeded", true), vmi("Failed", true));
        for (strategy, none, run, good, bad) in [
            ("Always", vec![CreateVmi], vec![], vec![DeleteVmi], vec![DeleteVmi]),
            ("RerunOnFailure", vec![CreateVmi], vec![], vec![], vec![DeleteVmi]),
            ("Once", vec![CreateVmi], vec![], vec![], vec![]),
            ("Manual", vec![], vec![], vec![], vec![]),
            ("Halted", vec![], vec![DeleteVmi], vec![DeleteVmi], vec![DeleteVmi]),
        ] {
            assert_eq!(actions(strategy, None), none, "{strategy} without VMI");
            assert_eq!(actions(strategy, Some(&running)), run, "{strategy} running");
            assert_eq!(actions(strategy, Some(&succeeded)), good, "{strategy} succeeded");
            assert_eq!(actions(strategy, Some(&failed)), bad, "{strategy} failed");
        }
        assert_eq!(plan(&vm("Once", json!({"created": true})), None, now()).actions, []);
    }

    #[test]
    fn failed_starts_wait_longer_each_time_and_a_run_forgets_them() {
        let failed = vmi("Failed", false);
        let mut status = json!({});
        for (count, seconds) in [(1, 10), (2, 40), (3, 90), (4, 160), (5, 250), (6, 300), (7, 300)] {
            let plan = plan(&vm("Always", status.clone()), Some(&failed), now());
            assert_eq!(plan.actions, [], "the failed VMI stays during the wait");
            assert_eq!(plan.wait, Some(Duration::from_secs(seconds)));
            let mut failure = plan.start_failure.unwrap();
            assert_eq!(failure.consecutive_fail_count, count);
            failure.last_failed_vmi_uid = Some("another".into());
            status = json!({"startFailure": failure});
        }
        let again = vm(
            "Always",
            json!({"startFailure": {"consecutiveFailCount": 1, "lastFailedVMIUID": "u1",
            "retryAfterTimestamp": "1970-01-12T13:46:30Z"}}),
        );
        let waiting = plan(&again, Some(&failed), now());
        assert_eq!(waiting.start_failure.as_ref().unwrap().consecutive_fail_count, 1, "counted once");
        let later = Timestamp::from_second(1_000_100).unwrap();
        assert_eq!(plan(&again, Some(&failed), later).actions, [Action::DeleteVmi]);
        assert_eq!(plan(&again, Some(&vmi("Running", true)), later).start_failure, None);
        let halted = plan(&vm("Halted", status), Some(&failed), now());
        assert_eq!(halted.actions, [Action::DeleteVmi], "a stop does not wait");
    }

    #[test]
    fn requests_start_and_stop() {
        let start = json!({"stateChangeRequests": [{"action": "Start"}]});
        let asked = plan(&vm("Manual", start.clone()), None, now());
        assert_eq!((asked.actions, asked.requests.len()), (vec![Action::CreateVmi], 1));
        assert_eq!(plan(&vm("Manual", start), Some(&vmi("Running", true)), now()).requests, []);
        let stop = json!({"stateChangeRequests": [{"action": "Stop", "uid": "u1"}]});
        assert_eq!(
            plan(&vm("Manual", stop.clone()), Some(&vmi("Running", true)), now()).actions,
            [Action::DeleteVmi]
        );
        assert_eq!(plan(&vm("Manual", stop), None, now()).requests, []);
    }

    #[test]
    fn a_deletion_takes_the_vmi_along_unless_it_orphans() {
        let mut going = vm("Always", json!({}));
        going.metadata.deletion_timestamp = Some(Time(now()));
        assert_eq!(plan(&going, Some(&vmi("Running", true)), now()).actions, [Action::DeleteVmi]);
        assert_eq!(plan(&going, None, now()).actions, [Action::RemoveFinalizer]);
        going.metadata.finalizers.get_or_insert_default().push("orphan".into());
        assert_eq!(plan(&going, Some(&vmi("Running", true)), now()).actions, [Action::RemoveFinalizer]);
    }
}
