//! Everything that a MachineDeployment's reconcile looks at.

use std::sync::Arc;

use kube::ResourceExt;
use scute_api::cluster::{Cluster, Machine, MachineDeployment, MachineSet};
use scute_contract::owners::{controller, is_controlled_by};
use scute_contract::selector;
use scute_kit::Key;

use super::Context;

/// A MachineDeployment and what surrounds it.
pub struct Observed {
    /// The deployment, with its defaults.
    pub deployment: Arc<MachineDeployment>,
    /// Its Cluster, if it exists.
    pub cluster: Option<Arc<Cluster>>,
    /// Its MachineSets, and orphans that it selects, eldest first.
    pub sets: Vec<SetSeen>,
}

/// A MachineSet and its Machines.
pub struct SetSeen {
    /// The set.
    pub set: Arc<MachineSet>,
    /// Its Machines.
    pub machines: Vec<Arc<Machine>>,
}

/// Reads, and writes nothing.
#[must_use]
pub fn observe(deployment: Arc<MachineDeployment>, context: &Context) -> Observed {
    let namespace = deployment.namespace().unwrap_or_default();
    let cluster = context.clusters.get(&Key::new(namespace.clone(), deployment.spec.cluster_name.clone()));
    let machines = context.machines.list_in(&namespace);
    let mut sets: Vec<_> = context
        .sets
        .list_in(&namespace)
        .into_iter()
        .filter(|set| belongs(&deployment, set))
        .map(|set| {
            let uid = set.metadata.uid.as_deref();
            let of_set = |machine: &&Arc<Machine>| is_controlled_by(&machine.metadata, uid);
            let machines = machines.iter().filter(of_set).cloned().collect();
            SetSeen { set, machines }
        })
        .collect();
    sets.sort_by_key(|seen| {
        let made = seen.set.metadata.creation_timestamp.as_ref().map_or(0, |made| made.0.as_second());
        (made, super::set::revision_of(seen.set.as_ref()), seen.set.name_any())
    });
    Observed { deployment, cluster, sets }
}

/// Whether a set is the deployment's, or an orphan that the deployment selects.
#[must_use]
pub fn belongs(deployment: &MachineDeployment, set: &MachineSet) -> bool {
    if is_controlled_by(&set.metadata, deployment.metadata.uid.as_deref()) {
        return true;
    }
    controller(&set.metadata).is_none()
        && set.metadata.deletion_timestamp.is_none()
        && deployment.metadata.deletion_timestamp.is_none()
        && set.spec.cluster_name == deployment.spec.cluster_name
        && selector::matches(&deployment.spec.selector, set.labels())
}
