//! First fit, best fit and dot-product decreasing: what the packer is measured against.

use super::groups::Instance;
use super::{HostType, Problem, Res, Shape};

/// A rule that picks a host for one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The first host in order that takes it.
    FirstFit,
    /// The host that is left with least.
    BestFit,
    /// Largest first; open hosts before closed ones; the host whose rest points most in the item's direction.
    DotProduct,
}

/// Places items one by one on hosts in the order of `instances`; returns opened hosts and unplaced items.
pub fn place(problem: &Problem, instances: &[Instance], items: &[usize], rule: Rule) -> (usize, usize) {
    let mut hosts: Vec<(HostType, bool)> =
        instances.iter().map(|i| (problem.hosts[i.kind].0.clone(), false)).collect();
    let largest = hosts.iter().flat_map(|(h, _)| &h.nodes).fold([1; super::DIMS], |mut most: Res, n| {
        most.iter_mut().zip(n).for_each(|(m, v)| *m = (*m).max(*v));
        most
    });
    let mut items = items.to_vec();
    if rule == Rule::DotProduct {
        let size = |s: &usize| -> f64 { share(&problem.shapes[*s].res, &largest).iter().sum() };
        items.sort_by(|a, b| size(b).total_cmp(&size(a)));
    }
    let mut unplaced = 0;
    for item in items {
        let shape = &problem.shapes[item];
        match choose(&hosts, shape, rule, &largest) {
            Some((host, place)) => {
                hosts[host].0.take(shape, place, 1);
                hosts[host].1 = true;
            }
            None => unplaced += 1,
        }
    }
    (hosts.iter().filter(|(_, open)| *open).count(), unplaced)
}

fn share(res: &Res, of: &Res) -> Vec<f64> {
    res.iter().zip(of).map(|(r, o)| *r as f64 / (*o).max(1) as f64).collect()
}

fn choose(hosts: &[(HostType, bool)], shape: &Shape, rule: Rule, largest: &Res) -> Option<(usize, [u8; 2])> {
    let mut best: Option<(f64, usize, [u8; 2])> = None;
    for (h, (host, open)) in hosts.iter().enumerate() {
        for place in shape.places(host) {
            if host.room(shape, place) == 0 {
                continue;
            }
            if rule == Rule::FirstFit {
                return Some((h, place));
            }
            let left = &host.nodes[usize::from(place[0])];
            let (need, have) = (share(&shape.per_node(host), largest), share(left, largest));
            let score = match rule {
                Rule::BestFit => -(have.iter().sum::<f64>() - need.iter().sum::<f64>()),
                _ => {
                    let dot: f64 = need.iter().zip(&have).map(|(a, b)| a * b).sum();
                    if *open { dot + 1e3 } else { dot }
                }
            };
            if best.is_none_or(|(b, _, _)| score > b) {
                best = Some((score, h, place));
            }
        }
    }
    best.map(|(_, h, p)| (h, p))
}
