//! A VMM in memory whose guests do what they are told, and which fails on command.

use std::collections::VecDeque;
use std::io::Cursor;

use crate::bootsector::Guest;
use crate::config::MachineConfig;
use crate::vmm::{Command, ControlError, Event, Exit, ExitCause, Machine, RunState, StartError, Vmm};

/// Process id of every fake: the kernel's limit is below it.
const PID: u32 = 1 << 23;

/// Starts machines that all run the same guest.
#[derive(Clone, Debug)]
pub struct FakeVmm {
    guest: Guest,
    message: String,
    fault: Option<Fault>,
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
    /// The disk is full: the machine pauses.
    DiskFull,
    /// The VMM runs but answers no command.
    AnswersNothing,
}

impl FakeVmm {
    /// A VMM whose guests write `message` to their serial port and then do what `guest` says.
    pub fn new(guest: Guest, message: &str) -> FakeVmm {
        FakeVmm { guest, message: message.to_owned(), fault: None }
    }

    /// From now on machines meet this fault.
    pub fn with(mut self, fault: Fault) -> FakeVmm {
        self.fault = Some(fault);
        self
    }
}

impl Vmm for FakeVmm {
    type Machine = FakeMachine;

    async fn start(&self, _config: &MachineConfig) -> Result<FakeMachine, StartError> {
        let mut machine = FakeMachine {
            guest: self.guest,
            deaf: self.fault == Some(Fault::AnswersNothing),
            serial: Some(Cursor::new(self.message.clone().into_bytes())),
            state: RunState::Running,
            events: VecDeque::new(),
            exit: None,
        };
        match &self.fault {
            Some(Fault::DiesAtStart(stderr)) => {
                return Err(StartError::Died(Exit { cause: ExitCause::Code(1), stderr: stderr.clone() }));
            }
            Some(Fault::KilledBy(signal)) => machine.end(ExitCause::Signal(*signal)),
            Some(Fault::GuestPanics) => {
                machine.events.push_back(Event::Panicked);
                machine.shut_down(true, "guest-panic");
            }
            Some(Fault::DiskFull) => {
                let reason = "No space left on device".to_owned();
                machine.events.push_back(Event::DriveFailed { drive: "root".into(), reason, paused: true });
                machine.events.push_back(Event::Paused);
                machine.state = RunState::Other("io-error".into());
            }
            Some(Fault::AnswersNothing) | None => machine.boot(),
        }
        Ok(machine)
    }
}

/// A machine of [`FakeVmm`].
#[derive(Debug)]
pub struct FakeMachine {
    guest: Guest,
    deaf: bool,
    serial: Option<Cursor<Vec<u8>>>,
    state: RunState,
    events: VecDeque<Event>,
    exit: Option<Exit>,
}

impl FakeMachine {
    fn boot(&mut self) {
        match self.guest {
            Guest::PowersOff | Guest::WritesDisk => self.shut_down(true, "guest-shutdown"),
            Guest::Resets => self.events.push_back(Event::Reset { guest: true }),
            Guest::WaitsForButton | Guest::Hangs => {}
        }
    }

    fn shut_down(&mut self, guest: bool, reason: &str) {
        self.events.push_back(Event::Shutdown { guest, reason: reason.to_owned() });
        self.end(ExitCause::Code(0));
    }

    fn end(&mut self, cause: ExitCause) {
        self.state = RunState::Shutdown;
        self.exit.get_or_insert(Exit { cause, stderr: String::new() });
    }
}

impl Machine for FakeMachine {
    type Serial = Cursor<Vec<u8>>;

    fn pid(&self) -> u32 {
        PID
    }

    fn take_serial(&mut self) -> Option<Self::Serial> {
        self.serial.take()
    }

    async fn event(&mut self) -> Event {
        match (self.events.pop_front(), &self.exit) {
            (Some(event), _) => event,
            (None, Some(exit)) => Event::Exited(exit.clone()),
            // All that can happen next comes from a command, and that needs the machine we are borrowing.
            (None, None) => std::future::pending().await,
        }
    }

    async fn command(&mut self, command: Command) -> Result<(), ControlError> {
        if self.exit.is_some() {
            return Err(ControlError::Gone);
        }
        if self.deaf {
            return Err(ControlError::Silent { command: "command", within: std::time::Duration::ZERO });
        }
        match command {
            Command::PowerDown if self.guest == Guest::WaitsForButton => {
                self.shut_down(true, "guest-shutdown")
            }
            Command::PowerDown => {}
            Command::Reset => {
                self.events.push_back(Event::Reset { guest: false });
                self.boot();
            }
            Command::Pause => {
                self.state = RunState::Paused;
                self.events.push_back(Event::Paused);
            }
            Command::Resume => {
                self.state = RunState::Running;
                self.events.push_back(Event::Resumed);
            }
            Command::Quit => self.shut_down(false, "host-qmp-quit"),
        }
        Ok(())
    }

    async fn state(&mut self) -> Result<RunState, ControlError> {
        match (&self.exit, self.deaf) {
            (Some(_), _) => Err(ControlError::Gone),
            (None, true) => Err(ControlError::Silent { command: "state", within: std::time::Duration::ZERO }),
            (None, false) => Ok(self.state.clone()),
        }
    }

    fn kill(&mut self) {
        self.end(ExitCause::Signal(9));
    }
}
