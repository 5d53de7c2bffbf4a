//! What a control plane may reach. Its administrator chooses webhooks, aggregated APIs and addresses of Nodes, and the
//! API server connects to them: without a limit, to whatever the management cluster runs (`docs/controlplane.md`).

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use scute_api::kamaji::{EGRESS_ANNOTATION, TenantControlPlane};
use scute_api::kubevirt::{APP_LABEL, LAUNCHER};

use crate::names;

const DNS: i32 = 53;
const KUBELET: i32 = 10250;

/// Ranges of the management cluster.
#[derive(Clone, Copy, Debug)]
pub struct Ranges<'a> {
    /// Of its Nodes.
    pub nodes: &'a [IpNet],
    /// Of its Pods.
    pub pods: &'a [IpNet],
    /// Of its Services.
    pub services: &'a [IpNet],
}

/// The policy of a TenantControlPlane; none where it is switched off, or where nobody said what the ranges are: then
/// it could forbid nothing.
pub fn network_policy(
    tcp: &TenantControlPlane,
    store_endpoints: &[String],
    ranges: Ranges<'_>,
) -> Option<NetworkPolicy> {
    let off = tcp.annotations().get(EGRESS_ANNOTATION).is_some_and(|asked| asked == "unrestricted");
    if off || (ranges.pods.is_empty() && ranges.services.is_empty()) {
        return None;
    }
    let anywhere = |ports| NetworkPolicyEgressRule { ports: Some(ports), to: None };
    let mut egress = vec![
        anywhere(vec![port("UDP", DNS), port("TCP", DNS)]),
        outside(ranges),
        // VM Nodes are Pods of the tenant's namespace: kubelets, and webhooks on their hosts' network.
        NetworkPolicyEgressRule { ports: None, to: Some(vec![launchers()]) },
    ];
    for rule in store_endpoints.iter().filter_map(|endpoint| store(endpoint, ranges)) {
        if !egress.contains(&rule) {
            egress.push(rule);
        }
    }
    if !ranges.nodes.is_empty() {
        // Bare-metal Nodes of tenants stand among the management cluster's own, whose kubelets know tenants' keys not.
        let to = ranges.nodes.iter().map(|net| block(net, &[])).collect();
        egress.push(NetworkPolicyEgressRule { ports: Some(vec![port("TCP", KUBELET)]), to: Some(to) });
    }
    Some(NetworkPolicy {
        metadata: names::owned_meta(tcp, tcp.name_any(), "network-policy", None),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(names::selector(&tcp.name_any())),
                ..LabelSelector::default()
            }),
            policy_types: Some(vec!["Egress".to_owned()]),
            egress: Some(egress),
            ..NetworkPolicySpec::default()
        }),
    })
}

/// Everything that is not the management cluster's.
fn outside(ranges: Ranges<'_>) -> NetworkPolicyEgressRule {
    let inside: Vec<_> = [ranges.nodes, ranges.pods, ranges.services].concat();
    let all = ["0.0.0.0/0", "::/0"].into_iter().filter_map(|net| net.parse::<IpNet>().ok());
    NetworkPolicyEgressRule { ports: None, to: Some(all.map(|net| block(&net, &inside)).collect()) }
}

/// A member of the DataStore. A policy knows no names and is asked after a Service's address became a Pod's: in both
/// cases only the port can be said.
fn store(endpoint: &str, ranges: Ranges<'_>) -> Option<NetworkPolicyEgressRule> {
    let (host, number) = endpoint.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let fixed = host.ok().filter(|ip| !ranges.services.iter().any(|net| net.contains(ip)));
    let to = fixed.map(|ip| vec![block(&IpNet::from(ip), &[])]);
    Some(NetworkPolicyEgressRule { ports: Some(vec![port("TCP", number.parse().ok()?)]), to })
}

fn launchers() -> NetworkPolicyPeer {
    let label = (APP_LABEL.to_owned(), LAUNCHER.to_owned());
    NetworkPolicyPeer {
        pod_selector: Some(LabelSelector { match_labels: Some([label].into()), ..LabelSelector::default() }),
        ..NetworkPolicyPeer::default()
    }
}

fn port(protocol: &str, number: i32) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(number)),
        ..NetworkPolicyPort::default()
    }
}

/// A range without those of its family that lie in it.
fn block(net: &IpNet, without: &[IpNet]) -> NetworkPolicyPeer {
    let mut except: Vec<_> =
        without.iter().filter(|inner| net.contains(*inner)).map(ToString::to_string).collect();
    except.sort();
    except.dedup();
    NetworkPolicyPeer {
        ip_block: Some(IPBlock { cidr: net.to_string(), except: (!except.is_empty()).then_some(except) }),
        ..NetworkPolicyPeer::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::fixture::tcp;
    use serde_json::json;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().expect("a range")).collect()
    }

    #[test]
    fn the_management_cluster_is_out_of_reach_but_for_what_is_needed() {
        let (nodes, pods) = (nets(&["172.30.0.0/24"]), nets(&["10.85.0.0/16", "fd00:85::/56"]));
        let services = nets(&["10.86.0.0/16"]);
        let ranges = Ranges { nodes: &nodes, pods: &pods, services: &services };
        let stores = ["172.30.0.2:2379", "etcd.store.svc:2379", "10.86.0.9:2379", "[fd00::2]:2379"];
        let stores: Vec<_> = stores.map(str::to_owned).to_vec();
        insta::assert_yaml_snapshot!(
            network_policy(&tcp(json!({})), &stores, ranges).expect("a policy").spec
        );
        let off = json!({ "metadata": { "annotations": { "scute.dev/egress": "unrestricted" } } });
        assert!(network_policy(&tcp(off), &stores, ranges).is_none());
        let unknown = Ranges { nodes: &[], pods: &[], services: &[] };
        assert!(network_policy(&tcp(json!({})), &stores, unknown).is_none());
    }
}
