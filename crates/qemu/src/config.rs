//! A machine of type q35 as plain data.

use std::path::PathBuf;

use scute_image::qcow2::Format;

pub use crate::devices::{ConfigError, Devices};

/// Everything the VMM must know to start one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineConfig {
    /// Name in the process list and in messages.
    pub name: String,
    /// What runs the guest's instructions.
    pub accelerator: Accelerator,
    /// vCPU topology.
    pub cpu: CpuTopology,
    /// Guest memory in bytes; cut down to whole MiB.
    pub memory_bytes: u64,
    /// Firmware.
    pub firmware: Firmware,
    /// What SMBIOS says about the machine.
    pub smbios: Smbios,
    /// Direct kernel boot.
    pub kernel: Option<Kernel>,
    /// Disks and CD-ROM drives.
    pub drives: Vec<Drive>,
    /// Network devices.
    pub nics: Vec<Nic>,
    /// Empty slots into which devices can be plugged while the machine runs.
    pub spare_slots: usize,
}

/// What runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// Hardware virtualisation, by `/dev/kvm`.
    Kvm,
    /// QEMU's translator, which needs no device and is slow.
    Tcg,
}

impl Accelerator {
    /// The word that QEMU uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// vCPUs as sockets x cores x threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuTopology {
    /// Sockets.
    pub sockets: u32,
    /// Cores per socket.
    pub cores: u32,
    /// Threads per core.
    pub threads: u32,
}

/// Firmware of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS as QEMU finds it.
    Bios,
    /// OVMF in two flash devices.
    Efi {
        /// The code, read-only.
        code: PathBuf,
        /// The machine's own copy of the variables.
        vars: PathBuf,
    },
}

/// What SMBIOS says about the machine (type 1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Smbios {
    /// Manufacturer; QEMU's own if there is none.
    pub manufacturer: Option<String>,
    /// Product; QEMU's own if there is none.
    pub product: Option<String>,
    /// System UUID.
    pub uuid: Option<String>,
    /// System serial number.
    pub serial: Option<String>,
}

/// A kernel that is loaded without a boot loader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The kernel.
    pub image: PathBuf,
    /// Its initial ramdisk.
    pub initrd: Option<PathBuf>,
    /// Its command line.
    pub args: String,
}

/// A disk or CD-ROM drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drive {
    /// Name: letters, digits, `-`; unique within the machine.
    pub name: String,
    /// What is in it; only a CD-ROM drive can be empty.
    pub medium: Option<Medium>,
    /// The bus the guest sees it on.
    pub bus: Bus,
    /// CD-ROM instead of disk: its medium can be changed, and is never written.
    pub cdrom: bool,
    /// The guest cannot write.
    pub readonly: bool,
    /// What the guest writes must outlive the machine, and a power cut: its flushes reach the host's medium.
    pub persistent: bool,
    /// Serial number.
    pub serial: Option<String>,
    /// Place in the boot order; none means that the firmware never boots from it.
    pub boot_index: Option<u32>,
    /// Where it fails from the start; [`Command::Spoil`](crate::Command::Spoil) changes it.
    pub bad: Option<BadSpot>,
}

/// A place of a disk that fails on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSpot {
    /// A byte of it: each request for its sector of 512 bytes fails as a whole.
    pub offset: u64,
    /// How.
    pub what: Bad,
}

/// How a place of a disk fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// Reading and writing are errors that the guest is told of.
    Fails,
    /// There is no room to write: the machine is paused before the write is done, and tries it again when it is resumed.
    Full,
}

/// What is in a drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Medium {
    /// An image in one file.
    File {
        /// The file.
        path: PathBuf,
        /// What it is; QEMU is never left to guess.
        format: Format,
    },
    /// A raw image behind an address, `http://` or `https://`, read from there by ranges; for CD-ROM drives. The server's
    /// certificate is not checked: it has QEMU's drive, and no list of roots, in front of it.
    Url(String),
    /// A qcow2 overlay that takes the writes, over a base that is never written.
    Overlay {
        /// The overlay.
        top: PathBuf,
        /// The base.
        base: PathBuf,
        /// What the base is.
        base_format: Format,
    },
}

impl Medium {
    /// A file with the disk's bytes.
    pub fn raw(path: impl Into<PathBuf>) -> Medium {
        Medium::File { path: path.into(), format: Format::Raw }
    }
}

/// The bus the guest sees a drive on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    /// virtio-blk.
    Virtio,
    /// AHCI.
    Sata,
    /// virtio-scsi.
    Scsi,
}

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// MAC address, `aa:bb:cc:dd:ee:ff`.
    pub mac: String,
    /// Model.
    pub model: NicModel,
    /// What its cable leads to.
    pub backend: NicBackend,
    /// Queue pairs; must be 1 for all models but virtio, and fit the tap.
    pub queues: u32,
    /// MTU told to the guest's driver, where the model can.
    pub mtu: Option<u16>,
    /// Boot ROM; without one the guest never boots from this device.
    pub rom: Option<PathBuf>,
    /// Place in the boot order.
    pub boot_index: Option<u32>,
}

/// What a network device's cable leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NicBackend {
    /// A tap that exists already.
    Tap {
        /// Its name.
        name: String,
        /// The tun device node, `/dev/net/tun` or a copy that this user may open.
        tun: PathBuf,
    },
    /// Nothing.
    Unplugged,
}

/// Model of a network device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NicModel {
    /// virtio-net.
    Virtio,
    /// Intel 82574L.
    E1000e,
    /// Intel 82540EM.
    E1000,
}

impl CpuTopology {
    /// Number of vCPUs.
    #[must_use]
    pub fn vcpus(&self) -> u32 {
        self.sockets.saturating_mul(self.cores).saturating_mul(self.threads)
    }
}
