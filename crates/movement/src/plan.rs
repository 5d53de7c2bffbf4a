//! What is to be moved, in which order, and what speaks against it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::compare::Given;
use crate::door;
use crate::marks::{COPIED_FROM, MOVE, MOVED_FROM, is_paused_by_move};
use crate::object::{Key, Object};
use crate::observe::Observed;
use crate::select::{Scope, levels, select, used_outside};

/// One object that is to be moved.
#[derive(Clone, Debug)]
pub struct Item {
    /// As the source has it.
    pub object: Object,
    /// How many owners are above it: these are made first, and go last.
    pub level: usize,
    /// Whether it is copied, for others at the source use it too.
    pub copied: bool,
    /// As the target has it, if it does.
    pub target: Option<Object>,
}

impl Item {
    /// Whether the move pauses it itself.
    #[must_use]
    pub fn is_paused_itself(&self) -> bool {
        is_paused_by_move(&self.object, self.level)
    }
}

/// A move: what is left of it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The move's id: that of the marks, if there are any.
    pub id: String,
    /// What is at the source, owners first.
    pub items: Vec<Item>,
    /// What is paused by this move at the target.
    pub paused_at_target: Vec<Object>,
    /// Whether an earlier run has begun it.
    pub resumed: bool,
    /// What the target has given so far.
    pub given: Given,
    /// Everything that speaks against it, each a sentence.
    pub refusals: Vec<String>,
}

impl Plan {
    /// Objects by kind.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for item in &self.items {
            *counts.entry(item.object.of.name()).or_default() += 1;
        }
        counts
    }

    /// Items of each level, owners first.
    #[must_use]
    pub fn by_level(&self) -> Vec<Vec<&Item>> {
        let mut all: BTreeMap<usize, Vec<&Item>> = BTreeMap::new();
        for item in &self.items {
            all.entry(item.level).or_default().push(item);
        }
        all.into_values().collect()
    }

    /// Whether the target has anything of it.
    #[must_use]
    pub fn has_reached_target(&self) -> bool {
        !self.paused_at_target.is_empty()
            || self.items.iter().any(|item| item.target.is_some() && !item.copied)
    }
}

/// Plans a move, or the rest of one. `new_id` names it when no mark does.
#[must_use]
pub fn plan(seen: &Observed, scope: &Scope, new_id: &str) -> Plan {
    let origin =
        |name| seen.target.iter().filter_map(move |object: &Object| Some((object.annotation(name)?, object)));
    let moved: BTreeMap<&str, &Object> = origin(MOVED_FROM).collect();
    let copies: BTreeMap<&str, &Object> = origin(COPIED_FROM).collect();
    let already_moved: BTreeSet<String> = moved.keys().map(|uid| (*uid).to_owned()).collect();
    let chosen = select(&seen.source, scope, &already_moved);
    let outside = used_outside(&seen.source, &chosen);
    let objects: Vec<&Object> = seen.source.iter().filter(|object| chosen.contains(object.uid())).collect();

    let mut refusals = door::refusals(seen, scope, &objects, &already_moved);
    let levels = levels(&objects).unwrap_or_else(|| {
        refusals.push("owner references go round in a circle".to_owned());
        BTreeMap::new()
    });
    let at_target: BTreeMap<Key, &Object> = seen.target.iter().map(|object| (object.key(), object)).collect();
    let mut items = Vec::new();
    let mut given = Given::default();
    for (uid, object) in &moved {
        given.uids.insert((*uid).to_owned(), object.uid().to_owned());
    }
    for object in objects {
        let uid = object.uid();
        let target = moved.get(uid).or_else(|| copies.get(uid)).map(|object| (*object).clone());
        if let (None, Some(other)) = (&target, at_target.get(&object.key())) {
            refusals.push(format!("{}: the target has another of this name", other.key()));
        }
        if let Some(target) = &target {
            given.note(object, &target.is);
        }
        let is_used = outside.contains(uid);
        let copied = is_used && object.is_content() && object.owners().is_empty();
        if is_used && !copied {
            refusals.push(format!("{}: objects that do not move use it, too", object.key()));
        }
        let level = levels.get(uid).copied().unwrap_or_default();
        items.push(Item { object: object.clone(), level, copied, target });
    }
    items.sort_by_key(|item| (item.level, item.object.key()));

    let marked = |objects: &[Object]| -> Vec<Object> {
        objects.iter().filter(|object| object.annotation(MOVE).is_some()).cloned().collect()
    };
    let (at_source, paused_at_target) = (marked(&seen.source), marked(&seen.target));
    refusals.extend(door::left_out(&at_source, &paused_at_target, &chosen, scope));
    let ids: BTreeSet<&str> =
        at_source.iter().chain(&paused_at_target).filter_map(|object| object.annotation(MOVE)).collect();
    if ids.len() > 1 {
        refusals.push(format!(
            "two moves were begun here: {}",
            ids.iter().copied().collect::<Vec<_>>().join(", ")
        ));
    }
    let (id, resumed) = ids.first().map_or((new_id, false), |id| (*id, true));
    let id = id.to_owned();
    if items.is_empty() && paused_at_target.is_empty() && refusals.is_empty() {
        refusals.push(format!("namespace {} has nothing to move", seen.namespace));
    }
    refusals.sort();
    refusals.dedup();
    Plan { id, items, paused_at_target, resumed, given, refusals }
}
