//! A part of a variable's value by its path, such as `proxy.noProxy[0]`.

use serde_json::{Map, Value};

/// The value at a path.
///
/// # Errors
/// What is missing, in a sentence.
pub fn find<'a>(values: &'a Map<String, Value>, path: &str) -> Result<&'a Value, String> {
    let missing = |what: &str| format!("the variable {path:?} has no value: {what} is missing");
    let mut steps = steps(path)?.into_iter();
    let first = match steps.next() {
        Some(Step::Field(name)) => values.get(&name).ok_or_else(|| missing(&name))?,
        _ => return Err(format!("{path:?} does not begin with the name of a variable")),
    };
    steps.try_fold(first, |value, step| match step {
        Step::Field(name) => value.get(&name).ok_or_else(|| missing(&name)),
        Step::Item(at) => value.get(at).ok_or_else(|| missing(&format!("item {at}"))),
    })
}

/// Whether a path can be read, and the variable that it begins with.
///
/// # Errors
/// What is wrong, in a sentence.
pub fn root(path: &str) -> Result<String, String> {
    match steps(path)?.into_iter().next() {
        Some(Step::Field(name)) => Ok(name),
        _ => Err(format!("{path:?} does not begin with the name of a variable")),
    }
}

enum Step {
    Field(String),
    Item(usize),
}

fn steps(path: &str) -> Result<Vec<Step>, String> {
    let wrong = || format!("{path:?} is no path such as proxy.noProxy[0]");
    let mut all = Vec::new();
    for part in path.split('.') {
        let (name, mut rest) = part.split_at(part.find('[').unwrap_or(part.len()));
        if name.is_empty() {
            return Err(wrong());
        }
        all.push(Step::Field(name.to_owned()));
        while !rest.is_empty() {
            let (number, after) =
                rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).ok_or_else(wrong)?;
            all.push(Step::Item(number.parse().map_err(|_| wrong())?));
            rest = after;
        }
    }
    Ok(all)
}
