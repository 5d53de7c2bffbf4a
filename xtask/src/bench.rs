//! Figures. Each prints JSON on standard output, measured together with its floor.

use anyhow::Result;

use crate::cache::Cache;
use crate::{bundle, components, run, setup};

/// What to measure.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// The planner: time and distance from the bound
    Plan {
        /// Passed on
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Many Clusters on one API server: time, API writes, the manager's CPU and memory
    Scale {
        /// Passed on: how many Clusters, how many Machines each
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Many servers on one API server: time, API writes, requests to BMCs, the manager's CPU and memory; then one server of a
    /// rack, from `apply` to a Node
    Metal {
        /// Passed on: how many servers
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// A site and its tenants: times, API writes, memory
    FirstTenant {
        /// Passed on
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// `cargo xtask bench NAME`.
pub fn run(args: &Args) -> Result<()> {
    setup::run()?;
    match &args.what {
        What::Plan { arguments } => example("scute-plan", &["--release"], arguments, &[]),
        What::Scale { arguments } => {
            let kube = components::build(&Cache::open()?)?.kube;
            example("scute-cluster", &["--release"], arguments, &[("SCUTE_KUBE", &kube)])
        }
        What::Metal { arguments } => {
            let kube = components::build(&Cache::open()?)?.kube;
            example("scute-metal", &["--release"], arguments, &[("SCUTE_KUBE", &kube)])?;
            let bundle = bundle::default()?;
            let environment = [("SCUTE_KUBE", kube.as_path()), ("SCUTE_BUNDLE", bundle.as_path())];
            example("scute-e2e", &[], &["metal".to_owned()], &environment)
        }
        What::FirstTenant { arguments } => {
            let kube = components::build(&Cache::open()?)?.kube;
            let bundle = bundle::default()?;
            // What is measured are the bundle's programs; the one that looks on need not be fast.
            example("scute-e2e", &[], arguments, &[("SCUTE_KUBE", &kube), ("SCUTE_BUNDLE", &bundle)])
        }
    }
}

/// Runs the example `bench` of a crate.
fn example(
    krate: &str,
    profile: &[&str],
    arguments: &[String],
    env: &[(&str, &std::path::Path)],
) -> Result<()> {
    let mut cargo = run::cargo();
    cargo
        .args(["run", "--quiet", "--package", krate, "--example", "bench"])
        .args(profile)
        .arg("--")
        .args(arguments);
    cargo.envs(env.iter().map(|(name, value)| (*name, *value)));
    run::loud(&mut cargo)
}
