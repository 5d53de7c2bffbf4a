//! What parts of a demand cost that share no host, when the loss of some hosts moves nothing but what lay on them.
//!
//! What a part loses finds room on its own hosts or on empty ones; the hosts of other parts hold something else. So for
//! any empty hosts `e` each part has its own least hosts `x` by type, such that `x` holds it, and `x` less the lost and
//! `e` still hold it. Parts are independent once `e` is chosen, and `e` is searched from the cheapest on. Whoever takes
//! whole hosts of one class takes them of this class after a loss, too: each choice of classes is bounded by itself.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::counts::{Cut, cuts, enough_alone};
use super::{Demand, Fit, HostType, Problem};

/// Numbers of hosts by type that are looked at for one part.
const MOST_VECTORS: usize = 20_000;
/// The same for all parts and all choices of empty hosts.
const MOST_LOOKS: usize = 30_000_000;
/// Choices of classes for whole hosts.
const MOST_CHOICES: usize = 64;

/// What hosts for all parts and the empty ones cost at least when any `losses` hosts may be missing; 0 when there are too
/// many types to tell.
pub fn at_least(parts: &[Problem], losses: u32) -> u64 {
    let Some(hosts) = parts.first().map(|p| &p.hosts) else { return 0 };
    let Some(tables) = parts.iter().map(|p| tables(p, losses)).collect::<Option<Vec<_>>>() else { return 0 };
    let cost =
        |x: &[u32]| x.iter().zip(hosts).map(|(n, (h, _))| u64::from(*n) * u64::from(h.cost)).sum::<u64>();
    // Of each part the cheapest choice; `None` when none holds it.
    let least = |e: &[u32]| -> Option<u64> {
        tables.iter().map(|t| t.iter().filter_map(|t| t.least(hosts, e, losses)).min()).sum()
    };
    let vectors: usize = tables.iter().flatten().map(|t| t.holds.len() * hosts.len()).sum();
    let mut looks = MOST_LOOKS / vectors.max(1);
    let Some(whole) = least(&hosts.iter().map(|(_, n)| *n).collect::<Vec<_>>()) else { return 0 };
    let mut best = u64::MAX;
    let none = vec![0; hosts.len()];
    let mut waiting = BinaryHeap::from([Reverse((0, none.clone()))]);
    let mut known = BTreeSet::from([none]);
    while let Some(Reverse((value, e))) = waiting.pop() {
        // Whatever comes now costs no less than this beside the parts at their cheapest.
        if value + whole >= best || looks == 0 {
            return best.min(value + whole);
        }
        looks -= 1;
        best = best.min(least(&e).map_or(u64::MAX, |l| l + value));
        for t in (0..e.len()).filter(|t| e[*t] < hosts[*t].1) {
            let mut more = e.clone();
            more[t] += 1;
            if known.insert(more.clone()) {
                waiting.push(Reverse((cost(&more), more)));
            }
        }
    }
    if best == u64::MAX { 0 } else { best }
}

/// Which numbers of hosts pass every cut of a part, up to what more would not change.
struct Table {
    caps: Vec<u32>,
    holds: Vec<bool>,
}

/// A table for each choice of classes; one for parts that take no whole hosts.
fn tables(part: &Problem, losses: u32) -> Option<Vec<Table>> {
    let whole = |d: &Demand| d.options.iter().all(|(s, _)| matches!(part.shapes[*s].fit, Fit::Whole(_)));
    let choices = part.demands.iter().fold(1_usize, |all, d| all.saturating_mul(d.options.len()));
    if choices <= MOST_CHOICES && part.demands.iter().all(whole) {
        let fixed = |mut choice: usize| {
            let demands = part.demands.iter().map(|d| {
                let option = d.options[choice % d.options.len()];
                choice /= d.options.len();
                Demand { options: vec![option] }
            });
            Problem { demands: demands.collect(), ..part.clone() }
        };
        return (0..choices).map(|c| Table::new(&fixed(c), losses)).collect();
    }
    Table::new(part, losses).map(|t| vec![t])
}

impl Table {
    fn new(part: &Problem, losses: u32) -> Option<Table> {
        let cuts = cuts(part);
        // As many as would do alone, and those that may be missing.
        let cap = |(t, (_, n)): (usize, &(HostType, u32))| (enough_alone(&cuts, t, *n) + losses).min(*n);
        let caps: Vec<u32> = part.hosts.iter().enumerate().map(cap).collect();
        let vectors = caps.iter().try_fold(1_usize, |all, c| all.checked_mul(*c as usize + 1))?;
        if vectors > MOST_VECTORS {
            return None;
        }
        let holds = (0..vectors).map(|i| passes(&cuts, &vector(&caps, i))).collect();
        Some(Table { caps, holds })
    }

    fn holds(&self, x: &[u32]) -> bool {
        let place = x
            .iter()
            .zip(&self.caps)
            .rev()
            .fold(0, |i, (n, cap)| i * (*cap as usize + 1) + (*n).min(*cap) as usize);
        self.holds[place]
    }

    /// The least that hosts of this part cost beside the empty ones.
    fn least(&self, hosts: &[(HostType, u32)], e: &[u32], losses: u32) -> Option<u64> {
        let fine = |x: &[u32]| {
            self.holds(x)
                && (0..x.len()).filter(|t| x[*t] > 0).all(|t| {
                    let mut left: Vec<u32> = x.iter().zip(e).map(|(a, b)| a + b).collect();
                    left[t] -= losses.min(x[t]);
                    self.holds(&left)
                })
        };
        let cost = |x: &[u32]| x.iter().zip(hosts).map(|(n, (h, _))| u64::from(*n) * u64::from(h.cost)).sum();
        (0..self.holds.len())
            .filter(|i| self.holds[*i])
            .map(|i| vector(&self.caps, i))
            .filter(|x| fine(x))
            .map(|x| cost(&x))
            .min()
    }
}

fn vector(caps: &[u32], mut index: usize) -> Vec<u32> {
    let digit = |cap: &u32| {
        let base = *cap as usize + 1;
        let n = index % base;
        index /= base;
        n as u32
    };
    caps.iter().map(digit).collect()
}

fn passes(cuts: &[Cut], x: &[u32]) -> bool {
    cuts.iter().all(|c| c.gives.iter().zip(x).map(|(g, n)| g * i128::from(*n)).sum::<i128>() >= c.needs)
}
