//! What the webhook says of pools, claims and addresses. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::ObjectReference;

use super::{IPAddress, IPAddressClaim, IPClaim, IPPool, PoolRange, REQUESTED_ADDRESS_ANNOTATION};
use crate::invalid::Invalid;

const ADDRESS: &str = "must be an IP address";

/// Everything that is wrong with a pool.
#[must_use]
pub fn validate_pool(pool: &IPPool) -> Vec<Invalid> {
    let mut bad = Vec::new();
    let spec = &pool.spec;
    gateway_and_dns("spec", spec.gateway.as_deref(), &spec.dns_servers, &mut bad);
    let mut ranges: Vec<(usize, PoolRange)> = Vec::new();
    for (index, entry) in spec.pools.iter().enumerate() {
        let path = format!("spec.pools[{index}]");
        gateway_and_dns(&path, entry.gateway.as_deref(), &entry.dns_servers, &mut bad);
        match PoolRange::of(entry) {
            Err(error) => {
                let given = [("start", &entry.start), ("end", &entry.end), ("subnet", &entry.subnet)];
                let value = given.into_iter().find(|(name, _)| *name == error.field);
                let value = value.and_then(|(_, value)| value.as_deref()).unwrap_or_default();
                let dot = if error.field.is_empty() { "" } else { "." };
                bad.push(Invalid::new(format!("{path}{dot}{}", error.field), value, error.detail));
            }
            Ok(range) => {
                if let Some((other, there)) = ranges.iter().find(|(_, there)| there.overlaps(&range)) {
                    let detail = format!(
                        "overlaps spec.pools[{other}] ({there}): an address must be in one range only"
                    );
                    bad.push(Invalid::new(path, range, detail));
                }
                ranges.push((index, range));
            }
        }
    }
    pre_allocations(pool, &ranges, &mut bad);
    bad
}

fn pre_allocations(pool: &IPPool, ranges: &[(usize, PoolRange)], bad: &mut Vec<Invalid>) {
    let mut seen: BTreeMap<IpAddr, &str> = BTreeMap::new();
    for (claim, text) in &pool.spec.pre_allocations {
        let path = format!("spec.preAllocations[{claim}]");
        let Ok(address) = text.parse::<IpAddr>() else {
            bad.push(Invalid::new(path, text, ADDRESS));
            continue;
        };
        if let Some(other) = seen.insert(address, claim) {
            bad.push(Invalid::new(&path, text, format!("is kept for the claim {other} already")));
        }
        if !ranges.iter().any(|(_, range)| range.contains(address)) {
            bad.push(Invalid::new(path, text, "is in none of spec.pools"));
        }
    }
}

/// Everything that is wrong with a change of a pool, and with the pool as it becomes.
#[must_use]
pub fn validate_pool_change(old: &IPPool, new: &IPPool) -> Vec<Invalid> {
    let mut bad = validate_pool(new);
    let (was, now) = (&old.spec, &new.spec);
    if was.name_prefix != now.name_prefix {
        let detail = format!("cannot be changed: addresses are named with {}", was.name_prefix);
        bad.push(Invalid::new("spec.namePrefix", &now.name_prefix, detail));
    }
    if was.allocation_strategy != now.allocation_strategy {
        let value = format!("{:?}", now.allocation_strategy).to_lowercase();
        bad.push(Invalid::new("spec.allocationStrategy", value, "cannot be changed"));
    }
    let ranges: Vec<_> = now.pools.iter().filter_map(|entry| PoolRange::of(entry).ok()).collect();
    let in_use = old.status.iter().flat_map(|status| &status.indexes);
    for (claim, text) in in_use {
        let address = text.parse::<IpAddr>().ok();
        if address.is_some_and(|address| !ranges.iter().any(|range| range.contains(address))) {
            let detail = format!("is in use by the claim {claim}, and would be in no range");
            bad.push(Invalid::new("spec.pools", text, detail));
        }
    }
    bad
}

fn gateway_and_dns(path: &str, gateway: Option<&str>, dns: &[String], bad: &mut Vec<Invalid>) {
    let no_address = |text: &str| text.parse::<IpAddr>().is_err();
    if let Some(gateway) = gateway.filter(|text| !text.is_empty() && no_address(text)) {
        bad.push(Invalid::new(format!("{path}.gateway"), gateway, ADDRESS));
    }
    for (index, server) in dns.iter().enumerate().filter(|(_, text)| no_address(text)) {
        bad.push(Invalid::new(format!("{path}.dnsServers[{index}]"), server, ADDRESS));
    }
}

/// Everything that is wrong with a claim.
#[must_use]
pub fn validate_claim(claim: &IPClaim) -> Vec<Invalid> {
    let mut bad = Vec::new();
    named("spec.pool", &claim.spec.pool, &mut bad);
    let theirs = claim.spec.pool.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    if let Some(theirs) = theirs.filter(|theirs| Some(*theirs) != claim.metadata.namespace.as_deref()) {
        bad.push(Invalid::new(
            "spec.pool.namespace",
            theirs,
            "must be the namespace of the claim itself, or nothing",
        ));
    }
    let wanted = claim.metadata.annotations.as_ref().and_then(|all| all.get(REQUESTED_ADDRESS_ANNOTATION));
    if let Some(wanted) = wanted.filter(|text| !text.is_empty() && text.parse::<IpAddr>().is_err()) {
        bad.push(Invalid::new(
            format!("metadata.annotations[{REQUESTED_ADDRESS_ANNOTATION}]"),
            wanted,
            ADDRESS,
        ));
    }
    bad
}

/// Everything that is wrong with a change of a claim, and with the claim as it becomes.
#[must_use]
pub fn validate_claim_change(old: &IPClaim, new: &IPClaim) -> Vec<Invalid> {
    let mut bad = validate_claim(new);
    same("spec.pool", &old.spec.pool, &new.spec.pool, &mut bad);
    bad
}

/// Everything that is wrong with a claim of Cluster API's contract: an IPPool of Metal3 does not answer it.
#[must_use]
pub fn validate_address_claim(claim: &IPAddressClaim) -> Vec<Invalid> {
    let group = &claim.spec.pool_ref.api_group;
    let detail =
        "has pools that are asked with an IPClaim of ipam.metal3.io: make one instead of an IPAddressClaim";
    (group == "ipam.metal3.io")
        .then(|| Invalid::new("spec.poolRef.apiGroup", group, detail))
        .into_iter()
        .collect()
}

/// Everything that is wrong with an address.
#[must_use]
pub fn validate_address(address: &IPAddress) -> Vec<Invalid> {
    let mut bad = Vec::new();
    let spec = &address.spec;
    named("spec.pool", &spec.pool, &mut bad);
    named("spec.claim", &spec.claim, &mut bad);
    if spec.address.parse::<IpAddr>().is_err() {
        bad.push(Invalid::new("spec.address", &spec.address, ADDRESS));
    }
    bad
}

/// Everything that is wrong with a change of an address, and with the address as it becomes.
#[must_use]
pub fn validate_address_change(old: &IPAddress, new: &IPAddress) -> Vec<Invalid> {
    let mut bad = validate_address(new);
    if old.spec.address != new.spec.address {
        bad.push(Invalid::new("spec.address", &new.spec.address, "cannot be changed"));
    }
    same("spec.pool", &old.spec.pool, &new.spec.pool, &mut bad);
    same("spec.claim", &old.spec.claim, &new.spec.claim, &mut bad);
    bad
}

fn named(path: &str, reference: &ObjectReference, bad: &mut Vec<Invalid>) {
    if reference.name.as_deref().unwrap_or_default().is_empty() {
        bad.push(Invalid::new(format!("{path}.name"), "", "is needed"));
    }
}

/// Name, namespace and kind count, the API version does not.
fn same(path: &str, old: &ObjectReference, new: &ObjectReference, bad: &mut Vec<Invalid>) {
    let what = |reference: &ObjectReference| {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        [text(&reference.kind), text(&reference.namespace), text(&reference.name)].join("/")
    };
    if what(old) != what(new) {
        bad.push(Invalid::new(path, what(new), format!("cannot be changed: it is {}", what(old))));
    }
}

#[cfg(test)]
mod tests;
