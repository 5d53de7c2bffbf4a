//! Contracts of Cluster API: which version of a provider's kind to talk to, and where its fields are.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::core::Version;
use scute_api::cluster::{FailureDomain, MachineAddress, ReplicaCounts, StatusVersion};
use scute_api::meta::ApiEndpoint;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A contract between the core and its providers. The newest one that a kind is labelled with counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contract {
    /// `status.initialization.…`, failure domains as a list.
    V1Beta2,
    /// `status.ready`, failure domains as a map.
    V1Beta1,
}

/// A kind as its provider serves it.
#[derive(Clone, Debug, PartialEq)]
pub struct Served {
    /// How to address it.
    pub resource: ApiResource,
    /// Where its fields are.
    pub contract: Contract,
}

/// Why a kind cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// The kind is not installed.
    #[error("CustomResourceDefinition {0} does not exist")]
    NoCrd(String),
    /// The kind does not say which of its versions fulfil a contract.
    #[error(
        "CustomResourceDefinition {0} has no label cluster.x-k8s.io/v1beta2 or cluster.x-k8s.io/v1beta1 that names one of its versions"
    )]
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
    [(Contract::V1Beta2, "cluster.x-k8s.io/v1beta2"), (Contract::V1Beta1, "cluster.x-k8s.io/v1beta1")]
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

/// What the contract says about every kind.
fn at<'a>(object: &'a DynamicObject, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(&object.data, |value, key| value.get(key)).filter(|value| !value.is_null())
}

fn read<T: DeserializeOwned>(object: &DynamicObject, path: &[&str]) -> Option<T> {
    at(object, path).and_then(|value| serde_json::from_value(value.clone()).ok())
}

fn truth(object: &DynamicObject, path: &[&str]) -> bool {
    at(object, path).and_then(Value::as_bool).unwrap_or_default()
}

fn text(object: &DynamicObject, path: &[&str]) -> Option<String> {
    at(object, path).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// A condition of a provider's object, of either generation of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// True, False or Unknown.
    pub status: String,
    /// One word; never empty.
    pub reason: String,
    /// A sentence, possibly empty.
    pub message: String,
}

/// The condition of this type, if the object has one.
#[must_use]
pub fn condition(object: &DynamicObject, type_: &str) -> Option<Reported> {
    condition_in(at(object, &["status", "conditions"])?.as_array()?, type_)
}

fn condition_in(listed: &[Value], type_: &str) -> Option<Reported> {
    let found =
        listed.iter().find(|condition| condition.get("type").and_then(Value::as_str) == Some(type_))?;
    let field = |name: &str| found.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (status, reason) = (field("status"), field("reason"));
    let reason = if reason.is_empty() { format!("{type_}{status}") } else { reason };
    Some(Reported { status, reason, message: field("message") })
}

/// The Ready condition of v1beta1, where the contract keeps it.
#[must_use]
pub fn deprecated_ready(object: &DynamicObject, contract: Contract) -> Option<Reported> {
    match contract {
        Contract::V1Beta1 => condition(object, "Ready"),
        Contract::V1Beta2 => {
            let listed = at(object, &["status", "deprecated", "v1beta1", "conditions"])?.as_array()?;
            condition_in(listed, "Ready")
        }
    }
}

impl From<&Condition> for Reported {
    fn from(condition: &Condition) -> Self {
        Self {
            status: condition.status.clone(),
            reason: condition.reason.clone(),
            message: condition.message.clone(),
        }
    }
}

/// Whether the infrastructure of a Cluster or Machine is there.
#[must_use]
pub fn provisioned(object: &DynamicObject, contract: Contract) -> bool {
    match contract {
        Contract::V1Beta2 => truth(object, &["status", "initialization", "provisioned"]),
        Contract::V1Beta1 => truth(object, &["status", "ready"]),
    }
}

/// Where the API server answers, once both parts are known.
#[must_use]
pub fn endpoint(object: &DynamicObject) -> Option<ApiEndpoint> {
    read::<ApiEndpoint>(object, &["spec", "controlPlaneEndpoint"]).filter(ApiEndpoint::is_set)
}

/// Failure domains of an InfraCluster, ordered by name.
#[must_use]
pub fn failure_domains(object: &DynamicObject, contract: Contract) -> Vec<FailureDomain> {
    let path = ["status", "failureDomains"];
    let mut domains = match contract {
        Contract::V1Beta2 => read::<Vec<FailureDomain>>(object, &path).unwrap_or_default(),
        Contract::V1Beta1 => read::<BTreeMap<String, Value>>(object, &path)
            .unwrap_or_default()
            .into_iter()
            .map(|(name, domain)| FailureDomain {
                name,
                control_plane: domain.get("controlPlane").and_then(Value::as_bool),
                attributes: domain
                    .get("attributes")
                    .and_then(|attributes| serde_json::from_value(attributes.clone()).ok()),
            })
            .collect(),
    };
    domains.sort_by(|a, b| a.name.cmp(&b.name));
    domains
}

/// `providerID` of an InfraMachine.
#[must_use]
pub fn provider_id(object: &DynamicObject) -> Option<String> {
    text(object, &["spec", "providerID"])
}

/// Addresses of an InfraMachine.
#[must_use]
pub fn addresses(object: &DynamicObject) -> Vec<MachineAddress> {
    read(object, &["status", "addresses"]).unwrap_or_default()
}

/// Where an InfraMachine was placed.
#[must_use]
pub fn failure_domain(object: &DynamicObject, contract: Contract) -> Option<String> {
    match contract {
        Contract::V1Beta2 => text(object, &["status", "failureDomain"]),
        Contract::V1Beta1 => text(object, &["spec", "failureDomain"]),
    }
}

/// Name of the Secret with bootstrap data, once it has been made.
#[must_use]
pub fn data_secret_name(object: &DynamicObject, contract: Contract) -> Option<String> {
    let created = match contract {
        Contract::V1Beta2 => truth(object, &["status", "initialization", "dataSecretCreated"]),
        Contract::V1Beta1 => truth(object, &["status", "ready"]),
    };
    created.then(|| text(object, &["status", "dataSecretName"])).flatten()
}

/// Whether the control plane has ever answered requests.
#[must_use]
pub fn control_plane_initialized(object: &DynamicObject, contract: Contract) -> bool {
    match contract {
        Contract::V1Beta2 => truth(object, &["status", "initialization", "controlPlaneInitialized"]),
        Contract::V1Beta1 => truth(object, &["status", "initialized"]),
    }
}

/// Whether the control plane runs elsewhere than on Machines of the Cluster.
#[must_use]
pub fn externally_managed(object: &DynamicObject) -> bool {
    truth(object, &["status", "externalManagedControlPlane"])
}

/// Kubernetes version that a control plane should have.
#[must_use]
pub fn wanted_version(object: &DynamicObject) -> Option<String> {
    text(object, &["spec", "version"])
}

/// Kubernetes versions that a control plane has, oldest first.
#[must_use]
pub fn versions(object: &DynamicObject) -> Vec<StatusVersion> {
    let listed: Vec<StatusVersion> = read(object, &["status", "versions"]).unwrap_or_default();
    if !listed.is_empty() {
        return listed;
    }
    let one = text(object, &["status", "version"]);
    one.map(|version| StatusVersion { version, replicas: None }).into_iter().collect()
}

/// Counters of a control plane; `None` for one that knows no replicas.
#[must_use]
pub fn replica_counts(object: &DynamicObject, contract: Contract) -> Option<ReplicaCounts> {
    let count = |path: &[&str]| read::<i32>(object, path);
    let desired = count(&["spec", "replicas"])?;
    let replicas = count(&["status", "replicas"]);
    let (up_to_date, available) = match contract {
        Contract::V1Beta2 => {
            (count(&["status", "upToDateReplicas"]), count(&["status", "availableReplicas"]))
        }
        Contract::V1Beta1 => (
            count(&["status", "updatedReplicas"]),
            replicas.map(|all| all - count(&["status", "unavailableReplicas"]).unwrap_or_default()),
        ),
    };
    Some(ReplicaCounts {
        desired_replicas: Some(desired),
        replicas,
        up_to_date_replicas: up_to_date,
        ready_replicas: count(&["status", "readyReplicas"]),
        available_replicas: available,
        versions: versions(object),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn object(data: Value) -> DynamicObject {
        DynamicObject { types: None, metadata: Default::default(), data }
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
        assert!(error.to_string().contains("testclusters.g.io has no label"), "{error}");
    }

    #[test]
    fn failure_domains_of_both_contracts_read_the_same() {
        let list = object(json!({"status": {"failureDomains": [
            {"name": "b"}, {"name": "a", "controlPlane": true, "attributes": {"row": "1"}}]}}));
        let map = object(json!({"status": {"failureDomains": {
            "b": {}, "a": {"controlPlane": true, "attributes": {"row": "1"}}}}}));
        let (list, map) =
            (failure_domains(&list, Contract::V1Beta2), failure_domains(&map, Contract::V1Beta1));
        assert_eq!(list, map);
        assert_eq!(list[0].name, "a");
    }

    #[test]
    fn counters_of_the_older_contract_are_turned_round() {
        let old = object(json!({"spec": {"replicas": 3},
            "status": {"replicas": 3, "updatedReplicas": 2, "unavailableReplicas": 1, "readyReplicas": 2}}));
        let counts = replica_counts(&old, Contract::V1Beta1).expect("counts");
        assert_eq!((counts.up_to_date_replicas, counts.available_replicas), (Some(2), Some(2)));
        assert_eq!(replica_counts(&object(json!({})), Contract::V1Beta2), None);
    }
}
