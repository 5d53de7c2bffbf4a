//! What the metal room wants, one after the other, until the machine ends.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use tokio::time::{Instant, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::inventory::Machine;
use crate::protocol::{Hello, PROGRESS_SECONDS, Parameters, Report, Said, Work};
use crate::service::{Service, ServiceError, Wanted};
use crate::tasks;
use crate::write::Progress;

/// How a machine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Into what was written.
    Reboot,
    /// For good.
    PowerOff,
}

/// A service that does not hold a question back is not asked more often than this.
const BETWEEN: Duration = Duration::from_secs(1);

/// From hello to the end.
pub async fn run(parameters: &Parameters, machine: &Machine) -> Result<End, ServiceError> {
    let hello = Hello {
        host: parameters.host.clone(),
        token: parameters.token.clone(),
        boot: boot(),
        system_uuid: machine.system_uuid(),
        serial: machine.serial(),
        macs: machine.macs(),
        clock: now(),
    };
    tracing::info!(service = parameters.service, host = parameters.host, "hello");
    let (service, welcome) = Service::open(parameters, &hello).await?;
    if machine.is_here() {
        set_clock(welcome.clock);
    }
    tracing::info!("welcome");
    let mut last: Option<Report> = None;
    loop {
        let asked = Instant::now();
        let work = service.work().await?;
        let report = match work {
            Work::Reboot => return Ok(End::Reboot),
            Work::PowerOff => return Ok(End::PowerOff),
            Work::Wait => {
                sleep_until(asked + BETWEEN).await;
                continue;
            }
            // Done already, and the metal room has forgotten that it was told.
            work if last.as_ref().is_some_and(|last| Some(last.id.as_str()) == work.id()) => last.take(),
            work => perform(&service, machine, work).await,
        };
        if let Some(report) = report {
            service.tell(&report).await?;
            last = Some(report);
        }
    }
}

/// Does it, and tells how far it is; nothing when it is not wanted any more.
async fn perform(service: &Service, machine: &Machine, work: Work) -> Option<Report> {
    let id = work.id()?.to_owned();
    tracing::info!(id, kind = work.kind(), "begins");
    let (progress, stop) = (Arc::new(Progress::default()), CancellationToken::new());
    let doing = tasks::perform(machine, work, &progress, &stop);
    tokio::pin!(doing);
    let mut ticks = interval(Duration::from_secs(PROGRESS_SECONDS));
    let what = loop {
        tokio::select! {
            what = &mut doing => break what,
            _ = ticks.tick() => {
                let (percent, left) = progress.now();
                let report = Report { id: id.clone(), what: Said::Progress { percent, left } };
                if service.mention(&report).await == Wanted::No {
                    tracing::warn!(id, "is not wanted any more");
                    stop.cancel();
                    // Its end is waited for: what comes next may want the same disk.
                    doing.await;
                    return None;
                }
            }
        }
    };
    match &what {
        Said::Failed { why } => tracing::error!(id, why, "failed"),
        _ => tracing::info!(id, peak_kib = peak(), "ends"),
    }
    Some(Report { id, what })
}

impl Work {
    fn id(&self) -> Option<&str> {
        match self {
            Work::Inspect { id } | Work::Clean { id, .. } | Work::Write { id, .. } => Some(id),
            Work::Wait | Work::Reboot | Work::PowerOff => None,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Work::Wait => "wait",
            Work::Inspect { .. } => "inspect",
            Work::Clean { .. } => "clean",
            Work::Write { .. } => "write",
            Work::Reboot => "reboot",
            Work::PowerOff => "power off",
        }
    }
}

/// The most memory that this process has had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// Tells this boot from any other.
fn boot() -> String {
    let mut bytes = [0; 16];
    // Without randomness TLS would not work either.
    let _ = rand::fill(&mut bytes);
    hex::encode(bytes)
}

fn now() -> i64 {
    clock_gettime(ClockId::Realtime).tv_sec
}

fn set_clock(seconds: i64) {
    if let Err(error) = clock_settime(ClockId::Realtime, Timespec { tv_sec: seconds, tv_nsec: 0 }) {
        tracing::warn!(%error, "the clock is not set");
    }
}
