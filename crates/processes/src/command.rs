//! Running a short command of the machine and keeping what it said.

use std::{
    io::{self, Write},
    process::{Command, Stdio},
};

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It could not be started.
    #[error("{command} could not be started")]
    Start {
        /// What was called.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ran and failed.
    #[error("{command}: {said}")]
    Failed {
        /// What was called.
        command: String,
        /// What it wrote, or its exit status.
        said: String,
    },
}

/// Runs a command to its end with `input` on its standard input; gives its standard output.
pub fn run(program: &str, args: &[&str], input: Option<&str>) -> Result<String, CommandError> {
    let command = || format!("{program} {}", args.join(" "));
    let start = |source| CommandError::Start { command: command(), source };
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child = Command::new(program)
        .args(args)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start)?;
    if let (Some(text), Some(mut pipe)) = (input, child.stdin.take()) {
        pipe.write_all(text.as_bytes()).map_err(start)?;
    }
    let output = child.wait_with_output().map_err(start)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let said = if said.is_empty() { output.status.to_string() } else { said };
    Err(CommandError::Failed { command: command(), said })
}
