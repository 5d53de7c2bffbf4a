//! Watches a running machine until its end, and asks it to end when the Pod must go.
//!
//! ```text
//! Running --stop--> Asked (power button, again every few seconds) --grace over--> Quitting --grace over--> Killed
//!    \___________________________ guest off, panic, QEMU gone: Ending _____________________________________/
//! ```

use std::time::Duration;

use scute_qemu::{Command, ControlError, Event, Exit, ExitCause, Machine};
use tokio::time::{Instant, sleep_until};

use super::ending::Ending;

/// A guest that still boots ignores the power button, so it is pressed again.
const PRESS_EVERY: Duration = Duration::from_secs(3);
/// QEMU quits at once unless its main loop hangs.
const QUIT_WITHIN: Duration = Duration::from_secs(5);

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    Asked { until: Instant, press: Instant },
    Quitting { until: Instant },
    Killed,
}

/// What is known when QEMU is gone.
#[derive(Debug, Default)]
struct Seen {
    shutdown: Option<(bool, String)>,
    panicked: bool,
    expired: bool,
    last_drive_failure: Option<String>,
}

/// Runs until the VMM is gone. `stop` resolves when the Pod must end; `oom_killed` says whether the kernel has killed
/// a process of this container for its memory limit.
pub async fn supervise<M: Machine>(
    machine: &mut M,
    stop: impl Future<Output = ()>,
    grace: Duration,
    oom_killed: impl Fn() -> bool,
) -> Ending {
    let mut stop = std::pin::pin!(stop);
    let mut stage = Stage::Running;
    let mut seen = Seen::default();
    loop {
        let timer = match stage {
            Stage::Running | Stage::Killed => None,
            Stage::Asked { until, press } => Some(until.min(press)),
            Stage::Quitting { until } => Some(until),
        };
        tokio::select! {
            biased;
            event = machine.event() => match event {
                Event::Exited(exit) => return ending(&seen, &exit, grace, &oom_killed),
                event => seen.note(event),
            },
            () = &mut stop, if stage == Stage::Running => {
                tracing::info!(grace_seconds = grace.as_secs(), "asked to stop");
                let now = Instant::now();
                stage = step(machine, Stage::Asked { until: now + grace, press: now }, &mut seen).await;
            }
            () = at(timer), if timer.is_some() => stage = step(machine, stage, &mut seen).await,
        }
    }
}

async fn at(timer: Option<Instant>) {
    match timer {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Does what is due in this stage. A VMM that does not answer is killed.
async fn step<M: Machine>(machine: &mut M, stage: Stage, seen: &mut Seen) -> Stage {
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
            machine.kill();
            return Stage::Killed;
        }
    };
    match machine.command(command).await {
        Ok(()) => next,
        Err(error) => {
            tracing::warn!(%error, ?command, "killing the VMM");
            seen.expired |= !matches!(error, ControlError::Gone);
            machine.kill();
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
            Event::DriveFailed { drive, reason, paused } => {
                tracing::warn!(drive, reason, paused, "a drive failed");
                self.last_drive_failure = Some(format!("drive {drive}: {reason}"));
            }
            Event::Reset { guest } => tracing::info!(guest, "the machine was reset"),
            Event::Paused => tracing::warn!("the machine is paused"),
            Event::Resumed => tracing::info!("the machine runs again"),
            Event::Exited(_) => {}
        }
    }
}

/// Upstream's rule: only a guest that shut itself down has succeeded.
fn ending(seen: &Seen, exit: &Exit, grace: Duration, oom_killed: &impl Fn() -> bool) -> Ending {
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
    if matches!(exit.cause, ExitCause::Signal(_)) && oom_killed() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ending::Phase;
    use scute_qemu::bootsector::Guest;
    use scute_qemu::fake::{FakeVmm, Fault};
    use scute_qemu::{MachineConfig, Vmm};

    async fn end(vmm: FakeVmm, stopped: bool, grace: Duration, oom: bool) -> (String, Phase, Duration) {
        let mut machine = vmm.start(&nothing()).await.unwrap();
        let start = Instant::now();
        let stop = async {
            if !stopped {
                std::future::pending::<()>().await;
            }
        };
        let ending = supervise(&mut machine, stop, grace, || oom).await;
        (ending.reason, ending.phase, start.elapsed())
    }

    fn nothing() -> MachineConfig {
        crate::machine::tests::config()
    }

    fn fake(guest: Guest) -> FakeVmm {
        FakeVmm::new(guest, "")
    }

    /// Short, but told apart from nothing at all.
    const GRACE: Duration = Duration::from_millis(300);

    #[tokio::test]
    async fn only_the_guest_s_own_shutdown_succeeds() {
        let (reason, phase, _) = end(fake(Guest::PowersOff), false, GRACE, false).await;
        assert_eq!((reason.as_str(), phase), ("GuestShutdown", Phase::Succeeded));
        let (reason, phase, _) = end(fake(Guest::WaitsForButton), true, GRACE, false).await;
        assert_eq!((reason.as_str(), phase), ("GuestShutdown", Phase::Succeeded));
        let (reason, phase, _) = end(fake(Guest::Hangs).with(Fault::GuestPanics), false, GRACE, false).await;
        assert_eq!((reason.as_str(), phase), ("GuestPanicked", Phase::Failed));
    }

    #[tokio::test]
    async fn a_hung_guest_gets_its_grace_and_no_more() {
        let (reason, phase, took) = end(fake(Guest::Hangs), true, GRACE, false).await;
        assert_eq!((reason.as_str(), phase), ("GracePeriodExpired", Phase::Failed));
        assert!(took >= GRACE && took < GRACE + PRESS_EVERY, "{took:?}");
    }

    #[tokio::test]
    async fn no_grace_means_at_once() {
        let (reason, _, took) = end(fake(Guest::WaitsForButton), true, Duration::ZERO, false).await;
        assert_eq!(reason, "GracePeriodExpired");
        assert!(took < GRACE, "{took:?}");
    }

    #[tokio::test]
    async fn a_vmm_that_answers_nothing_is_killed() {
        let (reason, phase, _) =
            end(fake(Guest::Hangs).with(Fault::AnswersNothing), true, GRACE, false).await;
        assert_eq!((reason.as_str(), phase), ("GracePeriodExpired", Phase::Failed));
    }

    #[tokio::test]
    async fn a_killed_vmm_is_told_apart_from_a_full_cgroup() {
        let killed = || fake(Guest::Hangs).with(Fault::KilledBy(9));
        assert_eq!(end(killed(), false, GRACE, false).await.0, "QemuCrashed");
        assert_eq!(end(killed(), false, GRACE, true).await.0, "OOMKilled");
    }

    #[tokio::test]
    async fn a_vmm_that_ends_while_we_ask_did_not_expire() {
        let mut machine = fake(Guest::Hangs).with(Fault::KilledBy(15)).start(&nothing()).await.unwrap();
        let mut seen = Seen::default();
        let asked = Stage::Asked { until: Instant::now() + GRACE, press: Instant::now() };
        assert_eq!(step(&mut machine, asked, &mut seen).await, Stage::Killed);
        assert!(!seen.expired);
    }

    #[tokio::test]
    async fn a_full_disk_pauses_and_is_not_the_end() {
        let (reason, _, took) = end(fake(Guest::Hangs).with(Fault::DiskFull), true, GRACE, false).await;
        assert_eq!(reason, "GracePeriodExpired");
        assert!(took >= GRACE);
    }
}
