//! Which sizes of VM are worth considering when the policy leaves them free.

use std::collections::BTreeSet;

use crate::input::{Fleet, Host, Policy};
use crate::model::kubevirt::{self, Vm};
use crate::model::nodes::{NodeSize, PodKind};
use crate::units::{Cpu, Mem};

use super::classes::capacity;

/// Sizes that people use: CPUs and GiB.
const COMMON: [(i64, i64); 9] =
    [(2, 4), (4, 8), (4, 16), (8, 16), (8, 32), (16, 32), (16, 64), (32, 64), (32, 128)];
/// A host is also cut evenly into so many.
const PARTS: [i64; 6] = [2, 3, 4, 6, 8, 12];

/// Steps in which a size grows beyond what its Pods ask.
const MOST_GROWTH: u32 = 100;

/// The VM of a size under a policy.
pub fn vm(size: NodeSize) -> Vm {
    // Worker VMs are made without a graphics device, and GPUs reach them through VFIO.
    Vm { memory: size.memory, vcpus: size.cpus, headless: true, vfio: size.gpus > 0, ..Vm::default() }
}

/// What a VM of a size asks of its host.
pub fn request(size: NodeSize, policy: &Policy) -> (Cpu, Mem) {
    kubevirt::request(&vm(size), &policy.sharing)
}

/// Free sizes without GPUs: the common ones, and those that cut each class of host evenly.
/// (A power of two never does: launchers and the host's own reservations cost one VM at exact divisors.)
pub fn candidates(fleet: &Fleet, policy: &Policy) -> Vec<NodeSize> {
    let mut sizes: Vec<NodeSize> =
        COMMON.iter().map(|(cpus, gib)| NodeSize { cpus: *cpus, memory: Mem::gib(*gib), gpus: 0 }).collect();
    for host in classes(fleet) {
        let room = capacity(host, &policy.host());
        sizes.extend(PARTS.iter().filter_map(|parts| even_part(room.cpu, room.memory, *parts, 0, policy)));
    }
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// Free sizes with GPUs for these Pods: each GPU with its share of the host, or half of that, or just what one, two or
/// four of the Pods ask: GPUs bind on such hosts, and what their VMs leave is there for others.
pub fn with_gpus(fleet: &Fleet, policy: &Policy, pods: &[PodKind]) -> Vec<NodeSize> {
    let least = pods.iter().map(|p| p.gpus).max().unwrap_or(0);
    let mut sizes: Vec<NodeSize> = [1, 2, 4].iter().filter_map(|n| just(pods, *n, policy)).collect();
    for host in classes(fleet).filter(|h| h.gpus > 0) {
        let room = capacity(host, &policy.host());
        for parts in (1..=host.gpus).filter(|p| host.gpus % p == 0 && host.gpus / p >= least) {
            let gpus = host.gpus / parts;
            sizes.extend(even_part(room.cpu, room.memory, parts, gpus, policy));
            sizes.extend(even_part(room.cpu, room.memory, parts * 2, gpus, policy));
        }
    }
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// The smallest size that takes so many of the largest of these Pods: an even number of CPUs, memory in steps of 2 GiB.
fn just(pods: &[PodKind], times: i64, policy: &Policy) -> Option<NodeSize> {
    let most = |of: fn(&PodKind) -> i64| pods.iter().map(of).max().map(|m| m * times);
    let (cpu, memory, gpus) = (most(|p| p.cpu.0)?, most(|p| p.memory.0)?, most(|p| p.gpus)?);
    let mut size = NodeSize { cpus: cpu / 2000 * 2 + 2, memory: Mem(memory / 2048 * 2048 + 2048), gpus };
    let guest = policy.guest();
    // Reservations are a part of the size, so it grows until they fit beside the Pods.
    for _ in 0..MOST_GROWTH {
        let given = size.allocatable(&guest);
        match (given.cpu.0 < cpu, given.memory.0 < memory) {
            (false, false) => return Some(size),
            (true, _) => size.cpus += 2,
            (false, true) => size.memory = size.memory + Mem::gib(2),
        }
    }
    None
}

/// A host of each class, and of each number of GPUs in it.
fn classes(fleet: &Fleet) -> impl Iterator<Item = &Host> {
    let mut seen = BTreeSet::new();
    fleet.hosts.iter().filter(move |h| seen.insert((h.class.as_str(), h.gpus)))
}

/// The largest size of which `parts` fit: an even number of CPUs, memory in steps of 2 GiB (1 GiB below 16).
fn even_part(cpu: i64, memory: i64, parts: i64, gpus: i64, policy: &Policy) -> Option<NodeSize> {
    let ratio = if policy.sharing.dedicated_cpus { 1.0 } else { policy.sharing.cpu_overcommit };
    let cpus =
        ((cpu as f64 * ratio / 1000.0 / parts as f64) as i64 / 2 * 2).min(if gpus > 0 { 256 } else { 64 });
    let share = memory / parts;
    let mut gib = share / 1024;
    let fits = |gib: i64| {
        let size = NodeSize { cpus, memory: Mem::gib(gib), gpus };
        request(size, policy).1.0 <= share
    };
    while gib > 1 && !fits(gib) {
        gib -= 1;
    }
    let gib = if gib >= 16 { gib / 2 * 2 } else { gib };
    (cpus >= 2 && gib >= 2).then(|| NodeSize { cpus, memory: Mem::gib(gib), gpus })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// VMs of a size that one server takes, by CPU and memory, and by Pod slots.
    fn on(threads: i64, gib: i64, size: &str, overcommit: f64) -> (i64, i64) {
        let mut policy = Policy::default();
        policy.sharing.cpu_overcommit = overcommit;
        let host = NodeSize { cpus: threads, memory: Mem::gib(gib), gpus: 0 }.allocatable(&policy.host());
        let size = NodeSize::parse(size).unwrap();
        // The table is KubeVirt's default guest, which has a graphics device.
        let asked = kubevirt::request(&Vm { headless: false, ..vm(size) }, &policy.sharing);
        ((host.cpu.0 / asked.0.0).min(host.memory.0 / asked.1.0), host.pods)
    }

    /// The published table of VM Nodes by server: GKE's reservations and half a core and 2 GiB for agents, CPU 1:1, 4:1
    /// and 10:1. Its 95 Pod slots are what the server's kubelet leaves for VMs.
    #[test]
    fn vms_per_host() {
        let table = [
            (96, 251, [[47, 55, 55], [14, 14, 14], [7, 7, 7], [3, 3, 3]]),
            (128, 512, [[63, 115, 115], [30, 30, 30], [15, 15, 15], [7, 7, 7]]),
            (192, 1024, [[95, 232, 232], [47, 60, 60], [23, 30, 30], [11, 15, 15]]),
            (256, 2048, [[127, 467, 467], [63, 122, 122], [31, 61, 61], [15, 30, 30]]),
        ];
        for (threads, gib, rows) in table {
            for (size, row) in ["2/4", "4/16", "8/32", "16/64"].into_iter().zip(rows) {
                for (overcommit, want) in [1.0, 4.0, 10.0].into_iter().zip(row) {
                    let got = on(threads, gib, size, overcommit);
                    assert_eq!(got, (want, 95), "{threads} threads, {gib} GiB, {size}, {overcommit}:1");
                }
            }
        }
    }

    #[test]
    fn a_size_for_its_pods_is_the_smallest_that_takes_them() {
        let pod = PodKind {
            name: "train".to_owned(),
            count: 8,
            cpu: Cpu::cores(8),
            memory: Mem::gib(64),
            cpu_limit: None,
            memory_limit: None,
            gpus: 2,
        };
        let policy = Policy::default();
        for (times, want) in [(1, "10/72+2gpu"), (2, "18/138+4gpu")] {
            let size = just(std::slice::from_ref(&pod), times, &policy).unwrap();
            assert_eq!(size.to_string(), want);
            let pods = [PodKind { count: times as u32, ..pod.clone() }];
            assert_eq!(crate::model::nodes::nodes_for(&pods, size.allocatable(&policy.guest())), Some(1));
        }
    }

    #[test]
    fn exact_divisors_cost_one_vm_and_even_parts_do_not() {
        let policy = Policy::default();
        // Four 16/64 do not fit 256 GiB: launchers, page tables and the server's own reserve take the last one.
        assert_eq!(on(64, 256, "16/64", 4.0).0, 3);
        let host = NodeSize { cpus: 64, memory: Mem::gib(256), gpus: 0 }.allocatable(&policy.host());
        let part = even_part(host.cpu.0, host.memory.0, 4, 0, &policy).unwrap();
        let (cpu, memory) = request(part, &policy);
        assert!(
            cpu.0 * 4 <= host.cpu.0 && memory.0 * 4 <= host.memory.0 && memory.0 * 5 > host.memory.0,
            "{part}"
        );
    }
}
