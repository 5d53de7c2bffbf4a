//! Which management cluster a command talks to.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// Where sites keep their state.
const SITES: &str = "/var/lib/scute";

/// Which management cluster, and which namespace in it.
#[derive(Args, Clone, Debug)]
pub struct ClientArgs {
    /// Kubeconfig of the management cluster [default: that of the site, if there is one on this machine]
    #[arg(long, env = "KUBECONFIG", global = true)]
    pub kubeconfig: Option<PathBuf>,
    /// Site on this machine whose management cluster is meant
    #[arg(long, default_value = "scute", global = true)]
    pub site: String,
    /// Namespace
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
}

impl ClientArgs {
    /// A client, and the namespace that is meant.
    pub async fn connect(&self) -> anyhow::Result<(Client, String)> {
        let config = self.config().await?;
        let namespace = self.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        Ok((Client::try_from(config).context("making a client")?, namespace))
    }

    async fn config(&self) -> anyhow::Result<Config> {
        let of_site = Path::new(SITES).join(&self.site).join("admin.kubeconfig");
        let path = self.kubeconfig.clone().or_else(|| of_site.exists().then_some(of_site));
        match path {
            Some(path) => {
                let kubeconfig = Kubeconfig::read_from(&path)
                    .with_context(|| format!("reading kubeconfig {}", path.display()))?;
                Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                    .await
                    .with_context(|| format!("using kubeconfig {}", path.display()))
            }
            None => Config::infer().await.context(
                "no management cluster: give --kubeconfig, set KUBECONFIG, or make a site with `scute up`",
            ),
        }
    }
}
