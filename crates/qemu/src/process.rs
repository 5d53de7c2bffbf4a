//! QEMU as a child process that cannot outlive us.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::io::FdFlags;
use rustix::process::{Pid, PidfdFlags};
use scute_netlink::tap;
use scute_processes::tied;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use crate::actor::{Actor, Wires};
use crate::argv::{self, Inherited};
use crate::config::{MachineConfig, NicBackend};
use crate::control::QemuControl;
use crate::handle::{Events, Handle, Teller};
use crate::vmm::{ControlError, Event, Exit, ExitCause, Machine, StartError, Vmm};

/// How long QEMU may take until its vCPUs run, unless it is told otherwise: on a crowded host with cold disks its
/// program alone takes a minute to load.
const START_WITHIN: Duration = Duration::from_secs(600);

/// QEMU by the path of its program.
#[derive(Clone, Debug)]
pub struct Qemu {
    program: PathBuf,
    start_within: Duration,
}

impl Qemu {
    /// QEMU at `program`, a path or a name to be found in `PATH`.
    pub fn new(program: impl Into<PathBuf>) -> Qemu {
        Qemu { program: program.into(), start_within: START_WITHIN }
    }

    /// With this limit between the start of the program and running vCPUs.
    #[must_use]
    pub fn start_within(mut self, limit: Duration) -> Qemu {
        self.start_within = limit;
        self
    }
}

impl Vmm for Qemu {
    type Serial = UnixStream;

    async fn start(&self, config: &MachineConfig) -> Result<Machine<UnixStream>, StartError> {
        config.validate()?;
        let (wires, serial, process) = self.launch(config)?;
        let (questions, asked) = mpsc::unbounded_channel();
        let control = Arc::new(QemuControl::new(config, questions, Arc::clone(&process)));
        let (teller, mut events) = Teller::of(Arc::clone(&process) as Arc<dyn Send + Sync>);
        let drives = config.drives.iter().map(|drive| drive.name.clone()).collect();
        tokio::spawn(Actor::new(wires, asked, teller, Arc::downgrade(&process), drives).run());
        match control.run(self.start_within).await {
            Ok(()) => Ok(Machine { handle: Handle(control), events, serial }),
            // Its last words say more than the closed socket.
            Err(ControlError::Gone) => Err(StartError::Died(exited(&mut events).await)),
            Err(other) => Err(other.into()),
        }
    }
}

async fn exited(events: &mut Events) -> Exit {
    loop {
        if let Event::Exited(exit) = events.next().await {
            return exit;
        }
    }
}

impl Qemu {
    fn launch(&self, config: &MachineConfig) -> Result<(Wires, UnixStream, Arc<Process>), StartError> {
        let taps = config.nics.iter().map(open_tap).collect::<Result<Vec<_>, _>>()?;
        let (qmp, their_qmp) = std::os::unix::net::UnixStream::pair().map_err(StartError::Channel)?;
        let (serial, their_serial) = std::os::unix::net::UnixStream::pair().map_err(StartError::Channel)?;
        let inherited = Inherited {
            qmp: their_qmp.as_raw_fd(),
            serial: their_serial.as_raw_fd(),
            taps: taps.iter().map(|queues| queues.iter().map(AsRawFd::as_raw_fd).collect()).collect(),
        };
        let child = self.spawn(config, &inherited)?;
        drop((their_qmp, their_serial, taps));
        let process = Arc::new(Process { pid: child.id(), child: Mutex::new(Some(child)) });
        let (wires, serial) = process.wires(qmp, serial).map_err(StartError::Channel)?;
        Ok((wires, serial, process))
    }

    fn spawn(&self, config: &MachineConfig, inherited: &Inherited) -> Result<Child, StartError> {
        let mut command = std::process::Command::new(&self.program);
        command.args(argv::render(config, inherited));
        // A signal to our process group is for us to pass on as the power button.
        command.process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut keep: Vec<RawFd> = vec![inherited.qmp, inherited.serial];
        keep.extend(inherited.taps.iter().flatten());
        // SAFETY: the closure runs between fork and exec; it only makes system calls on values it owns.
        unsafe { command.pre_exec(move || stay_open(&keep)) };
        tied::spawn(command)
            .map_err(|source| StartError::Spawn { program: self.program.display().to_string(), source })
    }
}

fn open_tap(nic: &crate::config::Nic) -> Result<Vec<OwnedFd>, StartError> {
    match &nic.backend {
        NicBackend::Tap { name, tun } => {
            tap::open(tun, name, nic.queues).map_err(|source| StartError::Tap { tap: name.clone(), source })
        }
        NicBackend::Unplugged => Ok(Vec::new()),
    }
}

/// In the child: keeps `fds` open over exec.
fn stay_open(fds: &[RawFd]) -> io::Result<()> {
    for fd in fds {
        // SAFETY: the descriptors were open when the child was forked, and nothing closes them before exec.
        let fd = unsafe { BorrowedFd::borrow_raw(*fd) };
        rustix::io::fcntl_setfd(fd, FdFlags::empty())?;
    }
    Ok(())
}

/// A child that is killed, and awaited, when nobody has it any more.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    /// Until it is reaped.
    child: Mutex<Option<Child>>,
}

impl Process {
    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn kill(&self) {
        if let Some(child) = self.child.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            // It fails only for a child that is dead already.
            let _ = child.kill();
        }
    }

    /// Takes the exit status of a child that is dead.
    pub fn reap(&self) -> ExitCause {
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner).take();
        match child.map(|mut child| child.wait()) {
            Some(Ok(status)) => {
                status.code().map_or(ExitCause::Signal(status.signal().unwrap_or(0)), ExitCause::Code)
            }
            // Someone else reaped it: we know that it ended, not how.
            Some(Err(_)) | None => ExitCause::Code(-1),
        }
    }

    fn wires(
        &self,
        qmp: std::os::unix::net::UnixStream,
        serial: std::os::unix::net::UnixStream,
    ) -> io::Result<(Wires, UnixStream)> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let child = child.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let pidfd = rustix::process::pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
        // SAFETY: an `OwnedFd` names the same open descriptor for as long as it lives.
        let pidfd = unsafe { AsyncFd::register(pidfd)? };
        let stderr =
            child.stderr.take().map(|stderr| pipe::Receiver::from_owned_fd(stderr.into())).transpose()?;
        qmp.set_nonblocking(true)?;
        serial.set_nonblocking(true)?;
        Ok((Wires { qmp: UnixStream::from_std(qmp)?, pidfd, stderr }, UnixStream::from_std(serial)?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        self.reap();
    }
}
