//! QEMU as a child process that cannot outlive us.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Stdio};

use rustix::io::FdFlags;
use rustix::process::{Pid, PidfdFlags, Signal};
use scute_netlink::tap;
use serde_json::Value;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

use crate::argv::{self, Inherited};
use crate::config::MachineConfig;
use crate::events;
use crate::qmp::Qmp;
use crate::vmm::{Command, ControlError, Event, Exit, ExitCause, Machine, RunState, StartError, Vmm};

/// How much of QEMU's standard error is kept: its last words.
const STDERR_KEPT: usize = 2048;

/// QEMU by the path of its program.
///
/// Start machines from a thread that lives as long as they shall: the kernel kills a child with the *thread* that
/// started it.
#[derive(Clone, Debug)]
pub struct Qemu {
    program: PathBuf,
}

impl Qemu {
    /// QEMU at `program`, a path or a name to be found in `PATH`.
    pub fn new(program: impl Into<PathBuf>) -> Qemu {
        Qemu { program: program.into() }
    }
}

impl Vmm for Qemu {
    type Machine = QemuMachine;

    async fn start(&self, config: &MachineConfig) -> Result<QemuMachine, StartError> {
        let mut taps = Vec::new();
        for nic in &config.nics {
            let open = tap::open(&nic.tun, &nic.tap, nic.queues);
            taps.push(open.map_err(|source| StartError::Tap { tap: nic.tap.clone(), source })?);
        }
        let (qmp, their_qmp) = std::os::unix::net::UnixStream::pair().map_err(StartError::Channel)?;
        let (serial, their_serial) = std::os::unix::net::UnixStream::pair().map_err(StartError::Channel)?;
        let inherited = Inherited {
            qmp: their_qmp.as_raw_fd(),
            serial: their_serial.as_raw_fd(),
            taps: taps.iter().map(|queues| queues.iter().map(AsRawFd::as_raw_fd).collect()).collect(),
        };
        let child = self.spawn(config, &inherited)?;
        drop((their_qmp, their_serial, taps));
        let mut machine = QemuMachine::attach(child, qmp, serial).map_err(StartError::Channel)?;
        machine.drives = config.drives.iter().map(|drive| drive.name.clone()).collect();
        match machine.run().await {
            Ok(()) => Ok(machine),
            // Its last words say more than the closed socket.
            Err(ControlError::Gone) => Err(StartError::Died(machine.exited().await)),
            Err(other) => Err(other.into()),
        }
    }
}

impl Qemu {
    fn spawn(&self, config: &MachineConfig, inherited: &Inherited) -> Result<Child, StartError> {
        let mut command = std::process::Command::new(&self.program);
        command.args(argv::render(config, inherited));
        // A signal to our process group is for us to pass on as the power button.
        command.process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut keep: Vec<RawFd> = vec![inherited.qmp, inherited.serial];
        keep.extend(inherited.taps.iter().flatten());
        let parent = rustix::process::getpid();
        // SAFETY: the closure runs between fork and exec; it only makes system calls on values it owns.
        unsafe { command.pre_exec(move || tie_to_parent(parent, &keep)) };
        command
            .spawn()
            .map_err(|source| StartError::Spawn { program: self.program.display().to_string(), source })
    }
}

/// In the child: dies with its parent, keeps `keep` open over exec.
fn tie_to_parent(parent: Pid, keep: &[RawFd]) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have died before the line above.
    if rustix::process::getppid() != Some(parent) {
        return Err(io::Error::other("the parent is gone"));
    }
    for fd in keep {
        // SAFETY: the descriptors were open when the child was forked, and nothing closes them before exec.
        let fd = unsafe { BorrowedFd::borrow_raw(*fd) };
        rustix::io::fcntl_setfd(fd, FdFlags::empty())?;
    }
    Ok(())
}

/// A running QEMU.
#[derive(Debug)]
pub struct QemuMachine {
    child: Child,
    /// Readable once the child is dead. Reaping by SIGCHLD is left to whoever is PID 1.
    pidfd: AsyncFd<OwnedFd>,
    /// Until the session is open.
    socket: Option<UnixStream>,
    qmp: Option<Qmp>,
    qmp_open: bool,
    serial: Option<UnixStream>,
    stderr: Option<pipe::Receiver>,
    last_words: Vec<u8>,
    exit: Option<Exit>,
    /// Names of the drives, in order.
    drives: Vec<String>,
}

impl QemuMachine {
    fn attach(
        mut child: Child,
        qmp: std::os::unix::net::UnixStream,
        serial: std::os::unix::net::UnixStream,
    ) -> io::Result<QemuMachine> {
        let wire = |child: &mut Child| {
            let pid = Pid::from_child(child);
            let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
            // SAFETY: an `OwnedFd` names the same open descriptor for as long as it lives.
            let pidfd = unsafe { AsyncFd::register(pidfd)? };
            let stderr =
                child.stderr.take().map(|stderr| pipe::Receiver::from_owned_fd(stderr.into())).transpose()?;
            qmp.set_nonblocking(true)?;
            serial.set_nonblocking(true)?;
            Ok((pidfd, stderr, UnixStream::from_std(qmp)?, UnixStream::from_std(serial)?))
        };
        match wire(&mut child) {
            Ok((pidfd, stderr, socket, serial)) => Ok(QemuMachine {
                child,
                pidfd,
                socket: Some(socket),
                qmp: None,
                qmp_open: true,
                serial: Some(serial),
                stderr,
                last_words: Vec::new(),
                exit: None,
                drives: Vec::new(),
            }),
            Err(error) => {
                end(&mut child);
                Err(error)
            }
        }
    }

    /// Opens the session, then lets the vCPUs run: no event can be missed.
    async fn run(&mut self) -> Result<(), ControlError> {
        let socket = self.socket.take().ok_or(ControlError::Gone)?;
        let qmp = self.qmp.insert(Qmp::open(socket).await?);
        qmp.execute("cont", Value::Null).await?;
        // The answer to our own "cont" is no news.
        while qmp.pending().is_some() {}
        Ok(())
    }

    async fn exited(&mut self) -> Exit {
        loop {
            if let Event::Exited(exit) = self.event().await {
                return exit;
            }
        }
    }

    /// Takes the exit status of a child that is dead.
    fn reap(&mut self) {
        let cause = match self.child.wait() {
            Ok(status) => {
                status.code().map_or(ExitCause::Signal(status.signal().unwrap_or(0)), ExitCause::Code)
            }
            // Someone else reaped it: we know that it ended, not how.
            Err(_) => ExitCause::Code(-1),
        };
        let mut chunk = [0; STDERR_KEPT];
        while let Some(Ok(n @ 1..)) = self.stderr.as_ref().map(|stderr| stderr.try_read(&mut chunk)) {
            keep_last(&mut self.last_words, &chunk[..n]);
        }
        self.exit = Some(Exit { cause, stderr: String::from_utf8_lossy(&self.last_words).into_owned() });
    }

    /// The event in the words of the machine's configuration.
    fn named(&self, event: Event) -> Event {
        match event {
            Event::DriveFailed { drive, reason, paused } => {
                let name = argv::drive_of(&drive).and_then(|index| self.drives.get(index)).cloned();
                Event::DriveFailed { drive: name.unwrap_or(drive), reason, paused }
            }
            other => other,
        }
    }

    async fn execute(&mut self, command: &'static str) -> Result<Value, ControlError> {
        match &mut self.qmp {
            Some(qmp) if self.exit.is_none() => qmp.execute(command, Value::Null).await,
            _ => Err(ControlError::Gone),
        }
    }
}

impl Machine for QemuMachine {
    type Serial = UnixStream;

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn take_serial(&mut self) -> Option<UnixStream> {
        self.serial.take()
    }

    async fn event(&mut self) -> Event {
        loop {
            if let Some(exit) = &self.exit {
                let last = self.qmp.as_mut().and_then(Qmp::pending);
                return match last {
                    Some(event) => self.named(event),
                    None => Event::Exited(exit.clone()),
                };
            }
            let QemuMachine { pidfd, qmp, qmp_open, stderr, last_words, .. } = self;
            let mut chunk = [0; 512];
            tokio::select! {
                event = next(qmp), if *qmp_open => match event {
                    Ok(event) => return self.named(event),
                    Err(_) => *qmp_open = false,
                },
                read = read(stderr, &mut chunk), if stderr.is_some() => match read {
                    Ok(n @ 1..) => keep_last(last_words, &chunk[..n]),
                    _ => *stderr = None,
                },
                _ = pidfd.readable() => self.reap(),
            }
        }
    }

    async fn command(&mut self, command: Command) -> Result<(), ControlError> {
        let word = match command {
            Command::PowerDown => "system_powerdown",
            Command::Reset => "system_reset",
            Command::Pause => "stop",
            Command::Resume => "cont",
            Command::Quit => "quit",
        };
        self.execute(word).await.map(drop)
    }

    async fn state(&mut self) -> Result<RunState, ControlError> {
        let status = self.execute("query-status").await?;
        Ok(events::run_state(status.get("status").and_then(Value::as_str).unwrap_or_default()))
    }

    fn kill(&mut self) {
        if self.exit.is_none() {
            // It fails only for a child that is reaped already.
            let _ = self.child.kill();
        }
    }
}

impl Drop for QemuMachine {
    fn drop(&mut self) {
        if self.exit.is_none() {
            end(&mut self.child);
        }
    }
}

/// Kills and reaps. A process that is gone already is what we want.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

async fn next(qmp: &mut Option<Qmp>) -> Result<Event, ControlError> {
    match qmp {
        Some(qmp) => qmp.event().await,
        None => Err(ControlError::Gone),
    }
}

async fn read(stderr: &Option<pipe::Receiver>, chunk: &mut [u8]) -> io::Result<usize> {
    let Some(stderr) = stderr else { return Ok(0) };
    loop {
        stderr.readable().await?;
        match stderr.try_read(chunk) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
    }
}

fn keep_last(kept: &mut Vec<u8>, more: &[u8]) {
    kept.extend_from_slice(more);
    let surplus = kept.len().saturating_sub(STDERR_KEPT);
    kept.drain(..surplus);
}
