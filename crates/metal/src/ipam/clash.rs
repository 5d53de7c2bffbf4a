//! Addresses that are somebody else's already. In: a pool, and who else has addresses. Out: the ranges that both have. Pure.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use kube::ResourceExt;
use scute_api::Invalid;
use scute_api::cluster::Cluster;
use scute_api::ipam::{IPPool, PoolRange};

/// Addresses that the management cluster needs itself.
#[derive(Clone, Debug)]
pub struct Reserved {
    /// What they are, as in "the Pods of the management cluster".
    pub owner: String,
    /// Which.
    pub range: PoolRange,
}

/// Every range of the pool that has an address in common with another pool of its namespace, with the Pods or Services of its
/// Cluster, or with the management cluster. Servers of one namespace may share a network, where an address can be only one's.
#[must_use]
pub fn clashes(
    pool: &IPPool,
    others: &[Arc<IPPool>],
    cluster: Option<&Cluster>,
    reserved: &[Reserved],
) -> Vec<Invalid> {
    let mut bad = Vec::new();
    for (index, entry) in pool.spec.pools.iter().enumerate() {
        // What is no range is told by another rule.
        let Ok(range) = PoolRange::of(entry) else { continue };
        let mut told = |theirs: &PoolRange, owner: &str| {
            if theirs.overlaps(&range) {
                let detail = format!("overlaps {theirs}, which is {owner}: choose another range");
                bad.push(Invalid::new(format!("spec.pools[{index}]"), range, detail));
            }
        };
        reserved.iter().for_each(|known| told(&known.range, &known.owner));
        for (theirs, owner) in cluster.into_iter().flat_map(ranges_of_cluster) {
            told(&theirs, &owner);
        }
        for other in others.iter().filter(|other| other.metadata.name != pool.metadata.name) {
            for theirs in other.spec.pools.iter().filter_map(|entry| PoolRange::of(entry).ok()) {
                told(&theirs, &format!("of IPPool {}", other.name_any()));
            }
        }
    }
    bad
}

fn ranges_of_cluster(cluster: &Cluster) -> Vec<(PoolRange, String)> {
    let name = cluster.name_any();
    let network = cluster.spec.cluster_network.clone().unwrap_or_default();
    let of = |ranges: Option<Vec<String>>, what: &str| -> Vec<_> {
        let owner = format!("for the {what} of Cluster {name}");
        let ranges = ranges.unwrap_or_default().into_iter().filter_map(|text| text.parse::<IpNet>().ok());
        ranges.map(|range| (PoolRange::from(range), owner.clone())).collect()
    };
    let pods = of(network.pods.map(|ranges| ranges.cidr_blocks), "Pods");
    pods.into_iter().chain(of(network.services.map(|ranges| ranges.cidr_blocks), "Services")).collect()
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
    use serde_json::{Value, json};

    use super::*;

    fn pool(name: &str, made: &str, ranges: Value) -> Arc<IPPool> {
        let pool = json!({
            "apiVersion": "ipam.metal3.io/v1alpha1", "kind": "IPPool",
            "metadata": {"name": name, "creationTimestamp": made}, "spec": {"namePrefix": name, "pools": ranges},
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
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": {"name": "c"},
            "spec": {"clusterNetwork": {"pods": {"cidrBlocks": ["10.5.0.0/16"]}}},
        }))
        .unwrap();
        let range = "10.9.0.0/30".parse::<IpNet>().unwrap().into();
        let reserved = [Reserved { owner: "for the Pods of the management cluster".to_owned(), range }];
        let told: Vec<_> =
            clashes(&mine, &others, Some(&cluster), &reserved).iter().map(ToString::to_string).collect();
        let told: Vec<_> = told.iter().map(String::as_str).collect();
        assert_eq!(
            told,
            [
                "spec.pools[0]: Invalid value: \"10.0.0.1-10.0.0.9\": overlaps 10.0.0.9-10.0.0.20, which is of IPPool other: \
                 choose another range",
                "spec.pools[1]: Invalid value: \"10.5.0.9-10.5.0.12\": overlaps 10.5.0.0-10.5.255.255, which is for the Pods of \
                 Cluster c: choose another range",
                "spec.pools[2]: Invalid value: \"10.9.0.0-10.9.0.3\": overlaps 10.9.0.0-10.9.0.3, which is for the Pods of the \
                 management cluster: choose another range",
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
