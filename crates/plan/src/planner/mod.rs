//! From a fleet and a demand to a [`Blueprint`]: wishes, packing, spare hosts, and what it all means.

mod assemble;
pub mod binding;
pub mod classes;
mod company;
pub mod compare;
pub mod diff;
mod floor;
mod level;
mod outline;
mod quorum;
pub mod replan;
pub mod shares;
mod sizes;
mod spare;
mod wishes;

use std::collections::{BTreeMap, BTreeSet};

use crate::blueprint::{Blueprint, Purpose};
use crate::input::{Demand, Fleet, Policy};
use crate::pack::groups::{At, Group, Placed};
use crate::pack::{self, Problem};

use outline::Outline;
use wishes::Wishes;

/// Plans. The same inputs and seed give the same blueprint; the seed turns the order in which like hosts are filled.
pub fn plan(fleet: &Fleet, demand: &Demand, seed: u64) -> Blueprint {
    let solved = solve(fleet, demand, seed);
    let mut blueprint = assemble::blueprint(&solved, fleet, demand, seed);
    blueprint.binding = binding::explain(fleet, demand, &blueprint);
    blueprint
}

/// A plan without the sentences: what comparisons need.
pub(crate) fn quick(fleet: &Fleet, demand: &Demand, seed: u64) -> Blueprint {
    assemble::blueprint(&solve(fleet, demand, seed), fleet, demand, seed)
}

/// One thing on its way to a host.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    wish: usize,
    /// Counted within its wish.
    ordinal: u32,
    shape: usize,
}

/// Everything decided.
pub(crate) struct Solved {
    hosts: classes::Hosts,
    wishes: Wishes,
    items: Vec<Item>,
    placed: Placed,
    /// Instance indices kept empty.
    spare: Vec<usize>,
    floor: floor::Floor,
    note: String,
    /// A loss that should be survived is not.
    lossy: bool,
    /// Every quorum outlives what must be survived.
    quorate: bool,
    notes: Vec<String>,
}

/// The best of a few choices of sizes, each placed, and made to survive what it must.
fn solve(fleet: &Fleet, demand: &Demand, seed: u64) -> Solved {
    let outline = Outline::new(fleet, demand);
    let mut best: Option<Solved> = None;
    for picked in outline.choices() {
        let draft = outline.draft(picked);
        let placed = draft.place(seed, &draft.held());
        let solved = settle(fleet, demand, draft, placed, true);
        if best.as_ref().is_none_or(|b| solved.rank(fleet) < b.rank(fleet)) {
            best = Some(solved);
        }
        if best.as_ref().is_some_and(Solved::proven_best) {
            break;
        }
    }
    // There is always a first choice; an empty demand has it, too.
    best.unwrap_or_else(|| {
        let draft = outline.draft(Vec::new());
        let placed = draft.place(seed, &draft.held());
        settle(fleet, demand, draft, placed, true)
    })
}

impl Solved {
    /// Hosts that hold anything or are kept empty.
    fn in_use(&self) -> BTreeSet<usize> {
        self.placed.in_use(&self.spare)
    }

    fn cost(&self) -> u64 {
        self.in_use().iter().map(|h| u64::from(self.hosts.types[self.hosts.instances[*h].kind].0.cost)).sum()
    }

    /// Lower is better: what finds no place, what is not survived, what the objective counts, the price.
    fn rank(&self, fleet: &Fleet) -> (usize, bool, bool, u64, u64) {
        let lost = self.placed.at.iter().filter(|at| at.is_none()).count();
        let price = self.in_use().iter().map(|h| (fleet.hosts[*h].price * 1000.0) as u64).sum();
        (lost, self.lossy, !self.quorate, self.cost(), price)
    }

    /// No other choice can be better.
    fn proven_best(&self) -> bool {
        let all = self.placed.at.iter().all(Option::is_some);
        all && !self.lossy
            && self.quorate
            && self.cost() as f64 * self.hosts.unit <= self.floor.at_least + 1e-6
    }
}

/// What is decided but for the placement, to be read.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    fleet: &'a Fleet,
    demand: &'a Demand,
    hosts: &'a classes::Hosts,
    wishes: &'a Wishes,
    items: &'a [Item],
    groups: &'a [Group],
}

/// Everything but the placement.
pub(crate) struct Draft {
    hosts: classes::Hosts,
    wishes: Wishes,
    items: Vec<Item>,
    groups: Vec<Group>,
    floor: floor::Floor,
    /// What the floor says nothing about.
    note: String,
}

impl Draft {
    /// Where things are that have a host already: a server that is a Node stays one.
    fn held(&self) -> Vec<Option<At>> {
        let at = |item: &Item| {
            let host = *self.wishes.wishes[item.wish].at.get(item.ordinal as usize)?;
            Some(At { host, nodes: [0, 0] })
        };
        self.items.iter().map(at).collect()
    }

    /// Places everything; `fixed` items stay where they are.
    fn place(&self, seed: u64, fixed: &[Option<At>]) -> Placed {
        let shapes: Vec<usize> = self.items.iter().map(|i| i.shape).collect();
        let mut order: Vec<usize> = (0..self.hosts.instances.len()).collect();
        turn(&mut order, seed);
        let turned: Vec<_> = order.iter().map(|h| self.hosts.instances[*h]).collect();
        let place_of: Vec<usize> = {
            let mut inverse = vec![0; order.len()];
            order.iter().enumerate().for_each(|(i, h)| inverse[*h] = i);
            inverse
        };
        let fixed: Vec<Option<At>> =
            fixed.iter().map(|at| at.map(|at| At { host: place_of[at.host], ..at })).collect();
        let hosts = self.hosts.types.clone();
        let base = Problem { hosts, shapes: self.wishes.shapes.clone(), ..Problem::default() };
        let mut placed = pack::groups::place(&base, &turned, &shapes, &self.groups, &fixed);
        placed.at.iter_mut().flatten().for_each(|at| at.host = order[at.host]);
        placed
    }
}

/// Adds what must be kept empty, with fewer hosts in all where things `may_move` for it.
fn settle(fleet: &Fleet, demand: &Demand, draft: Draft, placed: Placed, may_move: bool) -> Solved {
    let Draft { hosts, wishes, items, groups, floor, note } = draft;
    let scene = Scene { fleet, demand, hosts: &hosts, wishes: &wishes, items: &items, groups: &groups };
    let mut outcome = spare::keep(&scene, &placed, None);
    let mut placed = placed;
    let survive = demand.policy.survive;
    let safe = outcome.notes.is_empty() && placed.at.iter().all(Option::is_some);
    if may_move && safe && (survive.rack || survive.hosts > 0) {
        level::Safe { placed, outcome } =
            level::level(&scene, level::Safe { placed, outcome }, floor.at_least);
    }
    let lossy = !outcome.notes.is_empty();
    let mut notes = outcome.notes;
    let broken = quorum::broken(&scene, &placed);
    let quorate = broken.is_empty();
    notes.extend(broken);
    notes.extend(huddled(&scene, &placed));
    notes.extend(crowding(&demand.policy));
    Solved { hosts, wishes, items, placed, spare: outcome.spare, floor, note, lossy, quorate, notes }
}

/// Turns the order of hosts by a seed; 0 leaves it.
fn turn(order: &mut [usize], seed: u64) {
    let mut state = seed;
    if seed == 0 {
        return;
    }
    for i in (1..order.len()).rev() {
        // SplitMix64: the planner has no randomness of its own.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        order.swap(i, ((z ^ (z >> 31)) % (i as u64 + 1)) as usize);
    }
}

/// Tenants that one loss stops: a plan survives it, for their VMs start elsewhere, but they are not up meanwhile.
fn huddled(scene: &Scene<'_>, placed: &Placed) -> Option<String> {
    const MOST_NAMES: usize = 5;
    let survive = scene.demand.policy.survive;
    if !survive.rack && survive.hosts == 0 {
        return None;
    }
    let mut hosts: BTreeMap<usize, (u32, BTreeSet<usize>)> = BTreeMap::new();
    for (item, at) in scene.items.iter().zip(&placed.at) {
        let wish = &scene.wishes.wishes[item.wish];
        if let (Some(tenant), Some(at), Purpose::Worker) = (wish.tenant, at, wish.purpose) {
            let of = hosts.entry(tenant).or_default();
            of.0 += 1;
            of.1.insert(at.host);
        }
    }
    let all = hosts.iter().filter(|(_, (nodes, hosts))| *nodes > 1 && hosts.len() == 1);
    let names: Vec<&str> = all.map(|(t, _)| scene.demand.tenants[*t].name.as_str()).collect();
    let more = names.len().saturating_sub(MOST_NAMES);
    let shown = names.iter().take(MOST_NAMES).copied().collect::<Vec<_>>().join(", ");
    (!names.is_empty()).then(|| {
        format!(
            "all Nodes of one tenant lie on one server for {shown}{}: its loss stops them until their VMs have started elsewhere",
            if more > 0 { format!(" and {more} more") } else { String::new() }
        )
    })
}

fn crowding(policy: &Policy) -> Vec<String> {
    let mut notes = Vec::new();
    if policy.sharing.cpu_overcommit > 4.0 && !policy.sharing.dedicated_cpus {
        notes.push(format!(
            "CPU is overcommitted {} to 1: two schedulers share each thread, so a tenant's requests are no promise",
            policy.sharing.cpu_overcommit
        ));
    }
    if policy.host_max_pods > 254 && policy.pod_cidr_mask >= 24 {
        notes.push(
            "hostMaxPods above 254 needs a Node Pod CIDR larger than /24: podCIDRMask 23 or less".to_owned(),
        );
    }
    notes
}
