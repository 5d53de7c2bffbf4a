//! One machine of the fake: what it was configured with, what it does.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

use crate::bootsector::{self, Guest};
use crate::config::{Bad, BadSpot, MachineConfig, Medium};
use crate::handle::{Answer, Control, Teller};
use crate::vmm::{BootDevice, Command, ControlError, Event, Exit, ExitCause, RunState};

/// Process id of every fake: the kernel's limit is below it.
const PID: u32 = 1 << 23;
/// What a fake that does not answer waits for.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between the start of a watchdog and its end.
const WATCHDOG: Duration = Duration::from_secs(5);

/// What a machine is.
#[derive(Debug)]
pub struct State {
    pub run: RunState,
    /// The drive that is full, and how often it refuses.
    pub full: Option<(String, u32)>,
    teller: Teller,
    over: bool,
    /// Places that fail.
    bad: BTreeMap<String, BadSpot>,
    /// The guest waits for a write that found no room.
    waits: bool,
    /// What is in each drive; only CD-ROM drives change.
    media: BTreeMap<String, Option<PathBuf>>,
    cdroms: Vec<String>,
    nics: usize,
    order: Vec<BootDevice>,
    /// What runs from disks that say nothing.
    otherwise: (Guest, String),
    /// What runs.
    guest: Option<Guest>,
}

impl State {
    pub fn new(config: &MachineConfig, otherwise: (Guest, String), teller: Teller) -> State {
        let mut order: Vec<(u32, BootDevice)> = Vec::new();
        for drive in &config.drives {
            order.extend(drive.boot_index.map(|place| (place, BootDevice::Drive(drive.name.clone()))));
        }
        for (index, nic) in config.nics.iter().enumerate() {
            order.extend(nic.boot_index.map(|place| (place, BootDevice::Nic(index))));
        }
        order.sort_by_key(|(place, _)| *place);
        State {
            run: RunState::Running,
            full: None,
            teller,
            over: false,
            bad: config.drives.iter().filter_map(|d| Some((d.name.clone(), d.bad?))).collect(),
            waits: false,
            media: config.drives.iter().map(|d| (d.name.clone(), d.medium.as_ref().map(file_of))).collect(),
            cdroms: config.drives.iter().filter(|d| d.cdrom).map(|d| d.name.clone()).collect(),
            nics: config.nics.len(),
            order: order.into_iter().map(|(_, device)| device).collect(),
            otherwise,
            guest: None,
        }
    }

    pub fn tell(&self, event: Event) {
        self.teller.tell(event);
    }

    pub fn shut_down(&mut self, guest: bool, reason: &str) {
        self.tell(Event::Shutdown { guest, reason: reason.to_owned() });
        self.end(ExitCause::Code(0));
    }

    pub fn end(&mut self, cause: ExitCause) {
        if !std::mem::replace(&mut self.over, true) {
            self.run = RunState::Shutdown;
            self.teller.end(Exit { cause, stderr: String::new() });
        }
    }

    /// The guest that firmware finds, and what it says first.
    fn find(&self) -> Option<(Guest, String)> {
        let disk = |device: &BootDevice| match device {
            BootDevice::Drive(name) => self.media.get(name)?.as_deref(),
            BootDevice::Nic(_) => None,
        };
        if self.media.is_empty() {
            return Some(self.otherwise.clone());
        }
        let first = match self.order.as_slice() {
            [] => self.media.values().find_map(Option::as_deref)?,
            order => order.iter().find_map(disk)?,
        };
        Some(boot_sector(first).unwrap_or_else(|| self.otherwise.clone()))
    }

    fn cdrom(&mut self, drive: &str) -> Result<&mut Option<PathBuf>, ControlError> {
        let known = self.cdroms.iter().any(|name| name == drive);
        let medium = self.media.get_mut(drive).filter(|_| known);
        medium.ok_or_else(|| ControlError::NoDevice(format!("drive {drive:?} for this")))
    }

    /// The guest writes the second sector of its disk, and powers off when that is over.
    fn writes_disk(&mut self) {
        let place = self.order.iter().find_map(|device| match device {
            BootDevice::Drive(name) => Some((name.clone(), *self.bad.get(name)?)),
            BootDevice::Nic(_) => None,
        });
        let place = place.filter(|(_, spot)| (512..1024).contains(&spot.offset));
        let failed = |reason: &str, full, drive| Event::DriveFailed {
            drive,
            reason: reason.to_owned(),
            full,
            paused: full,
        };
        self.waits = matches!(place, Some((_, BadSpot { what: Bad::Full, .. })));
        match place {
            Some((drive, BadSpot { what: Bad::Full, .. })) => {
                self.run = RunState::DriveFailed;
                self.tell(failed("No space left on device", true, drive));
                self.tell(Event::Paused);
                return;
            }
            Some((drive, BadSpot { what: Bad::Fails, .. })) => {
                self.tell(failed("Input/output error", false, drive));
            }
            None => {}
        }
        self.shut_down(true, "guest-shutdown");
    }

    fn spoil(&mut self, drive: String, spot: Option<BadSpot>) -> Result<(), ControlError> {
        if self.cdroms.contains(&drive) || !self.media.contains_key(&drive) {
            return Err(ControlError::NoDevice(format!("drive {drive:?} for this")));
        }
        match spot {
            Some(spot) => drop(self.bad.insert(drive, spot)),
            None => drop(self.bad.remove(&drive)),
        }
        Ok(())
    }

    fn boot_from(&mut self, order: Vec<BootDevice>) -> Result<(), ControlError> {
        for device in &order {
            let known = match device {
                BootDevice::Drive(name) => self.media.contains_key(name),
                BootDevice::Nic(index) => *index < self.nics,
            };
            if !known {
                return Err(ControlError::NoDevice(format!("{device:?}")));
            }
        }
        self.order = order;
        Ok(())
    }
}

/// Where the bytes of a medium are. The fake reads nothing from servers: there such a one says nothing.
fn file_of(medium: &Medium) -> PathBuf {
    match medium {
        Medium::File { path, .. } => path.clone(),
        Medium::Overlay { base, .. } => base.clone(),
        Medium::Url(url) => url.into(),
    }
}

fn boot_sector(disk: &Path) -> Option<(Guest, String)> {
    let mut sector = Vec::new();
    std::fs::File::open(disk).ok()?.take(512).read_to_end(&mut sector).ok()?;
    bootsector::read(&sector)
}

/// Commands a fake.
#[derive(Debug)]
pub struct FakeControl {
    state: Arc<Mutex<State>>,
    port: Arc<tokio::sync::Mutex<DuplexStream>>,
    deaf: bool,
    life: Arc<Life>,
}

/// What the guest does, from power-on or reset on; as long as anybody has the machine.
#[derive(Debug, Default)]
pub struct Life(Mutex<Option<JoinHandle<()>>>);

impl Life {
    fn replace(&self, life: Option<JoinHandle<()>>) {
        if let Some(before) = std::mem::replace(&mut *lock(&self.0), life) {
            before.abort();
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.replace(None);
    }
}

impl FakeControl {
    pub fn new(state: State, port: DuplexStream, deaf: bool, life: Arc<Life>) -> FakeControl {
        let port = Arc::new(tokio::sync::Mutex::new(port));
        FakeControl { state: Arc::new(Mutex::new(state)), port, deaf, life }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Lets firmware run, and then the guest that it finds.
    pub fn boot(&self, firmware: Duration) {
        let life = tokio::spawn(live(Arc::clone(&self.state), Arc::clone(&self.port), firmware));
        self.life.replace(Some(life));
    }

    fn obey(&self, command: Command) -> Result<(), ControlError> {
        let mut state = self.lock();
        if state.over {
            return Err(ControlError::Gone);
        }
        match command {
            Command::PowerDown if state.guest == Some(Guest::WaitsForButton) => {
                state.shut_down(true, "guest-shutdown");
            }
            Command::PowerDown => {}
            Command::Reset => {
                state.tell(Event::Reset { guest: false });
                drop(state);
                self.boot(super::FIRMWARE);
            }
            Command::Pause => {
                state.run = RunState::Paused;
                state.tell(Event::Paused);
            }
            Command::Resume => {
                state.run = RunState::Running;
                state.tell(Event::Resumed);
                state.refuse_writes();
                if state.waits {
                    state.writes_disk();
                }
            }
            Command::Quit => state.shut_down(false, "host-qmp-quit"),
            Command::Insert { drive, medium } => *state.cdrom(&drive)? = Some(file_of(&medium)),
            Command::Eject { drive } => *state.cdrom(&drive)? = None,
            Command::BootFrom(order) => state.boot_from(order)?,
            Command::Spoil { drive, spot } => state.spoil(drive, spot)?,
            Command::Link { nic, .. } if nic < state.nics => {}
            Command::Link { nic, .. } => return Err(ControlError::NoDevice(format!("NIC {nic}"))),
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What happens from power-on or reset on.
async fn live(state: Arc<Mutex<State>>, port: Arc<tokio::sync::Mutex<DuplexStream>>, firmware: Duration) {
    tokio::time::sleep(firmware).await;
    let mut port = port.lock().await;
    let found = lock(&state).find();
    let Some((guest, message)) = found else {
        // SeaBIOS's words. Nobody may listen any more.
        let _ = port.write_all(b"No bootable device.\r\n").await;
        return;
    };
    // Before the message: who has read it may press the button at once.
    lock(&state).guest = Some(guest);
    let _ = port.write_all(message.as_bytes()).await;
    match guest {
        Guest::PowersOff | Guest::PowersOffInLongMode => lock(&state).shut_down(true, "guest-shutdown"),
        Guest::WritesDisk => lock(&state).writes_disk(),
        Guest::Panics => lock(&state).panic(),
        Guest::Resets => lock(&state).tell(Event::Reset { guest: true }),
        Guest::HangsUnderWatchdog => {
            tokio::time::sleep(WATCHDOG).await;
            let state = lock(&state);
            state.tell(Event::WatchdogExpired);
            state.tell(Event::Reset { guest: true });
        }
        Guest::WaitsForButton | Guest::Hangs => {}
        Guest::Echoes => {
            let mut byte = [0];
            while let Ok(1) = port.read(&mut byte).await {
                let _ = port.write_all(&byte).await;
            }
        }
    }
}

impl Control for FakeControl {
    fn pid(&self) -> u32 {
        PID
    }

    fn command(&self, command: Command) -> Answer<'_, ()> {
        Box::pin(async move {
            self.silence("command").await?;
            self.obey(command)
        })
    }

    fn state(&self) -> Answer<'_, RunState> {
        Box::pin(async move {
            self.silence("query-status").await?;
            let state = self.lock();
            if state.over { Err(ControlError::Gone) } else { Ok(state.run.clone()) }
        })
    }

    fn kill(&self) {
        self.lock().end(ExitCause::Signal(9));
    }
}

impl FakeControl {
    async fn silence(&self, command: &'static str) -> Result<(), ControlError> {
        if self.deaf && !self.lock().over {
            tokio::time::sleep(PATIENCE).await;
            return Err(ControlError::Silent { command, within: PATIENCE });
        }
        Ok(())
    }
}
