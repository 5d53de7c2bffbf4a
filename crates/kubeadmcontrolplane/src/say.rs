//! Conditions of Machines that their control plane writes: merged into what others say of them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use scute_api::cluster::Machine;
use scute_kit::conditions::{Conditions, Draft, find};
use scute_kit::{Error, Hub};
use serde_json::json;

use crate::machines::conditions;

/// The conditions of a Machine with these put and those taken away. One that says the same keeps its record, whatever
/// generation it was made for: a Machine at rest is not written.
#[must_use]
pub fn merged(machine: &Machine, drafts: Vec<Draft>, without: &[&str], now: Timestamp) -> Vec<Condition> {
    let before = conditions(machine);
    let is_new = |draft: &Draft| {
        find(before, &draft.type_).is_none_or(|known| {
            known.status != draft.status.as_str()
                || known.reason != draft.reason
                || known.message != draft.message
        })
    };
    let new = drafts.into_iter().filter(is_new);
    let ours = Conditions::new(before, machine.metadata.generation, now).put_all(new).finish();
    let others = before
        .iter()
        .filter(|known| find(&ours, &known.type_).is_none() && !without.contains(&known.type_.as_str()));
    let mut all: Vec<_> = others.cloned().chain(ours.iter().cloned()).collect();
    all.sort_by(|a, b| a.type_.cmp(&b.type_));
    all
}

/// Writes the conditions of a Machine, if they are others than it has. Somebody else's write in between is a conflict.
///
/// # Errors
/// When the API server refuses or does not answer.
pub async fn say(hub: &Hub, machine: &Machine, wanted: &[Condition]) -> Result<(), Error> {
    if same(conditions(machine), wanted) {
        return Ok(());
    }
    hub.tell(machine, json!({ "conditions": wanted })).await
}

fn same(before: &[Condition], wanted: &[Condition]) -> bool {
    before.len() == wanted.len() && wanted.iter().all(|want| find(before, &want.type_) == Some(want))
}
