//! Groups that lie on one host: each goes where it takes least from what the host is worth.

use super::super::bound::SCALE;
use super::super::knapsack::Effort;
use super::super::price::{Pricer, Tables};
use super::super::{HostType, pack_one};
use super::{At, Rule, State};

/// Branches that finding a layout on one host may take.
const LAYOUT_BUDGET: u32 = 4000;

/// Places every group of this rule; returns those that had to be split, with the number of hosts.
pub fn place(state: &mut State<'_>, prices: &[f64]) -> Vec<(usize, usize)> {
    let prices: Vec<i64> = prices.iter().map(|p| (p * SCALE as f64) as i64).collect();
    let pricer = Pricer::new(state.problem);
    let tables = pricer.tables(&prices);
    let mut parts: Vec<(usize, Vec<usize>)> = Vec::new();
    let mut split = Vec::new();
    for (g, group) in state.groups.iter().enumerate().filter(|(_, g)| g.rule == Rule::Together) {
        let members: Vec<usize> =
            group.members.iter().map(|(i, _)| *i).filter(|i| state.at[*i].is_none()).collect();
        let pieces = pieces(state, members, &prices);
        if pieces.len() > 1 {
            split.push((g, pieces.len()));
        }
        parts.extend(pieces.into_iter().map(|p| (g, p)));
    }
    let worth = |part: &[usize]| part.iter().map(|i| prices[state.items[*i]]).sum::<i64>();
    parts.sort_by_key(|(g, part)| (std::cmp::Reverse(worth(part)), *g));
    for (_, part) in parts {
        if let Some((host, places)) = cheapest(state, &part, &pricer, &tables, &prices) {
            for (item, nodes) in part.iter().zip(places) {
                state.put(*item, At { host, nodes });
            }
        }
    }
    split
}

/// Cuts a group into the fewest pieces that some host can take: whole, or greedily the most that fits each time.
fn pieces(state: &State<'_>, mut members: Vec<usize>, prices: &[i64]) -> Vec<Vec<usize>> {
    members.sort_by_key(|i| (std::cmp::Reverse(prices[state.items[*i]]), *i));
    let mut pieces = Vec::new();
    while !members.is_empty() {
        let mut best: Vec<usize> = Vec::new();
        for (host, _) in state.problem.hosts.iter().filter(|(_, n)| *n > 0) {
            let mut rest = host.clone();
            let mut taken = Vec::new();
            if layout(state, host, &members).is_some() {
                taken.clone_from(&members);
            } else {
                for item in &members {
                    let shape = state.shape(*item);
                    let place = shape.places(&rest).into_iter().max_by_key(|p| (rest.room(shape, *p), *p));
                    if place.is_some_and(|p| rest.take(shape, p, 1).is_some()) {
                        taken.push(*item);
                    }
                }
            }
            let worth = |p: &[usize]| p.iter().map(|i| prices[state.items[*i]]).sum::<i64>();
            if worth(&taken) > worth(&best) {
                best = taken;
            }
        }
        if best.is_empty() {
            break;
        }
        members.retain(|i| !best.contains(i));
        pieces.push(best);
    }
    pieces
}

fn layout(state: &State<'_>, host: &HostType, part: &[usize]) -> Option<Vec<[u8; 2]>> {
    let shapes: Vec<usize> = part.iter().map(|i| state.items[*i]).collect();
    let total = |d: usize| shapes.iter().map(|s| state.problem.shapes[*s].res[d]).sum::<i64>();
    let fits = (0..super::super::DIMS).all(|d| total(d) <= host.nodes.iter().map(|n| n[d].max(0)).sum());
    if fits { pack_one(host, &state.problem.shapes, &shapes, &mut { LAYOUT_BUDGET }) } else { None }
}

/// The host where a part costs least: what the host is worth without it, less what it is worth with it.
fn cheapest(
    state: &State<'_>,
    part: &[usize],
    pricer: &Pricer,
    tables: &Tables,
    prices: &[i64],
) -> Option<(usize, Vec<[u8; 2]>)> {
    let mut best: Option<(i64, usize, Vec<[u8; 2]>)> = None;
    let mut tried = vec![false; state.problem.hosts.len()];
    for (h, instance) in state.instances.iter().enumerate() {
        if !state.open[h] && std::mem::replace(&mut tried[instance.kind], true) {
            continue;
        }
        let host = &state.left[h];
        let Some(places) = layout(state, host, part) else { continue };
        let mut rest = host.clone();
        for (item, nodes) in part.iter().zip(&places) {
            rest.take(state.shape(*item), *nodes, 1);
        }
        let quick = Effort { slack: SCALE / 256, branches: 80 };
        let value =
            |kind: &HostType| pricer.best_on(state.problem, instance.kind, kind, prices, tables, quick).value;
        // A closed host is worth what it costs at the margin, or it would not be opened.
        let before = if state.open[h] { value(host) } else { value(host).max(i64::from(host.cost) * SCALE) };
        let cost = before - value(&rest);
        if best.as_ref().is_none_or(|(b, _, _)| cost < *b) {
            best = Some((cost, h, places));
        }
    }
    best.map(|(_, h, places)| (h, places))
}
