//! The certified bound: for any non-negative prices of shapes, no placement of everything costs less.
//!
//! With prices `p` (integers over [`SCALE`]) and `v(t)` at least the worth of every pattern of host type `t`, a
//! placement that opens hosts covers the demand, so its cost is at least
//! `sum over demands of the cheapest option's worth - sum over types of count(t) * max(0, v(t) - cost(t))`.
//! This is the Lagrangian dual of the master problem; it holds whatever the simplex did.

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
    let value = (worth - surplus).max(0);
    let all: i128 = problem.hosts.iter().map(|(h, n)| i128::from(h.cost) * i128::from(*n)).sum();
    Bound {
        at_least: u64::try_from((value + scale - 1) / scale).unwrap_or(u64::MAX),
        exact: value as f64 / scale as f64,
        infeasible: value > all * scale,
    }
}

impl Bound {
    /// The stronger of two bounds.
    pub fn max(self, other: Bound) -> Bound {
        let infeasible = self.infeasible || other.infeasible;
        let best = if other.exact > self.exact { other } else { self };
        Bound { infeasible, ..best }
    }
}
