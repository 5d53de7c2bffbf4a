//! Which BareMetalHost a Metal3Machine gets. In: the hosts of its namespace, and what it wishes. Out: one of them, or why
//! none of them can be taken. Pure.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use kube::ResourceExt;
use scute_api::infrastructure::{FAILURE_DOMAIN_LABEL, NODE_REUSE_LABEL, Selector};
use scute_api::metal3::{BareMetalHost, Hindrance};

/// What a Metal3Machine wishes of a host.
pub struct Wish<'a> {
    /// Which labels it must have.
    pub selector: &'a Selector,
    /// Where it had better be.
    pub failure_domain: Option<&'a str>,
    /// Who gets back the hosts that carry its name: a MachineDeployment or a control plane.
    pub keeper: Option<&'a str>,
    /// Keepers that there are: a host is not kept for one that is gone.
    pub keepers: &'a [String],
    /// What spreads the machines over equal hosts: two that look at the same time shall not both want the first.
    pub seed: &'a str,
}

/// How many hosts a message names.
const NAMED: usize = 5;

/// A host that can be taken.
///
/// # Errors
/// Why none can, for a person.
pub fn choose(hosts: &[Arc<BareMetalHost>], wish: &Wish) -> Result<Arc<BareMetalHost>, String> {
    let (fitting, others): (Vec<_>, Vec<_>) =
        hosts.iter().partition(|host| wish.selector.fits(host.labels()));
    let free: Vec<_> = fitting.iter().copied().filter(|host| hindrance(host, wish).is_none()).collect();
    // A host that comes back is waited for: its disks have what this one's successor needs.
    let (kept, unkept): (Vec<_>, Vec<_>) =
        free.into_iter().partition(|host| kept_for(host) == wish.keeper && wish.keeper.is_some());
    let coming =
        fitting.iter().any(|host| wish.keeper.is_some() && kept_for(host) == wish.keeper && !is_lost(host));
    let candidates = if coming { kept } else { unkept };
    let near: Vec<_> = candidates
        .iter()
        .copied()
        .filter(|host| {
            let domain = host.labels().get(FAILURE_DOMAIN_LABEL).map(String::as_str);
            wish.failure_domain.is_some() && domain == wish.failure_domain
        })
        .collect();
    let candidates = if near.is_empty() { candidates } else { near };
    let picked = candidates.into_iter().max_by_key(|host| weight(wish.seed, host));
    picked.cloned().ok_or_else(|| refusal(&fitting, others.len(), wish))
}

fn weight(seed: &str, host: &BareMetalHost) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, host.metadata.uid.as_deref()).hash(&mut hasher);
    hasher.finish()
}

fn kept_for(host: &BareMetalHost) -> Option<&str> {
    host.labels().get(NODE_REUSE_LABEL).map(String::as_str)
}

/// Whether somebody has to look after a host before anybody gets it: it is not waited for, as upstream.
fn is_lost(host: &BareMetalHost) -> bool {
    host.hindrance().is_some_and(|hindrance| !matches!(hindrance, Hindrance::State(_)))
}

/// Why a host cannot be taken.
fn hindrance(host: &BareMetalHost, wish: &Wish) -> Option<String> {
    let hindrance = host.hindrance();
    let keeper = kept_for(host).filter(|keeper| wish.keepers.iter().any(|known| known == keeper));
    match keeper.filter(|keeper| wish.keeper != Some(keeper)) {
        Some(keeper) if !matches!(hindrance, Some(Hindrance::InUse { .. })) => {
            Some(format!("is kept for the machines of {keeper}"))
        }
        _ => hindrance.map(|hindrance| hindrance.to_string()),
    }
}

fn refusal(fitting: &[&Arc<BareMetalHost>], others: usize, wish: &Wish) -> String {
    let mut parts: Vec<String> = fitting
        .iter()
        .take(NAMED)
        .map(|host| {
            let why = hindrance(host, wish).unwrap_or_else(|| "is not the one that comes back".to_owned());
            format!("{} {why}", host.name_any())
        })
        .collect();
    if fitting.len() > NAMED {
        parts.push(format!("{} more cannot either", fitting.len() - NAMED));
    }
    if others > 0 {
        parts.push(format!("{others} do not fit spec.hostSelector"));
    }
    if parts.is_empty() {
        return "there is no BareMetalHost in this namespace".to_owned();
    }
    format!("no BareMetalHost of this namespace can be taken: {}", parts.join("; "))
}

#[cfg(test)]
mod tests {
    use scute_api::infrastructure::HostSelector;
    use serde_json::{Value, json};

    use super::*;

    fn host(name: &str, changes: Value) -> Arc<BareMetalHost> {
        let mut host = json!({
            "apiVersion": "metal3.io/v1alpha1", "kind": "BareMetalHost",
            "metadata": {"name": name, "uid": format!("uid-{name}"), "labels": {"pool": "a"}},
            "spec": {"online": false},
            "status": {"provisioning": {"state": "available"}},
        });
        merge(&mut host, changes);
        Arc::new(serde_json::from_value(host).unwrap())
    }

    fn merge(into: &mut Value, from: Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                from.into_iter()
                    .for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
            }
            (into, from) => *into = from,
        }
    }

    fn selector() -> Selector {
        let selector: HostSelector = serde_json::from_value(json!({"matchLabels": {"pool": "a"}})).unwrap();
        selector.selector().unwrap()
    }

    fn wished(
        hosts: &[Arc<BareMetalHost>],
        keeper: Option<&str>,
        domain: Option<&str>,
    ) -> Result<String, String> {
        let keepers = ["md".to_owned(), "other".to_owned()];
        let wish = Wish {
            selector: &selector(),
            failure_domain: domain,
            keeper,
            keepers: &keepers,
            seed: "uid-of-machine",
        };
        choose(hosts, &wish).map(|host| host.name_any())
    }

    #[test]
    fn only_a_host_that_is_free_and_well_is_taken_and_the_others_say_why_not() {
        for (changes, why) in [
            (
                json!({"spec": {"consumerRef": {"kind": "Metal3Machine", "name": "m"}}}),
                "h is in use by Metal3Machine m",
            ),
            (json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}), "h is being deleted"),
            (json!({"metadata": {"annotations": {"baremetalhost.metal3.io/paused": ""}}}), "h is paused"),
            (json!({"metadata": {"annotations": {"baremetalhost.metal3.io/detached": ""}}}), "h is detached"),
            (
                json!({"metadata": {"annotations": {"capm3.metal3.io/unhealthy": ""}}}),
                "h is marked as unhealthy",
            ),
            (json!({"status": {"errorMessage": "no BMC"}}), "h has an error: no BMC"),
            (json!({"status": {"provisioning": {"state": "inspecting"}}}), "h is inspecting"),
            (
                json!({"status": {"provisioning": {"state": "externally provisioned"}}}),
                "h is externally provisioned",
            ),
            (json!({"metadata": {"labels": {"pool": "b"}}}), "1 do not fit spec.hostSelector"),
            (
                json!({"metadata": {"labels": {NODE_REUSE_LABEL: "other"}}}),
                "h is kept for the machines of other",
            ),
        ] {
            let refused = wished(&[host("h", changes)], None, None).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
        assert_eq!(wished(&[host("h", json!({}))], None, None).as_deref(), Ok("h"));
        assert_eq!(wished(&[], None, None).unwrap_err(), "there is no BareMetalHost in this namespace");
    }

    #[test]
    fn the_failure_domain_is_preferred_and_no_condition() {
        let in_row =
            |name: &str, row: &str| host(name, json!({"metadata": {"labels": {FAILURE_DOMAIN_LABEL: row}}}));
        let hosts = [in_row("a", "1"), in_row("b", "2"), in_row("c", "3")];
        for (row, name) in [("1", "a"), ("2", "b"), ("3", "c")] {
            assert_eq!(wished(&hosts, None, Some(row)).as_deref(), Ok(name));
        }
        assert!(wished(&hosts, None, Some("4")).is_ok());
    }

    #[test]
    fn a_host_that_is_kept_goes_to_its_keeper_who_waits_for_it() {
        let kept = |state: &str| {
            host(
                "kept",
                json!({"metadata": {"labels": {NODE_REUSE_LABEL: "md"}},
                "status": {"provisioning": {"state": state}}}),
            )
        };
        let free = host("free", json!({}));
        assert_eq!(wished(&[free.clone(), kept("available")], Some("md"), None).as_deref(), Ok("kept"));
        let waits = wished(&[free.clone(), kept("deprovisioning")], Some("md"), None).unwrap_err();
        assert!(
            waits.contains("kept is deprovisioning; free") || waits.contains("kept is deprovisioning"),
            "{waits}"
        );
        assert_eq!(wished(&[free.clone(), kept("available")], Some("other"), None).as_deref(), Ok("free"));
        for lost in [
            json!({"status": {"errorMessage": "no BMC"}}),
            json!({"metadata": {"annotations": {"capm3.metal3.io/unhealthy": ""}}}),
        ] {
            let mut changes = json!({"metadata": {"labels": {NODE_REUSE_LABEL: "md"}}});
            merge(&mut changes, lost);
            assert_eq!(
                wished(&[free.clone(), host("kept", changes)], Some("md"), None).as_deref(),
                Ok("free")
            );
        }
        let by_upstream = json!({"metadata": {"labels": {NODE_REUSE_LABEL: "md"}},
            "spec": {"consumerRef": {"kind": "Cluster", "name": "c"}}});
        let both = [free.clone(), host("kept", by_upstream)];
        assert_eq!(wished(&both, Some("md"), None).as_deref(), Ok("kept"));
        assert_eq!(wished(&both, Some("other"), None).as_deref(), Ok("free"));
        let forgotten = host("h", json!({"metadata": {"labels": {NODE_REUSE_LABEL: "gone"}}}));
        assert_eq!(wished(&[forgotten], None, None).as_deref(), Ok("h"));
    }

    #[test]
    fn machines_are_spread_over_equal_hosts() {
        let hosts: Vec<_> = (0..8).map(|index| host(&format!("h{index}"), json!({}))).collect();
        let selector = selector();
        let of = |seed: &str| {
            let wish = Wish { selector: &selector, failure_domain: None, keeper: None, keepers: &[], seed };
            choose(&hosts, &wish).unwrap().name_any()
        };
        let taken: std::collections::BTreeSet<_> = (0..32).map(|index| of(&format!("m{index}"))).collect();
        assert!(taken.len() > 4, "{taken:?}");
        assert_eq!(of("m1"), of("m1"));
    }
}
