//! The writes of a Machine's reconcile.

use std::time::Duration;

use jiff::Timestamp;
use scute_api::cluster::{MACHINE_FINALIZER, Machine};
use scute_contract::External;
use scute_contract::owners::adopt;
use scute_contract::summary::listed;
use scute_kit::conditions::find;
use scute_kit::tenants::TenantKey;
use scute_kit::{EventType, Key, Next, Why, finalizer};
use serde_json::json;

use super::deletion::{self, Progress, Removal, Stage};
use super::observe::Observed;
use super::plan::{Action, Part, Plan, Reached};
use super::tenant::{self, Answer, Ask};
use super::{Context, Deleting, failed, failure, report};
use crate::calls::Call;

/// Writes what the plan says; stops at the first failure, and says what follows from it.
pub async fn apply(seen: &Observed, plan: &Plan, context: &Context) -> Result<(), Next> {
    let key = Key::of(seen.machine.as_ref());
    for action in &plan.actions {
        match action {
            Action::AddFinalizer => {
                finalizer::ensure(&context.hub, &seen.machine, MACHINE_FINALIZER).await.map(|_| ())
            }
            Action::BelongToCluster(patch) => {
                let mut patch = patch.clone();
                // The finalizer may just have been written: the newer copy is as good as the older one,
                // as owner references are nobody else's business.
                if let Some(metadata) = patch["metadata"].as_object_mut() {
                    metadata.remove("resourceVersion");
                }
                context.hub.patch::<Machine>(&key, &patch).await.map(|_| ())
            }
            Action::Adopt(part, owner) => match external(seen, *part) {
                Some(external) => adopt(&context.hub, external, owner, &seen.machine.spec.cluster_name).await,
                None => Ok(()),
            },
            Action::PatchSpec(patch) => context.hub.patch::<Machine>(&key, patch).await.map(|_| ()),
            Action::PatchNode { name, patch } => {
                patch_node(seen, context, name, patch).map_err(|why| Next::After(ASK_AGAIN, why))?;
                Ok(())
            }
        }
        .map_err(|error| failed(&error))?;
    }
    Ok(())
}

fn external(seen: &Observed, part: Part) -> Option<&External> {
    match part {
        Part::Bootstrap => seen.bootstrap.as_ref()?.object(),
        Part::Infrastructure => seen.infrastructure.object(),
    }
}

/// The changed Node wakes the Machine again. A failure is told, and the patch tried again by the next reconcile.
fn patch_node(seen: &Observed, context: &Context, name: &str, patch: &serde_json::Value) -> Result<(), Why> {
    match &seen.call {
        Call::Ended(Ask::PatchNode(..), Err(error)) => {
            return Err(Why::new("NodeNotPatched", format!("patching Node {name}: {error}")));
        }
        // The newer Node is on its way.
        Call::Ended(Ask::PatchNode(_, done), Ok(_)) if done == patch => {}
        Call::Running => {}
        Call::Idle | Call::Ended(..) => start(seen, context, Ask::PatchNode(name.to_owned(), patch.clone())),
    }
    Ok(())
}

/// Asks the tenant. The Machine is reconciled again when the answer is there.
fn start(seen: &Observed, context: &Context, ask: Ask) {
    let (key, now) = (Key::of(seen.machine.as_ref()), context.hub.now());
    let tenant = TenantKey::capi(&key.namespace, &seen.machine.spec.cluster_name);
    context.calls.start(&key, tenant, ask.clone(), move |client| tenant::answer(client, ask, now));
}

/// Events of what has been reached for the first time.
pub async fn announce(seen: &Observed, reached: &Reached, context: &Context) {
    let before = seen.machine.status.clone().unwrap_or_default();
    if let (None, Some(node)) = (&before.node_ref, &reached.node) {
        let note = format!("Node {node} is the Machine's");
        context.hub.event(seen.machine.as_ref(), EventType::Normal, "SuccessfulSetNodeRef", &note).await;
    }
}

/// How long to wait for what cannot be watched: Pods and volumes of a tenant, of which no watch is kept.
/// Pods that are on their way out are soon gone; what is blocked changes when people act.
const SOON: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_secs(5);
/// Until a tenant that refused, or did not answer, is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// As [`ASK_AGAIN`], of a Node that is to be deleted, which is soon given up.
const DELETE_AGAIN: Duration = Duration::from_secs(2);

/// Takes a Machine that goes away as far as it can now.
pub async fn delete(seen: &Observed, context: &Context, now: Timestamp) -> Next {
    let mut progress = Progress::default();
    loop {
        let stage = deletion::next(seen, progress, now);
        let step = match &stage {
            Stage::Drain(node) => release(seen, context, node, true, now).await,
            Stage::DetachVolumes(node) => release(seen, context, node, false, now).await,
            Stage::DeleteInfrastructure(Removal::Ask) => remove(seen, Part::Infrastructure, context).await,
            Stage::DeleteBootstrap(Removal::Ask) => remove(seen, Part::Bootstrap, context).await,
            Stage::DeleteNode(node) => delete_node(seen, context, node, now).await,
            Stage::Done => return finish(seen, context).await,
            // A tenant whose Nodes are few enough again to be followed wakes nobody.
            Stage::Undecided(_) => Step::Wait(stage.clone(), None, Some(LATER)),
            Stage::PreDrainHook(_)
            | Stage::PreTerminateHook(_)
            | Stage::DeleteInfrastructure(_)
            | Stage::DeleteBootstrap(_) => Step::Wait(stage.clone(), None, None),
        };
        match step {
            Step::Started(stage) => return Next::OnChange(Why::new(stage.reason(), stage.message(seen))),
            Step::Released => (progress.drained, progress.detached) = (true, true),
            Step::NodeGone => progress.node_gone = true,
            Step::Wait(stage, message, retry) => {
                let why = Why::new(stage.reason(), message.unwrap_or_else(|| stage.message(seen)));
                let next = match retry {
                    Some(delay) => Next::After(delay, why.clone()),
                    None => Next::OnChange(why.clone()),
                };
                return waiting(seen, context, &stage, why, next, now).await;
            }
            Step::Failed(why) => {
                let next = Next::Failed(why.clone());
                return waiting(seen, context, &stage, why, next, now).await;
            }
        }
    }
}

/// What became of a step of a deletion.
enum Step {
    /// The Node is drained, and has no volumes.
    Released,
    /// The Node is gone, or given up.
    NodeGone,
    /// The tenant has been asked. A tenant that is alive answers at once, and one write says what it answered.
    Started(Stage),
    /// At this stage, for this (or what the stage says), and until then at most.
    Wait(Stage, Option<String>, Option<Duration>),
    Failed(Why),
}

async fn release(seen: &Observed, context: &Context, node: &str, drain: bool, now: Timestamp) -> Step {
    let (draining, detaching) = (Stage::Drain(node.to_owned()), Stage::DetachVolumes(node.to_owned()));
    let stage = if drain { draining.clone() } else { detaching.clone() };
    let detach = deletion::must_detach(seen, now);
    let ask = Ask::Release { node: node.to_owned(), drain, detach, rules: seen.rules.clone() };
    match &seen.call {
        Call::Ended(asked, outcome) if *asked == ask => match outcome {
            Ok(Answer::PodsLeft { message, blocked }) => {
                Step::Wait(draining, Some(message.clone()), Some(if *blocked { LATER } else { SOON }))
            }
            Ok(Answer::VolumesLeft(volumes)) => {
                let volumes = listed("volume", volumes.iter(), NAMED);
                let message = format!("Waiting until these are detached from Node {node}: {volumes}");
                Step::Wait(detaching, Some(message), Some(LATER))
            }
            Ok(Answer::Done) => {
                if drain {
                    let note = format!("Node {node} is drained");
                    let machine = seen.machine.as_ref();
                    context.hub.event(machine, EventType::Normal, "SuccessfulDrainNode", &note).await;
                }
                Step::Released
            }
            Err(error) => {
                let message = format!("{}: {error}", stage.message(seen));
                Step::Wait(stage, Some(message), Some(ASK_AGAIN))
            }
        },
        Call::Running => under_way(seen, stage),
        Call::Idle | Call::Ended(..) => {
            start(seen, context, ask);
            Step::Started(stage)
        }
    }
}

/// Volumes that a message names.
const NAMED: usize = 5;

/// While the tenant is asked again, what it said last stays.
fn under_way(seen: &Observed, stage: Stage) -> Step {
    let conditions = seen.machine.status.as_ref().map(|status| status.conditions.as_slice());
    let said = conditions.and_then(|conditions| find(conditions, "Deleting"));
    let said = said.filter(|said| said.reason == stage.reason()).map(|said| said.message.clone());
    Step::Wait(stage, said, None)
}

async fn remove(seen: &Observed, part: Part, context: &Context) -> Step {
    let stage = match part {
        Part::Infrastructure => Stage::DeleteInfrastructure(Removal::Await),
        Part::Bootstrap => Stage::DeleteBootstrap(Removal::Await),
    };
    let Some(external) = external(seen, part) else { return Step::Wait(stage, None, None) };
    match context.hub.delete_dynamic(&external.served.resource, &external.object).await {
        Ok(()) => Step::Wait(stage, None, None),
        Err(error) => Step::Failed(failure(&error)),
    }
}

async fn delete_node(seen: &Observed, context: &Context, node: &str, now: Timestamp) -> Step {
    let (key, stage) = (Key::of(seen.machine.as_ref()), Stage::DeleteNode(node.to_owned()));
    let ask = Ask::DeleteNode(node.to_owned());
    let error = match &seen.call {
        Call::Ended(asked, Ok(_)) if *asked == ask => return Step::NodeGone,
        Call::Ended(asked, Err(error)) if *asked == ask => error,
        Call::Running => return under_way(seen, stage),
        Call::Idle | Call::Ended(..) => {
            context.begin_node_deletion(&key, now);
            start(seen, context, ask);
            return Step::Started(stage);
        }
    };
    let failed = format!("Deleting Node {node}: {error}");
    if !deletion::gives_up_node(seen, context.begin_node_deletion(&key, now), now) {
        return Step::Wait(stage, Some(failed), Some(DELETE_AGAIN));
    }
    let note = format!("{failed}; given up, as spec.deletion.nodeDeletionTimeoutSeconds has passed");
    context.hub.event(seen.machine.as_ref(), EventType::Warning, "FailedDeleteNode", &note).await;
    Step::NodeGone
}

async fn waiting(
    seen: &Observed,
    context: &Context,
    stage: &Stage,
    why: Why,
    next: Next,
    now: Timestamp,
) -> Next {
    let deleting =
        Deleting { reason: stage.reason(), message: why.message, times: deletion::begun(seen, stage, now) };
    let reached = super::plan::plan(seen).reached;
    let status = report::report(seen, &reached, Some(&deleting), now);
    match context.hub.patch_status(seen.machine.as_ref(), json!(status)).await {
        Ok(()) => next,
        Err(error) => failed(&error),
    }
}

async fn finish(seen: &Observed, context: &Context) -> Next {
    match finalizer::remove(&context.hub, &seen.machine, MACHINE_FINALIZER).await {
        Ok(()) => {
            context.forget(&Key::of(seen.machine.as_ref()));
            Next::Settled
        }
        Err(error) => failed(&error),
    }
}
