//! Where a contract keeps the fields of a provider's object.

use std::collections::BTreeMap;

use kube::api::DynamicObject;
use scute_api::cluster::{FailureDomain, MachineAddress, ReplicaCounts, StatusVersion};
use scute_api::meta::ApiEndpoint;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::served::Contract;

/// A field that is set.
pub(crate) fn at<'a>(object: &'a DynamicObject, path: &[&str]) -> Option<&'a Value> {
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

/// Whether the object's controller has said anything yet.
#[must_use]
pub fn has_status(object: &DynamicObject) -> bool {
    at(object, &["status"]).and_then(Value::as_object).is_some_and(|status| !status.is_empty())
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

    fn object(data: Value) -> DynamicObject {
        DynamicObject { types: None, metadata: Default::default(), data }
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
