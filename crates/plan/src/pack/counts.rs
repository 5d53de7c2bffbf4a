//! How many hosts of each type can be enough: whole numbers where the relaxation takes fractions.
//!
//! A cut says what hosts of each type give at most and what is needed in all: volumes, whole hosts, and the worth of
//! patterns at prices (of everything, and of what needs GPUs alone). Numbers of hosts that fail a cut hold no placement.
//! What is left is searched from the cheapest on, losses included, so any stop on the way is a bound, too.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::round::proof;
use super::{DIMS, Fit, HostType, Problem, SIDES};

/// Vectors of counts that are looked at for one part.
const MOST_VECTORS: u64 = 20_000;
/// Minimal vectors that parts may have together.
const MOST_MINIMAL: usize = 1_500;
/// Vectors that are tried against losses.
const MOST_TRIED: usize = 20_000;

/// What hosts of each type give at most, and what is needed in all.
pub(super) struct Cut {
    pub(super) gives: Vec<i128>,
    pub(super) needs: i128,
}

/// What hosts for all parts cost at least, where parts (over the same hosts) share none and any `losses` hosts may be
/// missing; `None` when there are too many types to tell.
pub fn at_least(parts: &[Problem], losses: u32) -> Option<u64> {
    let hosts = &parts.first()?.hosts;
    let mut together: Vec<Vec<u32>> = vec![vec![0; hosts.len()]];
    for part in parts {
        let own = minimal(part)?;
        let sums: BTreeSet<Vec<u32>> = together
            .iter()
            .flat_map(|a| own.iter().map(|b| a.iter().zip(b).map(|(x, y)| x + y).collect::<Vec<u32>>()))
            .filter(|sum| sum.iter().zip(hosts).all(|(n, (_, most))| n <= most))
            .collect();
        together = sums.iter().filter(|a| !sums.iter().any(|b| b != *a && covers(a, b))).cloned().collect();
        if together.len() > MOST_MINIMAL {
            return None;
        }
    }
    Some(cheapest(hosts, &together, losses))
}

/// All minimal counts of hosts that pass every cut.
fn minimal(part: &Problem) -> Option<Vec<Vec<u32>>> {
    let cuts = cuts(part);
    let passes = |x: &[u32]| {
        let given = |c: &Cut| c.gives.iter().zip(x).map(|(g, n)| g * i128::from(*n)).sum::<i128>();
        cuts.iter().all(|c| given(c) >= c.needs)
    };
    // More of a type than would do alone is never minimal.
    let caps: Vec<u32> =
        part.hosts.iter().enumerate().map(|(t, (_, n))| enough_alone(&cuts, t, *n)).collect();
    let vectors = caps.iter().try_fold(1_u64, |all, c| all.checked_mul(u64::from(*c) + 1))?;
    if vectors > MOST_VECTORS {
        return None;
    }
    let mut found = Vec::new();
    let mut x = vec![0; caps.len()];
    for _ in 0..vectors {
        if passes(&x) && (0..x.len()).all(|t| x[t] == 0 || !passes(&less(&x, t, 1))) {
            found.push(x.clone());
        }
        for t in 0..x.len() {
            x[t] += 1;
            if x[t] <= caps[t] {
                break;
            }
            x[t] = 0;
        }
    }
    Some(found)
}

/// The cheapest counts that are still enough when `losses` hosts of any one type are missing.
fn cheapest(hosts: &[(HostType, u32)], enough: &[Vec<u32>], losses: u32) -> u64 {
    let cost =
        |x: &[u32]| x.iter().zip(hosts).map(|(n, (h, _))| u64::from(*n) * u64::from(h.cost)).sum::<u64>();
    let holds = |x: &[u32]| enough.iter().any(|m| covers(x, m));
    let mut waiting: BinaryHeap<Reverse<(u64, Vec<u32>)>> =
        enough.iter().map(|m| Reverse((cost(m), m.clone()))).collect();
    let mut known: BTreeSet<Vec<u32>> = enough.iter().cloned().collect();
    let mut reached = 0;
    while let Some(Reverse((value, x))) = waiting.pop() {
        reached = value;
        let survives =
            (0..x.len()).all(|t| x[t] == 0 || losses == 0 || holds(&less(&x, t, losses.min(x[t]))));
        if survives || known.len() > MOST_TRIED {
            return value;
        }
        for t in (0..x.len()).filter(|t| x[*t] < hosts[*t].1) {
            let mut more = x.clone();
            more[t] += 1;
            if known.insert(more.clone()) {
                waiting.push(Reverse((cost(&more), more)));
            }
        }
    }
    reached
}

fn covers(x: &[u32], least: &[u32]) -> bool {
    x.iter().zip(least).all(|(a, b)| a >= b)
}

fn less(x: &[u32], t: usize, by: u32) -> Vec<u32> {
    let mut less = x.to_vec();
    less[t] -= by;
    less
}

/// How many hosts of a type, of at most `most`, pass every cut that they can pass alone.
pub(super) fn enough_alone(cuts: &[Cut], t: usize, most: u32) -> u32 {
    let enough = |c: &Cut| if c.gives[t] > 0 { (c.needs + c.gives[t] - 1) / c.gives[t] } else { 0 };
    cuts.iter().map(enough).max().unwrap_or(0).clamp(0, i128::from(most)) as u32
}

pub(super) fn cuts(part: &Problem) -> Vec<Cut> {
    let mut cuts = vec![whole(part)];
    cuts.extend((0..DIMS + SIDES).map(|d| volume(part, d)));
    let with_gpus = |s: usize| least(part, s, DIMS - 1) > 0;
    let scarce = part.demands.iter().filter(|d| d.options.iter().all(|(s, _)| with_gpus(*s)));
    let scarce = Problem { demands: scarce.cloned().collect(), ..part.clone() };
    for priced in [part, &scarce] {
        let (prices, upper) = proof(priced);
        let worth = priced
            .demands
            .iter()
            .filter_map(|d| d.options.iter().map(|(s, n)| i128::from(prices[*s]) * i128::from(*n)).min());
        cuts.push(Cut { needs: worth.sum(), gives: upper.iter().map(|v| i128::from(*v)).collect() });
    }
    cuts
}

/// Hosts that must be whole.
fn whole(part: &Problem) -> Cut {
    let shape = |s: usize| &part.shapes[s];
    let only =
        part.demands.iter().filter(|d| d.options.iter().all(|(s, _)| matches!(shape(*s).fit, Fit::Whole(_))));
    let only: Vec<_> = only.collect();
    let needs = only.iter().filter_map(|d| d.options.iter().map(|(_, n)| i128::from(*n)).min()).sum();
    let takes = |h: &HostType| only.iter().flat_map(|d| &d.options).any(|(s, _)| shape(*s).takes(h));
    Cut { needs, gives: part.hosts.iter().map(|(h, _)| i128::from(takes(h))).collect() }
}

/// One resource: of NUMA nodes, then of hosts.
fn volume(part: &Problem, d: usize) -> Cut {
    let of = |(s, n): &(usize, u32)| i128::from(least(part, *s, d)) * i128::from(*n);
    let needs = part.demands.iter().filter_map(|demand| demand.options.iter().map(of).min());
    let gives = part.hosts.iter().map(|(h, _)| i128::from(has(h, d)));
    Cut { needs: needs.sum(), gives: gives.collect() }
}

fn has(host: &HostType, d: usize) -> i64 {
    match d.checked_sub(DIMS) {
        None => host.nodes.iter().map(|n| n[d].max(0)).sum(),
        Some(side) => host.side[side].max(0),
    }
}

/// What one of a shape takes of a resource at least: all that the host has, when it takes the host.
fn least(part: &Problem, s: usize, d: usize) -> i64 {
    let shape = &part.shapes[s];
    match (&shape.fit, d.checked_sub(DIMS)) {
        (Fit::Whole(_), _) => {
            let taken = part.hosts.iter().filter(|(h, n)| *n > 0 && shape.takes(h));
            taken.map(|(h, _)| has(h, d)).min().unwrap_or(0)
        }
        (_, None) => shape.res[d],
        (_, Some(side)) => shape.side[side],
    }
}
