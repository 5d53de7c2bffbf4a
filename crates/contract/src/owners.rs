//! Owner references and the cluster-name label: who belongs to whom.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::DynamicObject;
use kube::{Resource, ResourceExt};
use scute_api::cluster::Cluster;
use scute_api::meta::CLUSTER_NAME_LABEL;
use scute_kit::{Error, Hub, Key, Kind, finalizer};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::found::External;

/// A reference to an owner. A controller's deletion waits for nobody: none of the kinds blocks it.
pub fn owner<K: Resource<DynamicType = ()>>(object: &K, controller: bool) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
        controller: controller.then_some(true),
        block_owner_deletion: controller.then_some(true),
    }
}

fn group(reference: &OwnerReference) -> &str {
    reference.api_version.split_once('/').map_or("", |(group, _)| group)
}

/// The owner of this kind, if there is one.
pub fn owner_of_kind<K: Resource<DynamicType = ()>>(meta: &ObjectMeta) -> Option<&OwnerReference> {
    let (wanted_group, kind) = (K::group(&()), K::kind(&()));
    meta.owner_references
        .iter()
        .flatten()
        .find(|reference| reference.kind == kind && group(reference) == wanted_group)
}

/// An owner of the same kind as `mine` that is another object. By name: after a move an owner has another uid.
#[must_use]
pub fn other_owner<'a>(meta: &'a ObjectMeta, mine: &OwnerReference) -> Option<&'a OwnerReference> {
    meta.owner_references.iter().flatten().find(|reference| {
        reference.kind == mine.kind && group(reference) == group(mine) && reference.name != mine.name
    })
}

/// The controlling owner, if there is one.
#[must_use]
pub fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|reference| reference.controller == Some(true))
}

/// Whether the object with this uid controls.
#[must_use]
pub fn is_controlled_by(meta: &ObjectMeta, uid: Option<&str>) -> bool {
    controller(meta).is_some_and(|reference| Some(reference.uid.as_str()) == uid)
}

/// The owner references as they should be: `want` present once, with the wanted version and flag. If
/// `want` controls, whoever controlled before is dropped: a Machine takes over what its MachineSet made.
#[must_use]
pub fn with_owner(existing: &[OwnerReference], want: &OwnerReference) -> Vec<OwnerReference> {
    let same = |reference: &OwnerReference| {
        reference.kind == want.kind && reference.name == want.name && group(reference) == group(want)
    };
    let mut references: Vec<_> = existing
        .iter()
        .filter(|reference| !same(reference))
        .filter(|reference| !(want.controller == Some(true) && reference.controller == Some(true)))
        .cloned()
        .collect();
    references.push(want.clone());
    references
}

/// The merge patch that gives an object its owner and the cluster-name label; `None` when it has both.
#[must_use]
pub fn belonging(meta: &ObjectMeta, want: &OwnerReference, cluster: &str) -> Option<Value> {
    let existing = meta.owner_references.as_deref().unwrap_or_default();
    let mut metadata = Map::new();
    if !existing.contains(want) {
        metadata.insert("ownerReferences".to_owned(), json!(with_owner(existing, want)));
    }
    let label = meta.labels.as_ref().and_then(|labels| labels.get(CLUSTER_NAME_LABEL));
    if label.map(String::as_str) != Some(cluster) {
        metadata.insert("labels".to_owned(), json!({ CLUSTER_NAME_LABEL: cluster }));
    }
    if metadata.is_empty() {
        return None;
    }
    metadata.insert("resourceVersion".to_owned(), json!(meta.resource_version));
    Some(json!({ "metadata": metadata }))
}

/// An object that goes with its Cluster, and not before the finalizer is taken away: finalizer, owner and label in one
/// write, as far as they are missing. One that is being deleted is left as it is.
///
/// # Errors
/// When the API server refuses or does not answer.
pub async fn hold<K>(
    hub: &Hub,
    object: &Arc<K>,
    cluster: Option<&Cluster>,
    finalizer: &str,
) -> Result<Arc<K>, Error>
where
    K: Kind + Serialize + Resource<DynamicType = ()>,
{
    if object.meta().deletion_timestamp.is_some() {
        return Ok(Arc::clone(object));
    }
    let belongs =
        cluster.and_then(|cluster| belonging(object.meta(), &owner(cluster, false), &cluster.name_any()));
    let finalizers = finalizer::with(object.as_ref(), finalizer);
    if belongs.is_none() && finalizers.is_none() {
        return Ok(Arc::clone(object));
    }
    let mut patch = belongs.unwrap_or_default();
    if let Some(finalizers) = finalizers {
        patch["metadata"]["finalizers"] = json!(finalizers);
    }
    patch["metadata"]["resourceVersion"] = json!(object.resource_version());
    hub.patch(&Key::of(object.as_ref()), &patch).await
}

/// How often a patch is tried on a newer copy when somebody else wrote in between.
const TRIES: usize = 3;

/// Gives a provider's object its owner and the cluster-name label. An object that is gone is left alone.
///
/// # Errors
/// When the API server refuses or does not answer.
pub async fn adopt(
    hub: &Hub,
    external: &External,
    want: &OwnerReference,
    cluster: &str,
) -> Result<(), Error> {
    let key = external.key();
    let mut object = Arc::clone(&external.object);
    for attempt in 1.. {
        let Some(patch) = belonging(&object.metadata, want, cluster) else { break };
        match hub.patch_dynamic(&external.served.resource, &key, None, &patch).await {
            Err(error) if error.is_not_found() => break,
            Err(error) if error.is_conflict() && attempt < TRIES => {
                match hub.get_dynamic(&external.served.resource, &key).await? {
                    Some(newer) => object = Arc::new(newer),
                    None => break,
                }
            }
            other => return other.map(|_: Arc<DynamicObject>| ()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(version: &str, kind: &str, name: &str, controller: bool) -> OwnerReference {
        OwnerReference {
            api_version: format!("cluster.x-k8s.io/{version}"),
            kind: kind.into(),
            name: name.into(),
            uid: format!("uid-of-{name}"),
            controller: controller.then_some(true),
            block_owner_deletion: controller.then_some(true),
        }
    }

    #[test]
    fn an_older_api_version_is_bumped_and_strangers_stay() {
        let stranger = OwnerReference { api_version: "v1".into(), ..reference("", "ConfigMap", "x", false) };
        let old = [stranger.clone(), reference("v1beta1", "Cluster", "c", false)];
        let want = reference("v1beta2", "Cluster", "c", false);
        assert_eq!(with_owner(&old, &want), [stranger, want.clone()]);
    }

    #[test]
    fn a_machine_takes_over_from_the_set_that_made_the_object() {
        let made = [reference("v1beta2", "MachineSet", "ms", true)];
        let want = reference("v1beta2", "Machine", "m", true);
        assert_eq!(with_owner(&made, &want), std::slice::from_ref(&want));
    }

    #[test]
    fn another_of_the_same_kind_is_told_from_the_own_after_a_move() {
        let meta = |owner| ObjectMeta { owner_references: Some(vec![owner]), ..Default::default() };
        let mine = OwnerReference { uid: "new".into(), ..reference("v1beta2", "Machine", "m", true) };
        assert_eq!(other_owner(&meta(reference("v1beta1", "Machine", "m", true)), &mine), None);
        assert_eq!(other_owner(&meta(reference("v1beta2", "MachineSet", "ms", true)), &mine), None);
        let theirs = reference("v1beta2", "Machine", "theirs", true);
        assert_eq!(other_owner(&meta(theirs.clone()), &mine), Some(&theirs));
    }

    #[test]
    fn nothing_is_written_to_an_object_that_already_belongs() {
        let want = reference("v1beta2", "Cluster", "c", false);
        let mut meta = ObjectMeta { owner_references: Some(vec![want.clone()]), ..Default::default() };
        let patch = belonging(&meta, &want, "c").expect("the label is missing");
        assert_eq!(patch["metadata"]["labels"][CLUSTER_NAME_LABEL], "c");
        assert!(patch["metadata"].get("ownerReferences").is_none());
        meta.labels = Some([(CLUSTER_NAME_LABEL.to_owned(), "c".to_owned())].into());
        assert_eq!(belonging(&meta, &want, "c"), None);
    }
}
