//! What goes onto the disks of a server, and onto which.

use schemars::JsonSchema;
use scute_image::oci::Reference;
use serde::{Deserialize, Serialize};

use super::hardware::{is_false, is_zero};

/// An image for a disk, or a live system.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Where it is: HTTP, HTTPS, or `oci://REGISTRY/REPOSITORY[:TAG][@DIGEST]`.
    pub url: String,
    /// Its digest in hexadecimal, or the URL of a file with digests. Needed but for a live ISO and an image in a registry, which
    /// says it itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// Which digest; found out by its length when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum_type: Option<ChecksumType>,
    /// How it is stored; found out by its first bytes when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<DiskFormat>,
    /// Secret of the same namespace with the credentials of the registry, as `kubectl create secret docker-registry` makes it.
    #[serde(default, rename = "ociAuthSecretName", skip_serializing_if = "Option::is_none")]
    pub oci_auth_secret_name: Option<String>,
}

impl Image {
    /// Whether it is in a registry.
    #[must_use]
    pub fn is_oci(&self) -> bool {
        Reference::is(&self.url)
    }

    /// Whether it is a system that runs from a virtual CD.
    #[must_use]
    pub fn is_live_iso(&self) -> bool {
        self.format == Some(DiskFormat::LiveIso)
    }
}

/// Which digest.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ChecksumType {
    /// 32 digits.
    Md5,
    /// 64 digits.
    Sha256,
    /// 128 digits.
    Sha512,
    /// The one with so many digits.
    Auto,
}

/// How an image is stored.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum DiskFormat {
    /// Byte for byte.
    Raw,
    /// QEMU's.
    Qcow2,
    /// VirtualBox'; refused by the webhook.
    Vdi,
    /// VMware's; refused by the webhook.
    Vmdk,
    /// A system that runs from a virtual CD.
    LiveIso,
}

/// Which disk: all that are given must fit.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RootDeviceHints {
    /// A name below `/dev` or `/dev/disk/by-path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_name: Option<String>,
    /// SCSI address, such as `0:0:0:0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hctl: Option<String>,
    /// A part of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// A part of the vendor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// Serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    /// The disk is at least so large.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0))]
    pub min_size_gigabytes: i64,
    /// World wide name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
    /// WWN with what the vendor adds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwn_with_extension: Option<String>,
    /// What the vendor adds to the WWN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwn_vendor_extension: Option<String>,
    /// It turns, or it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotational: Option<bool>,
}

/// Names of hardware profiles.
pub const PROFILES: [&str; 6] = ["unknown", "libvirt", "dell", "dell-raid", "openstack", "empty"];

/// The disk that a hardware profile stands for. The profiles `unknown` and `empty` name none: the smallest disk that
/// is large enough is taken, where upstream insists on `/dev/sda` for `unknown`.
#[must_use]
pub fn profile_hints(profile: &str) -> Option<RootDeviceHints> {
    let device =
        |name: &str| RootDeviceHints { device_name: Some(name.into()), ..RootDeviceHints::default() };
    let hctl = |hctl: &str| RootDeviceHints { hctl: Some(hctl.into()), ..RootDeviceHints::default() };
    match profile {
        "libvirt" => Some(device("/dev/vda")),
        "openstack" => Some(device("/dev/vdb")),
        "dell" => Some(hctl("0:0:0:0")),
        "dell-raid" => Some(hctl("0:2:0:0")),
        _ => None,
    }
}

/// RAID volumes: of the controller or of the kernel. An empty list means that there shall be none.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct RaidConfig {
    /// Volumes of the controller.
    #[serde(default, rename = "hardwareRAIDVolumes", skip_serializing_if = "Option::is_none")]
    pub hardware_raid_volumes: Option<Vec<HardwareRaidVolume>>,
    /// Volumes of the kernel.
    #[serde(default, rename = "softwareRAIDVolumes", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2))]
    pub software_raid_volumes: Option<Vec<SoftwareRaidVolume>>,
}

/// A volume of a RAID controller.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HardwareRaidVolume {
    /// RAID level.
    pub level: RaidLevel,
    /// Size; all that there is when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub size_gibibytes: Option<i64>,
    /// Name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub name: Option<String>,
    /// Of disks that turn, or that do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotational: Option<bool>,
    /// How many disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub number_of_physical_disks: Option<i64>,
    /// Name of the controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<String>,
    /// Names of the disks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub physical_disks: Vec<String>,
}

/// A RAID level of a controller.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RaidLevel {
    /// Stripes.
    #[serde(rename = "0")]
    Raid0,
    /// Mirrors.
    #[serde(rename = "1")]
    Raid1,
    /// Bits with a Hamming code.
    #[serde(rename = "2")]
    Raid2,
    /// One parity.
    #[serde(rename = "5")]
    Raid5,
    /// Two parities.
    #[serde(rename = "6")]
    Raid6,
    /// Stripes of mirrors.
    #[serde(rename = "1+0")]
    Raid10,
    /// Stripes of RAID 5.
    #[serde(rename = "5+0")]
    Raid50,
    /// Stripes of RAID 6.
    #[serde(rename = "6+0")]
    Raid60,
}

/// A volume of the kernel.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SoftwareRaidVolume {
    /// RAID level.
    pub level: SoftwareRaidLevel,
    /// The image goes here.
    #[serde(default, skip_serializing_if = "is_false")]
    pub root_volume: bool,
    /// Size; all that there is when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub size_gibibytes: Option<i64>,
    /// The disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2))]
    pub physical_disks: Option<Vec<RootDeviceHints>>,
}

/// A RAID level of the kernel.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum SoftwareRaidLevel {
    /// Stripes.
    #[serde(rename = "0")]
    Raid0,
    /// Mirrors.
    #[serde(rename = "1")]
    Raid1,
    /// Stripes of mirrors.
    #[serde(rename = "1+0")]
    Raid10,
}
