//! Pricing: the most valuable pattern of a host type at given shape prices, with a proven upper value.

use std::collections::BTreeSet;

use super::grid::{Axes, Table};
use super::knapsack::{self, Effort};
use super::{Company, Fit, HostType, Pattern, Problem, Res, Shape, Slot};

/// What pricing keeps between calls.
#[derive(Clone, Debug)]
pub struct Pricer {
    pools: Vec<Pool>,
    whole: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Pool {
    /// Of one set.
    company: Company,
    /// Shapes on one node, with their sizes.
    pieces: Vec<(usize, Res)>,
    split: Vec<usize>,
    all: Vec<usize>,
    axes: Option<Axes>,
}

/// A pattern with its value and the value that no pattern of this host type exceeds.
#[derive(Clone, Debug)]
pub struct Priced {
    /// The pattern.
    pub pattern: Pattern,
    /// Its worth at the prices.
    pub value: i64,
    /// No pattern is worth more.
    pub upper: i64,
}

/// Tables for one vector of prices.
pub struct Tables(Vec<Option<Table>>);

impl Pricer {
    /// Prepares for a problem.
    pub fn new(problem: &Problem) -> Pricer {
        let among = companies(&problem.shapes);
        let of = |keep: &dyn Fn(&Shape) -> bool| -> Vec<usize> {
            (0..problem.shapes.len()).filter(|s| keep(&problem.shapes[*s])).collect()
        };
        let whole = of(&|s| matches!(s.fit, Fit::Whole(_)));
        let single = problem.hosts.iter().any(|(h, _)| h.nodes.len() == 1);
        let pools = among
            .into_iter()
            .map(|company| {
                let within = |s: &Shape| s.company.with(company).is_some();
                let node = of(&|s| within(s) && s.fit == Fit::Node);
                let split = of(&|s| within(s) && s.fit == Fit::Split);
                let pieces: Vec<(usize, Res)> = node.iter().map(|s| (*s, problem.shapes[*s].res)).collect();
                let sizes: Vec<Res> = pieces.iter().map(|(_, r)| *r).collect();
                let wide = problem.hosts.iter().any(|(h, _)| h.nodes.len() > 2);
                let simple = split.is_empty() || !(single || wide);
                let axes = if simple { Axes::of(&sizes, &problem.hosts) } else { None };
                Pool { company, all: [node, split.clone()].concat(), pieces, split, axes }
            })
            .collect();
        Pricer { pools, whole }
    }

    /// Tables for prices.
    pub fn tables(&self, prices: &[i64]) -> Tables {
        Tables(self.pools.iter().map(|p| p.axes.as_ref().map(|a| a.fill(&p.pieces, prices))).collect())
    }

    /// The best pattern of a host type.
    pub fn best(
        &self,
        problem: &Problem,
        host: usize,
        prices: &[i64],
        tables: &Tables,
        effort: Effort,
    ) -> Priced {
        self.best_on(problem, host, &problem.hosts[host].0, prices, tables, effort)
    }

    /// The same for a host of which something is taken already.
    pub fn best_on(
        &self,
        problem: &Problem,
        host: usize,
        kind: &HostType,
        prices: &[i64],
        tables: &Tables,
        effort: Effort,
    ) -> Priced {
        let mut best = Priced { pattern: Pattern { host, slots: Vec::new() }, value: 0, upper: 0 };
        for shape in self.whole.iter().filter(|s| problem.shapes[**s].takes(kind)) {
            let slots = vec![Slot { shape: *shape, nodes: [0, 0], count: 1 }];
            best.raise(Priced {
                pattern: Pattern { host, slots },
                value: prices[*shape],
                upper: prices[*shape],
            });
        }
        for (pool, table) in self.pools.iter().zip(&tables.0) {
            if kind.company.is_none_or(|c| c.with(pool.company).is_some()) {
                best.raise(best_of_pool(problem, host, kind, pool, table.as_ref(), prices, effort));
            }
        }
        best
    }
}

/// Every choice of tenants that a host may hold together, one set each; sets with the same shapes are one.
fn companies(shapes: &[Shape]) -> Vec<Company> {
    let mut known: Vec<Vec<bool>> = Vec::new();
    let mut found = Vec::new();
    let all: BTreeSet<Company> = shapes.iter().map(|s| s.company).collect();
    for pool in all.iter().map(|c| c.pool).collect::<BTreeSet<u32>>() {
        let union = all.iter().filter(|c| c.pool == pool).fold(0, |sets, c| sets | c.sets);
        for bit in (0..u64::BITS).filter(|b| union & (1 << b) != 0) {
            let company = Company { pool, sets: 1 << bit };
            let members: Vec<bool> = shapes.iter().map(|s| s.company.with(company).is_some()).collect();
            if !known.contains(&members) {
                known.push(members);
                found.push(company);
            }
        }
    }
    found
}

fn best_of_pool(
    problem: &Problem,
    host: usize,
    kind: &HostType,
    pool: &Pool,
    table: Option<&Table>,
    prices: &[i64],
    effort: Effort,
) -> Priced {
    let grid =
        pool.axes.as_ref().zip(table).map(|(axes, t)| on_grid(host, kind, problem, pool, axes, t, prices));
    if let Some(exact) = grid.as_ref().filter(|g| g.pattern.allowed(kind, problem)) {
        return exact.clone();
    }
    let (pattern, value, upper) = knapsack::best(host, kind, problem, &pool.all, prices, effort);
    let upper = grid.map_or(upper, |g| g.upper.min(upper)).max(value);
    Priced { pattern, value, upper }
}

impl Priced {
    fn raise(&mut self, other: Priced) {
        let upper = self.upper.max(other.upper);
        if other.value > self.value {
            *self = other;
        }
        self.upper = upper;
    }
}

/// Tries every count of split shapes, and fills what is left of each node from the table.
/// The host's own resources and limits are not looked at: the value is then an upper bound only.
fn on_grid(
    host: usize,
    kind: &HostType,
    problem: &Problem,
    pool: &Pool,
    axes: &Axes,
    table: &Table,
    prices: &[i64],
) -> Priced {
    let mut enumeration = Splits {
        shapes: pool.split.iter().map(|s| (problem.shapes[*s].per_node(kind), prices[*s])).collect(),
        counts: vec![0; pool.split.len()],
        best: (-1, vec![0; pool.split.len()]),
        axes,
        table,
    };
    enumeration.explore(0, &mut kind.nodes.clone(), 0);
    let (value, counts) = enumeration.best;
    let mut left = kind.nodes.clone();
    let mut slots = Vec::new();
    for (shape, count) in pool.split.iter().zip(counts).filter(|(_, n)| *n > 0) {
        slots.push(Slot { shape: *shape, nodes: [0, 1], count });
        let part = problem.shapes[*shape].per_node(kind);
        for node in &mut left {
            node.iter_mut().zip(part).for_each(|(have, need)| *have -= need * i64::from(count));
        }
    }
    for (n, node) in left.iter().enumerate() {
        let mut filling = Vec::new();
        axes.filling(table, node, &problem.shapes, &mut filling);
        filling.sort_unstable();
        for run in filling.chunk_by(|a, b| a == b) {
            slots.push(Slot { shape: run[0], nodes: [n as u8; 2], count: run.len() as u32 });
        }
    }
    Priced { pattern: Pattern { host, slots }, value, upper: value }
}

struct Splits<'a> {
    shapes: Vec<(Res, i64)>,
    counts: Vec<u32>,
    best: (i64, Vec<u32>),
    axes: &'a Axes,
    table: &'a Table,
}

impl Splits<'_> {
    fn explore(&mut self, at: usize, left: &mut [Res], value: i64) {
        let Some((part, price)) = self.shapes.get(at).copied() else {
            let filled: i64 = left.iter().map(|n| self.table.at(self.axes.cell(n))).sum();
            if value + filled > self.best.0 {
                self.best = (value + filled, self.counts.clone());
            }
            return;
        };
        let mut taken = 0;
        loop {
            self.counts[at] = taken;
            self.explore(at + 1, left, value + price * i64::from(taken));
            let fits = left.len() == 2
                && price > 0
                && left.iter().all(|n| n.iter().zip(part).all(|(have, need)| *have >= need));
            if !fits {
                break;
            }
            taken += 1;
            left.iter_mut().for_each(|n| n.iter_mut().zip(part).for_each(|(have, need)| *have -= need));
        }
        let back = i64::from(taken);
        left.iter_mut().for_each(|n| n.iter_mut().zip(part).for_each(|(have, need)| *have += need * back));
        self.counts[at] = 0;
    }
}
