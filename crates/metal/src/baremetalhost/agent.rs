//! The agent on a host: how it is brought there, and to work. Pure.

use scute_agent::protocol::Said;
use scute_api::metal3::{ErrorType, ProvisioningState as State};

use super::boot::Boot;
use super::machine::firmware;
use super::order::Order;
use super::seen::{Agent, Job, Seen, Session};
use super::turn::{Effect, Notes, Turn, until};

impl Notes {
    /// The agent of this boot, started for one of these states; else what leads there.
    pub fn agent<'a>(&mut self, seen: &'a Seen<'_>, purposes: &[State]) -> Result<&'a Session, Obstacle> {
        let boot = match &seen.agent {
            Agent::Away => return Err(self.summon(seen, 0)),
            Agent::Awaited(boot) | Agent::Stranger(boot, _) => boot,
            Agent::Here(session) => &session.boot,
        };
        if !purposes.contains(&boot.purpose) {
            return Err(Turn::again(Effect::Dismiss).into());
        }
        match &seen.agent {
            Agent::Here(session) if session.silent > seen.patience.silence => {
                let silent = session.silent.as_secs();
                Err(Obstacle::Lost(format!("the agent on the host has not been heard for {silent} s")))
            }
            Agent::Here(session) => Ok(session),
            Agent::Stranger(_, why) => Err(Obstacle::Lost(why.clone())),
            Agent::Away | Agent::Awaited(_) => Err(self.awaited(seen, boot)),
        }
    }

    /// A start from virtual media, from its beginning.
    fn summon(&mut self, seen: &Seen<'_>, attempt: u8) -> Obstacle {
        match (self.resting(seen), seen.network) {
            (Some(turn), _) => turn.into(),
            (None, Ok(addresses)) => {
                Turn::again(Effect::Summon { attempt, addresses: addresses.clone() }).into()
            }
            // Nobody will mend it.
            (None, Err(why)) if seen.is_deleted() => Obstacle::Lost(why.clone()),
            (None, Err(why)) => self.stuck(agents_error(self.state()), why.as_str()).into(),
        }
    }

    fn awaited(&mut self, seen: &Seen<'_>, boot: &Boot) -> Obstacle {
        let Some(started) = boot.started else {
            let mode = firmware(seen.host.boot_mode());
            let order = Order::StartMedium { url: seen.medium.clone(), mode, attempt: boot.attempt };
            return match self.bmc(seen, order, ErrorType::PowerManagement) {
                Ok(_) => Turn::again(Effect::Started).into(),
                Err(turn) => turn.into(),
            };
        };
        let end = started.checked_add(seen.patience.boot).unwrap_or(started);
        match until(seen.now, end) {
            Some(left) => {
                Turn::wait("WaitingForAgent", "the host starts from virtual media").for_at_most(left).into()
            }
            None if boot.attempt == 0 => self.summon(seen, 1),
            None => Obstacle::Lost(format!(
                "the host was started from virtual media twice, and no agent called back within {} s; look at its \
                 console, and whether it reaches {}",
                seen.patience.boot.as_secs(),
                seen.service
            )),
        }
    }

    /// Ends what an agent could not do.
    pub fn lost(&mut self, seen: &Seen<'_>, kind: ErrorType, obstacle: Obstacle) -> Turn {
        match obstacle {
            Obstacle::Turn(turn) => turn,
            Obstacle::Lost(why) => self.fail(seen, kind, why).after(Effect::Dismiss),
        }
    }
}

/// What an error of an agent is called in a state.
fn agents_error(state: State) -> ErrorType {
    match state {
        State::Inspecting => ErrorType::Inspection,
        State::Provisioning => ErrorType::Provisioning,
        _ => ErrorType::Preparation,
    }
}

/// What is in the way of an agent's work.
pub enum Obstacle {
    /// This comes first.
    Turn(Turn),
    /// This agent will not do it.
    Lost(String),
}

impl From<Turn> for Obstacle {
    fn from(turn: Turn) -> Self {
        Self::Turn(turn)
    }
}

/// Has the agent do something: gives the end, else what leads there.
pub fn work<'a>(seen: &Seen<'_>, session: &'a Session, job: Job) -> Result<&'a Said, Obstacle> {
    let working = |percent, left| {
        // A silent agent cannot be watched.
        Turn::wait("Working", progress(job, percent, left)).for_at_most(seen.patience.silence)
    };
    match &session.work {
        Some((given, said)) if *given == job => match said {
            None => Err(working(0, None).into()),
            Some(Said::Progress { percent, left }) => Err(working(*percent, *left).into()),
            Some(Said::Failed { why }) => Err(Obstacle::Lost(why.clone())),
            Some(said) => Ok(said),
        },
        _ => Err(working(0, None).after(Effect::Offer(job)).into()),
    }
}

/// How far it is, as a person says it.
fn progress(job: Job, percent: u8, left: Option<u64>) -> String {
    let what = match job {
        Job::Inspect => "the hardware is looked at",
        Job::Clean => "the disks are cleaned",
        Job::Write => "the image is written",
    };
    match (percent, left) {
        (0, None) => what.to_owned(),
        (percent, None) => format!("{what}: {percent} %"),
        (percent, Some(left)) => format!("{what}: {percent} %, about {left} s to go"),
    }
}

/// An answer to another question.
pub fn odd(said: &Said) -> Obstacle {
    let what = match said {
        Said::Progress { .. } => "progress",
        Said::Inspected { .. } => "an inventory",
        Said::Cleaned { .. } => "clean disks",
        Said::Written { .. } => "a written image",
        Said::Failed { .. } => "a failure",
    };
    Obstacle::Lost(format!("the agent reports {what}, for which it was not asked"))
}

/// Whether the agent has done what it was started for.
pub fn is_done(seen: &Seen<'_>, purposes: &[State]) -> bool {
    matches!(&seen.agent, Agent::Here(session) if session.boot.done && purposes.contains(&session.boot.purpose))
}
