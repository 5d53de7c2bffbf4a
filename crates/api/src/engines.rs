//! Engines: groups of kinds whose controllers can be switched off together, so that an upstream project takes their place.
//! Pure.

use std::fmt;
use std::str::FromStr;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::{Deserialize, Serialize};

/// What can be switched off; each stands for an upstream project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// Cluster API's core: Clusters, Machines and what is about them, ClusterClass, ClusterResourceSets.
    #[serde(rename = "clusterapi")]
    ClusterApi,
    /// Cluster API's kubeadm providers: KubeadmConfig, KubeadmControlPlane.
    Kubeadm,
    /// Kamaji and its control plane provider: DataStore, TenantControlPlane, KamajiControlPlane.
    Kamaji,
    /// KubeVirt and its infrastructure provider.
    Kubevirt,
    /// Metal3: baremetal-operator, its infrastructure provider and its IPAM.
    Metal3,
}

/// All of them.
pub const ENGINES: [Engine; 5] =
    [Engine::ClusterApi, Engine::Kubeadm, Engine::Kamaji, Engine::Kubevirt, Engine::Metal3];

impl Engine {
    /// The word on the command line and in files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterApi => "clusterapi",
            Self::Kubeadm => "kubeadm",
            Self::Kamaji => "kamaji",
            Self::Kubevirt => "kubevirt",
            Self::Metal3 => "metal3",
        }
    }

    /// Whose a kind of ours is.
    #[must_use]
    pub fn of(group: &str, kind: &str) -> Self {
        match group {
            "bootstrap.cluster.x-k8s.io" => Self::Kubeadm,
            "controlplane.cluster.x-k8s.io" if kind.starts_with("Kubeadm") => Self::Kubeadm,
            "controlplane.cluster.x-k8s.io" | "kamaji.clastix.io" => Self::Kamaji,
            "infrastructure.cluster.x-k8s.io" if kind.starts_with("Kubevirt") => Self::Kubevirt,
            "kubevirt.io" => Self::Kubevirt,
            "infrastructure.cluster.x-k8s.io" | "metal3.io" | "ipam.metal3.io" => Self::Metal3,
            _ => Self::ClusterApi,
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Engine {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let known = ENGINES.into_iter().find(|engine| engine.as_str() == word);
        known.ok_or_else(|| format!("{word:?} is none of {}", ENGINES.map(Self::as_str).join(", ")))
    }
}

/// The definitions of the kinds that are ours when some engines are off.
#[must_use]
pub fn crds_without(without: &[Engine]) -> Vec<CustomResourceDefinition> {
    crate::crds().into_iter().filter(|crd| !without.contains(&engine_of(crd))).collect()
}

/// Whose a definition of ours is.
#[must_use]
pub fn engine_of(crd: &CustomResourceDefinition) -> Engine {
    Engine::of(&crd.spec.group, &crd.spec.names.kind)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_is_somebodys_and_nobody_has_none() {
        let engines: BTreeSet<_> = crate::crds().iter().map(engine_of).collect();
        assert_eq!(engines, BTreeSet::from(ENGINES));
        let kinds = |engine| -> Vec<String> {
            let of_engine = |crd: &CustomResourceDefinition| engine_of(crd) == engine;
            crate::crds().into_iter().filter(of_engine).map(|crd| crd.spec.names.kind).collect()
        };
        assert!(
            kinds(Engine::ClusterApi)
                .iter()
                .all(|kind| !kind.starts_with("Metal3") && !kind.starts_with("Kube"))
        );
        assert!(kinds(Engine::Kubevirt).contains(&"VirtualMachine".to_owned()));
        assert!(kinds(Engine::Kubeadm).contains(&"KubeadmConfigTemplate".to_owned()));
        assert!(!crds_without(&[Engine::Kamaji]).iter().any(|crd| crd.spec.names.kind == "DataStore"));
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for engine in ENGINES {
            assert_eq!(engine.to_string().parse(), Ok(engine));
            assert_eq!(serde_json::to_value(engine).expect("a word"), engine.as_str());
        }
        let error = "kvm".parse::<Engine>().expect_err("unknown");
        assert_eq!(error, "\"kvm\" is none of clusterapi, kubeadm, kamaji, kubevirt, metal3");
    }
}
