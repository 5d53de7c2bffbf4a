//! Everything that a Cluster's reconcile looks at.

use std::sync::Arc;

use kube::ResourceExt;
use scute_api::cluster::{Cluster, ClusterInitializationStatus, Machine, MachineDeployment, MachineSet};
use scute_api::meta::{CONTROL_PLANE_LABEL, ContractRef};
use scute_contract::owners::{owner, owner_of_kind};
use scute_contract::{External, Found};
use scute_kit::Key;
use scute_kit::tenants::{Standing, TenantKey};

use super::probe::Connection;
use super::{Context, infraclusters};

/// A Cluster and what belongs to it.
pub struct Observed {
    /// That the tenant has more Nodes than are followed.
    pub left_out: Option<String>,
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
    /// Whether its API server answers; `None` when it is not asked.
    pub connection: Option<Connection>,
}

/// Reads, and writes nothing.
///
/// # Errors
/// When the management cluster's API server does not answer.
pub async fn observe(cluster: Arc<Cluster>, context: &Context) -> Result<Observed, scute_kit::Error> {
    let asker = Key::of(cluster.as_ref());
    let (namespace, name) = (asker.namespace.clone(), asker.name.clone());
    let deleting = cluster.metadata.deletion_timestamp.is_some();
    let infrastructure = look(&cluster, cluster.spec.infrastructure_ref.as_ref(), context).await;
    let control_plane = look(&cluster, cluster.spec.control_plane_ref.as_ref(), context).await;
    let deployments: Vec<_> = context
        .deployments
        .list_in(&namespace)
        .into_iter()
        .filter(|deployment| deployment.spec.cluster_name == name)
        .collect();
    let sets: Vec<_> = context
        .sets
        .list_in(&namespace)
        .into_iter()
        .filter(|set| {
            set.spec.cluster_name == name && owner_of_kind::<MachineDeployment>(&set.metadata).is_none()
        })
        .collect();
    let (control_plane_machines, workers): (Vec<_>, Vec<_>) = context
        .machines
        .list_in(&namespace)
        .into_iter()
        .filter(|machine| machine.spec.cluster_name == name)
        .partition(|machine| machine.labels().contains_key(CONTROL_PLANE_LABEL));
    let of_deployments = deployments.iter().map(|deployment| &deployment.spec.template.spec);
    let of_sets = sets.iter().map(|set| &set.spec.template.spec);
    let machines = workers.iter().chain(&control_plane_machines).map(|machine| &machine.spec);
    let extra = infraclusters::observe(
        &asker,
        &cluster,
        &context.clusters,
        of_deployments.chain(of_sets).chain(machines),
        &context.installed,
        &context.hub,
        &context.externals,
    )
    .await?;
    let connection = (!deleting && cluster.is_initialized()).then(|| context.probes.of(&asker));
    let tenant = TenantKey::capi(&asker.namespace, &asker.name);
    let followed = connection.as_ref().map(|_| context.tenants.nodes(&tenant).standing());
    let left_out = followed.filter(|standing| *standing == Standing::Partial).and_then(Standing::message);
    Ok(Observed {
        left_out,
        cluster,
        infrastructure,
        extra,
        control_plane,
        deployments,
        sets,
        workers,
        control_plane_machines,
        connection,
    })
}

/// A deletion asks the API server: what is taken for gone must be gone.
async fn look(cluster: &Cluster, reference: Option<&ContractRef>, context: &Context) -> Option<Found> {
    let (asker, reference) = (Key::of(cluster), reference?);
    let found = match cluster.metadata.deletion_timestamp {
        Some(_) => context.externals.get_live(&asker, &asker.namespace, reference).await,
        None => context.externals.get(&asker, &asker.namespace, reference).await,
    };
    Some(found.for_owner(&owner(cluster, false)))
}

impl Observed {
    /// Why it is not known whether the infrastructure is there.
    #[must_use]
    pub fn infrastructure_unknown(&self) -> Option<String> {
        let initialization = self.initialization();
        self.infrastructure.as_ref()?.unknown(initialization.infrastructure_provisioned == Some(true))
    }

    /// Why it is not known whether the control plane is there.
    #[must_use]
    pub fn control_plane_unknown(&self) -> Option<String> {
        self.control_plane.as_ref()?.unknown(self.cluster.is_initialized())
    }

    /// The Machines that are not of its control plane.
    #[must_use]
    pub fn workers(&self) -> Vec<&Machine> {
        self.workers.iter().map(AsRef::as_ref).collect()
    }

    /// The Machines of its control plane.
    #[must_use]
    pub fn control_plane_machines(&self) -> Vec<&Machine> {
        self.control_plane_machines.iter().map(AsRef::as_ref).collect()
    }

    fn initialization(&self) -> ClusterInitializationStatus {
        self.cluster.status.as_ref().and_then(|status| status.initialization.clone()).unwrap_or_default()
    }
}
