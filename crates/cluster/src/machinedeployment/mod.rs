//! MachineDeployment: replaces Machines step by step when their template changes.

mod observe;
mod plan;
mod report;
mod rollout;
mod set;
pub mod template;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use scute_api::cluster::{
    Cluster, MACHINE_DEPLOYMENT_FINALIZER, Machine, MachineDeployment, MachineSet, REVISION_ANNOTATION,
    defaults,
};
use scute_api::meta::DEPLOYMENT_NAME_LABEL;
use scute_contract::owners::owner_of_kind;
use scute_contract::paused;
use scute_kit::{Controller, Error, EventType, Hub, Key, Next, Watch, Why, finalizer};
use serde_json::json;

use crate::machine::failure;
use observe::{Observed, observe};
use plan::Action;
pub(crate) use plan::overtaken;
pub(crate) use rollout::resolve;
use scute_kit::when_changed;

/// Field manager of the MachineSets.
const MANAGER: &str = "scute-machinedeployment";

/// What the controller works with.
pub struct Context {
    hub: Arc<Hub>,
    clusters: Watch<Cluster>,
    machines: Watch<Machine>,
    sets: Watch<MachineSet>,
}

/// Runs the controller; never returns.
pub async fn run(hub: Arc<Hub>) {
    let context =
        Context { hub: Arc::clone(&hub), clusters: hub.watch(), machines: hub.watch(), sets: hub.watch() };
    context.clusters.ready().await;
    context.machines.ready().await;
    context.sets.ready().await;
    let deployments = hub.watch::<MachineDeployment>();
    let of_cluster = when_changed(
        |cluster: &Cluster| (cluster.metadata.generation, cluster.metadata.deletion_timestamp.is_some()),
        move |cluster: &Cluster| {
            let name = cluster.name_any();
            deployments
                .list_in(&cluster.namespace().unwrap_or_default())
                .iter()
                .filter(|deployment| deployment.spec.cluster_name == name)
                .map(|deployment| Key::of(deployment.as_ref()))
                .collect()
        },
    );
    let sets = context.sets.clone();
    let of_machine = move |machine: &Machine| {
        let namespace = machine.namespace().unwrap_or_default();
        owner_of_kind::<MachineSet>(&machine.metadata)
            .and_then(|owner| sets.get(&Key::new(namespace.clone(), owner.name.clone())))
            .and_then(|set| owner_of_kind::<MachineDeployment>(&set.metadata).cloned())
            .map(|owner| Key::new(namespace, owner.name))
            .into_iter()
            .collect()
    };
    // An orphaned set wakes the deployment that its label names.
    let of_orphan = |set: &MachineSet| {
        let named = set.labels().get(DEPLOYMENT_NAME_LABEL).cloned();
        named.map(|name| Key::new(set.namespace().unwrap_or_default(), name)).into_iter().collect()
    };
    Controller::<MachineDeployment>::new("machinedeployment", &hub)
        .sums_owned::<MachineSet>()
        .watches::<MachineSet>(of_orphan)
        .sums::<Machine>(of_machine)
        .watches::<Cluster>(of_cluster)
        .run(Arc::new(context), reconcile)
        .await;
}

/// Brings one deployment a step on.
async fn reconcile(deployment: Arc<MachineDeployment>, context: Arc<Context>) -> Next {
    let deployment = Arc::new(defaults::machine_deployment(&deployment, None));
    let seen = observe(deployment, &context);
    let now = context.hub.now();
    if let Some(why) = paused::paused(seen.cluster.as_deref(), seen.deployment.as_ref()) {
        let mut status = seen.deployment.status.clone().unwrap_or_default();
        status.conditions = paused::only_paused(&status.conditions, &seen.deployment.metadata, now, &why);
        return match context.hub.patch_status(seen.deployment.as_ref(), json!(status)).await {
            Ok(()) => Next::OnChange(Why::new("Paused", why)),
            Err(error) => Next::Failed(failure(&error)),
        };
    }
    let actions = plan::plan(&seen, now);
    let done = apply(&seen, &actions, &context).await;
    // What was made just now is in the watch already.
    let seen = observe(Arc::clone(&seen.deployment), &context);
    let failed = done.as_ref().err().filter(|error| !error.passes()).map(ToString::to_string);
    let status = report::report(&seen, failed.as_deref(), now);
    let reported = match context.hub.patch_status(seen.deployment.as_ref(), json!(status)).await {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    };
    match done.and(reported) {
        Err(error) => Next::Failed(failure(&error)),
        // Nothing but time makes a rollout.after due.
        Ok(()) => match plan::due(&seen.deployment, now) {
            Some(due) => Next::After(
                Duration::try_from(due.duration_since(now)).unwrap_or_default(),
                Why::new("RolloutAfter", format!("spec.rollout.after {due} lies ahead")),
            ),
            None => Next::Settled,
        },
    }
}

/// Writes what the plan says; stops at the first failure, so that no old set shrinks when the new one
/// could not grow.
async fn apply(seen: &Observed, actions: &[Action], context: &Context) -> Result<(), Error> {
    let key = Key::of(seen.deployment.as_ref());
    for action in actions {
        match action {
            Action::AddFinalizer => {
                finalizer::ensure(&context.hub, &seen.deployment, MACHINE_DEPLOYMENT_FINALIZER).await?;
            }
            Action::BelongToCluster(patch) => {
                let mut patch = patch.clone();
                // The finalizer may just have been written.
                if let Some(metadata) = patch["metadata"].as_object_mut() {
                    metadata.remove("resourceVersion");
                }
                context.hub.patch::<MachineDeployment>(&key, &patch).await?;
            }
            Action::SetRevision(revision) => {
                let patch =
                    json!({ "metadata": { "annotations": { REVISION_ANNOTATION: revision.to_string() } } });
                context.hub.patch::<MachineDeployment>(&key, &patch).await?;
            }
            Action::ApplySet(set) => {
                let is_new = set.metadata.uid.is_none();
                context.hub.apply(MANAGER, set.as_ref()).await?;
                if is_new {
                    let note = format!("Created MachineSet {}", set.name_any());
                    context
                        .hub
                        .event(seen.deployment.as_ref(), EventType::Normal, "SuccessfulCreate", &note)
                        .await;
                }
            }
            Action::DeleteSet(name) => {
                if let Some(known) = seen.sets.iter().find(|known| known.set.name_any() == *name) {
                    context.hub.delete(known.set.as_ref()).await?;
                }
            }
            Action::RemoveFinalizer => {
                finalizer::remove(&context.hub, &seen.deployment, MACHINE_DEPLOYMENT_FINALIZER).await?;
            }
        }
    }
    Ok(())
}
