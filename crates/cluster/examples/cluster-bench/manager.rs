//! The manager that is measured.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result};
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use scute_kit::Hub;
use scute_kit::limits::Limits;
use scute_kit::tenants::Tenants;
use tokio::task::JoinSet;

/// What `bench manager KUBECONFIG PORT` does: the controllers, and their metrics.
pub async fn run(kubeconfig: &Path, port: u16) -> Result<()> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let hub = Hub::new(scute_kit::client(config, Limits::MANAGEMENT)?);
    let tenants = Tenants::new(&hub);
    let mut tasks = JoinSet::new();
    scute_cluster::spawn(&hub, &tenants, Default::default(), &mut tasks);
    let listener = tokio::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    axum::serve(listener, scute_kit::probes(&hub)).await.context("serving metrics")
}
