//! The loop of Metal3DataTemplates: one at a time gives its indexes out.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use scute_api::cluster::Cluster;
use scute_api::infrastructure::{
    METAL3_DATA_TEMPLATE_FINALIZER, Metal3Data, Metal3DataClaim, Metal3DataTemplate,
    Metal3DataTemplateStatus, Metal3Machine,
};
use scute_contract::owners::{hold, owner_of_kind};
use scute_contract::paused::paused;
use scute_kit::conditions::whole_seconds;
use scute_kit::{Controller, Field, Hub, Key, Next, Watch, Why, when_changed};
use serde_json::{Value, json};

use super::apply::apply;
use super::plan::{Claim, Observed, indexes, plan};

/// Metal3DataClaims by the name of their template.
pub const TEMPLATE: Field<Metal3DataClaim> = Field {
    name: "spec.template.name",
    of: |claim| claim.spec.template.as_ref()?.name.as_deref().map(Into::into),
};

/// Metal3Data by the name of their template.
pub const RENDERED: Field<Metal3Data> = Field {
    name: "spec.template.name",
    of: |data| data.spec.template.as_ref()?.name.as_deref().map(Into::into),
};

/// Runs the controllers of templates and of claims without one.
pub async fn run(hub: Arc<Hub>) {
    let (templates, claims) = (hub.watch::<Metal3DataTemplate>(), hub.watch::<Metal3DataClaim>());
    let controller = Controller::<Metal3DataTemplate>::new("metal3datatemplate", &hub)
        .watches::<Metal3DataClaim>(|claim| template_of(claim).into_iter().collect())
        .watches::<Metal3Data>(|data| {
            let name = (RENDERED.of)(data);
            name.map(|name| Key::new(data.namespace().unwrap_or_default(), name)).into_iter().collect()
        })
        // A claim that is deleted waits for its machine to go.
        .watches::<Metal3Machine>(when_changed(
            |machine: &Metal3Machine| {
                (machine.finalizers().is_empty(), machine.metadata.deletion_timestamp.is_some())
            },
            move |machine| {
                claims.get(&Key::of(machine)).and_then(|claim| template_of(&claim)).into_iter().collect()
            },
        ))
        .watches::<Cluster>(when_changed(
            |cluster: &Cluster| (cluster.spec.paused, cluster.metadata.uid.clone()),
            move |cluster| of_cluster(&templates, cluster),
        ));
    tokio::join!(controller.run(Arc::clone(&hub), reconcile), super::claims::run(hub));
}

/// The template of a claim.
pub fn template_of(claim: &Metal3DataClaim) -> Option<Key> {
    let name = (TEMPLATE.of)(claim).filter(|name| !name.is_empty())?;
    Some(Key::new(claim.namespace().unwrap_or_default(), name))
}

fn of_cluster(templates: &Watch<Metal3DataTemplate>, cluster: &Cluster) -> Vec<Key> {
    let mut templates = templates.list_in(&cluster.namespace().unwrap_or_default());
    templates.retain(|template| template.spec.cluster_name == cluster.metadata.name);
    templates.iter().map(|template| Key::of(template.as_ref())).collect()
}

async fn reconcile(template: Arc<Metal3DataTemplate>, hub: Arc<Hub>) -> Next {
    let name = template.spec.cluster_name.clone().filter(|name| !name.is_empty());
    let namespace = template.namespace().unwrap_or_default();
    let cluster = name.and_then(|name| hub.watch::<Cluster>().get(&Key::new(namespace, name)));
    if let Some(why) = paused(cluster.as_deref(), template.as_ref()) {
        return Next::OnChange(Why::new("Paused", why));
    }
    let template = match hold(&hub, &template, cluster.as_deref(), METAL3_DATA_TEMPLATE_FINALIZER).await {
        Ok(template) => template,
        Err(error) if error.is_not_found() => return Next::Settled,
        Err(error) => return Next::Failed(Why::of("WriteFailed", &error)),
    };
    let done = apply(&hub, &template, plan(&observe(&hub, &template))).await;
    // With what was written just now.
    let status = status(&observe(&hub, &template), hub.now());
    match done.and(hub.patch_status(template.as_ref(), status).await) {
        Err(error) if !error.is_not_found() => Next::Failed(Why::of("WriteFailed", &error)),
        _ => Next::Settled,
    }
}

fn observe(hub: &Arc<Hub>, template: &Arc<Metal3DataTemplate>) -> Observed {
    let (namespace, name) = (template.namespace().unwrap_or_default(), template.name_any());
    let machines = hub.watch::<Metal3Machine>();
    let claims = hub.watch::<Metal3DataClaim>().list_by(&TEMPLATE, &namespace, &name);
    Observed {
        template: Arc::clone(template),
        claims: claims.into_iter().map(|claim| seen(&machines, claim)).collect(),
        datas: hub.watch::<Metal3Data>().list_by(&RENDERED, &namespace, &name),
    }
}

/// A claim, and whether its machine is there.
pub fn seen(machines: &Watch<Metal3Machine>, claim: Arc<Metal3DataClaim>) -> Claim {
    let owner = owner_of_kind::<Metal3Machine>(&claim.metadata);
    let is_needed = owner.is_some_and(|owner| {
        let machine = machines.get(&Key::new(claim.namespace().unwrap_or_default(), owner.name.clone()));
        machine.is_some_and(|machine| machine.metadata.uid.as_ref() == Some(&owner.uid))
    });
    Claim { object: claim, is_needed }
}

fn status(seen: &Observed, now: Timestamp) -> Value {
    let before = seen.template.status.clone().unwrap_or_default();
    let indexes = indexes(seen);
    let last_updated = match before.indexes == indexes {
        true => before.last_updated,
        false => Some(Time(whole_seconds(now))),
    };
    json!(Metal3DataTemplateStatus { indexes, last_updated })
}
