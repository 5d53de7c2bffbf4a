//! The loop of Metal3Data: observe, plan, apply, report.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::{Resource, ResourceExt};
use scute_api::cluster::{Cluster, Machine};
use scute_api::infrastructure::{Metal3Data, Metal3DataClaim, Metal3DataTemplate, Metal3Machine};
use scute_api::ipam::{IPAddress, IPAddressClaim, IPClaim, contract};
use scute_api::meta::CLUSTER_NAME_LABEL;
use scute_api::metal3::BareMetalHost;
use scute_contract::owners::controller;
use scute_contract::paused::paused;
use scute_kit::{Controller, EventType, Field, Hub, Key, Next, Watch, Why, when_changed};
use serde_json::json;

use super::apply::apply;
use super::observe::observe;
use super::plan::{Action, plan};
use crate::metal3machine::CONSUMER;

/// Metal3Data by the name of its claim, which is that of the Metal3Machine.
const CLAIM: Field<Metal3Data> =
    Field { name: "spec.claim.name", of: |data| data.spec.claim.as_ref()?.name.as_deref().map(Into::into) };

/// Runs the controller.
pub async fn run(hub: Arc<Hub>) {
    let datas = hub.watch::<Metal3Data>();
    let (claims, foreign) = (hub.watch::<IPClaim>(), hub.watch::<IPAddressClaim>());
    let of_claim = |datas: &Watch<Metal3Data>| {
        let datas = datas.clone();
        move |namespace: Option<String>, name: &str| keys(&datas, namespace.unwrap_or_default(), name)
    };
    let (by_claim, by_machine, by_host) = (of_claim(&datas), of_claim(&datas), of_claim(&datas));
    let by_cluster = datas.clone();
    let controller = Controller::<Metal3Data>::new("metal3data", &hub)
        .watches::<Metal3DataClaim>(move |claim| by_claim(claim.namespace(), &claim.name_any()))
        .watches::<Metal3Machine>(move |machine| by_machine(machine.namespace(), &machine.name_any()))
        .watches::<BareMetalHost>(when_changed(
            |host: &BareMetalHost| {
                let nics = host
                    .status
                    .as_ref()
                    .and_then(|status| status.hardware.as_ref())
                    .map(|hardware| &hardware.nics);
                json!([host.spec.consumer_ref, host.metadata.annotations, nics]).to_string()
            },
            move |host| (CONSUMER.of)(host).map(|name| by_host(host.namespace(), &name)).unwrap_or_default(),
        ))
        .owns::<IPClaim>()
        .owns::<IPAddressClaim>()
        .owns_meta::<Secret>()
        // An address may be seen after its claim.
        .watches::<IPAddress>(move |address| {
            owner_of(&claims, address.namespace(), address.spec.claim.name.as_deref())
        })
        .watches::<contract::IPAddress>(move |address| {
            owner_of(&foreign, address.namespace(), Some(&address.spec.claim_ref.name))
        })
        .watches::<Cluster>(when_changed(
            |cluster: &Cluster| cluster.spec.paused,
            move |cluster| of_cluster(&by_cluster, cluster),
        ));
    hub.watch::<Metal3DataTemplate>().ready().await;
    hub.watch::<Machine>().ready().await;
    controller.run(hub, reconcile).await;
}

fn keys(datas: &Watch<Metal3Data>, namespace: String, claim: &str) -> Vec<Key> {
    datas.list_by(&CLAIM, &namespace, claim).iter().map(|data| Key::of(data.as_ref())).collect()
}

fn of_cluster(datas: &Watch<Metal3Data>, cluster: &Cluster) -> Vec<Key> {
    let mut datas = datas.list_in(&cluster.namespace().unwrap_or_default());
    datas.retain(|data| data.labels().get(CLUSTER_NAME_LABEL) == cluster.metadata.name.as_ref());
    datas.iter().map(|data| Key::of(data.as_ref())).collect()
}

/// The Metal3Data that has asked with a claim.
fn owner_of<C>(claims: &Watch<C>, namespace: Option<String>, claim: Option<&str>) -> Vec<Key>
where
    C: scute_kit::Kind + Resource<DynamicType = ()>,
{
    let namespace = namespace.unwrap_or_default();
    let claim = claim.and_then(|name| claims.get(&Key::new(namespace.clone(), name)));
    let owner = claim.and_then(|claim| controller(claim.meta()).cloned());
    owner
        .filter(|owner| owner.kind == "Metal3Data")
        .map(|owner| Key::new(namespace, owner.name))
        .into_iter()
        .collect()
}

/// Brings one Metal3Data to its Secrets.
async fn reconcile(data: Arc<Metal3Data>, hub: Arc<Hub>) -> Next {
    let seen = observe(&hub, &data);
    if let Some(why) = paused(seen.cluster.as_deref(), data.as_ref()) {
        return Next::OnChange(Why::new("Paused", why));
    }
    let mut plan = plan(&data, &seen);
    let done = apply(&hub, &data, &plan.actions).await;
    match &done {
        Ok(()) if plan.actions.contains(&Action::RemoveFinalizer) => return Next::Settled,
        Ok(()) => {}
        Err(error) if error.passes() || error.is_not_found() => {
            return Next::Failed(Why::of("WriteFailed", error));
        }
        Err(error) => {
            plan.status.ready = Some(false);
            plan.status.error_message = Some(error.to_string());
            hub.event(data.as_ref(), EventType::Warning, "Metal3DataFailed", &error.to_string()).await;
        }
    }
    let next = match (done, plan.status.error_message.clone()) {
        (Err(error), _) => Next::Failed(Why::of("Metal3DataFailed", &error)),
        (Ok(()), Some(why)) => Next::OnChange(Why::new("Waiting", why)),
        (Ok(()), None) => Next::Settled,
    };
    hub.report(data.as_ref(), json!(plan.status), next).await
}
