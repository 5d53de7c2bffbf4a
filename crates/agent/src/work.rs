//! What the metal room wants, one after the other, until the machine ends.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use rustix::time::{ClockId, Timespec, clock_settime};
use tokio::time::{Instant, sleep_until};

use crate::inventory::Machine;
use crate::protocol::{Hello, Parameters, Report, Said, Work};
use crate::service::{Service, ServiceError};

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
            work => Some(perform(&service, machine, work).await),
        };
        if let Some(report) = report {
            service.tell(&report).await?;
            last = Some(report);
        }
    }
}

async fn perform(service: &Service, machine: &Machine, work: Work) -> Report {
    let id = work.id().unwrap_or_default().to_owned();
    tracing::info!(id, kind = work.kind(), "begins");
    let what = match work {
        Work::Inspect { .. } => Said::Inspected { inventory: Box::new(machine.inventory()) },
        _ => Said::Failed { why: "this agent does not know how".into() },
    };
    let _ = service;
    tracing::info!(id, "ends");
    Report { id, what }
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

/// Tells this boot from any other.
fn boot() -> String {
    let mut bytes = [0; 16];
    // Without randomness TLS would not work either.
    let _ = rand::fill(&mut bytes);
    hex::encode(bytes)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or_default()
}

fn set_clock(seconds: i64) {
    if let Err(error) = clock_settime(ClockId::Realtime, Timespec { tv_sec: seconds, tv_nsec: 0 }) {
        tracing::warn!(%error, "the clock is not set");
    }
}
