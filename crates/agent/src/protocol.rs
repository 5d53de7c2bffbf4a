//! What the agent and the metal room say to each other: JSON over HTTPS. The agent asks, always; nothing listens on the host.
//!
//! 1. `POST /agent/v1/hello` with [`Hello`]: the one-time token of the command line for a session. A token is taken once;
//!    whoever comes again with it is answered 409, whoever comes with a wrong one 401. Only a hello of the same
//!    [`Hello::boot`] is answered as before: the first answer may have been lost on the way.
//! 2. `GET /agent/v1/work` with the session as bearer token: [`Work`], held back for up to [`HELD_SECONDS`] while there is
//!    nothing new to do (then [`Work::Wait`]).
//! 3. `POST /agent/v1/report` with [`Report`]: progress, and the end of each work. An answer of 410 means that the work is not
//!    wanted any more: the agent stops it and asks again.
//!
//! The parameters of the command line are those of [`Parameters`].

use std::fmt;

use serde::{Deserialize, Serialize};

pub use crate::network::{StaticAddress, StaticAddressError};

/// How long a question for work may be held back, in seconds.
pub const HELD_SECONDS: u64 = 20;

/// Seconds between two reports of progress; three times this without a word, and an agent is silent.
pub const PROGRESS_SECONDS: u64 = 5;

/// Names on the kernel's command line, each as `name=value`.
pub mod parameter {
    /// `https://ADDRESS:PORT` of the metal room.
    pub const SERVICE: &str = "scute.service";
    /// UID of the BareMetalHost.
    pub const HOST: &str = "scute.host";
    /// The one-time token.
    pub const TOKEN: &str = "scute.token";
    /// SHA-256 of the certificate (DER) of the authority that signed the service's certificate, in hexadecimal.
    pub const PIN: &str = "scute.pin";
    /// A static address: `MAC,ADDRESS/PREFIX[,GATEWAY[,NAMESERVER...]]`; may be given several times. Without one: DHCP.
    pub const ADDRESS: &str = "scute.address";
}

/// What the command line says.
#[derive(Clone, PartialEq, Eq)]
pub struct Parameters {
    /// [`parameter::SERVICE`]
    pub service: String,
    /// [`parameter::HOST`]
    pub host: String,
    /// [`parameter::TOKEN`]
    pub token: String,
    /// [`parameter::PIN`]
    pub pin: String,
    /// [`parameter::ADDRESS`]
    pub addresses: Vec<StaticAddress>,
}

/// Why the command line is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// Not given.
    #[error("the kernel's command line has no {0}; the ISO must be the one that was made for this host")]
    Missing(&'static str),
    /// A static address.
    #[error("scute.address: {0}")]
    Address(#[from] StaticAddressError),
}

impl Parameters {
    /// Finds them among everything else on a command line; the last of a name counts.
    pub fn parse(command_line: &str) -> Result<Self, ParameterError> {
        let all = |name: &'static str| {
            command_line.split_whitespace().filter_map(move |word| word.strip_prefix(name)?.strip_prefix('='))
        };
        let one = |name| all(name).next_back().map(str::to_owned).ok_or(ParameterError::Missing(name));
        Ok(Parameters {
            service: one(parameter::SERVICE)?,
            host: one(parameter::HOST)?,
            token: one(parameter::TOKEN)?,
            pin: one(parameter::PIN)?,
            addresses: all(parameter::ADDRESS).map(str::parse).collect::<Result<_, StaticAddressError>>()?,
        })
    }
}

/// Without the token.
impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parameters { service, host, token: _, pin, addresses } = self;
        let mut shown = f.debug_struct("Parameters");
        shown.field("service", service).field("host", host).field("pin", pin).field("addresses", addresses);
        shown.finish_non_exhaustive()
    }
}

/// Without the token.
impl fmt::Debug for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Hello { host, token: _, boot, system_uuid, serial, macs, clock } = self;
        let mut shown = f.debug_struct("Hello");
        shown.field("host", host).field("boot", boot).field("system_uuid", system_uuid);
        shown.field("serial", serial).field("macs", macs).field("clock", clock).finish_non_exhaustive()
    }
}

/// Without what may be secret: the URL's query, the config drive.
impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Write { url: _, login: _, ca: _, format, checksum, root, config_drive: _ } = self;
        let mut shown = f.debug_struct("Write");
        shown.field("format", format).field("checksum", checksum).field("root", root).finish_non_exhaustive()
    }
}

/// Without the password.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Without the session.
impl fmt::Debug for Welcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Welcome").field("clock", &self.clock).finish_non_exhaustive()
    }
}

/// As they stand on a command line.
impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parameters { service, host, token, pin, addresses } = self;
        write!(f, "{}={service} {}={host} ", parameter::SERVICE, parameter::HOST)?;
        write!(f, "{}={token} {}={pin}", parameter::TOKEN, parameter::PIN)?;
        addresses.iter().try_for_each(|address| write!(f, " {}={address}", parameter::ADDRESS))
    }
}

/// Who asks for a session.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// UID of the BareMetalHost.
    pub host: String,
    /// The one-time token.
    pub token: String,
    /// Drawn anew at each boot, 32 hexadecimal digits.
    #[serde(default)]
    pub boot: String,
    /// System UUID by SMBIOS, lower case; empty when the firmware gives none.
    pub system_uuid: String,
    /// Serial number by SMBIOS, as in [`Inventory::serial`].
    #[serde(default)]
    pub serial: String,
    /// MAC addresses of all ports, lower case with colons.
    pub macs: Vec<String>,
    /// Seconds since 1970 by the host's clock: it may be years off.
    pub clock: i64,
}

/// The answer to [`Hello`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Welcome {
    /// Bearer token of this boot.
    pub session: String,
    /// Seconds since 1970: the agent sets its clock by it.
    pub clock: i64,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Work {
    /// Nothing for now: ask again.
    Wait,
    /// Look at everything.
    Inspect {
        /// Comes back in the [`Report`].
        id: String,
    },
    /// Remove what earlier owners left.
    Clean {
        /// Comes back in the [`Report`].
        id: String,
        /// How much.
        how: Cleaning,
    },
    /// Write an image.
    Write {
        /// Comes back in the [`Report`].
        id: String,
        /// What to write.
        write: Box<Write>,
    },
    /// Restart into what was written.
    Reboot,
    /// Power off.
    PowerOff,
}

/// How much is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cleaning {
    /// Partition tables and signatures of every disk; blocks are given back where the disk can do that.
    Metadata,
}

/// An image, where it goes and what goes beside it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Write {
    /// HTTP, HTTPS, or an image in a registry (see [`crate::oci::Reference`]).
    pub url: String,
    /// Who reads from the registry; anybody when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
    /// Authorities (PEM) for the URL beside the usual ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// How the image is stored; a content that is another format is an error.
    pub format: Format,
    /// Digest of the file as it is served. A registry says it itself; of anything else it is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    /// Which disk.
    #[serde(default)]
    pub root: RootDeviceHints,
    /// Content of the partition with label `config-2`: a whole ISO 9660 or FAT image, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_drive: Option<String>,
}

/// Who reads from a registry.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Login {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
}

/// How an image is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Byte for byte the disk; gzip and zstd are recognised by their first bytes.
    Raw,
    /// QEMU's qcow2 without a backing file.
    Qcow2,
    /// One of them: its first bytes say which.
    Auto,
}

/// A digest in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checksum {
    /// Which.
    pub algorithm: Algorithm,
    /// Lower case.
    pub value: String,
}

/// Digests that upstream knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// 32 digits.
    Md5,
    /// 64 digits.
    Sha256,
    /// 128 digits.
    Sha512,
}

/// Which disk: all that are given must fit; without any the smallest of at least 4 GiB.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RootDeviceHints {
    /// `/dev/...` or `/dev/disk/by-path/...`
    pub device_name: Option<String>,
    /// SCSI address, `0:0:0:0`.
    pub hctl: Option<String>,
    /// Part of the model.
    pub model: Option<String>,
    /// Part of the vendor.
    pub vendor: Option<String>,
    /// The whole serial number.
    pub serial_number: Option<String>,
    /// At least, in GiB.
    pub min_size_gigabytes: Option<i64>,
    /// World wide name.
    pub wwn: Option<String>,
    /// World wide name with the vendor's extension.
    pub wwn_with_extension: Option<String>,
    /// The vendor's extension.
    pub wwn_vendor_extension: Option<String>,
    /// Turning or not.
    pub rotational: Option<bool>,
}

/// How a work stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Of the [`Work`].
    pub id: String,
    /// What is said.
    pub what: Said,
}

/// What a [`Report`] says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Said {
    /// It goes on.
    Progress {
        /// Of 100.
        percent: u8,
        /// Seconds to go, when that can be said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left: Option<u64>,
    },
    /// The end of [`Work::Inspect`].
    Inspected {
        /// What is in the host.
        inventory: Box<Inventory>,
    },
    /// The end of [`Work::Clean`].
    Cleaned {
        /// What was removed from which disk, one sentence each.
        wiped: Vec<String>,
    },
    /// The end of [`Work::Write`]: digest verified, everything on the disk.
    Written {
        /// The disk, by its most stable name.
        disk: String,
    },
    /// It could not be done.
    Failed {
        /// One sentence for the person who made the host.
        why: String,
    },
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_as_they_are_written() {
        let parameters = Parameters {
            service: "https://10.0.0.1:8443".into(),
            host: "1-2-3".into(),
            token: "t=x".into(),
            pin: "ab".into(),
            addresses: vec!["02:00:00:00:00:01,10.0.2.15/24,10.0.2.2".parse().unwrap()],
        };
        let line = format!("quiet scute.hosts=x {parameters} panic=60\n");
        assert!(!format!("{parameters:?}").contains("t=x"));
        assert_eq!(Parameters::parse(&line), Ok(parameters));
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = Parameters::parse("scute.service=a scute.host=b").unwrap_err();
        assert!(error.to_string().contains("scute.token"), "{error}");
        let line = "scute.service=a scute.host=b scute.token=c scute.pin=d scute.address=e";
        assert!(Parameters::parse(line).unwrap_err().to_string().contains("\"e\""));
    }
}
