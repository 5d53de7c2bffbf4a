//! The status of a VMI, computed as a whole from what is seen. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;
use scute_api::kubevirt::{
    InterfaceStatus, MemoryStatus, PhaseTransition, Quantity, VirtualMachineInstance,
    VirtualMachineInstanceStatus, VmiPhase, VolumeStatus,
};
use scute_kit::Why;
use scute_kit::conditions::{Conditions, Status, find, whole_seconds};
use scute_qemu::Accelerator;

use super::guest::launcher_spec;
use super::plan::Plan;
use super::seeds;
use super::seen::{Seen, see};
use crate::Config;
use scute_launcher::PAUSED;
use scute_launcher::spec::{LauncherSpec, RUN_AS};

/// The status of `vmi`, whose Pod is `pod` and has this to say when it is not ready, after `plan` was carried out.
#[must_use]
pub fn status(
    vmi: &VirtualMachineInstance,
    pod: Option<&Pod>,
    complaint: Option<&str>,
    plan: &Plan,
    config: &Config,
    now: Timestamp,
) -> VirtualMachineInstanceStatus {
    let failure = plan.failure.as_ref();
    let before = VirtualMachineInstanceStatus {
        evacuation_node_name: plan.leaves.clone(),
        ..vmi.status.clone().unwrap_or_default()
    };
    let seen = pod.map(|pod| see(pod, complaint));
    let phase = phase(before.phase, seen.as_ref(), failure);
    let told = failure.cloned().or_else(|| seen.as_ref().and_then(|seen| seen.why.clone()));
    let why = told.map(|why| seeds::explained(&vmi.spec, why));
    let reason = match phase {
        VmiPhase::Failed if before.phase == Some(VmiPhase::Failed) && before.reason.is_some() => {
            before.reason.clone()
        }
        VmiPhase::Failed => {
            Some(why.as_ref().map_or_else(|| "Failed".to_owned(), |why| why.reason.to_string()))
        }
        _ => None,
    };
    let guest = launcher_spec(vmi, config.accelerator).ok();
    // While the Pod waits for its images the Node is not worth a write of its own.
    let node =
        pod.filter(|_| phase != VmiPhase::Scheduling).and_then(node_of).or_else(|| before.node_name.clone());
    VirtualMachineInstanceStatus {
        phase: Some(phase),
        phase_transition_timestamps: transitions(&before, phase, now),
        node_name: node.clone(),
        reason,
        active_pods: pod
            .and_then(|pod| Some([(pod.uid()?, node.unwrap_or_default())].into()))
            .unwrap_or_else(|| before.active_pods.clone()),
        interfaces: interfaces(&before, pod, seen.as_ref(), guest.as_ref()),
        conditions: conditions(vmi, &before, phase, seen.as_ref(), why.as_ref(), config, now),
        evacuation_node_name: before.evacuation_node_name.clone(),
        qos_class: pod.and_then(|pod| pod.status.as_ref()?.qos_class.clone()).or(before.qos_class),
        volume_status: guest.as_ref().map(volumes).unwrap_or_default(),
        runtime_user: Some(u64::from(RUN_AS)),
        launcher_container_image_version: pod
            .and_then(|pod| pod.spec.as_ref()?.containers.first()?.image.clone())
            .or(before.launcher_container_image_version),
        memory: guest.as_ref().map(memory),
    }
}

/// The last phase stays; a phase before it never comes back once the guest ran.
fn phase(before: Option<VmiPhase>, seen: Option<&Seen>, failure: Option<&Why>) -> VmiPhase {
    match (before, seen) {
        (Some(last), _) if last.is_final() => last,
        _ if failure.is_some() => VmiPhase::Failed,
        (before, None) => before.unwrap_or(VmiPhase::Pending),
        (Some(VmiPhase::Running), Some(seen)) if seen.phase == VmiPhase::Scheduled => VmiPhase::Running,
        (_, Some(seen)) => seen.phase,
    }
}

fn node_of(pod: &Pod) -> Option<String> {
    pod.spec.as_ref()?.node_name.clone()
}

fn transitions(
    before: &VirtualMachineInstanceStatus,
    phase: VmiPhase,
    now: Timestamp,
) -> Vec<PhaseTransition> {
    let mut list = before.phase_transition_timestamps.clone();
    if !list.iter().any(|transition| transition.phase == phase) {
        list.push(PhaseTransition { phase, phase_transition_timestamp: Time(whole_seconds(now)) });
    }
    list
}

fn interfaces(
    before: &VirtualMachineInstanceStatus,
    pod: Option<&Pod>,
    seen: Option<&Seen>,
    guest: Option<&LauncherSpec>,
) -> Vec<InterfaceStatus> {
    let Some(guest) = guest else { return before.interfaces.clone() };
    let mut addresses: Vec<String> = pod
        .and_then(|pod| pod.status.as_ref())
        .into_iter()
        .flat_map(|status| status.pod_ips.iter().flatten())
        .map(|address| address.ip.clone())
        .collect();
    addresses.retain(|address| !address.is_empty());
    if addresses.is_empty() {
        return before.interfaces.clone();
    }
    let vcpus = guest.cpu.vcpus();
    guest
        .interfaces
        .iter()
        .map(|interface| InterfaceStatus {
            name: Some(interface.name.clone()),
            mac: seen
                .and_then(|seen| seen.mac.clone())
                .or_else(|| before.interfaces.first().and_then(|known| known.mac.clone())),
            ip_address: addresses.first().cloned(),
            ip_addresses: addresses.clone(),
            pod_interface_name: Some("eth0".to_owned()),
            queue_count: Some(interface.queues(vcpus)),
            info_source: Some("domain".to_owned()),
        })
        .collect()
}

fn volumes(guest: &LauncherSpec) -> Vec<VolumeStatus> {
    guest.disks.iter().map(|disk| VolumeStatus { name: disk.name.clone(), target: String::new() }).collect()
}

fn memory(guest: &LauncherSpec) -> MemoryStatus {
    let amount = Some(Quantity(guest.memory_bytes.to_string()));
    MemoryStatus { guest_at_boot: amount.clone(), guest_current: amount.clone(), guest_requested: amount }
}

fn conditions(
    vmi: &VirtualMachineInstance,
    before: &VirtualMachineInstanceStatus,
    phase: VmiPhase,
    seen: Option<&Seen>,
    why: Option<&Why>,
    config: &Config,
    now: Timestamp,
) -> Vec<Condition> {
    let mut list = Conditions::new(&before.conditions, vmi.metadata.generation, now);
    let said = why.map(|why| (why.reason.to_string(), why.message.clone()));
    let deleting = vmi.metadata.deletion_timestamp.is_some();
    let held_up = seen.filter(|seen| !seen.ready).map(|seen| not_ready(before, seen));
    list = match (phase, said.clone(), held_up) {
        (VmiPhase::Running, _, Some(message)) if !deleting => {
            list.put("Ready", Status::False, "GuestNotReady", message)
        }
        (VmiPhase::Running, _, None) if !deleting => {
            list.put("Ready", Status::True, "GuestRunning", "the guest runs")
        }
        (VmiPhase::Succeeded, ..) => {
            list.put("Ready", Status::False, "GuestNotRunning", "the guest shut down")
        }
        (_, Some((reason, message)), _) => list.put("Ready", Status::False, &reason, message),
        _ => list.put("Ready", Status::False, "GuestNotRunning", "the guest does not run"),
    };
    list = match said {
        Some((reason, message)) if phase != VmiPhase::Succeeded => {
            list.put("Synchronized", Status::False, &reason, message)
        }
        _ if phase == VmiPhase::Pending => {
            list.put("Synchronized", Status::False, "PodNotCreated", "there is no Pod yet")
        }
        _ => list.put("Synchronized", Status::True, "PodFollowsSpec", ""),
    };
    if let Some(seen) = seen {
        list = of_the_pod(list, before, phase, seen);
    }
    list = list.put(
        "LiveMigratable",
        Status::False,
        "InterfaceNotLiveMigratable",
        "a guest that is bridged to the Pod's interface cannot move",
    );
    if config.accelerator == Accelerator::Tcg {
        list = list.put(
            "SoftwareEmulation",
            Status::True,
            "NoHardwareVirtualization",
            "the guest runs without KVM, about ten times slower",
        );
    }
    if let Some(node) = &before.evacuation_node_name {
        list = list.put(
            "EvictionRequested",
            Status::True,
            "EvictionRequested",
            format!("the guest has to leave Node {node}"),
        );
    }
    list.finish()
}

/// What is said only while it is so.
fn of_the_pod<'a>(
    mut list: Conditions<'a>,
    before: &VirtualMachineInstanceStatus,
    phase: VmiPhase,
    seen: &Seen,
) -> Conditions<'a> {
    if let Some(message) = paused(before, seen).filter(|_| phase == VmiPhase::Running) {
        list = list.put("Paused", Status::True, "PausedIOError", message);
    }
    if let Some(message) = nameservers(&seen.unreachable_nameservers) {
        list = list.put("NameserversUnreachable", Status::True, "NoIPv6", message);
    }
    if let Some(message) = seen.unschedulable.clone() {
        list = list.put("PodScheduled", Status::False, "Unschedulable", message);
    }
    list
}

/// A guest has no IPv6 on the Pod network.
fn nameservers(unreachable: &[String]) -> Option<String> {
    (!unreachable.is_empty()).then(|| {
        format!(
            "guests have no IPv6 on the Pod network, so this one is not told of the name servers {} of its Pod; others can be \
             given with spec.dnsPolicy None and spec.dnsConfig",
            unreachable.join(", ")
        )
    })
}

/// Why QEMU has paused the guest. The event that says so may be forgotten before the guest goes on.
fn paused(before: &VirtualMachineInstanceStatus, seen: &Seen) -> Option<String> {
    match &seen.complaint {
        _ if seen.ready => None,
        Some(words) => words.starts_with(PAUSED).then(|| words.clone()),
        None => find(&before.conditions, "Paused").map(|known| known.message.clone()),
    }
}

fn not_ready(before: &VirtualMachineInstanceStatus, seen: &Seen) -> String {
    let told = seen.complaint.clone();
    told.or_else(|| paused(before, seen)).unwrap_or_else(|| {
        "the guest is paused, or QEMU does not answer: the events of its Pod will say which".to_owned()
    })
}

/// The conditions, with Synchronized saying what could not be done.
#[must_use]
pub fn with_failure(
    vmi: &VirtualMachineInstance,
    conditions: Vec<Condition>,
    why: &Why,
    now: Timestamp,
) -> Vec<Condition> {
    let before = vmi.status.clone().unwrap_or_default().conditions;
    let mut list = Conditions::new(&before, vmi.metadata.generation, now)
        .put("Synchronized", Status::False, &why.reason, why.message.clone())
        .finish();
    list.extend(conditions.into_iter().filter(|condition| condition.type_ != "Synchronized"));
    list.sort_by(|a, b| a.type_.cmp(&b.type_));
    list
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn vmi(status: Value) -> VirtualMachineInstance {
        serde_json::from_value(json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
            "metadata": {"name": "a", "namespace": "b", "uid": "u"},
            "spec": {"domain": {"memory": {"guest": "1Gi"}}}, "status": status,
        }))
        .unwrap()
    }

    fn pod(status: Value) -> Pod {
        serde_json::from_value(
            json!({"metadata": {"name": "p", "uid": "pod"}, "spec": {"nodeName": "n", "containers": []}, "status": status}),
        )
        .unwrap()
    }

    fn after(before: Value, pod: Option<&Pod>, failure: Option<&Why>) -> VirtualMachineInstanceStatus {
        let vmi = vmi(before);
        let leaves = vmi.status.as_ref().and_then(|status| status.evacuation_node_name.clone());
        let plan = Plan { failure: failure.cloned(), leaves, ..Plan::default() };
        status(&vmi, pod, None, &plan, &Config::default(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_guest_is_paused_until_it_is_ready_again() {
        let running = |ready: bool| {
            pod(
                json!({"phase": "Running", "containerStatuses": [{"name": "compute", "image": "", "imageID": "",
                "restartCount": 0, "started": true, "ready": ready, "state": {"running": {}}}]}),
            )
        };
        let told = |before: Value, ready: bool, complaint: Option<&str>| {
            let config = Config::default();
            let now = Timestamp::UNIX_EPOCH;
            let plan = Plan::default();
            let status = status(&vmi(before), Some(&running(ready)), complaint, &plan, &config, now);
            let of = |type_: &str| {
                find(&status.conditions, type_)
                    .map(|said| format!("{} {} {}", said.status, said.reason, said.message))
            };
            (of("Ready").unwrap(), of("Paused"), json!(status))
        };
        let full = "the guest is paused: disk root cannot grow, the Node's file system is full";
        let (ready, paused, _) = told(json!({}), false, None);
        assert!(ready.starts_with("False GuestNotReady"), "{ready}");
        assert_eq!(paused, None, "nobody has said so yet");
        let (ready, paused, status) = told(json!({}), false, Some(full));
        assert_eq!(ready, format!("False GuestNotReady {full}"));
        assert_eq!(paused.unwrap(), format!("True PausedIOError {full}"));
        let (_, paused, _) = told(status.clone(), false, None);
        assert!(paused.is_some(), "events are forgotten, the condition stays");
        let (ready, paused, _) = told(status.clone(), false, Some("QEMU does not answer"));
        assert_eq!((ready.as_str(), paused), ("False GuestNotReady QEMU does not answer", None));
        let (ready, paused, _) = told(status, true, Some(full));
        assert_eq!((ready.as_str(), paused), ("True GuestRunning the guest runs", None));
    }

    #[test]
    fn the_last_phase_stays_with_its_reason() {
        let gone = Why::new("PodDeleted", "the Pod of the guest was deleted");
        let failed = after(json!({"phase": "Running", "nodeName": "n"}), None, Some(&gone));
        assert_eq!((failed.phase, failed.reason.as_deref()), (Some(VmiPhase::Failed), Some("PodDeleted")));
        assert_eq!(failed.node_name.as_deref(), Some("n"), "people still want to know where it was");
        let later = after(json!(failed), Some(&pod(json!({"phase": "Pending"}))), None);
        assert_eq!((later.phase, later.reason.as_deref()), (Some(VmiPhase::Failed), Some("PodDeleted")));
        let done = after(json!({"phase": "Succeeded"}), None, Some(&gone));
        assert_eq!((done.phase, done.reason), (Some(VmiPhase::Succeeded), None));
    }

    #[test]
    fn name_servers_that_a_guest_cannot_reach_are_named() {
        let pod = |message: &str| {
            let end = json!({"terminated": {"exitCode": 0, "message": message}});
            pod(json!({"phase": "Running", "initContainerStatuses": [{"name": "network", "image": "",
                "imageID": "", "restartCount": 0, "ready": true, "state": end}]}))
        };
        let told = |message: &str| {
            let status = after(json!({}), Some(&pod(message)), None);
            find(&status.conditions, "NameserversUnreachable").map(|said| said.message.clone())
        };
        let message = told(r#"{"mac":"02:42:ac:11:00:02","unreachableNameservers":["fd00::a","fd00::b"]}"#);
        assert!(message.unwrap().contains("name servers fd00::a, fd00::b of its Pod"));
        assert_eq!(told(r#"{"mac":"02:42:ac:11:00:02"}"#), None);
    }

    #[test]
    fn the_node_is_told_with_the_launcher_and_not_before() {
        let waiting = after(json!({}), Some(&pod(json!({"phase": "Pending"}))), None);
        assert_eq!(waiting.node_name, None);
        assert_eq!(waiting.active_pods, [("pod".to_owned(), String::new())].into());
        let launched = after(
            json!(waiting),
            Some(&pod(json!({"phase": "Running", "podIPs": [{"ip": "10.85.0.9"}]}))),
            None,
        );
        assert_eq!((launched.phase, launched.node_name.as_deref()), (Some(VmiPhase::Scheduled), Some("n")));
        assert_eq!(launched.interfaces[0].ip_address.as_deref(), Some("10.85.0.9"));
        let phases: Vec<_> = launched.phase_transition_timestamps.iter().map(|moment| moment.phase).collect();
        assert_eq!(phases, [VmiPhase::Scheduling, VmiPhase::Scheduled]);
    }

    #[test]
    fn an_eviction_that_was_asked_for_is_told_as_long_as_it_stands() {
        let marked = json!({"phase": "Running", "evacuationNodeName": "n"});
        let pod = pod(json!({"phase": "Running"}));
        let status = after(marked, Some(&pod), None);
        let told =
            |status: &VirtualMachineInstanceStatus| find(&status.conditions, "EvictionRequested").is_some();
        assert_eq!((status.evacuation_node_name.as_deref(), told(&status)), (Some("n"), true));
        let (vmi, plan) = (vmi(json!(status)), Plan::default());
        let status = super::status(&vmi, Some(&pod), None, &plan, &Config::default(), Timestamp::UNIX_EPOCH);
        assert_eq!((status.evacuation_node_name.as_deref(), told(&status)), (None, false));
    }
}
