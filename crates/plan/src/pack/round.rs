//! From the relaxation to whole hosts: dive (fix what is whole, then the largest fraction, price again), then close
//! hosts whose content finds room elsewhere.

use super::bound::Bound;
use super::columns::{Master, Proof, QUICK, Relaxed};
use super::price::Pricer;
use super::{Demand, HostType, Packing, Pattern, Problem, Slot};

/// Pricing rounds at the root: the bound ends the loop long before.
const ROOT_ROUNDS: usize = 600;
/// Branches of the look that proves the bound.
const THOROUGH: usize = 300;
/// Pricing rounds once alternatives are decided: most columns are known by then.
const FIXED_ROUNDS: usize = 30;

/// Hosts that are tried to be closed, and hosts that are asked to take the content in all: closing stays linear.
const MOST_CLOSED: usize = 200;
const MOST_VISITS: usize = 1_000_000;

/// The bound of a problem.
pub fn root(problem: &Problem) -> Bound {
    Master::new(problem).solve(problem, &Pricer::new(problem), ROOT_ROUNDS, THOROUGH).bound
}

/// What proves the bound of a problem.
pub fn proof(problem: &Problem) -> Proof {
    Master::new(problem).solve(problem, &Pricer::new(problem), ROOT_ROUNDS, THOROUGH).proof
}

/// Packs a problem.
pub fn solve(problem: &Problem) -> Packing {
    let pricer = Pricer::new(problem);
    let mut master = Master::new(problem);
    let root = master.solve(problem, &pricer, ROOT_ROUNDS, THOROUGH);
    let free = problem.demands.iter().any(|d| d.options.len() > 1);
    if !free {
        let chosen = vec![0; problem.demands.len()];
        return settle(problem, &pricer, &mut master, chosen, root.copy(), root.bound);
    }
    let mut best: Option<Packing> = None;
    for chosen in [smallest(problem, &root), heaviest(problem, &root)] {
        let fixed = fix(problem, &chosen);
        let relaxed = master.solve(&fixed, &pricer, FIXED_ROUNDS, QUICK);
        let packing = settle(&fixed, &pricer, &mut master, chosen, relaxed, root.bound);
        let rank = |p: &Packing| (p.unplaced.iter().map(|(_, n)| n).sum::<u32>(), p.cost(problem));
        if best.as_ref().is_none_or(|b| rank(&packing) < rank(b)) {
            best = Some(packing);
        }
    }
    best.unwrap_or_else(|| settle(problem, &pricer, &mut master, Vec::new(), root.copy(), root.bound))
}

/// Rounds the relaxation of a problem without alternatives: several dives while the bound is not met.
fn settle(
    problem: &Problem,
    pricer: &Pricer,
    master: &mut Master,
    chosen: Vec<usize>,
    relaxed: Relaxed,
    bound: Bound,
) -> Packing {
    let prices = relaxed.prices.clone();
    let floor = relaxed.bound.at_least.max(bound.at_least);
    let mut best: Option<(u64, u64, Opened<'_>)> = None;
    for dive_by in DIVES {
        let mut opened = Opened::new(problem, wanted(problem));
        dive(problem, pricer, master, relaxed.copy(), &mut opened, dive_by);
        opened.finish(&prices);
        opened.close(&prices, floor);
        let rank = (opened.wanted.iter().map(|n| u64::from(*n)).sum::<u64>(), opened.cost());
        if best.as_ref().is_none_or(|(u, c, _)| rank < (*u, *c)) {
            best = Some((rank.0, rank.1, opened));
        }
        let cost = best.as_ref().map_or(0, |b| b.1);
        if cost <= floor || cost * 200 <= floor * 201 {
            break;
        }
    }
    let opened = best.map_or_else(|| Opened::new(problem, wanted(problem)), |(_, _, o)| o);
    opened.into_packing(chosen, bound, prices)
}

/// How to dive: fractions rounded up together, and pricing rounds after each fixing.
#[derive(Clone, Copy)]
struct Dive {
    nearly_whole: f64,
    rounds: usize,
}

/// From quick to thorough.
const DIVES: [Dive; 4] = [
    Dive { nearly_whole: 0.85, rounds: 2 },
    Dive { nearly_whole: 0.97, rounds: 15 },
    Dive { nearly_whole: 0.6, rounds: 15 },
    Dive { nearly_whole: 0.4, rounds: 4 },
];

/// The option of each demand with the largest weight.
fn heaviest(problem: &Problem, relaxed: &Relaxed) -> Vec<usize> {
    let pairs = relaxed.options.iter().zip(&problem.demands);
    pairs
        .map(|(weights, demand)| {
            let order = |a: &usize, b: &usize| {
                weights[*a]
                    .total_cmp(&weights[*b])
                    .then(demand.options[*b].1.cmp(&demand.options[*a].1))
                    .then(b.cmp(a))
            };
            (0..weights.len()).max_by(order).unwrap_or(0)
        })
        .collect()
}

/// The option of each demand that is dearest by no more than a hundredth and takes least of all resources:
/// where prices see no difference, what is not taken stays free for others.
fn smallest(problem: &Problem, relaxed: &Relaxed) -> Vec<usize> {
    let largest = problem.hosts.iter().fold([1; super::DIMS], |mut most, (h, _)| {
        let total = |d: usize| h.nodes.iter().map(|n| n[d]).sum::<i64>();
        (0..super::DIMS).for_each(|d| most[d] = most[d].max(total(d)));
        most
    });
    let pick = |demand: &Demand| {
        let cost = |o: &(usize, u32)| relaxed.prices[o.0] as f64 * f64::from(o.1);
        let size = |o: &(usize, u32)| -> f64 {
            let shape = &problem.shapes[o.0];
            // A whole host is all of its resources.
            let one = if matches!(shape.fit, super::Fit::Whole(_)) {
                super::DIMS as f64
            } else {
                shape.res.iter().zip(largest).map(|(r, l)| *r as f64 / l as f64).sum()
            };
            one * f64::from(o.1)
        };
        let cheapest = demand.options.iter().map(cost).fold(f64::INFINITY, f64::min);
        let near = (0..demand.options.len()).filter(|o| cost(&demand.options[*o]) <= cheapest * 1.01 + 1.0);
        near.min_by(|a, b| size(&demand.options[*a]).total_cmp(&size(&demand.options[*b])).then(a.cmp(b)))
            .unwrap_or(0)
    };
    problem.demands.iter().map(pick).collect()
}

fn fix(problem: &Problem, chosen: &[usize]) -> Problem {
    let demands = problem.demands.iter().zip(chosen);
    let options = demands.map(|(d, c)| d.options.get(*c).copied().into_iter().collect());
    Problem { demands: options.map(|options| Demand { options }).collect(), ..problem.clone() }
}

fn wanted(problem: &Problem) -> Vec<u32> {
    let mut wanted = vec![0; problem.shapes.len()];
    problem.demands.iter().flat_map(|d| &d.options).for_each(|(s, n)| wanted[*s] += n);
    wanted
}

fn dive(
    problem: &Problem,
    pricer: &Pricer,
    master: &mut Master,
    first: Relaxed,
    opened: &mut Opened,
    by: Dive,
) {
    let mut relaxed = first;
    loop {
        let mut moved = false;
        let mut parts: Vec<(f64, &Pattern)> = Vec::new();
        for (pattern, value) in &relaxed.patterns {
            let whole = (value + 1e-6).floor();
            moved |= opened.open(pattern, whole as u32) > 0;
            parts.push((value - whole, pattern));
        }
        parts.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        for (rank, (part, pattern)) in parts.iter().enumerate() {
            if *part >= by.nearly_whole || (rank == 0 && !moved && *part > 1e-6) {
                moved |= opened.open(pattern, 1) > 0;
            }
        }
        if !moved || opened.wanted.iter().all(|n| *n == 0) {
            return;
        }
        let rest = opened.residual(problem);
        relaxed = master.solve(&rest, pricer, by.rounds, QUICK);
    }
}

/// Hosts opened so far.
struct Opened<'a> {
    problem: &'a Problem,
    /// Still to place, by shape.
    wanted: Vec<u32>,
    /// Still closed, by host type.
    closed: Vec<u32>,
    /// Host type, what lies on it, what is left of it.
    hosts: Vec<(usize, Vec<Slot>, HostType)>,
}

impl<'a> Opened<'a> {
    fn new(problem: &'a Problem, wanted: Vec<u32>) -> Opened<'a> {
        let closed = problem.hosts.iter().map(|(_, n)| *n).collect();
        Opened { problem, wanted, closed, hosts: Vec::new() }
    }

    /// Opens up to `count` hosts with a pattern, as far as anything of it is still wanted; says how many.
    fn open(&mut self, pattern: &Pattern, count: u32) -> u32 {
        let mut done = 0;
        while done < count && self.closed[pattern.host] > 0 {
            let (kind, shapes) = (&self.problem.hosts[pattern.host].0, &self.problem.shapes);
            let mut slots = Vec::new();
            for slot in &pattern.slots {
                let take = slot.count.min(self.wanted[slot.shape]);
                if take > 0 {
                    self.wanted[slot.shape] -= take;
                    slots.push(Slot { count: take, ..*slot });
                }
            }
            let trimmed = Pattern { host: pattern.host, slots };
            let Some(rest) = trimmed.rest(kind, shapes).filter(|_| !trimmed.slots.is_empty()) else {
                trimmed.slots.iter().for_each(|s| self.wanted[s.shape] += s.count);
                break;
            };
            self.closed[pattern.host] -= 1;
            self.hosts.push((pattern.host, trimmed.slots, rest));
            done += 1;
        }
        done
    }

    fn residual(&self, problem: &Problem) -> Problem {
        Problem {
            hosts: problem.hosts.iter().zip(&self.closed).map(|((h, _), n)| (h.clone(), *n)).collect(),
            shapes: problem.shapes.clone(),
            demands: (0..self.wanted.len())
                .filter(|s| self.wanted[*s] > 0)
                .map(|s| Demand { options: vec![(s, self.wanted[s])] })
                .collect(),
            most: problem.most.clone(),
        }
    }

    /// Places what is left one by one: into open hosts, else into the closed host that takes most of the rest.
    fn finish(&mut self, prices: &[i64]) {
        let mut order: Vec<usize> = (0..self.wanted.len()).collect();
        order.sort_by_key(|s| (std::cmp::Reverse(prices[*s]), *s));
        for shape in &order {
            let hosts = 0..self.hosts.len();
            let mut left = self.wanted[*shape];
            for host in hosts {
                left -= self.insert(host, *shape, left);
            }
            self.wanted[*shape] = left;
        }
        while self.wanted.iter().any(|n| *n > 0) {
            let best = (0..self.closed.len())
                .filter(|h| self.closed[*h] > 0)
                .map(|h| (self.greedy(h, &order), h))
                .map(|(p, h)| (worth(&p, prices), std::cmp::Reverse(h), p))
                .filter(|(_, _, p)| !p.slots.is_empty())
                .max_by(|a, b| self.gain(a.0, a.1.0).total_cmp(&self.gain(b.0, b.1.0)).then(a.1.cmp(&b.1)));
            let Some((_, _, pattern)) = best else { return };
            if self.open(&pattern, 1) == 0 {
                return;
            }
        }
    }

    fn cost_of(&self, host: usize) -> u64 {
        u64::from(self.problem.hosts[self.hosts[host].0].0.cost)
    }

    fn cost(&self) -> u64 {
        (0..self.hosts.len()).map(|h| self.cost_of(h)).sum()
    }

    /// What a host brings for what it costs.
    fn gain(&self, worth: i64, host: usize) -> f64 {
        worth.max(1) as f64 / f64::from(self.problem.hosts[host].0.cost.max(1))
    }

    /// Fills a closed host with what is wanted, dearest first.
    fn greedy(&self, host: usize, order: &[usize]) -> Pattern {
        let mut rest = self.problem.hosts[host].0.clone();
        let mut slots = Vec::new();
        for s in order.iter().filter(|s| self.wanted[**s] > 0) {
            let shape = &self.problem.shapes[*s];
            if shape.takes(&rest) && slots.is_empty() {
                slots.push(Slot { shape: *s, nodes: [0, 0], count: 1 });
                break;
            }
            fill(&mut rest, shape, *s, self.wanted[*s], &mut slots);
        }
        Pattern { host, slots }
    }

    /// Puts up to `most` of a shape on an open host.
    fn insert(&mut self, host: usize, shape: usize, most: u32) -> u32 {
        let (_, slots, rest) = &mut self.hosts[host];
        let taken = slots.iter().any(|s| matches!(self.problem.shapes[s.shape].fit, super::Fit::Whole(_)));
        if taken { 0 } else { fill(rest, &self.problem.shapes[shape], shape, most, slots) }
    }

    /// Closes hosts, cheapest content first, as long as the content fits elsewhere.
    fn close(&mut self, prices: &[i64], at_least: u64) {
        if self.wanted.iter().any(|n| *n > 0) || self.cost() <= at_least {
            return;
        }
        let mut order: Vec<usize> = (0..self.hosts.len()).collect();
        let value =
            |slots: &[Slot]| -> i64 { slots.iter().map(|s| prices[s.shape] * i64::from(s.count)).sum() };
        order.sort_by_key(|h| value(&self.hosts[*h].1));
        let mut gone = vec![false; self.hosts.len()];
        let tries = MOST_VISITS / self.hosts.len().max(1);
        for host in order.into_iter().take(tries.clamp(1, MOST_CLOSED)) {
            let closed: u64 = (0..gone.len()).filter(|h| gone[*h]).map(|h| self.cost_of(h)).sum();
            if self.cost() - closed <= at_least {
                break;
            }
            if self.problem.hosts[self.hosts[host].0].0.cost > 0 && self.evacuate(host, &gone) {
                gone[host] = true;
            }
        }
        let mut keep = gone.iter().map(|g| !g);
        self.hosts.retain(|_| keep.next().unwrap_or(true));
    }

    /// Moves all of a host's content to others; undone when some finds no room.
    fn evacuate(&mut self, host: usize, gone: &[bool]) -> bool {
        let content = std::mem::take(&mut self.hosts[host].1);
        let mut moved: Vec<(usize, usize)> = Vec::new();
        for slot in &content {
            let mut left = slot.count;
            for other in (0..self.hosts.len()).filter(|o| *o != host && !gone[*o]) {
                let had = self.hosts[other].1.len();
                let done = self.insert(other, slot.shape, left);
                if done > 0 {
                    moved.push((other, had));
                    left -= done;
                }
                if left == 0 {
                    break;
                }
            }
            if left > 0 {
                for (other, had) in moved.into_iter().rev() {
                    let (_, slots, rest) = &mut self.hosts[other];
                    for slot in slots.drain(had..) {
                        rest.give(&self.problem.shapes[slot.shape], slot.nodes, i64::from(slot.count));
                    }
                }
                self.hosts[host].1 = content;
                return false;
            }
        }
        self.closed[self.hosts[host].0] += 1;
        true
    }

    fn into_packing(self, chosen: Vec<usize>, bound: Bound, prices: Vec<i64>) -> Packing {
        let mut opened: std::collections::BTreeMap<Pattern, u32> = std::collections::BTreeMap::new();
        for (host, mut slots, _) in self.hosts {
            slots.sort_unstable();
            let mut merged: Vec<Slot> = Vec::new();
            for slot in slots {
                match merged.last_mut().filter(|m| m.shape == slot.shape && m.nodes == slot.nodes) {
                    Some(last) => last.count += slot.count,
                    None => merged.push(slot),
                }
            }
            *opened.entry(Pattern { host, slots: merged }).or_default() += 1;
        }
        let unplaced =
            self.wanted.iter().enumerate().filter(|(_, n)| **n > 0).map(|(s, n)| (s, *n)).collect();
        let prices = prices.iter().map(|p| *p as f64 / super::bound::SCALE as f64).collect();
        Packing { opened: opened.into_iter().collect(), chosen, unplaced, bound, prices }
    }
}

fn worth(pattern: &Pattern, prices: &[i64]) -> i64 {
    pattern.slots.iter().map(|s| prices[s.shape] * i64::from(s.count)).sum()
}

/// Puts up to `most` of a shape on what is left of a host, fullest place that takes them first.
fn fill(rest: &mut HostType, shape: &super::Shape, index: usize, most: u32, slots: &mut Vec<Slot>) -> u32 {
    let mut places: Vec<(i64, [u8; 2])> =
        shape.places(rest).into_iter().map(|at| (rest.room(shape, at), at)).filter(|(n, _)| *n > 0).collect();
    places.sort_unstable();
    let mut done = 0;
    for (_, at) in places {
        let n = u32::try_from(rest.room(shape, at)).unwrap_or(u32::MAX).min(most - done);
        if n > 0 && rest.take(shape, at, i64::from(n)).is_some() {
            slots.push(Slot { shape: index, nodes: at, count: n });
            done += n;
        }
    }
    done
}

impl Relaxed {
    fn copy(&self) -> Relaxed {
        Relaxed {
            patterns: self.patterns.clone(),
            options: self.options.clone(),
            prices: self.prices.clone(),
            bound: self.bound,
            proof: self.proof.clone(),
        }
    }
}
