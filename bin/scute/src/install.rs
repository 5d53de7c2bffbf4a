//! `scute install`: the manager and its kinds in any Kubernetes cluster.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use scute_install::{Installation, Options, REGISTRY};

use crate::client::ClientArgs;
use crate::manager::ConfigArgs;
use crate::output;

/// Put Scute into a Kubernetes cluster
#[derive(Args)]
pub struct InstallArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Managers: one works, the others take over
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=9))]
    replicas: u8,
    /// Where Scute's images are, without the last part of their names
    #[arg(long, default_value = REGISTRY)]
    registry: String,
    /// Print what would be applied, and apply nothing
    #[arg(short, long, value_enum)]
    output: Option<Printed>,
    #[command(flatten)]
    cluster: ClientArgs,
}

/// How it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Printed {
    /// YAML, for kubectl and for GitOps
    Yaml,
}

impl InstallArgs {
    /// Prints it, or applies it and waits until the managers are available.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let options =
            Options { configuration: self.config.load()?, replicas: self.replicas, registry: self.registry };
        let installation = Installation::of(&options)?;
        if self.output.is_some() {
            for document in installation.documents()? {
                output::say(&format!("---\n{}\n", output::yaml(&document)?))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let (client, _) = self.cluster.connect().await?;
        installation.apply(&client).await.context("installing")?;
        output::say("the manager is available\n")?;
        Ok(ExitCode::SUCCESS)
    }
}
