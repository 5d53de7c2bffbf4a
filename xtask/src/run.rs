//! Running other programs: quiet ones keep their output for the error, loud ones print it.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// How much of a failed program's output its error shows.
const TAIL: usize = 40;

/// Runs quietly; the error holds the end of what the program said.
pub fn quiet(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

/// Runs quietly and returns standard output.
pub fn output(command: &mut Command) -> Result<String> {
    let name = describe(command);
    let done = command.stdin(Stdio::null()).output().with_context(|| format!("start {name}"))?;
    let stdout = String::from_utf8_lossy(&done.stdout).into_owned();
    if !done.status.success() {
        let said = format!("{stdout}{}", String::from_utf8_lossy(&done.stderr));
        let lines: Vec<_> = said.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
        bail!("{name}: {}\n{tail}", done.status);
    }
    Ok(stdout)
}

/// Runs with our own terminal.
pub fn loud(command: &mut Command) -> Result<()> {
    let name = describe(command);
    let status = command.status().with_context(|| format!("start {name}"))?;
    if !status.success() {
        bail!("{name}: {status}");
    }
    Ok(())
}

/// Whether a program of this name can be found.
pub fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Cargo, as we were started by it.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(crate::workspace::root());
    cargo
}

/// Cargo with Clippy in the compiler's place for our own crates: what it builds is linted by the way, and no warning is let
/// through. Clippy asks for less optimisation than usual, so what it builds is for tests.
pub fn linting_cargo() -> Result<Command> {
    let sysroot =
        output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(crate::workspace::root()))?;
    let mut cargo = cargo();
    cargo.env("RUSTC_WORKSPACE_WRAPPER", std::path::Path::new(sysroot.trim()).join("bin/clippy-driver"));
    // As `cargo clippy` hands its arguments on.
    cargo.env("CLIPPY_ARGS", "--deny=warnings__CLIPPY_HACKERY__");
    Ok(cargo)
}

/// Cargo with these test files. Out of the whole workspace: alone, a package's dependencies would be compiled again with fewer
/// features.
pub fn tests<'a>(files: impl IntoIterator<Item = &'a str>) -> Result<Command> {
    let mut cargo = linting_cargo()?;
    cargo.args(["test", "--workspace", "--no-fail-fast"]);
    cargo.args(files.into_iter().flat_map(|file| ["--test", file]));
    Ok(cargo)
}

/// The program and its first arguments: enough to know which one it was, no whole command lines.
fn describe(command: &Command) -> String {
    let args = command.get_args().take(3).map(|a| a.to_string_lossy().into_owned());
    let program = command.get_program().to_string_lossy().into_owned();
    std::iter::once(program).chain(args).collect::<Vec<_>>().join(" ")
}
