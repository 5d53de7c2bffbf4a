//! What a host is made of: its `config.json`.

use std::fmt;
use std::net::Ipv4Addr;

use aws_lc_rs::rand;
use scute_bmc::{BootMode, Drive, Facts, Memory, Processor, Profile, UnknownProfile};
use scute_netlink::Mac;
use serde::{Deserialize, Serialize};

/// Bounds of a host.
pub const MEMORY_MIB: std::ops::RangeInclusive<u64> = 256..=1 << 20;
/// Vcpus.
pub const CPUS: std::ops::RangeInclusive<u32> = 1..=64;
/// Size of a disk.
pub const DISK_MIB: std::ops::RangeInclusive<u64> = 1..=16 << 20;
/// Disks.
pub const DISKS: std::ops::RangeInclusive<usize> = 1..=16;
/// Network cards.
pub const NICS: std::ops::RangeInclusive<usize> = 1..=8;

/// What a host is made of. Written once; what changes is in its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostConfig {
    /// Its name: a DNS label, since it also names the BareMetalHost and its Secret.
    pub name: String,
    /// Its number in the rack; names its taps.
    pub number: u16,
    /// UUID of the System.
    pub uuid: String,
    /// Serial number.
    pub serial: String,
    /// Which vendor's BMC it imitates.
    pub profile: String,
    /// Further knobs of the BMC.
    #[serde(default)]
    pub knobs: Vec<String>,
    /// What boots it unless the override says otherwise.
    pub firmware: Firmware,
    /// Vcpus.
    pub cpus: u32,
    /// Memory.
    pub memory_mib: u64,
    /// Disks.
    pub disks: Vec<Disk>,
    /// Network cards.
    pub nics: Vec<Nic>,
    /// TCP port of its BMC.
    pub port: u16,
    /// The BMC's administrator.
    pub user: String,
}

/// What boots a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// UEFI, by OVMF.
    #[default]
    Uefi,
    /// BIOS, by SeaBIOS.
    Bios,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Disk {
    /// Its size.
    pub mib: u64,
    /// Serial number.
    pub serial: String,
}

/// A network card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Nic {
    /// Its MAC.
    pub mac: Mac,
    /// What the rack's DHCP gives it, where there is a network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
}

/// A host that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Its name.
    #[error(
        "name {0:?}: use 1 to 40 lower case letters, digits and '-', beginning and ending with none of '-'"
    )]
    Name(String),
    /// A number of something.
    #[error("{what} {found}: from {from} to {to} are possible")]
    Number {
        /// Of what.
        what: &'static str,
        /// How many.
        found: u64,
        /// At least.
        from: u64,
        /// At most.
        to: u64,
    },
    /// Its profile or a knob.
    #[error(transparent)]
    Profile(#[from] UnknownProfile),
    /// No identity can be drawn.
    #[error("the system's random source failed")]
    Random,
}

/// A host to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Which vendor's BMC it imitates.
    pub profile: String,
    /// Further knobs.
    pub knobs: Vec<String>,
    /// What boots it.
    pub firmware: Firmware,
    /// Vcpus.
    pub cpus: u32,
    /// Memory.
    pub memory_mib: u64,
    /// Size of each disk.
    pub disks_mib: Vec<u64>,
    /// Network cards.
    pub nics: usize,
}

impl Default for Shape {
    /// One vcpu: under QEMU's translator a second one makes firmware slower.
    fn default() -> Self {
        Self {
            profile: "plain".into(),
            knobs: vec![],
            firmware: Firmware::Uefi,
            cpus: 1,
            memory_mib: 1024,
            disks_mib: vec![10 * 1024],
            nics: 1,
        }
    }
}

impl HostConfig {
    /// A host of this shape, with an identity that no other has.
    ///
    /// # Errors
    /// When the shape cannot be.
    pub fn new(name: &str, number: u16, port: u16, shape: &Shape) -> Result<Self, HostError> {
        let config = Self {
            name: name.to_owned(),
            number,
            uuid: uuid()?,
            serial: format!("SCUTE{}", random_hex::<4>()?.to_uppercase()),
            profile: shape.profile.clone(),
            knobs: shape.knobs.clone(),
            firmware: shape.firmware,
            cpus: shape.cpus,
            memory_mib: shape.memory_mib,
            disks: shape.disks_mib.iter().map(|mib| disk(*mib)).collect::<Result<_, _>>()?,
            nics: (0..shape.nics.min(*NICS.end() + 1)).map(|_| nic()).collect::<Result<_, _>>()?,
            port,
            user: "admin".into(),
        };
        config.validate().map(|_| config)
    }

    /// Whether there can be such a host; its BMC's profile.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn validate(&self) -> Result<Profile, HostError> {
        let label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let name = &self.name;
        if !(1..=40).contains(&name.len())
            || !name.bytes().all(label)
            || name.starts_with('-')
            || name.ends_with('-')
        {
            return Err(HostError::Name(name.clone()));
        }
        let wide = |range: &std::ops::RangeInclusive<usize>| (*range.start() as u64)..=(*range.end() as u64);
        within("CPUs", self.cpus.into(), &(u64::from(*CPUS.start())..=u64::from(*CPUS.end())))?;
        within("MiB of memory", self.memory_mib, &MEMORY_MIB)?;
        within("disks", self.disks.len() as u64, &wide(&DISKS))?;
        within("NICs", self.nics.len() as u64, &wide(&NICS))?;
        for disk in &self.disks {
            within("MiB of a disk", disk.mib, &DISK_MIB)?;
        }
        let knobs: Vec<&str> = self.knobs.iter().map(String::as_str).collect();
        Ok(Profile::named(&self.profile, &knobs)?)
    }

    /// What its BMC tells of it. `links` has the cables that are plugged in.
    #[must_use]
    pub fn facts(&self, links: &[bool]) -> Facts {
        let nic = |(nic, up): (&Nic, &bool)| scute_bmc::Nic {
            mac: nic.mac.to_string(),
            speed_mbps: 1_000,
            link_up: *up,
        };
        let drive = |disk: &Disk| Drive {
            model: "Virtual Disk".into(),
            serial: disk.serial.clone(),
            bytes: disk.mib << 20,
            media_type: "SSD".into(),
        };
        Facts {
            name: self.name.clone(),
            uuid: self.uuid.clone(),
            manufacturer: "Scute".into(),
            model: "Virtual Rack Server".into(),
            serial: self.serial.clone(),
            sku: "RACK-1".into(),
            bios_version: self.firmware.to_string(),
            boot_mode: self.firmware.mode(),
            processors: vec![Processor {
                model: "Virtual Processor".into(),
                architecture: "x86".into(),
                cores: self.cpus,
                threads: self.cpus,
                max_mhz: 2_000,
            }],
            memory: vec![Memory { mib: self.memory_mib }],
            nics: self.nics.iter().zip(links).map(nic).collect(),
            drives: self.disks.iter().map(drive).collect(),
        }
    }

    /// Name of a tap of this host.
    #[must_use]
    pub fn tap(&self, nic: usize) -> String {
        format!("rack{}n{nic}", self.number)
    }
}

impl Firmware {
    /// As Redfish has it.
    #[must_use]
    pub fn mode(self) -> BootMode {
        match self {
            Self::Uefi => BootMode::Uefi,
            Self::Bios => BootMode::Legacy,
        }
    }
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uefi => "uefi",
            Self::Bios => "bios",
        })
    }
}

fn within(what: &'static str, found: u64, range: &std::ops::RangeInclusive<u64>) -> Result<(), HostError> {
    let (from, to) = (*range.start(), *range.end());
    if range.contains(&found) { Ok(()) } else { Err(HostError::Number { what, found, from, to }) }
}

fn random<const N: usize>() -> Result<[u8; N], HostError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| HostError::Random)?;
    Ok(bytes)
}

/// So many random bytes as text.
///
/// # Errors
/// The random source fails.
pub fn random_hex<const N: usize>() -> Result<String, HostError> {
    Ok(hex::encode(random::<N>()?))
}

/// A random UUID (RFC 9562, version 4).
fn uuid() -> Result<String, HostError> {
    let mut bytes = random::<16>()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex::encode(bytes);
    Ok([&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-"))
}

/// With QEMU's prefix.
fn nic() -> Result<Nic, HostError> {
    let [a, b, c] = random()?;
    Ok(Nic { mac: Mac([0x52, 0x54, 0, a, b, c]), address: None })
}

fn disk(mib: u64) -> Result<Disk, HostError> {
    Ok(Disk { mib, serial: format!("DISK{}", random_hex::<4>()?.to_uppercase()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_cannot_be_is_refused_in_words() {
        let with = |change: fn(&mut Shape)| {
            let mut shape = Shape::default();
            change(&mut shape);
            HostConfig::new("host-1", 1, 8443, &shape).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(with(|_| ()), Ok(()));
        let refused = with(|shape| shape.memory_mib = 64).unwrap_err();
        assert_eq!(refused, "MiB of memory 64: from 256 to 1048576 are possible");
        assert!(with(|shape| shape.disks_mib.clear()).unwrap_err().starts_with("disks 0"));
        assert!(with(|shape| shape.nics = 99).unwrap_err().starts_with("NICs"));
        assert!(with(|shape| shape.profile = "tandy".into()).unwrap_err().contains("hpe-ilo5"));
        assert!(with(|shape| shape.knobs = vec!["post=soon".into()]).unwrap_err().contains("post=soon"));
        for name in ["", "-a", "a-", "A", "a.b", "../x", &"a".repeat(41)] {
            assert!(HostConfig::new(name, 1, 8443, &Shape::default()).is_err(), "{name}");
        }
    }

    #[test]
    fn two_hosts_are_never_taken_for_one() {
        let make = || HostConfig::new("a", 1, 8443, &Shape::default()).unwrap();
        let (one, other) = (make(), make());
        assert_ne!(one.uuid, other.uuid);
        assert_ne!(one.serial, other.serial);
        assert_ne!(one.nics, other.nics);
        assert_ne!(one.disks[0].serial, other.disks[0].serial);
        assert_eq!((one.uuid.len(), &one.uuid[14..15]), (36, "4"));
    }
}
