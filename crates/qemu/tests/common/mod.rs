//! A machine for tests: one boot sector, little memory.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::Path;

use scute_qemu::bootsector::{self, Guest};
use scute_qemu::{Accelerator, Bus, CpuTopology, Drive, Firmware, MachineConfig, Medium, Smbios};

/// A disk on `bus` whose content may be lost.
pub fn drive(name: &str, medium: Medium, bus: Bus) -> Drive {
    Drive {
        name: name.into(),
        medium: Some(medium),
        bus,
        cdrom: false,
        readonly: false,
        persistent: false,
        serial: None,
        boot_index: Some(1),
        bad: None,
    }
}

/// A machine with these drives.
pub fn machine(drives: Vec<Drive>) -> MachineConfig {
    MachineConfig {
        name: "test".into(),
        accelerator: Accelerator::Tcg,
        cpu: CpuTopology { sockets: 1, cores: 2, threads: 1 },
        memory_bytes: 64 << 20,
        firmware: Firmware::Bios,
        smbios: Smbios::default(),
        kernel: None,
        drives,
        nics: vec![],
        spare_slots: 0,
    }
}

/// A raw disk that boots `guest`, in `dir`.
pub fn disk(dir: &Path, name: &str, guest: Guest, message: &str) -> Medium {
    let disk = dir.join(format!("{name}.raw"));
    std::fs::write(&disk, bootsector::disk(guest, message)).unwrap();
    Medium::raw(disk)
}

/// A machine that boots `guest` from a raw disk in `dir`.
pub fn booting(dir: &Path, guest: Guest, message: &str) -> MachineConfig {
    machine(vec![drive("boot", disk(dir, "boot", guest, message), Bus::Virtio)])
}
