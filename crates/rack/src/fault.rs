//! What goes wrong with a host on command.

use std::time::Duration;

use scute_bmc::{Fault as Wrong, Rule, Service};
use scute_qemu::{Bad, BadSpot};
use serde::{Deserialize, Serialize};

use crate::config::random_hex;
use crate::host::Host;

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fault {
    /// Requests are answered with a status, and not done.
    Http {
        /// The status.
        status: u16,
        /// `MessageId` of the answer.
        message: Option<String>,
        /// `Retry-After` of the answer, in seconds.
        retry_after: Option<u64>,
        /// Which requests.
        which: Which,
    },
    /// Requests are not answered at all.
    Hang(Which),
    /// Answers come late.
    Slow {
        /// By how many seconds.
        seconds: u64,
        /// Which.
        which: Which,
    },
    /// Connections end in the middle of an answer.
    Cut(Which),
    /// Success is answered, and nothing is done.
    Ignored(Which),
    /// Answers are no JSON.
    Garbage(Which),
    /// The power fails before something is written at a byte of a disk, once. The host stays off.
    PowerCut(At),
    /// Reading and writing a byte of a disk fails.
    DiskError(At),
    /// Power orders are accepted, and done later.
    SlowPower {
        /// After how many seconds.
        seconds: u64,
    },
    /// Wrong passwords lock the account.
    LockOut {
        /// After how many of them.
        after: u32,
        /// For how many seconds.
        seconds: u64,
    },
    /// The BMC's password is another one.
    WrongPassword,
    /// The BMC forgets every session.
    Restart,
    /// A network card has a link, or none.
    Link {
        /// Its number, from 0.
        nic: usize,
        /// Whether.
        up: bool,
    },
    /// Nothing goes wrong any more, but cables stay as they are. `password` is the one in the host's folder.
    Clear {
        /// The password that is right again.
        password: String,
    },
}

/// A place of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct At {
    /// The disk's number, from 0.
    pub disk: usize,
    /// In bytes. The sector that has it is meant.
    pub offset: u64,
}

/// Which requests a fault is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Which {
    /// How many; all when there is no number.
    pub times: Option<u32>,
    /// With this method only.
    pub method: Option<String>,
    /// With this in the path only.
    pub path: String,
}

/// Lets it go wrong.
pub async fn inject(host: &Host, service: &Service, fault: Fault) -> Result<(), String> {
    let (fault, which) = match fault {
        Fault::Http { status, message, retry_after, which } => {
            if !(100..=599).contains(&status) {
                return Err(format!("status {status}: from 100 to 599 are possible"));
            }
            let retry_after = retry_after.map(Duration::from_secs);
            (Wrong::Http { status, message_id: message, retry_after }, which)
        }
        Fault::Hang(which) => (Wrong::Hang, which),
        Fault::Slow { seconds, which } => (Wrong::Slow(Duration::from_secs(seconds)), which),
        Fault::Cut(which) => (Wrong::Cut, which),
        Fault::Ignored(which) => (Wrong::Ignored, which),
        Fault::Garbage(which) => (Wrong::Garbage, which),
        Fault::PowerCut(at) => return spoil(host, at, Bad::Full).await,
        Fault::DiskError(at) => return spoil(host, at, Bad::Fails).await,
        Fault::SlowPower { seconds } => {
            service.slow_power(Duration::from_secs(seconds));
            return Ok(());
        }
        Fault::LockOut { after: 0, .. } => return Err("no wrong password locks no account: from 1 on".into()),
        Fault::LockOut { after, seconds } => {
            service.lock_out(after, Duration::from_secs(seconds));
            return Ok(());
        }
        Fault::WrongPassword => {
            service.set_password(&random_hex::<12>().map_err(|error| error.to_string())?);
            return Ok(());
        }
        Fault::Restart => {
            service.restart();
            return Ok(());
        }
        Fault::Link { nic, up } => return host.link(nic, up).await.map_err(|error| error.0),
        Fault::Clear { password } => {
            service.clear_faults();
            service.set_password(&password);
            for disk in 0..host.config.disks.len() {
                host.spoil(disk, None).await.map_err(|error| error.0)?;
            }
            return Ok(());
        }
    };
    service.inject(rule(fault, which)?);
    Ok(())
}

async fn spoil(host: &Host, at: At, what: Bad) -> Result<(), String> {
    let spot = BadSpot { offset: at.offset, what };
    host.spoil(at.disk, Some(spot)).await.map_err(|error| error.0)
}

fn rule(fault: Wrong, which: Which) -> Result<Rule, String> {
    let Which { times, method, path } = which;
    let rule = match times {
        Some(times) => Rule::times(times, &path, fault),
        None => Rule::always(&path, fault),
    };
    let Some(method) = method else { return Ok(rule) };
    let known = method.parse().map_err(|_| format!("{method:?} is no method of HTTP"))?;
    Ok(rule.on(known))
}
