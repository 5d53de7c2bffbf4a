//! The controller of Clusters that have a topology.

use std::sync::Arc;

use kube::ResourceExt;
use scute_api::cluster::clusterclass::ClusterClass;
use scute_api::cluster::topology::{TOPOLOGY_OWNED_LABEL, Topology};
use scute_api::cluster::{Cluster, MachineDeployment, MachineSet};
use scute_contract::paused;
use scute_kit::conditions::{Conditions, Draft, Status, find};
use scute_kit::{Controller, Hub, Key, Next, Why, when_changed};
use serde_json::json;

use crate::apply::apply;
use crate::context::{Context, class_key};
use crate::desired::{Question, desired};
use crate::observe::{FAILED, observe};
use crate::report::{RECONCILED, condition};
use crate::upgrade::Upgrade;
use crate::variables;

/// Runs the controller; never returns.
pub async fn run(hub: Arc<Hub>) {
    let (context, woken) = Context::new(&hub).await;
    let clusters = context.clusters.clone();
    let of_class = when_changed(
        |class: &ClusterClass| {
            let ready = class.status.as_ref().map(|status| {
                let ready =
                    find(&status.conditions, "VariablesReady").map(|condition| condition.status.clone());
                (status.observed_generation, ready)
            });
            (class.metadata.generation, ready)
        },
        move |class: &ClusterClass| {
            let key = Key::of(class);
            let users = clusters.list();
            users
                .iter()
                .filter(|user| class_key(user).as_ref() == Some(&key))
                .map(|user| Key::of(user.as_ref()))
                .collect()
        },
    );
    let key = |namespace: Option<String>, name: &str| vec![Key::new(namespace.unwrap_or_default(), name)];
    let of_deployment =
        move |child: &MachineDeployment| match child.labels().contains_key(TOPOLOGY_OWNED_LABEL) {
            true => key(child.namespace(), &child.spec.cluster_name),
            false => Vec::new(),
        };
    // A MachineSet that ends lets go of its templates.
    let of_set = move |child: &MachineSet| {
        let ends = child.metadata.deletion_timestamp.is_some();
        match ends && child.labels().contains_key(TOPOLOGY_OWNED_LABEL) {
            true => key(child.namespace(), &child.spec.cluster_name),
            false => Vec::new(),
        }
    };
    Controller::<Cluster>::new("topology", &hub)
        .sums::<MachineDeployment>(of_deployment)
        .sums::<MachineSet>(of_set)
        .watches::<ClusterClass>(of_class)
        .on(woken)
        .run(Arc::new(context), reconcile)
        .await;
}

/// Brings the objects of one Cluster to what its topology says.
async fn reconcile(cluster: Arc<Cluster>, context: Arc<Context>) -> Next {
    let Some(topology) = &cluster.spec.topology else { return Next::Settled };
    if let Some(why) = paused::paused(Some(cluster.as_ref()), cluster.as_ref()) {
        let draft = Draft::new(RECONCILED, Status::False, "Paused", &why);
        return say(&cluster, draft, Next::OnChange(Why::new("Paused", why)), &context).await;
    }
    if cluster.metadata.deletion_timestamp.is_some() {
        context.externals.forget(&Key::of(cluster.as_ref()));
        let draft = Draft::new(RECONCILED, Status::False, "Deleting", "Cluster is deleting");
        return say(&cluster, draft, Next::Settled, &context).await;
    }
    let done = carry_out(&cluster, topology, &context).await;
    let next = match &done {
        Ok((upgrade, _)) if upgrade.is_going_on() => {
            Next::OnChange(Why::new("ClusterUpgrading", "an upgrade is on its way"))
        }
        Ok(_) => Next::Settled,
        // A watch wakes who waits for a class or its templates.
        Err(why) => Next::Failed(why.clone()),
    };
    if matches!(&done, Err(why) if why.passes()) {
        return next;
    }
    let kind = done.as_ref().map(|(_, kind)| kind.clone()).unwrap_or_default();
    let draft = condition(&done.map(|(upgrade, _)| upgrade), &topology.version, &kind);
    say(&cluster, draft, next, &context).await
}

/// Observes, decides and applies; gives what the upgrade does, and the kind of the control plane.
async fn carry_out(
    cluster: &Cluster,
    topology: &Topology,
    context: &Context,
) -> Result<(Upgrade, String), Why> {
    let seen = observe(cluster, topology, context).await?;
    // A class that came after its Cluster could not be asked at the door.
    let given = &seen.blueprint.class.spec.variables;
    let filled = variables::with_defaults(topology, given);
    if let Some(wrong) = variables::check_values(&filled, given).first() {
        return Err(Why::new(FAILED, wrong.to_string()));
    }
    let question =
        Question { cluster, topology: &filled, blueprint: &seen.blueprint, current: &seen.current };
    let want = desired(question).map_err(|why| Why::new(FAILED, why))?;
    let (upgrade, kind) = (want.upgrade.clone(), want.control_plane.resource.kind.clone());
    apply(cluster, &seen, want, context).await?;
    Ok((upgrade, kind))
}

/// Writes the one condition that is this controller's. The others are the Cluster controller's, which keeps this one.
async fn say(cluster: &Cluster, draft: Draft, next: Next, context: &Context) -> Next {
    // As it is now: the write of the references has changed it.
    let key = Key::of(cluster);
    let now = context.clusters.get(&key);
    let Some(cluster) = now.as_deref().filter(|now| now.metadata.uid == cluster.metadata.uid) else {
        return next;
    };
    let status = cluster.status.clone().unwrap_or_default();
    let generation = cluster.metadata.generation;
    let said = Conditions::new(&status.conditions, generation, context.hub.now()).put_all([draft]).finish();
    let old = find(&status.conditions, RECONCILED);
    if old == said.first() {
        return next;
    }
    let mut conditions: Vec<_> =
        status.conditions.iter().filter(|condition| condition.type_ != RECONCILED).cloned().collect();
    conditions.extend(said);
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    let mut status = json!(status);
    status["conditions"] = json!(conditions);
    context.hub.report(cluster, status, next).await
}
