//! The loop of Metal3Remediations: observe, plan, apply, report.

use std::sync::Arc;

use kube::ResourceExt;
use scute_api::cluster::{Cluster, Machine};
use scute_api::infrastructure::{Metal3Machine, Metal3Remediation};
use scute_api::metal3::BareMetalHost;
use scute_contract::paused::paused;
use scute_kit::tenants::Tenants;
use scute_kit::{Controller, EventType, Hub, Key, Next, Watch, Why, when_changed};
use serde_json::json;

use super::apply::{ApplyError, apply};
use super::observe::{machine_of, observe};
use super::plan::plan;

/// What every reconcile needs.
struct Context {
    hub: Arc<Hub>,
    tenants: Arc<Tenants>,
}

/// Runs the controller.
pub async fn run(hub: Arc<Hub>, tenants: Arc<Tenants>) {
    let remediations = hub.watch::<Metal3Remediation>();
    let all_in = |remediations: &Watch<Metal3Remediation>| {
        let remediations = remediations.clone();
        move |namespace: &str| -> Vec<Key> {
            remediations.list_in(namespace).iter().map(|object| Key::of(object.as_ref())).collect()
        }
    };
    // There are few of them, and none at most times.
    let (by_host, by_node, by_cluster) =
        (all_in(&remediations), all_in(&remediations), all_in(&remediations));
    let woken = tenants.woken(move |tenant, _| by_node(&tenant.namespace));
    let controller = Controller::<Metal3Remediation>::new("metal3remediation", &hub)
        .watches::<Machine>(move |machine| {
            let key = Key::of(machine);
            let mut its = remediations.list_in(&key.namespace);
            its.retain(|object| machine_of(object) == key);
            its.iter().map(|object| Key::of(object.as_ref())).collect()
        })
        .watches::<BareMetalHost>(when_changed(
            |host: &BareMetalHost| {
                let status = host.status.as_ref().map(|status| (status.powered_on, &status.error_message));
                json!([host.spec.online, host.spec.consumer_ref, host.metadata.annotations, status])
                    .to_string()
            },
            move |host| by_host(&host.namespace().unwrap_or_default()),
        ))
        .watches::<Cluster>(when_changed(
            |cluster: &Cluster| (cluster.spec.paused, cluster.metadata.uid.clone()),
            move |cluster| by_cluster(&cluster.namespace().unwrap_or_default()),
        ))
        .on(woken);
    hub.watch::<Metal3Machine>().ready().await;
    controller.run(Arc::new(Context { hub, tenants }), reconcile).await;
}

/// Brings one remediation a step further.
async fn reconcile(object: Arc<Metal3Remediation>, context: Arc<Context>) -> Next {
    let Context { hub, tenants } = context.as_ref();
    let seen = observe(hub, tenants, &object).await;
    if let Some(why) = paused(seen.cluster.as_deref(), object.as_ref()) {
        return Next::OnChange(Why::new("Paused", why));
    }
    let plan = plan(&object, &seen, hub.now());
    match apply(hub, tenants, &object, &seen, &plan.actions).await {
        Ok(()) => {}
        Err(ApplyError::Write(error)) if error.is_not_found() => return Next::Settled,
        Err(ApplyError::Write(error)) => return Next::Failed(Why::of("WriteFailed", &error)),
        Err(error @ (ApplyError::Tenant(_) | ApplyError::Node { .. })) => {
            hub.event(object.as_ref(), EventType::Warning, "RemediationHeldUp", &error.to_string()).await;
            return Next::Failed(Why::new("HeldUp", error.to_string()));
        }
    }
    for (kind, reason, note) in plan.told {
        hub.event(object.as_ref(), kind, reason, &note).await;
    }
    hub.report(object.as_ref(), json!(plan.status), plan.next).await
}
