//! An exact solver for small cases: the yardstick of the tests.

use super::{HostType, Problem};

/// The fewest hosts (by cost) that take everything, or `None` when nothing does or `budget` branches do not suffice.
pub fn fewest_hosts(problem: &Problem, budget: u64) -> Option<Option<u64>> {
    let mut items: Vec<usize> = Vec::new();
    for (shape, count) in problem.demands.iter().flat_map(|d| &d.options) {
        items.extend(std::iter::repeat_n(*shape, *count as usize));
    }
    let weight = |s: &usize| problem.shapes[*s].res.iter().map(|v| i128::from(*v)).sum::<i128>();
    items.sort_by_key(|s| (std::cmp::Reverse(weight(s)), *s));
    let closed: Vec<u32> = problem.hosts.iter().map(|(_, n)| *n).collect();
    let mut search = Search { problem, items, best: None, budget };
    let done = search.place(0, &mut Vec::new(), &mut closed.clone(), 0, (0, 0));
    done.then_some(search.best)
}

struct Search<'a> {
    problem: &'a Problem,
    items: Vec<usize>,
    best: Option<u64>,
    budget: u64,
}

type Open = (usize, HostType, bool);

impl Search<'_> {
    /// Places item `at` and all after it; `from` keeps items of one shape in order of place, against symmetry.
    fn place(
        &mut self,
        at: usize,
        open: &mut Vec<Open>,
        closed: &mut [u32],
        cost: u64,
        from: (usize, usize),
    ) -> bool {
        if self.best.is_some_and(|b| cost + self.must_open(at, open) >= b) {
            return true;
        }
        let Some(item) = self.items.get(at).copied() else {
            self.best = Some(cost);
            return true;
        };
        if self.budget == 0 {
            return false;
        }
        self.budget -= 1;
        let shape = self.problem.shapes[item].clone();
        let same = at > 0 && self.items[at - 1] == item;
        let mut tried: Vec<HostType> = Vec::new();
        for h in (if same { from.0 } else { 0 })..open.len() {
            if open[h].2 || (tried.contains(&open[h].1) && !(same && h == from.0)) {
                continue;
            }
            tried.push(open[h].1.clone());
            let places = shape.places(&open[h].1);
            for (p, place) in places.into_iter().enumerate() {
                if same && h == from.0 && p < from.1 {
                    continue;
                }
                let before = open[h].1.clone();
                if open[h].1.take(&shape, place, 1).is_some() {
                    let next = self.place(at + 1, open, closed, cost, (h, p));
                    open[h].1 = before;
                    if !next {
                        return false;
                    }
                }
            }
        }
        for t in 0..closed.len() {
            let (kind, _) = &self.problem.hosts[t];
            if closed[t] == 0 {
                continue;
            }
            let (mut host, whole) = (kind.clone(), shape.takes(kind));
            let place = shape.places(kind).into_iter().enumerate().find(|(_, p)| host.room(&shape, *p) > 0);
            // Nodes of one size are alike while the host is empty; sizes that differ need each of them tried.
            let mut places: Vec<(usize, [u8; 2])> = shape.places(kind).into_iter().enumerate().collect();
            if kind.nodes.iter().all(|n| *n == kind.nodes[0]) {
                places.truncate(0);
                places.extend(place);
            }
            if whole {
                places = vec![(0, [0, 0])];
            }
            for (p, at_place) in places {
                host.clone_from(kind);
                if !whole && host.take(&shape, at_place, 1).is_none() {
                    continue;
                }
                closed[t] -= 1;
                open.push((t, host.clone(), whole));
                let last = open.len() - 1;
                let next = self.place(at + 1, open, closed, cost + u64::from(kind.cost), (last, p));
                open.pop();
                closed[t] += 1;
                if !next {
                    return false;
                }
            }
        }
        true
    }

    /// Hosts that volume alone forces open.
    fn must_open(&self, at: usize, open: &[Open]) -> u64 {
        let cheapest = self.problem.hosts.iter().map(|(h, _)| h.cost).min().unwrap_or(0);
        let mut most = 0_i64;
        for d in 0..super::DIMS {
            let need: i64 = self.items[at..].iter().map(|s| self.problem.shapes[*s].res[d]).sum();
            let have: i64 = open.iter().filter(|o| !o.2).flat_map(|o| &o.1.nodes).map(|n| n[d]).sum();
            let each =
                self.problem.hosts.iter().map(|(h, _)| h.nodes.iter().map(|n| n[d]).sum::<i64>()).max();
            if let Some(each) = each.filter(|e| *e > 0 && need > have) {
                most = most.max((need - have + each - 1) / each);
            }
        }
        most as u64 * u64::from(cheapest)
    }
}

/// Whether these shapes fit on one host together, and where: the places in the order given.
pub fn pack_one(
    host: &HostType,
    shapes: &[super::Shape],
    items: &[usize],
    budget: &mut u32,
) -> Option<Vec<[u8; 2]>> {
    let Some((item, rest)) = items.split_first() else { return Some(Vec::new()) };
    *budget = budget.checked_sub(1)?;
    let shape = &shapes[*item];
    let mut places = shape.places(host);
    places.sort_by_key(|p| (host.room(shape, *p), *p));
    for place in places {
        let mut left = host.clone();
        if left.take(shape, place, 1).is_some()
            && let Some(mut found) = pack_one(&left, shapes, rest, budget)
        {
            found.insert(0, place);
            return Some(found);
        }
    }
    None
}
