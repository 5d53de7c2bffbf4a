//! `scute plan`, `scute lint`, `scute explain`: reads files and clusters, lets the planner think, prints.

mod apply;
mod explain;
mod lint;
mod live;
mod plan;

use std::path::Path;
use std::process::ExitCode;

use scute_plan::input::InputError;

pub use explain::ExplainCommand;
pub use lint::LintCommand;
pub use plan::PlanCommand;

use crate::output;

/// The answer is there, and it is not good: something finds no place, is wrong, or blocks.
const BAD: u8 = 1;
/// There is no answer: what was asked or given is wrong, or cannot be read. Wrong arguments end so, too.
const NO_ANSWER: u8 = 2;

/// Input that is wrong: every complaint, a line each.
#[derive(Debug)]
struct Wrong(Vec<InputError>);

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lines: Vec<String> = self.0.iter().map(InputError::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Wrong {}

/// Ends a command: what kept it from an answer is said, and makes the exit code [`NO_ANSWER`].
fn end(done: anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    match done {
        Err(error) if error.is::<output::Closed>() => Err(error),
        Err(error) => {
            // Complaints about files read as a compiler's do.
            if error.is::<Wrong>() || error.is::<InputError>() {
                eprintln!("{error}");
            } else {
                eprintln!("scute: {}", chain(&error));
            }
            Ok(ExitCode::from(NO_ANSWER))
        }
        done => done,
    }
}

/// An error and its causes; clients that wrap each other repeat theirs, which is left out.
fn chain(error: &anyhow::Error) -> String {
    let mut said: Vec<String> = Vec::new();
    for cause in error.chain().map(ToString::to_string) {
        let known = said.last().is_some_and(|last| last.ends_with(&cause));
        if !known {
            said.push(cause);
        }
    }
    said.join(": ")
}

/// A file as text; `-` is standard input.
pub fn read(path: &Path) -> Result<String, InputError> {
    let text = if path == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(path)
    };
    text.map_err(|error| InputError::unreadable(&path.to_string_lossy(), &error))
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command};

    use super::*;

    #[test]
    fn arguments_do_not_clash() {
        PlanCommand::augment_args(Command::new("plan")).debug_assert();
        LintCommand::augment_args(Command::new("lint")).debug_assert();
        ExplainCommand::augment_args(Command::new("explain")).debug_assert();
    }
}
