//! The writes of a Machine's reconcile.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use scute_api::cluster::{MACHINE_FINALIZER, Machine};
use scute_contract::owners::adopt;
use scute_contract::{External, Found};
use scute_kit::tenants::TenantKey;
use scute_kit::{EventType, Key, Next, Why, finalizer};
use serde_json::json;

use super::deletion::{self, Progress, Removal, Stage};
use super::observe::Observed;
use super::plan::{Action, Part, Plan, Reached};
use super::tenant::{self, Drained};
use super::{Context, Deleting, failure, report};

/// Writes what the plan says; stops at the first failure.
pub async fn apply(seen: &Observed, plan: &Plan, context: &Context) -> Result<(), Why> {
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
                patch_node(seen, context, name, patch).await?;
                Ok(())
            }
        }
        .map_err(|error| failure(&error))?;
    }
    Ok(())
}

fn external(seen: &Observed, part: Part) -> Option<&External> {
    let found = match part {
        Part::Bootstrap => seen.bootstrap.as_ref()?,
        Part::Infrastructure => &seen.infrastructure,
    };
    match found {
        Found::Object(external) => Some(external),
        Found::Missing | Found::Unserved(_) => None,
    }
}

async fn patch_node(
    seen: &Observed,
    context: &Context,
    name: &str,
    patch: &serde_json::Value,
) -> Result<(), Why> {
    let client = client(seen, context).await?;
    let done = tenant::patch_node(&client, name, patch).await;
    done.map_err(|error| Why::new("NodeNotPatched", format!("patching Node {name}: {error}")))
}

async fn client(seen: &Observed, context: &Context) -> Result<kube::Client, Why> {
    let key = TenantKey::capi(&seen.machine.namespace().unwrap_or_default(), &seen.machine.spec.cluster_name);
    let client = context.tenants.client(&key).await;
    client
        .map_err(|error| Why::new("ConnectionDown", format!("the tenant cluster cannot be reached: {error}")))
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

/// Takes a Machine that goes away as far as it can now.
pub async fn delete(seen: &Observed, context: &Context, now: Timestamp) -> Next {
    let mut progress = Progress::default();
    loop {
        let stage = deletion::next(seen, progress, now);
        let step = match &stage {
            Stage::Drain(node) => drain(seen, context, node, now).await,
            Stage::DetachVolumes(node) => detach(seen, context, node).await,
            Stage::DeleteInfrastructure(Removal::Ask) => remove(seen, Part::Infrastructure, context).await,
            Stage::DeleteBootstrap(Removal::Ask) => remove(seen, Part::Bootstrap, context).await,
            Stage::DeleteNode(node) => delete_node(seen, context, node, now).await,
            Stage::Done => return finish(seen, context, &stage, now).await,
            Stage::PreDrainHook(_)
            | Stage::PreTerminateHook(_)
            | Stage::DeleteInfrastructure(_)
            | Stage::DeleteBootstrap(_) => Step::Wait(None, None),
        };
        match (step, &stage) {
            (Step::Done, Stage::Drain(_)) => progress.drained = true,
            (Step::Done, Stage::DetachVolumes(_)) => progress.detached = true,
            (Step::Done, _) => progress.node_gone = true,
            (Step::Wait(message, retry), _) => {
                let message = message.unwrap_or_else(|| stage.message(seen));
                let why = Why::new(stage.reason(), message);
                let next = match retry {
                    Some(delay) => Next::After(delay, why.clone()),
                    None => Next::OnChange(why.clone()),
                };
                return waiting(seen, context, &stage, why, next, now).await;
            }
            (Step::Failed(why), _) => {
                let next = Next::Failed(why.clone());
                return waiting(seen, context, &stage, why, next, now).await;
            }
        }
    }
}

/// What became of a step of a deletion.
enum Step {
    Done,
    Wait(Option<String>, Option<Duration>),
    Failed(Why),
}

async fn drain(seen: &Observed, context: &Context, node: &str, now: Timestamp) -> Step {
    let client = match client(seen, context).await {
        Ok(client) => client,
        Err(why) => return Step::Failed(why),
    };
    match tenant::drain(&client, node, now).await {
        Ok(Drained::Done) => {
            let note = format!("Node {node} is drained");
            context.hub.event(seen.machine.as_ref(), EventType::Normal, "SuccessfulDrainNode", &note).await;
            Step::Done
        }
        Ok(Drained::NotYet { message, blocked }) => {
            Step::Wait(Some(message), Some(if blocked { LATER } else { SOON }))
        }
        Err(error) => Step::Failed(Why::new("DrainingNode", format!("draining Node {node}: {error}"))),
    }
}

async fn detach(seen: &Observed, context: &Context, node: &str) -> Step {
    let client = match client(seen, context).await {
        Ok(client) => client,
        Err(why) => return Step::Failed(why),
    };
    match tenant::attached_volumes(&client, node).await {
        Ok(volumes) if volumes.is_empty() => Step::Done,
        Ok(volumes) => {
            let message =
                format!("Waiting for volumes of Node {node} to be detached: {}", volumes.join(", "));
            Step::Wait(Some(message), Some(LATER))
        }
        Err(error) => Step::Failed(Why::new(
            "WaitingForVolumeDetach",
            format!("reading volumes of Node {node}: {error}"),
        )),
    }
}

async fn remove(seen: &Observed, part: Part, context: &Context) -> Step {
    let Some(external) = external(seen, part) else { return Step::Wait(None, None) };
    match context.hub.delete_dynamic(&external.served.resource, &external.key()).await {
        Ok(()) => Step::Wait(None, None),
        Err(error) => Step::Failed(failure(&error)),
    }
}

async fn delete_node(seen: &Observed, context: &Context, node: &str, now: Timestamp) -> Step {
    let failed = match client(seen, context).await {
        Ok(client) => match tenant::delete_node(&client, node).await {
            Ok(()) => return Step::Done,
            Err(error) => Why::new("DeletingNode", format!("deleting Node {node}: {error}")),
        },
        Err(why) => why,
    };
    if !deletion::gives_up_node(seen, now) {
        return Step::Failed(failed);
    }
    let note =
        format!("{}; given up, as spec.deletion.nodeDeletionTimeoutSeconds has passed", failed.message);
    context.hub.event(seen.machine.as_ref(), EventType::Warning, "FailedDeleteNode", &note).await;
    Step::Done
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
        Err(error) if error.is_not_found() => Next::Settled,
        Err(error) => Next::Failed(failure(&error)),
    }
}

async fn finish(seen: &Observed, context: &Context, _stage: &Stage, _now: Timestamp) -> Next {
    match finalizer::remove(&context.hub, &seen.machine, MACHINE_FINALIZER).await {
        Ok(()) => {
            context.externals.forget(&Key::of(seen.machine.as_ref()));
            Next::Settled
        }
        Err(error) if error.is_conflict() => {
            Next::OnChange(Why::new("DeletionCompleted", "somebody else wrote in between"))
        }
        Err(error) => Next::Failed(failure(&error)),
    }
}
