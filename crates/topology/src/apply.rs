//! The writes of a topology: what should be there is applied, templates that changed get a new name, and what nobody
//! names any more is deleted.

use std::collections::BTreeSet;

use kube::ResourceExt;
use kube::api::{ApiResource, DynamicObject};
use scute_api::cluster::topology::{
    TOPOLOGY_DRY_RUN_ANNOTATION, TOPOLOGY_OWNED_LABEL, UPGRADE_STEP_ANNOTATION,
};
use scute_api::cluster::{Cluster, ClusterSpec};
use scute_api::meta::{CLUSTER_NAME_LABEL, ContractRef};
use scute_contract::owners::owner_of_kind;
use scute_contract::{Found, Served};
use scute_kit::{Error, EventType, Key, Why};
use serde_json::Value;

use crate::context::{Context, MANAGER};
use crate::desired::{Desired, DesiredWorkers, Made, refer_to_machines};
use crate::observe::{FAILED, Observed, existing};

fn why(what: &str, error: &Error) -> Why {
    let mut why = Why::of(FAILED, error);
    why.message = format!("{what} cannot be written: {error}");
    why
}

/// Writes. What cannot be written does not keep the rest from being; the first failure is returned.
pub async fn apply(
    cluster: &Cluster,
    seen: &Observed,
    mut desired: Desired,
    context: &Context,
) -> Result<(), Why> {
    // The Cluster knows its objects before they are there: whoever deletes it in between deletes them.
    name_objects(cluster, &desired, context).await?;
    let mut first = Ok(());
    first = first.and(object(cluster, &desired.infrastructure, true, context).await);
    first = first.and(control_plane(cluster, seen, &mut desired, context).await);
    for workers in &mut desired.workers {
        first = first.and(machine_deployment(cluster, workers, context).await);
    }
    first = first.and(checks(cluster, &desired, context).await);
    for surplus in &seen.surplus {
        if surplus.metadata.deletion_timestamp.is_none() {
            let gone = context.hub.delete(surplus.as_ref()).await;
            let what = format!("MachineDeployment {}", surplus.name_any());
            let note = format!("Deleted {what}, which the topology does not name any more");
            context.hub.event(cluster, EventType::Normal, "TopologyDelete", &note).await;
            first = first.and(gone.map_err(|error| why(&what, &error)));
        }
    }
    if first.is_ok() {
        first = old_templates(cluster, seen, &desired, context).await;
    }
    first
}

/// References and labels of the Cluster itself.
async fn name_objects(cluster: &Cluster, desired: &Desired, context: &Context) -> Result<(), Why> {
    let mut want = Cluster::new(
        &cluster.name_any(),
        ClusterSpec {
            infrastructure_ref: Some(desired.infrastructure_ref.clone()),
            control_plane_ref: Some(desired.control_plane_ref.clone()),
            ..ClusterSpec::default()
        },
    );
    want.metadata.namespace = cluster.namespace();
    want.metadata.uid = cluster.uid();
    let labels = [(CLUSTER_NAME_LABEL, cluster.name_any()), (TOPOLOGY_OWNED_LABEL, String::new())];
    want.metadata.labels = Some(labels.map(|(key, value)| (key.to_owned(), value)).into());
    if let Some(step) = &desired.step {
        want.metadata.annotations = Some([(UPGRADE_STEP_ANNOTATION.to_owned(), step.clone())].into());
    }
    context.hub.apply(MANAGER, &want).await.map(|_| ()).map_err(|error| why("the Cluster", &error))
}

/// Applies an object of the Cluster. One that somebody else made under its name is left alone.
async fn object(cluster: &Cluster, made: &Made, contract: bool, context: &Context) -> Result<(), Why> {
    let asker = Key::of(cluster);
    if contract
        && let Some(there) = existing(&asker, &made.reference(), context).await?
        && !belongs(&there, cluster)
    {
        let message = format!(
            "{} is there already, and not this topology's: delete it, or set naming.template of the ClusterClass",
            made.named()
        );
        return Err(Why::new(FAILED, message));
    }
    let done = context.hub.apply_dynamic(&made.resource, MANAGER, &made.object).await;
    done.map(|_| ()).map_err(|error| why(&made.named(), &error))
}

/// Whether an object is of this Cluster, and made by a topology or named by the Cluster before it had one.
fn belongs(object: &DynamicObject, cluster: &Cluster) -> bool {
    let labelled = object.labels().get(CLUSTER_NAME_LABEL) == Some(&cluster.name_any());
    labelled
        || owner_of_kind::<Cluster>(&object.metadata).is_some_and(|owner| owner.name == cluster.name_any())
}

async fn control_plane(
    cluster: &Cluster,
    seen: &Observed,
    desired: &mut Desired,
    context: &Context,
) -> Result<(), Why> {
    if let Some(machines) = &mut desired.machines {
        template(cluster, machines, &cluster.name_any(), context).await?;
        let contract = seen.blueprint.control_plane.contract;
        refer_to_machines(&mut desired.control_plane.object.data, machines, contract);
    }
    object(cluster, &desired.control_plane, true, context).await
}

async fn machine_deployment(
    cluster: &Cluster,
    workers: &mut DesiredWorkers,
    context: &Context,
) -> Result<(), Why> {
    let prefix = workers.prefix(cluster);
    template(cluster, &mut workers.bootstrap, &prefix, context).await?;
    template(cluster, &mut workers.infrastructure, &prefix, context).await?;
    workers.refer_to_templates();
    let (key, what) = (Key::of(&workers.object), format!("MachineDeployment {}", workers.object.name_any()));
    let mine = |there: &scute_api::cluster::MachineDeployment| {
        there.spec.cluster_name == cluster.name_any() && there.labels().contains_key(TOPOLOGY_OWNED_LABEL)
    };
    let there = context.deployments.get(&key);
    if there.as_ref().is_some_and(|there| !mine(there)) {
        let message = format!(
            "{what} is there already, and not this topology's: delete it, or set naming.template of the ClusterClass"
        );
        return Err(Why::new(FAILED, message));
    }
    if there.as_ref().is_some_and(|there| there.metadata.deletion_timestamp.is_some()) {
        return Ok(());
    }
    let done = context.hub.apply(MANAGER, &workers.object).await.map_err(|error| why(&what, &error))?;
    if there.is_none() {
        let note = format!("Created {what} for {} of the topology", workers.topology);
        context.hub.event(cluster, EventType::Normal, "TopologyCreate", &note).await;
    }
    drop(done);
    Ok(())
}

/// A template of the Cluster's: made, or changed in its labels and annotations, or made anew under another name when its
/// spec is another.
async fn template(cluster: &Cluster, made: &mut Made, prefix: &str, context: &Context) -> Result<(), Why> {
    if let Some(there) = existing(&Key::of(cluster), &made.reference(), context).await?
        && differs(made, &there, context).await?
    {
        let old = made.named();
        made.rotate(prefix);
        let note = format!("{old} has changed, and is replaced by {}", made.named());
        context.hub.event(cluster, EventType::Normal, "TopologyUpdate", &note).await;
    }
    object(cluster, made, false, context).await
}

/// Whether an apply would change the spec of a template. What the API server fills in, and what others say, is no change.
async fn differs(made: &Made, there: &DynamicObject, context: &Context) -> Result<bool, Why> {
    let mut trial = made.object.clone();
    trial.annotations_mut().insert(TOPOLOGY_DRY_RUN_ANNOTATION.to_owned(), String::new());
    // First without the annotation: it is what may stand already.
    match context.hub.trial_dynamic(&made.resource, MANAGER, &made.object).await {
        Ok(None) => return Ok(false),
        Ok(Some(after)) => {
            return same_version(made, there, context).await.map(|there| spec(&after) != spec(&there));
        }
        // Who lets templates be changed in a trial only wants to see the annotation.
        Err(error) if refused(&error) => {}
        Err(error) => return Err(why(&made.named(), &error)),
    }
    match context.hub.trial_dynamic(&made.resource, MANAGER, &trial).await {
        Ok(None) => Ok(false),
        Ok(Some(after)) => same_version(made, there, context).await.map(|there| spec(&after) != spec(&there)),
        Err(error) if refused(&error) => Ok(true),
        Err(error) => Err(why(&made.named(), &error)),
    }
}

/// The object as it is, in the version that is written.
async fn same_version(made: &Made, there: &DynamicObject, context: &Context) -> Result<DynamicObject, Why> {
    let version = there.types.as_ref().map(|types| types.api_version.clone()).unwrap_or_default();
    if version == made.resource.api_version {
        return Ok(there.clone());
    }
    let read = context.hub.get_dynamic(&made.resource, &Key::of(there)).await;
    Ok(read.map_err(|error| why(&made.named(), &error))?.unwrap_or_else(|| there.clone()))
}

fn spec(object: &DynamicObject) -> &Value {
    &object.data["spec"]
}

/// Whether a write was refused for what it says.
fn refused(error: &Error) -> bool {
    matches!(error.code(), Some(400 | 403 | 422))
}

/// MachineHealthChecks: those that should be there, and no other of the topology's.
async fn checks(cluster: &Cluster, desired: &Desired, context: &Context) -> Result<(), Why> {
    let asker = Key::of(cluster);
    let served = match context.externals.served(&asker, "cluster.x-k8s.io", "MachineHealthCheck").await {
        Ok(served) => served,
        Err(_) if desired.checks.is_empty() => return Ok(()),
        Err(_) => {
            let message = "the topology has health checks, and MachineHealthCheck is not installed";
            return Err(Why::new(FAILED, message));
        }
    };
    let mut first = Ok(());
    let mut names = BTreeSet::new();
    for check in &desired.checks {
        let object = serde_json::from_value::<DynamicObject>(check.clone());
        let Ok(object) = object else { continue };
        names.insert(object.name_any());
        let made = Made { resource: served.resource.clone(), object };
        first = first.and(self::object(cluster, &made, false, context).await);
    }
    for old in listed(&asker, &served, cluster, context).await? {
        if !names.contains(&old.name_any()) {
            let gone = context.hub.delete_dynamic(&served.resource, &old).await;
            first = first
                .and(gone.map_err(|error| why(&format!("MachineHealthCheck {}", old.name_any()), &error)));
        }
    }
    first
}

/// The objects of a kind that this Cluster's topology made, and that are not going already.
async fn listed(
    asker: &Key,
    served: &Served,
    cluster: &Cluster,
    context: &Context,
) -> Result<Vec<std::sync::Arc<DynamicObject>>, Why> {
    let all = context.externals.list(asker, &asker.namespace, served).await;
    let mut all = all.map_err(|found: Found| {
        Why::new(FAILED, found.unknown(true).unwrap_or_else(|| "objects cannot be listed".to_owned()))
    })?;
    all.retain(|object| {
        object.metadata.deletion_timestamp.is_none()
            && object.labels().contains_key(TOPOLOGY_OWNED_LABEL)
            && object.labels().get(CLUSTER_NAME_LABEL) == Some(&cluster.name_any())
            && owner_of_kind::<Cluster>(&object.metadata)
                .is_some_and(|owner| owner.name == cluster.name_any())
    });
    Ok(all)
}

/// Templates that neither the topology, nor a MachineDeployment or MachineSet that is still there, names.
async fn old_templates(
    cluster: &Cluster,
    seen: &Observed,
    desired: &Desired,
    context: &Context,
) -> Result<(), Why> {
    let asker = Key::of(cluster);
    let mut kept: BTreeSet<(String, String)> = BTreeSet::new();
    let mut keep = |reference: &ContractRef| {
        kept.insert((reference.kind.clone(), reference.name.clone()));
    };
    for made in templates(desired) {
        keep(&made.reference());
    }
    let name = cluster.name_any();
    let deployments = context.deployments.list_in(&asker.namespace);
    let sets = context.sets.list_in(&asker.namespace);
    let specs = deployments.iter().map(|object| &object.spec.template.spec);
    let specs = specs.chain(sets.iter().map(|object| &object.spec.template.spec));
    for spec in specs.filter(|spec| spec.cluster_name == name) {
        keep(&spec.infrastructure_ref);
        spec.bootstrap.config_ref.iter().for_each(&mut keep);
    }
    let mut kinds: Vec<ApiResource> = Vec::new();
    let workers = seen.blueprint.workers.values();
    let sources = workers.flat_map(|sources| [&sources.bootstrap, &sources.infrastructure]);
    for source in sources.chain(&seen.blueprint.machines) {
        if !kinds.iter().any(|kind| kind.kind == source.resource.kind && kind.group == source.resource.group)
        {
            kinds.push(source.resource.clone());
        }
    }
    for kind in kinds {
        let Ok(served) = context.externals.served(&asker, &kind.group, &kind.kind).await else { continue };
        for old in listed(&asker, &served, cluster, context).await? {
            if !kept.contains(&(kind.kind.clone(), old.name_any())) {
                let gone = context.hub.delete_dynamic(&served.resource, &old).await;
                gone.map_err(|error| why(&format!("{} {}", kind.kind, old.name_any()), &error))?;
            }
        }
    }
    Ok(())
}

fn templates(desired: &Desired) -> impl Iterator<Item = &Made> {
    let workers = desired.workers.iter().flat_map(|workers| [&workers.bootstrap, &workers.infrastructure]);
    workers.chain(&desired.machines)
}
