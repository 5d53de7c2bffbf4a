//! The supervisor of a site: one quiet process in the machine's namespaces that makes the site's own, starts its init
//! in them, and does so again when the init dies or could not be started. In: a site's name. Out: a running site.
//! Never: talks to Kubernetes.
//!
//! It stays single-threaded: the init dies with the thread that started it, and the namespaces of children are a thread's.

use crate::{
    Layout, NetworkMode, SiteConfig, config,
    config::ConfigError,
    host::{
        egress,
        network::{self, NetworkError},
    },
    layout::SiteName,
    node::init::InitError,
    rack::keep::keep,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use scute_processes::{cgroups, files, lock, logs::Log, namespaces};
use std::{
    convert::Infallible,
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::{Duration, Instant, sleep},
};

/// First and longest pause before an init that died is started again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// An init that lived this long starts with the first pause again.
const SETTLED: Duration = Duration::from_secs(60);
/// How long the processes of a site may take to die.
const DEATH: Duration = Duration::from_secs(10);

/// Why a supervisor ends.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// The site's configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No such site.
    #[error("there is no site {0}; `scute up` makes one")]
    NoSite(SiteName),
    /// Another supervisor is at work.
    #[error("site {0} has a supervisor already")]
    Busy(SiteName),
    /// Links and routes.
    #[error("the site's network could not be made")]
    Network(#[from] NetworkError),
    /// Something of the kernel.
    #[error("{what} failed")]
    Io {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The init, when this process is it.
    #[error(transparent)]
    Init(#[from] InitError),
}

fn failed<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> SuperviseError {
    move |e| SuperviseError::Io { what, source: e.into() }
}

/// The log of a site: of its supervisor and of its init.
///
/// # Errors
/// There is no such site to be found.
pub fn log(name: &SiteName) -> Result<Log, ConfigError> {
    Ok(Log::new(&config::open(name)?.0.log("site")))
}

/// Runs the supervisor of `name` until it is told to stop. Must be called before the process has a second thread.
pub fn supervise(name: &SiteName, log: Log) -> Result<(), SuperviseError> {
    let (layout, config) = config::open(name)?;
    let config = config.ok_or_else(|| SuperviseError::NoSite(name.clone()))?;
    files::folder(&layout.run, 0o700).map_err(failed("making the folder of sockets"))?;
    let lock = lock::take(&layout.lock()).map_err(failed("opening the lock"))?;
    let _lock = lock.ok_or_else(|| SuperviseError::Busy(layout.name.clone()))?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed("the runtime"))?;
    runtime.block_on(async {
        let stop = signals().map_err(failed("watching signals"))?;
        Supervisor { layout, config, log }.run(stop).await
    })
}

/// Runs process 1 of the site `name`; the supervisor starts it.
pub fn init(name: &SiteName) -> Result<(), SuperviseError> {
    Ok(crate::node::init::run(config::open(name)?.0)?)
}

/// The process id of a living supervisor.
pub fn running(layout: &Layout) -> Option<rustix::process::Pid> {
    lock::holder(&layout.lock())
}

/// How one life of an init ended.
enum Ended {
    /// By itself.
    Died(ExitStatus),
    /// We were told to stop.
    Stopped,
}

/// Whether we were told to stop, by a signal.
type Stop = watch::Receiver<bool>;

/// Begins to listen for the signals that tell us to stop.
fn signals() -> io::Result<Stop> {
    let (tell, stop) = watch::channel(false);
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tell.send_replace(true);
    });
    Ok(stop)
}

async fn told(stop: &mut Stop) {
    // Nobody left to tell us is the end as well.
    _ = stop.wait_for(|stop| *stop).await;
}

struct Supervisor {
    layout: Layout,
    config: SiteConfig,
    log: Log,
}

impl Supervisor {
    /// One life of an init after the other, whatever keeps one from its start.
    async fn run(mut self, mut stop: Stop) -> Result<(), SuperviseError> {
        let mut pause = BACKOFF.0;
        loop {
            let began = Instant::now();
            match self.life(&mut stop).await {
                Ok(Ended::Stopped) => return self.clean(),
                Ok(Ended::Died(status)) => tracing::warn!(%status, "init ended"),
                Err(error) => tracing::error!(error = scute_processes::chain(&error), "no init was started"),
            }
            pause = if began.elapsed() > SETTLED { BACKOFF.0 } else { (pause * 2).min(BACKOFF.1) };
            tokio::select! {
                () = sleep(pause) => {}
                () = told(&mut stop) => return self.clean(),
            }
        }
    }

    async fn life(&mut self, stop: &mut Stop) -> Result<Ended, SuperviseError> {
        self.clean()?;
        // Its address plan may have changed since. A damaged file ends nothing: we try until it is mended.
        match SiteConfig::load(&self.layout) {
            Ok(Some(config)) => self.config = config,
            Ok(None) => {}
            Err(error) => {
                tracing::error!(error = scute_processes::chain(&error), "the plan of before is used");
            }
        }
        // Killed when this ends before it.
        let mut init = self.start()?;
        let pid = init.id().unwrap_or_default();
        let net = self.network()?;
        let rack = async {
            match keep(&self.layout, net).await {
                Err(error) => tracing::error!(%error, "nobody keeps the rack"),
                Ok(never) => match never {},
            }
            // The site is not the worse for it.
            std::future::pending::<Infallible>().await
        };
        cgroups::create(&self.layout.cgroup(), pid).map_err(failed("making the site's cgroups"))?;
        tracing::info!(pid, "init started");
        tokio::select! {
            status = init.wait() => Ok(Ended::Died(status.map_err(failed("waiting for the site's init"))?)),
            () = told(stop) => {
                init.kill().await.map_err(failed("ending the site's init"))?;
                Ok(Ended::Stopped)
            }
            never = rack => match never {},
        }
    }

    /// The site's network namespace, where it has one.
    fn network(&self) -> Result<Option<File>, SuperviseError> {
        match self.config.network {
            NetworkMode::Host => Ok(None),
            NetworkMode::Namespace => {
                let net = File::open(network::netns_path(&self.layout));
                net.map(Some).map_err(failed("opening the site's network namespace"))
            }
        }
    }

    /// Removes what an earlier life left in the kernel. Its processes are dead or die here.
    fn clean(&self) -> Result<(), SuperviseError> {
        cgroups::remove(&self.layout.cgroup(), DEATH).map_err(failed("removing the site's cgroups"))?;
        egress::remove(&self.layout);
        match self.config.network {
            NetworkMode::Namespace => {
                network::remove(&self.layout, &self.config.addresses).map_err(NetworkError::from)?;
            }
            NetworkMode::Host => network::remove_from_host(&self.config.addresses),
        }
        Ok(())
    }

    /// Makes the network and starts the init inside of all its namespaces.
    fn start(&self) -> Result<tokio::process::Child, SuperviseError> {
        if self.config.network == NetworkMode::Namespace {
            network::create(&self.layout, &self.config.addresses)?;
        }
        let net = self.network()?;
        if let Err(error) = egress::apply(&self.layout, &self.config) {
            // A site without a way out is better than none; the status tells of it.
            tracing::error!(error = scute_processes::chain(&error), "there is no way out");
        }
        let (reader, writer) = io::pipe().map_err(failed("making a pipe"))?;
        let (out, err) = (writer.try_clone().map_err(failed("making a pipe"))?, writer);
        let parent = namespaces::this_process().map_err(failed("opening a handle of this process"))?;
        let mut command = Command::new(self.layout.bin("scute"));
        command.args(["site-init", "--site", self.layout.name.as_str()]);
        command.stdin(Stdio::null()).stdout(out).stderr(err).current_dir("/");
        // SAFETY: between fork and exec only system calls are made, no allocation and no lock.
        unsafe { command.pre_exec(move || enter(&parent, net.as_ref())) };
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true);
        let started = namespaces::in_new_pid_namespace(|| command.spawn());
        let init = started.map_err(failed("starting the site's init"))?;
        tokio::spawn(pump(reader, self.log.clone()));
        Ok(init)
    }
}

/// Copies what the init says into the site's log. A task and no thread: see the top of this file.
async fn pump(reader: io::PipeReader, log: Log) {
    use tokio::{io::AsyncReadExt, net::unix::pipe::Receiver};
    let Ok(mut reader) = Receiver::from_owned_fd(reader.into()) else { return };
    let mut buffer = vec![0; 16 << 10];
    while let Ok(n @ 1..) = reader.read(&mut buffer).await {
        log.put(&buffer[..n]);
    }
}

/// Runs in the child: enters the network namespace, leaves the mounts of the machine, and dies with the supervisor.
fn enter(parent: &OwnedFd, net: Option<&File>) -> io::Result<()> {
    namespaces::die_with(parent)?;
    if let Some(net) = net {
        move_into_link_name_space(net.as_fd(), Some(LinkNameSpaceType::Network))?;
    }
    // SAFETY: the child has one thread and shares no file descriptor table or address space after fork.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?;
    Ok(())
}

/// Starts a supervisor that outlives this process: a systemd unit where systemd runs, a session of its own elsewhere.
pub fn start_detached(layout: &Layout) -> Result<(), StartError> {
    if crate::host::facts::has_systemd() {
        return Ok(crate::host::systemd::start(layout)?);
    }
    let io = |source| StartError::Io { program: layout.bin("scute"), source };
    let mut command = Command::new(layout.bin("scute"));
    command.args(["site-supervisor", "--site", layout.name.as_str()]);
    // What it has to say goes to the site's log.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
    // SAFETY: setsid is a system call without memory effects.
    unsafe { command.pre_exec(|| rustix::process::setsid().map(|_| ()).map_err(io::Error::from)) };
    command.spawn().map_err(io)?;
    Ok(())
}

/// Why a supervisor could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The executable.
    #[error("{program} could not be started")]
    Io {
        /// The executable.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its unit.
    #[error(transparent)]
    Unit(#[from] crate::host::systemd::UnitError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addresses::Addresses;
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};

    /// A machine of its own, as far as the supervisor touches one; ends with its thread. Root only.
    fn own_machine() {
        // SAFETY: the thread shares no file descriptors with others that it would lose.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::NEWNET) }.unwrap();
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        mount("tmpfs", "/run", "tmpfs", MountFlags::empty(), None).unwrap();
        mount("sysfs", "/sys", "sysfs", MountFlags::empty(), None).unwrap();
    }

    #[test]
    fn what_keeps_an_init_from_its_start_is_tried_again_and_a_stop_is_heard_meanwhile() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let ended = std::thread::spawn(|| {
            own_machine();
            let dir = tempfile::tempdir().unwrap();
            // There is no program to start.
            let layout = Layout::new(SiteName::new("unit-supervisor").unwrap(), dir.path().to_owned());
            let config = SiteConfig::sample(Addresses::of(61, &Default::default()));
            let supervisor = Supervisor { log: Log::new(&layout.log("site")), layout, config };
            let (tell, stop) = watch::channel(false);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut run = std::pin::pin!(supervisor.run(stop));
                let some = Duration::from_secs(1);
                assert!(tokio::time::timeout(some, run.as_mut()).await.is_err(), "it gave up");
                tell.send_replace(true);
                tokio::time::timeout(DEATH, run).await.map(|ended| ended.is_ok())
            })
        });
        assert_eq!(ended.join().unwrap(), Ok(true));
    }
}
