//! In: Cluster, MachineDeployment, MachineSet, Machine and MachineHealthCheck objects, providers' objects through their
//! contracts, tenants' Nodes. Out: what those objects need of each other, and statuses that say what is
//! missing. Never: knows a provider's kind, or makes infrastructure or bootstrap data itself.

mod admission;
mod calls;
mod cluster;
mod machine;
mod machinedeployment;
mod machinehealthcheck;
mod machines;
mod machineset;
mod tenants;

use std::sync::Arc;

use scute_kit::Hub;
use scute_kit::tenants::Tenants;
use tokio::task::JoinSet;

pub use admission::admission;

/// How the controllers of this crate behave. Nothing can be chosen yet.
#[derive(Clone, Debug, Default)]
pub struct Config {}

/// Starts the controllers.
pub fn spawn(hub: &Arc<Hub>, tenants: &Arc<Tenants>, config: Config, tasks: &mut JoinSet<()>) {
    let Config {} = config;
    let lanes = Arc::<calls::Lanes>::default();
    tasks.spawn(cluster::run(Arc::clone(hub), Arc::clone(tenants), Arc::clone(&lanes)));
    tasks.spawn(machinedeployment::run(Arc::clone(hub)));
    tasks.spawn(machineset::run(Arc::clone(hub)));
    tasks.spawn(machinehealthcheck::run(Arc::clone(hub), Arc::clone(tenants)));
    tasks.spawn(machine::run(Arc::clone(hub), Arc::clone(tenants), lanes));
}
