//! What the launcher is told: one JSON document per VM, written by the VirtualMachineInstance controller.

use ipnet::Ipv4Net;
use scute_qemu::Accelerator;
use serde::{Deserialize, Serialize};

/// Environment variable of both containers (`network` and `compute`) that carries the [`LauncherSpec`] as JSON.
pub const SPEC_ENV: &str = "SCUTE_VM";

/// Shared emptyDir of both containers: what `launcher network` learned, the tun device node, how the guest is.
pub const RUN_DIR: &str = "/var/run/scute";

/// emptyDir of `compute` that holds overlays, empty disks, seed images and EFI variables.
pub const STATE_DIR: &str = "/var/lib/scute/vm";

/// How long QEMU may take to start: the launcher gives up then, and the Pod's startup probe must not before.
pub const START_SECONDS: u64 = 600;

/// How long `scute launcher started` waits for the guest: less than a probe may take.
pub const STARTED_SECONDS: u64 = 8;

/// The user and group QEMU and the launcher run as, upstream's `qemu` user.
pub const RUN_AS: u32 = 107;

/// One virtual machine, resolved: every default applied, every volume joined with its disk.
///
/// It holds no secret: user data from a Secret is named by file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LauncherSpec {
    /// Name of the VirtualMachineInstance.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its UID.
    pub uid: String,
    /// Host name of the guest: `spec.hostname`, else the name cut to 63 characters.
    pub hostname: String,
    /// vCPUs as sockets x cores x threads.
    pub cpu: CpuTopology,
    /// Guest memory in bytes.
    pub memory_bytes: u64,
    /// What runs the guest's instructions.
    pub accelerator: Accelerator,
    /// Firmware and SMBIOS identity.
    #[serde(default)]
    pub firmware: Firmware,
    /// Boot this kernel instead of a disk's boot loader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_boot: Option<KernelBoot>,
    /// Disks in the order of `domain.devices.disks`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<Disk>,
    /// How large the disks that the guest can write to may be together, in bytes; as they are without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_bytes: Option<u64>,
    /// Interfaces in the order of `domain.devices.interfaces`; at most one, on the Pod network, for now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// First serial port, written to the Pod's log.
    #[serde(default = "yes")]
    pub serial_console: bool,
    /// Seconds between the ACPI power button and the end of QEMU; 0 ends it at once.
    #[serde(default = "thirty")]
    pub grace_period_seconds: u64,
}

/// vCPU topology; each number is at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CpuTopology {
    /// Sockets.
    pub sockets: u32,
    /// Cores per socket.
    pub cores: u32,
    /// Threads per core.
    pub threads: u32,
}

/// Firmware and SMBIOS identity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Firmware {
    /// BIOS unless the user asks for EFI.
    #[serde(default)]
    pub bootloader: Bootloader,
    /// SMBIOS system UUID; stable over restarts of the VM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// SMBIOS system serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
}

/// What starts the boot loader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bootloader {
    /// SeaBIOS.
    #[default]
    Bios,
    /// OVMF without secure boot; variables live as long as the Pod.
    Efi,
}

/// Direct kernel boot from an image volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KernelBoot {
    /// Where the image with the kernel is mounted.
    pub root: String,
    /// Kernel inside `root`, e.g. `/boot/vmlinuz`.
    pub kernel_path: String,
    /// Initial ramdisk inside `root`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd_path: Option<String>,
    /// Kernel command line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub args: String,
}

/// One disk and the volume behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Disk {
    /// Name of the disk and of its volume; a DNS label.
    pub name: String,
    /// Where its content comes from.
    pub source: DiskSource,
    /// Bus the guest sees it on.
    #[serde(default)]
    pub bus: Bus,
    /// A CD-ROM drive instead of a disk (always read-only).
    #[serde(default, skip_serializing_if = "is_false")]
    pub cdrom: bool,
    /// The guest cannot write.
    #[serde(default, skip_serializing_if = "is_false")]
    pub readonly: bool,
    /// Serial number the guest sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Place in the boot order, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_order: Option<u32>,
}

/// Where the content of a disk comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum DiskSource {
    /// A read-only image volume; writes go to an overlay that is lost with the Pod.
    ContainerDisk {
        /// Where the image is mounted.
        root: String,
        /// The file inside `root`; without it the only file in `/disk`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
    },
    /// A blank disk that is lost with the Pod.
    EmptyDisk {
        /// Size in bytes.
        capacity_bytes: u64,
    },
    /// A seed image for cloud-init.
    CloudInit(CloudInit),
}

/// The content of a seed image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CloudInit {
    /// Layout of the seed.
    pub format: CloudInitFormat,
    /// User data, in the first of these files that exists: a mounted Secret, one path for each spelling of its key. One of
    /// them must exist; without a list the user data is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<Vec<String>>,
    /// Network data, likewise; when none of the files exists there is none: one Secret may hold both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_data: Option<Vec<String>>,
}

/// Layout of a seed image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloudInitFormat {
    /// Volume `cidata`: `meta-data`, `user-data`, `network-config`.
    NoCloud,
    /// Volume `config-2`: `openstack/latest/{meta_data.json,user_data,network_data.json}`.
    ConfigDrive,
}

/// Bus of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bus {
    /// virtio-blk.
    #[default]
    Virtio,
    /// AHCI.
    Sata,
    /// virtio-scsi.
    Scsi,
}

/// One interface of the guest: it takes over the Pod's MAC and IP address, as upstream's bridge binding does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Interface {
    /// Name of the interface.
    pub name: String,
    /// Ranges behind the guest: it may send from their addresses too, as a tenant's Node does for its Pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub behind: Vec<Ipv4Net>,
    /// Device model.
    #[serde(default)]
    pub model: Model,
    /// One queue pair per vCPU instead of one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub multiqueue: bool,
}

/// Model of a network device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Model {
    /// virtio-net.
    #[default]
    Virtio,
    /// Intel 82574L, for guests without virtio drivers.
    E1000e,
    /// Intel 82540EM.
    E1000,
}

impl CpuTopology {
    /// Number of vCPUs the guest sees.
    pub fn vcpus(&self) -> u32 {
        self.sockets.saturating_mul(self.cores).saturating_mul(self.threads)
    }
}

impl Interface {
    /// Queue pairs of the tap and of the device; only virtio has more than one.
    pub fn queues(&self, vcpus: u32) -> u32 {
        if self.multiqueue && self.model == Model::Virtio { vcpus.clamp(1, MAX_QUEUES) } else { 1 }
    }
}

/// The kernel gives a tap at most this many queues.
const MAX_QUEUES: u32 = 256;

fn yes() -> bool {
    true
}

fn thirty() -> u64 {
    30
}

fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_form_gets_the_defaults() {
        let spec: LauncherSpec = serde_json::from_str(
            r#"{"name":"a","namespace":"b","uid":"c","hostname":"a","cpu":{"sockets":1,"cores":2,"threads":1},
               "memoryBytes":1073741824,"accelerator":"tcg",
               "disks":[{"name":"root","source":{"containerDisk":{"root":"/disks/root"}}},
                        {"name":"seed","source":{"cloudInit":{"format":"ConfigDrive","userData":["/s/userdata"]}}}],
               "interfaces":[{"name":"default","multiqueue":true}]}"#,
        )
        .unwrap();
        assert!(spec.serial_console);
        assert_eq!(spec.grace_period_seconds, 30);
        assert_eq!(spec.interfaces[0].queues(spec.cpu.vcpus()), 2);
        assert_eq!(spec.disks[0].bus, Bus::Virtio);
        let again: LauncherSpec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
        assert_eq!(again, spec);
    }

    #[test]
    fn unknown_fields_are_refused() {
        let error =
            serde_json::from_str::<CloudInit>(r#"{"format":"NoCloud","userdata":["x"]}"#).unwrap_err();
        assert!(error.to_string().contains("userdata"), "{error}");
    }
}
