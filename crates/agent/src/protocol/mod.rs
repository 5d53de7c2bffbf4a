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

mod inventory;
mod parameters;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use crate::network::{StaticAddress, StaticAddressError};
pub use inventory::{Cpu, Disk, Firmware, Inventory, Nic, NumaNode, PciDevice};
pub use parameters::{ParameterError, Parameters, parameter};

/// How long a question for work may be held back, in seconds.
pub const HELD_SECONDS: u64 = 20;

/// Seconds between two reports of progress; three times this without a word, and an agent is silent.
pub const PROGRESS_SECONDS: u64 = 5;

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
    /// HTTP, HTTPS, or an image in a registry (see [`scute_image::oci::Reference`]).
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
