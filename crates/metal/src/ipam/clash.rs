//! Addresses that are somebody else's already. In: a pool, and who else has addresses. Out: the ranges that both have. Pure.

use std::net::IpAddr;
use std::sync::Arc;

use kube::ResourceExt;
use scute_api::Invalid;
use scute_api::cluster::Cluster;
use scute_api::ipam::IPPool;
use scute_api::ranges::{self, Claim, Clash, Purpose, of_cluster, of_pool};

/// Every range of the pool that has an address in common with another pool of its namespace, with the Pods or Services of its
/// Cluster, or with what is `reserved`. Servers of one namespace may share a network, where an address can be only one's.
#[must_use]
pub fn clashes(
    pool: &IPPool,
    others: &[Arc<IPPool>],
    cluster: Option<&Cluster>,
    reserved: &[Claim],
) -> Vec<Invalid> {
    let inner = |claim: &Claim| matches!(claim.purpose, Purpose::Pods | Purpose::Services);
    let of_cluster = cluster.into_iter().flat_map(|cluster| of_cluster(cluster, false)).filter(inner);
    let of_others = others.iter().flat_map(|other| of_pool(other));
    let theirs: Vec<_> = reserved.iter().cloned().chain(of_cluster).chain(of_others).collect();
    let ours = of_pool(pool);
    // What a pool has twice is told by another rule.
    let found = ranges::clashes(&ours, &theirs).into_iter();
    let found = found.filter(|clash| clash.harm.certain && clash.ours.owner != clash.theirs.owner);
    let told = |Clash { ours, theirs, harm }: Clash<'_>| {
        let detail = format!("overlaps {}, {theirs}: {}", theirs.text, harm.why);
        Invalid::new(&ours.path, &ours.text, detail)
    };
    found.map(told).collect()
}

/// The pools that were there before this one, by their age and then by name: of two that overlap, the elder has the addresses.
pub fn elders(pool: &IPPool, others: Vec<Arc<IPPool>>) -> Vec<Arc<IPPool>> {
    let age = |pool: &IPPool| {
        let made = pool.metadata.creation_timestamp.as_ref().map(|made| made.0);
        (made, pool.name_any())
    };
    others.into_iter().filter(|other| age(other) < age(pool)).collect()
}

/// Whether the address is one that the network of the pool needs itself.
pub fn is_gateway(pool: &IPPool, address: IpAddr) -> bool {
    let own = pool.spec.gateway.iter();
    let gateways = own.chain(pool.spec.pools.iter().filter_map(|entry| entry.gateway.as_ref()));
    gateways.filter_map(|text| text.parse::<IpAddr>().ok()).any(|gateway| gateway == address)
}

#[cfg(test)]
mod tests {
    use scute_api::ranges::Management;
    use serde_json::{Value, json};

    use super::*;

    fn pool(name: &str, made: &str, ranges: Value) -> Arc<IPPool> {
        let pool = json!({
            "apiVersion": "ipam.metal3.io/v1alpha1", "kind": "IPPool",
            "metadata": {"namespace": "t", "name": name, "creationTimestamp": made},
            "spec": {"namePrefix": name, "clusterName": "c", "pools": ranges},
        });
        Arc::new(serde_json::from_value(pool).unwrap())
    }

    fn range(start: &str, end: &str) -> Value {
        json!([{"start": start, "end": end}])
    }

    #[test]
    fn every_owner_of_an_address_is_named() {
        let ranges = json!([
            {"start": "10.0.0.1", "end": "10.0.0.9"}, {"start": "10.5.0.9", "end": "10.5.0.12"},
            {"start": "10.9.0.0", "end": "10.9.0.3"}, {"start": "10.8.0.1", "end": "10.8.0.2"},
        ]);
        let mine = pool("mine", "2026-01-01T00:00:00Z", ranges);
        let others =
            [pool("other", "2026-01-01T00:00:00Z", range("10.0.0.9", "10.0.0.20")), Arc::clone(&mine)];
        let cluster = serde_json::from_value(json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": {"namespace": "t", "name": "c"},
            "spec": {"clusterNetwork": {"pods": {"cidrBlocks": ["10.5.0.0/16"]}},
                "controlPlaneEndpoint": {"host": "10.8.0.1", "port": 6443}},
        }))
        .unwrap();
        let reserved =
            Management { pods: vec!["10.9.0.0/30".parse().unwrap()], ..Management::default() }.claims();
        let told: Vec<_> =
            clashes(&mine, &others, Some(&cluster), &reserved).iter().map(ToString::to_string).collect();
        let told: Vec<_> = told.iter().map(String::as_str).collect();
        assert_eq!(
            told,
            [
                "spec.pools[0]: Invalid value: \"10.0.0.1-10.0.0.9\": overlaps 10.0.0.9-10.0.0.20, the servers' addresses of \
                 IPPool t/other: two pools may give one address to two machines",
                "spec.pools[1]: Invalid value: \"10.5.0.9-10.5.0.12\": overlaps 10.5.0.0/16, the Pods of Cluster t/c: from its \
                 Nodes and Pods such an address cannot be reached",
                "spec.pools[2]: Invalid value: \"10.9.0.0-10.9.0.3\": overlaps 10.9.0.0/30, the Pods of the management \
                 cluster: from its Nodes and Pods such an address cannot be reached",
            ]
        );
    }

    #[test]
    fn of_two_the_elder_has_the_addresses_and_of_twins_the_first_by_name() {
        let of = |name: &str, made: &str| pool(name, made, json!([]));
        let (old, a, b) = (
            of("z", "2025-01-01T00:00:00Z"),
            of("a", "2026-01-01T00:00:00Z"),
            of("b", "2026-01-01T00:00:00Z"),
        );
        let names = |pool: &IPPool| -> Vec<_> {
            elders(pool, vec![old.clone(), a.clone(), b.clone()]).iter().map(|pool| pool.name_any()).collect()
        };
        assert_eq!(
            (names(&old), names(&a), names(&b)),
            (vec![], vec!["z".into()], vec!["z".into(), "a".into()])
        );
    }
}
