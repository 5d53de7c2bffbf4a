//! What a decision is: data, that leaves nothing to decide.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use scute_agent::protocol::StaticAddress;
use scute_api::metal3::{BareMetalHostStatus, ErrorType, HardwareDetails, ProvisioningState as State};
use scute_kit::Why;

use super::credentials::PIN;
use super::order::Order;
use super::seen::{Call, Job, Memory, Seen, Wish};
use super::transitions::Cause;
use crate::dataimage::Disc;
use scute_redfish as bmc;

/// What follows from what was seen: effects in their order, then the status, then the next run.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// What is done.
    pub effects: Vec<Effect>,
    /// What comes then.
    pub step: Step,
}

/// One thing that is done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// An order to the BMC, whose end starts another run.
    Call(Order),
    /// A BMC that does not answer is asked whether it does again; it must be away first, or not.
    Probe {
        /// It has answered before, and nothing came of it.
        must_fail: bool,
    },
    /// A new start from virtual media is remembered.
    Summon {
        /// 1 when the host did not come up before.
        attempt: u8,
        /// The ramdisk's; none is DHCP.
        addresses: Vec<StaticAddress>,
    },
    /// The host has been started from virtual media.
    Started,
    /// The agent has done what it was started for.
    Done,
    /// The agent is not wanted any more.
    Dismiss,
    /// Work for the agent.
    Offer(Job),
    /// What is in the host is kept.
    KeepHardware(Box<HardwareDetails>),
    /// An annotation that has been obeyed.
    RemoveAnnotation(&'static str),
    /// What became of the disc in the drive, or why that failed.
    Disc(Disc, Option<String>),
    /// Something that the user should hear of.
    Warn(&'static str, String),
    /// Everything that belongs to the host goes, and its finalizer last.
    Release,
}

/// What comes after the effects.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Another state.
    To(Cause),
    /// Another run, at once.
    Again,
    /// Something is waited for, at most so long.
    Wait(Why, Option<Duration>),
    /// All is as wanted; looked at again after so long.
    Settled(Duration),
    /// Nothing is left.
    Gone,
}

impl Turn {
    pub fn to(cause: Cause) -> Self {
        Self { effects: Vec::new(), step: Step::To(cause) }
    }

    pub fn wait(reason: &'static str, message: impl Into<String>) -> Self {
        Self { effects: Vec::new(), step: Step::Wait(Why::new(reason, message), None) }
    }

    pub fn again(effect: Effect) -> Self {
        Self { effects: vec![effect], step: Step::Again }
    }

    /// At most so long.
    pub fn for_at_most(mut self, limit: Duration) -> Self {
        if let Step::Wait(_, most) = &mut self.step {
            *most = Some(limit);
        }
        self
    }

    /// After this.
    pub fn after(mut self, effect: Effect) -> Self {
        self.effects.insert(0, effect);
        self
    }
}

/// What a decision writes down.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// The status as it becomes.
    pub status: BareMetalHostStatus,
    /// What is remembered by this process.
    pub memory: Memory,
}

/// The longest rest after failures.
const LONGEST_REST: Duration = Duration::from_secs(900);
/// The rest after a failure of a host that is being deleted.
const REST_IN_DELETION: Duration = Duration::from_secs(2);

impl Notes {
    /// The state that the host is in.
    pub fn state(&self) -> State {
        match self.status.provisioning.state {
            // Words of older releases.
            State::Ready => State::Available,
            State::MatchProfile => State::Preparing,
            state => state,
        }
    }

    /// Writes a failure down, and rests, longer each time.
    pub fn fail(&mut self, seen: &Seen<'_>, kind: ErrorType, why: impl Into<String>) -> Turn {
        self.error(kind, why);
        let rest = match seen.is_deleted() {
            true => REST_IN_DELETION,
            false => rest(seen.patience.rest, self.status.error_count),
        };
        self.memory.wish = Some(Wish::of(seen.host));
        self.memory.due = seen.now.checked_add(rest).ok();
        Turn::wait("Error", self.status.error_message.clone()).for_at_most(rest)
    }

    /// Writes a failure down that somebody has to change something about.
    pub fn stuck(&mut self, kind: ErrorType, why: impl Into<String>) -> Turn {
        let why = why.into();
        if self.status.error_type != Some(kind) || self.status.error_message != why {
            self.error(kind, why);
        }
        Turn::wait("Error", self.status.error_message.clone())
    }

    pub fn error(&mut self, kind: ErrorType, why: impl Into<String>) {
        self.status.error_type = Some(kind);
        self.status.error_message = why.into();
        self.status.error_count += 1;
    }

    /// Errors of these kinds are over.
    pub fn clear(&mut self, kinds: &[ErrorType]) {
        self.memory.due = None;
        if self.status.error_type.is_some_and(|kind| kinds.contains(&kind)) {
            self.status.error_type = None;
            self.status.error_message = String::new();
            self.status.error_count = 0;
        }
    }

    /// Has the BMC do something: gives how the host is when it is done, else the turn that leads there.
    pub fn order(&mut self, seen: &Seen<'_>, order: Order, kind: ErrorType) -> Result<bmc::State, Turn> {
        match &seen.call {
            Call::Ended(ended, Ok(state)) if *ended == order => {
                self.heard(seen, *state);
                self.clear(&[
                    ErrorType::Registration,
                    ErrorType::ProvisionedRegistration,
                    ErrorType::PowerManagement,
                    kind,
                ]);
                Ok(*state)
            }
            Call::Ended(ended, Err(error)) if *ended == order => Err(self.failed(seen, kind, error)),
            Call::Running(running) if *running == order => Err(Turn::wait("Working", order.words())),
            _ => Err(match self.resting(seen) {
                Some(turn) => turn,
                None => {
                    self.memory.asked = Some(seen.now);
                    Turn::wait("Working", order.words()).after(Effect::Call(order))
                }
            }),
        }
    }

    /// The BMC has answered.
    fn heard(&mut self, seen: &Seen<'_>, state: bmc::State) {
        self.memory.failing_since = None;
        self.memory.early = false;
        self.memory.looked = Some(seen.now);
        self.memory.health = Some(state.health);
        match state.power {
            bmc::Power::On | bmc::Power::PoweringOn => self.status.powered_on = true,
            bmc::Power::Off => self.status.powered_on = false,
            bmc::Power::PoweringOff | bmc::Power::Unknown => {}
        }
    }

    /// The BMC has not done it.
    fn failed(&mut self, seen: &Seen<'_>, kind: ErrorType, error: &bmc::Error) -> Turn {
        let since = self.memory.asked.unwrap_or(seen.now);
        self.memory.failing_since.get_or_insert(since);
        let kind = match error {
            bmc::Error::Unreachable(_)
            | bmc::Error::Tls { .. }
            | bmc::Error::Refused(_)
            | bmc::Error::Locked
            | bmc::Error::NoSystem(_) => registration_error(self.state()),
            bmc::Error::Busy { .. }
            | bmc::Error::NotSupported(_)
            | bmc::Error::Rejected { .. }
            | bmc::Error::NotTaken { .. } => kind,
        };
        let advice = match error {
            bmc::Error::Tls { .. } if seen.host.annotations().contains_key(PIN) => {
                "; the one that it showed at first is in the annotation scute.dev/bmc-certificate: remove that when the \
                 certificate was renewed"
            }
            bmc::Error::Tls { .. } => {
                "; put its authority into ca.crt of the Secret, or set spec.bmc.disableCertificateVerification"
            }
            _ => "",
        };
        let turn = self.fail(seen, kind, format!("{error}{advice}"));
        match error {
            bmc::Error::Unreachable(_) if !seen.is_deleted() => {
                turn.after(Effect::Probe { must_fail: self.memory.early })
            }
            _ => turn,
        }
    }

    /// Whether nothing is to be tried yet.
    pub fn resting(&self, seen: &Seen<'_>) -> Option<Turn> {
        let due = self.memory.due.filter(|_| self.memory.wish == Some(Wish::of(seen.host)))?;
        let left = until(seen.now, due)?;
        Some(Turn::wait("Error", self.status.error_message.clone()).for_at_most(left))
    }
}

impl Notes {
    /// What is left of the rest between two tries to write an image.
    pub fn rest_between_tries(&self, seen: &Seen<'_>) -> Option<Duration> {
        let failures = Some(self.status.provisioning_fail_count).filter(|failures| *failures > 0)?;
        let since = self.status.last_updated.as_ref()?.0;
        until(seen.now, since.checked_add(rest(seen.patience.rest, failures)).ok()?)
    }
}

/// What an error of a BMC's credentials or connection is called in a state.
pub fn registration_error(state: State) -> ErrorType {
    match state {
        State::Provisioned | State::ExternallyProvisioned => ErrorType::ProvisionedRegistration,
        _ => ErrorType::Registration,
    }
}

/// The rest after so many failures in a row.
fn rest(first: Duration, failures: i64) -> Duration {
    let doublings = u32::try_from(failures.clamp(1, 16)).unwrap_or(16) - 1;
    first.saturating_mul(1 << doublings).min(LONGEST_REST.max(first))
}

/// The time from one to the other, if it is not over.
pub fn until(now: Timestamp, then: Timestamp) -> Option<Duration> {
    let left = then.duration_since(now);
    (left > SignedDuration::ZERO).then(|| left.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_double_up_to_a_quarter_of_an_hour() {
        let seconds: Vec<_> = (1..8).map(|n| rest(Duration::from_secs(30), n).as_secs()).collect();
        assert_eq!(seconds, [30, 60, 120, 240, 480, 900, 900]);
        assert_eq!(rest(Duration::from_secs(30), i64::MAX).as_secs(), 900);
    }
}
