//! Watches a running machine until its end, says how it is, and asks it to end when the Pod must go.
//!
//! ```text
//! Running --stop--> Asked (power button, again every few seconds) --grace over--> Quitting --grace over--> Killed
//!    \___________________________ guest off, panic, QEMU gone: Ending _____________________________________/
//! ```

#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::time::Duration;

use scute_qemu::{Command, ControlError, Event, Events, Exit, ExitCause, Handle};
use tokio::time::{Instant, sleep_until};

use super::ending::Ending;
use super::health::Health;

/// A guest that still boots ignores the power button, so it is pressed again.
const PRESS_EVERY: Duration = Duration::from_secs(3);
/// QEMU quits at once unless its main loop hangs.
const QUIT_WITHIN: Duration = Duration::from_secs(5);
/// Whether a file system has room again can only be looked up.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A QEMU that hangs says nothing: it has to be asked.
const ASK_EVERY: Duration = Duration::from_secs(15);

/// What is around the machine.
pub trait Surroundings {
    /// Whether the kernel has killed a process of this container for its memory limit.
    fn oom_killed(&self) -> bool;
    /// Whether the file system of the machine's disks has room for writes.
    fn has_room(&self) -> bool;
    /// The machine is like this from now on.
    fn health(&self, health: &Health);
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    Asked { until: Instant, press: Instant },
    Quitting { until: Instant },
    Killed,
}

impl Stage {
    /// When something is to be done.
    fn timer(self) -> Option<Instant> {
        match self {
            Stage::Running | Stage::Killed => None,
            Stage::Asked { until, press } => Some(until.min(press)),
            Stage::Quitting { until } => Some(until),
        }
    }
}

/// What is known of the machine.
#[derive(Debug, Default)]
struct Seen {
    shutdown: Option<(bool, String)>,
    panicked: bool,
    expired: bool,
    last_drive_failure: Option<String>,
    /// The drive whose full file system has paused the machine.
    full: Option<String>,
    /// It was asked and did not answer.
    silent: bool,
}

/// Runs until the VMM is gone. `stop` resolves when the Pod must end.
pub async fn supervise(
    handle: &Handle,
    events: &mut Events,
    stop: impl Future<Output = ()>,
    grace: Duration,
    around: &impl Surroundings,
) -> Ending {
    let mut stop = std::pin::pin!(stop);
    let mut stage = Stage::Running;
    let mut seen = Seen::default();
    let mut told = Health::Running;
    around.health(&told);
    let mut asked = ask(handle);
    let mut look = None;
    loop {
        let timer = stage.timer();
        tokio::select! {
            biased;
            event = events.next() => match event {
                Event::Exited(exit) => return ending(&seen, &exit, grace, around),
                event => seen.note(event),
            },
            () = &mut stop, if stage == Stage::Running => {
                tracing::info!(grace_seconds = grace.as_secs(), "asked to stop");
                let now = Instant::now();
                stage = step(handle, Stage::Asked { until: now + grace, press: now }, &mut seen).await;
            }
            () = at(timer), if timer.is_some() => stage = step(handle, stage, &mut seen).await,
            silent = &mut asked => {
                seen.silent = silent;
                asked = ask(handle);
            }
            () = at(look), if look.is_some() => {
                look = None;
                resume(handle, around).await;
            }
        }
        look = seen.full.as_ref().map(|_| look.unwrap_or_else(|| Instant::now() + LOOK_EVERY));
        let health = seen.health();
        if health != told {
            around.health(&health);
            told = health;
        }
    }
}

async fn at(timer: Option<Instant>) {
    match timer {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Asks the VMM how it is, after a while; true when it did not answer.
fn ask(handle: &Handle) -> Pin<Box<dyn Future<Output = bool>>> {
    let handle = handle.clone();
    Box::pin(async move {
        tokio::time::sleep(ASK_EVERY).await;
        matches!(handle.state().await, Err(ControlError::Silent { .. }))
    })
}

/// Lets a paused machine try its writes again once there is room. If there still is not enough, it pauses anew.
async fn resume(handle: &Handle, around: &impl Surroundings) {
    if around.has_room() {
        tracing::info!("there is room again, the guest goes on");
        if let Err(error) = handle.command(Command::Resume).await {
            tracing::warn!(%error, "the guest stays paused");
        }
    }
}

/// Does what is due in this stage. A VMM that does not answer is killed.
async fn step(handle: &Handle, stage: Stage, seen: &mut Seen) -> Stage {
    let now = Instant::now();
    let (command, next) = match stage {
        Stage::Asked { until, .. } if now < until => {
            (Command::PowerDown, Stage::Asked { until, press: now + PRESS_EVERY })
        }
        Stage::Running | Stage::Asked { .. } => {
            seen.expired = true;
            (Command::Quit, Stage::Quitting { until: now + QUIT_WITHIN })
        }
        Stage::Quitting { .. } | Stage::Killed => {
            handle.kill();
            return Stage::Killed;
        }
    };
    match handle.command(command.clone()).await {
        Ok(()) => next,
        Err(error) => {
            tracing::warn!(%error, ?command, "killing the VMM");
            seen.expired |= !matches!(error, ControlError::Gone);
            handle.kill();
            Stage::Killed
        }
    }
}

impl Seen {
    fn note(&mut self, event: Event) {
        match event {
            Event::Shutdown { guest, reason } => {
                tracing::info!(guest, reason, "the machine is off");
                self.shutdown = Some((guest, reason));
            }
            Event::Panicked => self.panicked = true,
            Event::DriveFailed { drive, reason, full, paused } => {
                tracing::warn!(drive, reason, paused, "a drive failed");
                self.last_drive_failure = Some(format!("drive {drive}: {reason}"));
                if full && paused {
                    self.full = Some(drive);
                }
            }
            Event::Reset { guest } => tracing::info!(guest, "the machine was reset"),
            Event::WatchdogExpired => tracing::warn!("the guest hung, its watchdog resets it"),
            Event::Paused => tracing::warn!("the machine is paused"),
            Event::Resumed => {
                tracing::info!("the machine runs again");
                self.full = None;
            }
            Event::Exited(_) => {}
        }
    }

    fn health(&self) -> Health {
        match (&self.full, self.silent) {
            (_, true) => Health::Silent,
            (Some(drive), false) => Health::DiskFull { drive: drive.clone() },
            (None, false) => Health::Running,
        }
    }
}

/// Upstream's rule: only a guest that shut itself down has succeeded.
fn ending(seen: &Seen, exit: &Exit, grace: Duration, around: &impl Surroundings) -> Ending {
    if seen.panicked {
        return Ending::failed("GuestPanicked", "the guest's kernel panicked");
    }
    if let Some((true, reason)) = &seen.shutdown {
        return match reason.as_str() {
            "guest-panic" => Ending::failed("GuestPanicked", "the guest's kernel panicked"),
            _ => Ending::succeeded("GuestShutdown", "the guest shut down"),
        };
    }
    if seen.expired {
        let message =
            format!("the guest did not shut down within {} seconds and was stopped", grace.as_secs());
        return Ending::failed("GracePeriodExpired", message);
    }
    if matches!(exit.cause, ExitCause::Signal(_)) && around.oom_killed() {
        let message =
            "the kernel killed QEMU: the Pod's memory limit is too low for the guest and QEMU itself";
        return Ending::failed("OOMKilled", message);
    }
    let mut message = format!("QEMU ended without the guest: {exit}");
    if let Some(failure) = &seen.last_drive_failure {
        message = format!("{message} (before that, {failure})");
    }
    Ending::failed("QemuCrashed", message)
}
