//! `scute vip`: the endpoint of a control plane on servers, as a static Pod runs it beside each API server.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use scute_vip::Config;
use tokio::signal::unix::{SignalKind, signal};

/// What the static Pod tells it.
#[derive(Args)]
pub struct VipArgs {
    /// The address
    #[arg(long)]
    address: Ipv4Addr,
    /// Interface on which it is held [default: the one in whose network it is]
    #[arg(long)]
    interface: Option<String>,
    /// Which of the VRRP routers of the segment this is [default: the last number of the address]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..))]
    router: Option<u8>,
    /// Where the API server of this machine answers
    #[arg(long, default_value = "127.0.0.1:6443")]
    api_server: SocketAddr,
    /// Authority of its certificate
    #[arg(long, default_value = "/etc/kubernetes/pki/ca.crt")]
    ca: PathBuf,
}

impl VipArgs {
    /// Takes part until it is told to stop.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let Self { address, interface, router, api_server, ca } = self;
        // The first process of a container has no default handler.
        let mut stop = signal(SignalKind::terminate())?;
        let stop = async {
            stop.recv().await;
        };
        scute_vip::run(&Config { address, interface, router, api_server, ca }, stop).await?;
        Ok(ExitCode::SUCCESS)
    }
}
