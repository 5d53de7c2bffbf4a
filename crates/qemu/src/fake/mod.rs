//! A VMM in memory. Its machines boot what their configuration says, from real disks that [`crate::bootsector`] made; its
//! time is tokio's, so that tests can stop it; and it fails on command.

mod machine;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::DuplexStream;

use crate::bootsector::Guest;
use crate::config::MachineConfig;
use crate::handle::{Handle, Teller};
use crate::vmm::{Event, Exit, ExitCause, Machine, RunState, StartError, Vmm};

use machine::{FakeControl, Life, State};

/// What firmware takes until the boot loader runs.
const FIRMWARE: Duration = Duration::from_millis(20);
/// Room for what the guest says while nobody listens.
const SERIAL: usize = 64 * 1024;

/// Starts machines in memory.
#[derive(Clone, Debug)]
pub struct FakeVmm {
    /// What runs from disks that are not [`crate::bootsector`]'s.
    guest: Guest,
    message: String,
    fault: Option<Fault>,
    started: Arc<Mutex<Vec<MachineConfig>>>,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The VMM ends at once, with this on its standard error.
    DiesAtStart(String),
    /// The running VMM is killed by this signal.
    KilledBy(i32),
    /// The guest's kernel panics, and the VMM ends the machine.
    GuestPanics,
    /// This drive's file system is full: the machine pauses, and does so again when it is resumed so many times.
    DiskFull {
        /// The drive's name.
        drive: String,
        /// How often.
        times: u32,
    },
    /// The VMM runs but answers no command.
    AnswersNothing,
}

impl FakeVmm {
    /// A VMM whose guests write `message` to their serial port and then do what `guest` says, unless the disk that they
    /// boot from says otherwise.
    #[must_use]
    pub fn new(guest: Guest, message: &str) -> FakeVmm {
        FakeVmm { guest, message: message.to_owned(), fault: None, started: Arc::default() }
    }

    /// From now on machines meet this fault.
    #[must_use]
    pub fn with(mut self, fault: Fault) -> FakeVmm {
        self.fault = Some(fault);
        self
    }

    /// The configurations of all machines that were started.
    #[must_use]
    pub fn started(&self) -> Vec<MachineConfig> {
        self.started.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

impl Vmm for FakeVmm {
    type Serial = DuplexStream;

    async fn start(&self, config: &MachineConfig) -> Result<Machine<DuplexStream>, StartError> {
        config.validate()?;
        if let Some(Fault::DiesAtStart(stderr)) = &self.fault {
            return Err(StartError::Died(Exit { cause: ExitCause::Code(1), stderr: stderr.clone() }));
        }
        self.started.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(config.clone());
        let (serial, port) = tokio::io::duplex(SERIAL);
        let life = Arc::new(Life::default());
        let (teller, events) = Teller::of(Arc::clone(&life) as Arc<dyn Send + Sync>);
        let state = State::new(config, (self.guest, self.message.clone()), teller);
        let control =
            Arc::new(FakeControl::new(state, port, self.fault == Some(Fault::AnswersNothing), life));
        match &self.fault {
            Some(Fault::KilledBy(signal)) => control.lock().end(ExitCause::Signal(*signal)),
            Some(Fault::GuestPanics) => control.lock().panic(),
            Some(Fault::DiskFull { drive, times }) => control.lock().fill(drive, *times),
            Some(Fault::AnswersNothing | Fault::DiesAtStart(_)) | None => control.boot(FIRMWARE),
        }
        Ok(Machine { handle: Handle(control), events, serial })
    }
}

impl State {
    fn panic(&mut self) {
        self.tell(Event::Panicked);
        self.shut_down(true, "guest-panic");
    }

    fn fill(&mut self, drive: &str, times: u32) {
        self.full = Some((drive.to_owned(), times));
        self.refuse_writes();
    }

    /// The guest writes to a drive that is full.
    fn refuse_writes(&mut self) -> bool {
        let Some((drive, times @ 1..)) = &mut self.full else { return false };
        *times -= 1;
        let (drive, reason) = (drive.clone(), "No space left on device".to_owned());
        self.tell(Event::DriveFailed { drive, reason, full: true, paused: true });
        self.tell(Event::Paused);
        self.run = RunState::DriveFailed;
        true
    }
}
