//! How large control planes and their etcd must be.

use serde::Serialize;

use crate::units::{Cpu, Mem};

/// A machine's or a Pod's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Size {
    /// CPU.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Mem,
}

/// A control plane on machines of its own, etcd included, by its Nodes: (up to, cores, MiB).
/// Source: kube-up's machine sizes, kubernetes.io "Considerations for large clusters".
const ON_MACHINES: [(i64, i64, i64); 6] = [
    (5, 1, 3840),
    (10, 2, 7680),
    (100, 4, 15_360),
    (250, 8, 30_720),
    (500, 16, 61_440),
    (i64::MAX, 32, 122_880),
];

/// A replica of a hosted control plane without etcd: (up to Nodes, millicores, MiB).
/// Source: k0smotron's published footprint, 0.4 to 1.3 cores and 210 to 560 MiB each; above 100 Nodes the machine table holds.
const HOSTED: [(i64, i64, i64); 2] = [(10, 400, 560), (100, 1300, 560)];

/// etcd members by what the database holds: (up to MiB, up to Nodes, cores, GiB).
/// Source: etcd.io "Hardware recommendations" (small, medium, large, xlarge).
const ETCD: [(i64, i64, i64, i64); 4] =
    [(100, 50, 2, 8), (500, 250, 4, 16), (1024, 1000, 8, 32), (i64::MAX, i64::MAX, 16, 64)];

/// etcd's suggested largest quota, in MiB (etcd.io "System limits").
pub const ETCD_QUOTA: i64 = 8192;
/// The share of the quota that tenants may fill: revisions between compactions need the rest.
pub const ETCD_FILL_PERCENT: i64 = 60;
/// Database per Node of a tenant, in MiB: the same in every row of [`ETCD`] (100 MiB for 50 Nodes).
pub const ETCD_PER_NODE: i64 = 2;
/// Members of a datastore that must survive the loss of so many at once: a quorum is left. Never fewer than three.
pub fn etcd_members(losses: u32) -> u32 {
    (2 * losses + 1).max(3)
}

/// Members that must be left for a datastore to answer.
pub fn quorum(members: u32) -> u32 {
    members / 2 + 1
}

/// What an empty Kubernetes cluster keeps in etcd, in MiB: rounded up from the one or two that a fresh one has.
pub const ETCD_EMPTY: i64 = 4;

/// A control-plane machine (VM or metal) of a cluster with this many Nodes.
pub fn on_machines(nodes: i64) -> Size {
    let (_, cores, mib) = ON_MACHINES.iter().find(|(most, _, _)| nodes <= *most).unwrap_or(&ON_MACHINES[5]);
    Size { cpu: Cpu::cores(*cores), memory: Mem(*mib) }
}

/// A replica of a hosted control plane for this many Nodes.
pub fn hosted(nodes: i64) -> Size {
    match HOSTED.iter().find(|(most, _, _)| nodes <= *most) {
        Some((_, millis, mib)) => Size { cpu: Cpu(*millis), memory: Mem(*mib) },
        None => on_machines(nodes),
    }
}

/// What a tenant with this many Nodes keeps in etcd.
pub fn database(nodes: i64) -> Mem {
    Mem(ETCD_EMPTY + ETCD_PER_NODE * nodes)
}

/// A member of a datastore that holds this much for this many Nodes.
pub fn etcd_member(holds: Mem, nodes: i64) -> Size {
    let fits = |(mib, most, _, _): &&(i64, i64, i64, i64)| holds.0 <= *mib && nodes <= *most;
    let (_, _, cores, gib) = ETCD.iter().find(fits).unwrap_or(&ETCD[3]);
    Size { cpu: Cpu::cores(*cores), memory: Mem::gib(*gib) }
}

/// Shares tenants (by their Nodes, in order) among datastores so that none is filled beyond its share; the last tenant
/// of each that fits opens no new one. Returns the datastore of each tenant.
pub fn datastores(nodes: &[i64]) -> Vec<usize> {
    let most = ETCD_QUOTA * ETCD_FILL_PERCENT / 100;
    let mut filled: Vec<i64> = Vec::new();
    nodes
        .iter()
        .map(|n| {
            let need = database(*n).0;
            let place = filled.iter().position(|f| f + need <= most).unwrap_or_else(|| {
                filled.push(0);
                filled.len() - 1
            });
            filled[place] += need;
            place
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_read_as_published() {
        let kube_up = [
            (5, 1, 3840),
            (6, 2, 7680),
            (100, 4, 15_360),
            (101, 8, 30_720),
            (500, 16, 61_440),
            (501, 32, 122_880),
        ];
        for (nodes, cores, mib) in kube_up {
            assert_eq!(on_machines(nodes), Size { cpu: Cpu::cores(cores), memory: Mem(mib) }, "{nodes}");
        }
        assert_eq!(hosted(3), Size { cpu: Cpu(400), memory: Mem(560) });
        assert_eq!(hosted(99).cpu, Cpu(1300));
        assert_eq!(hosted(251), on_machines(251));
        assert_eq!([0, 1, 2, 3].map(etcd_members), [3, 3, 5, 7], "a quorum outlives the losses");
        assert!((0..8).all(|k| etcd_members(k) - k >= quorum(etcd_members(k))));
        assert_eq!(etcd_member(Mem(100), 50).cpu, Cpu::cores(2));
        assert_eq!(etcd_member(Mem(100), 51).cpu, Cpu::cores(4));
        assert_eq!(etcd_member(Mem(900), 1000).cpu, Cpu::cores(8));
        assert_eq!(etcd_member(Mem(2000), 10), Size { cpu: Cpu::cores(16), memory: Mem::gib(64) });
    }

    #[test]
    fn a_datastore_is_never_filled_beyond_its_share() {
        let nodes = vec![100; 60];
        let places = datastores(&nodes);
        for store in 0..=places.iter().copied().max().unwrap_or(0) {
            let held: i64 = places.iter().filter(|p| **p == store).map(|_| database(100).0).sum();
            assert!(held <= ETCD_QUOTA * ETCD_FILL_PERCENT / 100);
        }
        assert_eq!(places.iter().filter(|p| **p == 0).count(), 4915 / 204);
    }
}
