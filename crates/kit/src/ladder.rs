//! The ladder: the shape of a controller whose object comes up in stages, one obstacle at a time.
//!
//! A run climbs stage by stage, and each stage reads, decides and writes what is its own. The first obstacle ends the
//! run as a [`Stop`], which says at which stage, why, and when it is tried again. The conditions follow from that: the
//! stages before it are passed, its own condition is False, and all later ones are Unknown and name it.

use std::fmt::Debug;
use std::time::Duration;

use kube::Resource;
use kube::runtime::events::EventType;
use serde::Serialize;
use serde_json::Value;

use crate::conditions::{Draft, Status};
use crate::controller::{Next, Why};
use crate::hub::Hub;
use crate::key::Kind;

/// The stages of an object, in the order of their variants.
pub trait Stage: Copy + Ord + Debug + 'static {
    /// All of them, in their order.
    const ALL: &'static [Self];

    /// Type of the condition that is True once the stage is passed.
    fn condition(self) -> &'static str;

    /// What has to be so for the stage to be passed, as the documentation says it.
    fn goal(self) -> &'static str;
}

/// When a run that stopped is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// When something that is watched changes.
    OnChange,
    /// When something that is watched changes, and then at the latest.
    After(Duration),
    /// After a while, longer each time.
    Backoff,
}

/// What stopped a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop<S> {
    /// At which stage.
    pub stage: S,
    /// Why.
    pub why: Why,
    /// When it is tried again.
    pub retry: Retry,
}

impl<S: Stage> Stop<S> {
    /// Stopped until something changes.
    pub fn wait(stage: S, why: Why) -> Self {
        Self { stage, why, retry: Retry::OnChange }
    }

    /// Stopped until something changes, or for so long.
    pub fn wait_for(rest: Duration, stage: S, why: Why) -> Self {
        Self { stage, why, retry: Retry::After(rest) }
    }

    /// Stopped by a failure.
    pub fn failed(stage: S, why: Why) -> Self {
        Self { stage, why, retry: Retry::Backoff }
    }

    /// Waiting for an address or for a store to get ready is part of every start: nobody needs an event about that. Such
    /// reasons begin with `WaitingFor`.
    #[must_use]
    pub fn is_worth_an_event(&self) -> bool {
        !self.why.reason.starts_with("WaitingFor") && self.why.reason != "Deleting"
    }

    /// What comes after a run that stopped here.
    #[must_use]
    pub fn next(self) -> Next {
        match self.retry {
            Retry::OnChange => Next::OnChange(self.why),
            Retry::After(rest) => Next::After(rest, self.why),
            Retry::Backoff => Next::Failed(self.why),
        }
    }
}

/// Reason of the conditions of stages that were not reached.
const WAITING: &str = "Waiting";

/// The conditions of all stages. `passed` gives that of a stage that did not stop the run and is not behind one that
/// did.
pub fn conditions<S: Stage>(
    stopped: Option<&Stop<S>>,
    passed: impl Fn(S) -> Draft,
) -> impl Iterator<Item = Draft> {
    S::ALL.iter().map(move |stage| match stopped {
        Some(stop) if stop.stage == *stage => {
            Draft::new(stage.condition(), Status::False, &stop.why.reason, stop.why.message.as_str())
        }
        Some(stop) if stop.stage < *stage => {
            let message = format!("waits for {}", stop.stage.condition());
            Draft::new(stage.condition(), Status::Unknown, WAITING, message)
        }
        _ => passed(*stage),
    })
}

/// Ends a run: writes the status, tells who has to act, and says when the next run is due. `settled` is what follows
/// when every stage was passed. A run that was stopped by what passes by itself leaves no trace: the next one tells.
pub async fn finish<K, S>(
    hub: &Hub,
    object: &K,
    status: Value,
    stopped: Option<Stop<S>>,
    settled: impl FnOnce() -> Next,
) -> Next
where
    K: Kind + Serialize + Resource<DynamicType = ()>,
    S: Stage,
{
    if let Some(stop) = stopped.as_ref().filter(|stop| stop.why.passes()) {
        return Next::Failed(stop.why.clone());
    }
    if let Err(error) = hub.patch_status(object, status).await {
        return match error.is_not_found() {
            true => Next::Settled,
            false => Next::Failed(Why::of("StatusFailed", &error)),
        };
    }
    let Some(stop) = stopped else { return settled() };
    if stop.is_worth_an_event() {
        hub.event(object, EventType::Warning, &stop.why.reason, &stop.why.message).await;
    }
    stop.next()
}

/// The stages as the documentation has them.
#[must_use]
pub fn drawing<S: Stage>() -> String {
    let width = S::ALL.iter().map(|stage| stage.condition().len()).max().unwrap_or_default();
    let lines = S::ALL.iter().enumerate().map(|(index, stage)| {
        format!("{} {:<width$}  {}", if index == 0 { " " } else { "v" }, stage.condition(), stage.goal())
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    enum House {
        Ground,
        Walls,
        Roof,
    }

    impl Stage for House {
        const ALL: &'static [Self] = &[Self::Ground, Self::Walls, Self::Roof];

        fn condition(self) -> &'static str {
            match self {
                Self::Ground => "GroundReady",
                Self::Walls => "WallsReady",
                Self::Roof => "RoofReady",
            }
        }

        fn goal(self) -> &'static str {
            match self {
                Self::Ground => "the ground bears",
                Self::Walls => "the walls stand",
                Self::Roof => "the roof is on",
            }
        }
    }

    fn told(stopped: Option<&Stop<House>>) -> Vec<String> {
        let line = |draft: Draft| {
            format!("{} {} {} {}", draft.type_, draft.status.as_str(), draft.reason, draft.message)
        };
        let passed = |stage: House| Draft::new(stage.condition(), true, "Built", stage.goal());
        conditions(stopped, passed).map(line).collect()
    }

    #[test]
    fn conditions_follow_from_the_stage_that_was_reached() {
        let rain = Stop::wait(House::Walls, Why::new("Rain", "it rains"));
        assert_eq!(
            told(Some(&rain)),
            [
                "GroundReady True Built the ground bears",
                "WallsReady False Rain it rains",
                "RoofReady Unknown Waiting waits for WallsReady",
            ]
        );
        assert!(told(None).iter().all(|line| line.contains("True Built")));
    }

    #[test]
    fn every_way_to_stop_says_what_comes_next() {
        let why = || Why::new("Rain", "it rains");
        let minute = Duration::from_secs(60);
        assert_eq!(Stop::wait(House::Roof, why()).next(), Next::OnChange(why()));
        assert_eq!(Stop::wait_for(minute, House::Roof, why()).next(), Next::After(minute, why()));
        assert_eq!(Stop::failed(House::Roof, why()).next(), Next::Failed(why()));
        assert!(Stop::wait(House::Roof, why()).is_worth_an_event());
        assert!(!Stop::wait(House::Roof, Why::new("WaitingForTiles", "")).is_worth_an_event());
    }

    #[test]
    fn the_drawing_has_every_stage_in_its_order() {
        assert_eq!(
            drawing::<House>(),
            "  GroundReady  the ground bears\nv WallsReady   the walls stand\nv RoofReady    the roof is on"
        );
    }
}
