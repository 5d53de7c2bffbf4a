//! What a server is made of: HardwareDetails, and the kind HardwareData that holds them.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the inspection of a server found. Name and namespace are those of its BareMetalHost.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "metal3.io",
    version = "v1alpha1",
    kind = "HardwareData",
    plural = "hardwaredata",
    singular = "hardwaredata",
    namespaced,
    derive = "PartialEq",
    derive = "Default",
    shortname = "hd",
    label("clusterctl.cluster.x-k8s.io", ""),
    label("clusterctl.cluster.x-k8s.io/move", ""),
    doc = "What the inspection of a BareMetalHost of the same name found.",
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[schemars(extend("default" = {}))]
pub struct HardwareDataSpec {
    /// What was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<HardwareDetails>,
}

/// What a server is made of.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct HardwareDetails {
    /// Who made it.
    pub system_vendor: SystemVendor,
    /// Its firmware.
    pub firmware: Firmware,
    /// Memory.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0))]
    pub ram_mebibytes: i64,
    /// Network interfaces; one entry for each of an interface's addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nics: Vec<Nic>,
    /// Disks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub storage: Vec<Storage>,
    /// CPUs.
    pub cpu: Cpu,
    /// Host name that the ramdisk had.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
}

/// Who made a server.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct SystemVendor {
    /// Manufacturer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub manufacturer: String,
    /// Product.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub product_name: String,
    /// Serial number.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub serial_number: String,
}

/// Firmware of a server.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(default)]
pub struct Firmware {
    /// BIOS or UEFI.
    pub bios: Bios,
}

/// BIOS or UEFI of a server.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(default)]
pub struct Bios {
    /// Release date.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub date: String,
    /// Vendor.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vendor: String,
    /// Version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
}

/// A network interface with one of its addresses.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Nic {
    /// Name, such as `eth0`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Vendor and device id, such as `0x8086 0x1572`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// MAC address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// IP address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ip: String,
    /// Speed of the link in Gbit/s.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0))]
    pub speed_gbps: i64,
    /// VLANs that were seen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vlans: Vec<Vlan>,
    /// The untagged VLAN.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0, max = 4094))]
    pub vlan_id: i64,
    /// It is the one that the server boots from.
    #[serde(skip_serializing_if = "is_false")]
    pub pxe: bool,
    /// What the switch says of its port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lldp: Option<Lldp>,
    /// Address on the PCI bus.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pci_address: String,
}

/// A VLAN.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(default)]
pub struct Vlan {
    /// Number.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0, max = 4094))]
    pub id: i64,
    /// Name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// What a switch says of its port.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Lldp {
    /// Chassis id of the switch.
    #[serde(rename = "switchID", skip_serializing_if = "String::is_empty")]
    pub switch_id: String,
    /// Port of the switch.
    #[serde(rename = "portID", skip_serializing_if = "String::is_empty")]
    pub port_id: String,
    /// Name of the switch.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub switch_system_name: String,
}

/// A disk.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Storage {
    /// A name that stays, below `/dev/disk/by-path` where there is one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Other names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alternate_names: Vec<String>,
    /// It turns.
    #[serde(skip_serializing_if = "is_false")]
    pub rotational: bool,
    /// What it is.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<DiskType>,
    /// Size.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0))]
    pub size_bytes: i64,
    /// Vendor.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vendor: String,
    /// Model.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// Serial number.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub serial_number: String,
    /// World wide name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub wwn: String,
    /// What the vendor adds to the WWN.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub wwn_vendor_extension: String,
    /// WWN with what the vendor adds.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub wwn_with_extension: String,
    /// SCSI address, such as `0:0:0:0`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hctl: String,
}

/// What a disk is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
pub enum DiskType {
    /// It turns.
    Hdd,
    /// Flash behind SATA or SAS.
    Ssd,
    /// Flash on the PCI bus.
    Nvme,
}

/// CPUs of a server.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Cpu {
    /// Architecture, such as `x86_64`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub arch: String,
    /// Model.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// Clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub clock_megahertz: Option<f64>,
    /// What they can do, sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// Threads of all of them.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0))]
    pub count: i64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature is serde's
pub(super) fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature is serde's
pub(super) fn is_false(flag: &bool) -> bool {
    !flag
}
