//! All hosts of a rack: the folders below one, each with its BMC.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use scute_netlink::{Netlink, NetlinkError};
use scute_qemu::{Accelerator, Qemu, probe};

use crate::config::HostConfig;
use crate::folder::{FolderError, HostFolder};
use crate::host::{MountError, Mounted};

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
    /// The bridge that cables lead to; without one, no NIC has a cable.
    pub bridge: Option<String>,
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
    /// A new host.
    #[error(transparent)]
    Host(#[from] FolderError),
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
    /// Plugs a tap into the bridge.
    pub fn plug(&self, tap: &str) -> Result<(), PlugError> {
        let Some(bridge) = &self.place.bridge else { return Ok(()) };
        let mut netlink = Netlink::open()?;
        let links = netlink.links()?;
        let index = |name: &str| {
            let link = links.iter().find(|link| link.name == name);
            link.map(|link| link.index).ok_or_else(|| PlugError::NoLink(name.to_owned()))
        };
        netlink.set_master(index(tap)?, index(bridge)?)?;
        netlink.set_up(index(tap)?, true)?;
        Ok(())
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
