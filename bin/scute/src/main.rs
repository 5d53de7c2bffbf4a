//! The one binary: argument parsing and wiring, nothing else.

mod client;
mod cluster;
mod output;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// Cuts bare-metal servers into Kubernetes clusters.
#[derive(Parser)]
#[command(name = "scute", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List, describe and delete tenant clusters, and get their kubeconfigs
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Print the CustomResourceDefinitions that Scute serves
    Crds,
    /// Print a shell completion script
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    // Fails only when one is installed already, which is just as well.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("scute: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Cluster(command) => runtime()?.block_on(command.run()),
        Command::Crds => {
            for crd in scute_api::crds() {
                println!("---\n{}", output::yaml(&crd)?);
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "scute", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Commands bring up their own runtime: the launcher needs none of several threads.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
