//! A machine as plain data.

use std::path::PathBuf;

use scute_image::qcow2::Format;

/// Everything the VMM must know to start one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineConfig {
    /// Name in the process list and in messages.
    pub name: String,
    /// Machine type, e.g. `q35`.
    pub machine: String,
    /// What runs the guest's instructions.
    pub accelerator: Accelerator,
    /// vCPU topology.
    pub cpu: CpuTopology,
    /// Guest memory in bytes; cut down to whole MiB.
    pub memory_bytes: u64,
    /// Firmware.
    pub firmware: Firmware,
    /// What SMBIOS says about the machine.
    pub identity: Identity,
    /// Direct kernel boot.
    pub kernel: Option<Kernel>,
    /// Disks and CD-ROM drives.
    pub drives: Vec<Drive>,
    /// Network devices, each on a tap that exists already.
    pub nics: Vec<Nic>,
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

/// What SMBIOS says about the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
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
    /// What is in it.
    pub image: DriveImage,
    /// The bus the guest sees it on.
    pub bus: Bus,
    /// CD-ROM instead of disk.
    pub cdrom: bool,
    /// The guest cannot write.
    pub readonly: bool,
    /// Serial number.
    pub serial: Option<String>,
    /// Place in the boot order; none means that the firmware never boots from it.
    pub boot_index: Option<u32>,
}

/// What is in a drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DriveImage {
    /// A raw image. Losing it with the machine is fine: writes are not flushed to the medium.
    Scratch(PathBuf),
    /// A raw image that is never written.
    ReadOnly(PathBuf),
    /// A qcow2 overlay that takes the writes, lost with the machine, over a base that is never written.
    Overlay {
        /// The overlay.
        top: PathBuf,
        /// The base.
        base: PathBuf,
        /// What the base is; QEMU is never left to guess.
        base_format: Format,
    },
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
    /// Queue pairs; must be 1 for all models but virtio, and fit the tap.
    pub queues: u32,
    /// MTU told to the guest's driver, where the model can.
    pub mtu: Option<u16>,
    /// Name of the tap.
    pub tap: String,
    /// The tun device node, `/dev/net/tun` or a copy that this user may open.
    pub tun: PathBuf,
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
    pub fn vcpus(&self) -> u32 {
        self.sockets.saturating_mul(self.cores).saturating_mul(self.threads)
    }
}
