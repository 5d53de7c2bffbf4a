//! The Service in front of a control plane.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use scute_api::kamaji::{ServiceType, TenantControlPlane};

use super::validate::Wanted;
use crate::names;

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
