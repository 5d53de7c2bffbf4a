//! Everything that a control plane's reconcile looks at in the management cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ApiResource, DynamicObject};
use kube::{Resource, ResourceExt};
use scute_api::bootstrap::KubeadmConfig;
use scute_api::cluster::{CONTROL_PLANE_NAME_LABEL, Cluster, Machine};
use scute_api::controlplane::KubeadmControlPlane;
use scute_api::meta::CONTROL_PLANE_LABEL;
use scute_api::naming::label_value;
use scute_contract::certificates::{Certificates, Purpose, Wanted};
use scute_contract::cloned::{templated, templated_kind};
use scute_contract::owners::{controller, is_controlled_by, owner_of_kind};
use scute_contract::{External, Found, Served};
use scute_kit::{Error, Key};

use crate::context::Context;
use crate::inspect::Tenant;

/// A KubeadmControlPlane and what surrounds it.
pub struct Observed {
    /// The control plane.
    pub kcp: Arc<KubeadmControlPlane>,
    /// Its Cluster, once that has taken it.
    pub cluster: Option<Arc<Cluster>>,
    /// Its Machines, by name, with what was found on them just now.
    pub machines: Vec<Arc<Machine>>,
    /// Other Machines of the Cluster, by name.
    pub workers: Vec<String>,
    /// Configurations of its Machines and of those that were never made, by name.
    pub configs: BTreeMap<String, Arc<KubeadmConfig>>,
    /// Template of its infrastructure, and what was made from it.
    pub infrastructure: Source,
    /// The key pairs, as far as they are there.
    pub certificates: Arc<Certificates>,
    /// Those whose Secret has no owner.
    pub strays: Vec<Purpose>,
    /// The Secret with the kubeconfig.
    pub kubeconfig: Option<Version>,
    /// What its API server and etcd say.
    pub tenant: Tenant,
}

/// A template, and the objects made from it.
pub struct Source {
    /// The template.
    pub template: Found,
    /// How the objects are addressed; `None` when the kind is not served.
    pub resource: Option<ApiResource>,
    /// Objects of Machines, and those whose Machine was never made, by name.
    pub objects: BTreeMap<String, Arc<DynamicObject>>,
    /// Why the objects could not be listed.
    pub problem: Option<String>,
}

/// A version of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its resource version.
    pub version: String,
    /// Whether it is this control plane's.
    pub own: bool,
    /// Whether it is nobody's.
    pub stray: bool,
}

/// Whether the control plane runs its etcd itself.
#[must_use]
pub fn is_stacked(kcp: &KubeadmControlPlane) -> bool {
    let spec = kcp.spec.kubeadm_config_spec.as_ref();
    let etcd = spec.and_then(|spec| spec.cluster_configuration.as_ref()?.etcd.as_ref());
    etcd.is_none_or(|etcd| etcd.external.is_none())
}

/// The key pairs that the control plane needs.
#[must_use]
pub fn key_pairs(kcp: &KubeadmControlPlane) -> Wanted {
    Wanted::of(kcp.spec.kubeadm_config_spec.as_ref().and_then(|spec| spec.cluster_configuration.as_ref()))
}

/// Reads, and writes nothing. The tenant has not been asked yet.
///
/// # Errors
/// When a Secret cannot be read.
pub async fn observe(kcp: Arc<KubeadmControlPlane>, context: &Context) -> Result<Observed, Error> {
    let asker = Key::of(kcp.as_ref());
    let cluster = owner_of_kind::<Cluster>(&kcp.metadata)
        .and_then(|owner| context.clusters.get(&Key::new(asker.namespace.clone(), owner.name.clone())));
    let mut machines = Vec::new();
    let mut workers = Vec::new();
    for machine in context.machines.list_in(&asker.namespace) {
        if belongs(&kcp, cluster.as_deref(), &machine) {
            machines.push(machine);
        } else if cluster.as_ref().is_some_and(|cluster| cluster.name_any() == machine.spec.cluster_name) {
            workers.push(machine.name_any());
        }
    }
    machines.sort_by_key(|machine| machine.name_any());
    workers.sort();
    let uid = kcp.metadata.uid.as_deref();
    let is_ours = |meta: &ObjectMeta, name: &str| {
        is_controlled_by(meta, uid) || machines.iter().any(|machine| machine.name_any() == name)
    };
    let configs = context
        .configs
        .list_in(&asker.namespace)
        .into_iter()
        .filter(|config| is_ours(&config.metadata, &config.name_any()))
        .map(|config| (config.name_any(), config))
        .collect();
    let infrastructure = source(&asker, &kcp, context, is_ours).await;
    let mut certificates = Arc::default();
    let mut strays = Vec::new();
    let mut kubeconfig = None;
    if let Some(cluster) = &cluster {
        let (name, wanted) = (cluster.name_any(), key_pairs(&kcp));
        certificates = context.certificates(&asker, &name, &wanted).await?;
        for purpose in wanted.purposes() {
            let key = Key::new(asker.namespace.clone(), purpose.secret_name(&name));
            let Some(found) = context.hub.watch_meta::<Secret>().get(&key) else { continue };
            let version = found.resource_version().unwrap_or_default();
            if controller(&found.metadata).is_none() && !context.is_users(&asker, &key.name, &version) {
                strays.push(purpose);
            }
        }
        let key = Key::new(asker.namespace.clone(), format!("{}-kubeconfig", cluster.name_any()));
        kubeconfig = context.hub.watch_meta::<Secret>().get(&key).map(|found| Version {
            version: found.resource_version().unwrap_or_default(),
            own: is_controlled_by(&found.metadata, uid),
            stray: controller(&found.metadata).is_none(),
        });
    }
    Ok(Observed {
        kcp,
        cluster,
        machines,
        workers,
        configs,
        infrastructure,
        certificates,
        strays,
        kubeconfig,
        tenant: Tenant::NotAsked("it was not asked".to_owned()),
    })
}

/// Whether a Machine is the control plane's, or has lost its owner.
#[must_use]
pub fn belongs(kcp: &KubeadmControlPlane, cluster: Option<&Cluster>, machine: &Machine) -> bool {
    if is_controlled_by(&machine.metadata, kcp.metadata.uid.as_deref()) {
        return true;
    }
    controller(&machine.metadata).is_none()
        && cluster.is_some_and(|cluster| cluster.name_any() == machine.spec.cluster_name)
        && machine.labels().contains_key(CONTROL_PLANE_LABEL)
        && machine.labels().get(CONTROL_PLANE_NAME_LABEL) == Some(&label_value(&kcp.name_any()))
}

async fn source(
    asker: &Key,
    kcp: &KubeadmControlPlane,
    context: &Context,
    is_ours: impl Fn(&ObjectMeta, &str) -> bool,
) -> Source {
    let reference = &kcp.spec.machine_template.spec.infrastructure_ref;
    let template = context.externals.get(asker, &asker.namespace, reference).await;
    let served = match &template {
        Found::Object(External { served, .. }) => {
            Ok(Served { resource: templated(served), contract: served.contract })
        }
        // The objects can outlive their template.
        _ => context.externals.served(asker, &reference.api_group, templated_kind(&reference.kind)).await,
    };
    let mut source = Source { template, resource: None, objects: BTreeMap::new(), problem: None };
    let Ok(served) = served else { return source };
    match context.externals.list(asker, &asker.namespace, &served).await {
        Ok(objects) => {
            source.objects = objects
                .into_iter()
                .filter(|object| is_ours(&object.metadata, &object.name_any()))
                .map(|object| (object.name_any(), object))
                .collect();
        }
        Err(found) => source.problem = found.unknown(true),
    }
    source.resource = Some(served.resource);
    source
}

impl Observed {
    /// Namespace and name.
    #[must_use]
    pub fn key(&self) -> Key {
        Key::of(self.kcp.as_ref())
    }

    /// Name of the Cluster; empty without one.
    #[must_use]
    pub fn cluster_name(&self) -> String {
        self.cluster.as_ref().map(|cluster| cluster.name_any()).unwrap_or_default()
    }

    /// The Machines.
    #[must_use]
    pub fn machines(&self) -> Vec<&Machine> {
        self.machines.iter().map(AsRef::as_ref).collect()
    }

    /// The Machine of this name.
    #[must_use]
    pub fn machine(&self, name: &str) -> Option<&Arc<Machine>> {
        self.machines.iter().find(|machine| machine.name_any() == name)
    }

    /// Whether the control plane has answered once.
    #[must_use]
    pub fn was_initialized(&self) -> bool {
        let status = self.kcp.status.as_ref().and_then(|status| status.initialization.as_ref());
        status.is_some_and(|initialization| initialization.control_plane_initialized == Some(true))
    }

    /// How many Machines are wanted.
    #[must_use]
    pub fn wanted(&self) -> usize {
        usize::try_from(self.kcp.spec.replicas.unwrap_or(1)).unwrap_or_default()
    }

    /// Whether a deletion has been asked for.
    #[must_use]
    pub fn is_deleting(&self) -> bool {
        self.kcp.meta().deletion_timestamp.is_some()
    }
}
