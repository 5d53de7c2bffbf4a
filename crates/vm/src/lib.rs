//! Virtual machines: the controllers.
//!
//! In: VirtualMachine, VirtualMachineInstance, KubevirtCluster and KubevirtMachine. Out: Pods that run
//! guests, their Secrets, and Nodes with a providerID. Never: a VM outside a Pod, or a Secret's content
//! in a Pod's spec.

mod config;
pub mod kubevirtcluster;
pub mod kubevirtmachine;
pub mod virtualmachine;
pub mod virtualmachineinstance;

use std::future::ready;
use std::sync::Arc;

use futures::FutureExt;
use scute_api::infrastructure::{
    KubevirtCluster, KubevirtClusterTemplate, KubevirtMachine, KubevirtMachineTemplate,
};
use scute_api::kubevirt::{VirtualMachine, VirtualMachineInstance};
use scute_kit::tenants::Tenants;
use scute_kit::{Admission, Hub};
use tokio::task::JoinSet;

pub use config::Config;

/// Adds the handlers of this room's kinds, and that of evictions (`policy`, `Eviction`), which are asked for
/// the subresource `pods/eviction`.
#[must_use]
pub fn admission(hub: &Arc<Hub>, admission: Admission) -> Admission {
    let hub = Arc::clone(hub);
    admission
        .decodes::<KubevirtCluster>()
        .decodes::<KubevirtClusterTemplate>()
        .decodes::<KubevirtMachine>()
        .decodes::<KubevirtMachineTemplate>()
        .decodes::<VirtualMachine>()
        .decodes::<VirtualMachineInstance>()
        .on("kubevirt.io", "VirtualMachine", |request| ready(virtualmachine::judge(&request)).boxed())
        .on("kubevirt.io", "VirtualMachineInstance", |request| {
            ready(virtualmachineinstance::judge(&request)).boxed()
        })
        .on("infrastructure.cluster.x-k8s.io", "KubevirtMachine", |request| {
            ready(kubevirtmachine::judge(&request)).boxed()
        })
        .on("infrastructure.cluster.x-k8s.io", "KubevirtMachineTemplate", |request| {
            ready(kubevirtmachine::judge_template(&request)).boxed()
        })
        .on("policy", "Eviction", move |request| {
            let hub = Arc::clone(&hub);
            async move { virtualmachineinstance::evict(&hub, &request).await }.boxed()
        })
}

/// Starts the controllers.
pub fn spawn(hub: &Arc<Hub>, tenants: &Arc<Tenants>, config: Config, tasks: &mut JoinSet<()>) {
    tasks.spawn(virtualmachineinstance::run(Arc::clone(hub), config.clone()));
    tasks.spawn(virtualmachine::run(Arc::clone(hub)));
    tasks.spawn(kubevirtcluster::run(Arc::clone(hub)));
    tasks.spawn(kubevirtmachine::run(Arc::clone(hub), Arc::clone(tenants), config));
    tasks.spawn(kubevirtmachine::template::run(Arc::clone(hub)));
}
