//! What a control-plane Machine says of itself, and which one is meant. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use scute_api::cluster::{HEALTH_CHECK_SUCCEEDED, Machine, OWNER_REMEDIATED, PRE_TERMINATE_HOOK_PREFIX};
use scute_api::controlplane::PRE_TERMINATE_KCP_CLEANUP_ANNOTATION;
use scute_kit::conditions::{find, is_false, is_true};

/// Condition of a Machine: its API server's Pod.
pub const API_SERVER: &str = "APIServerPodHealthy";
/// Its controller-manager's.
pub const CONTROLLER_MANAGER: &str = "ControllerManagerPodHealthy";
/// Its scheduler's.
pub const SCHEDULER: &str = "SchedulerPodHealthy";
/// Its etcd's.
pub const ETCD_POD: &str = "EtcdPodHealthy";
/// Its etcd's membership.
pub const ETCD_MEMBER: &str = "EtcdMemberHealthy";

/// The conditions that say how the control plane on a Machine fares.
#[must_use]
pub fn health_conditions(stacked: bool) -> &'static [&'static str] {
    const ALL: [&str; 5] = [API_SERVER, CONTROLLER_MANAGER, SCHEDULER, ETCD_POD, ETCD_MEMBER];
    if stacked { &ALL } else { &ALL[..3] }
}

/// Its conditions.
#[must_use]
pub fn conditions(machine: &Machine) -> &[Condition] {
    machine.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default()
}

/// Whether a condition is True.
#[must_use]
pub fn is(machine: &Machine, type_: &str) -> bool {
    is_true(conditions(machine), type_)
}

/// Whether a condition is there and False.
#[must_use]
pub fn is_not(machine: &Machine, type_: &str) -> bool {
    is_false(conditions(machine), type_)
}

/// Name of its Node, once it has one; the etcd member on it has the same.
#[must_use]
pub fn node(machine: &Machine) -> Option<&str> {
    Some(machine.status.as_ref()?.node_ref.as_ref()?.name.as_str())
}

/// Whether a deletion has been asked for.
#[must_use]
pub fn is_leaving(machine: &Machine) -> bool {
    machine.metadata.deletion_timestamp.is_some()
}

/// Whether it has no Node yet and is not on its way out.
#[must_use]
pub fn is_coming(machine: &Machine) -> bool {
    node(machine).is_none() && !is_leaving(machine)
}

/// When it was made.
#[must_use]
pub fn made(machine: &Machine) -> Timestamp {
    machine.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |made| made.0)
}

/// The oldest; of equally old ones that with the first name.
#[must_use]
pub fn oldest<'a>(machines: impl IntoIterator<Item = &'a Machine>) -> Option<&'a Machine> {
    machines.into_iter().min_by_key(|machine| (made(machine), machine.name_any()))
}

/// The newest.
#[must_use]
pub fn newest<'a>(machines: impl IntoIterator<Item = &'a Machine>) -> Option<&'a Machine> {
    machines.into_iter().max_by_key(|machine| (made(machine), machine.name_any()))
}

/// Whether a health check gave it up and leaves it to its owner.
#[must_use]
pub fn is_to_be_remediated(machine: &Machine) -> bool {
    is_unhealthy(machine) && is_not(machine, OWNER_REMEDIATED)
}

/// Whether a health check found it bad.
#[must_use]
pub fn is_unhealthy(machine: &Machine) -> bool {
    is_not(machine, HEALTH_CHECK_SUCCEEDED)
}

/// Whether its deletion waits for our hook, and for no other any more: etcd beside it is what its kubelet talks to, so
/// whoever needs the Node goes first.
#[must_use]
pub fn waits_for_us(machine: &Machine) -> bool {
    let hooks = || machine.annotations().keys().filter(|key| key.starts_with(PRE_TERMINATE_HOOK_PREFIX));
    let reached = find(conditions(machine), "Deleting")
        .is_some_and(|condition| condition.reason == "WaitingForPreTerminateHook");
    is_leaving(machine) && reached && has_hook(machine) && hooks().count() == 1
}

/// Whether our hook is on it.
#[must_use]
pub fn has_hook(machine: &Machine) -> bool {
    machine.annotations().contains_key(PRE_TERMINATE_KCP_CLEANUP_ANNOTATION)
}

/// Where it was placed.
#[must_use]
pub fn failure_domain(machine: &Machine) -> Option<&str> {
    let placed = machine.status.as_ref().and_then(|status| status.failure_domain.as_deref());
    machine.spec.failure_domain.as_deref().or(placed)
}
