//! What no plan can beat: the strongest of several bounds, losses included.

use std::collections::BTreeMap;

use super::classes::Hosts;
use super::wishes::Wishes;
use crate::blueprint::Material;
use crate::input::{Demand, Isolation};
use crate::pack::{self, Bound, Fit, Problem, apart, counts};

/// Parts of a demand that are bounded one by one.
const MOST_PARTS: usize = 40;

/// Of every plan that holds the demand and survives what it must.
#[derive(Clone, Copy, Debug)]
pub struct Floor {
    /// What the objective counts, at least: servers, or their price.
    pub at_least: f64,
    /// There is no such plan.
    pub impossible: bool,
}

/// The floor of a demand in `parts`, where `whole` bounds all of it at once.
pub fn at_least(problem: &Problem, whole: Bound, parts: &[Problem], demand: &Demand, hosts: &Hosts) -> Floor {
    let survive = demand.policy.survive;
    let bounds: Vec<Bound> =
        if parts.len() > 1 { parts.iter().map(pack::bound).collect() } else { vec![whole] };
    let needed = bounds.iter().map(|b| b.at_least).sum::<u64>().max(whole.at_least);
    // The k dearest hosts may be the ones that are lost.
    let cheapest = problem.hosts.iter().map(|(h, _)| u64::from(h.cost)).min().unwrap_or(0);
    let lost = if needed > 0 { u64::from(survive.hosts) * cheapest } else { 0 };
    // The dearest of R racks has at least a part in R of everything, and the others alone must hold it.
    let racks = hosts.racks.len() as u64;
    let by_rack = if survive.rack && racks > 1 { (needed * racks).div_ceil(racks - 1) } else { 0 };
    let by_type = counts::at_least(parts, survive.hosts).unwrap_or(0);
    let apart = if survive.hosts > 0 { apart::at_least(parts, survive.hosts) } else { 0 };
    let cost = (needed + lost).max(by_rack).max(by_type).max(apart) as f64 * hosts.unit;
    Floor {
        // To a ten-thousandth, downwards: a figure that JSON gives back as it got it.
        at_least: (cost * 1e4 + 1e-3).floor() / 1e4,
        impossible: whole.infeasible || bounds.iter().any(|b| b.infeasible),
    }
}

/// Demands that never share a host: servers that are Nodes, each dedicated tenant, everyone else.
pub fn parts(problem: &Problem, wishes: &Wishes, demand: &Demand, demand_of: &[usize]) -> Vec<Problem> {
    let mut parts: BTreeMap<usize, BTreeMap<usize, u32>> = BTreeMap::new();
    for (w, wish) in wishes.wishes.iter().enumerate() {
        let metal = wish.options.iter().all(|o| matches!(wishes.shapes[o.shape].fit, Fit::Whole(_)));
        let alone = wish.tenant.filter(|t| {
            demand.tenants[*t].isolation == Isolation::Dedicated
                && wish.options.iter().all(|o| wishes.infos[o.shape].material != Material::Pod)
        });
        let part = if metal { usize::MAX } else { alone.unwrap_or(usize::MAX - 1) };
        *parts.entry(part).or_default().entry(demand_of[w]).or_default() += 1;
    }
    if parts.len() > MOST_PARTS {
        return vec![problem.clone()];
    }
    let members = |d: usize| demand_of.iter().filter(|x| **x == d).count() as u32;
    let part = |wanted: &BTreeMap<usize, u32>| {
        let demands = wanted.iter().map(|(d, n)| {
            let options = problem.demands[*d].options.iter().map(|(s, c)| (*s, c / members(*d) * n));
            pack::Demand { options: options.collect() }
        });
        Problem { demands: demands.collect(), ..problem.clone() }
    };
    parts.values().map(part).collect()
}
