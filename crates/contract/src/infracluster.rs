//! Which InfraCluster goes with which Cluster. A Cluster with Nodes of two providers may have one of each kind, the second
//! of which it does not refer to.

use std::sync::Arc;

use kube::{Resource, ResourceExt};
use scute_api::cluster::Cluster;
use scute_api::meta::{ApiEndpoint, CLUSTER_NAME_LABEL, MANAGED_BY_ANNOTATION};
use scute_kit::{Next, Why, finalizer};
use serde_json::{Map, Value, json};

use crate::owners::owner_of_kind;

/// The Cluster of an InfraCluster: its owner, else the one that its label names, else the one whose infrastructure has
/// the same name, whatever its kind.
#[must_use]
pub fn cluster_of<'a, K: Resource>(infra: &K, clusters: &'a [Arc<Cluster>]) -> Option<&'a Cluster> {
    let named = |name: &str| clusters.iter().find(|cluster| cluster.name_any() == name);
    let refers = |cluster: &&Arc<Cluster>| {
        cluster.spec.infrastructure_ref.as_ref().is_some_and(|known| known.name == infra.name_any())
    };
    owner_of_kind::<Cluster>(infra.meta())
        .and_then(|owner| named(&owner.name))
        .or_else(|| infra.labels().get(CLUSTER_NAME_LABEL).and_then(|name| named(name)))
        .or_else(|| clusters.iter().find(refers))
        .map(AsRef::as_ref)
}

/// The InfraCluster of this kind that a Cluster has: the one it refers to, else one with its label, else one of the name
/// that it refers to, whatever kind that is. A Cluster needs none.
#[must_use]
pub fn infra_of<K: Resource<DynamicType = ()>>(infras: &[Arc<K>], cluster: &Cluster) -> Option<Arc<K>> {
    let reference = cluster.spec.infrastructure_ref.as_ref();
    let named = |name: &str| infras.iter().find(|infra| infra.name_any() == name);
    let label = cluster.name_any();
    reference
        .filter(|reference| reference.kind == K::kind(&()))
        .and_then(|reference| named(&reference.name))
        .or_else(|| infras.iter().find(|infra| infra.labels().get(CLUSTER_NAME_LABEL) == Some(&label)))
        .or_else(|| reference.and_then(|reference| named(&reference.name)))
        .cloned()
}

/// Whether somebody else keeps the object: then nothing of it is touched.
#[must_use]
pub fn is_managed_by_others<K: Resource>(infra: &K) -> bool {
    infra.annotations().contains_key(MANAGED_BY_ANNOTATION)
}

/// The part of a merge patch that makes a second InfraCluster belong to its Cluster; `None` when it does, or when it is
/// the one that the Cluster refers to: that one is adopted by the Cluster's own controller.
#[must_use]
pub fn adoption<K: Resource<DynamicType = ()>>(infra: &K, cluster: &Cluster) -> Option<Value> {
    let referenced = cluster.spec.infrastructure_ref.as_ref().is_some_and(|known| known.kind == K::kind(&()));
    if referenced || owner_of_kind::<Cluster>(infra.meta()).is_some() {
        return None;
    }
    let mut owners = infra.owner_references().to_vec();
    owners.extend(cluster.owner_ref(&()));
    Some(json!({ "ownerReferences": owners, "labels": { CLUSTER_NAME_LABEL: cluster.name_any() } }))
}

/// What becomes of an InfraCluster's `spec.controlPlaneEndpoint`.
#[derive(Clone, Debug, PartialEq)]
pub enum Endpoint {
    /// It is there and right.
    Given,
    /// It is this one.
    Fill(ApiEndpoint),
    /// It will be there, or somebody has to change something.
    Wait(Why),
}

impl Endpoint {
    /// What is still missing.
    #[must_use]
    pub fn missing(self) -> Option<Why> {
        match self {
            Self::Given | Self::Fill(_) => None,
            Self::Wait(why) => Some(why),
        }
    }
}

/// Finalizer, owner and endpoint in one merge patch, with what the kind writes besides in `spec`; `None` when all is there.
#[must_use]
pub fn own_changes<K: Resource<DynamicType = ()>>(
    infra: &K,
    cluster: &Cluster,
    finalizer: &str,
    endpoint: &Endpoint,
    mut spec: Map<String, Value>,
) -> Option<Value> {
    let mut metadata = adoption(infra, cluster).unwrap_or_default();
    if let Some(finalizers) = finalizer::with(infra, finalizer) {
        metadata["finalizers"] = json!(finalizers);
    }
    if let Endpoint::Fill(endpoint) = endpoint {
        spec.insert("controlPlaneEndpoint".to_owned(), json!(endpoint));
    }
    if metadata.is_null() && spec.is_empty() {
        return None;
    }
    metadata["resourceVersion"] = json!(infra.resource_version());
    Some(json!({ "metadata": metadata, "spec": spec }))
}

/// What follows for an InfraCluster that failed, or waits for something.
#[must_use]
pub fn next(failed: Option<Why>, waiting: Option<Why>) -> Next {
    match (failed, waiting) {
        (Some(why), _) => Next::Failed(why),
        (None, Some(why)) => Next::OnChange(why),
        (None, None) => Next::Settled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(name: &str, infra: &str) -> Arc<Cluster> {
        let reference =
            json!({"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "TestCluster", "name": infra});
        Arc::new(
            serde_json::from_value(json!({
                "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
                "metadata": {"name": name, "namespace": "b", "uid": "u"}, "spec": {"infrastructureRef": reference},
            }))
            .expect("a Cluster"),
        )
    }

    /// Any kind of ours will do.
    fn infra(metadata: Value) -> Arc<scute_api::infrastructure::Metal3Cluster> {
        Arc::new(
            serde_json::from_value(json!({
                "apiVersion": "infrastructure.cluster.x-k8s.io/v1beta2", "kind": "Metal3Cluster",
                "metadata": metadata, "spec": {},
            }))
            .expect("a Metal3Cluster"),
        )
    }

    #[test]
    fn a_second_infrastructure_finds_its_cluster_by_owner_label_or_name() {
        let clusters = [cluster("solo", "solo"), cluster("duo", "both")];
        let of = |metadata: Value| cluster_of(infra(metadata).as_ref(), &clusters).map(ResourceExt::name_any);
        assert_eq!(of(json!({"name": "both"})).as_deref(), Some("duo"));
        assert_eq!(of(json!({"name": "x", "labels": {CLUSTER_NAME_LABEL: "duo"}})).as_deref(), Some("duo"));
        let owner =
            json!([{"apiVersion": "cluster.x-k8s.io/v1beta1", "kind": "Cluster", "name": "duo", "uid": "u"}]);
        assert_eq!(of(json!({"name": "solo", "ownerReferences": owner})).as_deref(), Some("duo"));
        assert_eq!(of(json!({"name": "x"})), None);
    }

    #[test]
    fn a_cluster_finds_its_second_infrastructure() {
        let infras = [infra(json!({"name": "both"})), infra(json!({"name": "x"}))];
        let of = |cluster: &Cluster| infra_of(&infras, cluster).map(|infra| infra.name_any());
        assert_eq!(of(&cluster("duo", "both")).as_deref(), Some("both"));
        assert_eq!(of(&cluster("solo", "solo")), None);
        assert!(adoption(infras[0].as_ref(), &cluster("duo", "both")).is_some());
    }
}
