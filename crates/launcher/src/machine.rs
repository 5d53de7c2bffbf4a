//! A [`LauncherSpec`] with its prepared disks and network to the VMM's [`MachineConfig`]: pure.

use std::path::{Path, PathBuf};

use scute_qemu as vmm;
use scute_qemu::{Drive, Firmware, Kernel, MachineConfig, Medium, Nic, NicBackend, NicModel, Smbios};

use super::spec::{Bootloader, Bus, Disk, DiskSource, LauncherSpec, Model};

/// Name of the tap that every interface on the Pod network has.
pub const TAP: &str = "tap0";

/// What the guest's interface takes from the Pod's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// MAC of the Pod.
    pub mac: String,
    /// MTU of the Pod's interface.
    pub mtu: u16,
    /// The tun device node.
    pub tun: PathBuf,
}

/// The machine of `spec`. `drives` are its disks in order, `efi` is OVMF's code and this VM's own variables.
pub fn config(
    spec: &LauncherSpec,
    drives: Vec<Drive>,
    kernel: Option<Kernel>,
    link: Option<&Link>,
    efi: (&Path, &Path),
) -> MachineConfig {
    MachineConfig {
        name: format!("{}/{}", spec.namespace, spec.name),
        accelerator: spec.accelerator,
        cpu: vmm::CpuTopology { sockets: spec.cpu.sockets, cores: spec.cpu.cores, threads: spec.cpu.threads },
        memory_bytes: spec.memory_bytes,
        firmware: match spec.firmware.bootloader {
            Bootloader::Bios => Firmware::Bios,
            Bootloader::Efi => Firmware::Efi { code: efi.0.into(), vars: efi.1.into() },
        },
        smbios: Smbios {
            // Guests and their tools recognise this manufacturer.
            manufacturer: Some("KubeVirt".to_owned()),
            product: Some("None".to_owned()),
            uuid: spec.firmware.uuid.clone(),
            serial: spec.firmware.serial.clone(),
        },
        kernel,
        drives: in_boot_order(spec, drives),
        nics: link.map(|link| nics(spec, link)).unwrap_or_default(),
        spare_slots: 0,
    }
}

/// The drive of `disk`; its place in the boot order comes later. What is in it is lost with the Pod.
pub fn drive(disk: &Disk, medium: Medium) -> Drive {
    Drive {
        name: disk.name.clone(),
        medium: Some(medium),
        bus: match disk.bus {
            Bus::Virtio => vmm::Bus::Virtio,
            Bus::Sata => vmm::Bus::Sata,
            Bus::Scsi => vmm::Bus::Scsi,
        },
        cdrom: disk.cdrom,
        readonly: disk.readonly || matches!(disk.source, DiskSource::CloudInit(_)),
        persistent: false,
        serial: disk.serial.clone(),
        boot_index: disk.boot_order,
        bad: None,
    }
}

/// Without any `bootOrder` the disks are tried as they are listed.
fn in_boot_order(spec: &LauncherSpec, mut drives: Vec<Drive>) -> Vec<Drive> {
    if spec.disks.iter().all(|disk| disk.boot_order.is_none()) {
        for (index, drive) in (1..).zip(&mut drives) {
            drive.boot_index = Some(index);
        }
    }
    drives
}

fn nics(spec: &LauncherSpec, link: &Link) -> Vec<Nic> {
    let nic = |interface: &super::spec::Interface| Nic {
        mac: link.mac.clone(),
        model: match interface.model {
            Model::Virtio => NicModel::Virtio,
            Model::E1000e => NicModel::E1000e,
            Model::E1000 => NicModel::E1000,
        },
        queues: interface.queues(spec.cpu.vcpus()),
        mtu: Some(link.mtu),
        backend: NicBackend::Tap { name: TAP.to_owned(), tun: link.tun.clone() },
        rom: None,
        boot_index: None,
    };
    spec.interfaces.iter().take(1).map(nic).collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::spec::{CpuTopology, DiskSource, Firmware as FirmwareSpec, Interface};

    fn spec() -> LauncherSpec {
        LauncherSpec {
            name: "vm".into(),
            namespace: "default".into(),
            uid: "1".into(),
            hostname: "vm".into(),
            cpu: CpuTopology { sockets: 1, cores: 4, threads: 1 },
            memory_bytes: 1 << 30,
            accelerator: vmm::Accelerator::Tcg,
            firmware: FirmwareSpec::default(),
            kernel_boot: None,
            disks: vec![],
            storage_bytes: None,
            interfaces: vec![],
            serial_console: true,
            grace_period_seconds: 30,
        }
    }

    fn disk(name: &str, boot_order: Option<u32>) -> Disk {
        let source = DiskSource::EmptyDisk { capacity_bytes: 1 };
        Disk {
            name: name.into(),
            source,
            bus: Bus::Virtio,
            cdrom: false,
            readonly: false,
            serial: None,
            boot_order,
        }
    }

    fn order(disks: Vec<Disk>) -> Vec<Option<u32>> {
        let drives = disks.iter().map(|disk| drive(disk, Medium::raw("/x"))).collect();
        let spec = LauncherSpec { disks, ..spec() };
        let config = super::config(&spec, drives, None, None, (Path::new("/code"), Path::new("/vars")));
        config.drives.iter().map(|drive| drive.boot_index).collect()
    }

    /// A machine without anything, for tests of those that run machines.
    pub fn config() -> MachineConfig {
        super::config(&spec(), vec![], None, None, (Path::new("/code"), Path::new("/vars")))
    }

    #[test]
    fn disks_boot_as_listed_unless_the_user_says_otherwise() {
        assert_eq!(order(vec![disk("a", None), disk("b", None)]), [Some(1), Some(2)]);
        assert_eq!(order(vec![disk("a", None), disk("b", Some(7))]), [None, Some(7)]);
    }

    #[test]
    fn the_guest_takes_the_pod_s_mac() {
        let interface =
            Interface { name: "default".into(), behind: vec![], model: Model::Virtio, multiqueue: true };
        let link = Link { mac: "02:00:00:00:00:01".into(), mtu: 1450, tun: "/t".into() };
        let nic = nics(&LauncherSpec { interfaces: vec![interface], ..spec() }, &link).remove(0);
        assert_eq!((nic.mac.as_str(), nic.queues), ("02:00:00:00:00:01", 4));
    }
}
