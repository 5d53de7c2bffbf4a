//! The loop of KubevirtMachines: observe, plan, apply, report.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Secret};
use kube::{Resource, ResourceExt};
use scute_api::cluster::{Cluster, Machine};
use scute_api::infrastructure::{CAPK_MACHINE_NAME_LABEL, KubevirtCluster, KubevirtMachine};
use scute_api::kubevirt::{VirtualMachine, VirtualMachineInstance};
use scute_api::meta::CLUSTER_NAME_LABEL;
use scute_contract::paused::{pause, paused};
use scute_kit::tenants::Tenants;
use scute_kit::{Controller, EventType, Hub, Key, Next, Watch, Why};
use serde_json::json;

use super::apply::{ApplyError, apply};
use super::observe::{observe, service_cidrs};
use super::plan::{Action, Stage, plan};
use super::report;
use crate::Config;

/// How long until a guest that has not joined is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// The same, when its Node is there already: then it is a matter of moments.
const ASK_SOON: Duration = Duration::from_secs(2);

/// What every reconcile needs.
struct Context {
    hub: Arc<Hub>,
    tenants: Arc<Tenants>,
    config: Config,
}

/// Runs the controller.
pub async fn run(hub: Arc<Hub>, tenants: Arc<Tenants>, config: Config) {
    // A guest's Node has the name of its KubevirtMachine.
    let woken = tenants.woken(|tenant, node| {
        node.map(|node| Key::new(tenant.namespace.clone(), node.name_any())).into_iter().collect()
    });
    let machines = hub.watch::<KubevirtMachine>();
    let (by_cluster, by_infra) = (machines.clone(), machines.clone());
    let controller = Controller::<KubevirtMachine>::new("kubevirtmachine", &hub)
        .watches::<Machine>(|machine| {
            let reference = &machine.spec.infrastructure_ref;
            let ours = reference.kind == "KubevirtMachine";
            ours.then(|| Key::new(machine.namespace().unwrap_or_default(), reference.name.clone()))
                .into_iter()
                .collect()
        })
        .watches::<Cluster>(move |cluster| of_cluster(&by_cluster, cluster, &cluster.name_any()))
        .watches::<KubevirtCluster>(move |infra| all_in(&by_infra, infra))
        .watches::<VirtualMachine>(labelled)
        .watches::<VirtualMachineInstance>(labelled)
        .on(woken)
        .concurrency(32);
    hub.watch::<Machine>().ready().await;
    hub.watch::<Cluster>().ready().await;
    hub.watch::<KubevirtCluster>().ready().await;
    hub.watch::<VirtualMachine>().ready().await;
    hub.watch::<VirtualMachineInstance>().ready().await;
    hub.watch::<Node>().ready().await;
    hub.watch_meta::<Secret>().ready().await;
    // Asked for now, to be known when the first VM is made.
    service_cidrs(&hub);
    let context = Arc::new(Context { hub, tenants, config });
    controller.run(context, reconcile).await;
}

fn of_cluster<K: Resource>(machines: &Watch<KubevirtMachine>, from: &K, cluster: &str) -> Vec<Key> {
    let namespace = from.namespace().unwrap_or_default();
    machines
        .list_in(&namespace)
        .iter()
        .filter(|machine| machine.labels().get(CLUSTER_NAME_LABEL).is_none_or(|name| name == cluster))
        .map(|machine| Key::of(machine.as_ref()))
        .collect()
}

/// A KubevirtCluster may be found by its name alone, so that it concerns every KubevirtMachine beside it.
fn all_in(machines: &Watch<KubevirtMachine>, infra: &KubevirtCluster) -> Vec<Key> {
    let namespace = infra.namespace().unwrap_or_default();
    machines.list_in(&namespace).iter().map(|machine| Key::of(machine.as_ref())).collect()
}

/// VirtualMachine and VMI carry the name of their KubevirtMachine.
fn labelled<K: Resource>(child: &K) -> Vec<Key> {
    let name = child.labels().get(CAPK_MACHINE_NAME_LABEL).cloned();
    name.map(|name| Key::new(child.namespace().unwrap_or_default(), name)).into_iter().collect()
}

/// Brings one KubevirtMachine to a guest that is a Node.
async fn reconcile(object: Arc<KubevirtMachine>, context: Arc<Context>) -> Next {
    let Context { hub, tenants, config } = context.as_ref();
    let seen = match observe(hub, tenants, config, &object).await {
        Ok(seen) => seen,
        Err(error) => return Next::Failed(Why::of("ObserveFailed", &error)),
    };
    if let Some(why) = paused(seen.cluster.as_deref(), object.as_ref()) {
        return pause(hub, object.as_ref(), why).await;
    }
    let mut plan = plan(&object, &seen);
    let (done, applied) = apply(hub, tenants, &object, &seen, &plan).await;
    if applied.is_ok() && plan.actions.contains(&Action::RemoveFinalizer) {
        return Next::Settled;
    }
    if let Err(ApplyError::Write(error)) = &applied
        && error.passes()
    {
        return Next::Failed(Why::of("VMNotReady", error));
    }
    let failed = applied.err().map(|error| {
        let creates = plan.actions.iter().any(|action| matches!(action, Action::CreateVm { .. }));
        Why::new(if creates { "VMCreateFailed" } else { "VMNotReady" }, error.to_string())
    });
    if let Some(why) = &failed {
        hub.event(object.as_ref(), EventType::Warning, &why.reason, &why.message).await;
        if !matches!(plan.stage, Stage::Running(_) | Stage::Deleting(_)) {
            plan.stage = Stage::NotProvisioned(why.clone());
        }
    }
    let status = report::status(&object, &seen, &plan, &done, hub.now());
    let next = next(failed, &plan.stage, done.bootstrap, seen.node.is_some());
    hub.report(object.as_ref(), json!(status), next).await
}

fn next(failed: Option<Why>, stage: &Stage, asked: Option<Result<bool, String>>, is_node: bool) -> Next {
    match (failed, stage, asked) {
        (Some(why), _, _) => Next::Failed(why),
        // Nobody tells when a file appears inside of a guest. Its Node wakes us earlier.
        (_, _, Some(answer)) if answer != Ok(true) => Next::After(
            if is_node { ASK_SOON } else { ASK_AGAIN },
            Why::new("BootstrapFailed", "the guest has not joined yet"),
        ),
        (_, Stage::NotProvisioned(why) | Stage::Deleting(why), _) => Next::OnChange(why.clone()),
        (_, Stage::Running(_), _) => Next::Settled,
    }
}
