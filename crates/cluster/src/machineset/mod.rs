//! MachineSet: keeps a number of equal Machines.

mod apply;
mod clone;
mod observe;
mod order;
mod plan;
pub mod preflight;
mod remediate;
mod report;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::ResourceExt;
use scute_api::cluster::{Cluster, Machine, MachineDeployment, MachineSet, REVISION_ANNOTATION, defaults};
use scute_contract::owners::{controller, is_controlled_by};
use scute_contract::{Externals, paused};
use scute_kit::{Controller, Hub, Key, Next, Watch, Why};
use serde_json::json;

use crate::machine::failure;
use observe::observe;
use scute_kit::when_changed;

pub(crate) use observe::belongs;
pub(crate) use remediate::is_given_up;

/// Field manager of what the sets make.
const MANAGER: &str = "scute-machineset";

/// What the controller works with.
pub struct Context {
    hub: Arc<Hub>,
    externals: Externals,
    clusters: Watch<Cluster>,
    machines: Watch<Machine>,
    deployments: Watch<MachineDeployment>,
    /// Names that could not be made, by set. A quota that refuses one every time is told with one name, and what was
    /// made for it is used in the end.
    again: Mutex<HashMap<Key, String>>,
}

impl Context {
    fn try_again(&self, set: &Key, name: &str) {
        let mut again = self.again.lock().unwrap_or_else(PoisonError::into_inner);
        again.insert(set.clone(), name.to_owned());
    }

    fn tried(&self, set: &Key) -> Option<String> {
        self.again.lock().unwrap_or_else(PoisonError::into_inner).remove(set)
    }
}

/// Runs the controller; never returns.
pub async fn run(hub: Arc<Hub>) {
    let (externals, woken) = Externals::new(&hub);
    let context = Context {
        hub: Arc::clone(&hub),
        externals,
        clusters: hub.watch(),
        machines: hub.watch(),
        deployments: hub.watch(),
        again: Mutex::default(),
    };
    context.clusters.ready().await;
    context.machines.ready().await;
    context.deployments.ready().await;
    let sets = hub.watch::<MachineSet>();
    let of_cluster = when_changed(
        |cluster: &Cluster| (cluster.metadata.generation, cluster.metadata.deletion_timestamp.is_some()),
        {
            let sets = sets.clone();
            move |cluster: &Cluster| {
                let name = cluster.name_any();
                keys(&sets, &cluster.namespace().unwrap_or_default(), |set| set.spec.cluster_name == name)
            }
        },
    );
    let of_deployment = when_changed(
        |deployment: &MachineDeployment| {
            (deployment.metadata.generation, deployment.annotations().get(REVISION_ANNOTATION).cloned())
        },
        {
            let sets = sets.clone();
            move |deployment: &MachineDeployment| {
                let uid = deployment.metadata.uid.as_deref();
                let namespace = deployment.namespace().unwrap_or_default();
                keys(&sets, &namespace, |set| is_controlled_by(&set.metadata, uid))
            }
        },
    );
    // An orphan wakes the sets that may adopt it; a Machine of a set wakes its owner as it is.
    let of_orphan = move |machine: &Machine| {
        if controller(&machine.metadata).is_some() {
            return Vec::new();
        }
        keys(&sets, &machine.namespace().unwrap_or_default(), |set| belongs(set, machine))
    };
    Controller::<MachineSet>::new("machineset", &hub)
        .sums_owned::<Machine>()
        .watches::<Machine>(of_orphan)
        .watches::<Cluster>(of_cluster)
        .watches::<MachineDeployment>(of_deployment)
        .on(woken)
        .run(Arc::new(context), reconcile)
        .await;
}

fn keys(sets: &Watch<MachineSet>, namespace: &str, is: impl Fn(&MachineSet) -> bool) -> Vec<Key> {
    let sets = sets.list_in(namespace);
    sets.iter().filter(|set| is(set)).map(|set| Key::of(set.as_ref())).collect()
}

/// Brings one set a step on.
async fn reconcile(set: Arc<MachineSet>, context: Arc<Context>) -> Next {
    let set = Arc::new(defaults::machine_set(&set, None));
    let seen = observe(set, &context).await;
    let now = context.hub.now();
    if let Some(why) = paused::paused(seen.cluster.as_deref(), seen.set.as_ref()) {
        let mut status = seen.set.status.clone().unwrap_or_default();
        status.conditions = paused::only_paused(&status.conditions, &seen.set.metadata, now, &why);
        return match context.hub.patch_status(seen.set.as_ref(), json!(status)).await {
            Ok(()) => Next::OnChange(Why::new("Paused", why)),
            Err(error) => Next::Failed(failure(&error)),
        };
    }
    let again = context.tried(&Key::of(seen.set.as_ref()));
    let plan = plan::plan(&seen, now.as_nanosecond() as i64, again.as_deref());
    let done = apply::apply(&seen, &plan, &context).await;
    // What was made or deleted just now is in the watch already.
    let seen = observe::observe(Arc::clone(&seen.set), &context).await;
    let failed = done.as_ref().err().filter(|why| !why.passes()).map(|why| why.message.clone());
    let status = report::report(&seen, &plan.blocked, failed.as_deref(), now);
    let reported = match context.hub.patch_status(seen.set.as_ref(), json!(status)).await {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    };
    match (done, reported) {
        (Err(why), _) => Next::Failed(why),
        (Ok(()), Err(error)) => Next::Failed(failure(&error)),
        // One pass is short, so that what is wanted can change before the next.
        (Ok(()), Ok(())) if plan.more => {
            Next::After(Duration::ZERO, Why::new("Scaling", "one batch was done"))
        }
        (Ok(()), Ok(())) if plan.blocked.is_empty() => Next::Settled,
        (Ok(()), Ok(())) => Next::OnChange(Why::new("ScalingUp", plan.blocked.join("; "))),
    }
}
