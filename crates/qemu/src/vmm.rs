//! The port: what a VMM can be asked, what it tells, how it ends.

use std::future::Future;
use std::time::Duration;

use tokio::io::AsyncRead;

use crate::config::MachineConfig;

/// Something that starts machines.
pub trait Vmm {
    /// A started machine.
    type Machine: Machine;

    /// Starts a machine and returns once its vCPUs run.
    fn start(&self, config: &MachineConfig) -> impl Future<Output = Result<Self::Machine, StartError>>;
}

/// A started machine. Dropping it kills the VMM and waits for its end.
pub trait Machine {
    /// What the guest writes to its first serial port.
    type Serial: AsyncRead + Unpin + Send + 'static;

    /// Process id of the VMM.
    fn pid(&self) -> u32;

    /// The serial port's output, given out once.
    fn take_serial(&mut self) -> Option<Self::Serial>;

    /// The next event; [`Event::Exited`] is the last one and is then repeated. Cancelling loses nothing.
    fn event(&mut self) -> impl Future<Output = Event>;

    /// Asks the VMM to do something; `Ok` means that it was accepted, not that it is done.
    fn command(&mut self, command: Command) -> impl Future<Output = Result<(), ControlError>>;

    /// What the machine is doing right now.
    fn state(&mut self) -> impl Future<Output = Result<RunState, ControlError>>;

    /// Ends the VMM without asking; [`Event::Exited`] follows.
    fn kill(&mut self);
}

/// What a machine can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Press the ACPI power button.
    PowerDown,
    /// Press the reset button.
    Reset,
    /// Stop the vCPUs.
    Pause,
    /// Let the vCPUs run again.
    Resume,
    /// End the VMM at once; the guest is not asked.
    Quit,
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
    /// The guest's kernel said that it panicked.
    Panicked,
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
    /// The machine is off.
    Shutdown,
    /// Anything else, in QEMU's word (`io-error`, `guest-panicked`, ...).
    Other(String),
}

/// Why a machine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
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
    /// The VMM said something that is not its protocol.
    #[error("the VMM does not speak QMP")]
    Protocol(#[source] serde_json::Error),
}
