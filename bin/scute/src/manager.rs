//! `scute manager`: all controllers and the admission server in one process.

use std::future::pending;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{ArgAction, Args};
use jiff::Timestamp;
use kube::Config;
use scute_api::conversion;
use scute_api::engines::Engine;
use scute_api::ranges::{Claim, Management};
use scute_install::etcd::EtcdKeeper;
use scute_install::{ManagementNetworks, ManagerConfig, StorageVersions, UpkeepError, WebhookSecret};
use scute_kit::admission::ServeError;
use scute_kit::lease::{self, Election, Holder};
use scute_kit::limits::{LOOK_AT_CERTIFICATES, Limits, Tenure};
use scute_kit::tenants::Tenants;
use scute_kit::{Admission, Clock, Hub, Key, Versions, chain, probes, said};
use scute_qemu::Accelerator;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What a manager is told.
#[derive(Args)]
pub struct ConfigArgs {
    /// The manager's configuration: networks, pools, servers; `scute up` writes one
    #[arg(long)]
    config: Option<PathBuf>,
    /// Engines that are off, as upstream projects do their work: clusterapi, kubeadm, kamaji, kubevirt, metal3
    #[arg(long, value_delimiter = ',', value_name = "ENGINE")]
    without: Vec<Engine>,
}

impl ConfigArgs {
    /// Whether there is a file.
    pub fn is_file(&self) -> bool {
        self.config.is_some()
    }

    /// The file, or what suits a cluster that is no site, with these engines off.
    pub fn load(&self) -> anyhow::Result<ManagerConfig> {
        let mut config = self.config.as_deref().map(ManagerConfig::load).transpose()?.unwrap_or_default();
        config.without.extend(&self.without);
        Ok(config)
    }
}

/// Run the controllers
#[derive(Args)]
pub struct ManagerArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Port of probes
    #[arg(long, default_value_t = 8080)]
    health_port: u16,
    /// Port of the admission server
    #[arg(long, default_value_t = 9443)]
    webhook_port: u16,
    /// Work only while holding the lease `scute-manager`: of several managers of a cluster one works
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    leader_elect: bool,
    /// Namespace of the manager's Pod, and of the lease [default: scute-system]
    #[arg(long, env = "POD_NAMESPACE", hide_env_values = true)]
    pod_namespace: Option<String>,
    /// Name of the manager's Pod, if it is one
    #[arg(long, env = "POD_NAME", hide_env_values = true)]
    pod_name: Option<String>,
    /// UID of the manager's Pod: a holder whose Pod is gone need not be waited for
    #[arg(long, env = "POD_UID", hide_env_values = true)]
    pod_uid: Option<String>,
}

impl ManagerArgs {
    /// Runs until it is told to stop, or until a part fails: then the Pod is started anew.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.load()?;
        let mut stop = signal(SignalKind::terminate())?;
        let server = Config::infer().await.context("no API server to talk to")?;
        let hub = Hub::new(scute_kit::client(server, Limits::MANAGEMENT)?);
        let tenants = Tenants::new(&hub);
        let mut tasks = JoinSet::new();
        // Who waits for the lease answers probes and reviews all the same: neither writes.
        self.serve(&hub, &config, &mut tasks)?;
        let me = self.holder()?;
        // The Pod may have worked before this process was started in it.
        label(&hub, &me, false).await;
        let election = self.leader_elect.then(|| election(&hub, &me, self.pod_namespace()));
        let mut held = tokio::select! {
            _ = stop.recv() => return Ok(ExitCode::SUCCESS),
            Some(ended) = tasks.join_next() => return Err(part_ended(ended)),
            held = async { match election { Some(election) => Some(election.win().await), None => None } } => held,
        };
        label(&hub, &me, true).await;
        keep(&hub, &config, self.pod_namespace(), &mut tasks);
        spawn(&hub, &tenants, &config, &mut tasks);
        spawn_metal(&hub, &config, self.pod_namespace(), &mut tasks)?;
        let ended = tokio::select! {
            _ = stop.recv() => Ok(ExitCode::SUCCESS),
            Some(ended) = tasks.join_next() => Err(part_ended(ended)),
            lost = async { match &mut held { Some(held) => held.keep().await, None => pending().await } } => {
                // Somebody else may already be at work: not one more write.
                tracing::error!(%lost, "ending at once");
                std::process::exit(1);
            }
        };
        tasks.shutdown().await;
        if let Some(held) = held {
            held.release().await;
        }
        ended
    }

    /// Serves probes, and reviews where there is a certificate for them.
    fn serve(&self, hub: &Arc<Hub>, config: &ManagerConfig, tasks: &mut JoinSet<()>) -> anyhow::Result<()> {
        let listen = |port: u16, what: &str| {
            scute_kit::listen(port).with_context(|| format!("listening for {what} on port {port}"))
        };
        let ended = |ended: Result<(), ServeError>| {
            if let Err(error) = ended {
                tracing::error!(%error, "the admission server ended");
            }
        };
        if let Some(certificates) = config.webhook_certificates.clone() {
            let (listener, admission) = (listen(self.webhook_port, "reviews")?, admission(hub, config));
            tasks.spawn(async move {
                ended(admission.serve_on(listener, &certificates, LOOK_AT_CERTIFICATES).await);
            });
        }
        if let Some(secret) = webhook_secret(hub, config, self.pod_namespace()) {
            let (listener, admission) = (listen(self.webhook_port, "reviews")?, admission(hub, config));
            let (tell, told) = watch::channel(None);
            tasks.spawn(secret.follow(tell));
            tasks.spawn(async move { ended(admission.serve_told(listener, told).await) });
        }
        let (listener, probes) = (listen(self.health_port, "probes")?, probes(hub));
        tasks.spawn(async move {
            if let Err(error) = axum::serve(listener, probes).await {
                tracing::error!(%error, "the probe server ended");
            }
        });
        Ok(())
    }

    fn pod_namespace(&self) -> &str {
        self.pod_namespace.as_deref().unwrap_or(scute_install::NAMESPACE)
    }

    /// Who this process is.
    fn holder(&self) -> anyhow::Result<Holder> {
        let pod = self.pod_name.clone().zip(self.pod_uid.clone());
        let mut unique = [0; 8];
        scute_pki::system_random(&mut unique)?;
        Ok(Holder {
            pod: pod.map(|(name, uid)| (Key::new(self.pod_namespace(), name), uid)),
            unique: format!("{:016x}", u64::from_ne_bytes(unique)),
        })
    }
}

/// The lease that only one manager of a cluster holds, and who asks for it.
fn election(hub: &Arc<Hub>, me: &Holder, namespace: &str) -> Election {
    let lease = Key::new(namespace, scute_install::MANAGER);
    Election::new(hub.client(), lease, me.clone(), Tenure::MANAGER, Clock::system())
}

/// Says on the Pod whether it works. Without that servers do not reach it; everything else does.
async fn label(hub: &Arc<Hub>, me: &Holder, works: bool) {
    if let Err(error) = lease::label(&hub.client(), me, scute_install::LEADER_LABEL, works).await {
        tracing::warn!(error = said(&error), works, "the Pod does not say whether it works");
    }
}

/// The Secret of the webhooks' certificate, where the manager makes it itself.
fn webhook_secret(hub: &Arc<Hub>, config: &ManagerConfig, namespace: &str) -> Option<WebhookSecret> {
    let name = config.webhook_secret.as_ref()?;
    Some(WebhookSecret::new(hub.client(), namespace, name))
}

/// Keeps what was installed: makes and renews that certificate and those of the etcd, and has objects in the version of today.
fn keep(hub: &Arc<Hub>, config: &ManagerConfig, namespace: &str, tasks: &mut JoinSet<()>) {
    let failed = |of: &'static str| {
        move |error: &UpkeepError| {
            let error = match error {
                UpkeepError::Api { what, source } => format!("{what}: {}", said(source)),
                other => chain(other),
            };
            tracing::warn!(error, "{of} cannot be kept");
        }
    };
    if let Some(secret) = webhook_secret(hub, config, namespace) {
        tasks.spawn(secret.keep(Timestamp::now, failed("the certificate of the webhooks")));
    }
    if let Some(etcd) = config.etcd.clone() {
        let keeper = EtcdKeeper::new(hub.client(), namespace, etcd);
        tasks.spawn(keeper.keep(Timestamp::now, failed("the installed etcd")));
    }
    let versions = StorageVersions::new(hub.client(), &config.without);
    tasks.spawn(versions.keep(failed("objects in the version of today")));
}

fn part_ended(ended: Result<(), tokio::task::JoinError>) -> anyhow::Error {
    match ended {
        Ok(()) => anyhow::anyhow!("a part ended, which none does"),
        Err(error) => anyhow::Error::new(error).context("a part failed"),
    }
}

/// The versions of all kinds, and what every stage decodes, checks and fills in.
fn admission(hub: &Arc<Hub>, config: &ManagerConfig) -> Admission {
    let offered = scute_contract::offered(hub);
    let convert = move |object: &serde_json::Value, to: &str| {
        conversion::convert_with(object, to, &offered).map_err(|error| error.to_string())
    };
    let versions = Versions { convert: Arc::new(convert), worded: conversion::worded };
    let runs = |engine| !config.without.contains(&engine);
    let mut admission = Admission::new().versions(versions);
    if runs(Engine::ClusterApi) {
        admission = scute_addons::admission(hub, scute_cluster::admission(hub, admission));
        admission = scute_topology::admission(hub, admission);
    }
    if runs(Engine::Kubeadm) {
        admission = scute_bootstrap::admission(hub, admission);
        admission = scute_kubeadmcontrolplane::admission(hub, admission);
    }
    if runs(Engine::Kubevirt) {
        admission = scute_vm::admission(hub, admission);
    }
    if runs(Engine::Metal3) {
        admission = scute_metal::admission(hub, management(config), admission);
    }
    if runs(Engine::Kamaji) {
        admission = scute_controlplane::admission(hub, &controlplane(config), admission);
    }
    admission
}

/// Starts every stage that is not off, with its part of the configuration.
fn spawn(hub: &Arc<Hub>, tenants: &Arc<Tenants>, config: &ManagerConfig, tasks: &mut JoinSet<()>) {
    let defaults = scute_vm::Config::default();
    let accelerator = config.accelerator.unwrap_or(defaults.accelerator);
    let vm = scute_vm::Config {
        launcher_image: config.launcher_image.clone().unwrap_or(defaults.launcher_image),
        accelerator,
        runtime_class: (accelerator == Accelerator::Kvm).then(|| scute_install::KVM_RUNTIME.to_owned()),
        pod_ranges: config.networks.pods.clone(),
        service_ranges: config.networks.services.clone(),
    };
    let runs = |engine| !config.without.contains(&engine);
    if runs(Engine::ClusterApi) {
        scute_cluster::spawn(hub, tenants, scute_cluster::Config::default(), tasks);
        scute_addons::spawn(hub, tenants, tasks);
        scute_topology::spawn(hub, tasks);
    }
    if runs(Engine::Kubeadm) {
        scute_bootstrap::spawn(hub, tenants, scute_bootstrap::Config::default(), tasks);
        let config = scute_kubeadmcontrolplane::Config::default();
        scute_kubeadmcontrolplane::spawn(hub, tenants, config, tasks);
    }
    if runs(Engine::Kamaji) {
        scute_controlplane::spawn(hub, tenants, controlplane(config), tasks);
    }
    if runs(Engine::Kubevirt) {
        scute_vm::spawn(hub, tenants, vm, tasks);
    }
    if runs(Engine::Metal3) {
        scute_metal::spawn_provider(hub, tenants, management(config), tasks);
    }
    scute_loadbalancer::spawn(hub, &config.load_balancer.pools, tasks);
}

/// Starts what bare-metal servers need, where that is configured.
fn spawn_metal(
    hub: &Arc<Hub>,
    config: &ManagerConfig,
    namespace: &str,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<()> {
    let metal = config.metal.as_ref().filter(|_| !config.without.contains(&Engine::Metal3));
    let Some(metal) = metal else { return Ok(()) };
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path)
            .with_context(|| format!("reading metal.bmcAuthorities {}", path.display()))
    };
    let authorities = metal.bmc_authorities.as_ref().map(read).transpose()?;
    let config = scute_metal::Config {
        service_port: metal.service_port,
        media_port: metal.media_port,
        images: metal.images.clone(),
        ..scute_metal::Config::new(
            metal.service_address.clone(),
            metal.ramdisk.clone(),
            Key::new(namespace, "scute-metal"),
            format!("scute/{}", config.site),
            authorities,
        )
    };
    let listeners = scute_metal::Listeners::open(&config).context("listening for agents and BMCs")?;
    scute_metal::spawn(hub, config, listeners, tasks);
    Ok(())
}

/// The management cluster's own addresses.
fn management(config: &ManagerConfig) -> Vec<Claim> {
    let ManagementNetworks { nodes, pods, services, servers, leases, dns: _ } = config.networks.clone();
    let load_balancer = config.load_balancer.pools.clone();
    let service = config.metal.as_ref().and_then(|metal| metal.service_address.parse().ok());
    Management { nodes, pods, services, load_balancer, servers, leases, service }.claims()
}

fn controlplane(config: &ManagerConfig) -> scute_controlplane::Config {
    let defaults = scute_controlplane::Config::default();
    scute_controlplane::Config {
        management_node_cidrs: config.networks.nodes.clone(),
        management_pod_cidrs: config.networks.pods.clone(),
        external_ip_cidrs: config.external_ips.clone(),
        management_service_cidrs: config.networks.services.clone(),
        management: management(config),
        scute_image: config.scute_image.clone().unwrap_or(defaults.scute_image),
        ..defaults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_no_type_can_read_is_denied_for_every_kind() {
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let hub = Hub::new(kube::Client::try_from(config).unwrap());
        let decoded = admission(&hub, &ManagerConfig::default()).decoded();
        for crd in scute_api::crds() {
            let kind = (crd.spec.group, crd.spec.names.kind);
            // Every MachinePool is refused, whatever it holds.
            assert!(kind.1 == "MachinePool" || decoded.contains(&kind), "{kind:?}");
        }
    }

    #[tokio::test]
    async fn of_an_engine_that_is_off_no_kind_is_judged() {
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let hub = Hub::new(kube::Client::try_from(config).unwrap());
        let off =
            ManagerConfig { without: vec![Engine::Kubevirt, Engine::Kubeadm], ..ManagerConfig::default() };
        let kinds = admission(&hub, &off).decoded();
        let of = |(group, kind): &(String, String)| Engine::of(group, kind);
        assert!(!kinds.iter().any(|kind| off.without.contains(&of(kind))), "{kinds:?}");
        assert!(kinds.iter().any(|kind| of(kind) == Engine::ClusterApi));
    }
}
