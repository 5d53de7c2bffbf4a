//! `scute launcher run`: from the spec to a running guest, and to the exit status.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use scute_qemu::{Events, Handle, Machine, MachineConfig, Qemu, Vmm};
use tokio::net::UnixStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use super::ending::{Ending, Phase};
use super::health::{self, Health};
use super::machine::Link;
use super::options::{Options, Places};
use super::spec::{Bootloader, LauncherSpec, START_SECONDS, STARTED_SECONDS};
use super::supervise::{Surroundings, supervise};
use super::{dhcp, disks, machine, network, reaper, serial};

/// The last lines of the console must reach the log, but a log that nobody reads must not hold up the end.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);
/// A file system has room again when this much is free, or a tenth of it if it is small.
const ROOM: u64 = 64 * 1024 * 1024;

/// A guest that runs, and what it needs beside the VMM.
struct Running {
    handle: Handle,
    events: Events,
    /// Ends with the guest's serial port.
    console: JoinHandle<()>,
    signals: Signals,
    grace: Duration,
}

/// Runs the guest. Exit status 0 means that it shut itself down.
pub fn run(options: &Options) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return conclude(&Ending::error("LauncherFailed", &error), &options.places),
    };
    let code = runtime.block_on(async {
        match boot(options).await {
            Err(ending) => conclude(&ending, &options.places),
            Ok(Running { handle, mut events, console, mut signals, grace }) => {
                let pod = Pod { places: &options.places };
                let ending = supervise(&handle, &mut events, signals.stop(), grace, &pod).await;
                let code = conclude(&ending, &options.places);
                let _ = tokio::time::timeout(DRAIN_WITHIN, console).await;
                code
            }
        }
    });
    // A write to a stuck log may still be under way.
    runtime.shutdown_background();
    code
}

/// Says how it ended, to the kubelet and in the log.
fn conclude(ending: &Ending, places: &Places) -> ExitCode {
    health::remove(&places.run_dir);
    tracing::info!(reason = ending.reason, message = ending.message, phase = ?ending.phase, "the end");
    if let Err(error) = std::fs::write(&places.termination_log, ending.to_json()) {
        tracing::warn!(%error, "no termination message");
    }
    match ending.phase {
        Phase::Succeeded => ExitCode::SUCCESS,
        Phase::Failed => ExitCode::FAILURE,
    }
}

/// The startup probe of `compute`: status 0 as soon as the guest has been started, 1 if it has not for a while.
pub fn started(places: &Places) -> ExitCode {
    match health::started(&places.run_dir, Duration::from_secs(STARTED_SECONDS)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The readiness probe of `compute`: status 0 while the guest runs, else the reason on standard output.
pub fn ready(places: &Places) -> ExitCode {
    match health::ready(&places.run_dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Prepares and starts the guest; an ending if that did not work.
async fn boot(options: &Options) -> Result<Running, Ending> {
    let places = &options.places;
    // First of all: PID 1 has no default signal handlers.
    let mut signals = Signals::new().map_err(|error| Ending::error("LauncherFailed", &error))?;
    let children = reaper::listen().map_err(|error| Ending::error("LauncherFailed", &error))?;
    health::remove(&places.run_dir);
    let spec = options.read_spec().map_err(|error| Ending::error("InvalidSpec", &error))?;
    let link = serve_network(&spec, places)?;
    let config = prepare(&spec, places, link.as_ref())?;
    let qemu = Qemu::new(&places.qemu).start_within(Duration::from_secs(START_SECONDS));
    let Machine { handle, events, serial } = tokio::select! {
        machine = qemu.start(&config) => machine.map_err(|error| Ending::error("StartFailed", &error))?,
        () = signals.stop() => return Err(Ending::failed("Stopped", "asked to stop before the guest ran")),
    };
    tokio::spawn(reaper::reap_orphans(children, handle.pid()));
    let console = console(serial, spec.serial_console)?;
    health::write(&places.run_dir, &Health::Running)
        .map_err(|error| Ending::error("LauncherFailed", &error))?;
    tracing::info!(vm = config.name, "the guest runs");
    let grace = Duration::from_secs(spec.grace_period_seconds);
    Ok(Running { handle, events, console, signals, grace })
}

/// Answers the guest's DHCP questions from now on.
fn serve_network(spec: &LauncherSpec, places: &Places) -> Result<Option<Link>, Ending> {
    if spec.interfaces.is_empty() {
        return Ok(None);
    }
    let learned =
        network::read_learned(&places.run_dir).map_err(|error| Ending::error("NetworkFailed", &error))?;
    let tun = network::tun_node(&places.run_dir);
    let link = Link { mac: learned.mac.to_string(), mtu: learned.mtu, tun };
    let lease = learned.lease(&spec.hostname);
    let server = dhcp::Server::bind(network::BRIDGE, network::BRIDGE_ADDRESS, lease)
        .map_err(|error| Ending::error("NetworkFailed", &error))?;
    tokio::spawn(server.run());
    Ok(Some(link))
}

fn prepare(spec: &LauncherSpec, places: &Places, link: Option<&Link>) -> Result<MachineConfig, Ending> {
    let failed = |error: disks::DiskError| Ending::error(error.reason(), &error);
    let drives = disks::prepare(spec, &places.state_dir).map_err(failed)?;
    let kernel = spec.kernel_boot.as_ref().map(disks::kernel).transpose().map_err(failed)?;
    let (code, blank_vars) = &places.ovmf;
    let vars = places.state_dir.join("efi-vars.fd");
    if spec.firmware.bootloader == Bootloader::Efi {
        copy(blank_vars, &vars).map_err(|error| Ending::error("FirmwareFailed", &error))?;
    }
    Ok(machine::config(spec, drives, kernel, link, (code, &vars)))
}

/// Copies content only: the image's file is read-only, our copy must not be.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::io::copy(&mut File::open(from)?, &mut File::create(to)?).map(drop)
}

/// Forwards the serial port to standard output. Nobody else writes there.
fn console(guest: UnixStream, logged: bool) -> Result<JoinHandle<()>, Ending> {
    let stdout = std::io::stdout().as_fd().try_clone_to_owned();
    let stdout = stdout.map_err(|error| Ending::error("LauncherFailed", &error))?;
    let log = tokio::fs::File::from_std(stdout.into());
    Ok(tokio::spawn(async move {
        let forwarded = match logged {
            true => serial::forward(guest, log).await,
            // Someone has to read, or the guest blocks when the socket is full.
            false => serial::forward(guest, tokio::io::sink()).await,
        };
        if let Err(error) = forwarded {
            tracing::warn!(%error, "the serial console is no longer logged");
        }
    }))
}

/// SIGTERM is the kubelet's way to ask; SIGINT is a person's.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! { _ = self.terminate.recv() => {}, _ = self.interrupt.recv() => {} }
    }
}

/// The Pod around the machine.
struct Pod<'a> {
    places: &'a Places,
}

impl Surroundings for Pod<'_> {
    /// By either version of cgroups.
    fn oom_killed(&self) -> bool {
        ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"]
            .iter()
            .filter_map(|path| std::fs::read_to_string(path).ok())
            .any(|text| oom_kills(&text) > 0)
    }

    fn has_room(&self) -> bool {
        rustix::fs::statvfs(&self.places.state_dir).is_ok_and(|found| {
            let (total, free) = (found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize);
            free >= ROOM.min(total / 10)
        })
    }

    fn health(&self, health: &Health) {
        if *health != Health::Running {
            tracing::warn!(%health, "not ready");
        }
        if let Err(error) = health::write(&self.places.run_dir, health) {
            tracing::warn!(%error, "the Pod's probes are not told");
        }
    }
}

fn oom_kills(text: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.strip_prefix("oom_kill "))
        .filter_map(|count| count.trim().parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_cgroup_versions_count_kills() {
        assert_eq!(oom_kills("low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 0\n"), 1);
        assert_eq!(oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n"), 0);
    }
}
