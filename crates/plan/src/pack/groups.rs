//! Placement of named items on named hosts under rules: together, apart, apart by rack, domains in distinct racks.
//!
//! Packing decides how many of which shape go where; items of one shape are interchangeable, so rules decide who takes
//! which slot. Groups that must lie together are placed first, each on the host where it costs least at the prices of
//! the relaxation.

mod assign;
mod together;

use std::collections::{BTreeMap, BTreeSet};

use super::{Bound, HostType, Problem, Shape};

/// A host: its type in the problem, and its rack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Host type index.
    pub kind: usize,
    /// Rack.
    pub rack: u32,
}

/// How the members of a group lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// All on one host; a group that no host can take lies on as few as possible.
    Together,
    /// No two on one host.
    Apart,
    /// No two on one host, and in distinct racks while racks last.
    ApartRacks,
    /// Members of different domains in different racks.
    Domains,
}

/// Items under a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The rule.
    pub rule: Rule,
    /// Item index and domain (which only [`Rule::Domains`] reads).
    pub members: Vec<(usize, u32)>,
}

/// Where an item lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// Instance index.
    pub host: usize,
    /// NUMA nodes.
    pub nodes: [u8; 2],
}

/// Items placed.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// By item; `None` where none was found.
    pub at: Vec<Option<At>>,
    /// Proven for the same items without rules, so for these all the more.
    pub bound: Bound,
    /// Prices of shapes, in hosts.
    pub prices: Vec<f64>,
    /// Groups under [`Rule::Together`] that lie on more than one host.
    pub split: Vec<Split>,
}

/// A group that should lie on one host and does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// Group index.
    pub group: usize,
    /// How many hosts it lies on.
    pub hosts: usize,
    /// Why.
    pub why: Crowd,
}

/// Why a group does not lie on one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowd {
    /// No host is large enough.
    TooLarge,
    /// Hosts are large enough, but not for all groups that need them: proven.
    TooMany,
    /// Hosts are large enough, and no placement was found that keeps all groups.
    NotFound,
}

impl Placed {
    /// How many hosts hold anything.
    pub fn hosts(&self) -> usize {
        self.in_use(&[]).len()
    }

    /// Hosts that hold anything, and these that are kept empty.
    pub fn in_use(&self, spare: &[usize]) -> BTreeSet<usize> {
        self.at.iter().flatten().map(|at| at.host).chain(spare.iter().copied()).collect()
    }
}

/// Places items (given by shape) on instances. `problem.demands` is not read: the items are the demand.
/// Items with an entry in `fixed` (which may be empty) lie there, if they fit.
pub fn place(
    problem: &Problem,
    instances: &[Instance],
    items: &[usize],
    groups: &[Group],
    fixed: &[Option<At>],
) -> Placed {
    let most = most(problem, items, groups);
    let whole = Problem { most, ..demand(problem, items.iter().copied()) };
    let mut state = State::new(&whole, instances, items, groups);
    let mut any = false;
    for (item, at) in fixed.iter().enumerate() {
        any |= at.is_some_and(|at| state.put(item, at));
    }
    let packing = super::pack(&whole);
    let (bound, prices) = (packing.bound, packing.prices.clone());
    if groups.iter().any(|g| g.rule == Rule::Together) {
        state.split = together::place(&mut state, &packing.prices);
        any = true;
    }
    let (rest, origin) = state.remaining();
    let packing = if any { super::pack(&rest) } else { packing };
    let slots = state.slots(&packing, &origin);
    assign::assign(&mut state, slots);
    Placed { at: state.at, bound, prices, split: state.split }
}

/// Of each shape, what one host may hold at most: one of each group that lies apart, and all others.
fn most(problem: &Problem, items: &[usize], groups: &[Group]) -> Vec<u32> {
    let mut most = vec![0_u32; problem.shapes.len()];
    items.iter().for_each(|s| most[*s] += 1);
    for group in groups.iter().filter(|g| matches!(g.rule, Rule::Apart | Rule::ApartRacks)) {
        let mut seen = BTreeSet::new();
        for (item, _) in &group.members {
            most[items[*item]] -= u32::from(!seen.insert(items[*item]));
        }
    }
    most
}

fn demand(problem: &Problem, items: impl Iterator<Item = usize>) -> Problem {
    let mut counts = vec![0; problem.shapes.len()];
    items.for_each(|s| counts[s] += 1);
    let demands = counts.into_iter().enumerate().filter(|(_, n)| *n > 0);
    Problem {
        demands: demands.map(|(s, n)| super::Demand { options: vec![(s, n)] }).collect(),
        ..problem.clone()
    }
}

/// A free slot: a shape at a place of a host.
type Slots = Vec<BTreeMap<usize, Vec<[u8; 2]>>>;

/// Hosts as they fill.
#[derive(Clone)]
struct State<'a> {
    problem: &'a Problem,
    instances: &'a [Instance],
    items: &'a [usize],
    groups: &'a [Group],
    /// What is left of each host.
    left: Vec<HostType>,
    at: Vec<Option<At>>,
    open: Vec<bool>,
    split: Vec<Split>,
}

impl<'a> State<'a> {
    fn new(
        problem: &'a Problem,
        instances: &'a [Instance],
        items: &'a [usize],
        groups: &'a [Group],
    ) -> State<'a> {
        State {
            problem,
            instances,
            items,
            groups,
            left: instances.iter().map(|i| problem.hosts[i.kind].0.clone()).collect(),
            at: vec![None; items.len()],
            open: vec![false; instances.len()],
            split: Vec::new(),
        }
    }

    fn shape(&self, item: usize) -> &'a Shape {
        &self.problem.shapes[self.items[item]]
    }

    /// Puts an item down, when it fits.
    fn put(&mut self, item: usize, at: At) -> bool {
        let shape = self.shape(item);
        let host = &mut self.left[at.host];
        if shape.takes(host) && !self.open[at.host] {
            host.occupy(shape);
        } else if !host.admits(shape) || host.take(shape, at.nodes, 1).is_none() {
            return false;
        }
        self.open[at.host] = true;
        self.at[item] = Some(at);
        true
    }

    /// What is left to pack: untouched hosts by type, and each touched one as a type that costs nothing.
    fn remaining(&self) -> (Problem, Vec<Option<usize>>) {
        let mut hosts = self.problem.hosts.clone();
        let mut origin = vec![None; hosts.len()];
        for (h, instance) in self.instances.iter().enumerate().filter(|(h, _)| self.open[*h]) {
            hosts[instance.kind].1 -= 1;
            hosts.push((HostType { cost: 0, ..self.left[h].clone() }, 1));
            origin.push(Some(h));
        }
        let waiting = (0..self.items.len()).filter(|i| self.at[*i].is_none()).map(|i| self.items[i]);
        let problem = Problem { hosts, ..self.problem.clone() };
        (demand(&problem, waiting), origin)
    }

    /// Slots of a packing on named hosts, racks in turn. Hosts that take part in what should lie in distinct racks choose
    /// first, those whose type stands in few racks before others.
    fn slots(&self, packing: &super::Packing, origin: &[Option<usize>]) -> Slots {
        let mut free: Vec<Racks> = vec![Racks::new(); self.problem.hosts.len()];
        for (h, instance) in self.instances.iter().enumerate().rev().filter(|(h, _)| !self.open[*h]) {
            free[instance.kind].entry(instance.rack).or_default().0.push(h);
        }
        let mut spread = vec![false; self.problem.shapes.len()];
        for group in self.groups.iter().filter(|g| g.rule == Rule::ApartRacks) {
            group.members.iter().for_each(|(i, _)| spread[self.items[*i]] = true);
        }
        let spreads = |p: &super::Pattern| p.slots.iter().any(|s| spread[s.shape]);
        let mut order: Vec<&(super::Pattern, u32)> = packing.opened.iter().collect();
        order.sort_by_key(|(p, _)| match (spreads(p), origin[p.host]) {
            (true, None) => (0, free[p.host].len()),
            _ => (1, 0),
        });
        let mut held: BTreeMap<u32, usize> = BTreeMap::new();
        let mut slots: Slots = vec![BTreeMap::new(); self.problem.shapes.len()];
        for (pattern, count) in order {
            for _ in 0..*count {
                let held = spreads(pattern).then_some(&mut held);
                let next = origin[pattern.host].or_else(|| next(&mut free[pattern.host], held));
                let Some(host) = next else { continue };
                for slot in &pattern.slots {
                    let places = slots[slot.shape].entry(host).or_default();
                    places.extend(std::iter::repeat_n(slot.nodes, slot.count as usize));
                }
            }
        }
        slots
    }
}

/// Free hosts of one type by rack, the last is the next; and how many were taken.
type Racks = BTreeMap<u32, (Vec<usize>, usize)>;

/// Takes the next host of a type: of the rack with fewest that `held` counts, else of those in turn.
fn next(racks: &mut Racks, held: Option<&mut BTreeMap<u32, usize>>) -> Option<usize> {
    let counts = held.as_deref();
    let holds = |rack: &u32| counts.and_then(|c| c.get(rack)).copied().unwrap_or(0);
    let key =
        |(rack, (free, taken)): &(&u32, &(Vec<usize>, usize))| (holds(rack), *taken, free.last().copied());
    let rack = *racks.iter().filter(|(_, (free, _))| !free.is_empty()).min_by_key(key)?.0;
    let (free, taken) = racks.get_mut(&rack)?;
    *taken += 1;
    let host = free.pop();
    if let Some(held) = held {
        *held.entry(rack).or_default() += 1;
    }
    host
}

/// Rules broken by a placement, one line each; groups listed in `placed.split` are held to their own number of hosts.
pub fn violations(
    problem: &Problem,
    instances: &[Instance],
    items: &[usize],
    groups: &[Group],
    placed: &Placed,
) -> Vec<String> {
    let mut found = Vec::new();
    let mut left: Vec<HostType> = instances.iter().map(|i| problem.hosts[i.kind].0.clone()).collect();
    for (item, at) in placed.at.iter().enumerate() {
        let Some(at) = at else { continue };
        let (shape, host) = (&problem.shapes[items[item]], &mut left[at.host]);
        let fits = if shape.takes(host) {
            let free = host.company.is_none();
            host.occupy(shape);
            free
        } else {
            host.admits(shape) && host.take(shape, at.nodes, 1).is_some()
        };
        if !fits {
            found.push(format!("item {item} does not fit on host {}", at.host));
        }
    }
    for (g, group) in groups.iter().enumerate() {
        let places: Vec<(usize, u32, u32)> = group
            .members
            .iter()
            .filter_map(|(i, domain)| placed.at[*i].map(|a| (a.host, instances[a.host].rack, *domain)))
            .collect();
        let mut hosts: Vec<usize> = places.iter().map(|p| p.0).collect();
        hosts.sort_unstable();
        hosts.dedup();
        let broken = match group.rule {
            Rule::Together => {
                let most = placed.split.iter().find(|s| s.group == g).map_or(1, |s| s.hosts);
                hosts.len() > most
            }
            Rule::Apart | Rule::ApartRacks => hosts.len() < places.len(),
            Rule::Domains => {
                let mut owner: BTreeMap<u32, u32> = BTreeMap::new();
                places.iter().any(|(_, rack, domain)| owner.entry(*rack).or_insert(*domain) != domain)
            }
        };
        if broken {
            found.push(format!("group {g} breaks {:?}", group.rule));
        }
    }
    found
}
