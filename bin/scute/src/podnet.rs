//! `scute podnet`: the agent of the embedded Pod network, as a DaemonSet runs it on each Node of a tenant.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

/// What the DaemonSet tells its agent.
#[derive(Args)]
pub struct PodnetArgs {
    /// The Node that the agent runs on
    #[arg(long, env = "NODE_NAME")]
    node_name: String,
    /// Directory of the Node's CNI configuration
    #[arg(long, default_value = "/etc/cni/net.d")]
    conf_dir: PathBuf,
    /// The Node's /proc/sys/net
    #[arg(long, default_value = "/proc/sys/net")]
    proc_sys_net: PathBuf,
}

impl PodnetArgs {
    /// Keeps CNI configuration, routes and masquerading as the cluster's Nodes want them, until it is told to stop.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let Self { node_name, conf_dir, proc_sys_net } = self;
        // The first process of a container has no default handler: without ours the Node could not shut down.
        let mut stop = signal(SignalKind::terminate())?;
        tokio::select! {
            ended = scute_podnet::run(scute_podnet::Config { node_name, conf_dir, proc_sys_net }) => ended?,
            _ = stop.recv() => {}
        }
        Ok(ExitCode::SUCCESS)
    }
}
