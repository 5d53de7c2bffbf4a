//! `scute status`: what a site is and what is wrong with it. In: a site's name. Out: [`Status`]. Only reads.

use crate::{
    Layout, NetworkMode, SiteConfig,
    addresses::{AddressRange, Addresses},
    config::{self, ConfigError},
    host::{egress, facts},
    layout::SiteName,
    node::{
        control::{self, Ask, Event, State},
        pki,
    },
    supervisor,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::{Api, Client, api::ListParams, config::Kubeconfig};
use scute_bundle::{Bundle, BundleError};
use scute_processes::{cgroups, files};
use scute_qemu::Accelerator;
use serde::Serialize;
use std::{collections::BTreeSet, net::Ipv4Addr, path::PathBuf};
use tokio::time::{Duration, timeout};

/// How long a part of the site may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Less free disk than this is worth a word.
const LITTLE_DISK: u64 = 2 << 30;
/// Certificates that end within this time are worth a word.
const RENEW_WITHIN: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Choices of `scute status`.
#[derive(Clone, Debug)]
pub struct StatusOptions {
    /// The site's name.
    pub site: SiteName,
}

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// No such site.
    #[error("there is no site {0}; `scute up` makes one")]
    NoSite(SiteName),
    /// Its configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// A component of the site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// Its name.
    pub name: String,
    /// Its version, where one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether it runs and is ready.
    pub ready: bool,
    /// How often it was started again.
    pub restarts: u32,
    /// Process id, for those that are no Pods (inside of the site's namespace).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A LoadBalancer pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// Its addresses.
    pub range: AddressRange,
    /// How many Services have one.
    pub used: u64,
    /// How many are free.
    pub free: u64,
}

/// Addresses of servers on the bridge of a site's Pods. No Pod gets one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Servers {
    /// What the rack gives to its hosts by DHCP.
    pub leased: AddressRange,
    /// What users give: static addresses and IPPools.
    pub given: AddressRange,
    /// Prefix length of their network.
    pub prefix: u8,
    /// Their gateway.
    pub gateway: Ipv4Addr,
    /// Their name server.
    pub dns: Ipv4Addr,
}

/// The disk of the site's folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Disk {
    /// The folder.
    pub path: PathBuf,
    /// Bytes that the site takes.
    pub used: u64,
    /// Free bytes.
    pub free: u64,
}

/// Everything that is known of a site.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Its name.
    pub site: String,
    /// Whether everything is ready and nothing is wrong.
    pub healthy: bool,
    /// Version of Scute.
    pub version: String,
    /// Version of Kubernetes.
    pub kubernetes: String,
    /// How it meets the machine's network.
    pub network: NetworkMode,
    /// Whether Pods and guests reach what the machine reaches, behind the machine's address.
    pub masquerade: bool,
    /// The Node's address.
    pub node: Ipv4Addr,
    /// Whether the Node is ready.
    pub node_ready: bool,
    /// Kubeconfig of its administrator.
    pub kubeconfig: PathBuf,
    /// What guests run on, once a probe guest has told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accelerator: Option<Accelerator>,
    /// Why it is not KVM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accelerator_reason: Option<String>,
    /// The bundle's digest.
    pub bundle: String,
    /// Its processes and Pods.
    pub components: Vec<Component>,
    /// Its LoadBalancer pools.
    pub pools: Vec<Pool>,
    /// Addresses of servers on the bridge of its Pods.
    pub servers: Servers,
    /// Its disk.
    pub disk: Disk,
    /// Bytes of memory of all its processes, where the kernel counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// When its certificates end; every start of the site makes new ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificates_end: Option<Timestamp>,
    /// What is wrong, in words.
    pub problems: Vec<String>,
}

/// What was read from the cluster.
#[derive(Default)]
struct Cluster {
    nodes: Vec<Node>,
    pods: Vec<Pod>,
    services: Vec<Service>,
}

/// Reads the status of a site. A part that does not answer becomes a problem, not an error.
pub async fn status(options: &StatusOptions) -> Result<Status, StatusError> {
    let (layout, config) = config::open(&options.site)?;
    let config = config.ok_or_else(|| StatusError::NoSite(options.site.clone()))?;
    let mut problems = Vec::new();
    let supervisor = supervisor::running(&layout).map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
    if supervisor.is_none() {
        problems.push(format!("the supervisor does not run; `scute up --site {}` starts it", config.name));
    }
    let state = within(ask_init(&layout)).await;
    let cluster = match (supervisor, within(read_cluster(&layout)).await) {
        (_, Ok(cluster)) => cluster,
        (None, Err(_)) => Cluster::default(),
        (Some(_), Err(why)) => {
            problems.push(format!("the API server does not answer: {why}"));
            Cluster::default()
        }
    };
    let mut components = vec![Component {
        name: "supervisor".to_owned(),
        version: Some(config.version.clone()),
        ready: supervisor.is_some(),
        restarts: 0,
        pid: supervisor,
        reason: None,
    }];
    components.extend(processes(&state, supervisor.is_some(), &mut problems));
    components.extend(pods(&cluster.pods));
    let not_ready = components.iter().filter(|c| !c.ready && c.reason.is_some());
    problems.extend(not_ready.map(|c| format!("{}: {}", c.name, c.reason.clone().unwrap_or_default())));
    let disk = disk(&layout, &mut problems);
    bundle_problems(&config, &mut problems);
    let node_ready = cluster.nodes.iter().any(is_ready);
    if supervisor.is_some() && !node_ready {
        problems.push("the Node is not ready".to_owned());
    }
    problems.extend(supervisor.and_then(|_| egress::problem(&layout, &config)));
    let certificates_end = pki::end(&layout);
    problems.extend(old_certificates(&config.name, certificates_end, Timestamp::now()));
    let probe = crate::node::accelerator::found(&layout);
    let pools = pools(&config.addresses.pools, &cluster.services);
    problems.extend(
        pools.iter().filter(|p| p.free == 0).map(|p| format!("the LoadBalancer pool {} is used up", p.range)),
    );
    Ok(Status {
        healthy: problems.is_empty(),
        site: config.name,
        version: config.version,
        kubernetes: config.kubernetes,
        network: config.network,
        masquerade: config.masquerade,
        node: config.addresses.node,
        node_ready,
        kubeconfig: layout.admin_kubeconfig(),
        accelerator: probe.as_ref().map(|probe| probe.accelerator),
        accelerator_reason: probe.map(|probe| probe.reason).filter(|reason| !reason.is_empty()),
        bundle: config.bundle_digest,
        components,
        pools,
        servers: servers(&config.addresses),
        disk,
        memory: cgroups::memory(&layout.cgroup()),
        certificates_end,
        problems,
    })
}

/// Certificates that end soon, and how they are renewed.
fn old_certificates(name: &str, end: Option<Timestamp>, now: Timestamp) -> Option<String> {
    let end = end.filter(|end| end.duration_since(now) < RENEW_WITHIN)?;
    Some(format!(
        "the site's certificates end at {end}; every start makes new ones: end the supervisor and run `scute up --site {name}`"
    ))
}

async fn within<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
}

async fn ask_init(layout: &Layout) -> Result<State, String> {
    let text = |e: std::io::Error| e.to_string();
    let mut answers = control::ask(&layout.control_socket(), Ask::Status).await.map_err(text)?;
    answers.next().await.map_err(text)?.ok_or_else(|| "no answer".to_owned())
}

async fn read_cluster(layout: &Layout) -> Result<Cluster, String> {
    let text = |e: &dyn std::error::Error| scute_processes::chain(e);
    let kubeconfig = Kubeconfig::read_from(layout.admin_kubeconfig()).map_err(|e| text(&e))?;
    let mut config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.map_err(|e| text(&e))?;
    // The site is on this machine, whatever proxy the environment names for the rest of the world.
    config.proxy_url = None;
    let client = Client::try_from(config).map_err(|e| text(&e))?;
    let all = ListParams::default();
    let (nodes, pods, services) =
        (Api::<Node>::all(client.clone()), Api::<Pod>::all(client.clone()), Api::<Service>::all(client));
    let (nodes, pods, services) =
        futures::try_join!(nodes.list(&all), pods.list(&all), services.list(&all)).map_err(|e| text(&e))?;
    Ok(Cluster { nodes: nodes.items, pods: pods.items, services: services.items })
}

fn processes(state: &Result<State, String>, running: bool, problems: &mut Vec<String>) -> Vec<Component> {
    let state = match state {
        Ok(state) => state,
        Err(why) if running => {
            problems.push(format!("the site's init does not answer: {why}"));
            return Vec::new();
        }
        Err(_) => return Vec::new(),
    };
    match &state.last {
        Some(Event::Up { .. }) => {}
        Some(Event::Failed { step, why }) => problems.push(format!("coming up failed at {step:?}: {why}")),
        Some(Event::Started { step } | Event::Finished { step, .. }) => {
            problems.push(format!("the site is still coming up ({step})"));
        }
        None => problems.push("the site is still coming up".to_owned()),
    }
    let component = |p: &scute_processes::keep::ProcessState| Component {
        name: p.name.clone(),
        version: None,
        ready: p.pid.is_some(),
        restarts: p.restarts,
        pid: p.pid,
        reason: if p.pid.is_none() {
            Some(format!("ended: {}", p.last_exit.clone().unwrap_or_default()))
        } else {
            None
        },
    };
    state.processes.iter().map(component).collect()
}

fn is_ready(node: &Node) -> bool {
    let status = node.status.as_ref();
    status
        .and_then(|s| s.conditions.as_ref())
        .is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

/// The Pods of the site itself: its control plane, DNS and the manager.
fn pods(pods: &[Pod]) -> Vec<Component> {
    let ours = |pod: &&Pod| {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        namespace == "kube-system" || namespace == scute_install::NAMESPACE
    };
    let mut components: Vec<_> = pods.iter().filter(ours).map(pod_component).collect();
    components.sort_by(|a, b| a.name.cmp(&b.name));
    components
}

fn pod_component(pod: &Pod) -> Component {
    let status = pod.status.clone().unwrap_or_default();
    let containers = status.container_statuses.unwrap_or_default();
    let ready = !containers.is_empty() && containers.iter().all(|c| c.ready);
    let waiting = containers.iter().find_map(|c| c.state.as_ref()?.waiting.clone());
    let reason = waiting.map(|w| match w.message {
        Some(message) => format!("{}: {message}", w.reason.unwrap_or_default()),
        None => w.reason.unwrap_or_default(),
    });
    let image = containers.first().map(|c| c.image.clone()).unwrap_or_default();
    let phase = status.phase.unwrap_or_default();
    Component {
        name: pod.metadata.name.clone().unwrap_or_default(),
        version: image.rsplit_once(':').map(|(_, tag)| tag.to_owned()),
        ready,
        restarts: containers.iter().map(|c| c.restart_count.unsigned_abs()).max().unwrap_or(0),
        pid: None,
        reason: if ready { None } else { Some(reason.unwrap_or(phase)) },
    }
}

fn pools(ranges: &[AddressRange], services: &[Service]) -> Vec<Pool> {
    let given: BTreeSet<Ipv4Addr> = services
        .iter()
        .filter_map(|s| s.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref())
        .flatten()
        .filter_map(|ingress| ingress.ip.as_deref()?.parse().ok())
        .collect();
    let pool = |range: &AddressRange| {
        let used = given.iter().filter(|ip| range.contains(**ip)).count() as u64;
        Pool { range: *range, used, free: range.size().saturating_sub(used) }
    };
    ranges.iter().map(pool).collect()
}

fn servers(addresses: &Addresses) -> Servers {
    Servers {
        leased: addresses.leased_servers(),
        given: addresses.given_servers(),
        prefix: addresses.pods.prefix_len(),
        gateway: addresses.pods_gateway(),
        dns: addresses.dns(),
    }
}

fn disk(layout: &Layout, problems: &mut Vec<String>) -> Disk {
    let (free, _) = facts::disk(&layout.dir).unwrap_or_default();
    if free < LITTLE_DISK {
        problems.push(format!("only {} MiB of disk are free at {}", free >> 20, layout.dir.display()));
    }
    Disk { path: layout.dir.clone(), used: files::tree_size(&layout.dir), free }
}

fn bundle_problems(config: &SiteConfig, problems: &mut Vec<String>) {
    match Bundle::open(&config.bundle, &config.version, &config.kubernetes) {
        Ok(bundle) if bundle.digest == config.bundle_digest => {}
        Ok(_) => {
            problems.push("the bundle has changed since `scute up`; run it again to bring it in".to_owned())
        }
        // The site has what it needs; `up` says so when something is missing.
        Err(BundleError::NoIndex { .. }) => {}
        Err(e) => problems.push(scute_processes::chain(&e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_that_end_soon_are_told_and_how_to_renew_them() {
        let end: Timestamp = "2027-11-23T00:00:00Z".parse().unwrap();
        let told =
            |days: i64| old_certificates("lab", Some(end), end - SignedDuration::from_hours(24 * days));
        assert_eq!(told(31), None);
        assert!(told(29).is_some_and(|text| text.contains("2027-11-23") && text.contains("--site lab")));
        assert!(told(-1).is_some(), "and when they have ended");
    }
}
