//! Why something is not ready: the chain of objects from what a user made down to the one that blocks.
//!
//! In: objects with conditions, and events. Out: a chain, and the object and field that must change. Reads nothing but
//! what Cluster API's contract, Kamaji, KubeVirt and Metal3 write, so it works with upstream's controllers as well.

mod children;
mod hosts;
mod judge;

use serde::Serialize;
use serde_json::Value;

pub use judge::Verdict;

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Kind, in any case; `host` stands for BareMetalHost or Node.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// One object of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// `Kind namespace/name`.
    pub object: String,
    /// Condition type or field that says so.
    pub field: String,
    /// Machine-readable reason.
    pub reason: String,
    /// What it says.
    pub message: String,
    /// Since when, RFC 3339; empty when unknown.
    pub since: String,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// What was asked about.
    pub object: String,
    /// Nothing blocks.
    pub ready: bool,
    /// From the object asked about down to the one that blocks, which is the last.
    pub chain: Vec<Link>,
    /// Of a Metal3Machine that waits for a host, those of its namespace and what each lacks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Warnings about the last object, newest first.
    pub events: Vec<String>,
    /// What to change.
    pub fix: String,
}

/// Explains one object among others; `None` when it is not among them.
pub fn explain(objects: &[Value], target: &Target) -> Option<Explanation> {
    let start = objects.iter().find(|o| matches(o, target))?;
    let mut seen = vec![id(start)];
    let mut chain = Vec::new();
    let mut ready = descend(objects, start, &mut chain, &mut seen);
    if ready && unreported(start) {
        ready = false;
        chain.push(Link {
            field: "status".to_owned(),
            reason: "NotReported".to_owned(),
            message: "nobody has reported on it".to_owned(),
            ..judge::unspoken(start)
        });
    }
    let last = chain.last().map(|l| l.object.clone()).unwrap_or_else(|| id(start));
    let blocked = objects.iter().find(|o| id(o) == last).unwrap_or(start);
    let events = events(objects, blocked);
    let choice = hosts::choice(objects, blocked, chain.last().filter(|_| !ready));
    let (hosts, fix) = match choice {
        Some(choice) => (choice.hosts, choice.fix),
        None if ready => (Vec::new(), String::new()),
        None => (Vec::new(), judge::fix(blocked, chain.last(), &events)),
    };
    Some(Explanation { object: id(start), ready, chain, hosts, events, fix })
}

/// Follows the first child that is not ready; true when the object and all below are.
fn descend(objects: &[Value], object: &Value, chain: &mut Vec<Link>, seen: &mut Vec<String>) -> bool {
    let verdict = judge::judge(object);
    let own = match verdict {
        Verdict::Ready => None,
        Verdict::Blocked(link) => Some(link),
    };
    let depth = chain.len();
    chain.push(own.clone().unwrap_or_else(|| judge::unspoken(object)));
    for child in children::of(objects, object) {
        let name = match &child {
            children::Child::Found(o) => id(o),
            children::Child::Missing { object, .. } => object.clone(),
        };
        if seen.contains(&name) {
            continue;
        }
        seen.push(name);
        let blocked = match child {
            children::Child::Found(next) => !descend(objects, next, chain, seen),
            children::Child::Missing { object, field } => {
                // A missing object only blocks someone who is not ready.
                let blocks = own.is_some();
                if blocks {
                    chain.push(Link {
                        object,
                        field,
                        reason: "NotFound".to_owned(),
                        message: "is referred to and does not exist".to_owned(),
                        since: String::new(),
                    });
                }
                blocks
            }
        };
        if blocked {
            return false;
        }
    }
    if own.is_none() {
        chain.truncate(depth);
    }
    own.is_none()
}

/// Warnings about an object, newest first, doubles removed.
fn events(objects: &[Value], object: &Value) -> Vec<String> {
    let text = |e: &Value, path: &str| e.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut found: Vec<(String, String)> = objects
        .iter()
        .filter(|e| text(e, "/kind") == "Event" && text(e, "/type") == "Warning")
        .filter(|e| {
            let about = if e.get("regarding").is_some() { "/regarding" } else { "/involvedObject" };
            text(e, &format!("{about}/kind")) == text(object, "/kind")
                && text(e, &format!("{about}/name")) == text(object, "/metadata/name")
        })
        .map(|e| {
            let at =
                ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
            let at = at.iter().map(|p| text(e, p)).find(|t| !t.is_empty()).unwrap_or_default();
            let note = if e.get("note").is_some() { text(e, "/note") } else { text(e, "/message") };
            (at, format!("{}: {note}", text(e, "/reason")))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.dedup_by(|a, b| a.1 == b.1);
    found.into_iter().map(|(at, text)| format!("{at} {text}").trim().to_owned()).take(5).collect()
}

pub(crate) fn str_at<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

pub(crate) fn namespace(object: &Value) -> &str {
    str_at(object, "/metadata/namespace")
}

/// `Kind namespace/name`, or `Kind name`.
pub(crate) fn id(object: &Value) -> String {
    title(str_at(object, "/kind"), namespace(object), str_at(object, "/metadata/name"))
}

pub(crate) fn title(kind: &str, namespace: &str, name: &str) -> String {
    if namespace.is_empty() { format!("{kind} {name}") } else { format!("{kind} {namespace}/{name}") }
}

/// An object of Cluster API, or of what builds on it, whose controller has not written a status. Nothing is known of it.
fn unreported(object: &Value) -> bool {
    let served = str_at(object, "/apiVersion").contains("cluster.x-k8s.io")
        || matches!(str_at(object, "/kind"), "BareMetalHost" | "TenantControlPlane" | "VirtualMachine");
    let empty = object.get("status").and_then(Value::as_object).is_none_or(serde_json::Map::is_empty);
    served && empty && !str_at(object, "/kind").ends_with("Template")
}

fn matches(object: &Value, target: &Target) -> bool {
    is_kind(str_at(object, "/kind"), &target.kind) && same_name(object, target)
}

/// Whether a kind is what `asked` means, in any case; `host` stands for BareMetalHost or Node.
pub fn is_kind(kind: &str, asked: &str) -> bool {
    match asked.to_lowercase().as_str() {
        "host" | "bmh" => matches!(kind, "BareMetalHost" | "Node"),
        asked => kind.to_lowercase() == asked,
    }
}

/// Namespaces that have what is asked for, where its own has not.
pub fn elsewhere(objects: &[Value], target: &Target) -> Vec<String> {
    let same =
        |o: &&Value| is_kind(str_at(o, "/kind"), &target.kind) && str_at(o, "/metadata/name") == target.name;
    objects.iter().filter(same).map(|o| namespace(o).to_owned()).collect()
}

fn same_name(object: &Value, target: &Target) -> bool {
    let space = namespace(object);
    str_at(object, "/metadata/name") == target.name && (space.is_empty() || space == target.namespace)
}

/// An explanation for a terminal.
pub fn render(e: &Explanation) -> String {
    if e.ready {
        return format!("{} is ready: nothing blocks.\n", e.object);
    }
    let mut out = format!("{} is not ready.\n", e.object);
    for (depth, link) in e.chain.iter().enumerate() {
        let since = if link.since.is_empty() { String::new() } else { format!(" since {}", link.since) };
        let arrow = if depth == 0 { String::new() } else { format!("{}└ ", "  ".repeat(depth - 1)) };
        let said = [link.field.as_str(), link.reason.as_str(), link.message.as_str()];
        let said: Vec<&str> = said.into_iter().filter(|t| !t.is_empty()).collect();
        out.push_str(&format!("{arrow}{}: {}{since}\n", link.object, said.join(": ")));
    }
    for host in &e.hosts {
        out.push_str(&format!("host: {host}\n"));
    }
    for event in &e.events {
        out.push_str(&format!("event: {event}\n"));
    }
    out.push_str(&format!("fix: {}\n", e.fix));
    out
}
