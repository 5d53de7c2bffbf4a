//! Where the rack of a site stands: its folder, its network, its process. In: a site's name. Out: paths, and a process in the
//! site's network that the site's supervisor keeps, as long as there is the folder. Never: knows what a host is.

pub mod keep;

use crate::{
    Layout, SiteConfig,
    addresses::AddressRange,
    config::{self, ConfigError},
    layout::SiteName,
    node::cni,
    supervisor,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use scute_netlink::{Monitor, Netlink, NetlinkError};
use scute_processes::{files, lock, lock::Lock};
use std::{fs, io, net::Ipv4Addr, path::PathBuf, time::Duration};
use tokio::time::{Instant, sleep};

/// How long a rack may take to end: its machines die with it.
const DEATH: Duration = Duration::from_secs(20);
/// How long it may take until it answers: it looks first what accelerator works.
const FIRST_SIGN: Duration = Duration::from_secs(60);

/// Where the rack of a site stands.
#[derive(Clone, Debug)]
pub struct RackPlace {
    /// Its folder.
    pub folder: PathBuf,
    /// Its socket.
    pub socket: PathBuf,
    /// Its log.
    pub log: PathBuf,
    /// Address of its BMCs: that of the bridge.
    pub address: Ipv4Addr,
    /// Prefix length of the bridge's network.
    pub prefix: u8,
    /// Addresses for its hosts.
    pub addresses: AddressRange,
    /// Name server of its hosts: the cluster's.
    pub dns: Ipv4Addr,
    /// The bridge of the site's Pods, where its hosts' cables lead.
    pub bridge: String,
    layout: Layout,
}

/// Why there is no place for a rack, or it cannot be started or ended.
#[derive(Debug, thiserror::Error)]
pub enum RackError {
    /// The site.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No such site.
    #[error("there is no site {0}; `scute up` makes one, and a rack stands beside it")]
    NoSite(SiteName),
    /// It runs already.
    #[error("site {0} has a rack already")]
    Busy(SiteName),
    /// Nobody would keep it.
    #[error("site {0} does not run; `scute up --site {0}` starts it, and its rack with it")]
    Down(SiteName),
    /// The network cannot be read.
    #[error(transparent)]
    Network(#[from] NetlinkError),
    /// Its process does not end.
    #[error("the rack of the site does not end")]
    Alive,
    /// Something of the kernel.
    #[error("{what} failed")]
    Io {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn failed<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> RackError {
    move |error| RackError::Io { what, source: error.into() }
}

impl RackPlace {
    /// The place beside a site.
    ///
    /// # Errors
    /// There is no such site.
    pub fn of(name: &SiteName) -> Result<Self, RackError> {
        let (layout, config) = config::open(name)?;
        let config: SiteConfig = config.ok_or_else(|| RackError::NoSite(name.clone()))?;
        Ok(Self {
            folder: folder(&layout),
            socket: layout.run.join("rack.sock"),
            log: layout.log("rack"),
            address: config.addresses.pods_gateway(),
            prefix: config.addresses.pods.prefix_len(),
            addresses: config.addresses.leased_servers(),
            dns: config.addresses.dns(),
            bridge: cni::bridge(&config),
            layout,
        })
    }

    /// The process of a rack that runs.
    #[must_use]
    pub fn running(&self) -> Option<Pid> {
        running(&self.layout)
    }

    /// Whether somebody keeps the rack: the supervisor of the site.
    ///
    /// # Errors
    /// Nobody does.
    pub fn keeper(&self) -> Result<(), RackError> {
        let keeper = supervisor::running(&self.layout);
        keeper.map(drop).ok_or_else(|| RackError::Down(self.layout.name.clone()))
    }

    /// Makes this process the rack's, with the lock that says so, and waits for the bridge: it comes with the first Pod.
    ///
    /// # Errors
    /// The site has a rack already.
    pub async fn enter(&self) -> Result<Lock, RackError> {
        let lock = lock::take(&lock_path(&self.layout)).map_err(failed("opening the rack's lock"))?;
        let lock = lock.ok_or_else(|| RackError::Busy(self.layout.name.clone()))?;
        let (monitor, mut netlink) = (Monitor::open()?, Netlink::open()?);
        if !self.has_bridge(&mut netlink)? {
            tracing::info!(bridge = self.bridge, "waiting for the bridge of the site's Pods");
        }
        while !self.has_bridge(&mut netlink)? {
            monitor.changed().await?;
        }
        Ok(lock)
    }

    fn has_bridge(&self, netlink: &mut Netlink) -> Result<bool, NetlinkError> {
        let links = netlink.links()?;
        let Some(bridge) = links.iter().find(|link| link.name == self.bridge) else { return Ok(false) };
        let ours =
            |one: &scute_netlink::LocalAddress| one.link == bridge.index && one.net.addr() == self.address;
        Ok(netlink.addresses()?.iter().any(ours))
    }

    /// Asks until there is an answer, as long as the process may need for its start.
    pub async fn first_sign<T>(&self, ask: impl AsyncFn() -> Option<T>) -> Option<T> {
        let until = Instant::now() + FIRST_SIGN;
        loop {
            match ask().await {
                Some(answer) => return Some(answer),
                None if Instant::now() > until => return None,
                // There is no socket yet, and nobody else can tell of it.
                None => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Ends the rack and removes everything of it.
    ///
    /// # Errors
    /// It does not end, or a file cannot be removed.
    pub fn remove(&self) -> Result<(), RackError> {
        let gone = self.layout.at(REMOVED);
        files::remove_tree(&gone).map_err(failed("removing what an earlier call left"))?;
        match fs::rename(&self.folder, &gone) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Its keeper sees that it is gone, and ends its process.
            renamed => renamed.map_err(failed("taking the rack's folder away"))?,
        }
        ended(&self.layout)?;
        files::remove_tree(&gone).map_err(failed("removing the rack's folder"))
    }
}

/// Waits until the process of a site's rack has ended.
pub fn ended(layout: &Layout) -> Result<(), RackError> {
    let Some(pid) = running(layout) else { return Ok(()) };
    // Its handle first: afterwards the number might be another's.
    let handle = pidfd_open(pid, PidfdFlags::empty());
    if running(layout).is_none() {
        return Ok(());
    }
    let ended = handle.is_ok_and(|handle| {
        let mut wait = [PollFd::new(&handle, PollFlags::IN)];
        let limit = Timespec::try_from(DEATH).ok();
        poll(&mut wait, limit.as_ref()).is_ok_and(|ready| ready > 0)
    });
    if ended { Ok(()) } else { Err(RackError::Alive) }
}

/// The process of a rack that runs.
pub fn running(layout: &Layout) -> Option<Pid> {
    lock::holder(&lock_path(layout))
}

/// Where the folder goes before it is removed.
const REMOVED: &str = ".rack";

fn lock_path(layout: &Layout) -> PathBuf {
    layout.run.join("rack.lock")
}

/// The folder of a site's rack.
fn folder(layout: &Layout) -> PathBuf {
    layout.at("rack")
}
