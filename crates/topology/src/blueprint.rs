//! What a Cluster is made from: its class and the class's templates, as they are before the Cluster's choices.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use scute_api::cluster::clusterclass::{ClusterClass, MachineDeploymentClass};
use scute_api::cluster::topology::ClassTemplateRef;
use scute_contract::Contract;

/// A template of a class.
#[derive(Clone, Debug)]
pub struct Source {
    /// What names it in the class.
    pub reference: ClassTemplateRef,
    /// How its kind is addressed, in the version that the class names: its patches are written for that.
    pub resource: ApiResource,
    /// The contract of what is made from it.
    pub contract: Contract,
    /// The object.
    pub object: Arc<DynamicObject>,
}

impl Source {
    /// How the kind of what is made from it is addressed.
    #[must_use]
    pub fn made(&self) -> ApiResource {
        made(&self.resource)
    }
}

/// The kind that a kind of templates is for.
#[must_use]
pub fn made(template: &ApiResource) -> ApiResource {
    let kind = template.kind.strip_suffix("Template").unwrap_or(&template.kind);
    ApiResource::from_gvk(&GroupVersionKind::gvk(&template.group, &template.version, kind))
}

/// The templates of a class of workers.
#[derive(Clone, Debug)]
pub struct WorkerSources {
    /// Of bootstrap configurations.
    pub bootstrap: Source,
    /// Of infrastructure Machines.
    pub infrastructure: Source,
}

/// A class with its templates.
#[derive(Clone, Debug)]
pub struct Blueprint {
    /// The class.
    pub class: Arc<ClusterClass>,
    /// Of the InfraCluster.
    pub infrastructure: Source,
    /// Of the control plane.
    pub control_plane: Source,
    /// Of the control plane's Machines, if it has any.
    pub machines: Option<Source>,
    /// Of the workers that the Cluster uses, by class.
    pub workers: BTreeMap<String, WorkerSources>,
}

impl Blueprint {
    /// A class of workers by its name.
    #[must_use]
    pub fn worker_class(&self, name: &str) -> Option<&MachineDeploymentClass> {
        self.class.spec.machine_deployments().iter().find(|class| class.class == name)
    }

    /// The class's namespace.
    #[must_use]
    pub fn namespace(&self) -> String {
        self.class.namespace().unwrap_or_default()
    }
}
