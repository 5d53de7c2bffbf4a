//! What a virtual machine costs its host: KubeVirt's virt-launcher arithmetic.
//!
//! Source: kubevirt `pkg/virt-controller/services/renderresources.go` and `pkg/hypervisor/kvm`, v1.7.

use serde::Serialize;

use crate::units::{Cpu, Mem};

/// virt-launcher monitor, virt-launcher, virtlogd, virtqemud and QEMU itself, in MiB.
const LAUNCHER: [i64; 5] = [25, 100, 25, 40, 30];
/// The I/O thread.
const IO_THREAD: i64 = 8;
/// Each virtual CPU.
const PER_VCPU: i64 = 8;
/// Video memory, unless `autoattachGraphicsDevice: false`.
const GRAPHICS: i64 = 32;
/// Page tables: one part in this many of guest memory.
const PAGE_TABLE_SHARE: i64 = 512;
/// Any VFIO device: GPU, host device, SR-IOV.
const VFIO: i64 = 1024;
/// 64-bit ARM firmware.
const ARM64: i64 = 128;
/// Secure encrypted virtualisation.
const SEV: i64 = 256;
/// A TPM.
const TPM: i64 = 53;
/// Downward metrics.
const DOWNWARD_METRICS: i64 = 1;
/// Dedicated CPUs or Guaranteed QoS.
const DEDICATED: i64 = 100;
/// One exec probe.
const ONE_PROBE: i64 = 110;
/// Two exec probes.
const TWO_PROBES: i64 = 120;
/// The passt network binding.
const PASST: i64 = 250;
/// KubeVirt's default `cpuAllocationRatio`.
pub const CPU_ALLOCATION_RATIO: i64 = 10;

/// What of a VM bears on its overhead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vm {
    /// Guest memory.
    pub memory: Mem,
    /// Virtual CPUs.
    pub vcpus: i64,
    /// No graphics device.
    pub headless: bool,
    /// Any VFIO device.
    pub vfio: bool,
    /// Runs on 64-bit ARM.
    pub arm64: bool,
    /// SEV.
    pub sev: bool,
    /// TPM.
    pub tpm: bool,
    /// Downward metrics.
    pub downward_metrics: bool,
    /// Dedicated CPUs or Guaranteed QoS.
    pub dedicated: bool,
    /// Exec probes (0 to 2).
    pub exec_probes: u8,
    /// passt binding.
    pub passt: bool,
}

/// How VMs share their host.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sharing {
    /// Virtual CPUs to one hardware thread.
    pub cpu_overcommit: f64,
    /// Percent of guest memory to what is requested (KubeVirt's `memoryOvercommit`).
    pub memory_overcommit: f64,
    /// `dedicatedCpuPlacement`.
    pub dedicated_cpus: bool,
    /// Guests live in huge pages.
    pub hugepages: bool,
    /// Whose launcher.
    pub launcher: Launcher,
}

/// The launcher's memory beside the guest's.
pub fn overhead(vm: &Vm) -> Mem {
    let flags = [
        (!vm.headless, GRAPHICS),
        (vm.arm64, ARM64),
        (vm.vfio, VFIO),
        (vm.sev, SEV),
        (vm.tpm, TPM),
        (vm.downward_metrics, DOWNWARD_METRICS),
        (vm.dedicated, DEDICATED),
        (vm.exec_probes == 1, ONE_PROBE),
        (vm.exec_probes > 1, TWO_PROBES),
        (vm.passt, PASST),
    ];
    let optional: i64 = flags.iter().filter(|(on, _)| *on).map(|(_, mib)| mib).sum();
    let tables = (vm.memory.0 + PAGE_TABLE_SHARE - 1) / PAGE_TABLE_SHARE;
    Mem(tables + LAUNCHER.iter().sum::<i64>() + IO_THREAD + PER_VCPU * vm.vcpus + optional)
}

/// Whose launcher runs the VMs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Launcher {
    /// KubeVirt's.
    #[default]
    Kubevirt,
    /// Scute's.
    Scute,
}

/// Scute's own launcher and QEMU without the guest, in MiB: one process each, no libvirt.
const SCUTE_BASE: i64 = 12 + 60;

/// The same for Scute's launcher (see the vm crate's `overhead`, with KVM); what devices and SEV need is alike.
pub fn overhead_of_scute(vm: &Vm) -> Mem {
    let same = overhead(&Vm { headless: true, dedicated: false, exec_probes: 0, ..*vm });
    same - Mem(LAUNCHER.iter().sum::<i64>() + IO_THREAD) + Mem(SCUTE_BASE)
}

/// What the scheduler sees of a VM's Pod: CPU and memory (huge pages counted as memory: they come out of the same RAM).
pub fn request(vm: &Vm, sharing: &Sharing) -> (Cpu, Mem) {
    let pinned = sharing.dedicated_cpus || vm.dedicated;
    let vm = Vm { dedicated: pinned, ..*vm };
    let cpu = if pinned {
        Cpu::cores(vm.vcpus)
    } else {
        Cpu((vm.vcpus as f64 * 1000.0 / sharing.cpu_overcommit).ceil() as i64)
    };
    let guest = if pinned || sharing.hugepages {
        vm.memory
    } else {
        Mem((vm.memory.0 as f64 * 100.0 / sharing.memory_overcommit).ceil() as i64)
    };
    let around = match sharing.launcher {
        Launcher::Kubevirt => overhead(&vm),
        Launcher::Scute => overhead_of_scute(&vm),
    };
    (cpu, guest + around)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(vcpus: i64, gib: i64) -> Vm {
        Vm { memory: Mem::gib(gib), vcpus, ..Vm::default() }
    }

    #[test]
    fn overhead_vectors() {
        let want = [(1, 1, 270), (2, 4, 284), (4, 16, 324), (8, 32, 388), (16, 64, 516), (32, 128, 772)];
        for (vcpus, gib, mib) in want {
            assert_eq!(overhead(&vm(vcpus, gib)), Mem(mib), "{vcpus}/{gib}");
        }
    }

    #[test]
    fn our_launcher_is_lighter() {
        assert_eq!(overhead_of_scute(&vm(2, 4)), Mem(12 + 60 + 16 + 8));
        assert_eq!(overhead(&Vm { headless: true, ..vm(8, 32) }) - overhead_of_scute(&vm(8, 32)), Mem(156));
    }

    #[test]
    fn each_option_adds_its_own() {
        let base = vm(2, 4);
        let cases = [
            (Vm { headless: true, ..base }, -32),
            (Vm { vfio: true, ..base }, 1024),
            (Vm { arm64: true, ..base }, 128),
            (Vm { sev: true, ..base }, 256),
            (Vm { tpm: true, ..base }, 53),
            (Vm { downward_metrics: true, ..base }, 1),
            (Vm { dedicated: true, ..base }, 100),
            (Vm { exec_probes: 1, ..base }, 110),
            (Vm { exec_probes: 2, ..base }, 120),
            (Vm { passt: true, ..base }, 250),
        ];
        for (vm, more) in cases {
            assert_eq!(overhead(&vm).0 - 284, more);
        }
    }

    #[test]
    fn requests_follow_the_sharing() {
        let shared = Sharing {
            cpu_overcommit: 10.0,
            memory_overcommit: 100.0,
            dedicated_cpus: false,
            hugepages: false,
            launcher: Launcher::Kubevirt,
        };
        assert_eq!(request(&vm(8, 32), &shared), (Cpu(800), Mem(32768 + 388)));
        let tight = Sharing { memory_overcommit: 150.0, ..shared };
        assert_eq!(request(&vm(8, 32), &tight).1, Mem(21846 + 388));
        let huge = Sharing { hugepages: true, ..tight };
        assert_eq!(request(&vm(8, 32), &huge).1, Mem(32768 + 388), "huge pages are never overcommitted");
        let pinned = Sharing { dedicated_cpus: true, ..tight };
        assert_eq!(request(&vm(8, 32), &pinned), (Cpu::cores(8), Mem(32768 + 488)));
    }
}
