//! Groups that lie on one host: each goes where it takes least from what the host is worth. Groups that few hosts can
//! take choose first, and those that found none choose earlier in the next round.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::super::bound::SCALE;
use super::super::knapsack::Effort;
use super::super::price::{Pricer, Tables};
use super::super::{Company, DIMS, Demand, Fit, HostType, Problem, Shape, pack_one};
use super::{At, Crowd, Instance, Rule, Split, State};

/// Branches that finding a layout on one host may take.
const LAYOUT_BUDGET: u32 = 4000;
/// How often all groups are placed anew when some found no host.
const ROUNDS: usize = 40;

/// A group, or a piece of one, that lies on one host.
struct Part {
    group: usize,
    members: Vec<usize>,
    /// How many hosts could take it at first.
    rooms: usize,
    /// In how many rounds it found none.
    failed: usize,
}

/// A host, and where on it.
type Layout = (usize, Vec<[u8; 2]>);

/// Places every group of this rule; returns those that had to be split.
pub fn place(state: &mut State<'_>, prices: &[f64]) -> Vec<Split> {
    let prices: Vec<i64> = prices.iter().map(|p| (p * SCALE as f64) as i64).collect();
    let pricer = Pricer::new(state.problem);
    let tables = pricer.tables(&prices);
    let by_price = |state: &State<'_>, part: &[usize]| cheapest(state, part, &pricer, &tables, &prices);
    let (mut parts, mut split) = parts(state, &prices);
    let homeless = rounds(state, &mut parts, &prices, by_price);
    let crowd = if homeless.is_empty() { Crowd::NotFound } else { crowd(state, &parts) };
    for part in homeless.into_iter().map(|p| &parts[p]) {
        let pieces = pieces(state, &state.left, part.members.clone(), &prices);
        match split.iter_mut().find(|s| s.group == part.group) {
            Some(split) => split.hosts += pieces.len() - 1,
            None => split.push(Split { group: part.group, hosts: pieces.len(), why: crowd }),
        }
        for members in pieces {
            if let Some(found) = by_price(state, &members) {
                put(state, &members, found);
            }
        }
    }
    split
}

/// What has to lie on one host: groups, or as few pieces of them as hosts of this fleet are large enough for.
fn parts(state: &State<'_>, prices: &[i64]) -> (Vec<Part>, Vec<Split>) {
    let kinds = state.problem.hosts.iter().filter(|(_, n)| *n > 0);
    let kinds: Vec<HostType> = kinds.map(|(h, _)| h.clone()).collect();
    let (mut parts, mut split) = (Vec::new(), Vec::new());
    for (g, group) in state.groups.iter().enumerate().filter(|(_, g)| g.rule == Rule::Together) {
        let members = group.members.iter().map(|(i, _)| *i).filter(|i| state.at[*i].is_none()).collect();
        let pieces = pieces(state, &kinds, members, prices);
        if pieces.len() > 1 {
            split.push(Split { group: g, hosts: pieces.len(), why: Crowd::TooLarge });
        }
        let part = |members: Vec<usize>| Part { group: g, rooms: rooms(state, &members), members, failed: 0 };
        parts.extend(pieces.into_iter().map(part));
    }
    (parts, split)
}

/// Places parts in rounds, by price and then by size, until each has a host; gives those that have none in the best round.
fn rounds(
    state: &mut State<'_>,
    parts: &mut [Part],
    prices: &[i64],
    by_price: impl Fn(&State<'_>, &[usize]) -> Option<Layout>,
) -> Vec<usize> {
    let worth = |part: &Part| part.members.iter().map(|i| prices[state.items[*i]]).sum::<i64>();
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_cached_key(|p| (parts[*p].rooms, Reverse(worth(&parts[*p])), *p));
    let start = state.clone();
    let mut homeless = round(state, parts, &order, by_price);
    let mut best = state.clone();
    for _ in 1..ROUNDS {
        if homeless.is_empty() {
            break;
        }
        *state = start.clone();
        order.sort_by_cached_key(|p| {
            (Reverse(parts[*p].failed), Reverse(volume(state, &parts[*p].members)), *p)
        });
        let found = round(state, parts, &order, tightest);
        if found.len() < homeless.len() {
            (homeless, best) = (found, state.clone());
        }
    }
    *state = best;
    homeless
}

fn round(
    state: &mut State<'_>,
    parts: &mut [Part],
    order: &[usize],
    find: impl Fn(&State<'_>, &[usize]) -> Option<Layout>,
) -> Vec<usize> {
    let mut homeless = Vec::new();
    for p in order {
        match find(state, &parts[*p].members) {
            Some(found) => put(state, &parts[*p].members, found),
            None => {
                parts[*p].failed += 1;
                homeless.push(*p);
            }
        }
    }
    homeless
}

fn put(state: &mut State<'_>, part: &[usize], (host, places): Layout) {
    for (item, nodes) in part.iter().zip(places) {
        state.put(*item, At { host, nodes });
    }
}

/// How many hosts could take a part as they stand.
fn rooms(state: &State<'_>, part: &[usize]) -> usize {
    let mut known: Vec<Option<bool>> = vec![None; state.problem.hosts.len()];
    let takes = |(h, instance): (usize, &Instance)| {
        let fits = || layout(state, &state.left[h], part).is_some();
        if state.open[h] { fits() } else { *known[instance.kind].get_or_insert_with(fits) }
    };
    state.instances.iter().enumerate().map(takes).filter(|takes| *takes).count()
}

/// The host on which least is left beside a part.
fn tightest(state: &State<'_>, part: &[usize]) -> Option<Layout> {
    let (need, mut failed) = (volume(state, part), vec![false; state.problem.hosts.len()]);
    let free = |h: &usize| state.left[*h].nodes.iter().flatten().map(|v| (*v).max(0)).sum::<i64>();
    let mut hosts: Vec<usize> = (0..state.instances.len()).filter(|h| free(h) >= need).collect();
    hosts.sort_by_cached_key(|h| (free(h), *h));
    hosts.into_iter().find_map(|h| {
        let kind = state.instances[h].kind;
        if !state.open[h] && failed[kind] {
            return None;
        }
        let found = layout(state, &state.left[h], part);
        failed[kind] |= found.is_none() && !state.open[h];
        found.map(|places| (h, places))
    })
}

/// CPU in millicores and memory in MiB: a server has about as many of the one as of the other.
fn volume(state: &State<'_>, part: &[usize]) -> i64 {
    part.iter().map(|i| state.shape(*i).res.iter().sum::<i64>()).sum()
}

/// Whether no placement has room for all parts: with each part as one shape, and hosts without NUMA nodes, the
/// relaxation has none.
fn crowd(state: &State<'_>, parts: &[Part]) -> Crowd {
    let mut hosts: BTreeMap<HostType, u32> = BTreeMap::new();
    for (kind, count) in &state.problem.hosts {
        let total = std::array::from_fn(|d| kind.nodes.iter().map(|n| n[d]).sum());
        *hosts.entry(HostType { nodes: vec![total], cost: 1, ..kind.clone() }).or_default() += count;
    }
    let mut shapes: BTreeMap<Shape, u32> = BTreeMap::new();
    for part in parts {
        let all = || part.members.iter().map(|i| state.shape(*i));
        let company = all().try_fold(Company::ANY, |c, s| c.with(s.company));
        let shape = Shape {
            res: std::array::from_fn(|d| all().map(|s| s.res[d]).sum()),
            side: std::array::from_fn(|d| all().map(|s| s.side[d]).sum()),
            fit: Fit::Node,
            company: company.unwrap_or(Company::ANY),
        };
        *shapes.entry(shape).or_default() += 1;
    }
    let demands = shapes.values().enumerate().map(|(s, n)| Demand { options: vec![(s, *n)] }).collect();
    let relaxed = Problem {
        hosts: hosts.into_iter().collect(),
        shapes: shapes.into_keys().collect(),
        demands,
        most: Vec::new(),
    };
    if super::super::bound(&relaxed).infeasible { Crowd::TooMany } else { Crowd::NotFound }
}

/// Cuts a group into the fewest pieces that some host can take: whole, or greedily the most that fits each time.
fn pieces(state: &State<'_>, hosts: &[HostType], mut members: Vec<usize>, prices: &[i64]) -> Vec<Vec<usize>> {
    members.sort_by_key(|i| (Reverse(prices[state.items[*i]]), *i));
    let mut pieces = Vec::new();
    while !members.is_empty() {
        let mut best: Vec<usize> = Vec::new();
        for host in hosts {
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
    let fits = (0..DIMS).all(|d| total(d) <= host.nodes.iter().map(|n| n[d].max(0)).sum());
    if fits { pack_one(host, &state.problem.shapes, &shapes, &mut { LAYOUT_BUDGET }) } else { None }
}

/// The host where a part costs least: what the host is worth without it, less what it is worth with it.
fn cheapest(
    state: &State<'_>,
    part: &[usize],
    pricer: &Pricer,
    tables: &Tables,
    prices: &[i64],
) -> Option<Layout> {
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
