//! The supervisor of a site: one quiet process in the machine's namespaces that makes the site's own, starts its init
//! in them, and does so again when the init dies. In: a site's name. Out: a running site. Never: talks to Kubernetes.
//!
//! It stays single-threaded, because only then the kernel lets it make a pid namespace.

use crate::{
    Layout, NetworkMode, SiteConfig, config, config::ConfigError, host::network, layout::SiteName,
    node::init::InitError,
};
use rustix::{
    fs::{FlockOperation, flock},
    process::{Signal, set_parent_process_death_signal},
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space},
};
use scute_processes::{cgroups, command::CommandError, files};
use std::{
    fs::{self, File},
    io::{self, Write},
    os::{fd::AsFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use tokio::{
    signal::unix::{SignalKind, signal},
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
    Network(#[from] CommandError),
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

/// Runs the supervisor of `name` until it is told to stop. Must be called before the process has a second thread.
pub fn supervise(name: &SiteName) -> Result<(), SuperviseError> {
    let layout = config::find(name);
    let config = SiteConfig::load(&layout)?.ok_or_else(|| SuperviseError::NoSite(name.clone()))?;
    files::folder(&layout.run, 0o700).map_err(failed("making the folder of sockets"))?;
    let _lock = lock(&layout)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed("the runtime"))?;
    runtime.block_on(Supervisor { layout, config }.run())
}

/// Runs process 1 of the site `name`; the supervisor starts it.
pub fn init(name: &SiteName) -> Result<(), SuperviseError> {
    Ok(crate::node::init::run(config::find(name))?)
}

/// Takes the site's lock and leaves our process id in it. The lock ends with the process.
fn lock(layout: &Layout) -> Result<File, SuperviseError> {
    let open = File::options().create(true).truncate(false).read(true).write(true).open(layout.lock());
    let mut file = open.map_err(failed("opening the lock"))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(SuperviseError::Busy(layout.name.clone()));
    }
    file.set_len(0).map_err(failed("writing the lock"))?;
    writeln!(file, "{}", std::process::id()).map_err(failed("writing the lock"))?;
    Ok(file)
}

/// The process id of a living supervisor.
pub fn running(layout: &Layout) -> Option<rustix::process::Pid> {
    let file = File::open(layout.lock()).ok()?;
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return None;
    }
    let pid = fs::read_to_string(layout.lock()).ok()?.trim().parse().ok()?;
    rustix::process::Pid::from_raw(pid)
}

struct Supervisor {
    layout: Layout,
    config: SiteConfig,
}

impl Supervisor {
    async fn run(mut self) -> Result<(), SuperviseError> {
        let mut stop = signal(SignalKind::terminate()).map_err(failed("watching signals"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed("watching signals"))?;
        let mut pause = BACKOFF.0;
        loop {
            let began = Instant::now();
            self.clean()?;
            // Its address plan may have changed since. A damaged file ends nothing: we try until it is mended.
            match SiteConfig::load(&self.layout) {
                Ok(Some(config)) => self.config = config,
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(error = scute_processes::chain(&error), "the plan of before is used")
                }
            }
            let mut init = tokio::process::Command::from(self.prepare()?)
                .kill_on_drop(true)
                .spawn()
                .map_err(failed("starting the site's init"))?;
            own_pid_namespace()?;
            let pid = init.id().unwrap_or_default();
            cgroups::create(&self.layout.cgroup(), pid).map_err(failed("making the site's cgroups"))?;
            tracing::info!(pid, "init started");
            tokio::select! {
                status = init.wait() => {
                    let status = status.map_err(failed("waiting for the site's init"))?;
                    tracing::warn!(%status, "init ended");
                }
                _ = stop.recv() => return self.stop(init).await,
                _ = interrupt.recv() => return self.stop(init).await,
            }
            pause = if began.elapsed() > SETTLED { BACKOFF.0 } else { (pause * 2).min(BACKOFF.1) };
            sleep(pause).await;
        }
    }

    async fn stop(&self, mut init: tokio::process::Child) -> Result<(), SuperviseError> {
        init.kill().await.map_err(failed("ending the site's init"))?;
        self.clean()
    }

    /// Removes what an earlier life left in the kernel. Its processes are dead or die here.
    fn clean(&self) -> Result<(), SuperviseError> {
        cgroups::remove(&self.layout.cgroup(), DEATH).map_err(failed("removing the site's cgroups"))?;
        match self.config.network {
            NetworkMode::Namespace => network::remove(&self.layout, &self.config.addresses)?,
            NetworkMode::Host => network::remove_from_host(),
        }
        Ok(())
    }

    /// Makes the network and a command that starts the init inside of all its namespaces.
    fn prepare(&self) -> Result<Command, SuperviseError> {
        let net = match self.config.network {
            NetworkMode::Host => None,
            NetworkMode::Namespace => {
                network::create(&self.layout, &self.config.addresses)?;
                let path = network::netns_path(&self.layout);
                Some(File::open(path).map_err(failed("opening the site's network namespace"))?)
            }
        };
        new_pid_namespace()?;
        let (out, err) = log(&self.layout)?;
        let mut command = Command::new(self.layout.bin("scute"));
        command.args(["site-init", "--site", self.layout.name.as_str()]);
        command.stdin(Stdio::null()).stdout(out).stderr(err).current_dir("/");
        // SAFETY: between fork and exec only system calls are made, no allocation and no lock.
        unsafe { command.pre_exec(move || enter(net.as_ref())) };
        Ok(command)
    }
}

/// Runs in the child: enters the network namespace, leaves the mounts of the machine, and dies with the supervisor.
fn enter(net: Option<&File>) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if let Some(net) = net {
        move_into_link_name_space(net.as_fd(), Some(LinkNameSpaceType::Network))?;
    }
    // SAFETY: the child has one thread and shares no file descriptor table or address space after fork.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?;
    Ok(())
}

/// Further children are ours again: in a namespace whose process 1 is dead no process can be started.
fn own_pid_namespace() -> Result<(), SuperviseError> {
    let own = File::open("/proc/self/ns/pid").map_err(failed("opening the pid namespace"))?;
    move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::ProcessID))
        .map_err(failed("entering the pid namespace"))
}

/// The next child is process 1 of a new pid namespace.
fn new_pid_namespace() -> Result<(), SuperviseError> {
    // SAFETY: this process has one thread; only the namespace of future children changes.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWPID) }.map_err(failed("making a pid namespace"))
}

fn log(layout: &Layout) -> Result<(File, File), SuperviseError> {
    let path = layout.log("site");
    let open = |path: &Path| -> io::Result<(File, File)> {
        files::folder(path.parent().unwrap_or(path), 0o755)?;
        let file = File::options().create(true).append(true).open(path)?;
        Ok((file.try_clone()?, file))
    };
    open(&path).map_err(failed("opening the site's log"))
}

/// Starts a supervisor that outlives this process: a systemd unit where systemd runs, a session of its own elsewhere.
pub fn start_detached(layout: &Layout) -> Result<(), StartError> {
    if crate::host::facts::has_systemd() {
        return Ok(crate::host::systemd::start(layout)?);
    }
    let io = |source| StartError::Io { program: layout.bin("scute"), source };
    let (out, err) = log(layout).map_err(StartError::Log)?;
    let mut command = Command::new(layout.bin("scute"));
    command.args(["site-supervisor", "--site", layout.name.as_str()]);
    command.stdin(Stdio::null()).stdout(out).stderr(err).current_dir("/");
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
    /// Its log.
    #[error(transparent)]
    Log(SuperviseError),
    /// Its unit.
    #[error(transparent)]
    Unit(#[from] crate::host::systemd::UnitError),
}
