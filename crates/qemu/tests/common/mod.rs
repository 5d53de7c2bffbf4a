//! A machine for tests: one boot sector, little memory.

use std::path::Path;

use scute_qemu::bootsector::{self, Guest};
use scute_qemu::{Accelerator, Bus, CpuTopology, Drive, DriveImage, Firmware, Identity, MachineConfig};

/// A disk on `bus` whose content may be lost.
pub fn drive(name: &str, image: DriveImage, bus: Bus) -> Drive {
    Drive { name: name.into(), image, bus, cdrom: false, readonly: false, serial: None, boot_index: Some(1) }
}

/// A machine with these drives.
pub fn machine(drives: Vec<Drive>) -> MachineConfig {
    MachineConfig {
        name: "test".into(),
        machine: "q35".into(),
        accelerator: Accelerator::Tcg,
        cpu: CpuTopology { sockets: 1, cores: 2, threads: 1 },
        memory_bytes: 64 << 20,
        firmware: Firmware::Bios,
        identity: Identity::default(),
        kernel: None,
        drives,
        nics: vec![],
    }
}

#[allow(dead_code, reason = "not every test binary boots a plain disk")]
/// A machine that boots `guest` from a raw disk in `dir`.
pub fn booting(dir: &Path, guest: Guest, message: &str) -> MachineConfig {
    let disk = dir.join("boot.raw");
    std::fs::write(&disk, bootsector::disk(guest, message)).unwrap();
    machine(vec![drive("boot", DriveImage::Scratch(disk), Bus::Virtio)])
}
