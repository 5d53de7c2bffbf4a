//! Go templates of a ClusterClass: conditions, values and names. In: a template and its data. Out: text, or why not.
//!
//! A class is written by whoever may write one in some namespace, and is rendered by the manager of all: what a template
//! may take is bounded, in depth, in loops, and in the size of everything that it makes.

mod functions;
mod guard;
mod known;
mod semver;

use std::fmt;
use std::sync::Arc;

use gotmpl::{MissingKey, Template, Value as Data};
use serde_json::Value;

pub use semver::Version;

/// The largest text that a template makes, and the largest value that a function is given.
const LARGEST: usize = 256 << 10;
/// Passes of all loops together.
const PASSES: u64 = 10_000;
/// Blocks and parentheses of one template: each is a level of the parser's stack.
const BLOCKS: usize = 100;

/// What a template has to say of a key that its data does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Nothing: an `if` is false, a text is `<no value>`.
    Nothing,
    /// That it is missing: names must not be made of nothing.
    Error,
}

/// Whether a template can be read.
///
/// # Errors
/// What is wrong, in a sentence.
pub fn check(template: &str) -> Result<(), String> {
    parsed(template, Missing::Nothing).map(|_| ())
}

/// The text that a template makes of its data.
///
/// # Errors
/// What is wrong, in a sentence.
pub fn render(template: &str, data: &Value, missing: Missing) -> Result<String, String> {
    let template = parsed(template, missing)?;
    let mut text = Bounded(String::new());
    template.execute_fmt(&mut text, &to_data(data)).map_err(|error| said(&error))?;
    Ok(text.0)
}

fn parsed(template: &str, missing: Missing) -> Result<Template, String> {
    let blocks = openers(template);
    if blocks > BLOCKS {
        return Err(format!("the template has {blocks} blocks and parentheses: at most {BLOCKS}"));
    }
    let missing = match missing {
        Missing::Nothing => MissingKey::default(),
        Missing::Error => MissingKey::Error,
    };
    let functions = functions::all();
    let known = functions.keys().cloned().collect();
    let parsed = Template::new("template")
        .missing_key(missing)
        .max_range_iters(PASSES)
        .funcs(functions)
        .parse(template)
        .map_err(|error| said(&error))?;
    match known::unknown(&parsed, &known) {
        Some(name) => Err(format!("there is no function {name}")),
        None => Ok(parsed),
    }
}

fn said(error: &gotmpl::TemplateError) -> String {
    let mut text = error.to_string();
    if text.len() > 512 {
        let end = (0..=512).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        text.truncate(end);
    }
    text
}

/// Blocks that are begun, and parentheses that are opened. Whatever stands in a text between is counted, too: too many
/// rather than too few.
fn openers(template: &str) -> usize {
    const WORDS: [&str; 6] = ["if", "else", "range", "with", "block", "define"];
    let begins = |action: &&str| {
        let action = action.trim_start_matches('-').trim_start();
        WORDS.iter().any(|word| action.starts_with(word))
    };
    template.split("{{").skip(1).filter(begins).count() + template.matches('(').count()
}

/// JSON as a template sees it. Whole numbers stay whole.
fn to_data(value: &Value) -> Data {
    match value {
        Value::Null => Data::Nil,
        Value::Bool(is) => Data::Bool(*is),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Data::Int(whole),
            None => Data::Float(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => Data::String(text.as_str().into()),
        Value::Array(list) => Data::List(list.iter().map(to_data).collect()),
        Value::Object(map) => Data::Map(Arc::new(
            map.iter().map(|(key, value)| (key.as_str().into(), to_data(value))).collect(),
        )),
    }
}

/// A text that does not grow for ever.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > LARGEST {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
