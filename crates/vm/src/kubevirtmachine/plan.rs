//! What to do about a KubevirtMachine. Pure.
//!
//! ```text
//! wait for Cluster, bootstrap data, SSH keys -> VirtualMachine -> guest runs -> joined -> Node has the id
//! guest lost after it joined, or has to leave its Node -> the Machine is replaced
//! ```

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use scute_api::cluster::{Cluster, Machine, RangeOverlap};
use scute_api::infrastructure::{
    CAPK_TERMINAL_LABEL, CheckStrategy, KUBEVIRT_MACHINE_FINALIZER, KubevirtMachine,
};
use scute_api::kubevirt::{PrintableStatus, RunStrategy, VirtualMachine, VirtualMachineInstance, VmiPhase};
use scute_api::meta::BLOCK_MOVE_ANNOTATION;
use scute_kit::conditions::{find, is_true};
use scute_kit::{Why, finalizer};

use super::render::{belongs_to, provider_id};

/// Annotation of a Machine that nobody shall replace on his own.
const SKIP_REMEDIATION_ANNOTATION: &str = "cluster.x-k8s.io/skip-remediation";

/// What the controller has seen.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The Machine that owns the KubevirtMachine.
    pub machine: Option<Arc<Machine>>,
    /// The Cluster of the Machine.
    pub cluster: Option<Arc<Cluster>>,
    /// Name of the Secret with the SSH keys; none when nobody keeps any.
    pub ssh_keys: SshKeys,
    /// The VirtualMachine.
    pub vm: Option<Arc<VirtualMachine>>,
    /// Its VMI.
    pub vmi: Option<Arc<VirtualMachineInstance>>,
    /// The SSH user is in the guest's user data.
    pub has_ssh_user: bool,
    /// The Node of the guest.
    pub node: Option<Arc<Node>>,
    /// Pod ranges of the management cluster.
    pub pod_ranges: Vec<IpNet>,
    /// Its Service ranges.
    pub service_ranges: Vec<IpNet>,
}

/// The SSH keys of the Cluster's guests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SshKeys {
    /// No KubevirtCluster of ours makes any.
    #[default]
    None,
    /// They will be there.
    Pending(String),
    /// They are in the Secret of this name.
    There(String),
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Finalizer, providerID, and that `clusterctl move` waits: the VM runs on this management cluster, and would be deleted.
    Claim,
    /// Secret and VirtualMachine.
    CreateVm {
        /// Secret with the bootstrap data.
        bootstrap: String,
        /// Secret with the SSH keys.
        ssh_keys: Option<String>,
    },
    /// Ask the guest whether it has joined.
    CheckBootstrap {
        /// Address of the guest.
        address: IpAddr,
        /// Secret with the SSH keys.
        ssh_keys: String,
    },
    /// Put the providerID on the Node.
    MarkNode,
    /// Restart a guest that has not joined on another Node.
    DeleteVmi,
    /// Have the owner of the Machine make another.
    ReplaceMachine,
    /// Delete the VirtualMachine.
    DeleteVm,
    /// Delete the user data.
    DeleteSecrets,
    /// Let the KubevirtMachine go.
    RemoveFinalizer,
}

/// How far the VM is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It cannot be used, for this reason.
    NotProvisioned(Why),
    /// The guest runs; these are its addresses.
    Running(Vec<IpAddr>),
    /// The KubevirtMachine is on its way out.
    Deleting(Why),
}

/// How it is known that the guest has joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bootstrap {
    /// Nobody asks.
    NotChecked,
    /// It was to be asked, and cannot be.
    NotSupported(&'static str),
    /// It said so.
    Succeeded,
    /// It has not said so yet.
    Unknown,
}

/// What to do, and where the VM stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// How far the VM is.
    pub stage: Stage,
    /// Whether the guest has joined.
    pub bootstrap: Bootstrap,
    /// Why the VM is beyond repair.
    pub failure: Option<Why>,
}

/// Decides.
#[must_use]
pub fn plan(machine: &KubevirtMachine, seen: &Observed) -> Plan {
    if machine.metadata.deletion_timestamp.is_some() {
        return deletion(machine, seen);
    }
    let mut plan = Plan {
        actions: Vec::new(),
        stage: Stage::NotProvisioned(Why::new("VMNotReady", "")),
        bootstrap: bootstrap(machine, seen),
        failure: None,
    };
    let (owner, vm) = match ready_to_create(machine, seen) {
        Ok(ready) => ready,
        Err(why) => return Plan { stage: Stage::NotProvisioned(why), ..plan },
    };
    let claimed = finalizer::has(machine, KUBEVIRT_MACHINE_FINALIZER) && machine.spec.provider_id.is_some();
    if !claimed || !machine.annotations().contains_key(BLOCK_MOVE_ANNOTATION) {
        plan.actions.push(Action::Claim);
    }
    match vm {
        Wanted::Vm(action) => {
            plan.stage = Stage::NotProvisioned(Why::new("VMNotReady", "the VirtualMachine is being made"));
            plan.actions.push(action);
        }
        Wanted::Nothing(vm) => with_vm(machine, seen, owner, vm, &mut plan),
    }
    plan
}

enum Wanted<'a> {
    Vm(Action),
    Nothing(&'a VirtualMachine),
}

/// Everything that a VM waits for, the first missing thing by name.
fn ready_to_create<'a>(
    machine: &KubevirtMachine,
    seen: &'a Observed,
) -> Result<(&'a Machine, Wanted<'a>), Why> {
    let owner = seen
        .machine
        .as_deref()
        .ok_or_else(|| Why::new("WaitingForMachine", "no Machine owns this object yet"))?;
    let cluster = seen.cluster.as_deref().ok_or_else(|| {
        Why::new(
            "WaitingForClusterInfrastructure",
            format!("Cluster {} does not exist", owner.spec.cluster_name),
        )
    })?;
    if let Some(vm) = &seen.vm {
        return if belongs_to(machine, vm.labels()) {
            Ok((owner, Wanted::Nothing(vm)))
        } else {
            let message = format!("VirtualMachine {} exists and belongs to somebody else", vm.name_any());
            Err(Why::new("VMCreateFailed", message))
        };
    }
    let status = cluster.status.clone().unwrap_or_default().initialization.unwrap_or_default();
    if status.infrastructure_provisioned != Some(true) {
        let message = format!("Cluster {} has no infrastructure yet", cluster.name_any());
        return Err(Why::new("WaitingForClusterInfrastructure", message));
    }
    let Some(bootstrap) = owner.spec.bootstrap.data_secret_name.clone() else {
        return Err(if cluster.is_initialized() {
            Why::new(
                "WaitingForBootstrapData",
                format!("Machine {} has no bootstrap data yet", owner.name_any()),
            )
        } else {
            let message = format!("the control plane of Cluster {} does not answer yet", cluster.name_any());
            Why::new("WaitingForControlPlaneAvailable", message)
        });
    };
    if let Some(overlap) = overlap(cluster, seen) {
        return Err(overlap);
    }
    let ssh_keys = match &seen.ssh_keys {
        SshKeys::None => None,
        SshKeys::There(name) => Some(name.clone()),
        SshKeys::Pending(name) => {
            let message = format!("Secret {name} with the SSH keys does not exist yet");
            return Err(Why::new("WaitingForClusterInfrastructure", message));
        }
    };
    Ok((owner, Wanted::Vm(Action::CreateVm { bootstrap, ssh_keys })))
}

/// Guests have addresses of the management cluster's Pods, and ask its DNS, which is a Service: a tenant whose own Pods or
/// Services have such addresses too could not tell them apart.
fn overlap(cluster: &Cluster, seen: &Observed) -> Option<Why> {
    let ours = cluster.spec.cluster_network.as_ref()?;
    let pods =
        ("PodRangeOverlap", "Pod range of the management cluster, from which VM Nodes have their addresses");
    let services = (
        "ServiceRangeOverlap",
        "Service range of the management cluster, in which VM Nodes have their DNS server",
    );
    [(pods, &seen.pod_ranges), (services, &seen.service_ranges)].into_iter().find_map(
        |((reason, what), theirs)| {
            let RangeOverlap { field, range, taken } = ours.overlap(theirs)?;
            let name = cluster.name_any();
            let message =
                format!("Cluster {name}: spec.clusterNetwork.{field} {range} overlaps {taken}, the {what}");
            Some(Why::new(reason, message))
        },
    )
}

fn bootstrap(machine: &KubevirtMachine, seen: &Observed) -> Bootstrap {
    let conditions = machine.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    if machine.spec.check_strategy() == CheckStrategy::None {
        Bootstrap::NotChecked
    } else if is_true(conditions, "BootstrapExecSucceeded") {
        Bootstrap::Succeeded
    } else if seen.ssh_keys == SshKeys::None {
        Bootstrap::NotSupported("no KubevirtCluster keeps SSH keys for this Cluster")
    } else if seen.vm.is_some() && !seen.has_ssh_user {
        Bootstrap::NotSupported("the bootstrap data is no cloud-config, so no SSH user could be added to it")
    } else {
        Bootstrap::Unknown
    }
}

fn with_vm(
    machine: &KubevirtMachine,
    seen: &Observed,
    owner: &Machine,
    vm: &VirtualMachine,
    plan: &mut Plan,
) {
    let vmi = seen.vmi.as_deref();
    plan.stage = stage(vm, vmi);
    plan.failure = failure(machine, vm, vmi);
    if lost(machine, vm, vmi) || must_leave(vmi) {
        let why = plan.failure.get_or_insert_with(|| lost_because(vmi)).clone();
        retire(machine, owner, why, vmi, plan);
        return;
    }
    if let (Stage::Running(addresses), Bootstrap::Unknown, SshKeys::There(name)) =
        (&plan.stage, &plan.bootstrap, &seen.ssh_keys)
        && let Some(address) = addresses.first()
    {
        plan.actions.push(Action::CheckBootstrap { address: *address, ssh_keys: name.clone() });
    }
    if let Some(node) = seen.node.as_deref() {
        let id = node.spec.as_ref().and_then(|spec| spec.provider_id.clone()).unwrap_or_default();
        if id.is_empty() {
            plan.actions.push(Action::MarkNode);
        } else if id != provider_id(machine) {
            let message =
                format!("Node {} has the providerID {id} and not {}", node.name_any(), provider_id(machine));
            plan.failure = Some(Why::new("NodeTaken", message));
        }
    }
}

fn stage(vm: &VirtualMachine, vmi: Option<&VirtualMachineInstance>) -> Stage {
    let status = vm.status.clone().unwrap_or_default();
    let running =
        vmi.and_then(|vmi| vmi.status.as_ref()).filter(|status| status.phase == Some(VmiPhase::Running));
    if let Some(running) = running {
        let addresses: Vec<IpAddr> = running
            .interfaces
            .iter()
            .flat_map(|interface| &interface.ip_addresses)
            .filter_map(|address| address.parse().ok())
            .collect();
        if !addresses.is_empty() {
            return Stage::Running(addresses);
        }
    }
    let says = |type_: &str| find(&status.conditions, type_).map(|condition| condition.message.clone());
    Stage::NotProvisioned(match status.printable_status {
        Some(PrintableStatus::ErrorUnschedulable) => {
            Why::new("Unschedulable", says("PodScheduled").unwrap_or_default())
        }
        printable => {
            let word = printable.map_or_else(|| "not seen yet".to_owned(), |word| format!("{word:?}"));
            let failed = find(&status.conditions, "Failure").or_else(|| {
                find(&status.conditions, "Synchronized").filter(|condition| condition.status == "False")
            });
            let detail =
                failed.map(|failed| format!(": {} {}", failed.reason, failed.message)).unwrap_or_default();
            Why::new("VMNotReady", format!("VirtualMachine {} is {word}{detail}", vm.name_any()))
        }
    })
}

/// States that the VM does not leave by itself.
fn failure(
    machine: &KubevirtMachine,
    vm: &VirtualMachine,
    vmi: Option<&VirtualMachineInstance>,
) -> Option<Why> {
    let labelled = vm.labels().get(CAPK_TERMINAL_LABEL).or_else(|| vmi?.labels().get(CAPK_TERMINAL_LABEL));
    if let Some(reason) = labelled {
        return Some(Why::new("UpdateError", format!("the VM is marked as beyond repair: {reason}")));
    }
    let phase = vmi.and_then(|vmi| vmi.status.as_ref()?.phase).filter(|phase| phase.is_final())?;
    let stays = match vm.spec.strategy() {
        RunStrategy::Halted | RunStrategy::Once => true,
        RunStrategy::RerunOnFailure => phase == VmiPhase::Succeeded,
        RunStrategy::Always | RunStrategy::Manual => false,
    };
    stays.then(|| {
        let name = machine.name_any();
        Why::new(
            "UpdateError",
            format!("VirtualMachineInstance {name} ended as {phase:?} and is not restarted"),
        )
    })
}

/// A guest that joined keeps its identity on a disk that goes with its VMI.
fn lost(machine: &KubevirtMachine, vm: &VirtualMachine, vmi: Option<&VirtualMachineInstance>) -> bool {
    let Some(joined) = machine.status.as_ref().and_then(|status| status.node_instance_uid.as_deref()) else {
        return false;
    };
    // Of the other strategies, one makes another VMI, and the rest are somebody's decision.
    let Some(vmi) = vmi else { return vm.spec.strategy() == RunStrategy::Once };
    let ended = vmi.status.as_ref().and_then(|status| status.phase).is_some_and(VmiPhase::is_final);
    // Somebody who halts a VM wants it halted, not replaced.
    let halted = vm.spec.strategy() == RunStrategy::Halted;
    vmi.uid().as_deref() != Some(joined) || (ended && !halted)
}

fn must_leave(vmi: Option<&VirtualMachineInstance>) -> bool {
    vmi.and_then(|vmi| vmi.status.as_ref()).is_some_and(|status| {
        status.evacuation_node_name.is_some() && !status.phase.is_some_and(VmiPhase::is_final)
    })
}

fn lost_because(vmi: Option<&VirtualMachineInstance>) -> Why {
    match vmi.and_then(|vmi| vmi.status.as_ref()?.evacuation_node_name.clone()) {
        Some(node) => Why::new("Evacuating", format!("the guest has to leave Node {node}")),
        None => Why::new("GuestLost", "the guest that had joined is gone, and its disk with it"),
    }
}

/// A Machine of a MachineSet is replaced: its deletion drains the Node first. A guest that has not joined
/// has nothing to lose and starts again elsewhere. Other Machines are somebody's decision.
fn retire(
    machine: &KubevirtMachine,
    owner: &Machine,
    why: Why,
    vmi: Option<&VirtualMachineInstance>,
    plan: &mut Plan,
) {
    let joined = machine.status.as_ref().is_some_and(|status| status.node_instance_uid.is_some());
    let going = vmi.is_some_and(|vmi| vmi.metadata.deletion_timestamp.is_some());
    let in_a_set = owner
        .owner_references()
        .iter()
        .any(|owner| owner.kind == "MachineSet" && owner.controller == Some(true));
    let skipped = owner.annotations().contains_key(SKIP_REMEDIATION_ANNOTATION);
    let message = if !joined {
        if !going {
            plan.actions.push(Action::DeleteVmi);
        }
        plan.failure = None;
        format!("{}; it starts again elsewhere", why.message)
    } else if owner.metadata.deletion_timestamp.is_some() {
        format!("{}; Machine {} is being deleted", why.message, owner.name_any())
    } else if in_a_set && !skipped {
        plan.actions.push(Action::ReplaceMachine);
        format!("{}; its MachineSet replaces Machine {}", why.message, owner.name_any())
    } else {
        format!("{}; delete Machine {}, as no MachineSet may replace it", why.message, owner.name_any())
    };
    let why = Why::new(why.reason, message);
    if plan.failure.is_some() {
        plan.failure = Some(why.clone());
    }
    if why.reason != "Evacuating" || !matches!(plan.stage, Stage::Running(_)) {
        plan.stage = Stage::NotProvisioned(Why::new("VMNotReady", why.message));
    }
}

fn deletion(machine: &KubevirtMachine, seen: &Observed) -> Plan {
    let ours = seen.vm.as_deref().filter(|vm| belongs_to(machine, vm.labels()));
    let (actions, message) = match ours {
        Some(vm) if vm.metadata.deletion_timestamp.is_some() => {
            (Vec::new(), format!("waiting for VirtualMachine {} and its Pod to go", vm.name_any()))
        }
        Some(vm) => (vec![Action::DeleteVm], format!("VirtualMachine {} is being deleted", vm.name_any())),
        None => {
            (vec![Action::DeleteSecrets, Action::RemoveFinalizer], "the VirtualMachine is gone".to_owned())
        }
    };
    Plan {
        actions,
        stage: Stage::Deleting(Why::new("Deleting", message)),
        bootstrap: bootstrap(machine, seen),
        failure: None,
    }
}

#[cfg(test)]
mod tests;
