//! What is refused at the door, and defaults of variables.

mod class;
mod cluster;
mod compatible;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use scute_api::cluster::Cluster;
use scute_api::cluster::clusterclass::ClusterClass;
use scute_kit::{Admission, AdmissionRequest, FieldError, Hub, Key, Operation, Verdict};
use serde_json::Value;
use tokio::time::timeout;

use crate::context::class_key;

const GROUP: &str = "cluster.x-k8s.io";
/// How long the API server may take to answer while it waits for this answer itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// Adds the decoder of ClusterClass, and the handlers of Cluster and ClusterClass.
#[must_use]
pub fn admission(hub: &Arc<Hub>, admission: Admission) -> Admission {
    let (for_clusters, for_classes, for_advice) = (Arc::clone(hub), Arc::clone(hub), Arc::clone(hub));
    admission
        .decodes::<ClusterClass>()
        .on(GROUP, "Cluster", move |request| {
            let hub = Arc::clone(&for_clusters);
            async move { judge_cluster(&request, &hub).await }.boxed()
        })
        .advises(GROUP, "Cluster", move |request| {
            let hub = Arc::clone(&for_advice);
            async move { advise(&request, &hub).await }.boxed()
        })
        .on(GROUP, "ClusterClass", move |request| {
            let hub = Arc::clone(&for_classes);
            async move { judge_class(&request, &hub).await }.boxed()
        })
}

fn read<K: serde::de::DeserializeOwned>(value: Option<&Value>) -> Option<K> {
    value.and_then(|value| serde_json::from_value(value.clone()).ok())
}

/// The class of a Cluster; `Ok(None)` when there is none.
async fn class_of(cluster: &Cluster, hub: &Hub) -> Result<Option<ClusterClass>, Verdict> {
    let Some(key) = class_key(cluster) else { return Ok(None) };
    get_class(&key, hub).await
}

async fn get_class(key: &Key, hub: &Hub) -> Result<Option<ClusterClass>, Verdict> {
    match timeout(PATIENCE, hub.get::<ClusterClass>(key)).await {
        Ok(Ok(class)) => Ok(class),
        Ok(Err(error)) => Err(Verdict::Refuse(500, error.to_string())),
        Err(_) => Err(Verdict::Refuse(500, format!("ClusterClass {key} cannot be read in time: try again"))),
    }
}

async fn judge_cluster(request: &AdmissionRequest, hub: &Hub) -> Verdict {
    let writes = matches!(request.operation, Operation::Create | Operation::Update);
    if !writes || !request.subresource.is_empty() {
        return Verdict::Allow;
    }
    let Some(mut new) = read::<Cluster>(Some(&request.object)) else { return Verdict::Allow };
    new.metadata.namespace.get_or_insert_with(|| request.namespace.clone());
    let mut old = read::<Cluster>(request.old.as_ref());
    if let Some(old) = &mut old {
        old.metadata.namespace.get_or_insert_with(|| request.namespace.clone());
    }
    if new.spec.topology.is_none() {
        return match old.is_some_and(|old| old.spec.topology.is_some()) {
            true => Verdict::Deny(vec![FieldError::new(
                "spec.topology",
                "",
                "cannot be removed: it makes the Cluster's objects",
            )]),
            false => Verdict::Allow,
        };
    }
    // Labels, finalizers and the like of a Cluster whose class is gone can be changed.
    let same = old
        .as_ref()
        .is_some_and(|old| old.spec == new.spec && old.metadata.annotations == new.metadata.annotations);
    if same {
        return Verdict::Allow;
    }
    let class = match class_of(&new, hub).await {
        Ok(class) => class,
        Err(verdict) => return verdict,
    };
    let filled = cluster::filled(&new, class.as_ref());
    let mut errors = cluster::check(&filled, class.as_ref());
    if let Some(old) = &old {
        // A fault from before the rule came, or the class changed, is held against no other change.
        let known = cluster::check(&cluster::filled(old, class.as_ref()), class.as_ref());
        errors.retain(|error| !known.contains(error));
        match cluster::check_change(old, &filled, class.as_ref(), hub).await {
            Ok(more) => errors.extend(more),
            Err(verdict) => return verdict,
        }
    }
    if !errors.is_empty() {
        return Verdict::Deny(errors);
    }
    if filled.spec.topology == new.spec.topology {
        return Verdict::Allow;
    }
    // Only what was filled in: what our types do not know stays for the schema to judge.
    let mut object = request.object.clone();
    let topology = filled.spec.topology.unwrap_or_default();
    cluster::put_filled(&mut object["spec"]["topology"], &topology);
    Verdict::Replace(object)
}

/// A Cluster may come before its class; whoever makes it hears what it waits for.
async fn advise(request: &AdmissionRequest, hub: &Hub) -> Vec<String> {
    let Some(mut new) = read::<Cluster>(Some(&request.object)) else { return Vec::new() };
    new.metadata.namespace.get_or_insert_with(|| request.namespace.clone());
    let Some(key) = class_key(&new) else { return Vec::new() };
    match get_class(&key, hub).await {
        Ok(None) => vec![format!(
            "spec.topology.classRef: there is no ClusterClass {key} yet: the Cluster waits for it, and its variables are checked then"
        )],
        _ => Vec::new(),
    }
}

async fn judge_class(request: &AdmissionRequest, hub: &Hub) -> Verdict {
    if !request.subresource.is_empty() {
        return Verdict::Allow;
    }
    // Our types do not have what is not served; the reason is better than that something else is missing.
    if let Some(at) = external_patch(&request.object) {
        let detail = "extensions of a Runtime SDK are not served: use jsonPatches";
        return Verdict::Deny(vec![FieldError::new(format!("spec.patches[{at}].external"), "", detail)]);
    }
    let new = read::<ClusterClass>(Some(&request.object));
    let old = read::<ClusterClass>(request.old.as_ref());
    let key = Key::new(request.namespace.clone(), request.name.clone());
    match request.operation {
        Operation::Delete => match users(&key, hub).await {
            Ok(users) if users.is_empty() => Verdict::Allow,
            Ok(users) => Verdict::Refuse(
                403,
                format!("ClusterClass {key} cannot be deleted: it is used by {}", named(&users)),
            ),
            Err(verdict) => verdict,
        },
        Operation::Create => new.map_or(Verdict::Allow, |new| verdict(class::check(&new))),
        Operation::Update => {
            let (Some(new), Some(old)) = (new, old) else { return Verdict::Allow };
            if new.spec == old.spec {
                return Verdict::Allow;
            }
            let mut errors = class::check(&new);
            let known = class::check(&old);
            errors.retain(|error| !known.contains(error));
            errors.extend(compatible::classes(&old.spec, &new.spec));
            match users(&key, hub).await {
                Ok(users) => errors.extend(class::check_users(&old, &new, &users)),
                Err(verdict) => return verdict,
            }
            verdict(errors)
        }
        Operation::Connect => Verdict::Allow,
    }
}

fn external_patch(class: &Value) -> Option<usize> {
    let patches = class.pointer("/spec/patches")?.as_array()?;
    patches.iter().position(|patch| !patch["external"].is_null())
}

fn verdict(errors: Vec<FieldError>) -> Verdict {
    if errors.is_empty() { Verdict::Allow } else { Verdict::Deny(errors) }
}

/// The Clusters that use a class, of all namespaces.
async fn users(key: &Key, hub: &Hub) -> Result<Vec<Arc<Cluster>>, Verdict> {
    let clusters = hub.watch::<Cluster>();
    if timeout(PATIENCE, clusters.ready()).await.is_err() {
        return Err(Verdict::Refuse(500, "the Clusters cannot be listed yet: try again".to_owned()));
    }
    let mut all = clusters.list();
    all.retain(|cluster| class_key(cluster).as_ref() == Some(key));
    Ok(all)
}

fn named(users: &[Arc<Cluster>]) -> String {
    let some: Vec<_> =
        users.iter().take(3).map(|user| format!("Cluster {}", Key::of(user.as_ref()))).collect();
    let more = if users.len() > 3 { format!(" and {} more", users.len() - 3) } else { String::new() };
    format!("{}{more}", some.join(", "))
}
