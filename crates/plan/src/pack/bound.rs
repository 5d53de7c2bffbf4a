//! The certified bound: for any non-negative prices of shapes, no placement of everything costs less.
//!
//! With prices `p` (integers over [`SCALE`]) and `v(t)` at least the worth of every pattern of host type `t`, a
//! placement that opens hosts covers the demand, so its cost is at least
//! `sum over demands of the cheapest option's worth - sum over types of count(t) * max(0, v(t) - cost(t))`.
//! This is the Lagrangian dual of the master problem; it holds whatever the simplex did. Where hosts are plenty,
//! prices scaled down until no pattern is worth more than its host say more (Farley's bound), so both are taken.

use super::Problem;

/// Prices are counted in this fraction of one host.
pub const SCALE: i64 = 1 << 26;

/// What is proven about every placement.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bound {
    /// No placement of everything costs less (in hosts when each costs 1).
    pub at_least: u64,
    /// Before rounding up.
    pub exact: f64,
    /// It is proven that not everything can be placed.
    pub infeasible: bool,
}

/// The bound at prices, where `upper[t]` is no less than the worth of any pattern of type `t`.
pub fn lagrangian(problem: &Problem, prices: &[i64], upper: &[i64]) -> Bound {
    let worth: i128 = problem
        .demands
        .iter()
        .filter_map(|d| d.options.iter().map(|(s, n)| i128::from(prices[*s].max(0)) * i128::from(*n)).min())
        .sum();
    let surplus: i128 = problem
        .hosts
        .iter()
        .zip(upper)
        .map(|((host, count), v)| {
            (i128::from(*v) - i128::from(host.cost) * i128::from(SCALE)).max(0) * i128::from(*count)
        })
        .sum();
    let scale = i128::from(SCALE);
    let value = (worth - surplus).max(scaled(problem, worth, upper)).max(0);
    let all: i128 = problem.hosts.iter().map(|(h, n)| i128::from(h.cost) * i128::from(*n)).sum();
    Bound {
        at_least: u64::try_from((value + scale - 1) / scale).unwrap_or(u64::MAX),
        exact: value as f64 / scale as f64,
        infeasible: value > all * scale,
    }
}

/// What the demand is worth once prices are cut so far that every pattern is worth its host at most.
fn scaled(problem: &Problem, worth: i128, upper: &[i64]) -> i128 {
    let there = problem.hosts.iter().zip(upper).filter(|((_, count), _)| *count > 0);
    there.fold(worth, |least, ((host, _), v)| {
        let (cost, v) = (i128::from(host.cost) * i128::from(SCALE), i128::from(*v));
        if v > cost { least.min(worth * cost / v) } else { least }
    })
}

impl Bound {
    /// The stronger of two bounds.
    pub fn max(self, other: Bound) -> Bound {
        let infeasible = self.infeasible || other.infeasible;
        let best = if other.exact > self.exact { other } else { self };
        Bound { infeasible, ..best }
    }
}
