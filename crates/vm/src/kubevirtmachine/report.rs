//! The status of a KubevirtMachine, computed as a whole. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use scute_api::infrastructure::{Initialization, KubevirtMachine, KubevirtMachineStatus, MachineAddress};
use scute_api::kubevirt::VirtualMachineInstance;
use scute_contract::paused;
use scute_kit::conditions::{Conditions, Status, find};

use super::plan::{Bootstrap, Observed, Plan, Stage};
use super::render::provider_id;
use crate::virtualmachineinstance::names::pod_name;

/// What the actions brought to light.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// The guest said whether it has joined, or why it could not be asked.
    pub bootstrap: Option<Result<bool, String>>,
    /// The Node got its providerID in this run.
    pub marked_node: bool,
}

/// The status after `plan` was carried out.
#[must_use]
pub fn status(
    machine: &KubevirtMachine,
    seen: &Observed,
    plan: &Plan,
    done: &Done,
    now: Timestamp,
) -> KubevirtMachineStatus {
    let before = machine.status.clone().unwrap_or_default();
    let succeeded = plan.bootstrap == Bootstrap::Succeeded || done.bootstrap == Some(Ok(true));
    let passed = succeeded || matches!(plan.bootstrap, Bootstrap::NotChecked | Bootstrap::NotSupported(_));
    let ready = matches!(plan.stage, Stage::Running(_)) && passed;
    let provisioned = ready || before.initialization.as_ref().and_then(|is| is.provisioned) == Some(true);
    let updated = done.marked_node || has_our_id(machine, seen);
    let instance = seen.vmi.as_ref().and_then(|vmi| vmi.uid()).filter(|_| updated);
    KubevirtMachineStatus {
        ready,
        initialization: Some(Initialization { provisioned: Some(provisioned) }),
        addresses: match &plan.stage {
            Stage::Running(_) => addresses(machine, plan),
            _ => before.addresses,
        },
        conditions: conditions(machine, &before.conditions, seen.vmi.as_deref(), plan, done, now),
        nodeupdated: (updated || before.nodeupdated == Some(true)).then_some(true),
        node_instance_uid: before.node_instance_uid.or(instance),
        failure_reason: plan.failure.as_ref().map(|why| why.reason.to_string()),
        failure_message: plan.failure.as_ref().map(|why| why.message.clone()),
    }
}

fn has_our_id(machine: &KubevirtMachine, seen: &Observed) -> bool {
    let id = seen.node.as_ref().and_then(|node| node.spec.as_ref()?.provider_id.clone());
    id == Some(provider_id(machine))
}

fn addresses(machine: &KubevirtMachine, plan: &Plan) -> Vec<MachineAddress> {
    let address = |type_: &str, address: String| MachineAddress { type_: type_.to_owned(), address };
    let name = machine.name_any();
    let mut list = vec![address("Hostname", name.clone())];
    if let Stage::Running(addresses) = &plan.stage {
        for ip in addresses {
            list.push(address("InternalIP", ip.to_string()));
            list.push(address("ExternalIP", ip.to_string()));
        }
    }
    list.push(address("InternalDNS", name));
    list
}

fn conditions(
    machine: &KubevirtMachine,
    before: &[Condition],
    vmi: Option<&VirtualMachineInstance>,
    plan: &Plan,
    done: &Done,
    now: Timestamp,
) -> Vec<Condition> {
    let mut list = paused::put(Conditions::new(before, machine.metadata.generation, now), None);
    let vm = match &plan.stage {
        Stage::Running(_) => (Status::True, "VMProvisioned".to_owned(), String::new()),
        Stage::NotProvisioned(why) | Stage::Deleting(why) => {
            (Status::False, why.reason.to_string(), why.message.clone())
        }
    };
    let joined = match (&plan.bootstrap, &done.bootstrap) {
        (Bootstrap::NotChecked, _) => None,
        (Bootstrap::NotSupported(why), _) => {
            Some((Status::Unknown, "BootstrapCheckingNotSupported", (*why).to_owned()))
        }
        (Bootstrap::Succeeded, _) | (_, Some(Ok(true))) => {
            Some((Status::True, "BootstrapSucceeded", String::new()))
        }
        (Bootstrap::Unknown, answer) => {
            Some((Status::False, "BootstrapFailed", not_joined(answer.as_ref(), vmi)))
        }
    };
    let ready = match &joined {
        _ if vm.0 == Status::False => vm.clone(),
        _ if let Some(paused) = said_by(vmi, "Paused") => {
            (Status::False, paused.reason.clone(), paused.message.clone())
        }
        Some((Status::False, reason, message)) => (Status::False, (*reason).to_owned(), message.clone()),
        _ => (Status::True, "Ready".to_owned(), String::new()),
    };
    list = list.put("VMProvisioned", vm.0, &vm.1, vm.2).put("Ready", ready.0, &ready.1, ready.2);
    if let Some((status, reason, message)) = joined {
        list = list.put("BootstrapExecSucceeded", status, reason, message);
    }
    if let Some(migratable) = said_by(vmi, "LiveMigratable") {
        let status = Status::from(migratable.status == "True");
        list = list.put("VMLiveMigratable", status, &migratable.reason, migratable.message.clone());
    }
    list.finish()
}

fn said_by<'a>(vmi: Option<&'a VirtualMachineInstance>, type_: &str) -> Option<&'a Condition> {
    find(&vmi?.status.as_ref()?.conditions, type_)
}

/// What hinders a guest is on its console.
fn not_joined(answer: Option<&Result<bool, String>>, vmi: Option<&VirtualMachineInstance>) -> String {
    let error = answer.and_then(|answer| answer.as_ref().err()).map(|error| format!(": {error}"));
    let console = vmi.map(|vmi| format!("; its console is the log of Pod {}", pod_name(vmi)));
    format!("the guest has not joined yet{}{}", error.unwrap_or_default(), console.unwrap_or_default())
}
