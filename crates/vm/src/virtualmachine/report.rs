//! The status of a VirtualMachine, computed as a whole from what is seen. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use scute_api::kubevirt::{
    PrintableStatus, RunStrategy, VirtualMachine, VirtualMachineInstance, VirtualMachineStatus, VmiPhase,
};
use scute_kit::Why;
use scute_kit::conditions::{Conditions, Status, find, is_true};

use super::plan::Plan;

/// Conditions of the VMI that the VirtualMachine shows too.
const COPIED: [&str; 6] = [
    "Synchronized",
    "Paused",
    "NameserversUnreachable",
    "PodScheduled",
    "LiveMigratable",
    "SoftwareEmulation",
];

/// The status of `vm`, whose VMI is `vmi`; `failure` is what could not be done.
#[must_use]
pub fn status(
    vm: &VirtualMachine,
    vmi: Option<&VirtualMachineInstance>,
    plan: &Plan,
    failure: Option<&Why>,
    now: Timestamp,
) -> VirtualMachineStatus {
    let before = vm.status.clone().unwrap_or_default();
    let phase = vmi.and_then(|vmi| vmi.status.as_ref()?.phase);
    let once = vm.spec.strategy() == RunStrategy::Once && before.created == Some(true);
    VirtualMachineStatus {
        created: Some(vmi.is_some() || once),
        ready: Some(phase == Some(VmiPhase::Running) && vmi.is_some_and(is_ready)),
        printable_status: Some(printable(vm, vmi, plan)),
        run_strategy: Some(vm.spec.strategy()),
        conditions: conditions(vm, vmi, failure, &before, now),
        state_change_requests: plan.requests.clone(),
        start_failure: plan.start_failure.clone(),
        observed_generation: vm.metadata.generation,
        desired_generation: vm.metadata.generation,
    }
}

fn conditions_of(vmi: &VirtualMachineInstance) -> &[Condition] {
    vmi.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default()
}

fn is_ready(vmi: &VirtualMachineInstance) -> bool {
    find(conditions_of(vmi), "Ready").is_some_and(|ready| ready.status == "True")
}

fn printable(vm: &VirtualMachine, vmi: Option<&VirtualMachineInstance>, plan: &Plan) -> PrintableStatus {
    if vm.metadata.deletion_timestamp.is_some() {
        return PrintableStatus::Terminating;
    }
    if plan.wait.is_some() {
        return PrintableStatus::CrashLoopBackOff;
    }
    let Some(vmi) = vmi else {
        let starts = plan.actions.contains(&super::plan::Action::CreateVmi);
        return if starts { PrintableStatus::Starting } else { PrintableStatus::Stopped };
    };
    if vmi.metadata.deletion_timestamp.is_some() {
        return PrintableStatus::Stopping;
    }
    let conditions = conditions_of(vmi);
    let reason = |type_: &str| {
        find(conditions, type_)
            .filter(|condition| condition.status == "False")
            .map(|found| found.reason.as_str())
    };
    match vmi.status.as_ref().and_then(|status| status.phase) {
        _ if reason("PodScheduled") == Some("Unschedulable") => PrintableStatus::ErrorUnschedulable,
        Some(VmiPhase::Running) if is_true(conditions, "Paused") => PrintableStatus::Paused,
        Some(VmiPhase::Running) => PrintableStatus::Running,
        Some(VmiPhase::Succeeded | VmiPhase::Failed) => PrintableStatus::Stopped,
        Some(VmiPhase::Unknown) => PrintableStatus::Unknown,
        _ if reason("Synchronized") == Some("ErrImagePull") => PrintableStatus::ErrImagePull,
        _ if reason("Synchronized") == Some("ImagePullBackOff") => PrintableStatus::ImagePullBackOff,
        _ => PrintableStatus::Starting,
    }
}

fn conditions(
    vm: &VirtualMachine,
    vmi: Option<&VirtualMachineInstance>,
    failure: Option<&Why>,
    before: &VirtualMachineStatus,
    now: Timestamp,
) -> Vec<Condition> {
    let mut list = Conditions::new(&before.conditions, vm.metadata.generation, now);
    let status = |text: &str| match text {
        "True" => Status::True,
        "False" => Status::False,
        _ => Status::Unknown,
    };
    let ready = vmi.and_then(|vmi| find(conditions_of(vmi), "Ready"));
    list = match ready {
        Some(ready) => list.put("Ready", status(&ready.status), &ready.reason, ready.message.clone()),
        None => list.put("Ready", Status::False, "VMINotExists", "there is no VirtualMachineInstance"),
    };
    for copied in
        COPIED.into_iter().filter_map(|type_| find(vmi.map(conditions_of).unwrap_or_default(), type_))
    {
        list = list.put(&copied.type_, status(&copied.status), &copied.reason, copied.message.clone());
    }
    let failed =
        vmi.and_then(|vmi| vmi.status.as_ref()).filter(|status| status.phase == Some(VmiPhase::Failed));
    if let Some(why) = failure {
        list = list.put("Failure", Status::True, &why.reason, why.message.clone());
    } else if let Some(vmi) = failed {
        let reason = vmi.reason.clone().unwrap_or_else(|| "Failed".to_owned());
        let message = find(&vmi.conditions, "Ready").map(|ready| ready.message.clone()).unwrap_or_default();
        list = list.put("Failure", Status::True, &reason, message);
    }
    if vmi.is_some_and(|vmi| vmi.metadata.deletion_timestamp.is_none() && vmi.spec != vm.spec.template.spec) {
        list = list.put(
            "RestartRequired",
            Status::True,
            "RestartRequired",
            format!(
                "the template changed; delete VirtualMachineInstance {} to start the new one",
                vm.name_any()
            ),
        );
    }
    list.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn seen(conditions: Value, phase: &str) -> (VirtualMachine, VirtualMachineInstance) {
        let template = json!({"domain": {"memory": {"guest": "1Gi"}}});
        let vm = json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
            "metadata": {"name": "a", "namespace": "b", "generation": 3},
            "spec": {"runStrategy": "Always", "template": {"spec": template}},
        });
        let vmi = json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
            "metadata": {"name": "a", "namespace": "b"},
            "spec": template, "status": {"phase": phase, "conditions": conditions},
        });
        (serde_json::from_value(vm).unwrap(), serde_json::from_value(vmi).unwrap())
    }

    fn condition(type_: &str, status: &str, reason: &str) -> Value {
        json!({"type": type_, "status": status, "reason": reason, "message": "m",
               "lastTransitionTime": "2026-01-01T00:00:00Z"})
    }

    fn printable_of(conditions: Value, phase: &str) -> PrintableStatus {
        let (vm, vmi) = seen(conditions, phase);
        status(&vm, Some(&vmi), &Plan::default(), None, Timestamp::UNIX_EPOCH).printable_status.unwrap()
    }

    #[test]
    fn one_word_says_the_state() {
        use PrintableStatus as Word;
        assert_eq!(printable_of(json!([]), "Scheduling"), Word::Starting);
        assert_eq!(printable_of(json!([]), "Running"), Word::Running);
        let paused = json!([condition("Paused", "True", "PausedIOError")]);
        assert_eq!(printable_of(paused, "Running"), Word::Paused);
        assert_eq!(
            printable_of(json!([condition("PodScheduled", "False", "Unschedulable")]), "Scheduling"),
            Word::ErrorUnschedulable
        );
        for (reason, word) in
            [("ErrImagePull", Word::ErrImagePull), ("ImagePullBackOff", Word::ImagePullBackOff)]
        {
            assert_eq!(printable_of(json!([condition("Synchronized", "False", reason)]), "Scheduling"), word);
        }
        let (vm, _) = seen(json!([]), "Failed");
        let waiting = Plan { wait: Some(std::time::Duration::from_secs(10)), ..Plan::default() };
        let word = status(&vm, None, &waiting, None, Timestamp::UNIX_EPOCH).printable_status;
        assert_eq!(word, Some(Word::CrashLoopBackOff));
    }

    #[test]
    fn a_changed_template_asks_for_a_restart() {
        let (mut vm, vmi) = seen(json!([]), "Running");
        let of = |vm: &VirtualMachine| {
            let conditions = status(vm, Some(&vmi), &Plan::default(), None, Timestamp::UNIX_EPOCH).conditions;
            find(&conditions, "RestartRequired").is_some()
        };
        assert!(!of(&vm));
        vm.spec.template.spec.domain.memory = None;
        assert!(of(&vm));
    }
}
