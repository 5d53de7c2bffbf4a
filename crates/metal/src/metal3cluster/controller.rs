//! The loop of Metal3Clusters: endpoint, owner, and that nothing goes before its servers.

use std::sync::Arc;

use kube::ResourceExt;
use scute_api::cluster::Cluster;
use scute_api::infrastructure::{METAL3_CLUSTER_FINALIZER, Metal3Cluster, Metal3Machine};
use scute_api::meta::CLUSTER_NAME_LABEL;
use scute_contract::Externals;
use scute_contract::infracluster::{cluster_of, is_managed_by_others, next, own_changes};
use scute_contract::paused::{pause, paused};
use scute_contract::summary::listed;
use scute_kit::{Controller, Error, Hub, Key, Next, Why, finalizer};
use serde_json::{Map, json};

use super::plan::{endpoint, status};

/// How many Metal3Machines a condition names.
const NAMED: usize = 3;

/// What every reconcile needs.
struct Context {
    hub: Arc<Hub>,
    externals: Externals,
}

/// Runs the controller.
pub async fn run(hub: Arc<Hub>) {
    let (externals, woken) = Externals::new(&hub);
    let (by_cluster, by_machine) = (hub.watch::<Metal3Cluster>(), hub.watch::<Metal3Cluster>());
    let all_in = |infras: &scute_kit::Watch<Metal3Cluster>, namespace: &str| {
        infras.list_in(namespace).iter().map(|infra| Key::of(infra.as_ref())).collect()
    };
    let controller = Controller::<Metal3Cluster>::new("metal3cluster", &hub)
        .watches::<Cluster>(move |cluster| all_in(&by_cluster, &cluster.namespace().unwrap_or_default()))
        .watches::<Metal3Machine>(move |machine| {
            let namespace = machine.namespace().unwrap_or_default();
            let mut infras = by_machine.list_in(&namespace);
            // A server concerns an InfraCluster that waits for it to go.
            infras.retain(|infra| infra.metadata.deletion_timestamp.is_some());
            infras.iter().map(|infra| Key::of(infra.as_ref())).collect()
        })
        .on(woken);
    hub.watch::<Cluster>().ready().await;
    hub.watch::<Metal3Machine>().ready().await;
    controller.run(Arc::new(Context { hub, externals }), reconcile).await;
}

async fn reconcile(infra: Arc<Metal3Cluster>, context: Arc<Context>) -> Next {
    let hub = &context.hub;
    let leaves = infra.metadata.deletion_timestamp.is_some();
    if is_managed_by_others(infra.as_ref()) && !leaves {
        return Next::Settled;
    }
    let clusters = hub.watch::<Cluster>().list_in(&infra.namespace().unwrap_or_default());
    let cluster = cluster_of(infra.as_ref(), &clusters);
    if let Some(why) = paused(cluster, infra.as_ref()) {
        return pause(hub, infra.as_ref(), why).await;
    }
    let outcome = match (leaves, cluster) {
        (true, _) => match delete(&context, &infra, cluster).await {
            Ok(None) => return Next::Settled,
            waiting => waiting,
        },
        (false, None) => Ok(Some(Why::new("WaitingForCluster", "no Cluster owns or names this object"))),
        (false, Some(cluster)) => provide(&context, &infra, cluster).await,
    };
    let (waiting, failed) = match outcome {
        Ok(waiting) => (waiting, None),
        Err(error) if error.passes() => return Next::Failed(Why::of("WriteFailed", &error)),
        Err(error) => {
            let why = Why::of("WriteFailed", &error);
            (Some(why.clone()), Some(why))
        }
    };
    let status = status(&infra, waiting.as_ref(), hub.now());
    hub.report(infra.as_ref(), json!(status), next(failed, waiting)).await
}

/// Sees to the endpoint; gives what is still missing.
async fn provide(
    context: &Context,
    infra: &Arc<Metal3Cluster>,
    cluster: &Cluster,
) -> Result<Option<Why>, Error> {
    let asker = Key::of(infra.as_ref());
    let control_plane = match &cluster.spec.control_plane_ref {
        Some(reference) => Some(context.externals.get(&asker, &asker.namespace, reference).await),
        None => None,
    };
    let decided = endpoint(infra, cluster, control_plane.as_ref());
    let changes = own_changes(infra.as_ref(), cluster, METAL3_CLUSTER_FINALIZER, &decided, Map::new());
    if let Some(patch) = changes {
        context.hub.patch::<Metal3Cluster>(&asker, &patch).await?;
    }
    Ok(decided.missing())
}

/// Goes when the last server of the Cluster is given back: until then somebody may look for it.
async fn delete(
    context: &Context,
    infra: &Arc<Metal3Cluster>,
    cluster: Option<&Cluster>,
) -> Result<Option<Why>, Error> {
    let mut machines = context.hub.watch::<Metal3Machine>().list_in(&infra.namespace().unwrap_or_default());
    let cluster = cluster.map(ResourceExt::name_any);
    machines
        .retain(|machine| cluster.is_some() && machine.labels().get(CLUSTER_NAME_LABEL) == cluster.as_ref());
    if !machines.is_empty() {
        let names = listed("Metal3Machine", machines.iter().map(|machine| machine.name_any()), NAMED);
        return Ok(Some(Why::new("Deleting", format!("{names}: not given back yet"))));
    }
    finalizer::remove(&context.hub, infra, METAL3_CLUSTER_FINALIZER).await?;
    context.externals.forget(&Key::of(infra.as_ref()));
    Ok(None)
}
