//! Whether it is a good time to make or delete a Machine. Pure.

use kube::ResourceExt;
use scute_api::cluster::Machine;
use scute_contract::summary::listed;
use scute_kit::conditions::find;

use crate::machines::{conditions, health_conditions, is_leaving, node};

/// Machines that a message names.
const NAMED: usize = 3;

/// Why no Machine should be made or deleted now; empty when it is a good time. `except` is the Machine that is to go: how
/// it fares does not matter.
#[must_use]
pub fn check(machines: &[&Machine], except: Option<&Machine>, stacked: bool) -> Vec<String> {
    let leaving: Vec<_> = machines.iter().filter(|machine| is_leaving(machine)).collect();
    if !leaving.is_empty() {
        let names = leaving.iter().map(|machine| machine.name_any());
        return vec![format!("waiting for control plane {} to be deleted", listed("Machine", names, NAMED))];
    }
    let except = except.map(ResourceExt::name_any);
    let others = machines.iter().filter(|machine| Some(machine.name_any()) != except);
    others.filter_map(|machine| ailment(machine, stacked)).collect()
}

fn ailment(machine: &Machine, stacked: bool) -> Option<String> {
    let name = machine.name_any();
    if node(machine).is_none() {
        return Some(format!("Machine {name} has no Node yet"));
    }
    health_conditions(stacked).iter().find_map(|type_| match find(conditions(machine), type_) {
        None => Some(format!("Machine {name}: {type_} is not reported yet")),
        Some(condition) if condition.status == "True" => None,
        Some(condition) => {
            let said = if condition.message.is_empty() { &condition.reason } else { &condition.message };
            Some(format!("Machine {name}: {type_} is {}: {}", condition.status, said.replace('\n', " ")))
        }
    })
}
