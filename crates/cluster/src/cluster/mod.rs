//! Cluster: brings infrastructure and control plane together, and takes everything apart in order.

mod infraclusters;
mod observe;
mod plan;
mod probe;
mod report;

use std::sync::Arc;
use std::time::Duration;

use kube::{Resource, ResourceExt};
use scute_api::cluster::{CLUSTER_FINALIZER, Cluster, Machine, MachineDeployment, MachineSet};
use scute_contract::owners::{adopt, owner};
use scute_contract::{External, Externals, Found, paused};
use scute_kit::limits::Rest;
use scute_kit::tenants::{TenantKey, Tenants};
use scute_kit::{Controller, Error, EventType, Hub, Key, Kind, Next, Watch, Why, finalizer};
use serde_json::json;

use crate::calls::Lanes;
use crate::machine::{failed, failure};
use observe::{Observed, observe};
use plan::{Action, Plan, Stage};
use probe::Probes;

/// What the controller works with.
pub struct Context {
    hub: Arc<Hub>,
    externals: Externals,
    tenants: Arc<Tenants>,
    installed: infraclusters::Installed,
    probes: Probes,
    clusters: Watch<Cluster>,
    deployments: Watch<MachineDeployment>,
    sets: Watch<MachineSet>,
    machines: Watch<Machine>,
}

/// Runs the controller; never returns.
pub async fn run(hub: Arc<Hub>, tenants: Arc<Tenants>, lanes: Arc<Lanes>) {
    let (externals, woken) = Externals::new(&hub);
    let (probes, woken_by_probes) = Probes::new(&hub, &tenants, &lanes);
    let context = Context {
        hub: Arc::clone(&hub),
        externals,
        tenants,
        installed: infraclusters::Installed::new(&hub),
        probes,
        clusters: hub.watch(),
        deployments: hub.watch(),
        sets: hub.watch(),
        machines: hub.watch(),
    };
    context.deployments.ready().await;
    context.sets.ready().await;
    context.machines.ready().await;
    let key = |namespace: Option<String>, name: &str| vec![Key::new(namespace.unwrap_or_default(), name)];
    Controller::<Cluster>::new("cluster", &hub)
        .sums::<MachineDeployment>(move |child| key(child.namespace(), &child.spec.cluster_name))
        .sums::<MachineSet>(move |child| key(child.namespace(), &child.spec.cluster_name))
        .sums::<Machine>(move |child| key(child.namespace(), &child.spec.cluster_name))
        .rests(Rest::WORDS)
        .on(woken)
        .on(woken_by_probes)
        .run(Arc::new(context), reconcile)
        .await;
}

/// Brings one Cluster a step on.
async fn reconcile(cluster: Arc<Cluster>, context: Arc<Context>) -> Next {
    let now = context.hub.now();
    if let Some(why) = paused::paused(Some(cluster.as_ref()), cluster.as_ref()) {
        let mut status = cluster.status.clone().unwrap_or_default();
        status.conditions = paused::only_paused(&status.conditions, &cluster.metadata, now, &why);
        return match context.hub.patch_status(cluster.as_ref(), json!(status)).await {
            Ok(()) => Next::OnChange(Why::new("Paused", why)),
            Err(error) => failed(&error),
        };
    }
    let seen = match observe(cluster, &context).await {
        Ok(seen) => seen,
        Err(error) => return Next::Failed(failure(&error)),
    };
    let plan = plan::plan(&seen);
    let done = apply(&seen, &plan, &context).await;
    if plan.stage == Some(Stage::Done) {
        return match done {
            Ok(()) => Next::Settled,
            Err(error) => failed(&error),
        };
    }
    let status = report::report(&seen, &plan, now);
    let reported = context.hub.patch_status(seen.cluster.as_ref(), json!(status)).await;
    match done.and(reported) {
        Err(error) => failed(&error),
        Ok(()) => {
            announce(&seen, &plan, &context).await;
            next(&seen, &plan)
        }
    }
}

/// A deletion asks the API server past the watches, which so cannot tell that it gives an answer again.
const ASK_AGAIN: Duration = Duration::from_secs(10);

fn next(seen: &Observed, plan: &Plan) -> Next {
    let Some(stage) = &plan.stage else { return Next::Settled };
    match seen.control_plane_unknown().or_else(|| seen.infrastructure_unknown()) {
        Some(why) => Next::After(ASK_AGAIN, Why::new(stage.reason(), why)),
        None => Next::OnChange(Why::new(stage.reason(), "the deletion is in progress")),
    }
}

async fn announce(seen: &Observed, plan: &Plan, context: &Context) {
    let before = seen.cluster.status.clone().unwrap_or_default().initialization.unwrap_or_default();
    let cluster = seen.cluster.as_ref();
    if plan.reached.infrastructure && before.infrastructure_provisioned != Some(true) {
        let note = "The infrastructure of the Cluster is provisioned";
        context.hub.event(cluster, EventType::Normal, "InfrastructureReady", note).await;
    }
    if plan.reached.control_plane && before.control_plane_initialized != Some(true) {
        let note = "The control plane of the Cluster is initialized";
        context.hub.event(cluster, EventType::Normal, "ControlPlaneInitialized", note).await;
    }
}

fn object(found: Option<&Found>) -> Option<&External> {
    found.and_then(Found::object)
}

/// Writes what the plan says. What fails does not keep the rest from being done: a broken infrastructure
/// must not hide the control plane. The first failure is returned.
async fn apply(seen: &Observed, plan: &Plan, context: &Context) -> Result<(), Error> {
    let mut first = Ok(());
    for action in &plan.actions {
        first = first.and(one(seen, action, context).await);
    }
    first
}

async fn one(seen: &Observed, action: &Action, context: &Context) -> Result<(), Error> {
    let (hub, cluster) = (&context.hub, &seen.cluster);
    let key = Key::of(cluster.as_ref());
    match action {
        Action::AddFinalizer => finalizer::ensure(hub, cluster, CLUSTER_FINALIZER).await.map(|_| ()),
        Action::AdoptInfrastructure => own(seen, object(seen.infrastructure.as_ref()), hub).await,
        Action::AdoptExtra(index) => own(seen, seen.extra.get(*index), hub).await,
        Action::AdoptControlPlane => own(seen, object(seen.control_plane.as_ref()), hub).await,
        Action::SetEndpoint(endpoint) => {
            let patch = json!({ "spec": { "controlPlaneEndpoint": endpoint } });
            hub.patch::<Cluster>(&key, &patch).await.map(|_| ())
        }
        Action::DeleteDeployment(name) => named(&seen.deployments, name, hub).await,
        Action::DeleteSet(name) => named(&seen.sets, name, hub).await,
        Action::DeleteMachine(name) => named(&seen.workers, name, hub).await,
        Action::DeleteControlPlane => delete(object(seen.control_plane.as_ref()), hub).await,
        Action::DeleteInfrastructure => delete(object(seen.infrastructure.as_ref()), hub).await,
        Action::DeleteExtra(index) => delete(seen.extra.get(*index), hub).await,
        Action::RemoveFinalizer => {
            finalizer::remove(hub, cluster, CLUSTER_FINALIZER).await?;
            context.externals.forget(&key);
            context.probes.forget(&key);
            context.tenants.forget(&TenantKey::capi(&key.namespace, &key.name));
            Ok(())
        }
    }
}

async fn own(seen: &Observed, external: Option<&External>, hub: &Hub) -> Result<(), Error> {
    let Some(external) = external else { return Ok(()) };
    adopt(hub, external, &owner(seen.cluster.as_ref(), false), &seen.cluster.name_any()).await
}

async fn delete(external: Option<&External>, hub: &Hub) -> Result<(), Error> {
    let Some(external) = external else { return Ok(()) };
    hub.delete_dynamic(&external.served.resource, &external.object).await
}

/// Deletes the one of this name.
async fn named<K>(all: &[Arc<K>], name: &str, hub: &Hub) -> Result<(), Error>
where
    K: Kind + Resource<DynamicType = ()>,
{
    match all.iter().find(|object| object.name_any() == name) {
        Some(object) => hub.delete(object.as_ref()).await,
        None => Ok(()),
    }
}
