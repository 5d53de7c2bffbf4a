//! `scute manager`: all controllers and the admission server in one process.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use kube::Config;
use scute_install::ManagerConfig;
use scute_kit::limits::Limits;
use scute_kit::tenants::Tenants;
use scute_kit::{Admission, Hub, probes};
use scute_qemu::Accelerator;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

/// Run the controllers
#[derive(Args)]
pub struct ManagerArgs {
    /// Configuration; `scute up` writes one
    #[arg(long)]
    config: Option<PathBuf>,
    /// Port of probes
    #[arg(long, default_value_t = 8080)]
    health_port: u16,
    /// Port of the admission server
    #[arg(long, default_value_t = 9443)]
    webhook_port: u16,
}

impl ManagerArgs {
    /// Runs until it is told to stop, or until a part fails: then the Pod is started anew.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let config = match &self.config {
            Some(path) => ManagerConfig::load(path)?,
            None => ManagerConfig::default(),
        };
        let server = Config::infer().await.context("no API server to talk to")?;
        let hub = Hub::new(scute_kit::client(server, Limits::MANAGEMENT)?);
        let tenants = Tenants::new(&hub);
        let mut tasks = JoinSet::new();
        let admission = stages(&hub, &tenants, &config, &mut tasks);
        if let Some(certificates) = config.webhook_certificates.clone() {
            let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.webhook_port));
            tasks.spawn(async move {
                if let Err(error) = admission.serve(address, &certificates).await {
                    tracing::error!(%error, "the admission server ended");
                }
            });
        }
        let health = SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.health_port));
        let listener = tokio::net::TcpListener::bind(health)
            .await
            .with_context(|| format!("listening for probes on {health}"))?;
        tasks.spawn(async move {
            if let Err(error) = axum::serve(listener, probes(&hub)).await {
                tracing::error!(%error, "the probe server ended");
            }
        });
        let mut stop = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = stop.recv() => Ok(ExitCode::SUCCESS),
            Some(ended) = tasks.join_next() => {
                ended.context("a controller failed")?;
                anyhow::bail!("a controller ended, which none does")
            }
        }
    }
}

/// Starts every stage with its part of the configuration, and collects their admission handlers.
fn stages(
    hub: &Arc<Hub>,
    tenants: &Arc<Tenants>,
    config: &ManagerConfig,
    tasks: &mut JoinSet<()>,
) -> Admission {
    let defaults = scute_vm::Config::default();
    let accelerator = config.accelerator.unwrap_or(defaults.accelerator);
    let vm = scute_vm::Config {
        launcher_image: config.launcher_image.clone().unwrap_or(defaults.launcher_image),
        accelerator,
        runtime_class: (accelerator == Accelerator::Kvm).then(|| scute_install::KVM_RUNTIME.to_owned()),
        pod_ranges: config.networks.pods.clone(),
    };
    let defaults = scute_controlplane::Config::default();
    let controlplane = scute_controlplane::Config {
        management_node_cidrs: config.networks.nodes.clone(),
        management_pod_cidrs: config.networks.pods.clone(),
        external_ip_cidrs: config.external_ips.clone(),
        management_service_cidrs: config.networks.services.clone(),
        scute_image: config.scute_image.clone().unwrap_or(defaults.scute_image),
        ..defaults
    };
    let admission = scute_cluster::admission(hub, Admission::new());
    let admission = scute_bootstrap::admission(hub, admission);
    let admission = scute_vm::admission(hub, admission);
    let admission = scute_controlplane::admission(hub, &controlplane, admission);
    scute_cluster::spawn(hub, tenants, scute_cluster::Config::default(), tasks);
    scute_bootstrap::spawn(hub, tenants, scute_bootstrap::Config::default(), tasks);
    scute_controlplane::spawn(hub, tenants, controlplane, tasks);
    scute_vm::spawn(hub, tenants, vm, tasks);
    scute_loadbalancer::spawn(hub, &config.load_balancer.pools, tasks);
    admission
}
