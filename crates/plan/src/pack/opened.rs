//! Hosts opened so far with what lies on them: patterns open them, single shapes fill them, and those whose content finds
//! room elsewhere are closed again.

use super::bound::Bound;
use super::{Demand, HostType, Packing, Pattern, Problem, Slot};

/// Hosts that are tried to be closed, and hosts that are asked to take the content in all: closing stays linear.
const MOST_CLOSED: usize = 200;
const MOST_VISITS: usize = 1_000_000;

/// Hosts opened so far.
pub struct Opened<'a> {
    problem: &'a Problem,
    /// Still to place, by shape.
    pub wanted: Vec<u32>,
    /// Still closed, by host type.
    closed: Vec<u32>,
    /// Host type, what lies on it, what is left of it.
    hosts: Vec<(usize, Vec<Slot>, HostType)>,
}

impl<'a> Opened<'a> {
    pub fn new(problem: &'a Problem, wanted: Vec<u32>) -> Opened<'a> {
        let closed = problem.hosts.iter().map(|(_, n)| *n).collect();
        Opened { problem, wanted, closed, hosts: Vec::new() }
    }

    /// Opens up to `count` hosts with a pattern, as far as anything of it is still wanted; says how many.
    pub fn open(&mut self, pattern: &Pattern, count: u32) -> u32 {
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

    pub fn residual(&self, problem: &Problem) -> Problem {
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
    pub fn finish(&mut self, prices: &[i64]) {
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

    pub fn cost(&self) -> u64 {
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
    pub fn close(&mut self, prices: &[i64], at_least: u64) {
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

    pub fn into_packing(self, chosen: Vec<usize>, bound: Bound, prices: Vec<i64>) -> Packing {
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
