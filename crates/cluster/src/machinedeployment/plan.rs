//! Which MachineSets there should be, and how large. Pure.

use jiff::Timestamp;
use kube::ResourceExt;
use scute_api::cluster::{
    DESIRED_REPLICAS_ANNOTATION, MACHINE_DEPLOYMENT_FINALIZER, MachineDeployment, MachineSet,
    ROLLOUT_AFTER_ANNOTATION,
};
use scute_contract::owners::{belonging, owner};
use scute_kit::conditions::is_true;
use scute_kit::finalizer;
use serde_json::Value;

use super::observe::{Observed, SetSeen};
use super::rollout::{self, Size, Want};
use super::set::{kept_set, new_set, revision_of};
use super::template::differences;

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Put the finalizer.
    AddFinalizer,
    /// Make the deployment belong to its Cluster.
    BelongToCluster(Value),
    /// Write the number of the current rollout onto the deployment.
    SetRevision(i64),
    /// Make a MachineSet, or bring it to what is wanted now.
    ApplySet(Box<MachineSet>),
    /// Delete a MachineSet.
    DeleteSet(String),
    /// Drop the finalizer.
    RemoveFinalizer,
}

/// What a deployment needs next.
#[must_use]
pub fn plan(seen: &Observed, now: Timestamp) -> Vec<Action> {
    let deployment = &seen.deployment;
    if deployment.metadata.deletion_timestamp.is_some() {
        return deletion(seen);
    }
    let mut actions = Vec::new();
    if !finalizer::has(deployment.as_ref(), MACHINE_DEPLOYMENT_FINALIZER) {
        actions.push(Action::AddFinalizer);
    }
    let Some(cluster) = &seen.cluster else { return actions };
    let patch = belonging(&deployment.metadata, &owner(cluster.as_ref(), false), &cluster.name_any());
    actions.extend(patch.map(Action::BelongToCluster));
    if cluster.metadata.deletion_timestamp.is_none() {
        sets(seen, now, &mut actions);
    }
    actions
}

fn deletion(seen: &Observed) -> Vec<Action> {
    if seen.sets.is_empty() {
        return vec![Action::RemoveFinalizer];
    }
    let staying = seen.sets.iter().filter(|seen| seen.set.metadata.deletion_timestamp.is_none());
    staying.map(|seen| Action::DeleteSet(seen.set.name_any())).collect()
}

/// The index of the set with the deployment's template: the eldest that is not going and that is not
/// older than a `rollout.after` that has passed and that it does not answer.
#[must_use]
pub fn current(deployment: &MachineDeployment, sets: &[SetSeen], now: Timestamp) -> Option<usize> {
    sets.iter().position(|seen| {
        let set = &seen.set;
        set.metadata.deletion_timestamp.is_none()
            && overtaken(deployment, set, now).is_none()
            && differences(&set.spec.template.spec, &deployment.spec.template.spec).is_empty()
    })
}

/// When a `rollout.after` that lies ahead is due.
#[must_use]
pub fn due(deployment: &MachineDeployment, now: Timestamp) -> Option<Timestamp> {
    after(deployment).filter(|after| *after > now)
}

/// A `rollout.after` that has passed.
fn passed(deployment: &MachineDeployment, now: Timestamp) -> Option<Timestamp> {
    after(deployment).filter(|after| *after <= now)
}

fn after(deployment: &MachineDeployment) -> Option<Timestamp> {
    Some(deployment.spec.rollout.as_ref()?.after.as_ref()?.0)
}

/// The `rollout.after` that asks for a set in place of this one.
#[must_use]
pub fn overtaken(deployment: &MachineDeployment, set: &MachineSet, now: Timestamp) -> Option<Timestamp> {
    let made = set.metadata.creation_timestamp.as_ref();
    let too_old = |after: &Timestamp| !answers(set, *after) && made.is_some_and(|made| made.0 < *after);
    passed(deployment, now).filter(too_old)
}

/// Whether a set was made for this `rollout.after` or a later one. The time of its making has whole seconds, and is
/// another machine's.
fn answers(set: &MachineSet, after: Timestamp) -> bool {
    let made_for = set.annotations().get(ROLLOUT_AFTER_ANNOTATION).and_then(|text| text.parse().ok());
    made_for.is_some_and(|made_for: Timestamp| made_for >= after)
}

/// A set as arithmetic sees it.
#[must_use]
pub fn size(seen: &SetSeen) -> Size {
    let count = |is: &dyn Fn(&scute_api::cluster::Machine) -> bool| {
        i32::try_from(seen.machines.iter().filter(|machine| is(machine)).count()).unwrap_or(i32::MAX)
    };
    Size {
        replicas: seen.set.spec.replicas.unwrap_or(1),
        machines: count(&|_| true),
        going: count(&|machine| machine.metadata.deletion_timestamp.is_some()),
        available: count(&|machine| {
            machine.status.as_ref().is_some_and(|status| is_true(&status.conditions, "Available"))
        }),
        desired: seen
            .set
            .annotations()
            .get(DESIRED_REPLICAS_ANNOTATION)
            .and_then(|desired| desired.parse().ok()),
    }
}

fn sets(seen: &Observed, now: Timestamp, actions: &mut Vec<Action>) {
    let deployment = &seen.deployment;
    let want = Want::of(deployment);
    let current = current(deployment, &seen.sets, now);
    let old: Vec<&SetSeen> = seen
        .sets
        .iter()
        .enumerate()
        .filter(|(index, seen)| Some(*index) != current && seen.set.metadata.deletion_timestamp.is_none())
        .map(|(_, seen)| seen)
        .collect();
    let old_sizes: Vec<Size> = old.iter().map(|seen| size(seen)).collect();
    let new = current.and_then(|index| seen.sets.get(index));
    let latest = seen.sets.iter().map(|seen| revision_of(seen.set.as_ref())).max().unwrap_or_default();

    let (new_size, sizes) = rollout::sizes(want, new.map(size), &old_sizes);
    let mut revision = revision_of(deployment.as_ref());
    match (new, new_size) {
        (Some(new), Some(new_size)) => {
            revision = newest(new, &old, latest);
            let set = kept_set(deployment, want, &new.set, new_size, revision, false);
            actions.push(Action::ApplySet(Box::new(set)));
        }
        _ if want.paused || is_being_resized(want, &old_sizes) => {}
        _ => {
            revision = latest + 1;
            let size = rollout::first_size(want, &old_sizes);
            let set = new_set(deployment, want, revision, size, passed(deployment, now));
            actions.push(Action::ApplySet(Box::new(set)));
        }
    }
    let done = new.is_some_and(|new| is_complete(want, size(new)));
    for ((seen, before), next) in old.iter().zip(&old_sizes).zip(sizes) {
        if done && before.replicas == 0 && before.machines == 0 {
            actions.push(Action::DeleteSet(seen.set.name_any()));
        } else {
            let set = kept_set(deployment, want, &seen.set, next, revision_of(seen.set.as_ref()), true);
            actions.push(Action::ApplySet(Box::new(set)));
        }
    }
    if revision > 0 && revision != revision_of(deployment.as_ref()) {
        actions.push(Action::SetRevision(revision));
    }
}

/// A set that is current again after others were gets a new number: it is the latest rollout.
fn newest(new: &SetSeen, old: &[&SetSeen], latest: i64) -> i64 {
    let own = revision_of(new.set.as_ref());
    let of_others = old.iter().map(|seen| revision_of(seen.set.as_ref())).max().unwrap_or_default();
    if own > of_others { own } else { latest + 1 }
}

fn is_being_resized(want: Want, old: &[Size]) -> bool {
    let strategy = scute_api::cluster::RolloutStrategyType::RollingUpdate;
    want.strategy == strategy
        && old
            .iter()
            .any(|set| set.replicas > 0 && set.desired.is_some_and(|desired| desired != want.replicas))
}

/// As many as wanted, all of them available: nothing of earlier rollouts is needed any more.
fn is_complete(want: Want, new: Size) -> bool {
    new.replicas == want.replicas && new.machines == want.replicas && new.available >= want.replicas
}
