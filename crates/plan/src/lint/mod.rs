//! The linter: what is wrong with a plan before anything is applied.
//!
//! In: objects from files or a cluster. Out: findings with rule, places, why it hurts and how to mend.

pub mod blueprint;
mod capacity;
mod losses;
mod metal;
mod networks;
mod objects;
mod ranges;
mod references;
pub mod sarif;
mod versions;

use serde::Serialize;

use crate::input::InputError;
pub use objects::{Object, Objects};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It will not work, or will break later.
    Error,
    /// It works until something happens.
    Warning,
    /// Worth knowing.
    Note,
}

/// A field of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// File, or the address of the cluster.
    pub file: String,
    /// Line in it; 0 for objects of a cluster.
    pub line: u64,
    /// `Kind namespace/name`.
    pub object: String,
    /// Path of the field.
    pub field: String,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Name of the rule.
    pub rule: &'static str,
    /// How bad.
    pub level: Level,
    /// What and why it hurts.
    pub message: String,
    /// How to mend it.
    pub fix: String,
    /// Where; the first is the one to change.
    pub places: Vec<Place>,
}

/// Rules with what each is about, for `scute lint --rules` and SARIF.
pub const RULES: [(&str, &str); 21] = [
    ("address-overlap", "Two sources may hand out the same address"),
    ("address-outside-pool", "A requested LoadBalancer address lies in no pool"),
    ("address-range", "An address, range or CIDR that does not read"),
    ("network-overlap", "Pod, Service and machine networks that overlap where they meet"),
    ("bmc-owner", "Two hosts behind one System of one BMC"),
    ("network-size", "A Pod network too small for its Nodes"),
    ("overlay-port", "Nested overlays on one UDP port"),
    ("overlay-mtu", "A nested overlay whose MTU does not fit into its host's"),
    ("pool-size", "An IPPool with fewer addresses than its Nodes want"),
    ("host-selector", "Nodes that want more servers than fit their hostSelector and can be taken"),
    ("version-skew", "A kubelet that its API server does not support"),
    ("version-format", "A version that does not read"),
    ("reference", "A reference that does not resolve"),
    ("duplicate", "One object defined twice"),
    ("infra-name", "An infrastructure cluster that upstream providers would not find"),
    ("endpoint-mismatch", "Two objects disagree about a cluster's endpoint"),
    ("etcd-quorum", "An even number of etcd members"),
    ("vm-size", "A VM that fits no host, or is too small for a Node"),
    ("capacity", "More requested than the hosts have"),
    ("survival", "A loss that cannot be survived"),
    ("blueprint", "A blueprint that contradicts itself"),
];

/// Checks objects against every rule; findings in the order of rules and places.
pub fn lint(objects: &Objects) -> Vec<Finding> {
    let mut found = Vec::new();
    references::check(objects, &mut found);
    ranges::check(objects, &mut found);
    networks::check(objects, &mut found);
    metal::check(objects, &mut found);
    versions::check(objects, &mut found);
    capacity::check(objects, &mut found);
    let order = |f: &Finding| RULES.iter().position(|(r, _)| *r == f.rule);
    found.sort_by(|a, b| {
        (a.level, order(a), &a.places, &a.message).cmp(&(b.level, order(b), &b.places, &b.message))
    });
    found.dedup();
    found
}

/// Reads every document of a file into `objects`.
pub fn read(file: &str, text: &str, objects: &mut Objects) -> Result<(), InputError> {
    for node in crate::input::tree::yaml(file, text)? {
        objects.add(file, node);
    }
    Ok(())
}

/// Findings for a terminal.
pub fn render(findings: &[Finding]) -> String {
    let mut out = String::new();
    for f in findings {
        let level = match f.level {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Note => "note",
        };
        out.push_str(&format!("{level}[{}]: {}\n", f.rule, f.message));
        for p in &f.places {
            let line = if p.line > 0 { format!("{}:{}", p.file, p.line) } else { p.file.clone() };
            out.push_str(&format!("  --> {line}  {}  {}\n", p.object, p.field));
        }
        out.push_str(&format!("  fix: {}\n", f.fix));
    }
    let count = |level| findings.iter().filter(|f| f.level == level).count();
    out.push_str(&format!(
        "{} errors, {} warnings, {} notes\n",
        count(Level::Error),
        count(Level::Warning),
        count(Level::Note)
    ));
    out
}
