//! The order in which a Machine goes: hooks, drain, volumes, hooks, infrastructure, bootstrap
//! configuration, Node. Pure.
//!
//! A step that cannot be decided is waited for: a Node that may have to be drained is not taken for one that has not.
//!
//! ```text
//! PreDrainHook ─► Drain ─► DetachVolumes ─┐
//!   (skipped when the Node is nobody's    ├─► PreTerminateHook ─► DeleteInfrastructure ─► DeleteBootstrap ─► DeleteNode ─► Done
//!    business)
//! ```

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use scute_api::cluster::{
    EXCLUDE_NODE_DRAINING_ANNOTATION, EXCLUDE_VOLUME_DETACH_ANNOTATION, MachineDeletionSpec,
    MachineDeletionStatus, PRE_DRAIN_HOOK_PREFIX, PRE_TERMINATE_HOOK_PREFIX,
};
use scute_contract::Found;

use scute_kit::conditions::whole_seconds;

use super::node::is_unreachable;
use super::observe::{ControlPlane, Nodes, Observed};

/// What comes next for a Machine that goes away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Whether a Node has to be drained cannot be told, and why.
    Undecided(String),
    /// Annotations that ask to wait before the drain.
    PreDrainHook(Vec<String>),
    /// Cordon the Node and evict its Pods.
    Drain(String),
    /// Wait until no volume is attached to the Node.
    DetachVolumes(String),
    /// Annotations that ask to wait before the infrastructure goes.
    PreTerminateHook(Vec<String>),
    /// Delete the infrastructure Machine, or wait until it is gone.
    DeleteInfrastructure(Removal),
    /// Delete the bootstrap configuration, or wait until it is gone.
    DeleteBootstrap(Removal),
    /// Delete the Node.
    DeleteNode(String),
    /// Nothing is left.
    Done,
}

/// Whether an object is yet to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Ask for its deletion.
    Ask,
    /// Its deletion has been asked for.
    Await,
    /// It cannot be looked up, and why.
    Blocked(String),
}

/// What this pass has done already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The Node is drained.
    pub drained: bool,
    /// No volume is attached any more.
    pub detached: bool,
    /// The Node is gone, or has been given up.
    pub node_gone: bool,
}

/// What comes next.
#[must_use]
pub fn next(seen: &Observed, progress: Progress, now: Timestamp) -> Stage {
    let node = match node_to_handle(seen) {
        Handling::Nothing => None,
        Handling::Undecided(_, why) if must_drain(seen, now) => return Stage::Undecided(why),
        Handling::Undecided(node, _) => node,
        Handling::Node(node) => Some(node),
    };
    if let Some(node) = &node {
        let hooks = hooks(seen, PRE_DRAIN_HOOK_PREFIX);
        if !hooks.is_empty() {
            return Stage::PreDrainHook(hooks);
        }
        if !progress.drained && must_drain(seen, now) {
            return Stage::Drain(node.clone());
        }
        if !progress.detached && must_detach(seen, now) {
            return Stage::DetachVolumes(node.clone());
        }
    }
    // Whoever waits for these has to do with the host, which may be there without a Node: an etcd member, say.
    let hooks = hooks(seen, PRE_TERMINATE_HOOK_PREFIX);
    if !hooks.is_empty() {
        return Stage::PreTerminateHook(hooks);
    }
    if let Some(removal) = removal(&seen.infrastructure, seen.infrastructure_unknown()) {
        return Stage::DeleteInfrastructure(removal);
    }
    let bootstrap = seen.bootstrap.as_ref();
    if let Some(removal) = bootstrap.and_then(|found| removal(found, seen.bootstrap_unknown())) {
        return Stage::DeleteBootstrap(removal);
    }
    match node {
        Some(node) if !progress.node_gone => Stage::DeleteNode(node),
        _ => Stage::Done,
    }
}

/// What is to be done about the Node.
enum Handling {
    /// Nothing: the whole cluster goes away, there is no Node, or nobody is left who could be asked about it.
    Nothing,
    /// It is to be drained and deleted.
    Node(String),
    /// That cannot be told, and why; the Node, if one is known.
    Undecided(Option<String>, String),
}

fn node_to_handle(seen: &Observed) -> Handling {
    let referenced = seen.machine.status.as_ref().and_then(|status| status.node_ref.as_ref());
    let node = seen.node().map(|node| node.name_any()).or_else(|| referenced.map(|node| node.name.clone()));
    // A Machine without providerID has not started.
    if node.is_none() && seen.machine.spec.provider_id.is_none() {
        return Handling::Nothing;
    }
    if let Some(why) = &seen.cluster_unknown {
        return Handling::Undecided(node, format!("whether the Node has to be drained is not known: {why}"));
    }
    if seen.cluster.as_ref().is_none_or(|cluster| cluster.metadata.deletion_timestamp.is_some()) {
        return Handling::Nothing;
    }
    match (&seen.control_plane, node) {
        (ControlPlane::Deleting | ControlPlane::Gone, _) => Handling::Nothing,
        (ControlPlane::Usable, Some(node)) => Handling::Node(node),
        (ControlPlane::Unknown(why), Some(node)) => {
            let why = format!("whether Node {node} has to be drained is not known: {why}");
            Handling::Undecided(Some(node), why)
        }
        // A Machine whose Nodes are known has none.
        (_, None) => match (seen.node_unknown(), &seen.machine.spec.provider_id) {
            (Some(why), Some(id)) => {
                let why =
                    format!("whether a Node with spec.providerID {id} has to be drained is not known: {why}");
                Handling::Undecided(None, why)
            }
            _ => Handling::Nothing,
        },
    }
}

fn hooks(seen: &Observed, prefix: &str) -> Vec<String> {
    let annotations = seen.machine.annotations().keys();
    annotations
        .filter(|key| key.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
        .cloned()
        .collect()
}

fn times(seen: &Observed) -> MachineDeletionStatus {
    seen.machine.status.as_ref().and_then(|status| status.deletion.clone()).unwrap_or_default()
}

fn limits(seen: &Observed) -> MachineDeletionSpec {
    seen.machine.spec.deletion.clone().unwrap_or_default()
}

/// Whether a limit of so many seconds has passed since `start`; zero and none never pass.
fn exceeded(start: Option<&Time>, seconds: Option<i32>, now: Timestamp) -> bool {
    match (start, seconds) {
        (Some(start), Some(seconds)) if seconds > 0 => {
            now.duration_since(start.0) >= SignedDuration::from_secs(i64::from(seconds))
        }
        _ => false,
    }
}

fn must_drain(seen: &Observed, now: Timestamp) -> bool {
    let times = times(seen);
    !seen.machine.annotations().contains_key(EXCLUDE_NODE_DRAINING_ANNOTATION)
        && times.wait_for_pre_terminate_hook_start_time.is_none()
        && !infrastructure_goes(seen)
        && !node_known_gone(seen)
        && !exceeded(times.node_drain_start_time.as_ref(), limits(seen).node_drain_timeout_seconds, now)
}

/// Whether volumes of the Node must be waited for.
#[must_use]
pub fn must_detach(seen: &Observed, now: Timestamp) -> bool {
    let times = times(seen);
    !seen.machine.annotations().contains_key(EXCLUDE_VOLUME_DETACH_ANNOTATION)
        && times.wait_for_pre_terminate_hook_start_time.is_none()
        && !infrastructure_goes(seen)
        && !node_known_gone(seen)
        && !seen.node().is_some_and(|node| is_unreachable(node))
        && !exceeded(
            times.wait_for_node_volume_detach_start_time.as_ref(),
            limits(seen).node_volume_detach_timeout_seconds,
            now,
        )
}

/// Whether the infrastructure is known to be gone or to go.
fn infrastructure_goes(seen: &Observed) -> bool {
    match &seen.infrastructure {
        Found::Object(external) => external.is_deleting(),
        Found::Missing | Found::NotInstalled(_) => true,
        Found::NoContract(_) | Found::Foreign(_) | Found::Unknown(_) => false,
    }
}

fn node_known_gone(seen: &Observed) -> bool {
    matches!(&seen.nodes, Nodes::Known(nodes) if nodes.is_empty())
}

/// Nothing is done about what was referred to by mistake: it is another's, or no provider's.
fn removal(found: &Found, unknown: Option<String>) -> Option<Removal> {
    if let Some(why) = unknown {
        return Some(Removal::Blocked(why));
    }
    found.object().map(|external| if external.is_deleting() { Removal::Await } else { Removal::Ask })
}

/// Upstream's default for `nodeDeletionTimeoutSeconds`.
const NODE_DELETION_TIMEOUT: i32 = 10;

/// Whether a Node that could not be deleted since `begun` is given up now.
#[must_use]
pub fn gives_up_node(seen: &Observed, begun: Timestamp, now: Timestamp) -> bool {
    let seconds = limits(seen).node_deletion_timeout_seconds.unwrap_or(NODE_DELETION_TIMEOUT);
    exceeded(Some(&Time(begun)), Some(seconds), now)
}

/// When the steps began, with the one of `stage` beginning now if it had not.
#[must_use]
pub fn begun(seen: &Observed, stage: &Stage, now: Timestamp) -> MachineDeletionStatus {
    let mut times = times(seen);
    let field = match stage {
        Stage::PreDrainHook(_) => &mut times.wait_for_pre_drain_hook_start_time,
        Stage::Undecided(_) | Stage::Drain(_) => &mut times.node_drain_start_time,
        Stage::DetachVolumes(_) => &mut times.wait_for_node_volume_detach_start_time,
        Stage::PreTerminateHook(_) => &mut times.wait_for_pre_terminate_hook_start_time,
        Stage::DeleteInfrastructure(_) | Stage::DeleteBootstrap(_) | Stage::DeleteNode(_) | Stage::Done => {
            return times;
        }
    };
    field.get_or_insert(Time(whole_seconds(now)));
    times
}

impl Stage {
    /// The reason of the Deleting condition.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Undecided(_) => "InternalError",
            Self::PreDrainHook(_) => "WaitingForPreDrainHook",
            Self::Drain(_) => "DrainingNode",
            Self::DetachVolumes(_) => "WaitingForVolumeDetach",
            Self::PreTerminateHook(_) => "WaitingForPreTerminateHook",
            Self::DeleteInfrastructure(_) => "WaitingForInfrastructureDeletion",
            Self::DeleteBootstrap(_) => "WaitingForBootstrapDeletion",
            Self::DeleteNode(_) => "DeletingNode",
            Self::Done => "DeletionCompleted",
        }
    }

    /// What is waited for, and what would end the wait.
    #[must_use]
    pub fn message(&self, seen: &Observed) -> String {
        let blocked = |removal: &Removal, what: String| match removal {
            Removal::Blocked(why) => format!("{what} cannot be looked up: {why}"),
            Removal::Ask | Removal::Await => format!("Waiting for {what} to be deleted"),
        };
        match self {
            Self::Undecided(why) => format!("Waiting, as {why}"),
            Self::PreDrainHook(hooks) | Self::PreTerminateHook(hooks) => {
                format!("Waiting until these annotations are removed: {}", hooks.join(", "))
            }
            Self::Drain(node) => format!("Draining Node {node}"),
            Self::DetachVolumes(node) => format!("Waiting for volumes of Node {node} to be detached"),
            Self::DeleteInfrastructure(removal) => {
                let reference = &seen.machine.spec.infrastructure_ref;
                blocked(removal, format!("{} {}", reference.kind, reference.name))
            }
            Self::DeleteBootstrap(removal) => {
                let reference = seen.machine.spec.bootstrap.config_ref.clone().unwrap_or_default();
                blocked(removal, format!("{} {}", reference.kind, reference.name))
            }
            Self::DeleteNode(node) => format!("Deleting Node {node}"),
            Self::Done => "Deletion completed".to_owned(),
        }
    }
}
