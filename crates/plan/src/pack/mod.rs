//! Packing shapes into hosts: a certified lower bound by column generation and its rounding to a placement.
//!
//! In: [`Problem`], host types with counts and demands for shapes. Out: [`Packing`], which host takes what on which
//! NUMA node, and a bound that no placement can beat. Never floats where a guarantee is given: duals come from a
//! floating simplex, the bound is recomputed from them in integers.

pub mod apart;
pub mod baseline;
mod bound;
mod columns;
pub mod counts;
mod exact;
mod grid;
pub mod groups;
mod knapsack;
pub mod online;
mod opened;
mod price;
mod round;
mod simplex;

pub use bound::Bound;
pub use exact::{fewest_hosts, pack_one};

/// Resources of one NUMA node, or of a shape: CPU in millicores, memory in MiB, GPUs.
pub type Res = [i64; DIMS];
/// Resources that belong to the host as a whole: Pod slots, disk in GiB.
pub type Side = [i64; SIDES];

/// How many resources a NUMA node has.
pub const DIMS: usize = 3;
/// How many resources only the whole host has.
pub const SIDES: usize = 2;

/// Hosts that are alike for the packer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostType {
    /// What each NUMA node has to give.
    pub nodes: Vec<Res>,
    /// What the host has to give besides.
    pub side: Side,
    /// What opening one costs; 0 for a host that is open anyway.
    pub cost: u32,
    /// Which [`Fit::Whole`] shapes may take it.
    pub class: u32,
    /// Who may still enter; `None` while the host is free.
    pub company: Option<Company>,
}

/// How a shape lies on a host.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fit {
    /// On one NUMA node.
    Node,
    /// Half on one NUMA node and half on another; a host with one node takes it whole.
    Split,
    /// The host itself, of one of these classes.
    Whole(Vec<u32>),
}

/// A kind of thing to place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shape {
    /// What it takes of NUMA nodes, in all.
    pub res: Res,
    /// What it takes of the host.
    pub side: Side,
    /// How it lies.
    pub fit: Fit,
    /// With whom it shares a host.
    pub company: Company,
}

/// Who may share a host: those of one pool who have a set in common with all others on it. A set is a choice of tenants
/// of whom no two avoid each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Company {
    /// Different pools never meet.
    pub pool: u32,
    /// One bit for each set.
    pub sets: u64,
}

impl Company {
    /// Anyone of the common pool.
    pub const ANY: Company = Company { pool: 0, sets: u64::MAX };

    /// What is left of the choice when both lie on a host; `None` when they must not.
    pub fn with(self, other: Company) -> Option<Company> {
        let sets = self.sets & other.sets;
        (self.pool == other.pool && sets != 0).then_some(Company { sets, ..self })
    }
}

/// Something wanted: exactly one of the options, each a shape and how many of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Alternatives: `(shape index, count)`.
    pub options: Vec<(usize, u32)>,
}

/// What to pack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// Host types with how many there are of each.
    pub hosts: Vec<(HostType, u32)>,
    /// Shapes that demands speak of.
    pub shapes: Vec<Shape>,
    /// What is wanted.
    pub demands: Vec<Demand>,
    /// Of each shape, the most that one host may hold (replicas apart); empty when nothing limits it.
    pub most: Vec<u32>,
}

impl Problem {
    /// The most of a shape that one host may hold.
    pub fn most_of(&self, shape: usize) -> u32 {
        self.most.get(shape).copied().unwrap_or(u32::MAX)
    }
}

/// `count` shapes on one place of a host: both entries of `nodes` alike unless the shape is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    /// Shape index.
    pub shape: usize,
    /// NUMA nodes.
    pub nodes: [u8; 2],
    /// How many.
    pub count: u32,
}

/// What one host of a type may hold at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern {
    /// Host type index.
    pub host: usize,
    /// What lies where.
    pub slots: Vec<Slot>,
}

/// A placement with its proof.
#[derive(Clone, Debug, PartialEq)]
pub struct Packing {
    /// Hosts to open: a pattern and how many hosts follow it.
    pub opened: Vec<(Pattern, u32)>,
    /// Which option each demand took.
    pub chosen: Vec<usize>,
    /// What found no place: `(shape index, count)`.
    pub unplaced: Vec<(usize, u32)>,
    /// No placement of everything costs less.
    pub bound: Bound,
    /// Prices of shapes at the end, in hosts: what one more would cost at the margin.
    pub prices: Vec<f64>,
}

impl Packing {
    /// What the opened hosts cost together (their number when every cost is 1).
    pub fn cost(&self, problem: &Problem) -> u64 {
        self.opened.iter().map(|(p, n)| u64::from(problem.hosts[p.host].0.cost) * u64::from(*n)).sum()
    }

    /// How many hosts are opened.
    pub fn hosts(&self) -> u64 {
        self.opened.iter().map(|(_, n)| u64::from(*n)).sum()
    }
}

impl Shape {
    /// What it takes of one NUMA node that it touches.
    pub fn per_node(&self, host: &HostType) -> Res {
        match self.fit {
            Fit::Split if host.nodes.len() > 1 => self.res.map(|v| (v + 1) / 2),
            _ => self.res,
        }
    }

    /// Pairs of NUMA nodes that it may lie on.
    pub fn places(&self, host: &HostType) -> Vec<[u8; 2]> {
        let n = host.nodes.len() as u8;
        if !host.admits(self) {
            return Vec::new();
        }
        match &self.fit {
            Fit::Split if n > 1 => (0..n).flat_map(|a| (a + 1..n).map(move |b| [a, b])).collect(),
            Fit::Whole(_) => Vec::new(),
            _ => (0..n).map(|a| [a, a]).collect(),
        }
    }

    /// Whether it takes a whole host of this type.
    pub fn takes(&self, host: &HostType) -> bool {
        matches!(&self.fit, Fit::Whole(classes) if classes.contains(&host.class)) && host.admits(self)
    }
}

impl Pattern {
    /// How many of each shape it holds.
    pub fn counts(&self, shapes: usize) -> Vec<u32> {
        let mut counts = vec![0; shapes];
        for slot in &self.slots {
            counts[slot.shape] += slot.count;
        }
        counts
    }

    /// What is left of a host that follows it; `None` when it does not fit, which no pattern of ours may do.
    pub fn rest(&self, host: &HostType, shapes: &[Shape]) -> Option<HostType> {
        let mut rest = host.clone();
        for slot in &self.slots {
            let shape = &shapes[slot.shape];
            if let Fit::Whole(_) = shape.fit {
                rest.occupy(shape);
                return (shape.takes(host) && self.slots.len() == 1 && slot.count == 1).then_some(rest);
            }
            if !rest.admits(shape) {
                return None;
            }
            rest.take(shape, slot.nodes, i64::from(slot.count))?;
        }
        Some(rest)
    }
}

impl Pattern {
    /// Whether a host may follow it.
    pub fn allowed(&self, host: &HostType, problem: &Problem) -> bool {
        let limited = |s: &Slot| problem.most_of(s.shape) < u32::MAX;
        let within = |s: &Slot| {
            self.slots.iter().filter(|o| o.shape == s.shape).map(|o| o.count).sum::<u32>()
                <= problem.most_of(s.shape)
        };
        self.rest(host, &problem.shapes).is_some() && self.slots.iter().filter(|s| limited(s)).all(within)
    }
}

impl HostType {
    /// Whether what lies here already bears the shape's company.
    pub fn admits(&self, shape: &Shape) -> bool {
        self.company.is_none_or(|c| c.with(shape.company).is_some())
    }

    /// Takes `count` of a shape (which it admits) off at a place; `None`, and nothing taken, when it does not fit.
    pub fn take(&mut self, shape: &Shape, at: [u8; 2], count: i64) -> Option<()> {
        if self.room(shape, at) < count {
            return None;
        }
        self.shift(shape, at, -count);
        self.company = match self.company {
            Some(company) => company.with(shape.company).or(self.company),
            None => Some(shape.company),
        };
        Some(())
    }

    /// Gives back what [`HostType::take`] took; who may enter stays as it was narrowed.
    pub fn give(&mut self, shape: &Shape, at: [u8; 2], count: i64) {
        self.shift(shape, at, count);
    }

    fn shift(&mut self, shape: &Shape, at: [u8; 2], count: i64) {
        let part = shape.per_node(self);
        let both = if at[0] == at[1] { &at[..1] } else { &at[..] };
        for node in both {
            for (have, need) in self.nodes[usize::from(*node)].iter_mut().zip(part) {
                *have += need * count;
            }
        }
        for (have, need) in self.side.iter_mut().zip(shape.side) {
            *have += need * count;
        }
    }

    /// How many of a shape fit at a place.
    pub fn room(&self, shape: &Shape, at: [u8; 2]) -> i64 {
        let part = shape.per_node(self);
        let both = if at[0] == at[1] { &at[..1] } else { &at[..] };
        let nodes = both.iter().flat_map(|n| self.nodes[usize::from(*n)].into_iter().zip(part));
        let side = self.side.into_iter().zip(shape.side);
        nodes
            .chain(side)
            .filter(|(_, need)| *need > 0)
            .map(|(have, need)| have.max(0) / need)
            .min()
            .unwrap_or(0)
    }

    /// Becomes a metal Node: nothing is left of it.
    pub fn occupy(&mut self, shape: &Shape) {
        self.nodes.fill([0; DIMS]);
        self.side = [0; SIDES];
        self.company = Some(shape.company);
    }

    /// Holds one of a shape that has room: becomes it, or gives it its part at `nodes`.
    pub fn hold(&mut self, shape: &Shape, nodes: [u8; 2]) {
        if shape.takes(self) {
            self.occupy(shape);
        } else {
            self.take(shape, nodes, 1);
        }
    }
}

/// Packs: column generation, its bound, and the rounding to whole hosts.
pub fn pack(problem: &Problem) -> Packing {
    round::solve(problem)
}

/// The certified bound alone.
pub fn bound(problem: &Problem) -> Bound {
    round::root(problem)
}
