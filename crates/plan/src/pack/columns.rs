//! Column generation: the master problem over packing patterns, fed by pricing until the bound meets it.

use std::collections::BTreeMap;

use super::bound::{Bound, SCALE, lagrangian};
use super::price::Pricer;
use super::simplex::{Sense, Simplex};
use super::{Pattern, Problem, Slot};

/// What a unit of a shape costs, in the dearest host, while no pattern covers it.
const PENALTY: f64 = 64.0;
/// Pivots one solve may take.
const MOST_PIVOTS: usize = 20_000;

/// The master problem and its columns.
pub struct Master {
    patterns: Vec<Pattern>,
    known: BTreeMap<Pattern, usize>,
}

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
                    let count = rest.room(shape, at);
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
    /// `rounds` of pricing.
    pub fn solve(&mut self, problem: &Problem, pricer: &Pricer, rounds: usize) -> Relaxed {
        let mut program = Program::new(problem);
        for (p, pattern) in self.patterns.iter().enumerate() {
            program.add(problem, p, pattern);
        }
        let mut bound = Bound::default();
        let mut best_prices: Option<Vec<f64>> = None;
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
            // Prices between the best seen and the newest converge in fewer rounds than the newest alone.
            let mut improved = false;
            let attempts: &[f64] = if best_prices.is_some() { &[0.5, 0.0] } else { &[0.0] };
            for keep in attempts {
                let mixed = mix(best_prices.as_deref(), &duals, *keep);
                let (found, proven) = self.price(problem, pricer, &scaled(&mixed), &prices, &mut program);
                improved |= found;
                if proven.exact > bound.exact {
                    best_prices = Some(mixed);
                }
                bound = bound.max(proven);
                if improved {
                    break;
                }
            }
            round += 1;
            if std::env::var_os("DBG").is_some() { eprintln!("round {round} floor {floor} bound {:?} improved {improved} shapes {} hosts {} patterns {}", bound, problem.shapes.len(), problem.hosts.len(), self.patterns.len()); }
            if !improved
                || bound.exact >= floor - 1e-6
                || bound.exact.ceil() >= floor - 1e-9 && bound.exact > 0.0
            {
                break;
            }
        }
        program.lp.solve(MOST_PIVOTS);
        let (patterns, options) = program.read(problem, &self.patterns);
        let prices = best_prices.map_or(prices, |p| scaled(&p));
        Relaxed { patterns, options, prices, bound }
    }

    /// Prices every host type; adds patterns that improve at the master's own duals.
    fn price(
        &mut self,
        problem: &Problem,
        pricer: &Pricer,
        prices: &[i64],
        duals: &[i64],
        program: &mut Program,
    ) -> (bool, Bound) {
        let tables = pricer.tables(prices);
        let mut upper = Vec::with_capacity(problem.hosts.len());
        let mut found = false;
        let rent = program.rents(problem);
        for host in 0..problem.hosts.len() {
            let best = pricer.best(problem, host, prices, &tables, SCALE / 4096);
            upper.push(best.upper);
            let worth: i64 = best.pattern.slots.iter().map(|s| duals[s.shape] * i64::from(s.count)).sum();
            let due = (f64::from(problem.hosts[host].0.cost) + rent[host]) * SCALE as f64;
            if problem.hosts[host].1 > 0 && worth as f64 > due + SCALE as f64 * 1e-7 && self.add(best.pattern)
            {
                let p = self.patterns.len() - 1;
                program.add(problem, p, &self.patterns[p]);
                found = true;
            }
        }
        (found, lagrangian(problem, prices, &upper))
    }
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
