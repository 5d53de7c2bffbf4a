//! A host as a machine of QEMU: pure.

use std::collections::BTreeMap;

use scute_bmc::{BootDevice, BootMode, NextBoot};
use scute_qemu::{
    Accelerator, BadSpot, BootDevice as Device, Bus, CpuTopology, Drive, Firmware as QemuFirmware,
    MachineConfig, Medium, Nic, NicBackend, NicModel, Smbios,
};

use crate::config::HostConfig;
use crate::folder::{HostFolder, State};
use crate::rack::Equipment;

/// Name of the CD drive.
pub const CD: &str = "cd";

/// By which firmware a start goes, and what it tries in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    pub mode: BootMode,
    pub order: Vec<Device>,
}

impl Start {
    /// Of a host that is told this. By itself it tries its disks, and nothing else: an override that was lost must show.
    pub fn of(config: &HostConfig, next: Option<NextBoot>) -> Self {
        let own = config.firmware.mode();
        let disks: Vec<Device> = (0..config.disks.len()).map(|disk| Device::Drive(disk_name(disk))).collect();
        let first = match next.map(|next| next.device) {
            Some(BootDevice::Cd) => vec![Device::Drive(CD.into())],
            Some(BootDevice::Pxe) => (0..config.nics.len()).map(Device::Nic).collect(),
            // Nothing to boot leaves the firmware to itself.
            Some(BootDevice::BiosSetup) => return Self { mode: own, order: vec![] },
            Some(BootDevice::Hdd) | None => vec![],
        };
        Self { mode: next.map_or(own, |next| next.mode), order: [first, disks].concat() }
    }

    fn place(&self, device: &Device) -> Option<u32> {
        self.order.iter().position(|one| one == device).and_then(|place| u32::try_from(place).ok())
    }
}

/// Places of disks that fail, by the number of the disk.
pub type Bad = BTreeMap<usize, BadSpot>;

pub fn disk_name(index: usize) -> String {
    format!("disk-{index}")
}

/// The machine for this start.
pub fn machine(
    config: &HostConfig,
    folder: &HostFolder,
    equipment: &Equipment,
    accelerator: Accelerator,
    state: &State,
    bad: &Bad,
    start: &Start,
) -> MachineConfig {
    let programs = &equipment.programs;
    MachineConfig {
        name: config.name.clone(),
        accelerator,
        cpu: CpuTopology { sockets: 1, cores: config.cpus, threads: 1 },
        memory_bytes: config.memory_mib << 20,
        firmware: match start.mode {
            BootMode::Uefi => QemuFirmware::Efi { code: programs.ovmf_code.clone(), vars: folder.vars() },
            BootMode::Legacy => QemuFirmware::Bios,
        },
        smbios: Smbios {
            manufacturer: Some("Scute".into()),
            product: Some("Virtual Rack Server".into()),
            uuid: Some(config.uuid.clone()),
            serial: Some(config.serial.clone()),
        },
        kernel: None,
        drives: drives(config, folder, state, bad, start),
        nics: nics(config, equipment, start),
        spare_slots: 0,
    }
}

fn drives(config: &HostConfig, folder: &HostFolder, state: &State, bad: &Bad, start: &Start) -> Vec<Drive> {
    let disk = |(index, disk): (usize, &crate::config::Disk)| {
        let name = disk_name(index);
        Drive {
            medium: Some(Medium::raw(folder.disk(index))),
            bus: Bus::Virtio,
            cdrom: false,
            readonly: false,
            persistent: true,
            serial: Some(disk.serial.clone()),
            boot_index: start.place(&Device::Drive(name.clone())),
            bad: bad.get(&index).copied(),
            name,
        }
    };
    let cd = Drive {
        name: CD.into(),
        medium: state.medium.clone().map(Medium::Url),
        bus: Bus::Scsi,
        cdrom: true,
        readonly: true,
        persistent: false,
        serial: None,
        boot_index: start.place(&Device::Drive(CD.into())),
        bad: None,
    };
    config.disks.iter().enumerate().map(disk).chain([cd]).collect()
}

fn nics(config: &HostConfig, equipment: &Equipment, start: &Start) -> Vec<Nic> {
    let nic = |(index, nic): (usize, &crate::config::Nic)| Nic {
        mac: nic.mac.to_string(),
        model: NicModel::Virtio,
        backend: match &equipment.place.network {
            Some(_) => NicBackend::Tap { name: config.tap(index), tun: "/dev/net/tun".into() },
            None => NicBackend::Unplugged,
        },
        queues: 1,
        mtu: None,
        rom: equipment.programs.nic_rom.clone().filter(|_| start.mode == BootMode::Legacy),
        boot_index: start.place(&Device::Nic(index)),
    };
    config.nics.iter().enumerate().map(nic).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Shape;
    use scute_bmc::Lasting;

    fn order(next: Option<NextBoot>) -> Start {
        let shape = Shape { disks_mib: vec![1, 1], ..Shape::default() };
        Start::of(&HostConfig::new("a", 1, 0, &shape).unwrap(), next)
    }

    fn next(device: BootDevice) -> Option<NextBoot> {
        Some(NextBoot { device, lasting: Lasting::Once, mode: BootMode::Uefi })
    }

    #[test]
    fn an_override_comes_before_the_disks_and_nothing_else_does() {
        let disks = [Device::Drive("disk-0".into()), Device::Drive("disk-1".into())];
        assert_eq!(order(None).order, disks);
        assert_eq!(order(next(BootDevice::Hdd)).order, disks);
        assert_eq!(order(next(BootDevice::Cd)).order[0], Device::Drive("cd".into()));
        assert_eq!(order(next(BootDevice::Cd)).order[1..], disks);
        assert_eq!(order(next(BootDevice::Pxe)).order[0], Device::Nic(0));
        assert!(order(next(BootDevice::BiosSetup)).order.is_empty());
    }

    #[test]
    fn the_override_chooses_the_firmware_too() {
        assert_eq!(order(None).mode, BootMode::Uefi);
        let legacy = NextBoot { device: BootDevice::Hdd, lasting: Lasting::Once, mode: BootMode::Legacy };
        assert_eq!(order(Some(legacy)).mode, BootMode::Legacy);
    }
}
