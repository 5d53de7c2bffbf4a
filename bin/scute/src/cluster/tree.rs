//! A cluster as a tree: Cluster, control plane, MachineDeployments, Machines, VMs; and what blocks it.

use std::fmt::Write;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::fetch::Objects;
use crate::output;

/// The tree, and the one thing to look at first.
#[derive(Debug, Serialize)]
pub struct Tree {
    /// The Cluster, with everything below it.
    pub root: Node,
    /// The deepest object that is not as it should be, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked_by: Option<Blocker>,
}

/// One object in the tree.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// What it is there for, when the kind does not say it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub role: String,
    /// Phase or summary.
    pub state: String,
    /// Whether all is well with it; `None` when it does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy: Option<bool>,
    /// Reason of its state.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Message of its state.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Since when it is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// What belongs to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Node>,
}

/// What blocks.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Blocker {
    /// `Kind/name`.
    pub object: String,
    /// Its reason.
    pub reason: String,
    /// Its message.
    pub message: String,
}

/// Conditions that sum an object up, the first one present counts.
const SUMMARIES: [&str; 5] =
    ["Available", "Ready", "KamajiControlPlaneIsReady", "TenantControlPlaneReady", "Running"];

impl Tree {
    /// The tree of what was read.
    pub fn of(objects: &Objects) -> Self {
        let mut root = Node::of("Cluster", &objects.cluster);
        for (reference, role) in
            [("infrastructureRef", "infrastructure"), ("controlPlaneRef", "control plane")]
        {
            root.children.extend(referenced(objects, reference, role));
        }
        root.children.extend(of_kind(objects, "MachineDeployment").map(|(name, value)| {
            let mut node = Node::of("MachineDeployment", value);
            node.children = machines(objects, "cluster.x-k8s.io/deployment-name", name);
            node
        }));
        root.children.extend(of_kind(objects, "Machine").filter_map(|(_, value)| {
            let alone = label(value, "cluster.x-k8s.io/deployment-name").is_none();
            alone.then(|| machine(objects, value))
        }));
        let blocked_by = blocker(&root);
        Self { root, blocked_by }
    }

    /// The tree as text.
    pub fn render(&self, now: Timestamp) -> String {
        let mut rows = Vec::new();
        rows_of(&self.root, "", "", now, &mut rows);
        let mut text = output::table(&["NAME", "STATE", "REASON", "SINCE", "MESSAGE"], rows);
        if let Some(Blocker { object, reason, message }) = &self.blocked_by {
            let message = if message.is_empty() { String::new() } else { format!(": {message}") };
            // Writing to a String does not fail.
            let _ = write!(text, "\nblocked by {object} ({reason}){message}\n");
        }
        text
    }
}

impl Node {
    fn of(kind: &str, value: &Value) -> Self {
        let status = &value["status"];
        let conditions = status["conditions"].as_array().map_or(&[][..], Vec::as_slice);
        let summary = SUMMARIES
            .iter()
            .find_map(|type_| conditions.iter().find(|condition| condition["type"] == *type_));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let time = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
        let deleting = value["metadata"]["deletionTimestamp"].is_string();
        let healthy = summary.map(|summary| summary["status"] == "True" && !deleting);
        let phase = [
            &status["phase"],
            &status["printableStatus"],
            &status["kubernetesResources"]["version"]["status"],
        ];
        let state = phase.iter().find_map(|phase| phase.as_str()).map(ToOwned::to_owned);
        let quiet = healthy == Some(true);
        let explained = if deleting {
            conditions.iter().find(|condition| condition["type"] == "Deleting").or(summary)
        } else {
            summary
        };
        Self {
            kind: kind.to_owned(),
            name: text(&value["metadata"]["name"]),
            role: String::new(),
            state: if deleting {
                "Deleting".to_owned()
            } else {
                state.unwrap_or_else(|| match healthy {
                    Some(true) => "Ready".to_owned(),
                    Some(false) => "NotReady".to_owned(),
                    None => "Unknown".to_owned(),
                })
            },
            healthy,
            reason: explained
                .filter(|_| !quiet)
                .map(|condition| text(&condition["reason"]))
                .unwrap_or_default(),
            message: explained
                .filter(|_| !quiet)
                .map(|condition| text(&condition["message"]))
                .unwrap_or_default(),
            since: explained
                .and_then(|condition| time(&condition["lastTransitionTime"]))
                .or_else(|| time(&value["metadata"]["creationTimestamp"])),
            children: Vec::new(),
        }
    }

    fn missing(kind: &str, name: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
            role: String::new(),
            state: "Missing".to_owned(),
            healthy: Some(false),
            reason: "NotFound".to_owned(),
            message: format!("{kind} {name} does not exist"),
            since: None,
            children: Vec::new(),
        }
    }
}

fn referenced(objects: &Objects, reference: &str, role: &str) -> Option<Node> {
    let reference = &objects.cluster["spec"][reference];
    let (kind, name) = (reference["kind"].as_str()?, reference["name"].as_str()?);
    let mut node = match objects.others.get(&(kind.to_owned(), name.to_owned())) {
        Some(value) => Node::of(kind, value),
        None => Node::missing(kind, name),
    };
    node.role = role.to_owned();
    let tenant = ("TenantControlPlane".to_owned(), name.to_owned());
    if kind == "KamajiControlPlane"
        && let Some(value) = objects.others.get(&tenant)
    {
        node.children.push(Node::of("TenantControlPlane", value));
    }
    Some(node)
}

fn of_kind<'a>(objects: &'a Objects, kind: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let kind = kind.to_owned();
    objects
        .others
        .iter()
        .filter(move |((known, _), _)| *known == kind)
        .map(|((_, name), value)| (name.as_str(), value))
}

fn label<'a>(value: &'a Value, label: &str) -> Option<&'a str> {
    value["metadata"]["labels"][label].as_str()
}

fn machines(objects: &Objects, by: &str, name: &str) -> Vec<Node> {
    of_kind(objects, "Machine")
        .filter(|(_, value)| label(value, by) == Some(name))
        .map(|(_, value)| machine(objects, value))
        .collect()
}

/// A Machine with its bootstrap configuration while that is not done, and its infrastructure.
fn machine(objects: &Objects, value: &Value) -> Node {
    let mut node = Node::of("Machine", value);
    let find = |kind: &str, name: &str| objects.others.get(&(kind.to_owned(), name.to_owned()));
    let bootstrap = &value["spec"]["bootstrap"]["configRef"];
    if let (Some(kind), Some(name)) = (bootstrap["kind"].as_str(), bootstrap["name"].as_str()) {
        let config =
            find(kind, name).map_or_else(|| Node::missing(kind, name), |value| Node::of(kind, value));
        if config.healthy != Some(true) {
            node.children.push(config);
        }
    }
    let infrastructure = &value["spec"]["infrastructureRef"];
    if let (Some(kind), Some(name)) = (infrastructure["kind"].as_str(), infrastructure["name"].as_str()) {
        let mut infra =
            find(kind, name).map_or_else(|| Node::missing(kind, name), |value| Node::of(kind, value));
        if let Some(value) = find("VirtualMachine", name) {
            let mut vm = Node::of("VirtualMachine", value);
            vm.children.extend(
                find("VirtualMachineInstance", name).map(|value| Node::of("VirtualMachineInstance", value)),
            );
            infra.children.push(vm);
        }
        node.children.push(infra);
    }
    node
}

/// The deepest unhealthy object: what is above it waits for it.
fn blocker(node: &Node) -> Option<Blocker> {
    if let Some(below) = node.children.iter().find_map(blocker) {
        return Some(below);
    }
    (node.healthy == Some(false)).then(|| Blocker {
        object: format!("{}/{}", node.kind, node.name),
        reason: node.reason.clone(),
        message: node.message.clone(),
    })
}

fn rows_of(node: &Node, stem: &str, branch: &str, now: Timestamp, rows: &mut Vec<Vec<String>>) {
    let role = if node.role.is_empty() { String::new() } else { format!(" ({})", node.role) };
    let mark = match node.healthy {
        Some(true) => "✓ ",
        Some(false) => "✗ ",
        None => "",
    };
    // One line an object: the whole message is in the JSON and in the blocker.
    let first_line = node.message.lines().next().unwrap_or_default();
    let short: String = first_line.chars().take(80).collect();
    let dots = if first_line.chars().count() > 80 { "…" } else { "" };
    rows.push(vec![
        format!("{stem}{branch}{}/{}{role}", node.kind, node.name),
        format!("{mark}{}", node.state),
        node.reason.clone(),
        node.since.map(|since| output::age(since, now)).unwrap_or_default(),
        format!("{short}{dots}"),
    ]);
    let below = match branch {
        "" => String::new(),
        "└─" => format!("{stem}  "),
        _ => format!("{stem}│ "),
    };
    for (index, child) in node.children.iter().enumerate() {
        let branch = if index + 1 == node.children.len() { "└─" } else { "├─" };
        rows_of(child, &below, branch, now, rows);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn objects() -> Objects {
        let condition = |type_: &str, status: &str, reason: &str, message: &str| {
            json!([{"type": type_, "status": status, "reason": reason, "message": message,
                    "lastTransitionTime": "2026-01-01T00:00:00Z"}])
        };
        let cluster = json!({
            "metadata": {"name": "first"},
            "spec": {
                "controlPlaneRef": {"kind": "KamajiControlPlane", "name": "first"},
                "infrastructureRef": {"kind": "KubevirtCluster", "name": "gone"},
            },
            "status": {"phase": "Provisioning", "conditions": condition("Available", "False", "NotAvailable", "* waits")},
        });
        let machine = json!({
            "metadata": {"name": "m-1", "labels": {"cluster.x-k8s.io/deployment-name": "md"}},
            "spec": {"infrastructureRef": {"kind": "KubevirtMachine", "name": "m-1"}},
            "status": {"phase": "Provisioning", "conditions": condition("Ready", "False", "NotReady", "* waits")},
        });
        let vm = json!({
            "metadata": {"name": "m-1"},
            "status": {"printableStatus": "ErrImagePull",
                       "conditions": condition("Ready", "False", "ErrImagePull", "image x:1 cannot be pulled")},
        });
        let plain = |name: &str, conditions: Value| json!({"metadata": {"name": name}, "status": {"conditions": conditions}});
        let others = [
            ("KamajiControlPlane", "first", plain("first", condition("Available", "True", "Available", ""))),
            (
                "MachineDeployment",
                "md",
                plain("md", condition("Available", "False", "NotAvailable", "0 of 1")),
            ),
            ("Machine", "m-1", machine),
            (
                "KubevirtMachine",
                "m-1",
                plain("m-1", condition("Ready", "False", "VMNotReady", "VM is not ready")),
            ),
            ("VirtualMachine", "m-1", vm),
        ];
        let others: BTreeMap<_, _> = others
            .into_iter()
            .map(|(kind, name, value)| ((kind.to_owned(), name.to_owned()), value))
            .collect();
        Objects { cluster, others }
    }

    #[test]
    fn the_tree_reads_from_the_cluster_down_to_the_vm() {
        let text = Tree::of(&objects()).render("2026-01-01T00:01:30Z".parse().unwrap());
        let expected = "\
NAME                                         STATE            REASON         SINCE   MESSAGE
Cluster/first                                ✗ Provisioning   NotAvailable   90s     * waits
├─KubevirtCluster/gone (infrastructure)      ✗ Missing        NotFound               KubevirtCluster gone does not exist
├─KamajiControlPlane/first (control plane)   ✓ Ready                         90s
└─MachineDeployment/md                       ✗ NotReady       NotAvailable   90s     0 of 1
  └─Machine/m-1                              ✗ Provisioning   NotReady       90s     * waits
    └─KubevirtMachine/m-1                    ✗ NotReady       VMNotReady     90s     VM is not ready
      └─VirtualMachine/m-1                   ✗ ErrImagePull   ErrImagePull   90s     image x:1 cannot be pulled

blocked by KubevirtCluster/gone (NotFound): KubevirtCluster gone does not exist
";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_deepest_unhealthy_object_blocks() {
        let mut objects = objects();
        objects.cluster["spec"]["infrastructureRef"] = Value::Null;
        let blocked_by = Tree::of(&objects).blocked_by.unwrap();
        assert_eq!(blocked_by.object, "VirtualMachine/m-1");
        assert_eq!(blocked_by.message, "image x:1 cannot be pulled");
    }
}
