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
    /// Seconds that copying takes at [`MIGRATION_GBITS`] a host, or what its network carries.
    pub seconds: f64,
    /// Rounds in which VMs migrate, [`AT_ONCE`] of one host and [`AT_ONCE_IN_ALL`].
    pub rounds: u32,
    /// Change in hosts in use (spares included).
    pub hosts: i64,
    /// Change in price a month.
    pub price: f64,
}

/// What live migration gets of a host's network, in Gbit/s: an assumption, to be set to the site's own
/// (KubeVirt leaves `bandwidthPerMigration` without a limit by default).
pub const MIGRATION_GBITS: f64 = 10.0;

/// Live migrations from one host, and of a cluster, at the same time: KubeVirt's `parallelOutboundMigrationsPerNode` and
/// `parallelMigrationsPerCluster`.
pub const AT_ONCE: u32 = 2;
/// The same of a cluster.
pub const AT_ONCE_IN_ALL: u32 = 5;

/// Compares two blueprints by the names of placements and hosts.
pub fn diff(old: &Blueprint, new: &Blueprint) -> Diff {
    let (before, after) = (index(old), index(new));
    let mut d = Diff::default();
    // Of each host: MiB and VMs that leave it, and seconds for a MiB.
    let mut leaving: BTreeMap<&str, (i64, u32, f64)> = BTreeMap::new();
    let slow = |h: &HostPlan| {
        let gbits = if h.nic_gbits > 0.0 { h.nic_gbits.min(MIGRATION_GBITS) } else { MIGRATION_GBITS };
        8.0 * 1_048_576.0 / (gbits * 1e9)
    };
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
                let of = leaving.entry(&host.name).or_insert((0, 0, slow(host)));
                (of.0, of.1) = (of.0 + p.guest_memory, of.1 + u32::from(p.material == Material::Vm));
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
    // Those that migrate together share the link of the host they leave: the sum is the same, the fullest host is last.
    d.seconds = leaving.values().map(|(mib, _, slow)| *mib as f64 * slow).fold(0.0, f64::max).round();
    let fullest = leaving.values().map(|(_, vms, _)| vms.div_ceil(AT_ONCE)).max().unwrap_or(0);
    let all: u32 = leaving.values().map(|(_, vms, _)| vms).sum();
    d.rounds = fullest.max(all.div_ceil(AT_ONCE_IN_ALL));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{parse_demand, parse_fleet};

    #[test]
    fn a_drained_host_takes_rounds_and_what_its_link_carries() {
        let fleet = "hosts:\n- {name: h, count: 2, cores: 64, memory: 512Gi, nicGbits: 5}\n";
        let demand = "policy: {managementReplicas: 0}\ntenants:\n- {name: a, controlPlane: none, nodes: [{size: 2/8, count: 7}]}\n";
        let fleet = parse_fleet("fleet.yaml", fleet).unwrap();
        let old = super::super::plan(&fleet, &parse_demand("demand.yaml", demand).unwrap(), 0);
        let mut new = old.clone();
        let moved = std::mem::take(&mut new.hosts[0].placements);
        assert_eq!(moved.len(), 7, "all on one host");
        new.hosts[1].placements = moved;
        let d = diff(&old, &new);
        // 56 GiB at 5 Gbit/s; two of a host at a time.
        assert_eq!((d.moves.len(), d.copied, d.rounds, d.seconds), (7, 56 * 1024, 4, 96.0));
    }
}
