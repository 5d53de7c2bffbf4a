//! MachineHealthCheck: which Machines are not healthy, and who is to do something about it.

mod breaker;
mod judge;
mod observe;
mod plan;

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use scute_api::cluster::{Cluster, Machine, MachineHealthCheck};
use scute_contract::owners::{belonging, owner};
use scute_contract::spoken::{HEALTH_CHECK_SUCCEEDED, is, say};
use scute_contract::{Externals, paused};
use scute_kit::tenants::Tenants;
use scute_kit::{Controller, EventType, Hub, Key, Next, Watch, Why, when_changed};
use serde_json::json;

use crate::machine::{failed, failure};
use crate::tenants::machines_of;
use observe::{Observed, is_about, observe};
use plan::{Plan, Treatment, plan};

/// What the controller works with.
pub struct Context {
    hub: Arc<Hub>,
    externals: Externals,
    tenants: Arc<Tenants>,
    clusters: Watch<Cluster>,
    machines: Watch<Machine>,
}

/// Runs the controller; never returns.
pub async fn run(hub: Arc<Hub>, tenants: Arc<Tenants>) {
    let (externals, woken) = Externals::new(&hub);
    let context =
        Context { hub: Arc::clone(&hub), externals, tenants, clusters: hub.watch(), machines: hub.watch() };
    context.clusters.ready().await;
    context.machines.ready().await;
    let checks = hub.watch::<MachineHealthCheck>();
    let (of_node, machines) = (checks.clone(), context.machines.clone());
    let woken_by_nodes = context.tenants.woken(move |tenant, node| {
        let all = of_node.list_in(&tenant.namespace);
        if all.is_empty() {
            return Vec::new();
        }
        let of_tenant = machines_of(&machines, tenant, node);
        let concerned: Vec<_> = of_tenant.iter().filter_map(|key| machines.get(key)).collect();
        all.iter()
            .filter(|check| concerned.iter().any(|machine| is_about(check, machine)))
            .map(|check| Key::of(check.as_ref()))
            .collect()
    });
    let of_cluster = {
        let checks = checks.clone();
        move |cluster: &Cluster| {
            let name = cluster.name_any();
            keys(&checks, &cluster.namespace().unwrap_or_default(), |check| check.spec.cluster_name == name)
        }
    };
    // One whose labels have changed is not a target any more.
    let of_machine = move |machine: &Machine| {
        let name = machine.name_any();
        keys(&checks, &machine.namespace().unwrap_or_default(), |check| {
            let targets = check.status.as_ref().map(|status| status.targets.as_slice()).unwrap_or_default();
            is_about(check, machine) || targets.binary_search(&name).is_ok()
        })
    };
    Controller::<MachineHealthCheck>::new("machinehealthcheck", &hub)
        .sums::<Machine>(of_machine)
        .watches::<Cluster>(when_changed(cluster_facts, of_cluster))
        .on(woken)
        .on(woken_by_nodes)
        .run(Arc::new(context), reconcile)
        .await;
}

fn keys(
    checks: &Watch<MachineHealthCheck>,
    namespace: &str,
    is: impl Fn(&MachineHealthCheck) -> bool,
) -> Vec<Key> {
    let checks = checks.list_in(namespace);
    checks.iter().filter(|check| is(check)).map(|check| Key::of(check.as_ref())).collect()
}

/// What of a Cluster matters to who checks its Machines: pause, deletion, and what has been reached.
fn cluster_facts(cluster: &Cluster) -> (Option<i64>, bool, Vec<String>) {
    let conditions = cluster.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let reached = conditions
        .iter()
        .filter(|is| ["ControlPlaneInitialized", "InfrastructureReady"].contains(&is.type_.as_str()))
        .map(|is| format!("{} {} {:?}", is.type_, is.status, is.last_transition_time))
        .collect();
    (cluster.metadata.generation, cluster.metadata.deletion_timestamp.is_some(), reached)
}

/// Judges all Machines of one MachineHealthCheck.
async fn reconcile(check: Arc<MachineHealthCheck>, context: Arc<Context>) -> Next {
    let key = Key::of(check.as_ref());
    if check.metadata.deletion_timestamp.is_some() {
        context.externals.forget(&key);
        return Next::Settled;
    }
    let seen = observe(check, &context).await;
    let Some(cluster) = seen.cluster.clone() else {
        let message = format!("Cluster {} does not exist", seen.check.spec.cluster_name);
        return Next::OnChange(Why::new("WaitingForCluster", message));
    };
    if let Some(why) = paused::paused(Some(cluster.as_ref()), seen.check.as_ref()) {
        return paused::pause(&context.hub, seen.check.as_ref(), why).await;
    }
    if let Some(patch) = belonging(&seen.check.metadata, &owner(cluster.as_ref(), false), &cluster.name_any())
        && let Err(error) = context.hub.patch::<MachineHealthCheck>(&key, &patch).await
    {
        return failed(&error);
    }
    // With their Cluster all Machines go.
    if cluster.metadata.deletion_timestamp.is_some() {
        return Next::OnChange(Why::new(
            "ClusterDeleting",
            format!("Cluster {} goes away", cluster.name_any()),
        ));
    }
    let now = context.hub.now();
    let plan = plan(&seen, &cluster, now);
    let done = treat(&seen, &plan, &context).await;
    if let Some(note) = &plan.restricted {
        let check = seen.check.as_ref();
        context.hub.event(check, EventType::Warning, "RemediationRestricted", note).await;
    }
    let next = match (done, plan.due) {
        (Err(why), _) => Next::Failed(why),
        // Nothing but time makes a failing check a failed one.
        (Ok(()), Some(due)) => {
            let wait =
                Duration::try_from(due.duration_since(now)).unwrap_or_default() + Duration::from_secs(1);
            Next::After(wait, Why::new("CheckFailing", "a check fails, but not for long enough yet"))
        }
        (Ok(()), None) => Next::Settled,
    };
    context.hub.report(seen.check.as_ref(), json!(plan.status), next).await
}

/// One Machine that cannot be treated does not stop the others; the first failure is returned.
async fn treat(seen: &Observed, plan: &Plan, context: &Context) -> Result<(), Why> {
    let mut first = Ok(());
    for treatment in &plan.treatments {
        first = first.and(one(seen, treatment, context).await);
    }
    first
}

async fn one(seen: &Observed, treatment: &Treatment, context: &Context) -> Result<(), Why> {
    let Treatment { machine, make, end, words } = treatment;
    if let Some(remedy) = &seen.remedy {
        if let Some(object) = make {
            match context.hub.create_dynamic(&remedy.resource, object).await {
                // Made by a pass before this one, whose answer was lost.
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(failure(&error)),
                Ok(_) => {}
            }
        }
        if let Some(object) = end {
            context.hub.delete_dynamic(&remedy.resource, object).await.map_err(|error| failure(&error))?;
        }
    }
    let newly = words.said.iter().any(|draft| {
        draft.type_ == HEALTH_CHECK_SUCCEEDED && draft.status == scute_kit::conditions::Status::False
    }) && !is(machine, HEALTH_CHECK_SUCCEEDED, "False");
    say(&context.hub, machine, words.clone()).await.map_err(|error| failure(&error))?;
    if newly {
        let note = format!(
            "Machine {} has been marked as unhealthy by {}",
            machine.name_any(),
            seen.check.name_any()
        );
        context.hub.event(machine.as_ref(), EventType::Normal, "MachineMarkedUnhealthy", &note).await;
    }
    Ok(())
}
