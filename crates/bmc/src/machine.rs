//! What a BMC stands before: power, what is booted next, one CD drive, facts.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A machine that a BMC commands. What is read answers at once from what is known; what is commanded may take its time.
pub trait Machine: Send + Sync {
    /// What the machine is made of. Does not change while it runs.
    fn facts(&self) -> Arc<Facts>;

    /// Whether it runs.
    fn power(&self) -> Power;

    /// Starts, ends or restarts it. `Ok` means accepted: a graceful one is up to the guest.
    fn reset(&self, reset: Reset) -> Answer<'_>;

    /// What is booted next instead of what the machine would take by itself; `None` again when a
    /// [`Lasting::Once`] has been used by a start or a restart, the guest's own too.
    fn next_boot(&self) -> Option<NextBoot>;

    /// Sets or clears what is booted next.
    fn set_next_boot(&self, boot: Option<NextBoot>) -> Answer<'_>;

    /// Address of the image in the CD drive.
    fn medium(&self) -> Option<String>;

    /// Puts the image at this address into the CD drive, instead of what is there. The machine reads it from there.
    fn insert<'a>(&'a self, url: &'a str) -> Answer<'a>;

    /// Empties the CD drive. An empty one stays empty.
    fn eject(&self) -> Answer<'_>;
}

/// What a command to a machine comes to.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<(), MachineError>> + Send + 'a>>;

/// The machine did not do it; words for whoever asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MachineError(pub String);

/// Redfish `PowerState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Power {
    /// Runs.
    On,
    /// Does not.
    Off,
}

/// What `ComputerSystem.Reset` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reset {
    /// Start it.
    On,
    /// End it without asking the guest.
    ForceOff,
    /// Ask the guest to end.
    GracefulShutdown,
    /// Restart it without asking.
    ForceRestart,
    /// Ask the guest to restart.
    GracefulRestart,
}

impl Reset {
    /// Every one, in the order in which the service offers them.
    pub const ALL: [Self; 5] =
        [Self::On, Self::ForceOff, Self::GracefulShutdown, Self::GracefulRestart, Self::ForceRestart];

    /// Redfish `ResetType`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::On => "On",
            Self::ForceOff => "ForceOff",
            Self::GracefulShutdown => "GracefulShutdown",
            Self::ForceRestart => "ForceRestart",
            Self::GracefulRestart => "GracefulRestart",
        }
    }
}

/// What is booted next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextBoot {
    /// From where.
    pub device: BootDevice,
    /// For how long.
    pub lasting: Lasting,
    /// By which firmware.
    pub mode: BootMode,
}

/// Where a machine boots from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BootDevice {
    /// The CD drive.
    Cd,
    /// A disk.
    Hdd,
    /// The network.
    Pxe,
    /// The set-up of the firmware.
    BiosSetup,
}

/// How long an override holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lasting {
    /// For the next start only.
    Once,
    /// Until it is changed.
    Continuous,
}

/// Redfish `BootSourceOverrideMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BootMode {
    /// UEFI.
    Uefi,
    /// BIOS.
    Legacy,
}

/// What a machine is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Name of the System, for people.
    pub name: String,
    /// UUID of the System, lower case with dashes.
    pub uuid: String,
    /// Who made it.
    pub manufacturer: String,
    /// What it is.
    pub model: String,
    /// Serial number.
    pub serial: String,
    /// Number of the article.
    pub sku: String,
    /// Version of the firmware that boots.
    pub bios_version: String,
    /// Which firmware boots it unless it is told otherwise.
    pub boot_mode: BootMode,
    /// Sockets that are filled.
    pub processors: Vec<Processor>,
    /// Modules.
    pub memory: Vec<Memory>,
    /// Network cards, one for each port.
    pub nics: Vec<Nic>,
    /// Disks.
    pub drives: Vec<Drive>,
}

/// A processor in a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processor {
    /// What it is.
    pub model: String,
    /// `x86` or `ARM`, Redfish `ProcessorArchitecture`.
    pub architecture: String,
    /// Cores.
    pub cores: u32,
    /// Threads.
    pub threads: u32,
    /// Speed at most.
    pub max_mhz: u32,
}

/// A memory module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Its size.
    pub mib: u64,
}

/// A port of a network card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// Address, lower case with colons.
    pub mac: String,
    /// Speed of its link.
    pub speed_mbps: u32,
    /// Whether it has a link.
    pub link_up: bool,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drive {
    /// What it is.
    pub model: String,
    /// Serial number.
    pub serial: String,
    /// Its size.
    pub bytes: u64,
    /// `SSD` or `HDD`, Redfish `MediaType`.
    pub media_type: String,
}
