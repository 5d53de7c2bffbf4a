//! Reads what sets name, and brings it into Clusters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use scute_api::addons::{
    CLUSTER_RESOURCE_SET_FINALIZER, ClusterResourceSet, ClusterResourceSetBinding,
    ClusterResourceSetBindingSpec, ResourceKind, ResourceRef,
};
use scute_api::cluster::Cluster;
use scute_contract::owners::{owner, with_owner};
use scute_kit::tenants::TenantKey;
use scute_kit::{Error, Key, Why, finalizer};
use serde_json::json;
use tokio::time::timeout;

use super::manifest::{self, Manifest};
use super::plan::{self, Outcome};
use super::resources::Content;
use super::tenant::Tenant;
use super::{Context, selects};

/// What came of a pass.
#[derive(Debug, Default)]
pub struct Done {
    /// Secrets of another type.
    pub wrong_type: Vec<String>,
    /// What is waited for; an event ends it.
    pub waits: Vec<String>,
    /// What failed, and may go well when it is tried again.
    pub failures: Vec<String>,
    /// A write that somebody else's came before.
    pub again: Option<Why>,
}

/// What a set names, and what has been read of it.
type Read = BTreeMap<ResourceRef, (String, Vec<Manifest>, Vec<String>)>;

/// Clusters that are brought up to date at a time.
const AT_ONCE: usize = 8;
/// How long one Cluster may take: one that answers, but slowly, does not hold up the others for ever.
const PATIENCE: Duration = Duration::from_secs(120);

/// Brings a set into all of its Clusters. What fails, in one of them or of one resource, does not stop the rest.
pub async fn apply(set: &ClusterResourceSet, context: &Context) -> Done {
    let mut done = Done::default();
    let namespace = set.namespace().unwrap_or_default();
    let clusters: Vec<Arc<Cluster>> = context
        .clusters
        .list_in(&namespace)
        .into_iter()
        .filter(|cluster| cluster.metadata.deletion_timestamp.is_none() && selects(set, cluster))
        .collect();
    for resource in &set.spec.resources {
        match context.resources.meta(&namespace, resource) {
            None => done.waits.push(format!("{resource} does not exist")),
            Some(meta) => {
                if let Err(error) = own(set, resource, &meta, context).await {
                    done.fail(format!("owner of {resource}"), &error);
                }
            }
        }
    }
    let (ready, waiting): (Vec<_>, Vec<_>) =
        clusters.into_iter().partition(|cluster| plan::hindrance(cluster).is_none());
    for cluster in waiting {
        let why = plan::hindrance(&cluster).unwrap_or_default();
        done.waits.push(format!("Cluster {}: {why}", cluster.name_any()));
    }
    let read = read(set, &ready, context, &mut done).await;
    let passes: Vec<_> = ready.iter().map(|cluster| in_time(set, cluster, &read, context)).collect();
    let all: Vec<Done> = futures::stream::iter(passes).buffer_unordered(AT_ONCE).collect().await;
    all.into_iter().for_each(|one| done.add(one));
    done.failures.sort();
    done
}

async fn in_time(set: &ClusterResourceSet, cluster: &Cluster, read: &Read, context: &Context) -> Done {
    match timeout(PATIENCE, into(set, cluster, read, context)).await {
        Ok(done) => done,
        Err(_) => Done {
            failures: vec![format!("Cluster {}: not done after {PATIENCE:?}", cluster.name_any())],
            ..Done::default()
        },
    }
}

impl Done {
    fn add(&mut self, other: Self) {
        let Self { wrong_type, waits, failures, again } = other;
        self.wrong_type.extend(wrong_type);
        self.waits.extend(waits);
        self.failures.extend(failures);
        self.again = self.again.take().or(again);
    }

    fn fail(&mut self, what: String, error: &Error) {
        let why = Why::of("NotApplied", error);
        if why.passes() {
            self.again.get_or_insert(why);
        } else {
            self.failures.push(format!("{what}: {error}"));
        }
    }
}

/// The set owns what it names, so that it is moved with it.
async fn own(
    set: &ClusterResourceSet,
    resource: &ResourceRef,
    meta: &ObjectMeta,
    context: &Context,
) -> Result<(), Error> {
    let (want, existing) = (owner(set, false), meta.owner_references.as_deref().unwrap_or_default());
    if existing.contains(&want) {
        return Ok(());
    }
    let patch = json!({ "metadata": {
        "ownerReferences": with_owner(existing, &want), "resourceVersion": meta.resource_version,
    }});
    let key = Key::new(set.namespace().unwrap_or_default(), resource.name.clone());
    let done = match resource.kind {
        ResourceKind::ConfigMap => context.hub.patch::<ConfigMap>(&key, &patch).await.map(drop),
        ResourceKind::Secret => context.hub.patch::<Secret>(&key, &patch).await.map(drop),
    };
    match done {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

/// Reads those resources that some Cluster needs.
async fn read(
    set: &ClusterResourceSet,
    clusters: &[Arc<Cluster>],
    context: &Context,
    done: &mut Done,
) -> Read {
    let (namespace, mut all) = (set.namespace().unwrap_or_default(), Read::new());
    for resource in &set.spec.resources {
        if context.resources.meta(&namespace, resource).is_none() {
            continue;
        }
        let hash = context.resources.hash(&namespace, resource);
        if !clusters.iter().any(|cluster| is_due(set, cluster, resource, hash.as_deref(), context)) {
            continue;
        }
        match context.resources.read(&context.hub, &namespace, resource).await {
            Ok(Content::Data(data)) => {
                let (objects, faults) = manifest::objects(&data);
                all.insert(resource.clone(), (manifest::hash(&data), objects, faults));
            }
            Ok(Content::Missing) => done.waits.push(format!("{resource} does not exist")),
            Ok(Content::WrongType) => done.wrong_type.push(resource.name.clone()),
            Err(error) => done.fail(resource.to_string(), &error),
        }
    }
    all
}

fn binding_of(cluster: &Cluster, context: &Context) -> Option<Arc<ClusterResourceSetBinding>> {
    context.bindings.get(&Key::of(cluster))
}

fn is_due(
    set: &ClusterResourceSet,
    cluster: &Cluster,
    resource: &ResourceRef,
    hash: Option<&str>,
    context: &Context,
) -> bool {
    let binding = binding_of(cluster, context);
    let said = binding.as_ref().and_then(|binding| plan::said(&binding.spec, &set.name_any(), resource));
    plan::is_due(said, set.spec.strategy.unwrap_or_default(), hash)
}

/// Brings what is due into one Cluster, and writes down what came of it.
async fn into(set: &ClusterResourceSet, cluster: &Cluster, read: &Read, context: &Context) -> Done {
    let (mut done, name) = (Done::default(), cluster.name_any());
    let strategy = set.spec.strategy.unwrap_or_default();
    let mut outcomes = Vec::new();
    let mut tenant = None;
    // In the order in which the set names them.
    for resource in &set.spec.resources {
        let Some((hash, objects, faults)) = read.get(resource) else { continue };
        if !is_due(set, cluster, resource, Some(hash), context) {
            continue;
        }
        if tenant.is_none() {
            let key = TenantKey::capi(&cluster.namespace().unwrap_or_default(), &name);
            match context.tenants.client(&key).await {
                Ok(client) => tenant = Some(Tenant::new(client)),
                Err(error) => {
                    done.failures.push(format!("Cluster {name}: {error}"));
                    break;
                }
            }
        }
        let Some(tenant) = &mut tenant else { break };
        let mut failures = faults.clone();
        failures.extend(tenant.put(objects, strategy, resource.kind).await);
        let applied = failures.is_empty();
        done.failures.extend(failures.iter().map(|why| format!("Cluster {name}: {resource}: {why}")));
        outcomes.push(Outcome { resource: resource.clone(), hash: hash.clone(), applied });
    }
    if let Err(error) = bind(set, cluster, &outcomes, context).await {
        done.fail(format!("ClusterResourceSetBinding {name}"), &error);
    }
    done
}

/// Writes down what came of it; sets that share a Cluster share its binding, and one of them may have to write again.
async fn bind(
    set: &ClusterResourceSet,
    cluster: &Cluster,
    outcomes: &[Outcome],
    context: &Context,
) -> Result<(), Error> {
    let (want, name) = (owner(set, false), cluster.name_any());
    let Some(binding) = binding_of(cluster, context) else {
        let before = ClusterResourceSetBindingSpec { bindings: Vec::new(), cluster_name: name.clone() };
        let spec = plan::bound(&before, &set.name_any(), outcomes, context.hub.now());
        let mut binding = ClusterResourceSetBinding::new(&name, spec);
        binding.metadata.namespace = cluster.namespace();
        binding.metadata.owner_references = Some(vec![want]);
        return context.hub.create(&binding).await.map(drop);
    };
    let spec = plan::bound(&binding.spec, &set.name_any(), outcomes, context.hub.now());
    let owners = binding.metadata.owner_references.as_deref().unwrap_or_default();
    if spec == binding.spec && owners.contains(&want) {
        return Ok(());
    }
    let patch = json!({
        "metadata": { "ownerReferences": with_owner(owners, &want), "resourceVersion": binding.resource_version() },
        "spec": { "bindings": spec.bindings },
    });
    context.hub.patch::<ClusterResourceSetBinding>(&Key::of(binding.as_ref()), &patch).await.map(drop)
}

/// Takes a set that goes away out of all bindings; what it has put into Clusters stays there.
pub async fn withdraw(set: &Arc<ClusterResourceSet>, context: &Context) -> Result<(), Why> {
    let (namespace, name) = (set.namespace().unwrap_or_default(), set.name_any());
    let failed = |error: Error| Why::of("BindingNotWritten", &error);
    for binding in context.bindings.list_in(&namespace) {
        let spec = plan::unbound(&binding.spec, &name);
        let owners = binding.metadata.owner_references.clone().unwrap_or_default();
        let mut kept = owners.clone();
        kept.retain(|owner| Some(owner.uid.as_str()) != set.metadata.uid.as_deref());
        if spec == binding.spec && kept == owners {
            continue;
        }
        let done = if spec.bindings.is_empty() {
            context.hub.delete(binding.as_ref()).await
        } else {
            let patch = json!({
                "metadata": { "ownerReferences": kept, "resourceVersion": binding.resource_version() },
                "spec": { "bindings": spec.bindings },
            });
            let key = Key::of(binding.as_ref());
            context.hub.patch::<ClusterResourceSetBinding>(&key, &patch).await.map(drop)
        };
        match done {
            Err(error) if error.is_not_found() => {}
            other => other.map_err(failed)?,
        }
    }
    finalizer::remove(&context.hub, set, CLUSTER_RESOURCE_SET_FINALIZER).await.map_err(failed)
}
