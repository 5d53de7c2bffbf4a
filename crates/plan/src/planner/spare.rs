//! What is kept empty so that hosts or a rack may be lost, and the proof that it suffices: every loss is played through.

use std::collections::{BTreeMap, BTreeSet};

use super::classes::Hosts;
use super::wishes::Wishes;
use super::{Item, Scene};
use crate::blueprint::Purpose;
use crate::pack::groups::{Group, Instance, Placed};
use crate::pack::{HostType, Shape};

/// Losses of several hosts at once are all played through up to this many; beyond it the fullest are.
const MOST_LOSSES: usize = 4000;

/// Hosts to keep empty, and what could not be kept.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Instance indices.
    pub spare: Vec<usize>,
    /// Losses that the fleet cannot survive.
    pub notes: Vec<String>,
}

/// Sets of hosts (by index) whose loss must be survived: racks whole, spares in them included.
fn failures(used: &[(usize, u32, i64)], instances: &[Instance], hosts: u32, rack: bool) -> Vec<Vec<usize>> {
    let mut sets: Vec<Vec<usize>> = Vec::new();
    if rack {
        let racks: BTreeSet<u32> = used.iter().map(|(_, r, _)| *r).collect();
        let of = |rack: u32| (0..instances.len()).filter(|h| instances[*h].rack == rack).collect();
        sets.extend(racks.into_iter().map(of));
    }
    let k = (hosts as usize).min(used.len());
    if k > 0 {
        let mut fullest: Vec<&(usize, u32, i64)> = used.iter().collect();
        fullest.sort_by_key(|(h, _, load)| (std::cmp::Reverse(*load), *h));
        let mut pool = fullest.len();
        while pool > k && combinations(pool, k) > MOST_LOSSES {
            pool -= 1;
        }
        let among: Vec<usize> = fullest[..pool].iter().map(|(h, _, _)| *h).collect();
        choose(&among, k, &mut Vec::new(), &mut sets);
    }
    sets
}

fn combinations(n: usize, k: usize) -> usize {
    (0..k).fold(1_usize, |all, i| all.saturating_mul(n - i) / (i + 1))
}

fn choose(among: &[usize], k: usize, taken: &mut Vec<usize>, out: &mut Vec<Vec<usize>>) {
    if taken.len() == k {
        out.push(taken.clone());
        return;
    }
    for (i, host) in among.iter().enumerate() {
        taken.push(*host);
        choose(&among[i + 1..], k, taken, out);
        taken.pop();
    }
}

/// In which order what was lost is placed again, and where.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// The largest first, on the fullest host.
    Size,
    /// Those with GPUs first; all others where there are none, as long as there is room.
    Gpus,
}

struct Play<'a> {
    shapes: &'a [Shape],
    wishes: &'a Wishes,
    items: &'a [Item],
    placed: &'a Placed,
    left: Vec<HostType>,
    /// Items by host.
    on: Vec<Vec<usize>>,
    group: Vec<Option<usize>>,
    groups: &'a [Group],
}

/// Keeps hosts (of `only` these) empty until every loss that the policy names can be survived, or no host is left.
pub fn keep(scene: &Scene<'_>, placed: &Placed, only: Option<&[bool]>) -> Outcome {
    let Scene { fleet, demand, hosts, wishes, items, groups } = *scene;
    let survive = demand.policy.survive;
    let mut outcome = Outcome::default();
    if survive.hosts == 0 && !survive.rack {
        return outcome;
    }
    let play = Play::new(hosts, wishes, items, groups, placed);
    let both = |spare: &[usize]| [Order::Size, Order::Gpus].map(|order| play.rooms(order, spare));
    let mut rooms = both(&outcome.spare);
    // Where several hosts may be lost at once, spares may be among them: play until no further one is needed.
    loop {
        let before = outcome.spare.len();
        let busy: Vec<(usize, u32, i64)> = (0..hosts.instances.len())
            .filter(|h| !play.on[*h].is_empty() || outcome.spare.contains(h))
            .map(|h| (h, hosts.instances[h].rack, play.load(h)))
            .collect();
        for lost in failures(&busy, &hosts.instances, survive.hosts, survive.rack) {
            while let Some(item) = play.homeless(&lost, &rooms) {
                let shape = &wishes.shapes[items[item].shape];
                let may = |h: usize| {
                    let apart = !survive.rack
                        || !lost.iter().any(|l| hosts.instances[*l].rack == hosts.instances[h].rack);
                    apart && only.is_none_or(|only| only[h])
                };
                let Some(spare) = play.another(hosts, shape, &outcome.spare, may) else {
                    let held = lost.iter().filter(|h| !play.on[**h].is_empty());
                    let names: Vec<&str> = held.map(|h| fleet.hosts[*h].name.as_str()).collect();
                    let wish = &wishes.wishes[items[item].wish];
                    let whose = wish.tenant.map_or("the site", |t| demand.tenants[t].name.as_str());
                    outcome.notes.push(format!(
                        "the loss of {} is not survived: {} of {whose} finds no room; add a host that takes one",
                        names.join(", "),
                        wishes.infos[items[item].shape].size,
                    ));
                    return outcome;
                };
                outcome.spare.push(spare);
                rooms = both(&outcome.spare);
            }
        }
        if outcome.spare.len() == before || survive.hosts < 2 {
            break;
        }
    }
    outcome.spare.sort_unstable();
    outcome
}

impl<'a> Play<'a> {
    fn new(
        hosts: &'a Hosts,
        wishes: &'a Wishes,
        items: &'a [Item],
        groups: &'a [Group],
        placed: &'a Placed,
    ) -> Play<'a> {
        let mut play = Play {
            shapes: &wishes.shapes,
            wishes,
            items,
            placed,
            left: hosts.instances.iter().map(|i| hosts.types[i.kind].0.clone()).collect(),
            on: vec![Vec::new(); hosts.instances.len()],
            group: vec![None; items.len()],
            groups,
        };
        for (item, at) in placed.at.iter().enumerate() {
            let Some(at) = at else { continue };
            play.on[at.host].push(item);
            play.left[at.host].hold(&play.shapes[items[item].shape], at.nodes);
        }
        for (g, group) in groups.iter().enumerate() {
            group.members.iter().for_each(|(i, _)| play.group[*i] = Some(g));
        }
        play
    }

    /// A free host that takes the shape, cheapest first, in the rack that holds least: it is the last to be lost with what
    /// it must replace.
    fn another(
        &self,
        hosts: &Hosts,
        shape: &Shape,
        spare: &[usize],
        may: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let rack = |h: usize| hosts.instances[h].rack;
        let busy = |h: &usize| !self.on[*h].is_empty() || spare.contains(h);
        let able = |h: &usize| {
            let left = &self.left[*h];
            let takes = shape.takes(left) || shape.places(left).into_iter().any(|p| left.room(shape, p) > 0);
            takes && may(*h)
        };
        let mut held: BTreeMap<u32, usize> = BTreeMap::new();
        (0..hosts.instances.len()).filter(busy).for_each(|h| *held.entry(rack(h)).or_default() += 1);
        let rank = |h: &usize| {
            (hosts.types[hosts.instances[*h].kind].0.cost, held.get(&rack(*h)).copied().unwrap_or(0), *h)
        };
        (0..hosts.instances.len()).filter(|h| !busy(h)).filter(able).min_by_key(rank)
    }

    fn purpose(&self, item: usize) -> Purpose {
        self.wishes.wishes[self.items[item].wish].purpose
    }

    fn load(&self, host: usize) -> i64 {
        self.on[host].iter().map(|i| self.shapes[self.items[*i].shape].res[1]).sum()
    }

    /// Hosts in use in the order in which they are asked for room.
    fn rooms(&self, order: Order, spare: &[usize]) -> Vec<usize> {
        let mut hosts: Vec<usize> =
            (0..self.left.len()).filter(|h| !self.on[*h].is_empty() || spare.contains(h)).collect();
        // Fullest first: small gaps are used up before spares are touched.
        hosts.sort_by_key(|h| {
            let sum = |d: usize| self.left[*h].nodes.iter().map(|n| n[d]).sum::<i64>();
            (order == Order::Gpus && sum(2) > 0, sum(1), *h)
        });
        hosts
    }

    /// An item of the lost hosts that finds no room on what is left, in either order.
    fn homeless(&self, lost: &[usize], rooms: &[Vec<usize>; 2]) -> Option<usize> {
        let first = self.homeless_in(Order::Size, lost, &rooms[0])?;
        self.homeless_in(Order::Gpus, lost, &rooms[1]).map(|_| first)
    }

    fn homeless_in(&self, order: Order, lost: &[usize], rooms: &[usize]) -> Option<usize> {
        // Room for rolling is not replaced: nobody rolls while hosts are missing.
        let runs = |i: &usize| self.purpose(*i) != Purpose::Surge;
        let mut moved: Vec<usize> =
            lost.iter().flat_map(|h| self.on[*h].iter().copied()).filter(runs).collect();
        moved.sort_by_key(|i| {
            let res = self.shapes[self.items[*i].shape].res;
            (std::cmp::Reverse((if order == Order::Gpus { res[2] } else { 0 }, res)), *i)
        });
        // Whole hosts first: a VM must not take the spare that a metal Node needs.
        moved.sort_by_key(|i| !matches!(self.shapes[self.items[*i].shape].fit, crate::pack::Fit::Whole(_)));
        let mut homes: Vec<(usize, usize)> = Vec::new();
        // Hosts that took something; the others are as they were.
        let mut changed: BTreeMap<usize, HostType> = BTreeMap::new();
        let gone: BTreeSet<usize> = lost.iter().copied().collect();
        // What had no room for one of a shape has none for the next.
        let mut from = vec![0; self.shapes.len()];
        for item in moved {
            let shape = &self.shapes[self.items[item].shape];
            let start = if self.group[item].is_some() { 0 } else { from[self.items[item].shape] };
            let found = (start..rooms.len()).find_map(|r| {
                let h = rooms[r];
                if gone.contains(&h) {
                    return None;
                }
                let host = changed.get(&h).unwrap_or(&self.left[h]);
                let at = if shape.takes(host) {
                    (self.on[h].is_empty() && !homes.iter().any(|(_, o)| *o == h)).then_some([0, 0])
                } else {
                    shape.places(host).into_iter().find(|p| host.room(shape, *p) > 0)
                };
                at.filter(|_| !self.taboo(item, h, lost, &homes)).map(|at| (r, h, at))
            });
            let Some((r, host, at)) = found else { return Some(item) };
            if self.group[item].is_none() {
                from[self.items[item].shape] = r;
            }
            changed.entry(host).or_insert_with(|| self.left[host].clone()).hold(shape, at);
            homes.push((item, host));
        }
        None
    }

    /// Whether another replica of the same group lives on the host.
    fn taboo(&self, item: usize, host: usize, lost: &[usize], homes: &[(usize, usize)]) -> bool {
        let Some(g) = self.group[item] else { return false };
        self.groups[g].members.iter().any(|(other, _)| {
            let old = self.placed.at[*other].map(|a| a.host).filter(|h| !lost.contains(h));
            let new = homes.iter().find(|(i, _)| i == other).map(|(_, h)| *h);
            *other != item && (old == Some(host) || new == Some(host))
        })
    }
}
