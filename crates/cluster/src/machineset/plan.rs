//! How many Machines to make and which to delete. Pure.

use std::collections::BTreeSet;

use kube::ResourceExt;
use scute_api::cluster::{
    DISABLE_MACHINE_CREATE_ANNOTATION, MACHINE_SET_FINALIZER, Machine, MachineNames, MachineSet,
};
use scute_api::naming::{child, suffix};
use scute_contract::Found;
use scute_contract::cloned::has_pairs;
use scute_contract::owners::{belonging, owner};
use scute_contract::spoken::Words;
use scute_kit::finalizer;
use serde_json::Value;

use super::clone::{annotations, labels, pairs};
use super::observe::{Observed, Source};
use super::order::by_departure;
use super::preflight;
use super::remediate::{Remediation, is_given_up, remediate};

/// Which template or object of a Machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Bootstrap configuration.
    Bootstrap,
    /// Infrastructure Machine.
    Infrastructure,
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Put the finalizer.
    AddFinalizer,
    /// Make the set belong to its Cluster.
    BelongToCluster(Value),
    /// Make a template belong to the Cluster.
    AdoptTemplate(Part),
    /// Bring what can change in place onto an existing Machine; this also adopts an orphan.
    SyncMachine(String),
    /// Bring labels and annotations onto an object of a Machine.
    SyncObject(Part, String),
    /// Make an object of a Machine again that it has lost before it used it.
    MakeAgain(Part, String),
    /// Make what is missing of bootstrap configuration, infrastructure Machine and Machine of this name.
    Create(String),
    /// Delete a Machine.
    Delete(String),
    /// Say something on a Machine.
    Tell(String, Words),
    /// Delete a Machine that was given up, and say so before.
    Remediate(String),
    /// Delete an object whose Machine was never made and is not wanted any more.
    DeleteHalf(Part, String),
    /// Drop the finalizer.
    RemoveFinalizer,
}

/// What to write, and why no more.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// Why Machines that are wanted are not made.
    pub blocked: Vec<String>,
    /// More Machines are to be made or deleted than one pass does.
    pub more: bool,
}

/// Machines that one pass makes or deletes at most. The next one follows at once and asks again how many are wanted: a
/// number that was a mistake and has been corrected is not carried out to its end.
const AT_ONCE: usize = 32;

/// What a set needs next. `seed` makes the names of new Machines differ from those of before; `again` is the name that
/// could not be made last time.
#[must_use]
pub fn plan(seen: &Observed, seed: i64, again: Option<&str>) -> Plan {
    let set = &seen.set;
    if set.metadata.deletion_timestamp.is_some() {
        return deletion(seen);
    }
    let mut plan = Plan::default();
    let actions = &mut plan.actions;
    if !finalizer::has(set.as_ref(), MACHINE_SET_FINALIZER) {
        actions.push(Action::AddFinalizer);
    }
    if let Some(cluster) = &seen.cluster {
        let cluster_owner = owner(cluster.as_ref(), false);
        if scute_contract::owners::controller(&set.metadata).is_none() {
            let patch = belonging(&set.metadata, &cluster_owner, &cluster.name_any());
            actions.extend(patch.map(Action::BelongToCluster));
        }
        for (part, source) in sources(seen) {
            if let Found::Object(external) = &source.template
                && belonging(&external.object.metadata, &cluster_owner, &cluster.name_any()).is_some()
            {
                actions.push(Action::AdoptTemplate(part));
            }
        }
    }
    actions.extend(in_place(seen));
    actions.extend(lost(seen));
    scale(seen, seed, again, &mut plan);
    plan
}

/// Every Machine goes, then what was half made, then the finalizer.
fn deletion(seen: &Observed) -> Plan {
    let mut plan = Plan::default();
    delete(seen.machines.iter().map(AsRef::as_ref), &mut plan);
    plan.actions.extend(halves(seen).into_iter().flat_map(|name| discard(seen, &name)));
    if seen.machines.is_empty() && plan.actions.is_empty() {
        plan.actions.push(Action::RemoveFinalizer);
    }
    plan
}

/// Deletes Machines that are not on their way out yet, as many as one pass does.
fn delete<'a>(leaving: impl Iterator<Item = &'a Machine>, plan: &mut Plan) {
    let mut staying = leaving.filter(|machine| machine.metadata.deletion_timestamp.is_none());
    plan.actions.extend(staying.by_ref().take(AT_ONCE).map(|machine| Action::Delete(machine.name_any())));
    plan.more = staying.next().is_some();
}

fn sources(seen: &Observed) -> impl Iterator<Item = (Part, &Source)> {
    let bootstrap = seen.bootstrap.iter().map(|source| (Part::Bootstrap, source));
    bootstrap.chain(std::iter::once((Part::Infrastructure, &seen.infrastructure)))
}

/// Names under which something was made, but no Machine: a pass was cut short there.
fn halves(seen: &Observed) -> Vec<String> {
    let uid = seen.set.metadata.uid.as_deref();
    let names: BTreeSet<_> = sources(seen)
        .flat_map(|(_, source)| source.objects.values())
        .filter(|object| scute_contract::owners::is_controlled_by(&object.metadata, uid))
        .filter(|object| object.metadata.deletion_timestamp.is_none())
        .map(|object| object.name_any())
        .collect();
    let machines: BTreeSet<_> = seen.machines.iter().map(|machine| machine.name_any()).collect();
    names.difference(&machines).cloned().collect()
}

fn discard(seen: &Observed, name: &str) -> Vec<Action> {
    let has = |source: &Source| {
        source.objects.get(name).is_some_and(|object| object.metadata.deletion_timestamp.is_none())
    };
    sources(seen)
        .filter(|(_, source)| has(source))
        .map(|(part, _)| Action::DeleteHalf(part, name.to_owned()))
        .collect()
}

/// Whether the set's spec has changed since a pass was last completed. Only then is something to be
/// looked for that must be taken away; what must be added is seen on the objects.
fn spec_changed(seen: &Observed) -> bool {
    let status = seen.set.status.as_ref();
    let observed = status.and_then(|status| status.observed_generation);
    observed.is_some() && observed != seen.set.metadata.generation
}

fn in_place(seen: &Observed) -> Vec<Action> {
    let set = &seen.set;
    let changed = spec_changed(seen);
    let (labels, annotations) = (labels(set), annotations(set));
    let mut actions = Vec::new();
    for machine in &seen.machines {
        let name = machine.name_any();
        let template = &set.spec.template.spec;
        let same = has_pairs(machine.as_ref(), &labels, &annotations)
            && machine.owner_references().contains(&owner(set.as_ref(), true))
            && machine.spec.min_ready_seconds == template.min_ready_seconds
            && machine.spec.readiness_gates == template.readiness_gates
            && machine.spec.taints == template.taints
            && machine.spec.deletion == template.deletion;
        if changed || !same {
            actions.push(Action::SyncMachine(name.clone()));
        }
        for (part, source) in sources(seen) {
            let Some(object) = source.objects.get(&name) else { continue };
            let template = source.template.object().map(|external| external.object.as_ref());
            let pairs = pairs(template, set);
            let same = has_pairs(object.as_ref(), &pairs.labels, &pairs.annotations);
            if (changed || !same) && object.metadata.deletion_timestamp.is_none() {
                actions.push(Action::SyncObject(part, name.clone()));
            }
        }
    }
    actions
}

/// Objects that Machines wait for in vain. The request for a Machine may outlive the manager that sent it: when the Machine
/// comes, the next manager may have taken its objects away as those of none.
fn lost(seen: &Observed) -> Vec<Action> {
    let mut actions = Vec::new();
    for machine in seen.machines.iter().filter(|machine| machine.metadata.deletion_timestamp.is_none()) {
        for (part, source) in sources(seen) {
            let Some(resource) = source.resource.as_ref().filter(|_| source.problem.is_none()) else {
                continue;
            };
            let name = machine.name_any();
            let awaited = match part {
                Part::Bootstrap => machine.awaited_config(),
                Part::Infrastructure => machine.awaited_infrastructure(),
            };
            if awaited.is_some_and(|wanted| wanted.kind == resource.kind && wanted.name == name)
                && source.template.object().is_some()
                && !source.objects.contains_key(&name)
            {
                actions.push(Action::MakeAgain(part, name));
            }
        }
    }
    actions
}

fn scale(seen: &Observed, seed: i64, again: Option<&str>, plan: &mut Plan) {
    let set = &seen.set;
    let want = usize::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or_default();
    let have = seen.machines.len();
    let halves = halves(seen);
    if have >= want {
        let order = set.spec.deletion.as_ref().and_then(|deletion| deletion.order).unwrap_or_default();
        let leaving = by_departure(seen.machines.iter().map(AsRef::as_ref), order);
        let (surplus, rest) = leaving.split_at(have - want);
        delete(surplus.iter().copied(), plan);
        replace(seen, rest, plan);
        plan.actions.extend(halves.iter().flat_map(|name| discard(seen, name)));
        return;
    }
    plan.blocked = obstacles(seen);
    let all: Vec<_> = seen.machines.iter().map(AsRef::as_ref).collect();
    replace(seen, &all, plan);
    if !plan.blocked.is_empty() {
        return;
    }
    let missing = want - have;
    let uid = set.metadata.uid.as_deref().unwrap_or_default();
    let taken: BTreeSet<_> = seen.machines.iter().map(|machine| machine.name_any()).collect();
    let names_of = naming(set);
    let fresh = (0..).map(|n| {
        let random = suffix(&format!("{uid}/{seed}/{n}"));
        match &names_of {
            Some(names) => names.name(&set.spec.cluster_name, &set.name_any(), &random),
            None => child(&set.name_any(), &random),
        }
    });
    let (wanted, surplus) = halves.split_at(missing.min(halves.len()));
    let names = again.map(str::to_owned).into_iter().chain(fresh);
    let names = to_make(wanted, names.filter(|name| !taken.contains(name)), missing.min(AT_ONCE));
    plan.more = missing > names.len();
    plan.actions.extend(names.into_iter().map(Action::Create));
    plan.actions.extend(surplus.iter().flat_map(|name| discard(seen, name)));
}

/// Replaces Machines that were given up: they go, and the next pass makes others.
fn replace(seen: &Observed, machines: &[&Machine], plan: &mut Plan) {
    if !machines.iter().any(|machine| is_given_up(machine)) {
        return;
    }
    let remediation = remediate(&seen.set, seen.deployment.as_deref(), machines, &obstacles(seen));
    let Remediation { deferred, now } = remediation;
    plan.actions.extend(deferred.into_iter().map(|(name, words)| Action::Tell(name, words)));
    plan.more |= now.len() > AT_ONCE;
    plan.actions.extend(now.into_iter().take(AT_ONCE).map(Action::Remediate));
}

/// How Machines are named, where the set says so. A template that the webhook has not seen and that cannot be meant is not
/// followed.
fn naming(set: &MachineSet) -> Option<MachineNames> {
    let template = set.spec.machine_naming.as_ref()?.template.as_deref()?;
    MachineNames::parse(template).ok()
}

/// Names to make: first those that are half made, then others, each once.
fn to_make(halves: &[String], others: impl Iterator<Item = String>, count: usize) -> Vec<String> {
    let mut names: Vec<String> = halves.iter().take(count).cloned().collect();
    for name in others {
        if names.len() >= count {
            break;
        }
        if !names.contains(&name) && !halves.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Why no Machine can be made now.
fn obstacles(seen: &Observed) -> Vec<String> {
    let set = &seen.set;
    let mut found = Vec::new();
    if seen.cluster.as_ref().is_none_or(|cluster| cluster.metadata.deletion_timestamp.is_some()) {
        found.push(format!("Cluster {} does not exist or is being deleted", set.spec.cluster_name));
    }
    if set.annotations().contains_key(DISABLE_MACHINE_CREATE_ANNOTATION) {
        found.push(format!("the annotation {DISABLE_MACHINE_CREATE_ANNOTATION} is set"));
    }
    for (_, source) in sources(seen) {
        let absence = source.template.absence(&source.reference, "MachineSet", false);
        found.extend(absence.map(|absence| absence.message));
        found.extend(source.problem.clone());
    }
    found.extend(preflight::check(&seen.preflight));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_half_made_comes_first_and_every_name_once() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let others = || names(&["b", "c", "c", "d", "e"]).into_iter();
        assert_eq!(to_make(&names(&["a", "b"]), others(), 4), ["a", "b", "c", "d"]);
        assert_eq!(to_make(&names(&["a", "b"]), others(), 1), ["a"]);
        assert_eq!(to_make(&[], others(), 2), ["b", "c"]);
    }
}
