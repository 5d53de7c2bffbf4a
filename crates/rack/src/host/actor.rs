//! The task that keeps a host: it alone starts and ends QEMU, and it alone changes what is known.
//!
//! QEMU hands the boot order to the firmware at each reset, so an override for once is put in before a start or a reset and
//! taken out right after it: the guest's next reset finds the ordinary order.

use std::sync::Arc;
use std::time::Duration;

use scute_bmc::{BootMode, Lasting, MachineError, NextBoot, Power, Reset};
use scute_netlink::UdpFrames;
use scute_processes::chain;
use scute_qemu::{Bad, BadSpot, Command, ControlError, Event, Events, Handle, Medium, StartError, Vmm};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::dhcp;
use super::machine::{self, CD, Start, machine};
use super::serial::Serial;
use crate::config::HostConfig;
use crate::folder::{HostFolder, State};
use crate::rack::{Equipment, Plugged};

/// How long QEMU may take to say that it was reset, or that it is gone.
const SOON: Duration = Duration::from_secs(30);

/// Something to do, and whom to tell.
#[derive(Debug)]
pub struct Order {
    pub what: What,
    pub done: oneshot::Sender<Result<(), MachineError>>,
}

/// What a host can be told.
#[derive(Clone, Debug)]
pub enum What {
    Reset(Reset),
    Boot(Option<NextBoot>),
    /// What is to be in the CD drive.
    Medium(Option<String>),
    Link {
        nic: usize,
        up: bool,
    },
    /// A place of a disk fails, instead of the one before. One that is full takes the power with it.
    Spoil {
        disk: usize,
        spot: Option<BadSpot>,
    },
}

pub struct Actor {
    config: HostConfig,
    folder: HostFolder,
    equipment: Arc<Equipment>,
    serial: Serial,
    status: watch::Sender<State>,
    running: Option<Running>,
    /// A graceful restart waits for the guest to go off.
    back_on: bool,
    bad: machine::Bad,
}

/// A machine that runs.
struct Running {
    handle: Handle,
    events: Events,
    mode: BootMode,
    /// What its network cards are served by, as long as it runs.
    dhcp: JoinSet<()>,
}

type Done = Result<(), MachineError>;

impl Actor {
    pub fn new(
        config: HostConfig,
        folder: HostFolder,
        equipment: Arc<Equipment>,
        serial: Serial,
        status: watch::Sender<State>,
    ) -> Self {
        Self {
            config,
            folder,
            equipment,
            serial,
            status,
            running: None,
            back_on: false,
            bad: machine::Bad::new(),
        }
    }

    /// Until nobody can give orders any more.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        if self.state().power == Power::On
            && let Err(error) = self.start().await
        {
            tracing::warn!(host = self.config.name, %error, "it does not come back");
        }
        loop {
            tokio::select! {
                order = orders.recv() => {
                    let Some(Order { what, done }) = order else { return };
                    // Whoever asked may have given up.
                    let _ = done.send(self.obey(what).await);
                }
                event = event_of(&mut self.running) => self.heard(event).await,
            }
        }
    }

    fn state(&self) -> State {
        self.status.borrow().clone()
    }

    /// Changes what is known, and keeps it.
    fn change(&self, change: impl FnOnce(&mut State)) {
        self.status.send_modify(change);
        if let Err(error) = self.folder.keep(&self.status.borrow()) {
            tracing::error!(host = self.config.name, error = chain(&error), "its state is not kept");
        }
    }

    async fn obey(&mut self, what: What) -> Done {
        match what {
            What::Reset(reset) => self.reset(reset).await,
            What::Boot(next) => {
                self.tell_order(next).await?;
                self.change(|state| state.next_boot = next);
                Ok(())
            }
            What::Medium(medium) => self.medium(medium).await,
            What::Link { nic, up } => {
                if nic >= self.config.nics.len() {
                    return Err(MachineError(format!("there is no NIC {nic}")));
                }
                self.command(Command::Link { nic, up }).await?;
                self.change(|state| state.links[nic] = up);
                Ok(())
            }
            What::Spoil { disk, spot } => self.spoil(disk, spot).await,
        }
    }

    async fn reset(&mut self, reset: Reset) -> Done {
        let runs = self.running.is_some();
        if runs && matches!(reset, Reset::ForceOff | Reset::ForceRestart) {
            self.back_on = false;
        }
        match reset {
            Reset::On | Reset::ForceRestart | Reset::GracefulRestart if !runs => self.start().await,
            Reset::On => Ok(()),
            Reset::ForceOff => self.stop().await,
            Reset::ForceRestart => self.restart().await,
            Reset::GracefulShutdown | Reset::GracefulRestart => {
                self.back_on = reset == Reset::GracefulRestart;
                self.command(Command::PowerDown).await
            }
        }
    }

    async fn start(&mut self) -> Done {
        let state = self.state();
        let start = Start::of(&self.config, state.next_boot);
        let failed = |error: StartError| MachineError(chain(&error));
        let machine = match self.boot(&state, &start).await {
            Err(StartError::Died(exit)) if state.medium.is_some() => {
                // A CD whose server is away must not keep a server from its disks.
                tracing::warn!(host = self.config.name, %exit, "it starts without its CD");
                self.boot(&State { medium: None, ..state.clone() }, &start).await.map_err(failed)?
            }
            other => other.map_err(failed)?,
        };
        self.serial.plug(machine.serial);
        self.running = Some(Running {
            handle: machine.handle,
            events: machine.events,
            mode: start.mode,
            dhcp: JoinSet::new(),
        });
        self.change(|state| state.power = Power::On);
        self.plug_in(&state).await;
        self.booted().await
    }

    async fn boot(
        &self,
        state: &State,
        start: &Start,
    ) -> Result<scute_qemu::Machine<<scute_qemu::Qemu as Vmm>::Serial>, StartError> {
        let equipment = &self.equipment;
        let accelerator = equipment.accelerator;
        let machine = machine(&self.config, &self.folder, equipment, accelerator, state, &self.bad, start);
        equipment.programs.qemu.start(&machine).await
    }

    /// Cables: each tap is QEMU's own and goes with it.
    async fn plug_in(&mut self, state: &State) {
        for (nic, up) in state.links.iter().enumerate() {
            match self.equipment.plug(&self.config.tap(nic)) {
                Ok(None) => {}
                Ok(Some(plugged)) => self.serve(nic, &plugged),
                Err(error) => tracing::error!(host = self.config.name, nic, error = chain(&error), "no link"),
            }
            if !up && let Err(error) = self.command(Command::Link { nic, up: false }).await {
                tracing::error!(host = self.config.name, nic, %error, "it has a link");
            }
        }
    }

    /// DHCP for a cable, as long as the machine runs.
    fn serve(&mut self, nic: usize, plugged: &Plugged) {
        let Some(running) = &mut self.running else { return };
        let Some(server) = dhcp::Server::of(&self.config, nic, plugged) else { return };
        match UdpFrames::open(plugged.tap, scute_dhcp::SERVER_PORT) {
            Ok(frames) => drop(running.dhcp.spawn(server.run(frames))),
            Err(error) => tracing::error!(host = self.config.name, nic, %error, "no DHCP"),
        }
    }

    /// After a start or reset: an override for once is used up.
    async fn booted(&mut self) -> Done {
        let once = |next: NextBoot| next.lasting == Lasting::Once;
        if self.state().next_boot.is_some_and(once) {
            self.change(|state| state.next_boot = None);
            self.tell_order(None).await?;
        }
        Ok(())
    }

    /// Tells a machine that runs what its next reset is to try.
    async fn tell_order(&self, next: Option<NextBoot>) -> Done {
        self.command(Command::BootFrom(Start::of(&self.config, next).order)).await
    }

    /// Commands the machine, if it runs.
    async fn command(&self, command: Command) -> Done {
        let Some(running) = &self.running else { return Ok(()) };
        match running.handle.command(command).await {
            // It has just ended: the event follows.
            Ok(()) | Err(ControlError::Gone) => Ok(()),
            Err(error) => Err(MachineError(error.to_string())),
        }
    }

    async fn stop(&mut self) -> Done {
        let Some(running) = &mut self.running else { return Ok(()) };
        running.handle.kill();
        let gone = async { while !matches!(running.events.next().await, Event::Exited(_)) {} };
        tokio::time::timeout(SOON, gone).await.map_err(|_| MachineError("QEMU does not end".into()))?;
        self.ended();
        Ok(())
    }

    fn ended(&mut self) {
        self.running = None;
        self.change(|state| state.power = Power::Off);
    }

    /// In the same process where the same firmware boots; else in another.
    async fn restart(&mut self) -> Done {
        let Some(running) = &mut self.running else { return self.start().await };
        if Start::of(&self.config, self.status.borrow().next_boot).mode != running.mode {
            self.stop().await?;
            return self.start().await;
        }
        let failed = |error: ControlError| MachineError(error.to_string());
        running.handle.command(Command::Reset).await.map_err(failed)?;
        // Until it is told, an order that comes after this one could change what is booted now.
        let mut failed = None;
        let reset = async {
            loop {
                match running.events.next().await {
                    Event::Reset { guest: false } => return Ok(()),
                    Event::Exited(exit) => return Err(MachineError(format!("QEMU ended: {exit}"))),
                    event @ Event::DriveFailed { .. } => failed = Some(event),
                    _ => {}
                }
            }
        };
        match tokio::time::timeout(SOON, reset).await {
            Ok(Ok(())) => {
                if let Some(event) = failed {
                    self.heard(event).await;
                }
                self.booted().await
            }
            Ok(Err(error)) => {
                self.ended();
                Err(error)
            }
            Err(_) => Err(MachineError("QEMU does not reset".into())),
        }
    }

    async fn medium(&mut self, medium: Option<String>) -> Done {
        let command = match &medium {
            Some(url) if !(url.starts_with("http://") || url.starts_with("https://")) => {
                return Err(MachineError(format!("{url}: only http:// and https:// are read")));
            }
            Some(url) => Command::Insert { drive: CD.into(), medium: Medium::Url(url.clone()) },
            None => Command::Eject { drive: CD.into() },
        };
        self.command(command).await?;
        self.change(|state| state.medium = medium);
        Ok(())
    }

    async fn spoil(&mut self, disk: usize, spot: Option<BadSpot>) -> Done {
        let Some(known) = self.config.disks.get(disk) else {
            return Err(MachineError(format!("there is no disk {disk}")));
        };
        let size = known.mib << 20;
        if let Some(spot) = spot.filter(|spot| spot.offset >= size) {
            return Err(MachineError(format!("byte {}: disk {disk} has {size}", spot.offset)));
        }
        if spot.is_none() && !self.bad.contains_key(&disk) {
            return Ok(());
        }
        self.command(Command::Spoil { drive: machine::disk_name(disk), spot }).await?;
        match spot {
            Some(spot) => drop(self.bad.insert(disk, spot)),
            None => drop(self.bad.remove(&disk)),
        }
        Ok(())
    }

    /// A write met a place that is full: the machine is paused before it, and here the power goes. It goes once.
    async fn cut(&mut self, drive: &str) -> Done {
        let struck =
            |(disk, spot): &(&usize, &BadSpot)| spot.what == Bad::Full && machine::disk_name(**disk) == drive;
        let Some(disk) = self.bad.iter().find(struck).map(|(disk, _)| *disk) else { return Ok(()) };
        tracing::info!(host = self.config.name, disk, "the power is cut");
        self.bad.remove(&disk);
        self.back_on = false;
        self.stop().await
    }

    async fn heard(&mut self, event: Event) {
        let done = match event {
            Event::Reset { .. } => self.guest_reset().await,
            Event::Exited(exit) => {
                tracing::info!(host = self.config.name, %exit, "off");
                self.ended();
                if std::mem::take(&mut self.back_on) { self.start().await } else { Ok(()) }
            }
            Event::DriveFailed { drive, reason, paused, .. } => {
                tracing::warn!(host = self.config.name, drive, reason, "a drive fails");
                if paused { self.cut(&drive).await } else { Ok(()) }
            }
            _ => Ok(()),
        };
        if let Err(error) = done {
            tracing::warn!(host = self.config.name, %error, "it does not go on");
        }
    }

    async fn guest_reset(&mut self) -> Done {
        let wanted = Start::of(&self.config, self.state().next_boot).mode;
        if self.running.as_ref().is_some_and(|running| running.mode != wanted) {
            self.stop().await?;
            return self.start().await;
        }
        self.booted().await
    }
}

/// The next event of a machine that runs.
async fn event_of(running: &mut Option<Running>) -> Event {
    match running {
        Some(running) => running.events.next().await,
        None => std::future::pending().await,
    }
}
