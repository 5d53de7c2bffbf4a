//! Which management cluster a command talks to.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use scute_site::{Layout, SiteName};

/// Which management cluster, and which namespace in it.
#[derive(Args, Clone, Debug)]
pub struct ClientArgs {
    /// Kubeconfig of the management cluster [default: the files of $KUBECONFIG, or that of the site on this machine]
    #[arg(long, global = true)]
    pub kubeconfig: Option<PathBuf>,
    /// Site on this machine whose management cluster is meant
    #[arg(long, default_value_t, value_parser = SiteName::new, global = true)]
    pub site: SiteName,
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
        let Some((name, kubeconfig)) = self.kubeconfig()? else {
            return Config::infer().await.context(
                "no management cluster: give --kubeconfig, set KUBECONFIG, or make a site with `scute up`",
            );
        };
        let mut clusters = kubeconfig.clusters.iter().filter_map(|named| named.cluster.as_ref());
        let names_proxy = clusters.any(|cluster| cluster.proxy_url.is_some());
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .with_context(|| format!("using kubeconfig {name}"))?;
        if !names_proxy {
            // That of the environment, which is for the rest of the world and would be refused: none is spoken to.
            config.proxy_url = None;
        }
        Ok(config)
    }

    /// The first that there is: the file that was named, those of the environment, the site's.
    fn kubeconfig(&self) -> anyhow::Result<Option<(String, Kubeconfig)>> {
        let read = |path: PathBuf| {
            let name = path.display().to_string();
            let kubeconfig =
                Kubeconfig::read_from(path).with_context(|| format!("reading kubeconfig {name}"))?;
            anyhow::Ok(Some((name, kubeconfig)))
        };
        if let Some(path) = self.kubeconfig.clone() {
            return read(path);
        }
        // Several files with colons between them are one, as kubectl has it.
        if let Some(merged) = Kubeconfig::from_env().context("reading the files of $KUBECONFIG")? {
            return Ok(Some(("of $KUBECONFIG".to_owned(), merged)));
        }
        let of_site = Layout::entry(&self.site).join("admin.kubeconfig");
        if of_site.exists() { read(of_site) } else { Ok(None) }
    }
}
