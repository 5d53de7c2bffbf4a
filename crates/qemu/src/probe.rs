//! Which accelerator works here: `/dev/kvm` may exist and still take no guest, so a guest is started. It goes to long
//! mode, as kernels do: some hosts' KVM takes real mode and nothing else.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::time::Duration;

use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};

use crate::bootsector::{self, Guest};
use crate::config::{Accelerator, Bus, CpuTopology, Drive, Firmware, MachineConfig, Medium, Smbios};
use crate::process::Qemu;
use crate::vmm::{Event, StartError, Vmm};

/// A KVM guest of 512 bytes is off again within a quarter of a second; a starved host may take longer.
const PROBE_WITHIN: Duration = Duration::from_secs(10);

const MIB: u64 = 1024 * 1024;

/// The accelerator to use, and why it is not KVM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What works.
    pub accelerator: Accelerator,
    /// Why KVM does not, in one line; empty when it does.
    pub reason: String,
}

/// Starts a guest under KVM and waits until it has powered itself off.
pub async fn probe(qemu: &Qemu) -> Probe {
    if let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        return tcg(format!("/dev/kvm: {error}"));
    }
    match tokio::time::timeout(PROBE_WITHIN, run(qemu)).await {
        Ok(Ok(())) => Probe { accelerator: Accelerator::Kvm, reason: String::new() },
        Ok(Err(reason)) => tcg(reason),
        Err(_) => tcg(format!("a guest under KVM did not finish within {PROBE_WITHIN:?}")),
    }
}

fn tcg(reason: String) -> Probe {
    let reason = reason.lines().next().unwrap_or_default().to_owned();
    Probe { accelerator: Accelerator::Tcg, reason }
}

async fn run(qemu: &Qemu) -> Result<(), String> {
    let disk = rustix::fs::memfd_create("probe", MemfdFlags::CLOEXEC).map_err(|error| error.to_string())?;
    let mut disk = std::fs::File::from(disk);
    let bytes = bootsector::disk(Guest::PowersOffInLongMode, "");
    disk.write_all(&bytes).map_err(|error| error.to_string())?;
    let image = format!("/proc/{}/fd/{}", std::process::id(), disk.as_raw_fd());
    let mut machine = match qemu.start(&config(Medium::raw(image))).await {
        Ok(machine) => machine,
        Err(StartError::Died(exit)) => return Err(format!("a guest under KVM ended at once, {exit}")),
        Err(error) => return Err(error.to_string()),
    };
    loop {
        match machine.events.next().await {
            Event::Shutdown { guest: true, .. } => return Ok(()),
            // What a CPU does with a guest that it cannot run.
            Event::Reset { guest: true } => return Err("a guest under KVM did not reach long mode".into()),
            Event::Exited(exit) => return Err(format!("a guest under KVM ended, {exit}")),
            _ => {}
        }
    }
}

fn config(medium: Medium) -> MachineConfig {
    MachineConfig {
        name: "probe".into(),
        accelerator: Accelerator::Kvm,
        cpu: CpuTopology { sockets: 1, cores: 1, threads: 1 },
        memory_bytes: 64 * MIB,
        firmware: Firmware::Bios,
        smbios: Smbios::default(),
        kernel: None,
        drives: vec![Drive {
            name: "probe".into(),
            medium: Some(medium),
            bus: Bus::Virtio,
            cdrom: false,
            readonly: true,
            persistent: false,
            serial: None,
            boot_index: Some(1),
            bad: None,
        }],
        nics: vec![],
        spare_slots: 0,
    }
}
