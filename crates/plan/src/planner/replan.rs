//! A new plan that keeps what runs where it is, and moves only what pays: a host must become free for it.

use std::collections::BTreeMap;

use super::outline::Outline;
use super::{Draft, assemble, binding, settle};
use crate::blueprint::{Blueprint, HostRole};
use crate::input::{Demand, Fleet};
use crate::pack::groups::{At, Placed};

/// Plans again from what `current` says runs where; at most `max_moves` things change their host, and only in lots that
/// free one. What the new demand no longer wants goes, what it wants besides comes; neither counts as a move.
pub fn replan(fleet: &Fleet, demand: &Demand, current: &Blueprint, max_moves: u32) -> Blueprint {
    let outline = Outline::new(fleet, demand);
    let draft = outline.draft(outline.kept(current));
    let names = names(&draft, demand);
    let fixed = running(&draft, fleet, &names, current);
    let fixed: Vec<Option<At>> =
        draft.held().into_iter().zip(fixed).map(|(held, old)| held.or(old)).collect();
    let mut best = draft.place(current.seed, &fixed);
    let mut moves = moved(&fixed, &best);
    let mut stay = fixed.clone();
    loop {
        let next = lots(&draft, &stay).into_iter().find_map(|lot| {
            let mut trial = stay.clone();
            lot.iter().for_each(|i| trial[*i] = None);
            let placed = draft.place(current.seed, &trial);
            let cost = moved(&fixed, &placed);
            let pays = placed.hosts() < best.hosts() && whole(&placed) >= whole(&best);
            (pays && cost <= max_moves as usize).then_some((trial, placed, cost))
        });
        match next {
            Some((trial, placed, cost)) if cost > moves || placed.hosts() < best.hosts() => {
                (stay, best, moves) = (trial, placed, cost);
            }
            _ => break,
        }
    }
    let seed = current.seed;
    let solved = settle(fleet, demand, draft, best, false);
    let mut blueprint = assemble::blueprint(&solved, fleet, demand, seed);
    blueprint.notes.push(format!("{moves} of at most {max_moves} moves used"));
    blueprint.binding = binding::explain(fleet, demand, &blueprint);
    blueprint
}

fn names(draft: &Draft, demand: &Demand) -> Vec<String> {
    draft.items.iter().map(|i| assemble::name(&draft.wishes, demand, i.wish, i.ordinal)).collect()
}

/// Where each item runs already: same name, same material, host still there.
fn running(draft: &Draft, fleet: &Fleet, names: &[String], current: &Blueprint) -> Vec<Option<At>> {
    let index: BTreeMap<&str, usize> =
        fleet.hosts.iter().enumerate().map(|(h, x)| (x.name.as_str(), h)).collect();
    let mut old = BTreeMap::new();
    for host in current.hosts.iter().filter(|h| matches!(h.role, HostRole::Vm | HostRole::Metal)) {
        for p in &host.placements {
            old.insert(p.name.as_str(), (host.name.as_str(), p));
        }
    }
    names
        .iter()
        .zip(&draft.items)
        .map(|(name, item)| {
            let (host, p) = old.get(name.as_str())?;
            let same = p.material == draft.wishes.infos[item.shape].material;
            let first = p.numa.first().copied().unwrap_or(0);
            let nodes = [first, p.numa.get(1).copied().unwrap_or(first)];
            index.get(host).filter(|_| same).map(|h| At { host: *h, nodes })
        })
        .collect()
}

/// Items to lift together: all that moves of one host, hosts with least first.
fn lots(draft: &Draft, stay: &[Option<At>]) -> Vec<Vec<usize>> {
    let mut by_host: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (item, at) in stay.iter().enumerate() {
        if let Some(at) = at {
            by_host.entry(at.host).or_default().push(item);
        }
    }
    let metal =
        |i: &usize| matches!(draft.wishes.shapes[draft.items[*i].shape].fit, crate::pack::Fit::Whole(_));
    let mut lots: Vec<Vec<usize>> = by_host.into_values().filter(|lot| !lot.iter().any(metal)).collect();
    lots.sort_by_key(Vec::len);
    lots
}

fn moved(fixed: &[Option<At>], placed: &Placed) -> usize {
    fixed
        .iter()
        .zip(&placed.at)
        .filter(|(old, new)| old.is_some() && old.map(|a| a.host) != new.map(|a| a.host))
        .count()
}

fn whole(placed: &Placed) -> usize {
    placed.at.iter().flatten().count()
}
