//! What to do about a Metal3Cluster. Pure.
//!
//! The endpoint has one owner. A control plane that runs elsewhere says where it answers; one on Machines answers where the
//! user has put an address, as there is no load balancer here.

use jiff::Timestamp;
use kube::ResourceExt;
use scute_api::cluster::Cluster;
use scute_api::infrastructure::{Initialization, Metal3Cluster, Metal3ClusterStatus};
use scute_api::meta::ApiEndpoint;
use scute_contract::infracluster::Endpoint;
use scute_contract::{Found, fields, named, paused};
use scute_kit::Why;
use scute_kit::conditions::{Conditions, Status};

/// Reason: the endpoint is missing, or another than that of its owner.
pub const ENDPOINT_FAILED: &str = "ControlPlaneEndpointFailed";

/// Decides about the endpoint. `control_plane` is what the Cluster's `controlPlaneRef` leads to.
#[must_use]
pub fn endpoint(infra: &Metal3Cluster, cluster: &Cluster, control_plane: Option<&Found>) -> Endpoint {
    let owner = match owner_of_endpoint(cluster, control_plane) {
        Ok(owner) => owner,
        Err(why) => return Endpoint::Wait(why),
    };
    let given = infra.spec.control_plane_endpoint.clone().unwrap_or_default();
    let Some((says, right)) = owner else {
        return if given.is_set() { Endpoint::Given } else { Endpoint::Wait(nobody_says(cluster)) };
    };
    let fits =
        (given.host.is_empty() || given.host == right.host) && (given.port == 0 || given.port == right.port);
    match (fits, given.is_set()) {
        (true, true) => Endpoint::Given,
        (true, false) => Endpoint::Fill(right),
        (false, _) => {
            let message = format!(
                "spec.controlPlaneEndpoint is {}:{}, but {says} {}:{}: change that field or empty it, or change the \
                 address of the control plane",
                given.host, given.port, right.host, right.port
            );
            Endpoint::Wait(Why::new(ENDPOINT_FAILED, message))
        }
    }
}

/// Who says where the API server answers, in words, and what he says; nobody when the field is the user's.
fn owner_of_endpoint(
    cluster: &Cluster,
    control_plane: Option<&Found>,
) -> Result<Option<(String, ApiEndpoint)>, Why> {
    let waiting = |message: String| Why::new("WaitingForControlPlaneEndpoint", message);
    if let (Some(reference), Some(found)) = (&cluster.spec.control_plane_ref, control_plane) {
        let name = named(reference);
        if let Some(absence) = found.absence(reference, "Cluster", false) {
            return Err(waiting(absence.message));
        }
        let object = found.object().map(|external| &external.object);
        if let Some(object) = object {
            if let Some(right) = fields::endpoint(object) {
                return Ok(Some((format!("{name} answers at"), right)));
            }
            if fields::externally_managed(object) {
                return Err(waiting(format!("{name} has not set spec.controlPlaneEndpoint yet")));
            }
            if !fields::has_status(object) {
                return Err(waiting(format!("{name} has not said yet whether it runs on Machines")));
            }
        }
    }
    let known = cluster.spec.control_plane_endpoint.clone().filter(ApiEndpoint::is_set);
    Ok(known.map(|known| (format!("Cluster {} has", cluster.name_any()), known)))
}

fn nobody_says(cluster: &Cluster) -> Why {
    let message = format!(
        "spec.controlPlaneEndpoint is empty, and the control plane of Cluster {} runs on Machines: give the address that \
         its servers answer at, such as a virtual IP that they keep",
        cluster.name_any()
    );
    Why::new(ENDPOINT_FAILED, message)
}

/// The status; `waiting` is what is missing.
#[must_use]
pub fn status(infra: &Metal3Cluster, waiting: Option<&Why>, now: Timestamp) -> Metal3ClusterStatus {
    let before = infra.status.clone().unwrap_or_default();
    let was = before.initialization.as_ref().and_then(|is| is.provisioned) == Some(true);
    let list = paused::put(Conditions::new(&before.conditions, infra.metadata.generation, now), None);
    let (is, reason, message) = match waiting {
        None => (Status::True, "BaremetalInfrastructureReady", String::new()),
        Some(why) => (Status::False, why.reason.as_ref(), why.message.clone()),
    };
    let ready = if waiting.is_none() { "Ready" } else { reason };
    Metal3ClusterStatus {
        initialization: Some(Initialization { provisioned: Some(was || waiting.is_none()) }),
        failure_domains: infra.spec.failure_domains.clone(),
        conditions: list
            .put("BaremetalInfrastructureReady", is, reason, message.clone())
            .put("Ready", is, ready, message)
            .finish(),
        ..before
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kube::api::ApiResource;
    use scute_contract::{Contract, External, Served};
    use serde_json::{Value, json};

    use super::*;

    fn infra(endpoint: Value) -> Metal3Cluster {
        serde_json::from_value(json!({
            "apiVersion": "infrastructure.cluster.x-k8s.io/v1beta2", "kind": "Metal3Cluster",
            "metadata": {"name": "duo", "namespace": "b"}, "spec": {"controlPlaneEndpoint": endpoint},
        }))
        .unwrap()
    }

    fn cluster(endpoint: Value) -> Cluster {
        serde_json::from_value(json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": {"name": "duo", "namespace": "b"},
            "spec": {
                "controlPlaneEndpoint": endpoint,
                "controlPlaneRef": {"apiGroup": "controlplane.cluster.x-k8s.io", "kind": "HostedControlPlane", "name": "duo"},
            },
        }))
        .unwrap()
    }

    fn control_plane(data: Value) -> Found {
        let object = serde_json::from_value(data).unwrap();
        let resource = ApiResource::erase::<Cluster>(&());
        Found::Object(External {
            served: Served { resource, contract: Contract::V1Beta2 },
            object: Arc::new(object),
        })
    }

    fn at(host: &str) -> Value {
        json!({"host": host, "port": 6443})
    }

    fn words(endpoint: Endpoint) -> String {
        match endpoint {
            Endpoint::Wait(why) => format!("{}: {}", why.reason, why.message),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_hosted_control_plane_owns_the_endpoint() {
        let hosted = control_plane(json!({"metadata": {}, "spec": {"controlPlaneEndpoint": at("10.0.0.7")},
            "status": {"externalManagedControlPlane": true}}));
        let of = |given: Value| endpoint(&infra(given), &cluster(json!(null)), Some(&hosted));
        assert_eq!(of(json!(null)), Endpoint::Fill(ApiEndpoint { host: "10.0.0.7".into(), port: 6443 }));
        assert_eq!(of(at("10.0.0.7")), Endpoint::Given);
        let differs = words(of(at("10.0.0.8")));
        assert!(differs.starts_with(ENDPOINT_FAILED), "{differs}");
        assert!(
            differs.contains("is 10.0.0.8:6443, but HostedControlPlane duo answers at 10.0.0.7:6443"),
            "{differs}"
        );
    }

    #[test]
    fn what_a_control_plane_has_not_said_yet_is_waited_for_even_when_an_endpoint_is_given() {
        for (data, why) in [
            (
                json!({"metadata": {}, "status": {"externalManagedControlPlane": true}}),
                "has not set spec.controlPlaneEndpoint",
            ),
            (json!({"metadata": {}, "spec": {}}), "has not said yet whether it runs on Machines"),
        ] {
            let waits =
                words(endpoint(&infra(at("10.0.0.7")), &cluster(json!(null)), Some(&control_plane(data))));
            assert!(waits.starts_with("WaitingForControlPlaneEndpoint") && waits.contains(why), "{waits}");
        }
        let missing = words(endpoint(&infra(at("10.0.0.7")), &cluster(json!(null)), Some(&Found::Missing)));
        assert!(missing.contains("HostedControlPlane duo does not exist"), "{missing}");
    }

    #[test]
    fn servers_with_the_control_plane_answer_where_the_user_says() {
        let on_machines = control_plane(json!({"metadata": {}, "status": {"replicas": 0}}));
        let of = |given: Value, known: Value| endpoint(&infra(given), &cluster(known), Some(&on_machines));
        assert_eq!(of(at("10.0.0.7"), json!(null)), Endpoint::Given);
        assert!(words(of(json!(null), json!(null))).contains("give the address"));
        // As the second InfraCluster of a Cluster whose first one has the endpoint.
        assert!(matches!(of(json!(null), at("10.0.0.7")), Endpoint::Fill(_)));
        assert!(words(of(at("10.0.0.8"), at("10.0.0.7"))).contains("but Cluster duo has 10.0.0.7:6443"));
    }

    #[test]
    fn what_was_provisioned_stays() {
        let mut infra = infra(json!(null));
        let waiting = Why::new("Waiting", "");
        let is = |status: &Metal3ClusterStatus| status.initialization.as_ref().unwrap().provisioned;
        let status = |infra: &Metal3Cluster, why| super::status(infra, why, Timestamp::UNIX_EPOCH);
        assert_eq!(is(&status(&infra, Some(&waiting))), Some(false));
        infra.status = Some(status(&infra, None));
        assert_eq!(is(&status(&infra, Some(&waiting))), Some(true));
    }
}
