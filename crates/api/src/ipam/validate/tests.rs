//! What is refused, by field.

use serde_json::{Value, json};

use super::*;

fn pool(spec: Value, indexes: Value) -> IPPool {
    serde_json::from_value(
        json!({"apiVersion": "ipam.metal3.io/v1alpha1", "kind": "IPPool", "metadata": {"name": "p"},
        "spec": spec, "status": {"indexes": indexes}}),
    )
    .unwrap()
}

fn refused(bad: &[Invalid], path: &str, word: &str) {
    assert!(bad.iter().any(|bad| bad.path == path && bad.detail.contains(word)), "{path} {word}: {bad:#?}");
}

fn good() -> Value {
    json!({"namePrefix": "p", "prefix": 24, "gateway": "10.0.0.1", "dnsServers": ["8.8.8.8", "fd00::1"],
        "pools": [{"start": "10.0.0.10", "end": "10.0.0.20"}, {"subnet": "10.0.1.0/24"}],
        "preAllocations": {"c": "10.0.0.11"}})
}

#[test]
fn a_pool() {
    assert_eq!(validate_pool(&pool(good(), json!({}))), []);
    for (field, value, path, word) in [
        ("gateway", json!("gate"), "spec.gateway", "IP address"),
        ("dnsServers", json!(["8.8.8.8", "dns"]), "spec.dnsServers[1]", "IP address"),
        ("pools", json!([{}]), "spec.pools[0]", "start and end, or subnet"),
        ("pools", json!([{"start": "10.0.0.1", "end": "x"}]), "spec.pools[0].end", "IP address"),
        (
            "pools",
            json!([{"subnet": "10.0.0.0/24", "dnsServers": ["x"]}]),
            "spec.pools[0].dnsServers[0]",
            "IP address",
        ),
        (
            "pools",
            json!([{"subnet": "10.0.0.0/24"}, {"start": "10.0.0.9", "end": "10.0.0.12"}]),
            "spec.pools[1]",
            "overlaps spec.pools[0] (10.0.0.1-10.0.0.254)",
        ),
        ("preAllocations", json!({"c": "10.0.9.1"}), "spec.preAllocations[c]", "none of spec.pools"),
        ("preAllocations", json!({"c": "x"}), "spec.preAllocations[c]", "IP address"),
        (
            "preAllocations",
            json!({"a": "10.0.0.11", "b": "10.0.0.11"}),
            "spec.preAllocations[b]",
            "claim a already",
        ),
    ] {
        let mut spec = good();
        spec[field] = value;
        refused(&validate_pool(&pool(spec, json!({}))), path, word);
    }
}

#[test]
fn a_pool_that_changes() {
    let old = pool(good(), json!({"c": "10.0.0.11", "d": "10.0.1.7"}));
    for (field, value, path, word) in [
        ("namePrefix", json!("q"), "spec.namePrefix", "named with p"),
        ("allocationStrategy", json!("random"), "spec.allocationStrategy", "cannot be changed"),
        ("pools", json!([{"start": "10.0.0.10", "end": "10.0.0.20"}]), "spec.pools", "in use by the claim d"),
    ] {
        let mut spec = good();
        spec[field] = value;
        refused(&validate_pool_change(&old, &pool(spec, json!({}))), path, word);
    }
    let mut larger = good();
    larger["pools"][0]["end"] = json!("10.0.0.200");
    larger["allocationStrategy"] = json!("sequential");
    assert_eq!(validate_pool_change(&old, &pool(larger, json!({}))), [], "a pool may grow");
}

#[test]
fn claims_and_addresses() {
    let claim = |pool: Value, wanted: &str| -> IPClaim {
        serde_json::from_value(
            json!({"metadata": {"name": "c", "annotations": {"ipAddress": wanted}}, "spec": {"pool": pool}}),
        )
        .unwrap()
    };
    let one = claim(json!({"name": "p"}), "10.0.0.1");
    assert_eq!(validate_claim(&one), []);
    refused(&validate_claim(&claim(json!({}), "")), "spec.pool.name", "needed");
    let foreign = claim(json!({"name": "p", "namespace": "other"}), "");
    refused(&validate_claim(&foreign), "spec.pool.namespace", "of the claim itself");
    refused(
        &validate_claim(&claim(json!({"name": "p"}), "x")),
        "metadata.annotations[ipAddress]",
        "IP address",
    );
    refused(&validate_claim_change(&one, &claim(json!({"name": "q"}), "")), "spec.pool", "it is //p");

    let address = |text: &str, claim: &str| -> IPAddress {
        serde_json::from_value(json!({"metadata": {"name": "a"},
            "spec": {"address": text, "pool": {"name": "p"}, "claim": {"name": claim}}}))
        .unwrap()
    };
    let one = address("10.0.0.1", "c");
    assert_eq!(validate_address(&one), []);
    refused(&validate_address(&address("x", "c")), "spec.address", "IP address");
    refused(&validate_address(&address("10.0.0.1", "")), "spec.claim.name", "needed");
    refused(&validate_address_change(&one, &address("10.0.0.2", "c")), "spec.address", "cannot be changed");
    refused(&validate_address_change(&one, &address("10.0.0.1", "d")), "spec.claim", "it is //c");
}
