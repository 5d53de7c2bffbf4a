//! IPPools, and how many addresses Nodes still want of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use scute_api::ipam::{Pool, PoolRange};
use serde_json::Value;

use super::{beside, number, of_kind, text};

/// A pool that has fewer addresses than are wanted of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Short {
    /// Its namespace and name.
    pub pool: (String, String),
    /// Addresses that are neither given out nor kept.
    pub free: u128,
    /// Addresses that are wanted besides those that are given out.
    pub wanted: u128,
    /// MachineDeployments that want them.
    pub by: BTreeSet<String>,
}

impl Short {
    /// For a person.
    pub fn words(&self) -> String {
        let (of, by) = (&self.pool.1, self.by.iter().cloned().collect::<Vec<_>>().join(", "));
        let lacking = self.wanted.saturating_sub(self.free);
        format!(
            "IPPool {of} has {} left and the Nodes of {by} want {} more: {} without one",
            many(self.free, "address", "addresses"),
            self.wanted,
            if lacking == 1 { "1 stays".to_owned() } else { format!("{lacking} stay") },
        )
    }
}

fn many(n: u128, one: &str, more: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { more })
}

/// Every pool of Metal3 that MachineDeployments want more addresses of than it has.
pub fn short(objects: &[Value]) -> Vec<Short> {
    let mut wanted: BTreeMap<(String, String), (u128, BTreeSet<String>)> = BTreeMap::new();
    for template in of_kind(objects, "Metal3DataTemplate") {
        let users: Vec<(&Value, i64)> = users(objects, template);
        let nodes: i64 = users.iter().map(|(_, nodes)| nodes).sum();
        for name in pools(template) {
            let space = text(template, "/metadata/namespace").to_owned();
            let have = held(objects, template, &name);
            let more = u128::try_from(nodes).unwrap_or(0).saturating_sub(have);
            let entry = wanted.entry((space, name)).or_default();
            entry.0 += more;
            entry.1.extend(users.iter().map(|(md, _)| text(md, "/metadata/name").to_owned()));
        }
    }
    let pool = |(space, name): &(String, String)| {
        of_kind(objects, "IPPool").find(|p| {
            text(p, "/apiVersion").starts_with("ipam.metal3.io/")
                && text(p, "/metadata/namespace") == space
                && text(p, "/metadata/name") == name
        })
    };
    let judged = wanted.into_iter().filter_map(|(key, (wanted, by))| {
        let free = free(objects, pool(&key)?);
        (wanted > free).then_some(Short { pool: key, free, wanted, by })
    });
    judged.collect()
}

/// MachineDeployments whose Nodes are rendered from a Metal3DataTemplate, with their numbers of Nodes.
fn users<'a>(objects: &'a [Value], template: &Value) -> Vec<(&'a Value, i64)> {
    let name = text(template, "/metadata/name");
    let uses = |md: &&Value| {
        let reference = "/spec/template/spec/infrastructureRef";
        let machines = beside(
            objects,
            md,
            text(md, &format!("{reference}/kind")),
            text(md, &format!("{reference}/name")),
        );
        text(md, "/metadata/namespace") == text(template, "/metadata/namespace")
            && machines.is_some_and(|m| text(m, "/spec/template/spec/dataTemplate/name") == name)
    };
    let all = of_kind(objects, "MachineDeployment").filter(uses);
    all.map(|md| (md, number(md, "/spec/replicas").unwrap_or(1).max(0))).collect()
}

/// Addresses of a pool that Nodes of a template have: their claims are called TEMPLATE-INDEX-POOL.
fn held(objects: &[Value], template: &Value, pool: &str) -> u128 {
    let name = text(template, "/metadata/name");
    let of = |claim: &str| {
        let index =
            claim.strip_prefix(name).and_then(|c| c.strip_prefix('-')?.strip_suffix(pool)?.strip_suffix('-'));
        index.is_some_and(|i| !i.is_empty() && i.bytes().all(|b| b.is_ascii_digit()))
    };
    let space = text(template, "/metadata/namespace");
    addresses(objects, space, pool).filter(|a| of(text(a, "/spec/claim/name"))).count() as u128
}

fn addresses<'a>(objects: &'a [Value], space: &'a str, pool: &'a str) -> impl Iterator<Item = &'a Value> {
    of_kind(objects, "IPAddress")
        .filter(move |a| text(a, "/metadata/namespace") == space && text(a, "/spec/pool/name") == pool)
}

/// Addresses of a pool that any claim may get.
fn free(objects: &[Value], pool: &Value) -> u128 {
    let list =
        |path: &str| pool.pointer(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let entries = list("/spec/pools");
    let range = |entry: &Value| {
        let field = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
        let entry =
            Pool { start: field("start"), end: field("end"), subnet: field("subnet"), ..Pool::default() };
        PoolRange::of(&entry).ok()
    };
    let ranges: Vec<PoolRange> = entries.iter().filter_map(range).collect();
    let mut taken: BTreeSet<IpAddr> = BTreeSet::new();
    let mut take = |text: &str| {
        let address = text.parse::<IpAddr>().ok();
        taken.extend(address.filter(|a| ranges.iter().any(|range| range.contains(*a))));
    };
    take(text(pool, "/spec/gateway"));
    entries.iter().for_each(|entry| take(text(entry, "/gateway")));
    let kept = pool.pointer("/spec/preAllocations").and_then(Value::as_object);
    kept.into_iter().flatten().filter_map(|(_, address)| address.as_str()).for_each(&mut take);
    let (space, name) = (text(pool, "/metadata/namespace"), text(pool, "/metadata/name"));
    addresses(objects, space, name).for_each(|a| take(text(a, "/spec/address")));
    let given = pool.pointer("/status/indexes").and_then(Value::as_object);
    given.into_iter().flatten().filter_map(|(_, address)| address.as_str()).for_each(&mut take);
    let all = ranges.iter().fold(0_u128, |sum, range| sum.saturating_add(range.size()));
    all.saturating_sub(taken.len() as u128)
}

/// Names of the IPPools that a Metal3DataTemplate takes addresses of: one of each for a Node.
pub fn pools(template: &Value) -> BTreeSet<String> {
    const LISTS: [&str; 8] = [
        "ipAddressesFromIPPool",
        "prefixesFromIPPool",
        "gatewaysFromIPPool",
        "dnsServersFromIPPool",
        "ipAddressesFromPool",
        "prefixesFromPool",
        "gatewaysFromPool",
        "dnsServersFromPool",
    ];
    let mut found = BTreeSet::new();
    for list in LISTS {
        let entries = template.pointer(&format!("/spec/metaData/{list}")).and_then(Value::as_array);
        entries.into_iter().flatten().for_each(|entry| found.extend(named(entry)));
    }
    if let Some(network) = template.pointer("/spec/networkData") {
        walk(network, &mut found);
    }
    found
}

/// A reference to a pool, when it is one of Metal3's.
fn named(reference: &Value) -> Option<String> {
    let or = |path: &str, unless: &str| {
        Some(text(reference, path)).filter(|t| !t.is_empty()).unwrap_or(unless).to_owned()
    };
    let metal3 = or("/apiGroup", "ipam.metal3.io") == "ipam.metal3.io" && or("/kind", "IPPool") == "IPPool";
    let name = text(reference, "/name");
    (metal3 && !name.is_empty()).then(|| name.to_owned())
}

/// Networks, routes and DNS servers name pools at any depth.
fn walk(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
        Value::Object(fields) => {
            for (key, field) in fields {
                match (key.as_str(), field) {
                    ("ipAddressFromIPPool" | "fromIPPool" | "dnsFromIPPool", Value::String(name)) => {
                        found.extend(Some(name.clone()).filter(|n| !n.is_empty()));
                    }
                    ("fromPoolRef", reference) => found.extend(named(reference)),
                    _ => walk(field, found),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Ten addresses of which one is the gateway and one is kept, two Nodes with an address each, and `replicas` wanted.
    fn objects(replicas: u32) -> Vec<Value> {
        let meta = |name: &str| json!({"name": name, "namespace": "n"});
        let address = |index: u32, last: u32| {
            json!({"kind": "IPAddress", "metadata": meta(&format!("p-10-0-0-{last}")), "spec": {
                "address": format!("10.0.0.{last}"), "pool": {"name": "pool"}, "claim": {"name": format!("data-{index}-pool")}}})
        };
        vec![
            json!({"apiVersion": "ipam.metal3.io/v1alpha1", "kind": "IPPool", "metadata": meta("pool"), "spec": {
                "namePrefix": "p", "gateway": "10.0.0.1", "preAllocations": {"other-0-pool": "10.0.0.9"},
                "pools": [{"start": "10.0.0.1", "end": "10.0.0.10"}]}}),
            json!({"kind": "Metal3DataTemplate", "metadata": meta("data"), "spec": {"networkData": {"networks": {"ipv4": [
                {"ipAddressFromIPPool": "pool", "routes": [{"gateway": {"fromIPPool": "pool"}}]}]}}}}),
            json!({"kind": "Metal3MachineTemplate", "metadata": meta("mt"), "spec": {"template": {"spec": {"dataTemplate": {"name": "data"}}}}}),
            json!({"kind": "MachineDeployment", "metadata": meta("md"), "spec": {"replicas": replicas, "template": {"spec": {
                "infrastructureRef": {"kind": "Metal3MachineTemplate", "name": "mt"}}}}}),
            address(0, 2),
            address(1, 3),
        ]
    }

    #[test]
    fn a_pool_is_short_of_what_nodes_want_besides_what_they_have() {
        assert_eq!(short(&objects(8)), []);
        let short = short(&objects(10));
        assert_eq!((short[0].free, short[0].wanted), (6, 8));
        assert_eq!(
            short[0].words(),
            "IPPool pool has 6 addresses left and the Nodes of md want 8 more: 2 stay without one"
        );
    }

    #[test]
    fn every_way_to_name_a_pool_is_read() {
        let template = json!({"spec": {
            "metaData": {"ipAddressesFromIPPool": [{"key": "ip", "name": "a"}],
                "gatewaysFromIPPool": [{"key": "gw", "name": "other", "apiGroup": "ipam.cluster.x-k8s.io", "kind": "InClusterIPPool"}]},
            "networkData": {"networks": {"ipv4": [
                {"fromPoolRef": {"apiGroup": "ipam.metal3.io", "kind": "IPPool", "name": "b"}},
                {"ipAddressFromIPPool": "c", "routes": [{"services": {"dnsFromIPPool": "d"}}]}]}},
        }});
        assert_eq!(pools(&template).into_iter().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    }
}
