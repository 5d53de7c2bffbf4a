//! From the relaxation to whole hosts: dive (fix what is whole, then the largest fraction, price again), then close
//! hosts whose content finds room elsewhere.

use super::bound::Bound;
use super::columns::{Master, Proof, QUICK, Relaxed};
use super::opened::Opened;
use super::price::Pricer;
use super::{Demand, Packing, Pattern, Problem};

/// Pricing rounds at the root: the bound ends the loop long before.
const ROOT_ROUNDS: usize = 600;
/// Branches of the look that proves the bound.
const THOROUGH: usize = 300;
/// Pricing rounds once alternatives are decided: most columns are known by then.
const FIXED_ROUNDS: usize = 30;

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
