//! From a fleet and a demand to a [`Blueprint`]: wishes, packing, spare hosts, and what it all means.

mod assemble;
pub mod binding;
pub mod classes;
mod company;
pub mod compare;
pub mod diff;
mod floor;
mod level;
mod quorum;
pub mod replan;
pub mod shares;
mod sizes;
mod spare;
mod wishes;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::blueprint::{Blueprint, Material, Purpose};
use crate::input::{Demand, Fleet, Isolation, Policy};
use crate::pack::groups::{At, Group, Placed};
use crate::pack::{self, Problem};

use wishes::{Choice, Wishes, Writer};

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
        let placed = draft.place(seed, &vec![None; draft.items.len()]);
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
        let placed = draft.place(seed, &vec![None; draft.items.len()]);
        settle(fleet, demand, draft, placed, true)
    })
}

impl Solved {
    /// Hosts that hold anything or are kept empty.
    fn in_use(&self) -> BTreeSet<usize> {
        self.placed.at.iter().flatten().map(|at| at.host).chain(self.spare.iter().copied()).collect()
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

/// What is wanted and what it takes at least; sizes are still to be chosen.
pub(crate) struct Outline<'a> {
    fleet: &'a Fleet,
    demand: &'a Demand,
    hosts: classes::Hosts,
    company: company::Companies,
    floor: floor::Floor,
    /// Nodes of tenants with their alternatives.
    workers: Wishes,
    /// Of each wish, the one that the relaxation takes.
    relaxed: Vec<Choice>,
    /// Hosts that the relaxation opens.
    opened: i64,
}

impl<'a> Outline<'a> {
    pub(crate) fn new(fleet: &'a Fleet, demand: &'a Demand) -> Outline<'a> {
        let hosts = classes::classify(fleet, &demand.policy);
        let company = company::companies(&demand.tenants);

        // What every legal plan must do at least: free choice of sizes, the smallest control planes that can result.
        let mut writer = Writer::new(fleet, demand, &hosts, &company.certain);
        writer.workers();
        let count = |w: &wishes::Wish| w.options.iter().map(|c| c.count).min();
        let fewest = nodes_by_tenant(&writer.clone().finish(), demand.tenants.len(), count);
        writer.control_planes(&fewest, 1);
        let loosest = writer.finish();
        let (problem, demand_of) = problem(&loosest, &hosts);
        let relaxed = pack::pack(&problem);
        let parts = floor::parts(&problem, &loosest, demand, &demand_of);
        let floor = floor::at_least(&problem, relaxed.bound, &parts, demand, &hosts);

        let mut writer = Writer::new(fleet, demand, &hosts, &company.kept);
        writer.workers();
        let workers = writer.finish();
        let taken = workers.wishes.iter().enumerate().map(|(w, wish)| {
            let best = loosest.wishes[w].options[relaxed.chosen[demand_of[w]]];
            let same = wish
                .options
                .iter()
                .find(|o| workers.infos[o.shape] == loosest.infos[best.shape] && o.count == best.count);
            same.copied().unwrap_or(wish.options[0])
        });
        let taken = taken.collect();
        let opened = relaxed.hosts() as i64;
        Outline { fleet, demand, hosts, company, floor, workers, relaxed: taken, opened }
    }

    /// Choices of sizes to try: what the relaxation takes, and the same with whole hosts counted for tenants that share
    /// with nobody.
    fn choices(&self) -> Vec<Vec<Choice>> {
        let alone = |wish: &wishes::Wish, taken: &Choice| {
            let tenant = wish.tenant.map(|t| &self.demand.tenants[t].isolation);
            if tenant != Some(&Isolation::Dedicated) {
                return *taken;
            }
            let dear = |c: &&Choice| self.whole_hosts(**c);
            wish.options
                .iter()
                .min_by(|a, b| dear(a).partial_cmp(&dear(b)).unwrap_or(Ordering::Equal))
                .copied()
                .unwrap_or(*taken)
        };
        let whole = self.workers.wishes.iter().zip(&self.relaxed).map(|(w, c)| alone(w, c)).collect();
        let mut all = vec![self.relaxed.clone(), whole];
        all.dedup();
        all
    }

    /// What the hosts of a choice cost when nothing else lies on them, room for rolling included: in whole, and in parts.
    fn whole_hosts(&self, choice: Choice) -> (f64, f64) {
        let shape = &self.workers.shapes[choice.shape];
        let rolling = u32::from(self.demand.policy.surge > 0 && !matches!(shape.fit, pack::Fit::Whole(_)));
        let wanted = f64::from(choice.count + rolling);
        let on = |(host, _): &(pack::HostType, u32)| {
            let mut left = host.clone();
            let mut fits = i64::from(shape.takes(host));
            for at in shape.places(host) {
                let room = left.room(shape, at);
                fits += room;
                left.take(shape, at, room);
            }
            (fits > 0)
                .then(|| (wanted / fits as f64).ceil() * f64::from(host.cost))
                .map(|c| (c, wanted / fits as f64))
        };
        let all = self.hosts.types.iter().filter_map(on);
        all.fold((f64::INFINITY, f64::INFINITY), |a, b| if b < a { b } else { a })
    }

    /// The choice as it is, but pools of an older plan stay as they are where the demand still allows it.
    pub(crate) fn kept(&self, old: &Blueprint) -> Vec<Choice> {
        let wishes = self.workers.wishes.iter().zip(&self.relaxed);
        wishes.map(|(wish, taken)| kept(old, self.demand, &self.workers, wish).unwrap_or(*taken)).collect()
    }

    /// All that is to be placed for a choice of sizes.
    pub(crate) fn draft(&self, mut picked: Vec<Choice>) -> Draft {
        let mut writer = Writer::new(self.fleet, self.demand, &self.hosts, &self.company.kept);
        writer.workers();
        let mut at = picked.iter();
        let tenants = self.demand.tenants.len();
        let counts = nodes_by_tenant(&self.workers, tenants, |_| at.next().map(|c| c.count));
        writer.control_planes(&counts, self.opened);
        writer.surge(&picked);
        let wishes = writer.finish();
        picked.extend(wishes.wishes[picked.len()..].iter().map(|w| w.options[0]));
        let (items, groups) = items(&wishes, &picked);
        let loose = self.company.kept != self.company.certain;
        let note = if loose { "tenants that avoid each other are not in the bound" } else { "" };
        Draft { hosts: self.hosts.clone(), wishes, items, groups, floor: self.floor, note: note.to_owned() }
    }
}

/// The alternative of a wish that an older plan took.
fn kept(old: &Blueprint, demand: &Demand, wishes: &Wishes, wish: &wishes::Wish) -> Option<Choice> {
    let tenant = &demand.tenants[wish.tenant?].name;
    let name = format!("{tenant}-{}", wish.part);
    let pool = old.tenants.iter().find(|t| t.name == *tenant)?.pools.iter().find(|p| p.name == name)?;
    let same = |c: &&Choice| {
        let info = &wishes.infos[c.shape];
        info.material == pool.material && (info.size == pool.size || info.material == Material::Metal)
    };
    wish.options.iter().find(same).copied()
}

impl Draft {
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
    notes.extend(crowding(&demand.policy));
    Solved { hosts, wishes, items, placed, spare: outcome.spare, floor, note, lossy, quorate, notes }
}

/// Nodes of each tenant, where `count` says how many a worker wish has.
fn nodes_by_tenant(
    wishes: &Wishes,
    tenants: usize,
    mut count: impl FnMut(&wishes::Wish) -> Option<u32>,
) -> Vec<i64> {
    let mut nodes = vec![0; tenants];
    for wish in wishes.wishes.iter().filter(|w| w.purpose == Purpose::Worker) {
        let n = count(wish).unwrap_or(0);
        if let Some(t) = wish.tenant {
            nodes[t] += i64::from(n);
        }
    }
    nodes
}

/// The packing problem, and the demand that each wish went into: wishes with the same alternatives decide together.
fn problem(wishes: &Wishes, hosts: &classes::Hosts) -> (Problem, Vec<usize>) {
    let mut demands: Vec<(Vec<Choice>, u32)> = Vec::new();
    let of = wishes
        .wishes
        .iter()
        .map(|wish| match demands.iter().position(|(o, _)| *o == wish.options) {
            Some(d) => {
                demands[d].1 += 1;
                d
            }
            None => {
                demands.push((wish.options.clone(), 1));
                demands.len() - 1
            }
        })
        .collect();
    let demands = demands
        .into_iter()
        .map(|(o, n)| pack::Demand { options: o.into_iter().map(|c| (c.shape, c.count * n)).collect() })
        .collect();
    let (hosts, shapes) = (hosts.types.clone(), wishes.shapes.clone());
    (Problem { hosts, most: most(wishes), shapes, demands }, of)
}

/// Of each shape, what one host may hold at most: replicas lie apart, and nothing is there more often than wanted.
fn most(wishes: &Wishes) -> Vec<u32> {
    let mut most = vec![0; wishes.shapes.len()];
    for wish in &wishes.wishes {
        let shapes: BTreeMap<usize, u32> = wish.options.iter().map(|o| (o.shape, o.count)).collect();
        for (shape, count) in shapes {
            most[shape] += if wish.rule.is_some() { 1 } else { count };
        }
    }
    most
}

fn items(wishes: &Wishes, picked: &[Choice]) -> (Vec<Item>, Vec<Group>) {
    let (mut items, mut groups) = (Vec::new(), Vec::new());
    for (w, (wish, choice)) in wishes.wishes.iter().zip(picked).enumerate() {
        let first = items.len();
        items.extend((0..choice.count).map(|ordinal| Item { wish: w, ordinal, shape: choice.shape }));
        if let Some(rule) = wish.rule.filter(|_| choice.count > 1) {
            groups.push(Group { rule, members: (first..items.len()).map(|i| (i, 0)).collect() });
        }
    }
    (items, groups)
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
