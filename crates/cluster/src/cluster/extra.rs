//! InfraClusters of other kinds: a Cluster with Nodes of two providers may have one of each, all with the
//! name that `infrastructureRef` gives. They belong to the Cluster, and go when its Machines have gone.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::PartialObjectMeta;
use scute_api::cluster::Cluster;
use scute_api::meta::{CLUSTER_NAME_LABEL, ContractRef};
use scute_contract::owners::owner_of_kind;
use scute_contract::{External, Externals, Found};
use scute_kit::{Hub, Key, Watch};

/// Group of infrastructure providers.
const GROUP: &str = "infrastructure.cluster.x-k8s.io";

/// The kinds of InfraClusters that are installed.
pub struct Kinds {
    crds: Watch<PartialObjectMeta<CustomResourceDefinition>>,
    /// Kind by name of the definition. The metadata does not have it, and a definition's kind never changes.
    kinds: Mutex<HashMap<String, String>>,
}

impl Kinds {
    /// None read yet.
    #[must_use]
    pub fn new(hub: &Hub) -> Self {
        Self { crds: hub.watch_meta(), kinds: Mutex::default() }
    }

    /// Every kind of InfraCluster.
    pub async fn list(&self, hub: &Hub) -> Result<Vec<String>, scute_kit::Error> {
        self.crds.ready().await;
        let mut kinds = Vec::new();
        for crd in self.crds.list() {
            let name = crd.name_any();
            if !name.strip_suffix(GROUP).is_some_and(|plural| plural.ends_with("clusters.")) {
                continue;
            }
            let known = self.kinds.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
            let kind = match known {
                Some(kind) => Some(kind),
                None => hub
                    .get::<CustomResourceDefinition>(&Key::new("", name.clone()))
                    .await?
                    .map(|crd| crd.spec.names.kind),
            };
            if let Some(kind) = kind {
                self.kinds.lock().unwrap_or_else(PoisonError::into_inner).insert(name, kind.clone());
                kinds.push(kind);
            }
        }
        Ok(kinds)
    }
}

/// The InfraClusters of other kinds that are the Cluster's.
pub async fn observe(
    asker: &Key,
    cluster: &Cluster,
    clusters: &Watch<Cluster>,
    kinds: &Kinds,
    hub: &Hub,
    externals: &Externals,
) -> Result<Vec<External>, scute_kit::Error> {
    let Some(named) = &cluster.spec.infrastructure_ref else { return Ok(Vec::new()) };
    let mut extra = Vec::new();
    for kind in kinds.list(hub).await? {
        if kind == named.kind && named.api_group == GROUP {
            continue;
        }
        let reference = ContractRef { api_group: GROUP.to_owned(), kind, name: named.name.clone() };
        let Found::Object(external) = externals.get(asker, &asker.namespace, &reference).await else {
            continue;
        };
        let neighbours = clusters.list_in(&asker.namespace);
        let named_by_another = neighbours.iter().any(|other| {
            other.name_any() != asker.name && other.spec.infrastructure_ref.as_ref() == Some(&reference)
        });
        if !named_by_another && is_free(cluster, &external) {
            extra.push(external);
        }
    }
    Ok(extra)
}

/// Whether an InfraCluster is the Cluster's, or nobody's.
fn is_free(cluster: &Cluster, external: &External) -> bool {
    let meta = &external.object.metadata;
    let owned = owner_of_kind::<Cluster>(meta).is_none_or(|owner| owner.name == cluster.name_any());
    let labelled = external.object.labels().get(CLUSTER_NAME_LABEL);
    owned && labelled.is_none_or(|label| *label == cluster.name_any())
}
