//! Which version of a provider's kind to talk to, and by which contract.

use std::collections::BTreeMap;
use std::fmt;

use kube::api::{ApiResource, GroupVersionKind};
use kube::core::Version;

/// A contract between the core and its providers. The newest one that a kind is labelled with counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contract {
    /// `status.initialization.…`, failure domains as a list.
    V1Beta2,
    /// `status.ready`, failure domains as a map.
    V1Beta1,
}

/// The label of each contract, newest first.
pub(crate) const CONTRACT_LABELS: [(Contract, &str); 2] =
    [(Contract::V1Beta2, "cluster.x-k8s.io/v1beta2"), (Contract::V1Beta1, "cluster.x-k8s.io/v1beta1")];

/// A kind as its provider serves it.
#[derive(Clone, Debug, PartialEq)]
pub struct Served {
    /// How to address it.
    pub resource: ApiResource,
    /// Where its fields are.
    pub contract: Contract,
}

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.resource.kind, self.resource.api_version)
    }
}

/// Why a kind cannot be used; each names the CustomResourceDefinition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContractError {
    /// It does not exist: the kind is not installed.
    NoCrd(String),
    /// It does not say which of its versions fulfil a contract.
    NoContract(String),
}

/// Name of the CustomResourceDefinition of a kind, by the rule of the contract: `<plural of the lower-case
/// kind>.<group>`.
#[must_use]
pub fn crd_name(group: &str, kind: &str) -> String {
    let plural = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind)).plural;
    format!("{plural}.{group}")
}

/// The version and contract of a kind, from the labels of its CustomResourceDefinition.
///
/// # Errors
/// When there is no such definition or it names no version.
pub fn served(
    group: &str,
    kind: &str,
    crd_labels: Option<&BTreeMap<String, String>>,
) -> Result<Served, ContractError> {
    let name = crd_name(group, kind);
    let labels = crd_labels.ok_or_else(|| ContractError::NoCrd(name.clone()))?;
    CONTRACT_LABELS
        .into_iter()
        .find_map(|(contract, label)| {
            let version = labels
                .get(label)?
                .split('_')
                .filter(|version| !version.is_empty())
                .max_by_key(|version| Version::parse(version).priority())?;
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
            Some(Served { resource, contract })
        })
        .ok_or(ContractError::NoContract(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_newest_version_of_the_newest_contract_counts() {
        let both = labels(&[
            ("cluster.x-k8s.io/v1beta1", "v1alpha1"),
            ("cluster.x-k8s.io/v1beta2", "v1beta1_v1_v1beta2"),
        ]);
        let served = served("g.io", "TestCluster", Some(&both)).expect("served");
        assert_eq!((served.contract, served.resource.api_version.as_str()), (Contract::V1Beta2, "g.io/v1"));
        assert_eq!(served.resource.plural, "testclusters");
    }

    #[test]
    fn an_older_contract_is_accepted() {
        let old = labels(&[("cluster.x-k8s.io/v1beta1", "v1alpha1_v1alpha3")]);
        let served = served("g.io", "TestCluster", Some(&old)).expect("served");
        assert_eq!((served.contract, served.resource.version.as_str()), (Contract::V1Beta1, "v1alpha3"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = served("g.io", "TestCluster", None).expect_err("no CRD");
        assert_eq!(error, ContractError::NoCrd("testclusters.g.io".into()));
        let error = served("g.io", "TestCluster", Some(&labels(&[]))).expect_err("no label");
        assert_eq!(error, ContractError::NoContract("testclusters.g.io".into()));
    }
}
