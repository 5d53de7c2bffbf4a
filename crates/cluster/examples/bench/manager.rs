//! The manager as a process of its own, so that its CPU time and memory can be told from the providers'.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use scute_kit::Hub;
use scute_kit::limits::Limits;
use scute_kit::tenants::Tenants;
use scute_testkit::{ApiServer, Process, free_port, usage};
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

/// A running manager; ends when dropped.
pub struct Manager {
    process: Process,
    started: Instant,
}

/// A manager has settled when it used less CPU than this ...
const QUIET: Duration = Duration::from_millis(60);
/// ... in this time.
const WINDOW: Duration = Duration::from_secs(3);

impl Manager {
    /// Starts one on an API server.
    pub fn start(server: &ApiServer, folder: &Path) -> Result<Self> {
        let kubeconfig = folder.join("manager.kubeconfig");
        std::fs::write(&kubeconfig, server.kubeconfig())?;
        let arguments = ["manager".to_owned(), kubeconfig.display().to_string(), free_port()?.to_string()];
        let process = Process::start(&std::env::current_exe()?, &arguments, &folder.join("manager.log"))?;
        Ok(Self { process, started: Instant::now() })
    }

    /// CPU time used so far.
    pub fn cpu(&self) -> Result<Duration> {
        usage::cpu(self.process.id())
    }

    /// Resident bytes.
    pub fn resident(&self) -> Result<u64> {
        usage::resident(self.process.id())
    }

    /// Waits until it has nothing to do; gives the time from its start to then.
    pub async fn settled(&self, patience: Duration) -> Result<Duration> {
        let mut samples = vec![(Instant::now(), self.cpu()?)];
        loop {
            // There is no event for "nothing more happens".
            tokio::time::sleep(Duration::from_millis(100)).await;
            let (now, used) = (Instant::now(), self.cpu()?);
            samples.push((now, used));
            let before = samples.iter().rev().find(|(at, _)| now - *at >= WINDOW);
            if let Some((at, at_used)) = before
                && used - *at_used <= QUIET
            {
                return Ok(*at - self.started);
            }
            anyhow::ensure!(
                self.started.elapsed() < patience,
                "the manager is still busy after {patience:?}"
            );
        }
    }
}
