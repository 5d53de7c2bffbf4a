//! The port: what a VMM can be asked, what it tells, how it ends.

use std::future::Future;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::config::{BadSpot, ConfigError, MachineConfig, Medium};
use crate::handle::{Events, Handle};

/// Something that starts machines.
pub trait Vmm {
    /// The first serial port of a machine: what the guest writes comes out, what is put in the guest reads.
    type Serial: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Starts a machine and returns once its vCPUs run. Dropping the future ends what was started.
    fn start(
        &self,
        config: &MachineConfig,
    ) -> impl Future<Output = Result<Machine<Self::Serial>, StartError>> + Send;
}

/// A started machine. The VMM is killed, and its end awaited, when [`Events`] and every [`Handle`] are dropped.
#[derive(Debug)]
pub struct Machine<S> {
    /// To command it, by as many as like.
    pub handle: Handle,
    /// What it tells.
    pub events: Events,
    /// Its first serial port. Somebody has to read, or the guest waits when the channel is full.
    pub serial: S,
}

/// What a machine can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Press the ACPI power button.
    PowerDown,
    /// Press the reset button.
    Reset,
    /// Stop the vCPUs.
    Pause,
    /// Let the vCPUs run again; what a full disk refused is tried again.
    Resume,
    /// End the VMM at once; the guest is not asked.
    Quit,
    /// Put this into a CD-ROM drive, in the place of what is there. It is never written.
    Insert {
        /// The drive's name.
        drive: String,
        /// What, but an overlay.
        medium: Medium,
    },
    /// Empty a CD-ROM drive, whether the guest agrees or not.
    Eject {
        /// The drive's name.
        drive: String,
    },
    /// From the next reset on the firmware tries these devices in this order. No device at all leaves it to the firmware.
    BootFrom(Vec<BootDevice>),
    /// A place of a disk fails from now on, instead of the one before; none heals it.
    Spoil {
        /// The drive's name; no CD-ROM drive.
        drive: String,
        /// Where and how.
        spot: Option<BadSpot>,
    },
    /// Plug or unplug the cable of a network device.
    Link {
        /// Its number, from 0.
        nic: usize,
        /// Whether it has a link.
        up: bool,
    },
}

/// A device that firmware can boot from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootDevice {
    /// The drive of this name.
    Drive(String),
    /// The network device with this number, from 0; it needs a boot ROM.
    Nic(usize),
}

/// What a machine tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The machine is off, or about to be; [`Event::Exited`] follows.
    Shutdown {
        /// The guest did it, not we.
        guest: bool,
        /// Reason in QEMU's words, e.g. `guest-shutdown`, `guest-panic`.
        reason: String,
    },
    /// The machine was reset and runs on.
    Reset {
        /// The guest did it, not we.
        guest: bool,
    },
    /// The guest's kernel said that it panicked; the machine is switched off.
    Panicked,
    /// The guest stopped serving its watchdog; the machine is reset.
    WatchdogExpired,
    /// The vCPUs were stopped.
    Paused,
    /// The vCPUs run again.
    Resumed,
    /// A drive failed.
    DriveFailed {
        /// The drive's name.
        drive: String,
        /// The host's error in words.
        reason: String,
        /// The host's file system is full.
        full: bool,
        /// The machine was paused to keep the guest's file systems whole.
        paused: bool,
    },
    /// The VMM is gone.
    Exited(Exit),
}

/// How the VMM ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit status or signal.
    pub cause: ExitCause,
    /// The end of what it wrote to its standard error.
    pub stderr: String,
}

/// Exit status or signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCause {
    /// It exited with this status.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.cause {
            ExitCause::Code(code) => write!(f, "exit status {code}")?,
            ExitCause::Signal(signal) => write!(f, "killed by signal {signal}")?,
        }
        match self.stderr.trim() {
            "" => Ok(()),
            text => write!(f, ": {text}"),
        }
    }
}

/// What a machine is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunState {
    /// The vCPUs run.
    Running,
    /// The vCPUs are stopped by command.
    Paused,
    /// The vCPUs are stopped because a drive failed.
    DriveFailed,
    /// The machine is off.
    Shutdown,
    /// Anything else, in QEMU's word (`guest-panicked`, `watchdog`, ...).
    Other(String),
}

/// Why a machine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no such machine.
    #[error("the machine cannot be built")]
    Config(#[from] ConfigError),
    /// The VMM's program could not be run.
    #[error("cannot run {program}")]
    Spawn {
        /// Its path.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A tap could not be opened.
    #[error("cannot attach to tap {tap}")]
    Tap {
        /// Its name.
        tap: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The VMM ended before the vCPUs ran.
    #[error("the VMM ended at once: {0}")]
    Died(Exit),
    /// The VMM refused the last step.
    #[error("the VMM did not start the machine")]
    Control(#[from] ControlError),
    /// The VMM's sockets or process handle could not be made.
    #[error("cannot set up the VMM's channels")]
    Channel(#[source] std::io::Error),
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The VMM is gone or hung up.
    #[error("the VMM is gone")]
    Gone,
    /// The VMM said no.
    #[error("the VMM refused {command}: {reason}")]
    Refused {
        /// The command in the VMM's words.
        command: &'static str,
        /// Its answer.
        reason: String,
    },
    /// The VMM did not answer in time.
    #[error("the VMM did not answer {command} within {within:?}")]
    Silent {
        /// The command in the VMM's words.
        command: &'static str,
        /// How long we waited.
        within: Duration,
    },
    /// The machine has no such device.
    #[error("the machine has no {0}")]
    NoDevice(String),
}
