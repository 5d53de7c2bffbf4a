//! Which sizes of VM are worth considering when the policy leaves them free.

use std::collections::BTreeSet;

use crate::input::{Fleet, Host, Policy};
use crate::model::kubevirt::{self, Vm};
use crate::model::nodes::NodeSize;
use crate::units::{Cpu, Mem};

use super::classes::capacity;

/// Sizes that people use: CPUs and GiB.
const COMMON: [(i64, i64); 9] =
    [(2, 4), (4, 8), (4, 16), (8, 16), (8, 32), (16, 32), (16, 64), (32, 64), (32, 128)];
/// A host is also cut evenly into so many.
const PARTS: [i64; 6] = [2, 3, 4, 6, 8, 12];

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

/// Free sizes with at least so many GPUs: each GPU with its share of the host, or half of that.
pub fn with_gpus(fleet: &Fleet, policy: &Policy, least: i64) -> Vec<NodeSize> {
    let mut sizes = Vec::new();
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

/// A host of each class.
fn classes(fleet: &Fleet) -> impl Iterator<Item = &Host> {
    let mut seen = BTreeSet::new();
    fleet.hosts.iter().filter(move |h| seen.insert(h.class.as_str()))
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
