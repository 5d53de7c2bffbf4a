//! Who causes which part of the whole: servers, price and power, split so that the parts sum to the whole.

use std::collections::BTreeMap;

use crate::blueprint::{Amount, Blueprint, HostPlan, HostRole, Purpose, Share};

/// What a tenant takes of a server: its dearest resource.
fn weight(takes: Amount, capacity: Amount) -> f64 {
    let parts = takes.named().into_iter().zip(capacity.named()).filter(|(_, (_, have))| *have > 0);
    parts.map(|((_, need), (_, have))| need as f64 / have as f64).fold(0.0, f64::max)
}

#[derive(Clone, Copy, Default)]
struct Parts {
    used: f64,
    stranded: f64,
    control_plane: f64,
    reserve: f64,
    price: f64,
    power: f64,
}

/// Shares by tenant; the last, with no name, is what nobody needs.
pub fn shares(blueprint: &Blueprint) -> Vec<Share> {
    let mut parts: BTreeMap<&str, Parts> =
        blueprint.tenants.iter().map(|t| (t.name.as_str(), Parts::default())).collect();
    let mut common = Parts::default();
    let (mut spare, mut free) = (Parts::default(), Parts::default());
    for host in &blueprint.hosts {
        match host.role {
            HostRole::Vm | HostRole::Metal => split(host, &mut parts, &mut common),
            HostRole::Spare => add(&mut spare, host, 1.0, |p| &mut p.reserve),
            HostRole::Free => add(&mut free, host, 1.0, |p| &mut p.reserve),
        }
    }
    // What serves everyone is borne by what everyone has.
    let own = |p: &Parts| p.used + p.stranded + p.control_plane;
    let all: f64 = parts.values().map(own).sum();
    let count = parts.len() as f64;
    for part in parts.values_mut() {
        let key = if all > 0.0 { own(part) / all } else { 1.0 / count };
        part.control_plane += common.control_plane * key;
        part.reserve += (common.reserve + spare.reserve) * key;
        part.stranded += common.stranded * key;
        part.price += (common.price + spare.price) * key;
        part.power += (common.power + spare.power) * key;
    }
    round(parts, free, blueprint)
}

fn add(to: &mut Parts, host: &HostPlan, part: f64, field: fn(&mut Parts) -> &mut f64) {
    *field(to) += part;
    to.price += host.price * part;
    to.power += host.power * part;
}

/// One server: what is placed by its dearest resource; what is left over by the same measure.
fn split<'a>(host: &'a HostPlan, parts: &mut BTreeMap<&'a str, Parts>, common: &mut Parts) {
    let weights: Vec<f64> = host.placements.iter().map(|p| weight(p.takes, host.capacity)).collect();
    let total: f64 = weights.iter().sum();
    let scale = if total > 1.0 { 1.0 / total } else { 1.0 };
    for (placement, w) in host.placements.iter().zip(weights) {
        let taken = w * scale;
        let rest = if total > 0.0 { (1.0 - total * scale) * w / total } else { 0.0 };
        let to = parts.get_mut(placement.tenant.as_str()).unwrap_or(common);
        match placement.purpose {
            Purpose::Worker => add(to, host, taken, |p| &mut p.used),
            Purpose::ControlPlane | Purpose::Datastore | Purpose::Management => {
                add(to, host, taken, |p| &mut p.control_plane);
            }
            Purpose::Surge => add(to, host, taken, |p| &mut p.reserve),
        }
        add(to, host, rest, |p| &mut p.stranded);
    }
}

/// Rounds to thousandths by largest remainder, so that the sum is the number of servers.
fn round(parts: BTreeMap<&str, Parts>, free: Parts, blueprint: &Blueprint) -> Vec<Share> {
    let mut rows: Vec<(String, Parts)> = parts.into_iter().map(|(n, p)| (n.to_owned(), p)).collect();
    rows.sort_by_key(|(n, _)| crate::input::natural(n));
    rows.push((String::new(), free));
    let exact: Vec<f64> = rows
        .iter()
        .flat_map(|(_, p)| [p.used, p.stranded, p.control_plane, p.reserve])
        .map(|v| v * 1000.0)
        .collect();
    let mut whole: Vec<i64> = exact.iter().map(|v| v.floor() as i64).collect();
    let missing = blueprint.hosts.len() as i64 * 1000 - whole.iter().sum::<i64>();
    let mut order: Vec<usize> = (0..exact.len()).collect();
    order.sort_by(|a, b| {
        (exact[*b] - exact[*b].floor()).total_cmp(&(exact[*a] - exact[*a].floor())).then(a.cmp(b))
    });
    order.iter().cycle().take(missing.max(0) as usize).for_each(|i| whole[*i] += 1);
    rows.into_iter()
        .zip(whole.chunks_exact(4))
        .map(|((tenant, p), v)| Share {
            tenant,
            millihosts: v.iter().sum(),
            used: v[0],
            stranded: v[1],
            control_plane: v[2],
            reserve: v[3],
            price: (p.price * 100.0).round() / 100.0,
            power: (p.power * 10.0).round() / 10.0,
        })
        .collect()
}
