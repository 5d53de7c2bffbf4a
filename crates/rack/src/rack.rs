//! All hosts of a rack: the folders below one, each with its BMC.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use scute_netlink::{Mac, Netlink, NetlinkError};
use scute_qemu::{Accelerator, Qemu, probe};

use crate::config::{HostConfig, HostError, Shape};
use crate::folder::{FolderError, HostFolder};
use crate::host::{MountError, Mounted};

/// The BMC of the first host listens here, that of the next one at the next port.
const FIRST_PORT: u16 = 8_443;

/// What hosts run by.
#[derive(Clone, Debug)]
pub struct Programs {
    /// QEMU.
    pub qemu: Qemu,
    /// OVMF's code.
    pub ovmf_code: PathBuf,
    /// OVMF's variables as they leave the factory.
    pub ovmf_vars: PathBuf,
    /// Boot ROM of a network card, for BIOS; UEFI has its own.
    pub nic_rom: Option<PathBuf>,
}

/// Where a rack stands.
#[derive(Clone, Debug)]
pub struct Place {
    /// Address of all BMCs; each has a port of its own.
    pub bmc: IpAddr,
    /// Where cables lead; without a network, no NIC has a cable.
    pub network: Option<Network>,
}

/// The network of a rack's hosts.
#[derive(Clone, Debug)]
pub struct Network {
    /// Its bridge, in this process's network namespace.
    pub bridge: String,
    /// The bridge's address: gateway of the hosts, and their DHCP server.
    pub gateway: Ipv4Addr,
    /// Prefix length of its addresses.
    pub prefix: u8,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// First and last address for hosts.
    pub addresses: (Ipv4Addr, Ipv4Addr),
}

/// A cable that is plugged in.
#[derive(Clone, Debug)]
pub struct Plugged {
    /// The network it leads to.
    pub network: Network,
    /// Number of the tap.
    pub tap: u32,
    /// MAC of the bridge.
    pub bridge: Mac,
    /// MTU of the bridge.
    pub mtu: u16,
}

/// What all hosts share.
#[derive(Debug)]
pub struct Equipment {
    /// What hosts run by.
    pub programs: Programs,
    /// Where the rack stands.
    pub place: Place,
    /// What runs the guests' instructions.
    pub accelerator: Accelerator,
}

/// Why there is no rack.
#[derive(Debug, thiserror::Error)]
pub enum RackError {
    /// Its folder.
    #[error("{path} cannot be read")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A host's folder.
    #[error(transparent)]
    Host(#[from] FolderError),
    /// A host that cannot be.
    #[error(transparent)]
    Shape(#[from] HostError),
    /// Every address is a host's.
    #[error("every address from {first} to {last} is a host's; the rack has room for no more network cards")]
    NoAddress {
        /// The first.
        first: Ipv4Addr,
        /// The last.
        last: Ipv4Addr,
    },
    /// Firmware or QEMU.
    #[error(
        "{0} is missing; Debian's packages qemu-system-x86, qemu-block-extra and ovmf have what a rack needs"
    )]
    Lacks(PathBuf),
    /// A name twice.
    #[error("there is a host {0} already")]
    Taken(String),
}

/// Why a tap is not plugged in.
#[derive(Debug, thiserror::Error)]
pub enum PlugError {
    /// The kernel.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A link is missing.
    #[error("there is no link {0}")]
    NoLink(String),
}

impl Programs {
    /// What Debian installs.
    ///
    /// # Errors
    /// When something is missing.
    pub fn installed() -> Result<Self, RackError> {
        let there = |path: &str| {
            let path = PathBuf::from(path);
            if path.exists() { Ok(path) } else { Err(RackError::Lacks(path)) }
        };
        Ok(Self {
            qemu: Qemu::new(there("/usr/bin/qemu-system-x86_64")?),
            ovmf_code: there("/usr/share/OVMF/OVMF_CODE_4M.fd")?,
            ovmf_vars: there("/usr/share/OVMF/OVMF_VARS_4M.fd")?,
            nic_rom: there("/usr/lib/ipxe/qemu/efi-virtio.rom").ok(),
        })
    }
}

impl Equipment {
    /// Plugs a tap into the bridge, where there is one.
    pub fn plug(&self, tap: &str) -> Result<Option<Plugged>, PlugError> {
        let Some(network) = &self.place.network else { return Ok(None) };
        let mut netlink = Netlink::open()?;
        let links = netlink.links()?;
        let find = |name: &str| {
            let link = links.iter().find(|link| link.name == name);
            link.ok_or_else(|| PlugError::NoLink(name.to_owned()))
        };
        let (tap, bridge) = (find(tap)?.index, find(&network.bridge)?);
        netlink.set_master(tap, bridge.index)?;
        netlink.set_up(tap, true)?;
        Ok(Some(Plugged {
            network: network.clone(),
            tap,
            bridge: bridge.mac.unwrap_or(Mac([0; 6])),
            mtu: u16::try_from(bridge.mtu).unwrap_or(u16::MAX),
        }))
    }
}

/// A rack.
#[derive(Debug)]
pub struct Rack {
    folder: PathBuf,
    equipment: Arc<Equipment>,
    hosts: BTreeMap<String, Mounted>,
}

impl Rack {
    /// The rack in this folder, with all its hosts. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the folder cannot be read. A host that cannot be mounted is told in the log and keeps no other out.
    pub async fn open(folder: &Path, programs: Programs, place: Place) -> Result<Self, RackError> {
        let accelerator = probe(&programs.qemu).await.accelerator;
        let equipment = Arc::new(Equipment { programs, place, accelerator });
        let mut rack = Self { folder: folder.to_path_buf(), equipment, hosts: BTreeMap::new() };
        rack.refresh()?;
        Ok(rack)
    }

    /// Mounts the hosts that have come, and takes away those whose folder is gone.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn refresh(&mut self) -> Result<(), RackError> {
        let names = names(&self.folder)?;
        self.hosts.retain(|name, _| names.contains(name));
        for name in names {
            if self.hosts.contains_key(&name) {
                continue;
            }
            match self.mount(&name) {
                Ok(mounted) => drop(self.hosts.insert(name, mounted)),
                Err(error) => {
                    tracing::error!(host = name, error = scute_processes::chain(&error), "not in the rack");
                }
            }
        }
        Ok(())
    }

    fn mount(&self, name: &str) -> Result<Mounted, MountError> {
        Mounted::new(HostFolder::at(self.folder.join(name)), &self.equipment)
    }

    /// A host by its name.
    #[must_use]
    pub fn host(&self, name: &str) -> Option<&Mounted> {
        self.hosts.get(name)
    }

    /// Every host and its BMC's address.
    pub fn hosts(&self) -> impl Iterator<Item = (&Mounted, SocketAddr)> {
        self.hosts.values().map(|mounted| (mounted, mounted.server.address))
    }
}

/// Adds hosts of this shape until there are so many; they are called by a prefix and their number.
///
/// # Errors
/// When there can be no such host, no address is left for it, or a file cannot be written.
pub fn grow(
    rack: &Path,
    prefix: &str,
    hosts: u16,
    shape: &Shape,
    programs: &Programs,
    place: &Place,
) -> Result<(), RackError> {
    let mut configs = Vec::new();
    for name in names(rack)? {
        configs.push(HostFolder::at(rack.join(name)).load()?);
    }
    let free = (0..u16::MAX).filter(|number| !configs.iter().any(|config| config.number == *number));
    let missing = usize::from(hosts).saturating_sub(configs.len());
    for number in free.take(missing).collect::<Vec<_>>() {
        let port = FIRST_PORT.saturating_add(number);
        let mut config = HostConfig::new(&format!("{prefix}-{number}"), number, port, shape)?;
        if let Some(network) = &place.network {
            network.give(&mut config, &configs)?;
        }
        add(rack, &config, programs, place.bmc)?;
        configs.push(config);
    }
    Ok(())
}

impl Network {
    /// Gives each network card the first address that no other host has.
    ///
    /// # Errors
    /// When none is left.
    fn give(&self, config: &mut HostConfig, others: &[HostConfig]) -> Result<(), RackError> {
        let (first, last) = self.addresses;
        let mut taken: BTreeSet<Ipv4Addr> =
            others.iter().flat_map(|other| &other.nics).filter_map(|nic| nic.address).collect();
        for nic in &mut config.nics {
            let mut all = (first.to_bits()..=last.to_bits()).map(Ipv4Addr::from);
            let address = all.find(|address| !taken.contains(address));
            let address = address.ok_or(RackError::NoAddress { first, last })?;
            taken.insert(address);
            nic.address = Some(address);
        }
        Ok(())
    }
}

/// Makes the folder of a new host.
///
/// # Errors
/// When there is one of that name, or a file cannot be written.
pub fn add(
    rack: &Path,
    config: &HostConfig,
    programs: &Programs,
    address: IpAddr,
) -> Result<HostFolder, RackError> {
    let folder = HostFolder::at(rack.join(&config.name));
    if folder.config().exists() {
        return Err(RackError::Taken(config.name.clone()));
    }
    folder.create(config, &programs.ovmf_vars, address)?;
    Ok(folder)
}

/// Names of the hosts in a rack's folder.
///
/// # Errors
/// When the folder cannot be read.
pub fn names(rack: &Path) -> Result<Vec<String>, RackError> {
    let failed = |source| RackError::Folder { path: rack.to_path_buf(), source };
    let entries = match fs::read_dir(rack) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        other => other.map_err(failed)?,
    };
    let host = |entry: fs::DirEntry| {
        let there = HostFolder::at(entry.path()).config().exists();
        entry.file_name().into_string().ok().filter(|_| there)
    };
    let mut names: Vec<String> = entries.flatten().filter_map(host).collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_card_has_an_address_of_its_own_until_none_is_left() {
        let network = Network {
            bridge: "cni0".into(),
            gateway: Ipv4Addr::new(10, 85, 0, 1),
            prefix: 16,
            dns: vec![],
            addresses: (Ipv4Addr::new(10, 85, 240, 0), Ipv4Addr::new(10, 85, 240, 2)),
        };
        let host = |nics| HostConfig::new("a", 0, 1, &Shape { nics, ..Shape::default() }).unwrap();
        let mut hosts = vec![];
        for nics in [1, 2] {
            let mut config = host(nics);
            network.give(&mut config, &hosts).unwrap();
            hosts.push(config);
        }
        let given = |host: &HostConfig| -> Vec<String> {
            host.nics.iter().filter_map(|nic| Some(nic.address?.to_string())).collect()
        };
        assert_eq!(given(&hosts[0]), ["10.85.240.0"]);
        assert_eq!(given(&hosts[1]), ["10.85.240.1", "10.85.240.2"]);
        let refused = network.give(&mut host(1), &hosts).unwrap_err().to_string();
        assert!(refused.starts_with("every address from 10.85.240.0 to 10.85.240.2"), "{refused}");
        hosts.remove(0);
        let mut again = host(1);
        network.give(&mut again, &hosts).unwrap();
        assert_eq!(given(&again), ["10.85.240.0"], "one that is free again");
    }
}
