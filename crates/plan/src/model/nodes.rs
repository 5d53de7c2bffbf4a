//! What a Node gives its Pods, and how many Nodes of a size a set of Pods needs.

use std::fmt;

use serde::Serialize;

use super::reserve::{Profile, reserved};
use crate::units::{Cpu, Mem};

/// The size of a Node: `8/32` is eight CPUs and 32 GiB, `8/32+2gpu` has two GPUs besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeSize {
    /// CPUs that the kubelet sees.
    pub cpus: i64,
    /// Memory that the kernel sees.
    pub memory: Mem,
    /// GPUs.
    pub gpus: i64,
}

/// Pods that are alike.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodKind {
    /// For people.
    pub name: String,
    /// How many.
    pub count: u32,
    /// CPU request.
    pub cpu: Cpu,
    /// Memory request.
    pub memory: Mem,
    /// CPU limit, when there is one.
    pub cpu_limit: Option<Cpu>,
    /// Memory limit, when there is one.
    pub memory_limit: Option<Mem>,
    /// GPUs.
    pub gpus: i64,
}

/// What every Node keeps back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Keep {
    /// The kubelet's reservations.
    pub profile: Profile,
    /// kubelet's `maxPods`.
    pub max_pods: i64,
    /// kubelet's `podsPerCore`; 0 for no such limit.
    pub pods_per_core: i64,
    /// The Pod CIDR mask of a Node.
    pub pod_cidr_mask: u8,
    /// DaemonSet Pods on each Node.
    pub agent_pods: i64,
    /// What those request together.
    pub agents: (Cpu, Mem),
}

/// What Pods can have of one Node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Allocatable {
    /// CPU.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Mem,
    /// Pod slots.
    pub pods: i64,
    /// GPUs.
    pub gpus: i64,
}

/// Pods that one Node takes: kubelet's limit or the addresses of its Pod CIDR (network and broadcast lost), the lower.
pub fn pod_limit(max_pods: i64, pod_cidr_mask: u8) -> i64 {
    let addresses =
        1_i64.checked_shl(32_u32.saturating_sub(u32::from(pod_cidr_mask))).unwrap_or(i64::MAX) - 2;
    max_pods.min(addresses).max(0)
}

impl Keep {
    /// Pods that a Node of so many CPUs takes, DaemonSets included: the lowest of its limits.
    pub fn pods(&self, cpus: i64) -> i64 {
        let by_core = if self.pods_per_core > 0 { self.pods_per_core * cpus } else { i64::MAX };
        pod_limit(self.max_pods, self.pod_cidr_mask).min(by_core)
    }
}

impl NodeSize {
    /// `8/32`, `8/30.5`, `8/32+2gpu`: CPUs, GiB, GPUs.
    pub fn parse(text: &str) -> Result<NodeSize, String> {
        let wrong = || format!("{text:?} is no Node size such as 8/32 or 8/32+1gpu (CPUs/GiB)");
        let (size, gpus) = match text.split_once('+') {
            Some((size, gpus)) => {
                (size, gpus.strip_suffix("gpu").and_then(|n| n.parse().ok()).ok_or_else(wrong)?)
            }
            None => (text, 0),
        };
        let (cpus, gib) = size.split_once('/').ok_or_else(wrong)?;
        let cpus: i64 = cpus.trim().parse().map_err(|_| wrong())?;
        let gib: f64 = gib.trim().parse().map_err(|_| wrong())?;
        if !(1..=4096).contains(&cpus) || !(0.25..=1_048_576.0).contains(&gib) || !(0..=64).contains(&gpus) {
            return Err(wrong());
        }
        Ok(NodeSize { cpus, memory: Mem((gib * 1024.0).round() as i64), gpus })
    }

    /// What Pods can have of it.
    pub fn allocatable(&self, keep: &Keep) -> Allocatable {
        let (cpu, memory) = reserved(keep.profile, self.cpus, self.memory, keep.max_pods);
        Allocatable {
            cpu: Cpu((Cpu::cores(self.cpus) - cpu - keep.agents.0).0.max(0)),
            memory: Mem((self.memory - memory - keep.agents.1).0.max(0)),
            pods: (keep.pods(self.cpus) - keep.agent_pods).max(0),
            gpus: self.gpus,
        }
    }
}

impl fmt::Display for NodeSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gib = (self.memory.in_gib() * 100.0).round() / 100.0;
        write!(f, "{}/{gib}", self.cpus)?;
        if self.gpus > 0 { write!(f, "+{}gpu", self.gpus) } else { Ok(()) }
    }
}

impl Serialize for NodeSize {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Allocatable {
    /// How many Pods of a kind fit.
    fn room(&self, pod: &PodKind) -> i64 {
        let parts =
            [(self.cpu.0, pod.cpu.0), (self.memory.0, pod.memory.0), (self.gpus, pod.gpus), (self.pods, 1)];
        parts.iter().filter(|(_, need)| *need > 0).map(|(have, need)| have / need).min().unwrap_or(0)
    }

    fn take(&mut self, pod: &PodKind, count: i64) {
        self.cpu = self.cpu - pod.cpu * count;
        self.memory = self.memory - pod.memory * count;
        self.gpus -= pod.gpus * count;
        self.pods -= count;
    }
}

/// How many Nodes of one size take these Pods, by first fit of the largest (never fewer than the volume needs);
/// `None` when a Pod fits on no such Node.
pub fn nodes_for(pods: &[PodKind], node: Allocatable) -> Option<u32> {
    let share = |p: &PodKind| {
        let part = |need: i64, have: i64| if have > 0 { need as f64 / have as f64 } else { 0.0 };
        let cpu = part(p.cpu.0, node.cpu.0);
        cpu.max(part(p.memory.0, node.memory.0)).max(part(p.gpus, node.gpus)).max(part(1, node.pods))
    };
    let mut order: Vec<&PodKind> = pods.iter().filter(|p| p.count > 0).collect();
    order.sort_by(|a, b| share(b).total_cmp(&share(a)).then_with(|| a.name.cmp(&b.name)));
    // Nodes filled alike are kept as one entry with a count.
    let mut nodes: Vec<(Allocatable, i64)> = Vec::new();
    for pod in order {
        let each = node.room(pod);
        if each == 0 {
            return None;
        }
        let mut left = i64::from(pod.count);
        let mut i = 0;
        while i < nodes.len() && left > 0 {
            let (mut state, count) = nodes[i];
            let fits = state.room(pod);
            if fits > 0 {
                let full = (left / fits).min(count);
                let before = state;
                state.take(pod, fits);
                nodes.remove(i);
                let mut parts = Vec::new();
                if full > 0 {
                    parts.push((state, full));
                }
                left -= full * fits;
                if full < count {
                    let mut partial = before;
                    let some = left.min(fits);
                    partial.take(pod, some);
                    left -= some;
                    parts.push((partial, 1));
                    if count - full > 1 {
                        parts.push((before, count - full - 1));
                    }
                }
                for (k, part) in parts.into_iter().enumerate() {
                    nodes.insert(i + k, part);
                    i += usize::from(left > 0);
                }
            } else {
                i += 1;
            }
        }
        for fits in [each, left % each] {
            let count = if fits == each { left / each } else { i64::from(fits > 0) };
            if count > 0 && fits > 0 {
                let mut state = node;
                state.take(pod, fits);
                nodes.push((state, count));
            }
        }
    }
    u32::try_from(nodes.iter().map(|(_, n)| n).sum::<i64>()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(count: u32, cpu: i64, mib: i64) -> PodKind {
        PodKind {
            name: format!("{cpu}m-{mib}"),
            count,
            cpu: Cpu(cpu),
            memory: Mem(mib),
            cpu_limit: None,
            memory_limit: None,
            gpus: 0,
        }
    }

    #[test]
    fn the_pod_limit_binds_on_a_large_server() {
        // 128 threads, 1 TiB, Pods of 250m and 512 MiB: 110 of them are 21.5 % of the CPU and 5.4 % of the memory.
        let (threads, mib) = (128_000.0, 1_048_576.0);
        let percent = |pods: f64| (pods * 250.0 / threads * 100.0, pods * 512.0 / mib * 100.0);
        for (pods, cpu, memory) in [(110.0, 21.5, 5.4), (250.0, 48.8, 12.2), (500.0, 97.7, 24.4)] {
            let (c, m) = percent(pods);
            assert!((c - cpu).abs() < 0.05 && (m - memory).abs() < 0.05, "{c} {m}");
        }
        assert_eq!(pod_limit(110, 24), 110);
        assert_eq!(pod_limit(500, 24), 254);
        assert_eq!(pod_limit(500, 26), 62);
        let mut keep = crate::input::Policy::default().guest();
        keep.pods_per_core = 10;
        assert_eq!([keep.pods(4), keep.pods(16)], [40, 110], "podsPerCore caps further, the lower wins");
    }

    #[test]
    fn first_fit_counts_every_pod() {
        let node = Allocatable { cpu: Cpu(1000), memory: Mem(1000), pods: 10, gpus: 0 };
        assert_eq!(nodes_for(&[pod(20, 10, 10)], node), Some(2));
        assert_eq!(nodes_for(&[pod(3, 600, 100)], node), Some(3));
        assert_eq!(nodes_for(&[pod(3, 600, 100), pod(3, 400, 100)], node), Some(3));
        assert_eq!(nodes_for(&[pod(3, 600, 100), pod(4, 400, 100)], node), Some(4));
        assert_eq!(nodes_for(&[pod(1, 1001, 1)], node), None);
        assert_eq!(nodes_for(&[], node), Some(0));
        assert_eq!(nodes_for(&[pod(7, 300, 100), pod(5, 90, 10)], node), Some(3));
    }

    #[test]
    fn sizes_read_and_write() {
        for text in ["8/32", "2/4", "16/60", "8/32+2gpu", "12/30.5"] {
            assert_eq!(NodeSize::parse(text).map(|s| s.to_string()), Ok(text.to_owned()));
        }
        for bad in ["8", "8/", "0/4", "a/b", "8/32+gpu", "8/32+1", "-2/4"] {
            assert!(NodeSize::parse(bad).is_err(), "{bad}");
        }
    }
}
