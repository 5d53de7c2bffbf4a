//! One host: a machine as its BMC sees it, and the task that keeps it.

mod actor;
mod dhcp;
mod machine;
mod serial;

use std::net::TcpListener;
use std::sync::Arc;

use scute_bmc::{Answer, Facts, Machine, MachineError, NextBoot, Power, Reset, Server, ServerError, Service};
use scute_qemu::BadSpot;
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::HostConfig;
use crate::folder::{FolderError, HostFolder, State};
use crate::rack::Equipment;
use actor::{Actor, Order, What};
pub use serial::Serial;

/// What is known of a host.
pub type Status = State;

/// Orders that wait. A BMC passes on one at a time.
const WAITING: usize = 16;

/// A host. It goes off, without a word to its guest, when it is dropped.
#[derive(Debug)]
pub struct Host {
    /// What it is.
    pub config: HostConfig,
    /// Its serial port.
    pub serial: Serial,
    status: watch::Receiver<Status>,
    orders: mpsc::Sender<Order>,
}

/// A host behind its BMC.
#[derive(Debug)]
pub struct Mounted {
    /// The host.
    pub host: Arc<Host>,
    /// Its BMC.
    pub service: Arc<Service>,
    /// What its BMC listens with.
    pub server: Server,
    /// What its BMC calls the System.
    pub system: String,
}

/// Why a host is not in the rack.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// Its folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Its configuration.
    #[error(transparent)]
    Host(#[from] crate::config::HostError),
    /// Its BMC.
    #[error("the BMC of {0} does not listen")]
    Server(String, #[source] ServerError),
    /// Its BMC's address.
    #[error("the BMC of {0} cannot listen at {1}")]
    Listen(String, std::net::SocketAddr, #[source] std::io::Error),
}

impl Mounted {
    /// The host in this folder. One that ran when the rack ended is started again, as after a power cut.
    ///
    /// # Errors
    /// When the folder cannot be read, or the BMC not listen. Needs a tokio runtime.
    pub fn new(folder: HostFolder, equipment: &Arc<Equipment>) -> Result<Self, MountError> {
        let config = folder.load()?;
        let profile = config.validate()?;
        let (password, identity) = (folder.password()?, folder.identity()?);
        let address = (equipment.place.bmc, config.port).into();
        let listener = TcpListener::bind(address);
        let listener = listener.map_err(|source| MountError::Listen(config.name.clone(), address, source))?;
        let (name, user) = (config.name.clone(), config.user.clone());
        let host = Arc::new(Host::new(config, folder, equipment)?);
        let system = profile.ids.system.clone();
        let service = Service::new(host.clone(), profile, &user, &password);
        let server = Server::https_as(&service, listener, &identity);
        let server = server.map_err(|source| MountError::Server(name, source))?;
        Ok(Self { host, service, server, system })
    }

    /// The host and its BMC, for somebody who does not hold the rack.
    #[must_use]
    pub fn parts(&self) -> (Arc<Host>, Arc<Service>) {
        (self.host.clone(), self.service.clone())
    }
}

impl Host {
    fn new(config: HostConfig, folder: HostFolder, equipment: &Arc<Equipment>) -> Result<Self, FolderError> {
        let state = folder.state(config.nics.len())?;
        let serial = Serial::new(&folder.serial_log());
        let (tell, status) = watch::channel(state);
        let (orders, waiting) = mpsc::channel(WAITING);
        let actor = Actor::new(config.clone(), folder, equipment.clone(), serial.clone(), tell);
        tokio::spawn(actor.run(waiting));
        Ok(Self { config, serial, status, orders })
    }

    /// What is known now, and what changes.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Plugs or unplugs the cable of a network card, numbered from 0.
    ///
    /// # Errors
    /// When there is no such card.
    pub async fn link(&self, nic: usize, up: bool) -> Result<(), MachineError> {
        self.order(What::Link { nic, up }).await
    }

    /// A place of a disk, numbered from 0, fails from now on, also after a start; none heals it. Of [`Bad::Fails`](scute_qemu::Bad::Fails) the guest is
    /// told. At [`Bad::Full`](scute_qemu::Bad::Full) the power goes, once, before the write is done.
    ///
    /// # Errors
    /// When there is no such disk, or no such place on it.
    pub async fn spoil(&self, disk: usize, spot: Option<BadSpot>) -> Result<(), MachineError> {
        self.order(What::Spoil { disk, spot }).await
    }

    async fn order(&self, what: What) -> Result<(), MachineError> {
        let (done, answer) = oneshot::channel();
        let gone = || MachineError("the rack is going down".into());
        self.orders.send(Order { what, done }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl Machine for Host {
    fn facts(&self) -> Arc<Facts> {
        Arc::new(self.config.facts(&self.status.borrow().links))
    }

    fn power(&self) -> Power {
        self.status.borrow().power
    }

    fn reset(&self, reset: Reset) -> Answer<'_> {
        Box::pin(self.order(What::Reset(reset)))
    }

    fn next_boot(&self) -> Option<NextBoot> {
        self.status.borrow().next_boot
    }

    fn set_next_boot(&self, boot: Option<NextBoot>) -> Answer<'_> {
        Box::pin(self.order(What::Boot(boot)))
    }

    fn medium(&self) -> Option<String> {
        self.status.borrow().medium.clone()
    }

    fn insert<'a>(&'a self, url: &'a str) -> Answer<'a> {
        Box::pin(self.order(What::Medium(Some(url.to_owned()))))
    }

    fn eject(&self) -> Answer<'_> {
        Box::pin(self.order(What::Medium(None)))
    }
}
