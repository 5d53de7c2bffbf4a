//! Conditions of a Machine that others than its own controller write: health checks, and who mends it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use scute_api::cluster::Machine;
use scute_kit::conditions::{Conditions, Draft, find};
use scute_kit::{Error, Hub};
use serde_json::json;

pub use scute_api::cluster::{EXTERNALLY_REMEDIATED, HEALTH_CHECK_SUCCEEDED, OWNER_REMEDIATED};

/// The condition of this type.
#[must_use]
pub fn condition<'a>(machine: &'a Machine, type_: &str) -> Option<&'a Condition> {
    find(&machine.status.as_ref()?.conditions, type_)
}

/// Whether the condition of this type has this status.
#[must_use]
pub fn is(machine: &Machine, type_: &str, status: &str) -> bool {
    condition(machine, type_).is_some_and(|condition| condition.status == status)
}

/// What is to be said on a Machine, and what is not to be said any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// Conditions.
    pub said: Vec<Draft>,
    /// Types of conditions.
    pub unsaid: Vec<&'static str>,
}

impl Words {
    /// Whether the Machine has it all already.
    #[must_use]
    pub fn stand(&self, machine: &Machine) -> bool {
        let stands = |draft: &Draft| {
            condition(machine, &draft.type_).is_some_and(|condition| {
                condition.status == draft.status.as_str()
                    && condition.reason == draft.reason
                    && condition.message == draft.message
            })
        };
        self.said.iter().all(stands) && self.unsaid.iter().all(|type_| condition(machine, type_).is_none())
    }
}

/// Says it on the Machine, unless it stands there. That somebody else has written to the Machine since it was read is a
/// conflict, as the list of conditions is written as a whole. A Machine that is gone is told nothing.
///
/// # Errors
/// When the API server refuses or does not answer.
pub async fn say(hub: &Hub, machine: &Machine, words: Words) -> Result<(), Error> {
    if words.stand(machine) {
        return Ok(());
    }
    let Words { said, unsaid } = words;
    let before = machine.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let ours = Conditions::new(before, machine.metadata.generation, hub.now()).put_all(said).finish();
    let stays = |condition: &&Condition| {
        find(&ours, &condition.type_).is_none() && !unsaid.contains(&condition.type_.as_str())
    };
    let mut conditions: Vec<_> = before.iter().filter(stays).chain(&ours).cloned().collect();
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    hub.tell(machine, json!({ "conditions": conditions })).await
}
