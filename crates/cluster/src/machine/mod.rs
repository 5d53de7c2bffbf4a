//! Machine: brings bootstrap data, infrastructure and Node together, and takes them apart in order.

mod apply;
mod deletion;
mod drain;
mod node;
mod observe;
mod plan;
mod report;
mod rules;
#[cfg(test)]
mod stories;
mod tenant;
mod unsaid;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use scute_api::cluster::{
    Cluster, Machine, MachineDeployment, MachineDrainRule, MachineSet, REVISION_ANNOTATION,
};
use scute_contract::owners::owner_of_kind;
use scute_contract::{Externals, paused};
use scute_kit::tenants::Tenants;
use scute_kit::{Controller, Hub, Key, Next, Watch, Why};
use serde_json::json;

use crate::calls::{Calls, Lanes};
use crate::tenants::machines_of;
use observe::{Observed, observe};
pub(crate) use report::mirrored;
use report::{Deleting, available_in, report};
use scute_kit::when_changed;
use tenant::{Answer, Ask};
use unsaid::Unsaid;

/// What the controller works with.
pub struct Context {
    hub: Arc<Hub>,
    externals: Externals,
    tenants: Arc<Tenants>,
    clusters: Watch<Cluster>,
    machines: Watch<Machine>,
    sets: Watch<MachineSet>,
    deployments: Watch<MachineDeployment>,
    rules: Watch<MachineDrainRule>,
    calls: Calls<Ask, Answer>,
    /// When it was first tried to delete the Node of a Machine. After a restart the time begins anew.
    node_deletions: Mutex<HashMap<Key, Timestamp>>,
    unsaid: Unsaid,
}

impl Context {
    /// When the deletion of a Machine's Node began; now, if it had not.
    fn begin_node_deletion(&self, machine: &Key, now: Timestamp) -> Timestamp {
        let mut begun = self.node_deletions.lock().unwrap_or_else(PoisonError::into_inner);
        *begun.entry(machine.clone()).or_insert(now)
    }

    /// Forgets a Machine that is gone.
    fn forget(&self, machine: &Key) {
        self.unsaid.said(machine);
        self.externals.forget(machine);
        self.calls.forget(machine);
        self.node_deletions.lock().unwrap_or_else(PoisonError::into_inner).remove(machine);
    }
}

/// Runs the controller; never returns.
pub async fn run(hub: Arc<Hub>, tenants: Arc<Tenants>, lanes: Arc<Lanes>) {
    let (externals, woken) = Externals::new(&hub);
    let (calls, woken_by_calls) = Calls::new(&tenants, &lanes);
    let context = Context {
        hub: Arc::clone(&hub),
        externals,
        tenants,
        clusters: hub.watch(),
        machines: hub.watch(),
        sets: hub.watch(),
        deployments: hub.watch(),
        rules: hub.watch(),
        calls,
        node_deletions: Mutex::default(),
        unsaid: Unsaid::default(),
    };
    let machines = context.machines.clone();
    let woken_by_nodes = context.tenants.woken(move |tenant, node| machines_of(&machines, tenant, node));
    context.clusters.ready().await;
    context.sets.ready().await;
    context.deployments.ready().await;
    context.rules.ready().await;
    let machines = context.machines.clone();
    let of_cluster = when_changed(cluster_facts, move |cluster: &Cluster| {
        let (namespace, name) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
        keys(&machines, &namespace, |machine| machine.spec.cluster_name == name)
    });
    let machines = context.machines.clone();
    let of_set = when_changed(set_facts, move |set: &MachineSet| {
        let name = set.name_any();
        keys(&machines, &set.namespace().unwrap_or_default(), |machine| {
            owner_of_kind::<MachineSet>(&machine.metadata).is_some_and(|owner| owner.name == name)
        })
    });
    let (machines, sets) = (context.machines.clone(), context.sets.clone());
    let of_deployment = when_changed(deployment_facts, move |deployment: &MachineDeployment| {
        let (namespace, name) = (deployment.namespace().unwrap_or_default(), deployment.name_any());
        keys(&machines, &namespace, |machine| {
            owner_of_kind::<MachineSet>(&machine.metadata)
                .and_then(|owner| sets.get(&Key::new(namespace.clone(), owner.name.clone())))
                .and_then(|set| owner_of_kind::<MachineDeployment>(&set.metadata).cloned())
                .is_some_and(|owner| owner.name == name)
        })
    });
    Controller::<Machine>::new("machine", &hub)
        .watches::<Cluster>(of_cluster)
        .watches::<MachineSet>(of_set)
        .watches::<MachineDeployment>(of_deployment)
        .on(woken)
        .on(woken_by_calls)
        .on(woken_by_nodes)
        .run(Arc::new(context), reconcile)
        .await;
}

fn keys(machines: &Watch<Machine>, namespace: &str, is: impl Fn(&Machine) -> bool) -> Vec<Key> {
    machines
        .list_in(namespace)
        .iter()
        .filter(|machine| is(machine))
        .map(|machine| Key::of(machine.as_ref()))
        .collect()
}

/// What of a Cluster matters to its Machines: spec and pause, deletion, and what has been reached.
fn cluster_facts(cluster: &Cluster) -> (Option<i64>, bool, Option<String>) {
    let status = cluster.status.as_ref();
    let initialization = status.and_then(|status| status.initialization.as_ref());
    (
        cluster.metadata.generation,
        cluster.metadata.deletion_timestamp.is_some(),
        initialization.map(|initialization| format!("{initialization:?}")),
    )
}

fn set_facts(set: &MachineSet) -> (Option<i64>, Option<String>) {
    (set.metadata.generation, set.annotations().get(REVISION_ANNOTATION).cloned())
}

fn deployment_facts(deployment: &MachineDeployment) -> (Option<i64>, Option<String>) {
    (deployment.metadata.generation, deployment.annotations().get(REVISION_ANNOTATION).cloned())
}

/// Brings one Machine a step on.
async fn reconcile(machine: Arc<Machine>, context: Arc<Context>) -> Next {
    let mut seen = observe(machine, &context).await;
    let now = context.hub.now();
    if let Some(why) = paused::paused(seen.cluster.as_deref(), seen.machine.as_ref()) {
        return pause(&seen, &context, &why).await;
    }
    if seen.is_deleting() {
        return apply::delete(&seen, &context, now).await;
    }
    let plan = plan::plan(&seen);
    let done = match &seen.cluster {
        Some(_) => apply::apply(&seen, &plan, &context).await,
        None => Ok(()),
    };
    let key = Key::of(seen.machine.as_ref());
    if done.is_ok() && seen.cluster.is_some() && plan.wakes() && context.unsaid.leave(&key) {
        return Next::After(
            unsaid::AT_LAST,
            Why::new("StatusFollows", "the next run tells what this one wrote"),
        );
    }
    context.unsaid.said(&key);
    let heard = hear_others(&mut seen, &context);
    let status = report(&seen, &plan.reached, None, now);
    let reported = match heard {
        Some(version) => context.hub.patch_status_of(seen.machine.as_ref(), &version, json!(status)).await,
        None => context.hub.patch_status(seen.machine.as_ref(), json!(status)).await,
    };
    if let Err(next) = done.and(reported.map_err(|error| failed(&error))) {
        return next;
    }
    if seen.cluster.is_none() {
        let absent = || format!("Cluster {} does not exist", seen.machine.spec.cluster_name);
        let message = seen.cluster_unknown.clone().unwrap_or_else(absent);
        return Next::OnChange(Why::new("WaitingForCluster", message));
    }
    apply::announce(&seen, &plan.reached, &context).await;
    // Nothing but time makes a Ready Machine Available.
    match available_in(&seen, &status.conditions, now) {
        Some(wait) => Next::After(
            Duration::try_from(wait).unwrap_or_default() + Duration::from_millis(50),
            Why::new("WaitingForMinReadySeconds", "Ready, but not for long enough yet"),
        ),
        None => Next::Settled,
    }
}

/// Others write conditions onto the Machine too. What they say now counts, not what they said when this run began: a Machine
/// that is well again must not be said to be given up. Returns the version of the Machine that has their words, if any.
fn hear_others(seen: &mut Observed, context: &Context) -> Option<String> {
    let newest = context.machines.get(&Key::of(seen.machine.as_ref()))?;
    if newest.metadata.uid != seen.machine.metadata.uid {
        return None;
    }
    let foreign = |machine: &Machine| -> Vec<Condition> {
        let conditions = machine.status.as_ref().map(|status| status.conditions.as_slice());
        let of_others = |condition: &&Condition| report::FOREIGN.contains(&condition.type_.as_str());
        conditions.unwrap_or_default().iter().filter(of_others).cloned().collect()
    };
    let said = foreign(&newest);
    if foreign(&seen.machine) != said {
        let status = Arc::make_mut(&mut seen.machine).status.get_or_insert_default();
        status.conditions.retain(|condition| !report::FOREIGN.contains(&condition.type_.as_str()));
        status.conditions.extend(said.iter().cloned());
        status.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    }
    // Of a MachineDeployment's Machine this controller says itself whether it is up to date.
    let ours = |type_: &str| type_ == "UpToDate" && seen.rollout.differences.is_some();
    let of_others = said.iter().any(|condition| !ours(&condition.type_));
    of_others.then(|| newest.resource_version()).flatten()
}

async fn pause(seen: &Observed, context: &Context, why: &str) -> Next {
    let mut status = seen.machine.status.clone().unwrap_or_default();
    status.conditions =
        paused::only_paused(&status.conditions, &seen.machine.metadata, context.hub.now(), why);
    match context.hub.patch_status(seen.machine.as_ref(), json!(status)).await {
        Ok(()) => Next::OnChange(Why::new("Paused", why)),
        Err(error) => failed(&error),
    }
}

/// What follows a write that was not done. What is gone needs nothing more, and somebody else's write in between is no
/// failure: the newer object is on its way.
pub(crate) fn failed(error: &scute_kit::Error) -> Next {
    if error.is_not_found() {
        return Next::Settled;
    }
    if error.is_conflict() {
        return Next::After(CONFLICT, Why::new("Conflict", "somebody else wrote in between"));
    }
    Next::Failed(failure(error))
}

/// The watch may be behind the API server, and its event may have come before the conflict.
const CONFLICT: Duration = Duration::from_millis(200);

pub(crate) fn failure(error: &scute_kit::Error) -> Why {
    Why::of("InternalError", error)
}
