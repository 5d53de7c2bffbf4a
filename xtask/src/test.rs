//! Every check and test, from nothing: what `.ci/run` runs.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::cache::Cache;
use crate::{bundle, components, crds, layers, run, say, setup, workspace};

/// What to leave out.
#[derive(clap::Args)]
pub struct Args {
    /// Leave out the end-to-end tests, which start a site and virtual machines
    #[arg(long)]
    no_e2e: bool,
}

/// `cargo xtask test`.
pub fn run(args: &Args) -> Result<()> {
    let started = Instant::now();
    setup::run()?;
    let cargo = |args: &[&str]| {
        let mut cargo = run::cargo();
        cargo.args(args);
        cargo
    };
    say::step("fmt", || run::quiet(&mut cargo(&["fmt", "--all", "--check"])))?;
    layers::run()?;
    let cache = Cache::open()?;
    let kube = components::build(&cache)?.kube;
    let clippy = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny=warnings"];
    say::step("clippy", || run::quiet(&mut cargo(&clippy)))?;
    crds::check()?;
    say::stream("cargo test", || {
        // One line per test binary is enough; a failure prints its own output.
        let tests = ["test", "--workspace", "--exclude", "scute-e2e", "--no-fail-fast"];
        run::loud(cargo(&tests).env("SCUTE_KUBE", &kube))
    })?;
    if !args.no_e2e {
        end_to_end()?;
    }
    say::note(&format!("all tests passed after {}", say::duration(started.elapsed())));
    Ok(())
}

fn end_to_end() -> Result<()> {
    let bundle = bundle::default().context("the bundle for the end-to-end tests")?;
    say::stream("end to end", || {
        // One site at a time, and the steps are printed while they run: the whole takes minutes.
        let args =
            ["test", "--package", "scute-e2e", "--no-fail-fast", "--", "--test-threads=1", "--nocapture"];
        run::loud(run::cargo().args(args).env("SCUTE_BUNDLE", &bundle))
    })
    .with_context(|| format!("end-to-end tests in {}", workspace::root().join("e2e").display()))
}
