//! Kubernetes objects with their lines.

use crate::input::tree::{Node, Value};

use super::Place;

/// One object.
#[derive(Clone, Debug)]
pub struct Object {
    /// File or cluster.
    pub file: String,
    /// The document.
    pub node: Node,
    /// API group without version.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; `default` when not given.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// All objects, in the order read.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// Objects.
    pub all: Vec<Object>,
    /// They are all there are: a reference that does not resolve is an error.
    pub complete: bool,
}

impl Objects {
    /// Adds a document; lists are opened, other things than objects ignored.
    pub fn add(&mut self, file: &str, node: Node) {
        let text = |key: &str| node.get(key).and_then(text_of).unwrap_or_default().to_owned();
        let (version, kind) = (text("apiVersion"), text("kind"));
        if kind.ends_with("List")
            && let Some(Value::List(items)) = node.get("items").map(|n| &n.value)
        {
            items.iter().for_each(|i| self.add(file, i.clone()));
            return;
        }
        let meta = |key: &str| {
            node.get("metadata").and_then(|m| m.get(key)).and_then(text_of).unwrap_or_default().to_owned()
        };
        let (namespace, name) = (meta("namespace"), meta("name"));
        if kind.is_empty() || name.is_empty() {
            return;
        }
        let group = version.split_once('/').map_or(String::new(), |(g, _)| g.to_owned());
        let namespace = if namespace.is_empty() { "default".to_owned() } else { namespace };
        self.all.push(Object { file: file.to_owned(), node, group, kind, namespace, name });
    }

    /// Adds an object of a cluster.
    pub fn add_json(&mut self, source: &str, object: &serde_json::Value) {
        self.add(source, from_json(object));
    }

    /// Objects of a kind.
    pub fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Object> {
        self.all.iter().filter(move |o| o.kind == kind)
    }

    /// One object.
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<&Object> {
        self.all.iter().find(|o| o.kind == kind && o.namespace == namespace && o.name == name)
    }
}

impl Object {
    /// A field by path (`spec.network.pods.cidrBlocks.0`); `/` in a key is no separator, `.` is.
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        let mut node = &self.node;
        for key in path {
            node = match &node.value {
                Value::List(items) => items.get(key.parse::<usize>().ok()?)?,
                _ => node.get(key)?,
            };
        }
        Some(node)
    }

    /// A text by path.
    pub fn text(&self, path: &[&str]) -> Option<&str> {
        self.at(path).and_then(text_of)
    }

    /// A whole number by path.
    pub fn int(&self, path: &[&str]) -> Option<i64> {
        self.text(path).and_then(|t| t.parse().ok())
    }

    /// The entries of a list by path.
    pub fn list(&self, path: &[&str]) -> &[Node] {
        match self.at(path).map(|n| &n.value) {
            Some(Value::List(items)) => items,
            _ => &[],
        }
    }

    /// Texts of a list by path.
    pub fn texts(&self, path: &[&str]) -> Vec<(String, u64)> {
        self.list(path).iter().filter_map(|n| text_of(n).map(|t| (t.to_owned(), n.line))).collect()
    }

    /// A place in this object.
    pub fn place(&self, path: &[&str]) -> Place {
        Place {
            file: self.file.clone(),
            line: self.node.line_of(path),
            object: self.title(),
            field: path.join("."),
        }
    }

    /// `Kind namespace/name`.
    pub fn title(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// The text of a scalar.
pub fn text_of(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

fn from_json(value: &serde_json::Value) -> Node {
    use serde_json::Value as Json;
    let value = match value {
        Json::Null => Value::Null,
        Json::Bool(b) => Value::Text(b.to_string()),
        Json::Number(n) => Value::Text(n.to_string()),
        Json::String(s) => Value::Text(s.clone()),
        Json::Array(items) => Value::List(items.iter().map(from_json).collect()),
        Json::Object(map) => Value::Map(map.iter().map(|(k, v)| (k.clone(), 0, from_json(v))).collect()),
    };
    Node { line: 0, value }
}
