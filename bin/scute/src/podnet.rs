//! `scute podnet`: the agent of the embedded Pod network, as a DaemonSet runs it on each Node of a tenant; and that DaemonSet, for
//! clusters that get it by a ClusterResourceSet.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::output;

/// The embedded Pod network.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct PodnetArgs {
    #[command(subcommand)]
    command: Option<PodnetCommand>,
    #[command(flatten)]
    agent: Option<AgentArgs>,
}

#[derive(Subcommand)]
enum PodnetCommand {
    /// Print what puts it into a cluster, for kubectl or for the ConfigMap of a ClusterResourceSet
    Manifests {
        /// Image of Scute
        #[arg(long, default_value_t = scute_install::scute_image())]
        image: String,
    },
}

impl PodnetArgs {
    /// Whether this is a process that runs in the background, on a Node.
    pub fn is_agent(&self) -> bool {
        self.command.is_none()
    }

    /// Runs the agent until it is told to stop, or prints.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match (self.command, self.agent) {
            (Some(PodnetCommand::Manifests { image }), _) => {
                for object in scute_podnet::manifests(&image, None) {
                    output::say(&format!("---\n{}\n", output::yaml(&object)?))?;
                }
                Ok(ExitCode::SUCCESS)
            }
            (None, Some(agent)) => agent.run().await,
            (None, None) => anyhow::bail!("say --node-name, or a command"),
        }
    }
}

/// What the DaemonSet tells its agent.
#[derive(Args)]
struct AgentArgs {
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

impl AgentArgs {
    /// Keeps CNI configuration, routes and masquerading as the cluster's Nodes want them, until it is told to stop.
    async fn run(self) -> anyhow::Result<ExitCode> {
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
