//! Reads fields out of a tree and keeps every complaint, so that a user mends a file in one go.

use super::InputError;
use super::tree::{Node, Value};
use crate::units::{Cpu, Mem};

/// Enums that are written as one word each.
macro_rules! words {
    ($type:ident, $($word:literal => $value:ident),*) => {
        impl FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<$type, String> {
                match text {
                    $($word => Ok($type::$value),)*
                    _ => Err(format!("{text:?} is none of {}", [$($word),*].join(", "))),
                }
            }
        }
    };
}
pub(super) use words;

/// Where complaints go.
#[derive(Debug, Default)]
pub struct Complaints {
    file: String,
    /// In the order found.
    pub errors: Vec<InputError>,
}

impl Complaints {
    /// For one file.
    pub fn of(file: &str) -> Complaints {
        Complaints { file: file.to_owned(), errors: Vec::new() }
    }

    /// What was read, or every complaint in the order of lines.
    pub fn verdict<T>(mut self, read: T) -> Result<T, Vec<InputError>> {
        self.errors.sort_by_key(|e| e.line);
        if self.errors.is_empty() { Ok(read) } else { Err(self.errors) }
    }

    /// Adds one.
    pub fn add(&mut self, line: u64, field: &str, message: impl Into<String>) {
        let (file, field) = (self.file.clone(), field.to_owned());
        self.errors.push(InputError { file, line, field, message: message.into() });
    }
}

/// A mapping being read; fields that nobody asked for are complained about at the end.
pub struct Fields<'t> {
    node: &'t Node,
    path: String,
    asked: Vec<&'static str>,
}

impl<'t> Fields<'t> {
    /// Starts on a node, which must be a mapping.
    pub fn of(node: &'t Node, path: &str, complaints: &mut Complaints) -> Fields<'t> {
        if !matches!(node.value, Value::Map(_) | Value::Null) {
            complaints.add(node.line, path, "must be a mapping");
        }
        Fields { node, path: path.to_owned(), asked: Vec::new() }
    }

    /// Where this mapping stands.
    pub fn line(&self) -> u64 {
        self.node.line
    }

    /// The full path of a field.
    pub fn path(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }

    /// A field that is there and not null.
    pub fn node(&mut self, field: &'static str) -> Option<&'t Node> {
        self.asked.push(field);
        self.node.get(field).filter(|n| n.value != Value::Null)
    }

    /// A field read by `read`; complaints carry its line.
    pub fn read<T>(
        &mut self,
        field: &'static str,
        complaints: &mut Complaints,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let node = self.node(field)?;
        let Value::Text(text) = &node.value else {
            complaints.add(node.line, &self.path(field), "must be a single value");
            return None;
        };
        read(text).map_err(|message| complaints.add(node.line, &self.path(field), message)).ok()
    }

    /// Text that is not empty.
    pub fn text(&mut self, field: &'static str, complaints: &mut Complaints) -> Option<String> {
        self.read(
            field,
            complaints,
            |t| if t.is_empty() { Err("is empty".to_owned()) } else { Ok(t.to_owned()) },
        )
    }

    /// A whole number within a range.
    pub fn int(
        &mut self,
        field: &'static str,
        from: i64,
        to: i64,
        complaints: &mut Complaints,
    ) -> Option<i64> {
        self.read(field, complaints, |t| match t.parse::<i64>() {
            Ok(n) if (from..=to).contains(&n) => Ok(n),
            Ok(n) => Err(format!("{n} is not within {from} to {to}")),
            Err(_) => Err(format!("{t:?} is no whole number")),
        })
    }

    /// A number within a range.
    pub fn number(
        &mut self,
        field: &'static str,
        from: f64,
        to: f64,
        complaints: &mut Complaints,
    ) -> Option<f64> {
        self.read(field, complaints, |t| match t.parse::<f64>() {
            Ok(n) if (from..=to).contains(&n) => Ok(n),
            Ok(n) => Err(format!("{n} is not within {from} to {to}")),
            Err(_) => Err(format!("{t:?} is no number")),
        })
    }

    /// True or false.
    pub fn flag(&mut self, field: &'static str, complaints: &mut Complaints) -> Option<bool> {
        self.read(field, complaints, |t| t.parse().map_err(|_| format!("{t:?} is neither true nor false")))
    }

    /// CPU.
    pub fn cpu(&mut self, field: &'static str, complaints: &mut Complaints) -> Option<Cpu> {
        self.read(field, complaints, Cpu::parse)
    }

    /// Memory or disk.
    pub fn mem(&mut self, field: &'static str, complaints: &mut Complaints) -> Option<Mem> {
        self.read(field, complaints, Mem::parse)
    }

    /// The entries of a list, with their paths. A single text counts as a list of comma-separated entries.
    pub fn list(&mut self, field: &'static str, complaints: &mut Complaints) -> Vec<(Node, String)> {
        let Some(node) = self.node(field) else { return Vec::new() };
        let path = self.path(field);
        match &node.value {
            Value::List(items) => {
                items.iter().cloned().enumerate().map(|(i, n)| (n, format!("{path}[{i}]"))).collect()
            }
            Value::Text(text) => text
                .split(',')
                .map(|part| Node { line: node.line, value: Value::Text(part.trim().to_owned()) })
                .map(|n| (n, path.clone()))
                .collect(),
            _ => {
                complaints.add(node.line, &path, "must be a list");
                Vec::new()
            }
        }
    }

    /// A list of texts, each read by `read`.
    pub fn texts<T>(
        &mut self,
        field: &'static str,
        complaints: &mut Complaints,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let mut found = Vec::new();
        for (node, path) in self.list(field, complaints) {
            match &node.value {
                Value::Text(text) => match read(text) {
                    Ok(value) => found.push(value),
                    Err(message) => complaints.add(node.line, &path, message),
                },
                _ => complaints.add(node.line, &path, "must be a single value"),
            }
        }
        found
    }

    /// Complains that a field is missing, when it is.
    pub fn need<T>(&self, value: Option<T>, field: &str, complaints: &mut Complaints) -> Option<T> {
        if value.is_none() && self.node.get(field).is_none_or(|n| n.value == Value::Null) {
            complaints.add(self.node.line, &self.path(field), "is missing");
        }
        value
    }

    /// Complains about fields nobody asked for.
    pub fn finish(self, complaints: &mut Complaints) {
        let Value::Map(entries) = &self.node.value else { return };
        for (key, line, _) in entries {
            if !self.asked.contains(&key.as_str()) {
                let near = self.asked.iter().min_by_key(|a| distance(a, key));
                let hint = match near.filter(|a| distance(a, key) <= 2) {
                    Some(near) => format!("unknown field; did you mean {near}?"),
                    None => format!("unknown field; known here: {}", self.asked.join(", ")),
                };
                complaints.add(*line, &self.path(key), hint);
            }
        }
    }
}

/// Edit distance, letter case aside.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replace = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
