//! The ClusterConfiguration and InitConfiguration that `kubeadm init --config` reads, in `kubeadm.k8s.io/v1beta4`, from
//! what users of Cluster API write: the same fields, but for times (seconds and days there, Go durations here) and for
//! what stands in the Cluster and its Machine.

use scute_api::bootstrap::{ClusterConfiguration, InitConfiguration};
use scute_api::cluster::Cluster;
use serde_json::{Map, Value, json};

use crate::{YamlError, join_host_port, to_yaml, yaml::TemplateValue};

/// Version of kubeadm's configuration; every Kubernetes since 1.31 reads it.
pub const API_VERSION: &str = "kubeadm.k8s.io/v1beta4";

/// Times of kubeadm by the names that Cluster API has for them.
const TIMEOUTS: [(&str, &str); 6] = [
    ("controlPlaneComponentHealthCheckSeconds", "controlPlaneComponentHealthCheck"),
    ("kubeletHealthCheckSeconds", "kubeletHealthCheck"),
    ("kubernetesAPICallSeconds", "kubernetesAPICall"),
    ("etcdAPICallSeconds", "etcdAPICall"),
    ("tlsBootstrapSeconds", "tlsBootstrap"),
    ("discoverySeconds", "discovery"),
];

/// The ClusterConfiguration of a Cluster at a Kubernetes version.
#[must_use]
pub fn cluster_configuration(
    given: &ClusterConfiguration,
    cluster_name: &str,
    cluster: &Cluster,
    version: &str,
) -> Value {
    let mut document = fields(given);
    days(&mut document, "certificateValidityPeriodDays", "certificateValidityPeriod");
    days(&mut document, "caCertificateValidityPeriodDays", "caCertificateValidityPeriod");
    if !document.contains_key("controlPlaneEndpoint")
        && let Some(endpoint) =
            cluster.spec.control_plane_endpoint.as_ref().filter(|endpoint| endpoint.is_set())
    {
        let port = u16::try_from(endpoint.port).unwrap_or_default();
        document.insert("controlPlaneEndpoint".to_owned(), json!(join_host_port(&endpoint.host, port)));
    }
    document.insert("clusterName".to_owned(), json!(cluster_name));
    document.insert("kubernetesVersion".to_owned(), json!(version));
    let mut networking = Map::new();
    if let Some(network) = &cluster.spec.cluster_network {
        let ranges = |ranges: &Option<scute_api::cluster::NetworkRanges>| {
            let blocks = ranges.as_ref().map(|ranges| ranges.cidr_blocks.join(",")).unwrap_or_default();
            (!blocks.is_empty()).then_some(blocks)
        };
        let domain = network.service_domain.clone().filter(|domain| !domain.is_empty());
        let all = [
            ("dnsDomain", domain),
            ("podSubnet", ranges(&network.pods)),
            ("serviceSubnet", ranges(&network.services)),
        ];
        networking.extend(all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value?)))));
    }
    if !networking.is_empty() {
        document.insert("networking".to_owned(), Value::Object(networking));
    }
    named(document, "ClusterConfiguration")
}

/// The InitConfiguration.
#[must_use]
pub fn init_configuration(given: &InitConfiguration) -> Value {
    let mut document = fields(given);
    for token in document.get_mut("bootstrapTokens").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(token) = token.as_object_mut() {
            seconds(token, "ttlSeconds", "ttl");
        }
    }
    if let Some(timeouts) = document.get_mut("timeouts").and_then(Value::as_object_mut) {
        for (from, to) in TIMEOUTS {
            seconds(timeouts, from, to);
        }
    }
    named(document, "InitConfiguration")
}

/// Documents as one YAML text; texts of users that are jinja come out so that the host's template engine reads them.
///
/// # Errors
/// When a document has no YAML form.
pub fn to_template_yaml(documents: &[Value]) -> Result<String, YamlError> {
    let texts: Result<Vec<_>, _> =
        documents.iter().map(|document| to_yaml(&TemplateValue(document))).collect();
    Ok(texts?.iter().map(|text| format!("---\n{text}")).collect())
}

fn fields(given: &impl serde::Serialize) -> Map<String, Value> {
    match serde_json::to_value(given) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

fn named(mut document: Map<String, Value>, kind: &str) -> Value {
    document.insert("apiVersion".to_owned(), json!(API_VERSION));
    document.insert("kind".to_owned(), json!(kind));
    Value::Object(document)
}

fn seconds(object: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(number) = object.remove(from).and_then(|value| value.as_i64()) {
        object.insert(to.to_owned(), json!(format!("{number}s")));
    }
}

fn days(object: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(number) = object.remove(from).and_then(|value| value.as_i64()) {
        object.insert(to.to_owned(), json!(format!("{}h0m0s", number * 24)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_cluster_is_filled_in_and_times_are_kubeadms() {
        let given = json!({"certificateValidityPeriodDays": 30, "caCertificateValidityPeriodDays": 365,
            "encryptionAlgorithm": "ECDSA-P256", "apiServer": {"certSANs": ["a"], "extraArgs": [{"name": "v", "value": "1"}]}});
        let cluster = json!({"metadata": {"name": "c"}, "spec": {
            "controlPlaneEndpoint": {"host": "fd00::1", "port": 6443},
            "clusterNetwork": {"serviceDomain": "x.local", "pods": {"cidrBlocks": ["10.1.0.0/16", "fd01::/48"]},
                "services": {"cidrBlocks": ["10.2.0.0/16"]}}}});
        let cluster: Cluster = serde_json::from_value(cluster).expect("a Cluster");
        let document =
            cluster_configuration(&serde_json::from_value(given).expect("read"), "c", &cluster, "v1.35.4");
        assert_eq!(
            document,
            json!({"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "ClusterConfiguration", "clusterName": "c",
                "kubernetesVersion": "v1.35.4", "controlPlaneEndpoint": "[fd00::1]:6443",
                "certificateValidityPeriod": "720h0m0s", "caCertificateValidityPeriod": "8760h0m0s",
                "encryptionAlgorithm": "ECDSA-P256",
                "apiServer": {"certSANs": ["a"], "extraArgs": [{"name": "v", "value": "1"}]},
                "networking": {"dnsDomain": "x.local", "podSubnet": "10.1.0.0/16,fd01::/48", "serviceSubnet": "10.2.0.0/16"}})
        );
        let init = json!({"timeouts": {"controlPlaneComponentHealthCheckSeconds": 300, "etcdAPICallSeconds": 5},
            "bootstrapTokens": [{"token": "abcdef.0123456789abcdef", "ttlSeconds": 60}]});
        let document = init_configuration(&serde_json::from_value(init).expect("read"));
        assert_eq!(
            document["timeouts"],
            json!({"controlPlaneComponentHealthCheck": "300s", "etcdAPICall": "5s"})
        );
        assert_eq!(document["bootstrapTokens"][0]["ttl"], "60s");
    }
}
