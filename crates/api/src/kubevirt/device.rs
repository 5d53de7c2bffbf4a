//! The devices of a VMI: disks and network interfaces.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The devices of the guest.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Devices {
    /// Disks, each of a volume of the same name. A volume without a disk gets one on virtio.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub disks: Vec<Disk>,
    /// Network interfaces. When empty, one with the bridge binding on the Pod network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1))]
    pub interfaces: Vec<Interface>,
    /// One pair of queues for each vCPU on the network interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_interface_multiqueue: Option<bool>,
    /// `false`: no network interface when none is listed. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoattach_pod_interface: Option<bool>,
    /// `false`: no serial console. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoattach_serial_console: Option<bool>,
    /// `false`: the serial console is not copied to the log of the Pod. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_serial_console: Option<bool>,
    /// Accepted as `false` only: guests have no graphics device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "only_false")]
    pub autoattach_graphics_device: Option<bool>,
    /// A source of random numbers from the host. Guests always have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rng: Option<Rng>,
}

/// Upstream attaches a graphics device by default, and users who ask for none must be served.
fn only_false(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "boolean", "nullable": true, "enum": [false]})
}

/// A source of random numbers; it has no settings.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
pub struct Rng {}

/// A disk as the guest sees it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = ("!(has(self.disk) && has(self.cdrom))", "only one of disk and cdrom may be set"))]
#[serde(rename_all = "camelCase")]
pub struct Disk {
    /// Name of the disk and of its volume.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// An ordinary disk. Default when neither this nor `cdrom` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskTarget>,
    /// A read-only CD-ROM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cdrom: Option<CdRomTarget>,
    /// Place in the boot order, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 255))]
    pub boot_order: Option<u32>,
    /// Serial number that the guest sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = r"^[A-Za-z0-9_.+-]+$"))]
    pub serial: Option<String>,
}

/// How a disk is attached.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DiskTarget {
    /// Bus; virtio when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bus: Option<DiskBus>,
    /// The guest cannot write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readonly: Option<bool>,
}

/// How a CD-ROM is attached.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CdRomTarget {
    /// Bus; sata when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bus: Option<CdRomBus>,
}

/// Bus of a disk.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum DiskBus {
    /// virtio-blk.
    #[default]
    Virtio,
    /// AHCI.
    Sata,
    /// virtio-scsi.
    Scsi,
}

/// Bus of a CD-ROM.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum CdRomBus {
    /// AHCI.
    #[default]
    Sata,
    /// virtio-scsi.
    Scsi,
}

/// A network interface of the guest.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = ("has(self.bridge)", "an interface needs a binding, and bridge is the one that is served"))]
#[serde(rename_all = "camelCase")]
pub struct Interface {
    /// Name of the interface and of its network.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The guest is bridged to the Pod's interface and gets the Pod's address by DHCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<Bridge>,
    /// Model of the device; virtio when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<InterfaceModel>,
}

/// The bridge binding; it has no settings.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
pub struct Bridge {}

/// Model of a network interface.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum InterfaceModel {
    /// virtio-net.
    #[default]
    Virtio,
    /// Intel e1000, for guests without virtio.
    E1000,
    /// Intel e1000e.
    E1000e,
}

/// A network that an interface of the same name is on.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = ("has(self.pod)", "the Pod network is the one that is served: set pod: {}"))]
pub struct Network {
    /// Name of the network.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The network of the Pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodNetwork>,
}

/// The network of the Pod; it has no settings.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
pub struct PodNetwork {}
