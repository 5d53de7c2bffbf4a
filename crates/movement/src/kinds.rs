//! The kinds that a move looks at: those that Scute serves, Secrets and ConfigMaps.

use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, GroupVersionKind};

/// Label of objects, and of definitions for all their objects, that move without an owner.
pub const MOVE_LABEL: &str = "clusterctl.cluster.x-k8s.io/move";
/// The same, and for what such an object owns.
pub const HIERARCHY_LABEL: &str = "clusterctl.cluster.x-k8s.io/move-hierarchy";

/// A kind in the version that is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Kind {
    /// Where it is served.
    pub resource: ApiResource,
    /// Whether its status is written apart from the rest.
    pub has_status: bool,
    /// Whether its definition says that all objects move.
    pub moves: bool,
}

impl Kind {
    fn core(kind: &str, plural: &str) -> Self {
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("", "v1", kind), plural);
        Self { resource, has_status: false, moves: false }
    }

    fn of(crd: &CustomResourceDefinition) -> Option<Self> {
        let version = crd.spec.versions.iter().find(|version| version.storage)?;
        let names = &crd.spec.names;
        let gvk = GroupVersionKind::gvk(&crd.spec.group, &version.name, &names.kind);
        let labels = crd.metadata.labels.iter().flatten();
        Some(Self {
            resource: ApiResource::from_gvk_with_plural(&gvk, &names.plural),
            has_status: version.subresources.as_ref().is_some_and(|parts| parts.status.is_some()),
            moves: labels.into_iter().any(|(label, _)| label == MOVE_LABEL || label == HIERARCHY_LABEL),
        })
    }

    /// Kind and group, for people.
    #[must_use]
    pub fn name(&self) -> String {
        match self.resource.group.as_str() {
            "" => self.resource.kind.clone(),
            group => format!("{}.{group}", self.resource.kind),
        }
    }
}

/// Secrets and ConfigMaps first, then every namespaced kind that Scute serves.
#[must_use]
pub fn kinds() -> Vec<Kind> {
    // Making all definitions is the work of a second where nothing is optimised.
    static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(made);
    KINDS.clone()
}

fn made() -> Vec<Kind> {
    let namespaced = |crd: &CustomResourceDefinition| crd.spec.scope == "Namespaced";
    let ours = scute_api::crds().into_iter().filter(namespaced).filter_map(|crd| Kind::of(&crd));
    [Kind::core("Secret", "secrets"), Kind::core("ConfigMap", "configmaps")].into_iter().chain(ours).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_of_its_stored_version_and_hosts_move_with_their_hardware() {
        let all = kinds();
        let find = |name: &str| all.iter().find(|kind| kind.name() == name).cloned();
        let host = find("BareMetalHost.metal3.io").expect("served");
        assert!(host.moves && host.has_status);
        let hardware = find("HardwareData.metal3.io").expect("served");
        assert!(hardware.moves && !hardware.has_status);
        let cluster = find("Cluster.cluster.x-k8s.io").expect("served");
        assert_eq!((cluster.resource.version.as_str(), cluster.moves), ("v1beta2", false));
        assert!(find("DataStore.kamaji.clastix.io").is_none(), "it has no namespace");
        assert_eq!(all.first().map(Kind::name), Some("Secret".to_owned()));
    }
}
