//! What to do about a KubevirtCluster. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{Resource, ResourceExt};
use scute_api::cluster::Cluster;
use scute_api::infrastructure::{
    CLUSTER_ROLE_LABEL, ControlPlaneServiceType, Initialization, KubevirtCluster, KubevirtClusterStatus,
};
use scute_api::meta::{ApiEndpoint, CLUSTER_NAME_LABEL};
use scute_contract::infracluster::Endpoint;
use scute_contract::paused;
use scute_kit::Why;
use scute_kit::conditions::{Conditions, Status};

/// Port of the API server, in front of VMs and on them.
const API_PORT: i32 = 6443;

/// Name of the Service in front of control-plane VMs.
#[must_use]
pub fn service_name(cluster: &str) -> String {
    format!("{cluster}-lb")
}

/// Name of the Secret with the SSH key pair.
#[must_use]
pub fn ssh_keys_name(infra: &KubevirtCluster) -> String {
    infra
        .spec
        .ssh_keys
        .as_ref()
        .and_then(|keys| keys.data_secret_name.clone())
        .unwrap_or_else(|| format!("{}-ssh-keys", infra.name_any()))
}

/// The Service in front of control-plane VMs: their Pods by role and Cluster.
#[must_use]
pub fn service(infra: &KubevirtCluster, cluster: &str) -> Service {
    let template = infra.spec.control_plane_service_template.clone().unwrap_or_default();
    let meta = template.metadata.unwrap_or_default();
    let mut labels = meta.labels.unwrap_or_default();
    labels.insert(CLUSTER_NAME_LABEL.to_owned(), cluster.to_owned());
    let mut service = Service::default();
    service.metadata.name = Some(service_name(cluster));
    service.metadata.namespace = infra.namespace();
    service.metadata.labels = Some(labels);
    service.metadata.annotations = meta.annotations;
    service.metadata.owner_references = Some(infra.controller_owner_ref(&()).into_iter().collect());
    service.spec = Some(ServiceSpec {
        type_: Some(template.spec.and_then(|spec| spec.type_).unwrap_or_default().as_str().to_owned()),
        selector: Some(BTreeMap::from([
            (CLUSTER_ROLE_LABEL.to_owned(), "control-plane".to_owned()),
            (CLUSTER_NAME_LABEL.to_owned(), cluster.to_owned()),
        ])),
        ports: Some(vec![ServicePort {
            port: API_PORT,
            target_port: Some(IntOrString::Int(API_PORT)),
            protocol: Some("TCP".to_owned()),
            ..ServicePort::default()
        }]),
        ..ServiceSpec::default()
    });
    service
}

/// Where the Service answers: the address of its load balancer, or its ClusterIP.
#[must_use]
pub fn service_endpoint(infra: &KubevirtCluster, service: &Service) -> Option<ApiEndpoint> {
    let type_ =
        infra.spec.control_plane_service_template.as_ref().and_then(|template| template.spec.as_ref()?.type_);
    let host = match type_.unwrap_or_default() {
        ControlPlaneServiceType::LoadBalancer => {
            let ingress = service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?.first()?;
            ingress.ip.clone().or_else(|| ingress.hostname.clone())?
        }
        ControlPlaneServiceType::ClusterIP | ControlPlaneServiceType::NodePort => {
            service.spec.as_ref()?.cluster_ip.clone()?
        }
    };
    (!host.is_empty() && host != "None").then_some(ApiEndpoint { host, port: API_PORT })
}

/// Decides about the endpoint. A control plane that does not run on Machines brings its own, and nothing
/// answers behind the Service then.
#[must_use]
pub fn endpoint(infra: &KubevirtCluster, cluster: &Cluster, service: Option<&Service>) -> Endpoint {
    if infra.spec.control_plane_endpoint.as_ref().is_some_and(|endpoint| !endpoint.host.is_empty()) {
        return Endpoint::Given;
    }
    // A second InfraCluster is told by nobody else; the endpoint has one owner.
    if let Some(known) = cluster.spec.control_plane_endpoint.as_ref().filter(|known| known.is_set()) {
        return Endpoint::Fill(known.clone());
    }
    if let Some(hosted) = cluster.spec.control_plane_ref.as_ref().filter(|control| is_hosted(&control.kind)) {
        return Endpoint::Wait(Why::new(
            "WaitingForControlPlaneEndpoint",
            format!("{} {} has not set spec.controlPlaneEndpoint yet", hosted.kind, hosted.name),
        ));
    }
    match service.and_then(|service| service_endpoint(infra, service)) {
        Some(endpoint) => Endpoint::Fill(endpoint),
        None => Endpoint::Wait(Why::new(
            "LoadBalancerProvisioningFailed",
            format!("Service {} has no address yet", service_name(&cluster.name_any())),
        )),
    }
}

/// Whether the Cluster needs the Service: nothing is behind it where the API servers are no VMs. (Its name is longer than
/// that of the Cluster, which may have all of the 63 letters of a Service.)
#[must_use]
pub fn needs_service(cluster: &Cluster) -> bool {
    !cluster.spec.control_plane_ref.as_ref().is_some_and(|control| is_hosted(&control.kind))
}

/// Control planes whose API servers are Pods of the management cluster.
fn is_hosted(kind: &str) -> bool {
    kind != "KubeadmControlPlane"
}

/// The status; `waiting` is what is missing.
#[must_use]
pub fn status(infra: &KubevirtCluster, waiting: Option<&Why>, now: Timestamp) -> KubevirtClusterStatus {
    let before = infra.status.clone().unwrap_or_default();
    let was_ready =
        before.ready || before.initialization.as_ref().and_then(|is| is.provisioned) == Some(true);
    let ready = was_ready || waiting.is_none();
    KubevirtClusterStatus {
        ready,
        initialization: Some(Initialization { provisioned: Some(ready) }),
        conditions: conditions(infra, &before.conditions, waiting, now),
    }
}

fn conditions(
    infra: &KubevirtCluster,
    before: &[Condition],
    waiting: Option<&Why>,
    now: Timestamp,
) -> Vec<Condition> {
    let list = paused::put(Conditions::new(before, infra.metadata.generation, now), None);
    if infra.metadata.deletion_timestamp.is_some() {
        return list
            .put("LoadBalancerAvailable", Status::False, "Deleting", "")
            .put("Ready", Status::False, "Deleting", "")
            .finish();
    }
    match waiting {
        None => list
            .put("LoadBalancerAvailable", Status::True, "LoadBalancerAvailable", "")
            .put("Ready", Status::True, "Ready", "")
            .finish(),
        Some(why) => list
            .put("LoadBalancerAvailable", Status::False, &why.reason, why.message.clone())
            .put("Ready", Status::False, &why.reason, why.message.clone())
            .finish(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn infra(spec: Value) -> KubevirtCluster {
        serde_json::from_value(json!({
            "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha1", "kind": "KubevirtCluster",
            "metadata": {"name": "duo", "namespace": "b", "uid": "u"}, "spec": spec,
        }))
        .unwrap()
    }

    fn cluster(control_plane: &str) -> Cluster {
        serde_json::from_value(json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
            "metadata": {"name": "duo", "namespace": "b"},
            "spec": {
                "controlPlaneRef": {"apiGroup": "controlplane.cluster.x-k8s.io", "kind": control_plane, "name": "duo"},
                "infrastructureRef": {"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "Metal3Cluster", "name": "duo"},
            },
        }))
        .unwrap()
    }

    fn with_address(mut service: Service) -> Service {
        service.spec.get_or_insert_default().cluster_ip = Some("10.86.0.7".into());
        service
    }

    #[test]
    fn a_given_endpoint_is_kept() {
        let given = infra(json!({"controlPlaneEndpoint": {"host": "10.77.0.171", "port": 6443}}));
        assert_eq!(endpoint(&given, &cluster("KamajiControlPlane"), None), Endpoint::Given);
    }

    #[test]
    fn the_service_is_the_endpoint_of_machines_only() {
        let empty = infra(json!({}));
        let service = with_address(service(&empty, "duo"));
        let wait = |endpoint| match endpoint {
            Endpoint::Wait(why) => why.reason.into_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            wait(endpoint(&empty, &cluster("KamajiControlPlane"), Some(&service))),
            "WaitingForControlPlaneEndpoint"
        );
        assert_eq!(
            endpoint(&empty, &cluster("KubeadmControlPlane"), Some(&service)),
            Endpoint::Fill(ApiEndpoint { host: "10.86.0.7".into(), port: 6443 })
        );
        let balanced = infra(json!({"controlPlaneServiceTemplate": {"spec": {"type": "LoadBalancer"}}}));
        assert_eq!(
            wait(endpoint(&balanced, &cluster("KubeadmControlPlane"), Some(&service))),
            "LoadBalancerProvisioningFailed"
        );
    }

    #[test]
    fn the_service_selects_control_plane_pods_of_the_cluster() {
        let spec = service(&infra(json!({})), "duo").spec.unwrap();
        assert_eq!(spec.type_.as_deref(), Some("ClusterIP"));
        assert_eq!(
            serde_json::to_value(spec.selector).unwrap(),
            json!({"cluster.x-k8s.io/role": "control-plane", "cluster.x-k8s.io/cluster-name": "duo"})
        );
    }

    #[test]
    fn ready_stays() {
        let mut ready = infra(json!({}));
        let waiting = Why::new("Waiting", "");
        assert!(!status(&ready, Some(&waiting), Timestamp::UNIX_EPOCH).ready);
        ready.status = Some(KubevirtClusterStatus { ready: true, ..Default::default() });
        assert!(status(&ready, Some(&waiting), Timestamp::UNIX_EPOCH).ready);
    }
}
