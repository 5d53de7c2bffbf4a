//! What fits into a machine of type q35, and where it goes. Pure.
//!
//! ```text
//! slots of bus pcie.0:  0 chipset | one per NIC (a root port) | SCSI | rng | AHCI beyond the chipset's, 6 disks each
//!                       | virtio disks, 8 to a slot | spare root ports, 8 to a slot | 31 chipset
//! ```

use std::collections::BTreeSet;

use crate::config::{Bus, Drive, MachineConfig, Medium, NicModel};

/// Slots that the chipset leaves free: all but the first and the last one of 32.
const SLOTS: usize = 30;
/// Functions of a slot.
pub const FUNCTIONS: usize = 8;
/// Disks of one AHCI controller. The chipset has one.
pub const SATA_PORTS: usize = 6;
/// Units of the one SCSI controller: those that every guest's driver looks for.
const SCSI_UNITS: usize = 256;

/// How many devices of each kind a machine has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Devices {
    /// virtio disks.
    pub virtio: usize,
    /// Disks and CD-ROM drives on SATA.
    pub sata: usize,
    /// Disks and CD-ROM drives on SCSI.
    pub scsi: usize,
    /// Network devices.
    pub nics: usize,
    /// Empty slots.
    pub spare: usize,
}

/// Why there is no such machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// More devices than there is room for.
    #[error("{have} {what} do not fit, {fit} do beside the machine's other devices")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        have: usize,
        /// How many there may be.
        fit: usize,
    },
    /// A drive's name is none.
    #[error("drive {0:?}: a name has letters, digits and dashes")]
    Name(String),
    /// Two drives of one name.
    #[error("two drives are called {0:?}")]
    Twice(String),
    /// A disk without a medium.
    #[error("drive {0:?} is empty, and only a CD-ROM drive on SATA or SCSI may be")]
    Empty(String),
    /// A disk whose medium is far away.
    #[error("drive {0:?}: only a CD-ROM drive on SATA or SCSI can read from an address")]
    Remote(String),
    /// Several queues where there is one.
    #[error("NIC {0} has {1} queues, and only virtio can have more than 1")]
    Queues(usize, u32),
    /// No vCPU, or no memory.
    #[error("a machine needs a vCPU and 1 MiB of memory")]
    Nothing,
}

impl Devices {
    /// Those of a machine.
    #[must_use]
    pub fn of(config: &MachineConfig) -> Devices {
        let on = |bus| config.drives.iter().filter(|drive| drive.bus == bus).count();
        Devices {
            virtio: on(Bus::Virtio),
            sata: on(Bus::Sata),
            scsi: on(Bus::Scsi),
            nics: config.nics.len(),
            spare: config.spare_slots,
        }
    }

    /// Whether they fit; if not, how many would.
    pub fn fit(&self) -> Result<(), ConfigError> {
        if self.scsi > SCSI_UNITS {
            return Err(ConfigError::TooMany { what: "drives on SCSI", have: self.scsi, fit: SCSI_UNITS });
        }
        let over = self.slots().saturating_sub(SLOTS);
        if over == 0 {
            return Ok(());
        }
        // Named is what takes the most slots.
        let (virtio, sata) = (self.virtio.div_ceil(FUNCTIONS), self.controllers());
        let most = virtio.max(sata).max(self.nics).max(self.spare.div_ceil(FUNCTIONS));
        let left = most.saturating_sub(over);
        Err(if most == virtio {
            ConfigError::TooMany { what: "virtio disks", have: self.virtio, fit: left * FUNCTIONS }
        } else if most == sata {
            ConfigError::TooMany { what: "drives on SATA", have: self.sata, fit: (left + 1) * SATA_PORTS }
        } else if most == self.nics {
            ConfigError::TooMany { what: "NICs", have: self.nics, fit: left }
        } else {
            ConfigError::TooMany { what: "spare slots", have: self.spare, fit: left * FUNCTIONS }
        })
    }

    /// AHCI controllers beside the chipset's.
    pub fn controllers(&self) -> usize {
        self.sata.div_ceil(SATA_PORTS).saturating_sub(1)
    }

    fn slots(&self) -> usize {
        let rng = 1;
        let scsi = usize::from(self.scsi > 0);
        let packed = self.virtio.div_ceil(FUNCTIONS) + self.spare.div_ceil(FUNCTIONS);
        self.nics + scsi + rng + self.controllers() + packed
    }
}

impl MachineConfig {
    /// Whether there can be such a machine. Starting one asks this first.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.cpu.vcpus() == 0 || self.memory_bytes < 1 << 20 {
            return Err(ConfigError::Nothing);
        }
        let mut names = BTreeSet::new();
        for drive in &self.drives {
            check(drive)?;
            if !names.insert(&drive.name) {
                return Err(ConfigError::Twice(drive.name.clone()));
            }
        }
        for (index, nic) in self.nics.iter().enumerate() {
            if nic.queues == 0 || (nic.queues > 1 && nic.model != NicModel::Virtio) {
                return Err(ConfigError::Queues(index, nic.queues));
            }
        }
        Devices::of(self).fit()
    }
}

fn check(drive: &Drive) -> Result<(), ConfigError> {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if drive.name.is_empty() || !drive.name.bytes().all(sound) {
        return Err(ConfigError::Name(drive.name.clone()));
    }
    let may_be_empty = drive.cdrom && drive.bus != Bus::Virtio;
    if drive.medium.is_none() && !may_be_empty {
        return Err(ConfigError::Empty(drive.name.clone()));
    }
    if matches!(drive.medium, Some(Medium::Url(_))) && !may_be_empty {
        return Err(ConfigError::Remote(drive.name.clone()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_schema_of_64_disks_allows_fits() {
        for sata in 0..=64 {
            for virtio in 0..=64 - sata {
                let devices = Devices { virtio, sata, scsi: 64 - sata - virtio, nics: 1, spare: 8 };
                assert_eq!(devices.fit(), Ok(()), "{devices:?}");
            }
        }
    }

    #[test]
    fn only_a_cdrom_drive_reads_from_an_address() {
        let medium = Some(Medium::Url("http://192.0.2.1/a.iso".into()));
        let drive = Drive {
            name: "cd".into(),
            medium,
            bus: Bus::Scsi,
            cdrom: true,
            readonly: true,
            persistent: false,
            serial: None,
            boot_index: None,
            bad: None,
        };
        assert_eq!(check(&drive), Ok(()));
        let disk = Drive { cdrom: false, ..drive };
        assert_eq!(check(&disk), Err(ConfigError::Remote("cd".into())));
    }

    #[test]
    fn a_refusal_says_how_many_fit_and_that_many_do() {
        let refused = |devices: Devices| match devices.fit() {
            Err(ConfigError::TooMany { what, fit, .. }) => (what, fit),
            Ok(()) => panic!("{devices:?} fits"),
            Err(other) => panic!("{other}"),
        };
        let one = Devices { nics: 1, ..Devices::default() };
        let (what, fit) = refused(Devices { virtio: 300, ..one });
        assert_eq!((what, fit), ("virtio disks", 224));
        assert_eq!(Devices { virtio: fit, ..one }.fit(), Ok(()));
        assert!(Devices { virtio: fit + 1, ..one }.fit().is_err());
        let (what, fit) = refused(Devices { sata: 200, ..one });
        assert_eq!((what, fit), ("drives on SATA", 174));
        assert_eq!(Devices { sata: fit, ..one }.fit(), Ok(()));
        assert!(Devices { sata: fit + 1, ..one }.fit().is_err());
        assert_eq!(refused(Devices { nics: 31, ..Devices::default() }), ("NICs", 29));
        assert_eq!(refused(Devices { scsi: 257, ..one }), ("drives on SCSI", 256));
    }
}
