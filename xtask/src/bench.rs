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
    /// One MachineDeployment of 100 beside a plain client that does the same writes, and memory at 1,000 Machines
    Machines,
    /// 50 Clusters and 500 Machines from one API server to another, beside the same writes one after the other
    Move,
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
        What::Plan { arguments } => example("plan", &["--release"], arguments, &[]),
        What::Scale { arguments } => {
            let kube = components::build(&Cache::open()?)?.kube;
            example("cluster", &["--release"], arguments, &[("SCUTE_KUBE", &kube)])
        }
        What::Machines => {
            let kube = components::build(&Cache::open()?)?.kube;
            example("cluster", &["--release"], &["machines".to_owned()], &[("SCUTE_KUBE", &kube)])
        }
        What::Move => {
            let kube = components::build(&Cache::open()?)?.kube;
            example("movement", &["--release"], &[], &[("SCUTE_KUBE", &kube)])
        }
        What::Metal { arguments } => {
            let kube = components::build(&Cache::open()?)?.kube;
            example("metal", &["--release"], arguments, &[("SCUTE_KUBE", &kube)])?;
            let bundle = bundle::default()?;
            let environment = [("SCUTE_KUBE", kube.as_path()), ("SCUTE_BUNDLE", bundle.as_path())];
            example("e2e", &[], &["metal".to_owned()], &environment)
        }
        What::FirstTenant { arguments } => {
            let kube = components::build(&Cache::open()?)?.kube;
            let bundle = bundle::default()?;
            // What is measured are the bundle's programs; the one that looks on need not be fast.
            example("e2e", &[], arguments, &[("SCUTE_KUBE", &kube), ("SCUTE_BUNDLE", &bundle)])
        }
    }
}

/// Runs the benchmark of a crate. Examples of a workspace share one folder, so each has a name of its own.
fn example(
    room: &str,
    profile: &[&str],
    arguments: &[String],
    env: &[(&str, &std::path::Path)],
) -> Result<()> {
    let mut cargo = run::cargo();
    let (package, example) = (format!("scute-{room}"), format!("{room}-bench"));
    cargo.args(["run", "--quiet", "--package", &package, "--example", &example]);
    cargo.args(profile).arg("--").args(arguments);
    cargo.envs(env.iter().map(|(name, value)| (*name, *value)));
    run::loud(&mut cargo)
}
