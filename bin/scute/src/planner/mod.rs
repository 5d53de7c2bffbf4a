//! `scute plan`, `scute lint`, `scute explain`: reads files and clusters, lets the planner think, prints.

mod apply;
mod explain;
mod lint;
mod live;
mod plan;

use std::path::Path;

use anyhow::Context;

pub use explain::ExplainCommand;
pub use lint::LintCommand;
pub use plan::PlanCommand;

/// A file as text; `-` is standard input.
fn read(path: &Path) -> anyhow::Result<String> {
    if path == Path::new("-") {
        return std::io::read_to_string(std::io::stdin()).context("reading standard input");
    }
    std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
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
