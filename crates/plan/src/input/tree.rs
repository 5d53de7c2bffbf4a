//! A document as a tree whose nodes know their lines. YAML and CSV both become one, so that they are read by one reader.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::InputError;

/// A value and the line where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Counted from 1.
    pub line: u64,
    /// What stands there.
    pub value: Value,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// A scalar, as text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order written; keys with their lines.
    Map(Vec<(String, u64, Node)>),
}

impl Node {
    /// An entry of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(k, _, _)| k == key).map(|(_, _, n)| n),
            _ => None,
        }
    }

    /// The line of a field given by path, or the nearest line above it that exists.
    pub fn line_of(&self, path: &[&str]) -> u64 {
        let Some((first, rest)) = path.split_first() else { return self.line };
        let next = match &self.value {
            Value::List(items) => first.parse::<usize>().ok().and_then(|i| items.get(i)),
            _ => self.get(first),
        };
        next.map_or(self.line, |n| n.line_of(rest))
    }

    /// The same tree as JSON; scalars as YAML's core schema reads them.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Text(text) => Json::String(text.clone()),
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Map(entries) => {
                Json::Object(entries.iter().map(|(k, _, n)| (k.clone(), n.to_json())).collect())
            }
        }
    }
}

/// Reads every YAML document of a text.
pub fn yaml(file: &str, text: &str) -> Result<Vec<Node>, InputError> {
    serde_saphyr::from_multiple::<Spanned<Raw>>(text)
        .map(|docs| docs.into_iter().map(Raw::into_node).filter(|n| n.value != Value::Null).collect())
        .map_err(|error| {
            let line = error.location().map_or(0, |l| l.line());
            let message = format!("is not YAML: {}", plain(&error.without_snippet().to_string()));
            InputError { file: file.to_owned(), line, field: String::new(), message }
        })
}

/// What the reader says, without its place (which stands before it) and without advice for its callers.
fn plain(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    let line = line.split(" at line ").next().unwrap_or(line);
    line.split(", set DuplicateKeyPolicy").next().unwrap_or(line)
}

/// Reads CSV with a header line: a list of mappings, and what is wrong with the other rows. Quotes are doubled inside
/// quotes; empty cells are absent.
pub fn csv(file: &str, text: &str) -> (Node, Vec<InputError>) {
    let mut rows =
        text.lines().enumerate().map(|(i, l)| (i as u64 + 1, l)).filter(|(_, l)| !l.trim().is_empty());
    let error =
        |line, message: String| InputError { file: file.to_owned(), line, field: String::new(), message };
    let (mut items, mut errors) = (Vec::new(), Vec::new());
    let names = rows.next().map(|(_, header)| cells(header)).unwrap_or_default();
    if names.is_empty() {
        errors.push(error(1, "has no header line".to_owned()));
    }
    for (line, row) in rows {
        let values = cells(row);
        if values.len() != names.len() {
            let message = format!("has {} cells where the header has {}", values.len(), names.len());
            errors.push(error(line, message));
            continue;
        }
        let entries = names.iter().zip(values).filter(|(_, v)| !v.is_empty());
        let entries = entries.map(|(k, v)| (k.clone(), line, Node { line, value: Value::Text(v) })).collect();
        items.push(Node { line, value: Value::Map(entries) });
    }
    (Node { line: 1, value: Value::List(items) }, errors)
}

fn cells(row: &str) -> Vec<String> {
    let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = row.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(std::mem::take(&mut cell).trim().to_owned()),
            _ => cell.push(c),
        }
    }
    cells.push(cell.trim().to_owned());
    cells
}

/// What the YAML reader gives, before lines are taken over.
enum Raw {
    Null,
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl Raw {
    fn into_node(spanned: Spanned<Raw>) -> Node {
        let line = spanned.referenced.line();
        let value = match spanned.value {
            Raw::Null => Value::Null,
            Raw::Text(text) => Value::Text(text),
            Raw::List(items) => Value::List(items.into_iter().map(Raw::into_node).collect()),
            Raw::Map(entries) => Value::Map(
                entries.into_iter().map(|(k, v)| (k.value, k.referenced.line(), Raw::into_node(v))).collect(),
            ),
        };
        Node { line, value }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }
    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }
    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Raw, D::Error> {
        Raw::deserialize(d)
    }
    fn visit_bool<E>(self, v: bool) -> Result<Raw, E> {
        Ok(Raw::Text(v.to_string()))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Raw, E> {
        Ok(Raw::Text(v.to_string()))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Raw, E> {
        Ok(Raw::Text(v.to_string()))
    }
    fn visit_f64<E>(self, v: f64) -> Result<Raw, E> {
        Ok(Raw::Text(v.to_string()))
    }
    fn visit_str<E>(self, v: &str) -> Result<Raw, E> {
        Ok(Raw::Text(v.to_owned()))
    }
    fn visit_string<E>(self, v: String) -> Result<Raw, E> {
        Ok(Raw::Text(v))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_known_in_yaml_and_csv() {
        let docs = yaml("f", "a: 1\nb:\n- x: 4Gi\n- null\n---\nc: 2\n").unwrap();
        assert_eq!(docs.len(), 2);
        assert_eq!(docs[0].line_of(&["b", "0", "x"]), 3);
        assert_eq!(docs[1].line_of(&["c"]), 6);
        let (rows, _) = csv("f", "name,memory\na,\"1,5\"\n\nb,\n");
        assert_eq!(rows.line_of(&["1", "name"]), 4);
        assert_eq!(rows.to_json(), serde_json::json!([{"name": "a", "memory": "1,5"}, {"name": "b"}]));
        let lines: Vec<u64> = csv("f", "a,b\n1\n1,2\n3\n").1.iter().map(|e| e.line).collect();
        assert_eq!(lines, [2, 4], "every row that is wrong");
        assert!(yaml("f", "a: [1\nb: 2").is_err());
        let twice = yaml("f", "a: 1\na: 2\n").unwrap_err();
        assert_eq!(twice.to_string(), "f:2: is not YAML: duplicate mapping key: a");
    }
}
