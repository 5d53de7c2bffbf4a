//! What the controllers of this crate work with.

use std::sync::Arc;

use scute_api::cluster::clusterclass::ClusterClass;
use scute_api::cluster::{Cluster, Machine, MachineDeployment, MachineSet};
use scute_contract::Externals;
use scute_kit::{Hub, Key, Watch};
use tokio::sync::mpsc::UnboundedReceiver;

/// Field manager of everything that a topology makes; upstream's name, so that either goes on where the other stopped.
pub const MANAGER: &str = "capi-topology";

/// What the controllers of this crate work with.
pub struct Context {
    pub hub: Arc<Hub>,
    pub externals: Externals,
    pub clusters: Watch<Cluster>,
    pub classes: Watch<ClusterClass>,
    pub deployments: Watch<MachineDeployment>,
    pub sets: Watch<MachineSet>,
    pub machines: Watch<Machine>,
}

impl Context {
    /// With every kind listed. The receiver gets the keys of those whose providers' objects change.
    pub async fn new(hub: &Arc<Hub>) -> (Self, UnboundedReceiver<Key>) {
        let (externals, woken) = Externals::new(hub);
        let context = Self {
            hub: Arc::clone(hub),
            externals,
            clusters: hub.watch(),
            classes: hub.watch(),
            deployments: hub.watch(),
            sets: hub.watch(),
            machines: hub.watch(),
        };
        context.clusters.ready().await;
        context.classes.ready().await;
        context.deployments.ready().await;
        context.sets.ready().await;
        context.machines.ready().await;
        (context, woken)
    }
}

/// The class of a Cluster with a topology.
#[must_use]
pub fn class_key(cluster: &Cluster) -> Option<Key> {
    let reference = &cluster.spec.topology.as_ref()?.class_ref;
    let namespace = reference.namespace.clone().or_else(|| cluster.metadata.namespace.clone());
    Some(Key::new(namespace.unwrap_or_default(), reference.name.clone()))
}
