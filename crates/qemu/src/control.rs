//! Commands to QMP: what each takes, step by step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::actor::Question;
use crate::argv;
use crate::config::{BadSpot, Drive, MachineConfig, Medium};
use crate::events;
use crate::handle::{Answer, Control};
use crate::process::Process;
use crate::vmm::{BootDevice, Command, ControlError, RunState};

/// How long a command may take: QEMU's main loop answers in milliseconds unless the host is starved.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Asks QEMU.
#[derive(Debug)]
pub struct QemuControl {
    questions: mpsc::UnboundedSender<Question>,
    pub process: Arc<Process>,
    /// Names of the CD-ROM drives to the block node of the medium in each. Held while media change.
    cdroms: Mutex<BTreeMap<String, Option<String>>>,
    /// The drives, and how many NICs there are.
    drives: Vec<Drive>,
    nics: usize,
    /// The node with a place that fails, of drives that have one. Held while it changes.
    bad: Mutex<BTreeMap<usize, String>>,
    next_node: AtomicU64,
}

impl QemuControl {
    pub fn new(
        config: &MachineConfig,
        questions: mpsc::UnboundedSender<Question>,
        process: Arc<Process>,
    ) -> QemuControl {
        let cdroms = config.drives.iter().enumerate().filter(|(_, drive)| drive.cdrom);
        let node = |(index, drive): (usize, &crate::config::Drive)| {
            (drive.name.clone(), drive.medium.is_some().then(|| argv::node_of(index)))
        };
        let bad = config.drives.iter().enumerate().filter(|(_, drive)| drive.bad.is_some());
        let bad = bad.map(|(index, _)| (index, argv::bad_of(index))).collect();
        QemuControl {
            questions,
            process,
            cdroms: Mutex::new(cdroms.map(node).collect()),
            drives: config.drives.clone(),
            nics: config.nics.len(),
            bad: Mutex::new(bad),
            next_node: AtomicU64::new(0),
        }
    }

    /// Leaves QMP's negotiation and lets the vCPUs run.
    pub async fn run(&self, within: Duration) -> Result<(), ControlError> {
        let begun = tokio::time::Instant::now();
        self.ask_within("qmp_capabilities", Value::Null, within).await?;
        let left = within.saturating_sub(begun.elapsed());
        self.ask_within("cont", Value::Null, left).await.map(drop)
    }

    async fn ask(&self, command: &'static str, arguments: Value) -> Result<Value, ControlError> {
        self.ask_within(command, arguments, ANSWER_WITHIN).await
    }

    async fn ask_within(
        &self,
        command: &'static str,
        arguments: Value,
        within: Duration,
    ) -> Result<Value, ControlError> {
        let (answer, answered) = oneshot::channel();
        let question = Question { command, arguments, answer };
        self.questions.send(question).map_err(|_| ControlError::Gone)?;
        let silent = |_| ControlError::Silent { command, within };
        tokio::time::timeout(within, answered).await.map_err(silent)?.map_err(|_| ControlError::Gone)?
    }

    async fn insert(&self, drive: &str, medium: &Medium) -> Result<(), ControlError> {
        let mut cdroms = self.cdroms.lock().await;
        let inside = cdroms.get_mut(drive).ok_or_else(|| no_drive(drive))?;
        let node = format!("medium-{}", self.next_node.fetch_add(1, Ordering::Relaxed));
        let block = argv::of_medium(&node, medium).ok_or_else(|| no_drive(drive))?;
        self.ask("blockdev-add", block).await?;
        self.empty(drive, inside).await?;
        let id = argv::device_of(drive);
        self.ask("blockdev-insert-medium", json!({"id": id, "node-name": node})).await?;
        *inside = Some(node);
        self.ask("blockdev-close-tray", json!({"id": id})).await.map(drop)
    }

    async fn eject(&self, drive: &str) -> Result<(), ControlError> {
        let mut cdroms = self.cdroms.lock().await;
        let medium = cdroms.get_mut(drive).ok_or_else(|| no_drive(drive))?;
        self.empty(drive, medium).await
    }

    /// Opens the tray and takes out what is there.
    async fn empty(&self, drive: &str, medium: &mut Option<String>) -> Result<(), ControlError> {
        let id = argv::device_of(drive);
        self.ask("blockdev-open-tray", json!({"id": id, "force": true})).await?;
        let Some(node) = medium.clone() else { return Ok(()) };
        self.ask("blockdev-remove-medium", json!({"id": id})).await?;
        *medium = None;
        self.ask("blockdev-del", json!({"node-name": node})).await.map(drop)
    }

    /// The node with the place that fails comes between the drive's own node and its file.
    async fn spoil(&self, name: &str, spot: Option<BadSpot>) -> Result<(), ControlError> {
        let mut bad = self.bad.lock().await;
        let found = self.drives.iter().enumerate().find(|(_, drive)| drive.name == name);
        let (index, drive) = found.filter(|(_, drive)| !drive.cdrom).ok_or_else(|| no_drive(name))?;
        let file = argv::file_of(&argv::node_of(index));
        let under = async |node: &str| {
            let own = argv::over(index, drive, node).ok_or_else(|| no_drive(name))?;
            self.ask("blockdev-reopen", json!({"options": [own]})).await
        };
        let before = bad.remove(&index);
        if let Some(spot) = spot {
            let node = format!("spot-{}", self.next_node.fetch_add(1, Ordering::Relaxed));
            self.ask("blockdev-add", argv::failing(&node, &file, spot)).await?;
            under(&node).await?;
            bad.insert(index, node);
        } else {
            under(&file).await?;
        }
        match before {
            Some(node) => self.ask("blockdev-del", json!({"node-name": node})).await.map(drop),
            None => Ok(()),
        }
    }

    async fn link(&self, nic: usize, up: bool) -> Result<(), ControlError> {
        if nic >= self.nics {
            return Err(ControlError::NoDevice(format!("NIC {nic}")));
        }
        self.ask("set_link", json!({"name": argv::nic_of(nic), "up": up})).await.map(drop)
    }

    /// No two devices may have one place, so all lose theirs first.
    async fn boot_from(&self, order: &[BootDevice]) -> Result<(), ControlError> {
        let id = |device: &BootDevice| match device {
            BootDevice::Drive(name) if self.drives.iter().any(|drive| drive.name == *name) => {
                Ok(argv::device_of(name))
            }
            BootDevice::Drive(name) => Err(no_drive(name)),
            BootDevice::Nic(index) if *index < self.nics => Ok(argv::nic_of(*index)),
            BootDevice::Nic(index) => Err(ControlError::NoDevice(format!("NIC {index}"))),
        };
        let order = order.iter().map(id).collect::<Result<Vec<_>, _>>()?;
        let all = self.drives.iter().map(|drive| argv::device_of(&drive.name));
        let none = all.chain((0..self.nics).map(argv::nic_of)).map(|id| (id, -1));
        for (id, place) in none.chain((0_i64..).zip(order).map(|(place, id)| (id, place))) {
            let path = format!("/machine/peripheral/{id}");
            let set = json!({"path": path, "property": "bootindex", "value": place});
            self.ask("qom-set", set).await?;
        }
        Ok(())
    }
}

fn no_drive(name: &str) -> ControlError {
    ControlError::NoDevice(format!("drive {name:?} for this"))
}

impl Control for QemuControl {
    fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn command(&self, command: Command) -> Answer<'_, ()> {
        Box::pin(async move {
            let word = match &command {
                Command::PowerDown => "system_powerdown",
                Command::Reset => "system_reset",
                Command::Pause => "stop",
                Command::Resume => "cont",
                Command::Quit => "quit",
                Command::Insert { drive, medium } => return self.insert(drive, medium).await,
                Command::Eject { drive } => return self.eject(drive).await,
                Command::BootFrom(order) => return self.boot_from(order).await,
                Command::Spoil { drive, spot } => return self.spoil(drive, *spot).await,
                Command::Link { nic, up } => return self.link(*nic, *up).await,
            };
            self.ask(word, Value::Null).await.map(drop)
        })
    }

    fn state(&self) -> Answer<'_, RunState> {
        Box::pin(async move {
            let status = self.ask("query-status", Value::Null).await?;
            Ok(events::run_state(status.get("status").and_then(Value::as_str).unwrap_or_default()))
        })
    }

    fn kill(&self) {
        self.process.kill();
    }
}
