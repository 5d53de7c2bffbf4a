//! The loop of VirtualMachineInstances: observe, plan, apply, report.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Event, Node, Pod, Secret};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use scute_api::cluster::Machine;
use scute_api::infrastructure::{CAPK_MACHINE_NAME_LABEL, KubevirtMachine};
use scute_api::kubevirt::{VMI_FINALIZER, VirtualMachineInstance, VirtualMachineInstanceStatus, VmiPhase};
use scute_kit::conditions::is_false;
use scute_kit::{Controller, Error, EventType, Hub, Key, Next, Why, finalizer};
use serde_json::json;

use super::names::pod_name;
use super::plan::{Action, Observed, plan};
use super::pod::{RenderError, pod};
use super::{budget, inline_secret, probe, report, seeds, validate};
use crate::Config;

/// What every reconcile needs.
pub struct Context {
    hub: Arc<Hub>,
    config: Config,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
enum ApplyError {
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error(transparent)]
    Write(#[from] Error),
}

/// Runs the controller.
pub async fn run(hub: Arc<Hub>, config: Config) {
    let controller = Controller::<VirtualMachineInstance>::new("virtualmachineinstance", &hub)
        .owns::<Pod>()
        .owns_meta::<PodDisruptionBudget>()
        .watches::<Node>(marked(&hub))
        .listen(hub.watch_fields::<Event>(probe::SELECTOR), unhealthy(&hub));
    hub.watch::<Pod>().ready().await;
    hub.watch_meta::<PodDisruptionBudget>().ready().await;
    hub.watch_meta::<Secret>().ready().await;
    hub.watch::<KubevirtMachine>().ready().await;
    hub.watch::<Machine>().ready().await;
    let context = Arc::new(Context { hub, config });
    controller.run(context, reconcile).await;
}

/// The VMIs that have to leave a Node.
fn marked(hub: &Arc<Hub>) -> impl Fn(&Node) -> Vec<Key> + Send + Sync + 'static {
    let vmis = hub.watch::<VirtualMachineInstance>();
    move |node| {
        let name = node.name_any();
        let leaves = |vmi: &VirtualMachineInstance| {
            vmi.status.as_ref().is_some_and(|status| status.evacuation_node_name.as_ref() == Some(&name))
        };
        vmis.list().iter().filter(|vmi| leaves(vmi)).map(|vmi| Key::of(vmi.as_ref())).collect()
    }
}

/// The VMI whose guest is not ready.
fn unhealthy(hub: &Arc<Hub>) -> impl Fn(&Event) -> Vec<Key> + Send + Sync + 'static {
    let pods = hub.watch::<Pod>();
    move |event| {
        let pod = probe::pod_of(event).and_then(|key| pods.get(&key));
        let owners = pod.iter().flat_map(|pod| pod.owner_references());
        owners
            .filter(|owner| owner.kind == "VirtualMachineInstance")
            .filter_map(|owner| Some(Key::new(pod.as_ref()?.namespace()?, owner.name.clone())))
            .collect()
    }
}

/// Brings one VMI and its Pod together.
async fn reconcile(vmi: Arc<VirtualMachineInstance>, context: Arc<Context>) -> Next {
    let hub = &context.hub;
    let seen = match observe(hub, &vmi).await {
        Ok(seen) => seen,
        Err(error) => return Next::Failed(Why::of("ObserveFailed", &error)),
    };
    let mut plan = plan(&vmi, &seen, hub.now());
    if plan.actions.contains(&Action::CreatePod)
        && let [error, ..] = validate::validate(&vmi.spec, "spec").as_slice()
    {
        plan.actions.clear();
        plan.failure = Some(Why::new("InvalidSpec", error.to_string()));
    }
    let (pod, failed) = carry_out(&context, &vmi, seen.pod, &plan.actions).await;
    if let Some(why) = failed.clone().filter(Why::passes) {
        return Next::Failed(why);
    }
    if plan.actions.contains(&Action::RemoveFinalizer) && failed.is_none() {
        return Next::Settled;
    }
    let said = seen.complaint.as_deref();
    let mut status = report::status(&vmi, pod.as_ref(), said, &plan, &context.config, hub.now());
    if let Some(why) = missing_secret(hub, &vmi, &status) {
        status.conditions = report::with_failure(&vmi, status.conditions, &why, hub.now());
    }
    if let Some(why) = &failed {
        status.conditions = report::with_failure(&vmi, status.conditions, why, hub.now());
        hub.event(vmi.as_ref(), EventType::Warning, &why.reason, &why.message).await;
    }
    if let Err(error) = hub.patch_status(vmi.as_ref(), json!(status)).await
        && !error.is_not_found()
    {
        return Next::Failed(Why::of("StatusNotWritten", &error));
    }
    if let Some(message) = crashed(&vmi, &status) {
        hub.event(vmi.as_ref(), EventType::Warning, "Stopped", &message).await;
    }
    match (failed, plan.wait) {
        (Some(why), _) => Next::Failed(why),
        // Time passes without an event.
        (None, Some(wait)) => {
            Next::After(wait, Why::new("EvictionRequested", "the guest may stay if nobody asks again"))
        }
        (None, None) => Next::Settled,
    }
}

/// The Pod after these actions, and what could not be done.
async fn carry_out(
    context: &Context,
    vmi: &Arc<VirtualMachineInstance>,
    mut pod: Option<Pod>,
    actions: &[Action],
) -> (Option<Pod>, Option<Why>) {
    for action in actions {
        match apply(context, vmi, pod.as_ref(), action).await {
            Ok(made) => pod = made.or(pod),
            Err(ApplyError::Write(error)) => return (pod, Some(Why::of("SynchronizationFailed", &error))),
            Err(error) => return (pod, Some(Why::new("SynchronizationFailed", error.to_string()))),
        }
    }
    (pod, None)
}

/// The Secret that a Pod waits for which says nothing itself: a kubelet tells of mounts in events only.
fn missing_secret(
    hub: &Arc<Hub>,
    vmi: &VirtualMachineInstance,
    status: &VirtualMachineInstanceStatus,
) -> Option<Why> {
    let told = is_false(&status.conditions, "Synchronized");
    if told || status.phase != Some(VmiPhase::Scheduling) || vmi.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let (secrets, namespace) = (hub.watch_meta::<Secret>(), vmi.namespace().unwrap_or_default());
    seeds::missing(&vmi.spec, |name| secrets.get(&Key::new(namespace.clone(), name.to_owned())).is_some())
}

/// What to tell when the guest has just been lost; reason and words of the event are upstream's.
fn crashed(vmi: &VirtualMachineInstance, now: &VirtualMachineInstanceStatus) -> Option<String> {
    let before = vmi.status.as_ref().and_then(|status| status.phase);
    if now.phase != Some(VmiPhase::Failed) || before == now.phase || vmi.metadata.deletion_timestamp.is_some()
    {
        return None;
    }
    let ready = now.conditions.iter().find(|condition| condition.type_ == "Ready");
    let why = ready.map(|ready| format!(" {}: {}", ready.reason, ready.message)).unwrap_or_default();
    Some(format!("The VirtualMachineInstance crashed.{why}"))
}

/// The Pod by its name, which follows from the VMI's UID. A Pod that the watch does not have, but the
/// status remembers, is asked for at the API server: a watch may lag, a verdict may not.
async fn observe(hub: &Arc<Hub>, vmi: &VirtualMachineInstance) -> Result<Observed, Error> {
    let key = Key::new(vmi.namespace().unwrap_or_default(), pod_name(vmi));
    let mut pod = hub.watch::<Pod>().get(&key).map(|pod| pod.as_ref().clone());
    let remembered = vmi.status.as_ref().is_some_and(|status| !status.active_pods.is_empty());
    let ended = vmi.status.as_ref().and_then(|status| status.phase).is_some_and(|phase| phase.is_final());
    if pod.is_none() && (vmi.metadata.deletion_timestamp.is_some() || (remembered && !ended)) {
        pod = hub.get::<Pod>(&key).await?;
    }
    let has_budget = hub.watch_meta::<PodDisruptionBudget>().get(&key).is_some();
    let events = hub.watch_fields::<Event>(probe::SELECTOR).list_in(&key.namespace);
    let complaint = pod.as_ref().and_then(|pod| probe::complaint(events.iter().map(Arc::as_ref), pod));
    let leaves = vmi.status.as_ref().and_then(|status| status.evacuation_node_name.clone());
    Ok(Observed {
        pod,
        has_budget,
        complaint,
        node_is_open: leaves.is_some_and(|node| is_open(hub, node)),
        is_replaced: is_replaced(hub, vmi),
    })
}

/// A Node that is not there says nothing.
fn is_open(hub: &Arc<Hub>, node: String) -> bool {
    let node = hub.watch::<Node>().get(&Key::new("", node));
    node.is_some_and(|node| node.spec.as_ref().and_then(|spec| spec.unschedulable) != Some(true))
}

/// Whether the Machine of a Cluster's guest is being deleted.
fn is_replaced(hub: &Arc<Hub>, vmi: &VirtualMachineInstance) -> bool {
    let namespace = vmi.namespace().unwrap_or_default();
    let name = vmi.labels().get(CAPK_MACHINE_NAME_LABEL);
    let Some(infra) =
        name.and_then(|name| hub.watch::<KubevirtMachine>().get(&Key::new(namespace.clone(), name.clone())))
    else {
        return false;
    };
    let owner = infra.owner_references().iter().find(|owner| owner.kind == "Machine");
    let machine =
        owner.and_then(|owner| hub.watch::<Machine>().get(&Key::new(namespace, owner.name.clone())));
    infra.metadata.deletion_timestamp.is_some()
        || machine.is_some_and(|machine| machine.metadata.deletion_timestamp.is_some())
}

/// The only place that writes, but for the status. Gives the Pod if it made one.
async fn apply(
    context: &Context,
    vmi: &Arc<VirtualMachineInstance>,
    pod_seen: Option<&Pod>,
    action: &Action,
) -> Result<Option<Pod>, ApplyError> {
    let hub = &context.hub;
    let key = Key::new(vmi.namespace().unwrap_or_default(), pod_name(vmi));
    match action {
        Action::AddFinalizer => {
            finalizer::ensure(hub, vmi, VMI_FINALIZER).await?;
            Ok(None)
        }
        Action::CreateBudget => {
            exists_is_fine(hub.create(&budget::budget(vmi)).await)?;
            Ok(None)
        }
        Action::CreatePod => {
            let pod = pod(vmi, &context.config)?;
            if let Some(secret) = inline_secret(vmi) {
                exists_is_fine(hub.create(&secret).await)?;
            }
            match exists_is_fine(hub.create(&pod).await)? {
                Some(made) => Ok(Some(made.as_ref().clone())),
                None => Ok(hub.get::<Pod>(&key).await?),
            }
        }
        Action::DeletePod => {
            if let Some(pod) = pod_seen {
                hub.delete(pod).await?;
            }
            Ok(None)
        }
        Action::RemoveFinalizer => {
            finalizer::remove(hub, vmi, VMI_FINALIZER).await?;
            Ok(None)
        }
    }
}

/// Names follow from UIDs: what exists is what this controller made before it was interrupted.
fn exists_is_fine<K>(made: Result<Arc<K>, Error>) -> Result<Option<Arc<K>>, Error> {
    match made {
        Ok(made) => Ok(Some(made)),
        Err(error) if error.is_conflict() => Ok(None),
        Err(error) => Err(error),
    }
}
