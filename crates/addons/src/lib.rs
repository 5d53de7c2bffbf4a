//! In: ClusterResourceSets, the ConfigMaps and Secrets that they name, Clusters with their labels. Out: objects in tenants,
//! ClusterResourceSetBindings that say so, conditions that say what is missing. Never: keeps a manifest in memory, or takes
//! out of a tenant what it has put in.

mod admission;
mod binding;
mod clusterresourceset;

use std::sync::Arc;

use scute_kit::Hub;
use scute_kit::tenants::Tenants;
use tokio::task::JoinSet;

pub use admission::admission;

/// Starts the controllers.
pub fn spawn(hub: &Arc<Hub>, tenants: &Arc<Tenants>, tasks: &mut JoinSet<()>) {
    tasks.spawn(clusterresourceset::run(Arc::clone(hub), Arc::clone(tenants)));
    tasks.spawn(binding::run(Arc::clone(hub)));
}
