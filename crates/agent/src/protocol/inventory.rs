//! What an agent has found in a host.

use serde::{Deserialize, Serialize};

/// What is in a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Inventory {
    /// Vendor by SMBIOS.
    pub manufacturer: String,
    /// Product by SMBIOS.
    pub product: String,
    /// Serial number by SMBIOS.
    pub serial: String,
    /// System UUID by SMBIOS.
    pub uuid: String,
    /// The firmware.
    pub firmware: Firmware,
    /// Whether it was started by UEFI.
    pub uefi: bool,
    /// Processors.
    pub cpu: Cpu,
    /// Memory in MiB, as built in.
    pub memory_mebibytes: u64,
    /// Network ports.
    pub nics: Vec<Nic>,
    /// Disks.
    pub disks: Vec<Disk>,
    /// NUMA nodes.
    pub numa: Vec<NumaNode>,
    /// GPUs and other accelerators.
    pub gpus: Vec<PciDevice>,
    /// Host name, when DHCP gave one.
    pub hostname: String,
}

/// BIOS or UEFI.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Firmware {
    /// By SMBIOS.
    pub vendor: String,
    /// By SMBIOS.
    pub version: String,
    /// By SMBIOS, `MM/DD/YYYY`.
    pub date: String,
}

/// Processors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cpu {
    /// `x86_64`, `aarch64`.
    pub arch: String,
    /// Model name.
    pub model: String,
    /// Highest, in MHz.
    pub megahertz: u32,
    /// Sorted.
    pub flags: Vec<String>,
    /// Logical processors.
    pub count: u32,
}

/// A network port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Nic {
    /// By the kernel.
    pub name: String,
    /// Lower case with colons.
    pub mac: String,
    /// Addresses that it has now.
    pub addresses: Vec<String>,
    /// PCI vendor and device, `0x1af4 0x0001`.
    pub model: String,
    /// In Gbit/s; 0 when not known.
    pub speed_gbps: u32,
    /// Whether there is a link.
    pub carrier: bool,
    /// `0000:00:03.0`
    pub pci_address: String,
    /// NUMA node; -1 when not known.
    pub numa_node: i32,
}

/// A disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Disk {
    /// `/dev/disk/by-path/...` where there is one, else `/dev/...`.
    pub name: String,
    /// All others.
    pub alternate_names: Vec<String>,
    /// Turning.
    pub rotational: bool,
    /// `HDD`, `SSD` or `NVME`.
    pub kind: String,
    /// Bytes.
    pub size_bytes: u64,
    /// By the device.
    pub vendor: String,
    /// By the device.
    pub model: String,
    /// By the device.
    pub serial_number: String,
    /// World wide name.
    pub wwn: String,
    /// The vendor's extension.
    pub wwn_vendor_extension: String,
    /// Both.
    pub wwn_with_extension: String,
    /// SCSI address.
    pub hctl: String,
}

/// A NUMA node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NumaNode {
    /// Its number.
    pub id: u32,
    /// Logical processors.
    pub cpus: Vec<u32>,
    /// Memory in MiB.
    pub memory_mebibytes: u64,
}

/// A PCI device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PciDevice {
    /// `0000:00:03.0`
    pub address: String,
    /// `10de`
    pub vendor: String,
    /// `2330`
    pub device: String,
    /// NUMA node; -1 when not known.
    pub numa_node: i32,
}
