//! InfraClusters of other kinds: a Cluster with Nodes of two providers may have one of each, all with the
//! name that `infrastructureRef` gives. They belong to the Cluster, and go when its Machines have gone.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use futures::future::join_all;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::PartialObjectMeta;
use scute_api::cluster::{Cluster, MachineSpec};
use scute_api::meta::{CLUSTER_NAME_LABEL, ContractRef};
use scute_contract::owners::owner_of_kind;
use scute_contract::{External, Externals};
use scute_kit::{Hub, Key, Watch};

/// Group of infrastructure providers.
const GROUP: &str = "infrastructure.cluster.x-k8s.io";

/// Group and kind.
type GroupKind = (String, String);

/// The kinds of InfraClusters that are installed.
pub struct Installed {
    crds: Watch<PartialObjectMeta<CustomResourceDefinition>>,
    /// Kind by name of the definition. The metadata does not have it, and a definition's kind never changes.
    kinds: Mutex<HashMap<String, String>>,
}

impl Installed {
    /// None read yet.
    #[must_use]
    pub fn new(hub: &Hub) -> Self {
        Self { crds: hub.watch_meta(), kinds: Mutex::default() }
    }

    /// Every kind of InfraCluster.
    async fn kinds(&self, hub: &Hub) -> Result<BTreeSet<GroupKind>, scute_kit::Error> {
        let mut kinds = BTreeSet::new();
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
                kinds.insert((GROUP.to_owned(), kind));
            }
        }
        Ok(kinds)
    }
}

/// The kind of InfraCluster that goes with the infrastructure Machines of a template, by the names that providers give:
/// `KubevirtMachine` or `KubevirtMachineTemplate` goes with `KubevirtCluster`.
fn beside(spec: &MachineSpec) -> Option<GroupKind> {
    let ContractRef { api_group, kind, .. } = &spec.infrastructure_ref;
    let provider = kind.strip_suffix("Template").unwrap_or(kind).strip_suffix("Machine")?;
    Some((api_group.clone(), format!("{provider}Cluster")))
}

/// The InfraClusters of other kinds that are the Cluster's: of the kinds that its Machines name; when it is being
/// deleted, of all kinds, as by then its Machines may be gone. One that cannot be looked up is not waited for: it is
/// the Cluster's by its owner reference, and goes with it.
pub async fn observe(
    asker: &Key,
    cluster: &Cluster,
    clusters: &Watch<Cluster>,
    machines: impl Iterator<Item = &MachineSpec>,
    installed: &Installed,
    hub: &Hub,
    externals: &Externals,
) -> Result<Vec<External>, scute_kit::Error> {
    let Some(named) = &cluster.spec.infrastructure_ref else { return Ok(Vec::new()) };
    let mut kinds: BTreeSet<_> = machines.filter_map(beside).collect();
    if cluster.metadata.deletion_timestamp.is_some() {
        kinds.extend(installed.kinds(hub).await?);
    }
    kinds.remove(&(named.api_group.clone(), named.kind.clone()));
    let references: Vec<_> = kinds
        .into_iter()
        .map(|(api_group, kind)| ContractRef { api_group, kind, name: named.name.clone() })
        .collect();
    let found =
        join_all(references.iter().map(|reference| externals.get(asker, &asker.namespace, reference))).await;
    let neighbours = clusters.list_in(&asker.namespace);
    let named_by_another = |reference: &ContractRef| {
        neighbours.iter().any(|other| {
            other.name_any() != asker.name && other.spec.infrastructure_ref.as_ref() == Some(reference)
        })
    };
    Ok(references
        .iter()
        .zip(&found)
        .filter(|(reference, _)| !named_by_another(reference))
        .filter_map(|(_, found)| found.object())
        .filter(|external| is_free(cluster, external))
        .cloned()
        .collect())
}

/// Whether an InfraCluster is the Cluster's, or nobody's.
fn is_free(cluster: &Cluster, external: &External) -> bool {
    let meta = &external.object.metadata;
    let owned = owner_of_kind::<Cluster>(meta).is_none_or(|owner| owner.name == cluster.name_any());
    let labelled = external.object.labels().get(CLUSTER_NAME_LABEL);
    owned && labelled.is_none_or(|label| *label == cluster.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_infracluster_is_called_as_the_machines_of_its_provider() {
        let spec = |kind: &str| MachineSpec {
            infrastructure_ref: ContractRef { api_group: GROUP.into(), kind: kind.into(), name: "n".into() },
            ..MachineSpec::default()
        };
        let metal = Some((GROUP.to_owned(), "Metal3Cluster".to_owned()));
        assert_eq!(beside(&spec("Metal3Machine")), metal);
        assert_eq!(beside(&spec("Metal3MachineTemplate")), metal);
        assert_eq!(beside(&spec("VirtualMachineInstance")), None);
    }
}
