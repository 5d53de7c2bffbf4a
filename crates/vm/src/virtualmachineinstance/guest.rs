//! What the launcher is told about the guest: the VMI's spec with every default in its place.

use ipnet::Ipv4Net;
use kube::ResourceExt;
use scute_api::kubevirt::{
    CdRomBus, CloudInit, Devices, Disk, DiskBus, InterfaceModel, QuantityError, SOURCE_RANGES_ANNOTATION,
    VirtualMachineInstance, VirtualMachineInstanceSpec, Volume,
};
use scute_qemu::Accelerator;

use super::names::{hostname, machine_uuid};
use super::resources::guest_memory;
use super::storage::storage;
use scute_launcher::spec::{self, LauncherSpec};

/// Where the images of containerDisk volumes are mounted, one folder for each volume.
pub const DISKS_DIR: &str = "/var/lib/scute/disks";
/// Where the image of kernelBoot is mounted.
pub const KERNEL_DIR: &str = "/var/lib/scute/kernel";
/// Where the Secrets of cloud-init volumes are mounted: `<volume>/user` and `<volume>/network`.
pub const CLOUD_INIT_DIR: &str = "/var/lib/scute/cloud-init";
/// Name of the interface and network that a VMI gets when it lists none.
pub const DEFAULT_NETWORK: &str = "default";

/// The document for the launcher.
pub fn launcher_spec(
    vmi: &VirtualMachineInstance,
    accelerator: Accelerator,
) -> Result<LauncherSpec, QuantityError> {
    let (name, namespace) = (vmi.name_any(), vmi.namespace().unwrap_or_default());
    let domain = &vmi.spec.domain;
    let cpu = domain.cpu.clone().unwrap_or_default();
    let firmware = domain.firmware.clone().unwrap_or_default();
    let console = domain.devices.autoattach_serial_console.unwrap_or(true)
        && domain.devices.log_serial_console.unwrap_or(true);
    Ok(LauncherSpec {
        uid: vmi.uid().unwrap_or_default(),
        hostname: hostname(&name, &vmi.spec),
        cpu: spec::CpuTopology {
            sockets: cpu.sockets.unwrap_or(1),
            cores: cpu.cores.unwrap_or(1),
            threads: cpu.threads.unwrap_or(1),
        },
        memory_bytes: guest_memory(domain)?,
        accelerator,
        firmware: spec::Firmware {
            bootloader: match firmware.bootloader.and_then(|loader| loader.efi) {
                Some(_) => spec::Bootloader::Efi,
                None => spec::Bootloader::Bios,
            },
            uuid: Some(firmware.uuid.unwrap_or_else(|| machine_uuid(&namespace, &name))),
            serial: firmware.serial,
        },
        kernel_boot: firmware.kernel_boot.and_then(kernel_boot),
        disks: disks(&vmi.spec)?,
        storage_bytes: Some(storage(&vmi.spec)?.limit),
        interfaces: interfaces(vmi),
        serial_console: console,
        grace_period_seconds: u64::try_from(vmi.spec.grace_seconds()).unwrap_or(0),
        name,
        namespace,
    })
}

fn kernel_boot(boot: scute_api::kubevirt::KernelBoot) -> Option<spec::KernelBoot> {
    boot.container.map(|container| spec::KernelBoot {
        root: KERNEL_DIR.to_owned(),
        kernel_path: container.kernel_path,
        initrd_path: container.initrd_path,
        args: boot.kernel_args.unwrap_or_default(),
    })
}

/// The disks in their order, then one on virtio for each volume that no disk names.
fn attached(spec: &VirtualMachineInstanceSpec) -> Vec<(Disk, &Volume)> {
    let listed = &spec.domain.devices.disks;
    let volume = |name: &str| spec.volumes.iter().find(|volume| volume.name == name);
    let rest = spec
        .volumes
        .iter()
        .filter(|volume| !listed.iter().any(|disk| disk.name == volume.name))
        .map(|volume| (Disk { name: volume.name.clone(), ..Disk::default() }, Some(volume)));
    listed
        .iter()
        .map(|disk| (disk.clone(), volume(&disk.name)))
        .chain(rest)
        .filter_map(|(disk, volume)| volume.map(|volume| (disk, volume)))
        .collect()
}

fn disks(spec: &VirtualMachineInstanceSpec) -> Result<Vec<spec::Disk>, QuantityError> {
    attached(spec).into_iter().map(|(disk, volume)| one_disk(disk, volume)).collect()
}

/// The bus of each disk that the guest gets.
pub(super) fn disk_buses(spec: &VirtualMachineInstanceSpec) -> Vec<spec::Bus> {
    attached(spec).iter().map(|(disk, _)| bus(disk)).collect()
}

/// Volumes of disks that the guest can write to.
pub(super) fn writable_disks(spec: &VirtualMachineInstanceSpec) -> Vec<&Volume> {
    let is_fixed = |disk: &Disk| {
        disk.cdrom.is_some() || disk.disk.as_ref().is_some_and(|disk| disk.readonly == Some(true))
    };
    attached(spec)
        .into_iter()
        .filter(|(disk, volume)| {
            volume.empty_disk.is_some() || (volume.container_disk.is_some() && !is_fixed(disk))
        })
        .map(|(_, volume)| volume)
        .collect()
}

fn bus(disk: &Disk) -> spec::Bus {
    match &disk.cdrom {
        Some(cdrom) => match cdrom.bus.unwrap_or_default() {
            CdRomBus::Sata => spec::Bus::Sata,
            CdRomBus::Scsi => spec::Bus::Scsi,
        },
        None => match disk.disk.as_ref().and_then(|target| target.bus).unwrap_or_default() {
            DiskBus::Virtio => spec::Bus::Virtio,
            DiskBus::Sata => spec::Bus::Sata,
            DiskBus::Scsi => spec::Bus::Scsi,
        },
    }
}

fn one_disk(disk: Disk, volume: &Volume) -> Result<spec::Disk, QuantityError> {
    let bus = bus(&disk);
    let target = disk.disk.unwrap_or_default();
    Ok(spec::Disk {
        name: disk.name,
        source: source(volume)?,
        bus,
        cdrom: disk.cdrom.is_some(),
        readonly: target.readonly.unwrap_or(false),
        serial: disk.serial,
        boot_order: disk.boot_order,
    })
}

/// The schema lets through volumes with exactly one source.
fn source(volume: &Volume) -> Result<spec::DiskSource, QuantityError> {
    Ok(if let Some(data) = &volume.cloud_init_no_cloud {
        spec::DiskSource::CloudInit(seed(&volume.name, data, spec::CloudInitFormat::NoCloud))
    } else if let Some(data) = &volume.cloud_init_config_drive {
        spec::DiskSource::CloudInit(seed(&volume.name, data, spec::CloudInitFormat::ConfigDrive))
    } else if let Some(disk) = &volume.empty_disk {
        spec::DiskSource::EmptyDisk { capacity_bytes: disk.capacity.units()? }
    } else {
        let path = volume.container_disk.as_ref().and_then(|disk| disk.path.clone());
        spec::DiskSource::ContainerDisk { root: format!("{DISKS_DIR}/{}", volume.name), path }
    })
}

/// The data itself is in mounted Secrets, inline data too: the Pod's spec has none of it.
fn seed(volume: &str, data: &CloudInit, format: spec::CloudInitFormat) -> spec::CloudInit {
    let files = |folder: &str, keys: [&str; 2]| {
        keys.map(|key| format!("{CLOUD_INIT_DIR}/{volume}/{folder}/{key}")).to_vec()
    };
    let (user, network) = (["userdata", "userData"], ["networkdata", "networkData"]);
    let has_user = data.secret_ref.is_some() || data.user_data.is_some() || data.user_data_base64.is_some();
    let mut network_files = Vec::new();
    if data.network_data_secret_ref.is_some()
        || data.network_data.is_some()
        || data.network_data_base64.is_some()
    {
        network_files.extend(files("network", network));
    } else if data.secret_ref.is_some() {
        // One Secret may hold both.
        network_files.extend(files("user", network));
    }
    spec::CloudInit {
        format,
        user_data: has_user.then(|| files("user", user)),
        network_data: (!network_files.is_empty()).then_some(network_files),
    }
}

/// The ranges that the guest may send from besides its own address; the entries that are none of IPv4.
pub fn source_ranges(vmi: &VirtualMachineInstance) -> (Vec<Ipv4Net>, Vec<String>) {
    let text = vmi.annotations().get(SOURCE_RANGES_ANNOTATION).map(String::as_str).unwrap_or_default();
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let (mut ranges, mut wrong) = (Vec::new(), Vec::new());
    for entry in entries {
        match entry.parse::<Ipv4Net>() {
            Ok(range) => ranges.push(range),
            Err(_) => wrong.push(entry.to_owned()),
        }
    }
    (ranges, wrong)
}

fn has_default_interface(devices: &Devices) -> bool {
    devices.interfaces.is_empty() && devices.autoattach_pod_interface.unwrap_or(true)
}

/// How many interfaces the guest gets.
pub(super) fn interface_count(devices: &Devices) -> usize {
    devices.interfaces.len() + usize::from(has_default_interface(devices))
}

fn interfaces(vmi: &VirtualMachineInstance) -> Vec<spec::Interface> {
    let devices = &vmi.spec.domain.devices;
    let (behind, _) = source_ranges(vmi);
    let interface = |name: &str, model: InterfaceModel| spec::Interface {
        name: name.to_owned(),
        behind: behind.clone(),
        model: match model {
            InterfaceModel::Virtio => spec::Model::Virtio,
            InterfaceModel::E1000 => spec::Model::E1000,
            InterfaceModel::E1000e => spec::Model::E1000e,
        },
        multiqueue: devices.network_interface_multiqueue.unwrap_or(false),
    };
    if has_default_interface(devices) {
        return vec![interface(DEFAULT_NETWORK, InterfaceModel::Virtio)];
    }
    devices
        .interfaces
        .iter()
        .map(|listed| interface(&listed.name, listed.model.unwrap_or_default()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_ranges_are_read_and_what_is_none_is_named() {
        let mut vmi = VirtualMachineInstance::default();
        assert_eq!(source_ranges(&vmi), (vec![], vec![]));
        let text = "10.1.0.0/16, 10.2.0.0/16,,fd00::/48,everything";
        vmi.annotations_mut().insert(SOURCE_RANGES_ANNOTATION.to_owned(), text.to_owned());
        let (ranges, wrong) = source_ranges(&vmi);
        assert_eq!(ranges, ["10.1.0.0/16".parse().unwrap(), "10.2.0.0/16".parse().unwrap()]);
        assert_eq!(wrong, ["fd00::/48", "everything"]);
    }
}
