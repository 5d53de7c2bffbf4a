//! Placement one by one, as VMs come and go: each goes where it takes least from what the host can still become.
//!
//! A host's worth is the best filling of its nodes at the prices of the relaxation, so a VM that leaves a useless rest
//! costs more than one that leaves a rest others fit. Best fit is kept beside it to be measured against.

use super::bound::SCALE;
use super::grid::{Axes, Table};
use super::{Fit, HostType, Problem, Res, Shape};

/// How a host is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The open host that is left with least; else the smallest closed one that takes it.
    BestFit,
    /// The same, but the largest closed one.
    BestFitLargest,
    /// The open host whose worth falls least beyond the price of the VM; else the closed one that is worth most for its cost.
    LeastWorth,
}

/// Hosts with what lies on them.
#[derive(Clone, Debug)]
pub struct Online {
    rule: Rule,
    shapes: Vec<Shape>,
    hosts: Vec<HostType>,
    /// VMs on each.
    count: Vec<u32>,
    /// What is left of each, as a share of the largest node.
    left: Vec<f64>,
    /// Closed hosts are opened only while more than this stay empty.
    keep_empty: usize,
    empty: usize,
    prices: Vec<i64>,
    grid: Option<(Axes, Table)>,
    largest: Res,
}

/// Where a VM went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    /// Host index.
    pub host: usize,
    /// NUMA nodes.
    pub nodes: [u8; 2],
}

impl Online {
    /// Empty hosts. Prices (in hosts, by shape) come from [`super::Packing::prices`] of an expected mix.
    pub fn new(problem: &Problem, prices: &[f64], rule: Rule, keep_empty: usize) -> Online {
        let pieces: Vec<(usize, Res)> =
            (0..problem.shapes.len()).map(|s| (s, problem.shapes[s].per_node(&problem.hosts[0].0))).collect();
        let scaled: Vec<i64> = prices.iter().map(|p| (p * SCALE as f64) as i64).collect();
        // Half a split VM counts half its price on each node.
        let halves: Vec<i64> = scaled
            .iter()
            .zip(&problem.shapes)
            .map(|(p, s)| if s.fit == Fit::Split { p / 2 } else { *p })
            .collect();
        let sizes: Vec<Res> = pieces.iter().map(|(_, r)| *r).collect();
        let grid = Axes::of(&sizes, &problem.hosts).map(|axes| {
            let table = axes.fill(&pieces, &halves);
            (axes, table)
        });
        let hosts: Vec<HostType> =
            problem.hosts.iter().flat_map(|(h, n)| std::iter::repeat_n(h.clone(), *n as usize)).collect();
        let largest = hosts.iter().flat_map(|h| &h.nodes).fold([1; super::DIMS], |mut most: Res, n| {
            most.iter_mut().zip(n).for_each(|(m, v)| *m = (*m).max(*v));
            most
        });
        let mut online = Online {
            rule,
            shapes: problem.shapes.clone(),
            count: vec![0; hosts.len()],
            left: Vec::new(),
            empty: hosts.len(),
            hosts,
            keep_empty,
            prices: scaled,
            grid,
            largest,
        };
        online.left = (0..online.hosts.len()).map(|h| online.left_of(h)).collect();
        online
    }

    /// Hosts that hold anything.
    pub fn open(&self) -> usize {
        self.hosts.len() - self.empty
    }

    /// Hosts that hold nothing.
    pub fn empty(&self) -> usize {
        self.empty
    }

    /// Places one; `None` when no host may take it.
    pub fn arrive(&mut self, shape: usize) -> Option<Home> {
        let open = self.best(shape, true);
        let found =
            open.or_else(|| (self.empty > self.keep_empty).then(|| self.best(shape, false)).flatten())?;
        self.hosts[found.host].take(&self.shapes[shape], found.nodes, 1)?;
        self.empty -= usize::from(self.count[found.host] == 0);
        self.count[found.host] += 1;
        self.left[found.host] = self.left_of(found.host);
        Some(found)
    }

    /// Takes one away.
    pub fn depart(&mut self, shape: usize, home: Home) {
        self.hosts[home.host].give(&self.shapes[shape], home.nodes, 1);
        self.count[home.host] -= 1;
        self.empty += usize::from(self.count[home.host] == 0);
        self.left[home.host] = self.left_of(home.host);
    }

    fn left_of(&self, host: usize) -> f64 {
        self.hosts[host].nodes.iter().map(|n| self.share(n)).sum()
    }

    fn best(&self, shape: usize, open: bool) -> Option<Home> {
        let kind = &self.shapes[shape];
        let mut best: Option<(f64, Home)> = None;
        for (h, host) in self.hosts.iter().enumerate().filter(|(h, _)| (self.count[*h] > 0) == open) {
            let all = host.nodes.len() as u8;
            let split = kind.fit == Fit::Split && all > 1;
            let places = (0..all).flat_map(|a| {
                let second = if split { a + 1..all } else { a..a + 1 };
                second.map(move |b| [a, b])
            });
            for nodes in places.filter(|nodes| host.room(kind, *nodes) > 0) {
                let score = self.score(h, shape, nodes, open);
                if best.is_none_or(|(b, _)| score < b) {
                    best = Some((score, Home { host: h, nodes }));
                }
            }
        }
        best.map(|(_, home)| home)
    }

    /// Lower is better.
    fn score(&self, h: usize, shape: usize, nodes: [u8; 2], open: bool) -> f64 {
        let host = &self.hosts[h];
        match (self.rule, open) {
            (Rule::BestFit | Rule::BestFitLargest, true) => {
                touched(&nodes).iter().map(|n| self.share(&host.nodes[usize::from(*n)])).sum()
            }
            (Rule::BestFit, false) => self.left[h],
            (Rule::BestFitLargest, false) => -self.left[h],
            (Rule::LeastWorth, true) => {
                let part = self.shapes[shape].per_node(host);
                let lost: i64 = touched(&nodes)
                    .iter()
                    .map(|n| {
                        let before = &host.nodes[usize::from(*n)];
                        let after = std::array::from_fn(|d| before[d] - part[d]);
                        self.worth_of(before) - self.worth_of(&after)
                    })
                    .sum();
                // Fuller hosts first where nothing is lost: emptier ones may yet close.
                (lost - self.prices[shape]) as f64 / SCALE as f64 + self.left[h] * 1e-3
            }
            (Rule::LeastWorth, false) => {
                let worth: i64 = host.nodes.iter().map(|n| self.worth_of(n)).sum();
                -(worth as f64 / f64::from(host.cost.max(1)))
            }
        }
    }

    fn share(&self, node: &Res) -> f64 {
        node.iter().zip(self.largest).map(|(v, l)| *v as f64 / l as f64).sum()
    }

    /// What a NUMA node can still become.
    fn worth_of(&self, node: &Res) -> i64 {
        match &self.grid {
            Some((axes, table)) => table.at(axes.cell(node)),
            None => node.iter().zip(self.largest).map(|(v, l)| v * SCALE / l).sum(),
        }
    }
}

fn touched(nodes: &[u8; 2]) -> &[u8] {
    if nodes[0] == nodes[1] { &nodes[..1] } else { nodes }
}
