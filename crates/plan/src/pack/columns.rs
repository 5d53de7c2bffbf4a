//! Column generation: the master problem over packing patterns, fed by pricing until the bound meets it.

use std::collections::BTreeMap;

use super::bound::{Bound, SCALE, lagrangian};
use super::knapsack::Effort;
use super::price::Pricer;
use super::simplex::{Sense, Simplex};
use super::{Pattern, Problem, Slot};

/// What a unit of a shape costs, in the dearest host, while no pattern covers it.
const PENALTY: f64 = 64.0;
/// Branches of a quick look for one host's pattern.
pub const QUICK: usize = 60;
/// Pivots one solve may take.
const MOST_PIVOTS: usize = 20_000;

/// The master problem and its columns.
pub struct Master {
    patterns: Vec<Pattern>,
    known: BTreeMap<Pattern, usize>,
}

/// Prices of shapes, and the most that a host of each type is worth at them.
pub type Proof = (Vec<i64>, Vec<i64>);

/// What a solved relaxation says.
pub struct Relaxed {
    /// Patterns in use with fractional counts.
    pub patterns: Vec<(Pattern, f64)>,
    /// Weight of each option of each demand.
    pub options: Vec<Vec<f64>>,
    /// Prices of shapes.
    pub prices: Vec<i64>,
    /// The proven bound (only when every host type was priced).
    pub bound: Bound,
    /// What proves the bound.
    pub proof: Proof,
}

impl Master {
    /// A master that knows, for each shape and host type, the host filled with that shape alone: enough for sensible
    /// prices from the first round on.
    pub fn new(problem: &Problem) -> Master {
        let mut master = Master { patterns: Vec::new(), known: BTreeMap::new() };
        let wanted: Vec<usize> = problem.demands.iter().flat_map(|d| &d.options).map(|(s, _)| *s).collect();
        for (host, (kind, _)) in problem.hosts.iter().enumerate() {
            for (s, shape) in problem.shapes.iter().enumerate().filter(|(s, _)| wanted.contains(s)) {
                if shape.takes(kind) {
                    master.add(Pattern { host, slots: vec![Slot { shape: s, nodes: [0, 0], count: 1 }] });
                    continue;
                }
                let (mut rest, mut slots) = (kind.clone(), Vec::new());
                for at in shape.places(kind) {
                    let held: u32 = slots.iter().map(|s: &Slot| s.count).sum();
                    let count = rest.room(shape, at).min(i64::from(problem.most_of(s) - held));
                    if count > 0 && rest.take(shape, at, count).is_some() {
                        slots.push(Slot { shape: s, nodes: at, count: count as u32 });
                    }
                }
                master.add(Pattern { host, slots });
            }
        }
        master
    }

    /// Adds a pattern; false when it is known.
    pub fn add(&mut self, pattern: Pattern) -> bool {
        if pattern.slots.is_empty() || self.known.contains_key(&pattern) {
            return false;
        }
        self.known.insert(pattern.clone(), self.patterns.len());
        self.patterns.push(pattern);
        true
    }

    /// Solves the relaxation of `problem` (same shapes and host types as ever; counts may have changed) with at most
    /// `rounds` of pricing; where no grid applies, the last look at a host takes up to `thorough` branches.
    pub fn solve(&mut self, problem: &Problem, pricer: &Pricer, rounds: usize, thorough: usize) -> Relaxed {
        let mut program = Program::new(problem);
        for (p, pattern) in self.patterns.iter().enumerate() {
            program.add(problem, p, pattern);
        }
        let mut bound = Bound::default();
        let mut best_prices: Option<Vec<f64>> = None;
        let mut proof = (vec![0; problem.shapes.len()], vec![0; problem.hosts.len()]);
        let mut prices;
        let mut round = 0;
        loop {
            program.lp.solve(MOST_PIVOTS);
            let duals = program.prices();
            let floor = program.objective();
            prices = scaled(&duals);
            if round >= rounds {
                break;
            }
            // Prices between the best seen and the newest converge in fewer rounds than the newest alone. Where that
            // ends, a longer look finds what is missing, or proves that nothing is.
            let mut improved = false;
            let mixed = best_prices.as_ref().map(|_| (0.5, QUICK));
            for (keep, branches) in mixed.into_iter().chain([(0.0, QUICK), (0.0, thorough)]) {
                let mixed = mix(best_prices.as_deref(), &duals, keep);
                let (found, proven, by) =
                    self.price(problem, pricer, &scaled(&mixed), &prices, &mut program, branches);
                improved |= found;
                if proven.exact > bound.exact {
                    best_prices = Some(mixed);
                    proof = by;
                }
                bound = bound.max(proven);
                if improved || met(bound, floor) || thorough == QUICK && keep == 0.0 {
                    break;
                }
            }
            round += 1;
            if !improved || met(bound, floor) {
                break;
            }
        }
        program.lp.solve(MOST_PIVOTS);
        let (patterns, options) = program.read(problem, &self.patterns);
        let prices = best_prices.map_or(prices, |p| scaled(&p));
        Relaxed { patterns, options, prices, bound, proof }
    }

    /// Prices every host type; adds patterns that improve at the master's own duals.
    fn price(
        &mut self,
        problem: &Problem,
        pricer: &Pricer,
        prices: &[i64],
        duals: &[i64],
        program: &mut Program,
        branches: usize,
    ) -> (bool, Bound, Proof) {
        let prices = level(problem, prices);
        let tables = pricer.tables(&prices);
        let mut upper = Vec::with_capacity(problem.hosts.len());
        let mut found = false;
        let rent = program.rents(problem);
        for (host, (kind, count)) in problem.hosts.iter().enumerate() {
            let slack = SCALE / 4096 * i64::from(kind.cost);
            let best = pricer.best(problem, host, &prices, &tables, Effort { slack, branches });
            upper.push(best.upper);
            let worth: i64 = best.pattern.slots.iter().map(|s| duals[s.shape] * i64::from(s.count)).sum();
            let due = (f64::from(kind.cost) + rent[host]) * SCALE as f64;
            if *count > 0 && worth as f64 > due + SCALE as f64 * 1e-7 && self.add(best.pattern) {
                let p = self.patterns.len() - 1;
                program.add(problem, p, &self.patterns[p]);
                found = true;
            }
        }
        let bound = lagrangian(problem, &prices, &upper);
        (found, bound, (prices, upper))
    }
}

/// Nothing is left between the bound and the relaxation, or no whole host.
fn met(bound: Bound, floor: f64) -> bool {
    bound.exact >= floor - 1e-6 || bound.exact.ceil() >= floor - 1e-9 && bound.exact > 0.0
}

/// Prices cut to what they say: alternatives of a demand are worth its cheapest one, for less cannot be had and more is
/// not earned. The demand's worth stays, patterns are worth less.
fn level(problem: &Problem, prices: &[i64]) -> Vec<i64> {
    let mut level = vec![0; prices.len()];
    for demand in &problem.demands {
        let worth = |(s, n): &(usize, u32)| i128::from(prices[*s].max(0)) * i128::from(*n);
        let least = demand.options.iter().map(worth).min().unwrap_or(0);
        for (s, n) in demand.options.iter().filter(|(_, n)| *n > 0) {
            let each = (least + i128::from(*n) - 1) / i128::from(*n);
            level[*s] = level[*s].max(i64::try_from(each).unwrap_or(i64::MAX));
        }
    }
    level
}

fn scaled(prices: &[f64]) -> Vec<i64> {
    prices.iter().map(|p| (p.max(0.0) * SCALE as f64).round() as i64).collect()
}

fn mix(old: Option<&[f64]>, new: &[f64], keep: f64) -> Vec<f64> {
    match old {
        Some(old) => old.iter().zip(new).map(|(o, n)| keep * o + (1.0 - keep) * n).collect(),
        None => new.to_vec(),
    }
}

/// The linear program: a row per shape, per demand with alternatives, per host type.
struct Program {
    lp: Simplex,
    shapes: usize,
    hosts_at: usize,
    columns: Vec<Column>,
}

#[derive(Clone, Copy)]
enum Column {
    Own,
    Option(usize, usize),
    Pattern(usize),
}

impl Program {
    fn new(problem: &Problem) -> Program {
        let shapes = problem.shapes.len();
        let mut needed = vec![0.0; shapes];
        let mut open = Vec::new();
        for (d, demand) in problem.demands.iter().enumerate() {
            match demand.options.as_slice() {
                [] => {}
                [(shape, count)] => needed[*shape] += f64::from(*count),
                _ => open.push(d),
            }
        }
        let dearest = problem.hosts.iter().map(|(h, _)| h.cost).max().unwrap_or(1).max(1);
        let mut rows: Vec<(Sense, f64)> = needed.into_iter().map(|n| (Sense::AtLeast, n)).collect();
        rows.extend(open.iter().map(|_| (Sense::Equal, 1.0)));
        let hosts_at = rows.len();
        rows.extend(problem.hosts.iter().map(|(_, n)| (Sense::AtMost, f64::from(*n))));
        let lp = Simplex::new(&rows, PENALTY * f64::from(dearest));
        let mut program = Program { lp, shapes, hosts_at, columns: Vec::new() };
        for (i, d) in open.into_iter().enumerate() {
            for (o, (shape, count)) in problem.demands[d].options.iter().enumerate() {
                let column = program.lp.add(0.0, vec![(shapes + i, 1.0), (*shape, -f64::from(*count))]);
                program.mark(column, Column::Option(d, o));
            }
        }
        program
    }

    fn mark(&mut self, column: usize, what: Column) {
        self.columns.resize(column, Column::Own);
        self.columns.push(what);
    }

    fn add(&mut self, problem: &Problem, index: usize, pattern: &Pattern) {
        if problem.hosts[pattern.host].1 == 0 {
            return;
        }
        let mut entries: Vec<(usize, f64)> = Vec::with_capacity(pattern.slots.len() + 1);
        for slot in &pattern.slots {
            match entries.iter_mut().find(|(r, _)| *r == slot.shape) {
                Some((_, v)) => *v += f64::from(slot.count),
                None => entries.push((slot.shape, f64::from(slot.count))),
            }
        }
        entries.push((self.hosts_at + pattern.host, 1.0));
        let column = self.lp.add(f64::from(problem.hosts[pattern.host].0.cost), entries);
        self.mark(column, Column::Pattern(index));
    }

    fn prices(&self) -> Vec<f64> {
        self.lp.duals()[..self.shapes].to_vec()
    }

    /// What the scarcity of each host type adds to its cost.
    fn rents(&self, problem: &Problem) -> Vec<f64> {
        let duals = self.lp.duals();
        (0..problem.hosts.len()).map(|h| (-duals[self.hosts_at + h]).max(0.0)).collect()
    }

    fn objective(&self) -> f64 {
        self.lp.objective()
    }

    fn read(&self, problem: &Problem, patterns: &[Pattern]) -> (Vec<(Pattern, f64)>, Vec<Vec<f64>>) {
        let mut used = Vec::new();
        let mut options: Vec<Vec<f64>> = problem.demands.iter().map(|d| vec![0.0; d.options.len()]).collect();
        options.iter_mut().filter(|o| o.len() == 1).for_each(|o| o[0] = 1.0);
        for (column, value) in self.lp.solution() {
            match self.columns.get(column) {
                Some(Column::Pattern(p)) => used.push((patterns[*p].clone(), value)),
                Some(Column::Option(d, o)) => options[*d][*o] = value,
                Some(Column::Own) | None => {}
            }
        }
        (used, options)
    }
}
