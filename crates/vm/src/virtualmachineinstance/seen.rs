//! What a launcher Pod says about its guest. Pure.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod};
use scute_api::kubevirt::VmiPhase;
use scute_kit::Why;

use super::pod::{COMPUTE, NETWORK};

/// A Pod in terms of its guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Phase that the VMI has by this Pod.
    pub phase: VmiPhase,
    /// What holds the guest up, or how it ended.
    pub why: Option<Why>,
    /// A guest that was started also runs: it is not paused, and QEMU answers.
    pub ready: bool,
    /// Why it is not ready, in the words of the launcher.
    pub complaint: Option<String>,
    /// The scheduler found no Node.
    pub unschedulable: Option<String>,
    /// MAC address of the guest, as the launcher reported it.
    pub mac: Option<String>,
    /// Name servers of the Pod that the guest cannot reach, and is not told of.
    pub unreachable_nameservers: Vec<String>,
}

/// Reads a Pod; `complaint` is what its readiness probe said when it failed.
#[must_use]
pub fn see(pod: &Pod, complaint: Option<&str>) -> Seen {
    let status = pod.status.clone().unwrap_or_default();
    let containers = status.container_statuses.unwrap_or_default();
    let inits = status.init_container_statuses.unwrap_or_default();
    let compute = containers.iter().find(|container| container.name == COMPUTE);
    let network = inits.iter().find(|container| container.name == NETWORK);
    let unschedulable = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
        .map(|condition| condition.message.clone().unwrap_or_default());
    let network_end = network.and_then(terminated);
    let mac = network_end.and_then(|end| field(end, "mac"));
    let unreachable_nameservers = network_end.map(unreachable_nameservers).unwrap_or_default();

    let (phase, why) = match status.phase.as_deref() {
        Some("Succeeded") => (VmiPhase::Succeeded, compute.and_then(terminated).and_then(ending)),
        Some("Failed") => {
            let broken = [compute, network]
                .into_iter()
                .flatten()
                .filter_map(terminated)
                .find(|end| end.exit_code != 0);
            let pod_says = || {
                let reason = status.reason.clone().unwrap_or_else(|| "PodFailed".to_owned());
                Why::new(reason, status.message.clone().unwrap_or_else(|| "the Pod failed".to_owned()))
            };
            (VmiPhase::Failed, Some(broken.and_then(ending).unwrap_or_else(pod_says)))
        }
        _ if status.reason.as_deref() == Some("NodeLost") => {
            (VmiPhase::Unknown, Some(Why::new("NodeLost", "the Node of the Pod does not answer")))
        }
        Some("Running") if compute.and_then(|compute| compute.started) == Some(true) => {
            (VmiPhase::Running, None)
        }
        Some("Running") if compute.and_then(terminated).is_some() => {
            // The Pod's phase follows in a moment, and says whether the end was a good one.
            (VmiPhase::Running, None)
        }
        Some("Running") => (VmiPhase::Scheduled, None),
        _ => (VmiPhase::Scheduling, inits.iter().chain(&containers).find_map(held_up)),
    };
    let ready = compute.is_some_and(|compute| compute.ready);
    let complaint = complaint.filter(|_| !ready).map(str::to_owned);
    Seen { phase, why, ready, complaint, unschedulable, mac, unreachable_nameservers }
}

/// Whether the guest shut down as its Pod was told to go: whoever deleted the Pod ended it, and not the guest itself.
/// A Pod that had ended before is only cleaned up.
#[must_use]
pub fn was_stopped_by_deletion(pod: &Pod) -> bool {
    let meta = &pod.metadata;
    let Some(until) = &meta.deletion_timestamp else { return false };
    let asked = until.0.as_second() - meta.deletion_grace_period_seconds.unwrap_or_default();
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let end = statuses.filter(|status| status.name == COMPUTE).find_map(terminated);
    let finished = end.and_then(|end| end.finished_at.as_ref()).map(|time| time.0.as_second());
    finished.is_none_or(|finished| finished >= asked)
}

fn terminated(container: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let ended = |state: &ContainerState| state.terminated.is_some();
    container.state.as_ref().filter(|state| ended(state))?.terminated.as_ref()
}

/// Reasons of a waiting container that are worth telling; the others are on the way to running.
fn held_up(container: &ContainerStatus) -> Option<Why> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.clone()?;
    if matches!(reason.as_str(), "ContainerCreating" | "PodInitializing") {
        return None;
    }
    Some(Why::new(reason, waiting.message.clone().unwrap_or_default()))
}

/// How a container ended: by the launcher's own words if it left some.
fn ending(end: &ContainerStateTerminated) -> Option<Why> {
    let runtime = end.reason.clone().unwrap_or_default();
    if runtime == "OOMKilled" {
        return Some(Why::new(
            "OOMKilled",
            "the VM used more memory than its limit; raise resources.limits.memory",
        ));
    }
    if let Some(reason) = field(end, "reason") {
        return Some(Why::new(reason, field(end, "message").unwrap_or_default()));
    }
    let message = match end.message.as_deref().map(str::trim) {
        Some(text) if !text.is_empty() => text.to_owned(),
        _ => format!("the launcher ended with exit code {}", end.exit_code),
    };
    (end.exit_code != 0).then(|| Why::new("LauncherFailed", message))
}

/// A kubelet gives a Pod a few at most.
fn unreachable_nameservers(end: &ContainerStateTerminated) -> Vec<String> {
    let listed = document(end).and_then(|document| {
        let list = document.get("unreachableNameservers")?.as_array()?;
        Some(list.iter().filter_map(|entry| entry.as_str().map(str::to_owned)).collect())
    });
    listed.unwrap_or_default()
}

/// A field of the JSON document that the launcher leaves as its termination message.
fn field(end: &ContainerStateTerminated, name: &str) -> Option<String> {
    document(end)?.get(name)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn document(end: &ContainerStateTerminated) -> Option<serde_json::Value> {
    serde_json::from_str(end.message.as_deref()?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn seen(status: Value) -> Seen {
        see(&serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap(), None)
    }

    fn compute(state: Value, ready: bool) -> Value {
        json!([{"name": "compute", "ready": ready, "started": ready, "state": state, "image": "", "imageID": "", "restartCount": 0}])
    }

    fn ended(code: i32, reason: &str, message: &str) -> Value {
        json!({"terminated": {"exitCode": code, "reason": reason, "message": message}})
    }

    #[test]
    fn a_pod_goes_through_the_phases() {
        let phase = |status: Value| seen(status).phase;
        assert_eq!(phase(json!({})), VmiPhase::Scheduling);
        assert_eq!(phase(json!({"phase": "Pending"})), VmiPhase::Scheduling);
        assert_eq!(
            phase(json!({"phase": "Running", "containerStatuses": compute(json!({"running": {}}), false)})),
            VmiPhase::Scheduled
        );
        assert_eq!(
            phase(json!({"phase": "Running", "containerStatuses": compute(json!({"running": {}}), true)})),
            VmiPhase::Running
        );
        assert_eq!(
            phase(
                json!({"phase": "Succeeded", "containerStatuses": compute(ended(0, "Completed", ""), false)})
            ),
            VmiPhase::Succeeded
        );
        assert_eq!(phase(json!({"phase": "Running", "reason": "NodeLost"})), VmiPhase::Unknown);
    }

    /// A full disk pauses a guest: it still is the guest of this Pod.
    #[test]
    fn a_guest_that_is_not_ready_any_more_still_runs() {
        let mut containers = compute(json!({"running": {}}), false);
        containers[0]["started"] = json!(true);
        let seen = seen(json!({"phase": "Running", "containerStatuses": containers}));
        assert_eq!((seen.phase, seen.ready), (VmiPhase::Running, false));
    }

    #[test]
    fn an_end_has_a_reason() {
        let why = |status: Value| seen(status).why.map(|why| (why.reason.into_owned(), why.message)).unwrap();
        let failed = |state| json!({"phase": "Failed", "containerStatuses": compute(state, false)});
        assert_eq!(why(failed(ended(137, "OOMKilled", ""))).0, "OOMKilled");
        let message = r#"{"reason":"BackingFile","message":"disk root names a backing file"}"#;
        assert_eq!(
            why(failed(ended(1, "Error", message))),
            ("BackingFile".into(), "disk root names a backing file".into())
        );
        assert_eq!(
            why(failed(ended(139, "Error", ""))),
            ("LauncherFailed".into(), "the launcher ended with exit code 139".into())
        );
        assert_eq!(
            why(json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"})),
            ("Evicted".into(), "low on memory".into())
        );
    }

    #[test]
    fn a_guest_is_stopped_by_whoever_deletes_its_pod_while_it_runs() {
        let stopped = |meta: Value, finished: Value| {
            let end = json!({"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": finished}});
            let pod = json!({"metadata": meta,
                "status": {"phase": "Succeeded", "containerStatuses": compute(end, false)}});
            was_stopped_by_deletion(&serde_json::from_value(pod).unwrap())
        };
        // The request came at 10:00:00, and the Pod had 35 seconds.
        let going = json!({"deletionTimestamp": "2026-01-01T10:00:35Z", "deletionGracePeriodSeconds": 35});
        assert!(stopped(going.clone(), json!("2026-01-01T10:00:07Z")));
        assert!(stopped(going.clone(), json!("2026-01-01T10:00:00Z")), "within the same second");
        assert!(stopped(going.clone(), Value::Null));
        assert!(!stopped(going, json!("2026-01-01T09:59:59Z")), "it had shut down by itself");
        assert!(!stopped(json!({}), json!("2026-01-01T10:00:07Z")));
    }

    #[test]
    fn a_wait_is_told_when_somebody_must_act() {
        let waiting = |reason: &str| {
            seen(json!({"phase": "Pending", "containerStatuses":
                compute(json!({"waiting": {"reason": reason, "message": "m"}}), false)}))
            .why
        };
        assert_eq!(waiting("ContainerCreating"), None);
        assert_eq!(waiting("ImagePullBackOff"), Some(Why::new("ImagePullBackOff", "m")));
        let unschedulable = seen(json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]}));
        assert_eq!(unschedulable.unschedulable.as_deref(), Some("0/1 nodes"));
    }

    #[test]
    fn the_init_container_reports_the_mac_address() {
        let seen = seen(json!({"phase": "Pending", "initContainerStatuses": [
            {"name": "network", "ready": true, "image": "", "imageID": "", "restartCount": 0,
             "state": ended(0, "Completed", r#"{"mac":"02:42:ac:11:00:02","unreachableNameservers":["fd00::a"]}"#)}]}));
        assert_eq!(seen.mac.as_deref(), Some("02:42:ac:11:00:02"));
        assert_eq!(seen.unreachable_nameservers, ["fd00::a"]);
    }
}
