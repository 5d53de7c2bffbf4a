//! `scute install`: the manager and its kinds in any Kubernetes cluster.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use scute_install::etcd::EtcdConfig;
use scute_install::{Chart, Installation, NAMESPACE, Options, REGISTRY};

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
    /// Bring an etcd of so many members for tenants' control planes, as the DataStore `default`: 1, 3 or 5, each on a Node
    /// of its own
    #[arg(long, value_name = "MEMBERS", value_parser = members)]
    etcd: Option<u8>,
    /// Tell Prometheus and Grafana: a ServiceMonitor, alerts and a board; needs the Prometheus operator's kinds
    #[arg(long)]
    monitoring: bool,
    /// Print what would be applied, and apply nothing
    #[arg(short, long, value_enum)]
    output: Option<Printed>,
    /// Write a Helm chart into a new folder, with these options as its values, and apply nothing
    #[arg(long, value_name = "FOLDER", conflicts_with = "output")]
    chart: Option<PathBuf>,
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
        let mut configuration = self.config.load()?;
        if let Some(members) = self.etcd {
            configuration.etcd.get_or_insert_default().members = members;
        }
        let options = Options {
            configuration,
            replicas: self.replicas,
            registry: self.registry,
            monitoring: self.monitoring,
            namespace: self.cluster.namespace.clone().unwrap_or_else(|| NAMESPACE.to_owned()),
        };
        if let Some(folder) = &self.chart {
            write(folder, &Chart::of(&options)?)
                .with_context(|| format!("writing a chart to {}", folder.display()))?;
            return Ok(ExitCode::SUCCESS);
        }
        let installation = Installation::of(&options)?;
        if self.output.is_some() {
            for document in installation.documents() {
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

fn members(text: &str) -> Result<u8, String> {
    let number = text.parse().map_err(|error: std::num::ParseIntError| error.to_string())?;
    EtcdConfig::of(number).check().map(|()| number)
}

/// Into a folder that was not there: what an older chart had in it would be rendered too.
fn write(folder: &Path, chart: &Chart) -> anyhow::Result<()> {
    std::fs::create_dir(folder)?;
    for (name, text) in &chart.files {
        let file = folder.join(name);
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(file, text)?;
    }
    Ok(())
}
