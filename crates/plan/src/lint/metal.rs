//! Servers and addresses for metal Nodes: enough hosts that fit, enough addresses in each pool.

use scute_api::metal3::Hindrance;
use serde_json::Value;

use super::objects::{Object, Objects};
use super::{Finding, Level};
use crate::metal::{hosts, number, pools, text};

/// Kinds that are looked at.
const KINDS: [&str; 6] = [
    "BareMetalHost",
    "IPAddress",
    "IPPool",
    "MachineDeployment",
    "Metal3DataTemplate",
    "Metal3MachineTemplate",
];
/// Hosts that a message names.
const NAMED: usize = 3;

/// Checks hosts and pools.
pub fn check(objects: &Objects, found: &mut Vec<Finding>) {
    let seen: Vec<Value> =
        objects.all.iter().filter(|o| KINDS.contains(&o.kind.as_str())).map(json).collect();
    for short in pools::short(&seen) {
        let (space, name) = &short.pool;
        let Some(pool) = objects.get("IPPool", space, name) else { continue };
        found.push(Finding {
            rule: "pool-size",
            level: Level::Error,
            message: short.words(),
            fix: "add a range to spec.pools, or ask for fewer Nodes".to_owned(),
            places: vec![pool.place(&["spec", "pools"])],
        });
    }
    for pool in objects.of("MachineDeployment") {
        servers(objects, &seen, pool, found);
    }
}

/// An object as JSON, with the namespace that it has when it says none.
fn json(o: &Object) -> Value {
    let mut value = o.node.to_json();
    if let Some(meta) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.insert("namespace".to_owned(), o.namespace.clone().into());
    }
    value
}

/// Whether the pool finds as many servers as it wants. Where no host is among the objects, nothing is known of them.
fn servers(objects: &Objects, seen: &[Value], pool: &Object, found: &mut Vec<Finding>) {
    let reference = ["spec", "template", "spec", "infrastructureRef"];
    let of = |key: &str| pool.text(&[&reference[..], &[key]].concat()).unwrap_or_default();
    if of("kind") != "Metal3MachineTemplate" {
        return;
    }
    let Some(template) = objects.get("Metal3MachineTemplate", &pool.namespace, of("name")) else { return };
    let template_json = json(template);
    let Some(selector) = template_json.pointer("/spec/template/spec").and_then(hosts::selector) else {
        return;
    };
    let offers = hosts::offers(seen, &pool.namespace, &selector);
    let pool_json = json(pool);
    let wanted = number(&pool_json, "/spec/replicas").unwrap_or(1).max(0);
    // Those that run already have theirs.
    let running = number(&pool_json, "/status/replicas").unwrap_or(0).clamp(0, wanted);
    let free = offers.iter().filter(|o| o.free()).count() as i64;
    let used = offers.iter().filter(|o| o.misfits.is_empty() && is_used(o)).count() as i64;
    if offers.is_empty() || free + used.min(running) >= wanted {
        return;
    }
    let why: Vec<String> =
        offers.iter().filter(|o| !o.free() && !is_used(o)).take(NAMED).map(hosts::Offer::why).collect();
    let why = if why.is_empty() { String::new() } else { format!(": {}", why.join("; ")) };
    found.push(Finding {
        rule: "host-selector",
        level: Level::Warning,
        message: format!(
            "{} wants {wanted} servers, {} fit hostSelector of {} and are free{why}",
            pool.title(),
            free + used.min(running),
            text(&template_json, "/metadata/name")
        ),
        fix: "free, mend or label a BareMetalHost of this namespace, or add one".to_owned(),
        places: vec![
            pool.place(&["spec", "replicas"]),
            template.place(&["spec", "template", "spec", "hostSelector"]),
        ],
    });
}

fn is_used(offer: &hosts::Offer) -> bool {
    matches!(offer.hindrance, Some(Hindrance::InUse { .. }))
}
