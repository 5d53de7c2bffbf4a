//! Everything that a Cluster's reconcile looks at.

use std::sync::Arc;

use kube::ResourceExt;
use scute_api::cluster::{Cluster, Machine, MachineDeployment, MachineSet};
use scute_api::meta::{CONTROL_PLANE_LABEL, ContractRef};
use scute_contract::owners::owner_of_kind;
use scute_contract::{External, Found};
use scute_kit::Key;

use super::{Context, extra};

/// A Cluster and what belongs to it.
pub struct Observed {
    /// The Cluster.
    pub cluster: Arc<Cluster>,
    /// Its infrastructure; `None` when it names none.
    pub infrastructure: Option<Found>,
    /// InfraClusters of other kinds.
    pub extra: Vec<External>,
    /// Its control plane; `None` when it names none.
    pub control_plane: Option<Found>,
    /// Its MachineDeployments.
    pub deployments: Vec<Arc<MachineDeployment>>,
    /// Its MachineSets of no deployment.
    pub sets: Vec<Arc<MachineSet>>,
    /// Its Machines, those of its control plane apart.
    pub workers: Vec<Arc<Machine>>,
    /// The Machines of its control plane.
    pub control_plane_machines: Vec<Arc<Machine>>,
    /// Whether its API server answers; `None` when it has not been asked.
    pub probe: Option<Result<(), String>>,
}

/// Reads, and writes nothing.
///
/// # Errors
/// When the management cluster's API server does not answer.
pub async fn observe(cluster: Arc<Cluster>, context: &Context) -> Result<Observed, scute_kit::Error> {
    let asker = Key::of(cluster.as_ref());
    let (namespace, name) = (asker.namespace.clone(), asker.name.clone());
    let deleting = cluster.metadata.deletion_timestamp.is_some();
    let infrastructure = look(&asker, cluster.spec.infrastructure_ref.as_ref(), deleting, context).await?;
    let control_plane = look(&asker, cluster.spec.control_plane_ref.as_ref(), deleting, context).await?;
    let extra =
        extra::observe(&asker, &cluster, &context.clusters, &context.kinds, &context.hub, &context.externals)
            .await?;
    let deployments = context
        .deployments
        .list_in(&namespace)
        .into_iter()
        .filter(|deployment| deployment.spec.cluster_name == name)
        .collect();
    let sets = context
        .sets
        .list_in(&namespace)
        .into_iter()
        .filter(|set| {
            set.spec.cluster_name == name && owner_of_kind::<MachineDeployment>(&set.metadata).is_none()
        })
        .collect();
    let (control_plane_machines, workers) = context
        .machines
        .list_in(&namespace)
        .into_iter()
        .filter(|machine| machine.spec.cluster_name == name)
        .partition(|machine| machine.labels().contains_key(CONTROL_PLANE_LABEL));
    let probe = if deleting { None } else { context.probes.ask(&cluster, &context.tenants).await };
    Ok(Observed {
        cluster,
        infrastructure,
        extra,
        control_plane,
        deployments,
        sets,
        workers,
        control_plane_machines,
        probe,
    })
}

/// A deletion asks the API server: what is taken for gone must be gone.
async fn look(
    asker: &Key,
    reference: Option<&ContractRef>,
    live: bool,
    context: &Context,
) -> Result<Option<Found>, scute_kit::Error> {
    Ok(match reference {
        None => None,
        Some(reference) if live => {
            Some(context.externals.get_live(asker, &asker.namespace, reference).await?)
        }
        Some(reference) => Some(context.externals.get(asker, &asker.namespace, reference).await),
    })
}
