//! The manager that is measured.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use scute_kit::limits::Limits;
use scute_kit::{Hub, Key};
use scute_metal::Listeners;
use tokio::task::JoinSet;

/// What `bench manager KUBECONFIG PORT AGENTS MEDIA RAMDISK` does: the room with its usual patience, and its metrics.
pub async fn run(kubeconfig: &Path, ports: [u16; 3], ramdisk: &Path) -> Result<()> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let hub = Hub::new(scute_kit::client(config, Limits::MANAGEMENT)?);
    let [port, service_port, media_port] = ports;
    let identity = Key::new("scute-system", "scute-metal");
    let (address, owner) = ("127.0.0.1".to_owned(), "scute/bench".to_owned());
    let config = scute_metal::Config {
        service_port,
        media_port,
        ..scute_metal::Config::new(address, ramdisk.to_owned(), identity, owner, None)
    };
    let mut tasks = JoinSet::new();
    let listeners = Listeners::open(&config)?;
    scute_metal::spawn(&hub, config, listeners, &mut tasks);
    let listener = tokio::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    axum::serve(listener, scute_kit::probes(&hub)).await.context("serving metrics")
}
