//! `scute bootstrap`: from a bare machine to a management cluster on servers that manages itself.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use scute_api::cluster::Cluster;
use scute_install::{ManagerConfig, NAMESPACE, Options, REGISTRY};
use scute_pivot::{Manifests, Pivot, PivotError, configuration};
use scute_site::{Terminal, UpOptions};

use crate::client::ClientArgs;
use crate::manager::ConfigArgs;
use crate::output;
use crate::planner;
use crate::site::default_bundle;

/// Make a management cluster on servers that manages itself
///
/// A site on this machine makes the Cluster, Scute is installed into it, and it takes over itself and its hosts: this machine is
/// not needed any more. When it is interrupted, run the same command again: it goes on where it ended.
#[derive(Args)]
pub struct BootstrapArgs {
    /// Servers: BareMetalHosts with the Secrets of their BMCs; repeat for more files, `-` is standard input
    #[arg(long, required = true, value_name = "FILE")]
    hosts: Vec<PathBuf>,
    /// The Cluster, and what is of it; repeat for more files
    #[arg(long, required = true, value_name = "FILE")]
    cluster: Vec<PathBuf>,
    /// Where the kubeconfig of the new management cluster is written [default: CLUSTER.kubeconfig]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Managers of the new management cluster
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=9))]
    replicas: u8,
    /// Where the new management cluster finds Scute's images, without the last part of their names
    #[arg(long, default_value = REGISTRY)]
    registry: String,
    /// Minutes that each stage may take
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=1440))]
    patience: u32,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    seed: ClientArgs,
}

impl BootstrapArgs {
    /// Does what is not done yet, and prints a line for each thing that is.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        // Everything that a person may have to mend is read before anything is made.
        let (told, is_file) = (self.config.load()?, self.config.is_file());
        let files = self.hosts.iter().chain(&self.cluster);
        let files = files.map(|path| Ok((path.display().to_string(), planner::read(path)?)));
        let files: Vec<(String, String)> = files.collect::<anyhow::Result<_>>()?;
        let files: Vec<(&str, &str)> =
            files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let namespace = self.seed.namespace.as_deref().unwrap_or("default");
        let manifests = Manifests::read(&files, namespace).map_err(|errors| {
            anyhow::anyhow!(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        })?;
        let cluster = manifests.cluster.clone();
        let out = self.out.unwrap_or_else(|| format!("{cluster}.kubeconfig").into());

        let given = self.seed.kubeconfig.is_some() || std::env::var_os("KUBECONFIG").is_some();
        if !given {
            let wishes = UpOptions::of(self.seed.site.clone(), default_bundle());
            scute_site::up(&wishes, &Terminal::default()).await.context("bringing up the site")?;
        }
        let (seed, _) = self.seed.connect().await?;
        let configuration = |cluster: &Cluster| match is_file {
            true => told.clone(),
            false => ManagerConfig { without: told.without.clone(), ..configuration(cluster) },
        };
        let options = |cluster: &Cluster| Options {
            configuration: configuration(cluster),
            replicas: self.replicas,
            registry: self.registry.clone(),
            monitoring: false,
            namespace: NAMESPACE.to_owned(),
        };
        let patience = Duration::from_secs(u64::from(self.patience) * 60);
        let pivot = Pivot::new(seed, manifests, out.clone(), patience);
        match pivot.run(&options, &|line| output::say(&format!("{line}\n")).is_ok()).await {
            Err(PivotError::Unheard) => return Err(output::Closed.into()),
            done => done?,
        }
        output::say(&format!("export KUBECONFIG={}\n", out.display()))?;
        if !given {
            eprintln!("This machine is not needed any more: scute down --site {}", self.seed.site);
        }
        Ok(ExitCode::SUCCESS)
    }
}
