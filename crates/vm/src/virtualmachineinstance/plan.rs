//! What to do about a VMI. Pure.
//!
//! ```text
//! Pending --Pod made--> Scheduling --Node, images, tap--> Scheduled --QEMU up--> Running
//!    any --Pod ended well--> Succeeded      any --Pod ended badly, or vanished--> Failed
//! ```

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use scute_api::kubevirt::{EvictionStrategy, VMI_FINALIZER, VirtualMachineInstance, VmiPhase};
use scute_kit::conditions::find;
use scute_kit::{Why, finalizer};

use super::seen::was_stopped_by_deletion;

/// How long the mark of an eviction stays at least. Who wants the guest gone asks again sooner.
const MARK_STAYS: SignedDuration = SignedDuration::from_mins(5);

/// What the controller has seen.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The Pod of the VMI.
    pub pod: Option<Pod>,
    /// The VMI has a PodDisruptionBudget.
    pub has_budget: bool,
    /// What the readiness probe of the Pod said when it failed.
    pub complaint: Option<String>,
    /// The Node that the guest has to leave takes Pods again.
    pub node_is_open: bool,
    /// The guest's Machine is being deleted.
    pub is_replaced: bool,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Hold the VMI until its Pod is gone.
    AddFinalizer,
    /// Make the Secret of inline cloud-init data and the Pod.
    CreatePod,
    /// Keep voluntary evictions away from the Pod. After it: a budget without Pods is worth an Event.
    CreateBudget,
    /// Delete the Pod, with the grace period that it has.
    DeletePod,
    /// Let the VMI go.
    RemoveFinalizer,
}

/// What to do, and why the VMI failed if that was not its Pod's doing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// The VMI fails.
    pub failure: Option<Why>,
    /// The Node that the guest has to leave.
    pub leaves: Option<String>,
    /// Look again after this time, whether it still has to.
    pub wait: Option<Duration>,
}

/// Decides.
#[must_use]
pub fn plan(vmi: &VirtualMachineInstance, seen: &Observed, now: Timestamp) -> Plan {
    let status = vmi.status.clone().unwrap_or_default();
    if vmi.metadata.deletion_timestamp.is_some() {
        return Plan { actions: deletion(seen), leaves: status.evacuation_node_name, ..Plan::default() };
    }
    let (leaves, wait) = mark(vmi, seen, now);
    let mut plan = Plan { leaves, wait, ..Plan::default() };
    if !finalizer::has(vmi, VMI_FINALIZER) {
        plan.actions.push(Action::AddFinalizer);
    }
    if status.phase.is_some_and(VmiPhase::is_final) {
        return plan;
    }
    let vanished = seen.pod.is_none() && !status.active_pods.is_empty();
    if vanished || seen.pod.as_ref().is_some_and(|pod| succeeded(pod) && was_stopped_by_deletion(pod)) {
        plan.failure = Some(Why::new("PodDeleted", "the Pod of the guest was deleted"));
        return plan;
    }
    if seen.pod.is_none() {
        plan.actions.push(Action::CreatePod);
    }
    if refuses_eviction(vmi) && !seen.has_budget {
        plan.actions.push(Action::CreateBudget);
    }
    plan
}

/// Whether the guest still has to leave its Node, and how long that stands for. Nobody tells that a drain was given
/// up: a Node that takes Pods again does, and so does an eviction that is not asked for again. A replacement that has begun goes on.
fn mark(vmi: &VirtualMachineInstance, seen: &Observed, now: Timestamp) -> (Option<String>, Option<Duration>) {
    let status = vmi.status.clone().unwrap_or_default();
    let Some(node) = status.evacuation_node_name else { return (None, None) };
    if !seen.node_is_open || seen.is_replaced || status.phase.is_some_and(VmiPhase::is_final) {
        return (Some(node), None);
    }
    let since =
        find(&status.conditions, "EvictionRequested").map_or(now, |asked| asked.last_transition_time.0);
    match Duration::try_from(MARK_STAYS - now.duration_since(since)) {
        Ok(left) if !left.is_zero() => (Some(node), Some(left)),
        _ => (None, None),
    }
}

fn deletion(seen: &Observed) -> Vec<Action> {
    match &seen.pod {
        Some(pod) if pod.metadata.deletion_timestamp.is_some() && is_scheduled(pod) => Vec::new(),
        // Without a Node no kubelet ends it. It goes with the request to delete it, unless that was broken off half-way
        // (the API server marks first, and removes then): it is asked for again.
        Some(_) => vec![Action::DeletePod],
        None => vec![Action::RemoveFinalizer],
    }
}

fn succeeded(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Succeeded")
}

fn is_scheduled(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
}

/// Whether an eviction of the Pod is refused; no VMI can migrate.
#[must_use]
pub fn refuses_eviction(vmi: &VirtualMachineInstance) -> bool {
    match vmi.spec.eviction() {
        EvictionStrategy::None | EvictionStrategy::LiveMigrateIfPossible => false,
        EvictionStrategy::LiveMigrate | EvictionStrategy::External => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn vmi(change: Value) -> VirtualMachineInstance {
        let mut vmi = json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
            "metadata": {"name": "a", "namespace": "b", "uid": "c", "finalizers": [VMI_FINALIZER]},
            "spec": {"domain": {}, "evictionStrategy": "External"},
        });
        for (key, value) in change.as_object().unwrap() {
            for (field, value) in value.as_object().unwrap() {
                vmi[key][field] = value.clone();
            }
        }
        serde_json::from_value(vmi).unwrap()
    }

    fn nothing() -> Observed {
        Observed::default()
    }

    fn planned(vmi: &VirtualMachineInstance, seen: &Observed) -> Plan {
        plan(vmi, seen, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_new_vmi_gets_a_finalizer_and_a_pod() {
        let new = vmi(json!({"metadata": {"finalizers": []}}));
        assert_eq!(
            planned(&new, &nothing()).actions,
            [Action::AddFinalizer, Action::CreatePod, Action::CreateBudget]
        );
        let evictable = vmi(json!({"spec": {"evictionStrategy": "LiveMigrateIfPossible"}}));
        assert_eq!(planned(&evictable, &nothing()).actions, [Action::CreatePod]);
    }

    #[test]
    fn a_pod_that_vanished_is_not_made_again() {
        let ran = vmi(json!({"status": {"phase": "Running", "activePods": {"uid": "node"}}}));
        let plan = planned(&ran, &nothing());
        assert_eq!(plan.actions, []);
        assert_eq!(plan.failure.unwrap().reason, "PodDeleted");
    }

    #[test]
    fn a_guest_that_shut_down_as_its_pod_was_deleted_did_not_end_by_itself() {
        let ran = vmi(json!({"status": {"phase": "Running", "activePods": {"uid": "node"}}}));
        let with = |meta: Value| Observed {
            pod: Some(
                serde_json::from_value(json!({"metadata": meta, "status": {"phase": "Succeeded"}})).unwrap(),
            ),
            has_budget: true,
            ..nothing()
        };
        let deleted = planned(&ran, &with(json!({"deletionTimestamp": "2026-01-01T00:00:00Z"})));
        assert_eq!(deleted.failure.unwrap().reason, "PodDeleted");
        assert_eq!(planned(&ran, &with(json!({}))), Plan::default());
    }

    #[test]
    fn a_final_vmi_is_left_alone() {
        let ended = vmi(json!({"status": {"phase": "Succeeded", "activePods": {"uid": "node"}}}));
        assert_eq!(planned(&ended, &nothing()), Plan::default());
    }

    #[test]
    fn the_finalizer_goes_after_the_pod() {
        let going = vmi(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
        let pod = |value: Value| Observed { pod: Some(serde_json::from_value(value).unwrap()), ..nothing() };
        assert_eq!(planned(&going, &pod(json!({"metadata": {}}))).actions, [Action::DeletePod]);
        let leaving = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        let on_a_node = pod(json!({"metadata": leaving, "spec": {"containers": [], "nodeName": "n"}}));
        assert_eq!(planned(&going, &on_a_node).actions, []);
        assert_eq!(planned(&going, &pod(json!({"metadata": leaving}))).actions, [Action::DeletePod]);
        assert_eq!(planned(&going, &nothing()).actions, [Action::RemoveFinalizer]);
    }

    /// Kubernetes says neither that a drain was given up nor that it goes on.
    #[test]
    fn the_mark_of_an_eviction_goes_with_its_cause() {
        let asked = json!({"type": "EvictionRequested", "status": "True", "reason": "EvictionRequested",
            "message": "", "lastTransitionTime": "2026-01-01T10:00:00Z"});
        let marked = vmi(json!({"status": {"phase": "Running", "evacuationNodeName": "n",
            "activePods": {"uid": "n"}, "conditions": [asked]}}));
        let at = |minute: &str, node_is_open: bool, is_replaced: bool| {
            let pod =
                serde_json::from_value(json!({"metadata": {}, "status": {"phase": "Running"}})).unwrap();
            let seen = Observed { pod: Some(pod), has_budget: true, node_is_open, is_replaced, ..nothing() };
            let plan = plan(&marked, &seen, format!("2026-01-01T{minute}:00Z").parse().unwrap());
            (plan.leaves, plan.wait.map(|wait| wait.as_secs()))
        };
        let node = || Some("n".to_owned());
        assert_eq!(at("23:00", false, false), (node(), None), "as long as the Node is cordoned");
        assert_eq!(at("10:02", true, false), (node(), Some(180)), "who asks without cordoning asks again");
        assert_eq!(at("10:05", true, false), (None, None));
        assert_eq!(at("10:05", true, true), (node(), None), "its Machine is being replaced");
        let unseen =
            vmi(json!({"status": {"phase": "Running", "evacuationNodeName": "n", "activePods": {"u": "n"}}}));
        let seen = Observed { node_is_open: true, ..nothing() };
        assert_eq!(planned(&unseen, &seen).wait.map(|wait| wait.as_secs()), Some(300), "marked just now");
    }
}
