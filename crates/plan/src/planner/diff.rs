//! What changes between two blueprints, and what the change costs.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::blueprint::{Blueprint, HostPlan, HostRole, Material, Placement};

/// One thing that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Its name.
    pub name: String,
    /// Its size before; empty when new.
    pub was: String,
    /// Its size after; empty when gone.
    pub becomes: String,
    /// Host before.
    pub from: String,
    /// Host after.
    pub to: String,
}

/// All changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diff {
    /// Same thing, another host.
    pub moves: Vec<Change>,
    /// New things.
    pub added: Vec<Change>,
    /// Things that go.
    pub removed: Vec<Change>,
    /// Same name, another size: made anew.
    pub resized: Vec<Change>,
    /// Hosts whose role changes: name, before, after.
    pub roles: Vec<(String, HostRole, HostRole)>,
    /// Guest memory to copy, in MiB.
    pub copied: i64,
    /// Metal Nodes to provision anew.
    pub reinstalled: u32,
    /// Seconds that copying takes at [`MIGRATION_GBITS`] a host.
    pub seconds: f64,
    /// Change in hosts in use (spares included).
    pub hosts: i64,
    /// Change in price a month.
    pub price: f64,
}

/// What live migration gets of a host's network, in Gbit/s: an assumption, to be set to the site's own
/// (KubeVirt leaves `bandwidthPerMigration` without a limit by default).
pub const MIGRATION_GBITS: f64 = 10.0;

/// Compares two blueprints by the names of placements and hosts.
pub fn diff(old: &Blueprint, new: &Blueprint) -> Diff {
    let (before, after) = (index(old), index(new));
    let mut d = Diff::default();
    let mut leaving: BTreeMap<&str, i64> = BTreeMap::new();
    for (name, (host, p)) in &before {
        match after.get(name) {
            None => d.removed.push(change(name, Some((host, p)), None)),
            Some((to, q)) if q.size != p.size || q.material != p.material => {
                d.reinstalled += u32::from(q.material == Material::Metal);
                d.resized.push(change(name, Some((host, p)), Some((to, q))));
            }
            Some((to, q)) if to.name != host.name => {
                d.copied += p.guest_memory;
                d.reinstalled += u32::from(p.material == Material::Metal);
                *leaving.entry(&host.name).or_default() += p.guest_memory;
                d.moves.push(change(name, Some((host, p)), Some((to, q))));
            }
            Some(_) => {}
        }
    }
    for (name, (host, p)) in after.iter().filter(|(n, _)| !before.contains_key(*n)) {
        d.reinstalled += u32::from(p.material == Material::Metal);
        d.added.push(change(name, None, Some((host, p))));
    }
    let roles: BTreeMap<&str, HostRole> = old.hosts.iter().map(|h| (h.name.as_str(), h.role)).collect();
    for host in &new.hosts {
        let was = roles.get(host.name.as_str()).copied().unwrap_or(HostRole::Free);
        if was != host.role {
            d.roles.push((host.name.clone(), was, host.role));
        }
    }
    let seconds = |mib: i64| mib as f64 * 8.0 * 1.048_576e6 / (MIGRATION_GBITS * 1e9);
    let slowest = leaving.values().map(|m| seconds(*m)).fold(0.0, f64::max);
    // Two at a time share the link of the host they leave: the sum is the same, the fullest host is last.
    d.seconds = slowest.round();
    let count = |b: &Blueprint| i64::from(b.totals.used + b.totals.spare);
    d.hosts = count(new) - count(old);
    d.price = new.totals.price - old.totals.price;
    d
}

type Index<'a> = BTreeMap<&'a str, (&'a HostPlan, &'a Placement)>;

fn index(b: &Blueprint) -> Index<'_> {
    b.hosts.iter().flat_map(|h| h.placements.iter().map(move |p| (p.name.as_str(), (h, p)))).collect()
}

fn change(name: &str, old: Option<(&HostPlan, &Placement)>, new: Option<(&HostPlan, &Placement)>) -> Change {
    let text = |x: Option<&str>| x.unwrap_or_default().to_owned();
    Change {
        name: name.to_owned(),
        was: text(old.map(|(_, p)| p.size.as_str())),
        becomes: text(new.map(|(_, p)| p.size.as_str())),
        from: text(old.map(|(h, _)| h.name.as_str())),
        to: text(new.map(|(h, _)| h.name.as_str())),
    }
}
