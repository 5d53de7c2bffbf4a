//! Fewer or cheaper hosts for what must survive a loss: room for it need not be hosts that stand empty, it may as well be
//! a part of all. What shares its hosts is spread anew over one host less, or over a cheaper one instead, and every loss
//! played through again; what is kept is what holds.

use std::collections::{BTreeMap, BTreeSet};

use super::Scene;
use super::spare::{self, Outcome};
use crate::pack::groups::{At, Placed, Rule};
use crate::pack::{Company, Fit, HostType, SIDES, Shape};

/// Placements that are tried in all.
const MOST_TRIES: usize = 120;
/// Hosts in use above which nothing is tried, and items times hosts times losses of one try.
const MOST_HOSTS: usize = 400;
const MOST_STEPS: usize = 20_000_000;
/// Spares of which every choice is left empty in turn; of more, none or all are.
const MOST_SPARES: usize = 4;
/// How full hosts are made beyond their mean before others are.
const FILLS: [f64; 4] = [0.02, 0.06, 0.12, 1.0];

/// A plan that holds everything and survives what it must.
pub struct Safe {
    /// Where everything lies.
    pub placed: Placed,
    /// What is kept empty.
    pub outcome: Outcome,
}

impl Safe {
    /// Hosts that hold anything, or are kept empty.
    fn in_use(&self) -> BTreeSet<usize> {
        self.placed.in_use(&self.outcome.spare)
    }
}

/// The plan, or a better one with the same items: what the objective counts first, then the price. At `floor` nothing is
/// better in the former.
pub fn level(scene: &Scene<'_>, safe: Safe, floor: f64) -> Safe {
    let mut best = Leveller { scene, safe, tries: MOST_TRIES };
    let hosts = best.safe.in_use().len();
    let steps = hosts.saturating_mul(scene.items.len());
    if hosts <= MOST_HOSTS && steps.saturating_mul(hosts) / 4 <= MOST_STEPS {
        while best.cost(&best.safe.in_use()).0 as f64 * scene.hosts.unit > floor + 1e-6 && best.step(false) {}
        while best.step(true) {}
    }
    best.safe
}

struct Leveller<'a> {
    scene: &'a Scene<'a>,
    safe: Safe,
    tries: usize,
}

impl Leveller<'_> {
    /// What the objective counts, then the price in thousandths.
    fn cost(&self, hosts: &BTreeSet<usize>) -> (u64, u64) {
        let of = |h: &usize| u64::from(self.scene.hosts.types[self.scene.hosts.instances[*h].kind].0.cost);
        let price = |h: &usize| (self.scene.fleet.hosts[*h].price * 1000.0) as u64;
        (hosts.iter().map(of).sum(), hosts.iter().map(price).sum())
    }

    /// One host less, or (`swap`) a cheaper one for it; false when no try holds.
    fn step(&mut self, swap: bool) -> bool {
        let used = self.safe.in_use();
        let fixed = self.fixed();
        let pinned: BTreeSet<usize> = fixed.iter().flatten().map(|at| at.host).collect();
        for gone in self.each_kind(used.iter().copied().filter(|h| !pinned.contains(h))) {
            let mut left = used.clone();
            left.remove(&gone);
            let mut sets = vec![left.clone()];
            if swap {
                let free = (0..self.scene.hosts.instances.len()).filter(|h| !used.contains(h));
                let with = |h: usize| left.iter().copied().chain([h]).collect::<BTreeSet<usize>>();
                sets = self.each_kind(free).into_iter().rev().map(with).collect();
                sets.retain(|s| self.cost(s) < self.cost(&used));
            }
            if sets.into_iter().any(|set| self.holds(&set, &fixed, &pinned)) {
                return true;
            }
        }
        false
    }

    /// One host of each type and rack, the dearest first.
    fn each_kind(&self, hosts: impl Iterator<Item = usize>) -> Vec<usize> {
        let mut seen: BTreeMap<(usize, u32), usize> = BTreeMap::new();
        for h in hosts {
            let at = self.scene.hosts.instances[h];
            let rack = if self.scene.demand.policy.survive.rack { at.rack } else { 0 };
            seen.entry((at.kind, rack)).or_insert(h);
        }
        let mut one: Vec<usize> = seen.into_values().collect();
        one.sort_by(|a, b| self.scene.fleet.hosts[*b].price.total_cmp(&self.scene.fleet.hosts[*a].price));
        one
    }

    /// What stays: servers that are Nodes, and tenants that share with nobody.
    fn fixed(&self) -> Vec<Option<At>> {
        let stays = |shape: &Shape| matches!(shape.fit, Fit::Whole(_)) || shape.company.pool != 0;
        let items = self.scene.items.iter().zip(&self.safe.placed.at);
        items.map(|(item, at)| at.filter(|_| stays(&self.scene.wishes.shapes[item.shape]))).collect()
    }

    /// Tries a set of hosts; takes it over when everything finds a place and outlives every loss.
    fn holds(&mut self, set: &BTreeSet<usize>, fixed: &[Option<At>], pinned: &BTreeSet<usize>) -> bool {
        let shared: Vec<usize> = set.difference(pinned).copied().collect();
        let spares: Vec<usize> =
            shared.iter().copied().filter(|h| self.safe.outcome.spare.contains(h)).collect();
        let choices = if spares.len() <= MOST_SPARES { 1_usize << spares.len() } else { 2 };
        let only: Vec<bool> = (0..self.scene.hosts.instances.len()).map(|h| set.contains(&h)).collect();
        for choice in (0..choices).rev() {
            let empty = |h: &usize| {
                let at = spares.iter().position(|s| s == h);
                at.is_some_and(|i| if choices == 2 { choice == 1 } else { choice >> i & 1 == 1 })
            };
            let open: Vec<usize> = shared.iter().copied().filter(|h| !empty(h)).collect();
            for fill in FILLS {
                if self.tries == 0 {
                    return false;
                }
                self.tries -= 1;
                let Some(at) = Spread::new(self.scene, fixed, &open).all(fill) else { break };
                let placed = Placed { at, ..self.safe.placed.clone() };
                let outcome = spare::keep(self.scene, &placed, Some(&only));
                let safe = Safe { placed, outcome };
                let better = self.cost(&safe.in_use()) < self.cost(&self.safe.in_use());
                if safe.outcome.notes.is_empty() && better {
                    self.safe = safe;
                    return true;
                }
            }
        }
        false
    }
}

/// Hosts as they fill evenly.
struct Spread<'a> {
    scene: &'a Scene<'a>,
    open: &'a [usize],
    left: Vec<HostType>,
    at: Vec<Option<At>>,
    /// Hosts and racks of each group.
    held: Vec<(BTreeSet<usize>, BTreeSet<u32>)>,
    group: Vec<Option<usize>>,
}

impl<'a> Spread<'a> {
    fn new(scene: &'a Scene<'a>, fixed: &[Option<At>], open: &'a [usize]) -> Spread<'a> {
        let kinds = &scene.hosts.types;
        let mut group = vec![None; scene.items.len()];
        for (g, members) in scene.groups.iter().enumerate() {
            members.members.iter().for_each(|(i, _)| group[*i] = Some(g));
        }
        let mut spread = Spread {
            scene,
            open,
            left: scene.hosts.instances.iter().map(|i| kinds[i.kind].0.clone()).collect(),
            at: vec![None; scene.items.len()],
            held: vec![Default::default(); scene.groups.len()],
            group,
        };
        for (item, at) in fixed.iter().enumerate() {
            if let Some(at) = at {
                spread.put(item, *at);
            }
        }
        spread
    }

    fn shape(&self, item: usize) -> &'a Shape {
        &self.scene.wishes.shapes[self.scene.items[item].shape]
    }

    fn put(&mut self, item: usize, at: At) {
        let shape = self.shape(item);
        self.left[at.host].hold(shape, at.nodes);
        self.at[item] = Some(at);
        if let Some(g) = self.group[item] {
            self.held[g].0.insert(at.host);
            self.held[g].1.insert(self.scene.hosts.instances[at.host].rack);
        }
    }

    /// Places all that is not fixed, hosts up to `beyond` above their mean filling first; `None` when something finds no room.
    fn all(mut self, beyond: f64) -> Option<Vec<Option<At>>> {
        let mut waiting: Vec<usize> = (0..self.at.len()).filter(|i| self.at[*i].is_none()).collect();
        let most = self.mean(&waiting) + beyond;
        waiting.sort_by_cached_key(|i| {
            let shape = self.shape(*i);
            let picky = shape.company.sets != u64::MAX;
            (std::cmp::Reverse((shape.res[2], picky, shape.res)), self.scene.items[*i].wish, *i)
        });
        for item in waiting {
            let at = self.best(item, most)?;
            self.put(item, at);
        }
        Some(self.at)
    }

    /// How full the open hosts are when all of it lies evenly: the scarcest resource.
    fn mean(&self, waiting: &[usize]) -> f64 {
        let mut asked = [0_i64; crate::pack::DIMS + SIDES];
        for item in waiting {
            let shape = self.shape(*item);
            asked.iter_mut().zip(shape.res.iter().chain(&shape.side)).for_each(|(a, v)| *a += v);
        }
        let mut have = [0_i64; crate::pack::DIMS + SIDES];
        for host in self.open {
            let all = amounts(&self.left[*host]);
            have.iter_mut().zip(all).for_each(|(h, v)| *h += v);
        }
        let parts = asked.iter().zip(have).filter(|(_, have)| *have > 0);
        parts.map(|(a, h)| *a as f64 / h as f64).fold(0.0, f64::max)
    }

    /// The host for one: not beyond the filling, beside its own company, in a rack of its own, the emptiest.
    fn best(&self, item: usize, most: f64) -> Option<At> {
        let shape = self.shape(item);
        let picky = shape.company != Company::ANY;
        let mut best: Option<((bool, bool, bool, f64), At)> = None;
        for host in self.open.iter().copied() {
            let left = &self.left[host];
            let rack = self.scene.hosts.instances[host].rack;
            let (mut taken, mut near) = (false, false);
            if let Some(g) = self.group[item] {
                taken = self.held[g].0.contains(&host);
                near = self.scene.groups[g].rule == Rule::ApartRacks && self.held[g].1.contains(&rack);
            }
            let place = shape.places(left).into_iter().filter(|p| left.room(shape, *p) > 0);
            // On the emptier NUMA node.
            let Some(nodes) = place.max_by_key(|p| (left.room(shape, *p), std::cmp::Reverse(*p))) else {
                continue;
            };
            if taken {
                continue;
            }
            let strange = picky && left.company.is_none_or(|c| c.sets != shape.company.sets);
            let full = self.filling(host, shape);
            let key = (near, full > most, strange, full);
            let before = |(a, b, c, d): &(bool, bool, bool, f64)| (*a, *b, *c, (*d * 1e9) as i64);
            if best.as_ref().is_none_or(|(b, _)| before(&key) < before(b)) {
                best = Some((key, At { host, nodes }));
            }
        }
        best.map(|(_, at)| at)
    }

    /// How full a host is with one more of a shape: its scarcest resource.
    fn filling(&self, host: usize, shape: &Shape) -> f64 {
        let whole = amounts(&self.scene.hosts.types[self.scene.hosts.instances[host].kind].0);
        let left = amounts(&self.left[host]);
        let asked = shape.res.iter().chain(&shape.side);
        let parts = whole.iter().zip(left).zip(asked).filter(|((whole, _), _)| **whole > 0);
        parts.map(|((whole, left), asked)| (whole - left + asked) as f64 / *whole as f64).fold(0.0, f64::max)
    }
}

fn amounts(host: &HostType) -> [i64; crate::pack::DIMS + SIDES] {
    let mut all = [0; crate::pack::DIMS + SIDES];
    for node in &host.nodes {
        node.iter().enumerate().for_each(|(d, v)| all[d] += v);
    }
    host.side.iter().enumerate().for_each(|(s, v)| all[crate::pack::DIMS + s] = *v);
    all
}
