//! A machine in memory: does at once what it is told, and remembers what it booted.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::machine::{
    Answer, BootDevice, BootMode, Drive, Facts, Lasting, Machine, MachineError, Memory, NextBoot, Nic, Power,
    Processor, Reset,
};

/// How many starts are remembered.
const STARTS: usize = 64;

/// A machine in memory. Its disk always boots; its CD drive when something is in it.
#[derive(Debug)]
pub struct MemoryMachine {
    facts: Arc<Facts>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    power: Power,
    next_boot: Option<NextBoot>,
    medium: Option<String>,
    starts: Vec<Start>,
    deaf: bool,
}

/// One start: what was booted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// From where.
    pub device: BootDevice,
    /// By which firmware.
    pub mode: BootMode,
    /// The image, if it was the CD drive.
    pub medium: Option<String>,
}

impl MemoryMachine {
    /// A machine that is off, with an empty CD drive.
    #[must_use]
    pub fn new(facts: Facts) -> Self {
        let state =
            State { power: Power::Off, next_boot: None, medium: None, starts: Vec::new(), deaf: false };
        Self { facts: Arc::new(facts), state: Mutex::new(state) }
    }

    /// What it booted so far, oldest first, as far as it is remembered.
    #[must_use]
    pub fn starts(&self) -> Vec<Start> {
        self.state().starts.clone()
    }

    /// A guest that does not listen: graceful requests are accepted, and nothing happens.
    pub fn ignore_graceful(&self, deaf: bool) {
        self.state().deaf = deaf;
    }

    /// The guest restarts by itself.
    pub fn guest_restarts(&self) {
        self.state().start();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    fn start(&mut self) {
        let wanted = self.next_boot;
        if self.next_boot.is_some_and(|boot| boot.lasting == Lasting::Once) {
            self.next_boot = None;
        }
        let (device, mode) =
            wanted.map_or((BootDevice::Hdd, BootMode::Uefi), |boot| (boot.device, boot.mode));
        let medium = self.medium.clone().filter(|_| device == BootDevice::Cd);
        let device = if device == BootDevice::Cd && medium.is_none() { BootDevice::Hdd } else { device };
        if self.starts.len() == STARTS {
            self.starts.remove(0);
        }
        self.starts.push(Start { device, mode, medium });
        self.power = Power::On;
    }
}

fn done(result: Result<(), MachineError>) -> Answer<'static> {
    Box::pin(std::future::ready(result))
}

impl Machine for MemoryMachine {
    fn facts(&self) -> Arc<Facts> {
        self.facts.clone()
    }

    fn power(&self) -> Power {
        self.state().power
    }

    fn reset(&self, reset: Reset) -> Answer<'_> {
        let mut state = self.state();
        match reset {
            Reset::On if state.power == Power::On => {}
            Reset::GracefulShutdown | Reset::GracefulRestart if state.deaf => {}
            Reset::On | Reset::ForceRestart | Reset::GracefulRestart => state.start(),
            Reset::ForceOff | Reset::GracefulShutdown => state.power = Power::Off,
        }
        done(Ok(()))
    }

    fn next_boot(&self) -> Option<NextBoot> {
        self.state().next_boot
    }

    fn set_next_boot(&self, boot: Option<NextBoot>) -> Answer<'_> {
        self.state().next_boot = boot;
        done(Ok(()))
    }

    fn medium(&self) -> Option<String> {
        self.state().medium.clone()
    }

    fn insert<'a>(&'a self, url: &'a str) -> Answer<'a> {
        self.state().medium = Some(url.to_owned());
        done(Ok(()))
    }

    fn eject(&self) -> Answer<'_> {
        self.state().medium = None;
        done(Ok(()))
    }
}

/// Facts of an ordinary server, told apart by a number.
#[must_use]
pub fn facts(number: u8) -> Facts {
    Facts {
        name: format!("host-{number}"),
        uuid: format!("4c4c4544-0042-4a10-8052-b9c04f5643{number:02x}"),
        manufacturer: "Scute".into(),
        model: "Virtual Rack Server".into(),
        serial: format!("SCUTE{number:04}"),
        sku: "RACK-1".into(),
        bios_version: "2.4.1".into(),
        boot_mode: BootMode::Uefi,
        processors: (0..2).map(|_| processor()).collect(),
        memory: (0..4).map(|_| Memory { mib: 65_536 }).collect(),
        nics: (0..2).map(|port| nic(number, port)).collect(),
        drives: (0..2).map(|bay| drive(number, bay)).collect(),
    }
}

fn processor() -> Processor {
    Processor {
        model: "Virtual Processor 32".into(),
        architecture: "x86".into(),
        cores: 32,
        threads: 64,
        max_mhz: 3_500,
    }
}

fn nic(number: u8, port: u8) -> Nic {
    Nic { mac: format!("52:54:00:5c:{number:02x}:{port:02x}"), speed_mbps: 25_000, link_up: port == 0 }
}

fn drive(number: u8, bay: u8) -> Drive {
    Drive {
        model: "Virtual NVMe 960".into(),
        serial: format!("NVME{number:04}{bay}"),
        bytes: 960_197_124_096,
        media_type: "SSD".into(),
    }
}
