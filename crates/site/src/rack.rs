//! Where the rack of a site stands: its folder, its network, its process. In: a site's name. Out: paths, and a process that
//! runs in the site's network and ends with the site. Never: knows what a host is.

use crate::{
    Layout, NetworkMode, SiteConfig,
    config::{self, ConfigError},
    host::network,
    layout::SiteName,
    node::cni,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use scute_processes::{files, lock, lock::Lock};
use std::{
    fs::File,
    io,
    net::IpAddr,
    os::{fd::AsFd, unix::process::CommandExt},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};
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
    pub address: IpAddr,
    /// The bridge of the site's Pods, where its hosts' cables lead.
    pub bridge: String,
    layout: Layout,
    network: NetworkMode,
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
    /// The bridge is not there.
    #[error("{0} has no bridge {1} with the address {2}; it comes with the first Pod of a site that is up")]
    NoBridge(SiteName, String, IpAddr),
    /// The network cannot be read.
    #[error(transparent)]
    Network(#[from] scute_netlink::NetlinkError),
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
            address: config.addresses.pods_gateway().into(),
            bridge: cni::bridge(&config),
            network: config.network,
            layout,
        })
    }

    /// The process of a rack that runs.
    #[must_use]
    pub fn running(&self) -> Option<Pid> {
        running(&self.layout)
    }

    /// Starts a process that outlives this one.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self) -> Result<(), RackError> {
        let mut command = Command::new(self.layout.bin("scute"));
        command.args(["rack", "serve", "--site", self.layout.name.as_str()]);
        // What it has to say goes to the rack's log.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
        // SAFETY: setsid is a system call without memory effects.
        unsafe { command.pre_exec(|| rustix::process::setsid().map(|_| ()).map_err(io::Error::from)) };
        command.spawn().map(drop).map_err(failed("starting the rack"))
    }

    /// Makes this process the rack's: in the site's network, with the lock that says so. It must have one thread.
    ///
    /// # Errors
    /// The site is not up, or has a rack already.
    pub fn enter(&self) -> Result<Lock, RackError> {
        let lock = lock::take(&lock_path(&self.layout)).map_err(failed("opening the rack's lock"))?;
        let lock = lock.ok_or_else(|| RackError::Busy(self.layout.name.clone()))?;
        if self.network == NetworkMode::Namespace {
            let net = File::open(network::netns_path(&self.layout));
            let net = net.map_err(failed("opening the site's network namespace"))?;
            move_into_link_name_space(net.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(failed("entering the site's network namespace"))?;
        }
        let mut netlink = scute_netlink::Netlink::open()?;
        let there = netlink.links()?.into_iter().any(|link| link.name == self.bridge)
            && netlink.addresses()?.iter().any(|one| one.net.addr() == self.address);
        if there {
            return Ok(lock);
        }
        Err(RackError::NoBridge(self.layout.name.clone(), self.bridge.clone(), self.address))
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
        stop(&self.layout)?;
        files::remove_tree(&self.folder).map_err(failed("removing the rack's folder"))
    }
}

/// Ends the rack of a site, if one runs. Its folder stays.
pub fn stop(layout: &Layout) -> Result<(), RackError> {
    let Some(pid) = running(layout) else { return Ok(()) };
    // Its handle first: afterwards the number might be another's.
    let handle = pidfd_open(pid, PidfdFlags::empty());
    if running(layout) == Some(pid) {
        _ = kill_process(pid, Signal::TERM);
    }
    let ended = handle.is_ok_and(|handle| {
        let mut wait = [PollFd::new(&handle, PollFlags::IN)];
        let limit = Timespec::try_from(DEATH).ok();
        poll(&mut wait, limit.as_ref()).is_ok_and(|n| n > 0)
    });
    if ended || running(layout).is_none() { Ok(()) } else { Err(RackError::Alive) }
}

/// The process of a rack that runs.
pub fn running(layout: &Layout) -> Option<Pid> {
    lock::holder(&lock_path(layout))
}

fn lock_path(layout: &Layout) -> PathBuf {
    layout.run.join("rack.lock")
}

/// The folder of a site's rack.
fn folder(layout: &Layout) -> PathBuf {
    layout.at("rack")
}
