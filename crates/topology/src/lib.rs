//! In: ClusterClasses with their templates, and Clusters that choose from one. Out: the InfraCluster, control plane,
//! MachineDeployments, templates and health checks of such a Cluster, and how far they have come. Never: knows a
//! provider's kind, or makes a Machine.

mod admission;
mod apply;
mod blueprint;
mod class;
mod context;
mod controller;
mod desired;
mod names;
mod observe;
mod patch;
mod report;
mod template;
mod upgrade;
mod variables;

use std::sync::Arc;

use scute_kit::Hub;
use tokio::task::JoinSet;

pub use admission::admission;

/// Starts the controllers.
pub fn spawn(hub: &Arc<Hub>, tasks: &mut JoinSet<()>) {
    tasks.spawn(class::run(Arc::clone(hub)));
    tasks.spawn(controller::run(Arc::clone(hub)));
}
