//! Why a Metal3Machine has no host: what each host of its namespace lacks, and what would mend it.

use serde_json::Value;

use super::{Link, namespace, str_at};
use crate::metal::hosts::{Offer, offers, selector};
use scute_api::metal3::Hindrance;

/// Hosts that are named.
const NAMED: usize = 8;

/// Hosts with why each cannot be taken, and what to change.
pub struct Choice {
    /// The nearest first.
    pub hosts: Vec<String>,
    /// What to change.
    pub fix: String,
}

/// For a Metal3Machine that waits for a host; `None` for anything else.
pub fn choice(objects: &[Value], object: &Value, link: Option<&Link>) -> Option<Choice> {
    let (kind, name) = (str_at(object, "/kind"), str_at(object, "/metadata/name"));
    let link = link.filter(|_| kind == "Metal3Machine")?;
    let waits = format!("{} {} {}", link.field, link.reason, link.message).to_lowercase().contains("host");
    let has =
        |h: &Value| str_at(h, "/kind") == "BareMetalHost" && str_at(h, "/spec/consumerRef/name") == name;
    if !waits || objects.iter().any(has) {
        return None;
    }
    let offers = offers(objects, namespace(object), &selector(object.get("spec")?)?);
    let mut hosts: Vec<String> = offers.iter().take(NAMED).map(Offer::why).collect();
    if offers.len() > NAMED {
        hosts.push(format!("{} more, which fit no better", offers.len() - NAMED));
    }
    Some(Choice { hosts, fix: fix(&offers, namespace(object)) })
}

fn fix(offers: &[Offer], space: &str) -> String {
    let fitting = || offers.iter().filter(|o| o.misfits.is_empty());
    let failed = |o: &&Offer| matches!(o.hindrance, Some(Hindrance::Failed(_)));
    if let Some(free) = fitting().find(|o| o.free()) {
        format!(
            "BareMetalHost {} can be taken: start the controller of Metal3Machine, scute manager",
            free.name
        )
    } else if let Some(failed) = fitting().find(failed) {
        format!(
            "mend BareMetalHost {0}, or free or add one that fits: scute explain host {0} -n {space}",
            failed.name
        )
    } else if fitting().next().is_some() {
        "free or add a BareMetalHost that fits spec.hostSelector".to_owned()
    } else if let Some(nearest) = offers.first() {
        format!(
            "label a BareMetalHost (nearest is {}) so that it fits, or change spec.hostSelector of the template",
            nearest.name
        )
    } else {
        format!("add a BareMetalHost to namespace {space}: hosts of other namespaces are not taken")
    }
}
