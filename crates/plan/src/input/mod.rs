//! From files to a fleet and a demand. In: texts with their names. Out: data, or every complaint with file, line and field.

mod demand;
mod fleet;
mod image;
mod policy;
mod reader;
mod tenant;
pub mod tree;

use std::fmt;

use serde::Serialize;

use reader::Complaints;

pub use demand::{Demand, parse_demand};
pub(crate) use fleet::natural;
pub use fleet::{Fleet, Host, Role, parse_fleet};
pub use policy::{HugePages, Objective, Policy, Survive};
pub use tenant::{ControlPlane, Isolation, NodeKind, NodeWish, Tenant};

/// What is wrong in a file, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct InputError {
    /// File name as given.
    pub file: String,
    /// Line, counted from 1; 0 when unknown.
    pub line: u64,
    /// Path of the field; empty for the document.
    pub field: String,
    /// What is wrong.
    pub message: String,
}

impl InputError {
    /// A file that cannot be read at all.
    pub fn unreadable(file: &str, why: &impl fmt::Display) -> InputError {
        InputError { file: file.to_owned(), line: 0, field: String::new(), message: why.to_string() }
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: ", self.file)?,
            line => write!(f, "{}:{line}: ", self.file)?,
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

/// The one document of a file, by the ending of its name: CSV rows stand for a list under `rows`.
fn document(file: &str, text: &str, rows: &str, complaints: &mut Complaints) -> Option<tree::Node> {
    if file.to_lowercase().ends_with(".csv") {
        let (list, errors) = tree::csv(file, text);
        complaints.errors.extend(errors);
        let value = tree::Value::Map(vec![(rows.to_owned(), 1, list)]);
        return Some(tree::Node { line: 1, value });
    }
    match tree::yaml(file, text) {
        Ok(mut docs) if docs.len() == 1 => docs.pop(),
        Ok(docs) => {
            let line = docs.get(1).map_or(1, |d| d.line);
            complaints.add(line, "", format!("has {} documents where one is expected", docs.len()));
            None
        }
        Err(error) => {
            complaints.errors.push(error);
            None
        }
    }
}
