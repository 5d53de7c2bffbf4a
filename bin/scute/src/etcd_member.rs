//! `scute etcd-member`: what runs before each member of the installed etcd.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use scute_install::ManagerConfig;
use scute_install::etcd::{self, CONFIGURATION, Place, ROOT_CLIENT};

/// What its Pod tells it.
#[derive(Args)]
pub struct EtcdMemberArgs {
    /// The manager's configuration, which says how many members there are
    #[arg(long)]
    config: PathBuf,
    /// Name of the member
    #[arg(long, env = "POD_NAME")]
    pod_name: String,
    /// Namespace of the etcd
    #[arg(long, env = "POD_NAMESPACE")]
    pod_namespace: String,
}

impl EtcdMemberArgs {
    /// Writes etcd's configuration; waits for the other members where it has to.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let config = ManagerConfig::load(&self.config)?.etcd.context("the configuration knows of no etcd")?;
        let seats = etcd::seats(&config, &self.pod_namespace);
        let own = seats.iter().find(|seat| seat.name == self.pod_name);
        let own = own.with_context(|| format!("{} is none of {} members", self.pod_name, config.members))?;
        let (root, configuration) = (Path::new(ROOT_CLIENT), Path::new(CONFIGURATION));
        let start = etcd::begin(own, &seats, &Place::in_pod(), root, configuration).await?;
        tracing::info!(?start, "the member may start");
        Ok(ExitCode::SUCCESS)
    }
}
