//! The loop of KubeadmControlPlanes: observe, ask the tenant, plan, apply, report.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::PartialObjectMeta;
use scute_api::bootstrap::KubeadmConfig;
use scute_api::cluster::{Cluster, Machine, OWNER_REMEDIATED};
use scute_api::controlplane::KubeadmControlPlane;
use scute_contract::owners::{controller, owner_of_kind};
use scute_contract::{Externals, paused};
use scute_kit::conditions::Draft;
use scute_kit::tenants::{TenantKey, Tenants};
use scute_kit::{Controller, EventType, Hub, Key, Next, Watch, Why, when_changed};
use serde_json::json;

use crate::context::Context;
use crate::observe::{Observed, belongs, is_stacked, observe};
use crate::plan::{Action, Plan, is_initialized, plan};
use crate::{Config, apply, health, inspect, report, say};

/// Until the tenant is asked again while something is under way: nobody watches its Pods and its etcd.
const SOON: Duration = Duration::from_secs(10);
/// Until it is asked again at rest.
const LATER: Duration = Duration::from_secs(60);

/// Reason of a run that ends because the next one, which is woken, sees what it made.
pub const MADE_JUST_NOW: &str = "WaitingForCertificates";

/// Runs the controller; never returns.
pub async fn run(hub: Arc<Hub>, tenants: Arc<Tenants>, config: Config) {
    let (externals, woken) = Externals::new(&hub);
    let planes = hub.watch::<KubeadmControlPlane>();
    let nodes = {
        let planes = planes.clone();
        tenants.woken(move |tenant, node| {
            // Nodes of workers change without end, and say nothing of a control plane.
            let workers = node.is_some_and(|node| !node.labels().contains_key(inspect::CONTROL_PLANE_NODE));
            if workers { Vec::new() } else { of_tenant(&planes, tenant) }
        })
    };
    let of_cluster = when_changed(
        |cluster: &Cluster| {
            let initialization = cluster.status.as_ref().map(|status| &status.initialization);
            let domains = cluster.status.as_ref().map(|status| &status.failure_domains);
            json!([cluster.metadata.generation, cluster.metadata.deletion_timestamp, initialization, domains])
                .to_string()
        },
        {
            let planes = planes.clone();
            move |cluster: &Cluster| {
                of_cluster(&planes, &cluster.namespace().unwrap_or_default(), &cluster.name_any())
            }
        },
    );
    // Workers wake a control plane that waits for them to be gone; Machines without an owner may be its own.
    let of_machine = {
        let planes = planes.clone();
        move |machine: &Machine| {
            let namespace = machine.namespace().unwrap_or_default();
            let all = planes.list_in(&namespace);
            let touched = |kcp: &&Arc<KubeadmControlPlane>| {
                let of_cluster = cluster_of(kcp).is_some_and(|cluster| cluster == machine.spec.cluster_name);
                let orphan = controller(&machine.metadata).is_none();
                of_cluster && (orphan || kcp.metadata.deletion_timestamp.is_some())
            };
            all.iter().filter(touched).map(|kcp| Key::of(kcp.as_ref())).collect()
        }
    };
    let of_secret = {
        let planes = planes.clone();
        move |secret: &PartialObjectMeta<Secret>| {
            let name = secret.name_any();
            let all = planes.list_in(&secret.namespace().unwrap_or_default());
            let is_its = |kcp: &&Arc<KubeadmControlPlane>| {
                let cluster = cluster_of(kcp);
                let suffix = cluster.and_then(|cluster| name.strip_prefix(cluster)?.strip_prefix('-'));
                suffix.is_some_and(|suffix| {
                    ["ca", "etcd", "proxy", "sa", "apiserver-etcd-client", "kubeconfig"].contains(&suffix)
                })
            };
            all.iter().filter(is_its).map(|kcp| Key::of(kcp.as_ref())).collect()
        }
    };
    let of_config = {
        let planes = planes.clone();
        move |config: &KubeadmConfig| {
            // They belong to their Machine, which belongs to the control plane.
            let label = config.labels().get(scute_api::cluster::CONTROL_PLANE_NAME_LABEL).cloned();
            let all = planes.list_in(&config.namespace().unwrap_or_default());
            all.iter()
                .filter(|kcp| Some(scute_api::naming::label_value(&kcp.name_any())) == label)
                .map(|kcp| Key::of(kcp.as_ref()))
                .collect()
        }
    };
    let context = Context::new(Arc::clone(&hub), tenants, externals, config.etcd);
    context.clusters.ready().await;
    context.machines.ready().await;
    context.configs.ready().await;
    hub.watch_meta::<Secret>().ready().await;
    Controller::<KubeadmControlPlane>::new("kubeadmcontrolplane", &hub)
        .owns::<Machine>()
        .watches::<Machine>(of_machine)
        .watches::<KubeadmConfig>(of_config)
        .watches::<Cluster>(of_cluster)
        .listen(hub.watch_meta::<Secret>(), of_secret)
        .on(woken)
        .on(nodes)
        .run(Arc::new(context), reconcile)
        .await;
}

fn cluster_of(kcp: &KubeadmControlPlane) -> Option<&str> {
    owner_of_kind::<Cluster>(&kcp.metadata).map(|owner| owner.name.as_str())
}

fn of_cluster(planes: &Watch<KubeadmControlPlane>, namespace: &str, cluster: &str) -> Vec<Key> {
    let all = planes.list_in(namespace);
    all.iter().filter(|kcp| cluster_of(kcp) == Some(cluster)).map(|kcp| Key::of(kcp.as_ref())).collect()
}

fn of_tenant(planes: &Watch<KubeadmControlPlane>, tenant: &TenantKey) -> Vec<Key> {
    let all = planes.list_in(&tenant.namespace);
    let is_its = |kcp: &&Arc<KubeadmControlPlane>| {
        cluster_of(kcp).is_some_and(|cluster| TenantKey::capi(&tenant.namespace, cluster) == *tenant)
    };
    all.iter().filter(is_its).map(|kcp| Key::of(kcp.as_ref())).collect()
}

/// Brings one control plane a step on.
async fn reconcile(kcp: Arc<KubeadmControlPlane>, context: Arc<Context>) -> Next {
    let mut seen = match observe(kcp, &context).await {
        Ok(seen) => seen,
        Err(error) => return Next::Failed(Why::of("InternalError", &error)),
    };
    if let Some(why) = paused::paused(seen.cluster.as_deref(), seen.kcp.as_ref()) {
        return paused::pause(&context.hub, seen.kcp.as_ref(), why).await;
    }
    let now = context.hub.now();
    seen.tenant = inspect::inspect(&seen, &context).await;
    let health = with_health(&mut seen, now);
    let plan = plan(&seen, now.as_nanosecond() as i64, now);
    let done = apply::apply(&seen, &plan, &context).await;
    let done = done.and(tell_machines(&seen, health, &plan, &context).await);
    if let Err(why) = &done
        && !why.passes()
        && why.reason != MADE_JUST_NOW
    {
        context.hub.event(seen.kcp.as_ref(), EventType::Warning, &why.reason, &why.message).await;
    }
    // What was made or deleted just now is in the watch already.
    let after = refreshed(&seen, &context);
    let status = report::report(&seen, &after, &plan, done.as_ref().err(), now);
    let next = next(&seen, &plan, done, now);
    context.hub.report(seen.kcp.as_ref(), json!(status), next).await
}

/// What was found on each Machine, by name.
type Health = BTreeMap<String, Vec<Draft>>;

/// Puts what was found on each Machine into its conditions, for who decides by them.
fn with_health(seen: &mut Observed, now: jiff::Timestamp) -> Health {
    let (stacked, initialized) = (is_stacked(&seen.kcp), is_initialized(seen));
    let mut all = Health::new();
    for machine in &mut seen.machines {
        let drafts = health::of_machine(machine, &seen.tenant, stacked, initialized);
        let conditions = say::merged(machine, drafts.clone(), &[], now);
        all.insert(machine.name_any(), drafts);
        let mut new = machine.as_ref().clone();
        new.status.get_or_insert_default().conditions = conditions;
        *machine = Arc::new(new);
    }
    all
}

/// Writes what was found, decided and taken back on each Machine. All are told, and the first failure is returned.
async fn tell_machines(seen: &Observed, health: Health, plan: &Plan, context: &Context) -> Result<(), Why> {
    let now = context.hub.now();
    let mut first = Ok(());
    for (name, mut drafts) in health {
        // Our own writes of this run are in it already.
        let current = context.machines.get(&Key::new(seen.key().namespace, name.clone()));
        let Some(current) = current else { continue };
        drafts.extend(report::of_machine(&name, plan));
        let without = if plan.recovered.contains(&name) { &[OWNER_REMEDIATED][..] } else { &[] };
        let wanted = say::merged(&current, drafts, without, now);
        let said = say::say(&context.hub, &current, &wanted).await;
        first = first.and(said.map_err(|error| Why::of("MachineNotTold", &error)));
    }
    first
}

/// The Machines as they are now.
fn refreshed(seen: &Observed, context: &Context) -> Vec<Arc<Machine>> {
    let all = context.machines.list_in(&seen.key().namespace);
    let mut own: Vec<_> =
        all.into_iter().filter(|machine| belongs(&seen.kcp, seen.cluster.as_deref(), machine)).collect();
    own.sort_by_key(|machine| machine.name_any());
    own
}

fn next(seen: &Observed, plan: &Plan, done: Result<(), Why>, now: jiff::Timestamp) -> Next {
    match done {
        // Secrets that were made are heard of.
        Err(why) if why.reason == MADE_JUST_NOW => return Next::OnChange(why),
        Err(why) => return Next::Failed(why),
        Ok(()) => {}
    }
    if let Some(why) = &plan.stop {
        return Next::OnChange(why.clone());
    }
    let busy = !plan.blocked.is_empty()
        || !is_initialized(seen)
        || seen.machines.len() != seen.wanted()
        || plan.actions.iter().any(Action::changes_machines)
        || !report::is_healthy(seen);
    let rest = if busy { SOON } else { LATER };
    let due = plan.due.map(|due| due.duration_since(now).unsigned_abs()).unwrap_or(rest);
    let why = match plan.blocked.first() {
        Some(blocked) => Why::new("Blocked", blocked.clone()),
        None => Why::new("Watching", "the Pods and the etcd of the tenant are looked at again"),
    };
    Next::After(rest.min(due.max(Duration::from_secs(1))), why)
}
