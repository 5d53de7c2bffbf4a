//! The project's own commands: set-up, components, images, bundle, judges, test, demo, crds, layers, bench.

use clap::{Parser, Subcommand};

mod bench;
mod bundle;
mod cache;
mod components;
mod crds;
mod demo;
mod images;
mod judges;
mod layers;
mod modules;
mod oci;
mod run;
mod say;
mod setup;
mod test;
mod workspace;

/// Everything the project does to itself. Each command installs what it needs.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install the Debian packages that building and running needs
    Setup,
    /// Build the upstream components from their Go modules
    Components(components::Args),
    /// Build one image, or all, into the cache and print where each lies
    Images(images::Args),
    /// Assemble the bundle: every binary and image that a site needs
    Bundle(bundle::Args),
    /// Write deploy/crds from the types
    Crds(crds::Args),
    /// Check which crate may depend on what
    Layers,
    /// Let outside validators, clients and servers of Redfish judge ours
    Judges,
    /// Run every check and test there is
    Test(test::Args),
    /// From this machine to a tenant cluster with a Node
    Demo(demo::Args),
    /// Measure; prints JSON
    Bench(bench::Args),
}

fn main() {
    let done = match Cli::parse().command {
        Command::Setup => setup::run(),
        Command::Components(args) => components::run(&args),
        Command::Images(args) => images::run(&args),
        Command::Bundle(args) => bundle::run(&args),
        Command::Crds(args) => crds::run(&args),
        Command::Layers => layers::run(),
        Command::Judges => judges::run(),
        Command::Test(args) => test::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Bench(args) => bench::run(&args),
    };
    if let Err(error) = done {
        eprintln!("error: {error:#}");
        std::process::exit(1);
    }
}
