//! In: KubeadmControlPlanes, the Machines that they own, the API server and the etcd on those Machines. Out: certificates
//! and kubeconfig of the Cluster, Machines with their configurations and infrastructure one at a time, etcd members that
//! leave before their Machine does, and words about all of it. Never: writes bootstrap data, or touches a host.

mod admission;
mod apply;
mod available;
mod clone;
mod context;
mod controller;
mod etcd;
mod health;
mod inside;
mod inspect;
mod kubeconfig;
mod machines;
mod members;
mod observe;
mod outdated;
mod plan;
mod preflight;
mod remediation;
mod report;
mod rollout;
mod say;
mod scale;
#[cfg(test)]
mod stories;

use std::sync::Arc;

use scute_kit::tenants::Tenants;
use scute_kit::{Admission, Hub};
use tokio::task::JoinSet;

pub use etcd::{ClientCertificate, EtcdPods, Reach};

/// How the controller behaves.
pub struct Config {
    /// The way to the etcd member on a Node of a tenant.
    pub etcd: Arc<dyn Reach>,
}

impl Default for Config {
    fn default() -> Self {
        Self { etcd: Arc::new(EtcdPods) }
    }
}

/// What is checked at the door.
#[must_use]
pub fn admission(_hub: &Arc<Hub>, admission: Admission) -> Admission {
    admission::admission(admission)
}

/// Starts the controller.
pub fn spawn(hub: &Arc<Hub>, tenants: &Arc<Tenants>, config: Config, tasks: &mut JoinSet<()>) {
    tasks.spawn(controller::run(Arc::clone(hub), Arc::clone(tenants), config));
}
