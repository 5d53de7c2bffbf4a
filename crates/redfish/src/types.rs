//! What goes in and comes out.

use std::fmt;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

/// A BMC, and who we are there.
#[derive(Clone, Debug)]
pub struct Access {
    /// Where it listens.
    pub origin: Origin,
    /// Which of its Systems is meant.
    pub which: Which,
    /// Who we are.
    pub credentials: Credentials,
    /// Whom we trust.
    pub trust: Trust,
}

impl Access {
    /// Access to a BMC that has one System.
    #[must_use]
    pub fn new(origin: Origin, credentials: Credentials, trust: Trust) -> Self {
        Self { origin, which: Which::default(), credentials, trust }
    }
}

/// Where a BMC listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// Whether by HTTPS.
    pub tls: bool,
    /// Name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Origin {
    /// `host:port`, as the header Host has it.
    #[must_use]
    pub fn authority(&self) -> String {
        let usual = if self.tls { 443 } else { 80 };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }
}

/// Which System of a BMC. Without any, there must be only one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Which {
    /// By its address on the BMC, as `/redfish/v1/Systems/1`.
    pub path: Option<String>,
    /// By its UUID.
    pub uuid: Option<String>,
    /// By the address of one of its network cards.
    pub mac: Option<String>,
}

/// User name and password. `Debug` hides both; the password is wiped from memory when it is dropped.
#[derive(Clone)]
pub struct Credentials {
    pub(crate) user: String,
    pub(crate) password: SecretString,
}

impl Credentials {
    /// These.
    #[must_use]
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { user: user.into(), password: SecretString::from(password.into()) }
    }
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        self.user == other.user && self.password.expose_secret() == other.password.expose_secret()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// Which certificate of a BMC is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// One that these authorities issued for the name or address of the BMC, PEM.
    Authorities(String),
    /// The one with this SHA-256, lower-case hex, and no other.
    Pinned(String),
    /// Any. On first use, to learn the fingerprint and pin it; or where verification is disabled.
    Any,
}

/// How long is waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For one answer. Some BMCs take half a minute for their root.
    pub request: Duration,
    /// Until what was written is shown.
    pub settle: Duration,
    /// Between two looks, since a BMC cannot be watched.
    pub poll: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            request: Duration::from_secs(60),
            settle: Duration::from_secs(60),
            poll: Duration::from_secs(2),
        }
    }
}

/// Who a host is. What the BMC does not say is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Address of the System on the BMC.
    pub path: String,
    /// UUID, lower case.
    pub uuid: Option<String>,
    /// Who made it.
    pub manufacturer: Option<String>,
    /// What it is.
    pub model: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// Number of the article.
    pub sku: Option<String>,
    /// Version of the firmware that boots.
    pub bios_version: Option<String>,
    /// Whether it runs, and how it is.
    pub state: State,
}

/// How a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Whether it runs.
    pub power: Power,
    /// What the BMC says of it as a whole.
    pub health: Health,
}

/// Whether a host runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Runs.
    On,
    /// Does not.
    Off,
    /// On its way there.
    PoweringOn,
    /// On its way there.
    PoweringOff,
    /// The BMC does not say.
    Unknown,
}

/// What a BMC says of its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// All is well.
    Ok,
    /// Something needs attention.
    Warning,
    /// Something needs it now.
    Critical,
    /// It does not say.
    Unknown,
}

/// A change of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerAction {
    /// Start. Nothing when it runs.
    On,
    /// Ask the guest to end. Nothing when it does not run.
    GracefulOff,
    /// End. Nothing when it does not run.
    ForceOff,
    /// Start anew without asking the guest; from Off, start.
    Restart,
}

/// What the next start boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextBoot {
    /// From where.
    pub device: BootDevice,
    /// By which firmware.
    pub mode: BootMode,
    /// 0 at first; 1 when the host was started with 0 and did not come up from there: takes the other name of the
    /// device, where the BMC has two.
    pub attempt: u8,
}

/// Where a host boots from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootDevice {
    /// Virtual media.
    Cd,
    /// A disk.
    Disk,
    /// What the firmware takes by itself: an override that was set is taken back.
    Usual,
}

/// Which firmware boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootMode {
    /// UEFI.
    Uefi,
    /// BIOS.
    Legacy,
}

/// What was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootSet {
    /// The name by which the device was set.
    pub target: String,
    /// How many names the BMC has for the device.
    pub names: usize,
    /// Whether it holds for one start only. Some BMCs take this and keep it: it must be taken back, by
    /// [`BootDevice::Usual`], when the host has started.
    pub once: bool,
}

/// What a host is made of. What the BMC does not say is empty or `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Its processors, taken together.
    pub processors: Processors,
    /// Its memory.
    pub memory_mib: Option<u64>,
    /// Its network cards that have an address.
    pub nics: Vec<Nic>,
    /// Its disks.
    pub drives: Vec<Drive>,
}

/// Processors, taken together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processors {
    /// How many sockets are filled.
    pub count: Option<u64>,
    /// Threads of all.
    pub threads: Option<u64>,
    /// What they are.
    pub model: Option<String>,
    /// `x86_64`, `aarch64`, or what the BMC says.
    pub architecture: Option<String>,
    /// Speed at most.
    pub max_mhz: Option<u64>,
}

/// A port of a network card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// What the BMC calls it.
    pub name: String,
    /// Its address, lower case with colons.
    pub mac: String,
    /// Speed of its link.
    pub speed_mbps: Option<u64>,
    /// Whether it has a link.
    pub link_up: Option<bool>,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drive {
    /// What the BMC calls it.
    pub name: String,
    /// What it is.
    pub model: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// Its size.
    pub bytes: Option<u64>,
    /// Whether it turns.
    pub rotational: Option<bool>,
    /// `NVMe`, `SATA`, `SAS`.
    pub protocol: Option<String>,
}
