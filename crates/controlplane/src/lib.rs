//! In: DataStores, TenantControlPlanes, KamajiControlPlanes. Out: control planes that run as Pods, each behind its own
//! user and prefix of a shared etcd, with everything inside that `kubeadm join` needs, and what is to be said of them.
//! Never: runs a Kubernetes component itself, makes Machines, knows how a Node is made.

mod admission;
mod context;
mod datastore;
mod holders;
mod inside;
mod kamajicontrolplane;
mod names;
mod ranges;
mod start_limiter;
mod stores;
mod tenant;

use std::sync::Arc;

use ipnet::IpNet;
use scute_api::ranges::Claim;
use scute_etcd::{Connect, Etcd};
use scute_kit::tenants::Tenants;
use scute_kit::{Admission, Hub};
use tokio::task::JoinSet;

use context::Context;
use tenant::network_policy::Ranges;

/// Settings of this room.
#[derive(Clone, Debug)]
pub struct Config {
    /// Ranges of the management cluster's Nodes.
    pub management_node_cidrs: Vec<IpNet>,
    /// Ranges of the management cluster's Pods; VM Nodes have addresses in them.
    pub management_pod_cidrs: Vec<IpNet>,
    /// Ranges of the management cluster's Services.
    pub management_service_cidrs: Vec<IpNet>,
    /// Ranges from which tenants may choose an address for their Service's externalIPs; traffic to it becomes theirs.
    pub external_ip_cidrs: Vec<IpNet>,
    /// All addresses of the management cluster, for warnings.
    pub management: Vec<Claim>,
    /// DataStore of tenants that name none.
    pub default_datastore: String,
    /// Image of Scute itself, which runs the embedded Pod network on tenants' Nodes.
    pub scute_image: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            management_node_cidrs: Vec::new(),
            management_pod_cidrs: Vec::new(),
            management_service_cidrs: Vec::new(),
            external_ip_cidrs: Vec::new(),
            management: Vec::new(),
            default_datastore: "default".to_owned(),
            scute_image: format!("scute.dev/scute:{}", env!("CARGO_PKG_VERSION")),
        }
    }
}

impl Config {
    /// Ranges of the management cluster.
    fn ranges(&self) -> Ranges<'_> {
        let Self { management_node_cidrs, management_pod_cidrs, management_service_cidrs, .. } = self;
        Ranges {
            nodes: management_node_cidrs,
            pods: management_pod_cidrs,
            services: management_service_cidrs,
        }
    }
}

/// Adds the admission handlers of this room.
pub fn admission(hub: &Arc<Hub>, config: &Config, admission: Admission) -> Admission {
    ranges::add(hub, &config.management, admission::add(hub, config, admission))
}

/// Starts the controllers of this room on real DataStores.
pub fn spawn(hub: &Arc<Hub>, remotes: &Arc<Tenants>, config: Config, tasks: &mut JoinSet<()>) {
    spawn_on(hub, remotes, config, Arc::new(Etcd), tasks);
}

/// As [`spawn`], on DataStores that `connect` opens.
pub fn spawn_on(
    hub: &Arc<Hub>,
    remotes: &Arc<Tenants>,
    config: Config,
    connect: Arc<dyn Connect>,
    tasks: &mut JoinSet<()>,
) {
    let (context, wires) = Context::new(hub, remotes, config, connect);
    tasks.spawn(datastore::run(Arc::clone(&context)));
    tasks.spawn(tenant::run(Arc::clone(&context), wires.changed));
    tasks.spawn(kamajicontrolplane::run(Arc::clone(&context)));
    tasks.spawn(inside::run(Arc::clone(&context), wires.inside_wanted));
}
