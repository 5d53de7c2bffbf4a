//! The Service in front of a control plane.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use scute_api::kamaji::{ServiceType, TenantControlPlane};
use scute_kit::FieldError;

use super::validate::Wanted;
use crate::names;

/// The address that a Service shall take as an external IP, where it is not one that tenants may choose: whoever has
/// an external IP gets the traffic to that address, whosever it is (CVE-2020-8554).
pub fn refused_external_ip(tcp: &TenantControlPlane, allowed: &[IpNet]) -> Option<FieldError> {
    let network = &tcp.spec.network_profile;
    let asked = network.allow_address_as_external_ip
        && tcp.spec.control_plane.service.service_type != ServiceType::LoadBalancer;
    // What is no address is refused as such.
    let address = network.address.parse::<IpAddr>().ok().filter(|_| asked)?;
    let why = "is not within externalIPs of the manager's configuration, from which tenants may choose";
    (!allowed.iter().any(|net| net.contains(&address)))
        .then(|| FieldError::new("spec.networkProfile.address", &network.address, why))
}

/// Takes back a node port that an existing Service was given before it was to have none: the API server keeps what is not
/// mentioned.
pub fn without_node_ports(mut want: Service, seen: Option<&Service>) -> Service {
    let has = seen.and_then(|seen| seen.spec.as_ref()?.ports.as_ref()).into_iter().flatten();
    let has = has.into_iter().any(|port| port.node_port.is_some_and(|number| number != 0));
    let unwanted = |spec: &&mut ServiceSpec| has && spec.allocate_load_balancer_node_ports == Some(false);
    for port in want.spec.as_mut().filter(unwanted).and_then(|spec| spec.ports.as_mut()).into_iter().flatten()
    {
        port.node_port = Some(0);
    }
    want
}

/// The Service of a TenantControlPlane. Labels and annotations that others put on it stay.
pub fn service(tcp: &TenantControlPlane, wanted: &Wanted) -> Service {
    let (asked, network) = (&tcp.spec.control_plane.service, &tcp.spec.network_profile);
    let mut meta = names::owned_meta(tcp, wanted.name.clone(), "service", None);
    if let Some(additional) = &asked.additional_metadata {
        let labels = meta.labels.get_or_insert_with(BTreeMap::new);
        for (key, value) in additional.labels.iter().flatten() {
            labels.entry(key.clone()).or_insert_with(|| value.clone());
        }
        meta.annotations = additional.annotations.clone();
    }
    let is_lb = wanted.service_type == ServiceType::LoadBalancer;
    let port = i32::from(wanted.port);
    let external = match (wanted.address, network.allow_address_as_external_ip, is_lb) {
        (Some(address), true, false) => Some(vec![address.to_string()]),
        _ => None,
    };
    Service {
        metadata: meta,
        spec: Some(ServiceSpec {
            type_: Some(wanted.service_type.as_str().to_owned()),
            selector: Some(names::selector(&wanted.name)),
            ports: Some(vec![ServicePort {
                name: Some("kube-apiserver".to_owned()),
                protocol: Some("TCP".to_owned()),
                port,
                target_port: Some(IntOrString::Int(port)),
                node_port: (wanted.service_type == ServiceType::NodePort).then_some(port),
                ..ServicePort::default()
            }]),
            external_ips: external,
            load_balancer_ip: wanted.address.filter(|_| is_lb).map(|address| address.to_string()),
            load_balancer_class: network.load_balancer_class.clone().filter(|_| is_lb),
            load_balancer_source_ranges: (is_lb && !network.load_balancer_source_ranges.is_empty())
                .then(|| network.load_balancer_source_ranges.clone()),
            allocate_load_balancer_node_ports: asked.allocate_load_balancer_node_ports.filter(|_| is_lb),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::fixture::tcp;
    use serde_json::json;

    #[test]
    fn an_external_ip_is_one_that_the_operator_gave_away() {
        let allowed = ["10.0.0.0/28".parse().expect("a range")];
        let refused = |kind: &str, address: &str, external: bool| {
            let tcp = tcp(json!({ "spec": {
                "controlPlane": { "service": { "serviceType": kind } },
                "networkProfile": { "address": address, "allowAddressAsExternalIP": external },
            } }));
            refused_external_ip(&tcp, &allowed).map(|bad| bad.to_string())
        };
        assert_eq!(refused("ClusterIP", "10.0.0.9", true), None);
        assert_eq!(refused("ClusterIP", "10.9.0.9", false), None, "an address alone takes nothing");
        assert_eq!(refused("LoadBalancer", "10.9.0.9", true), None, "the load balancer decides");
        for kind in ["ClusterIP", "NodePort"] {
            let said = refused(kind, "10.9.0.9", true).expect("refused");
            assert!(said.contains("externalIPs of the manager's configuration"), "{said}");
        }
        assert!(
            refused_external_ip(
                &tcp(json!({ "spec": { "controlPlane": { "service": { "serviceType": "ClusterIP" } },
            "networkProfile": { "address": "10.0.0.9", "allowAddressAsExternalIP": true } } })),
                &[]
            )
            .is_some()
        );
    }
}
