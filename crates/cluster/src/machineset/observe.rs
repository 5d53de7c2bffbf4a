//! Everything that a MachineSet's reconcile looks at.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt;
use kube::api::{ApiResource, DynamicObject};
use scute_api::cluster::{Cluster, Machine, MachineDeployment, MachineSet, SKIP_PREFLIGHT_CHECKS_ANNOTATION};
use scute_api::meta::ContractRef;
use scute_contract::cloned::{templated, templated_kind};
use scute_contract::owners::{controller, is_controlled_by, owner_of_kind};
use scute_contract::selector;
use scute_contract::{External, Found, Served, fields, named};
use scute_kit::Key;

use super::Context;
use super::preflight::{Facts, skipped};

/// A MachineSet and what surrounds it.
pub struct Observed {
    /// The set.
    pub set: Arc<MachineSet>,
    /// Its Cluster, if it exists.
    pub cluster: Option<Arc<Cluster>>,
    /// The MachineDeployment that it is of.
    pub deployment: Option<Arc<MachineDeployment>>,
    /// Its Machines, and orphans that it selects, by name.
    pub machines: Vec<Arc<Machine>>,
    /// The template of infrastructure Machines and what was made from it.
    pub infrastructure: Source,
    /// The template of bootstrap configurations and what was made from it; `None` when Machines are
    /// given a Secret.
    pub bootstrap: Option<Source>,
    /// For the checks before a new Machine.
    pub preflight: Facts,
}

/// A template, and the objects made from it.
pub struct Source {
    /// What names the template.
    pub reference: ContractRef,
    /// The template.
    pub template: Found,
    /// How the objects are addressed; `None` when the kind is not served.
    pub resource: Option<ApiResource>,
    /// Objects of the set's Machines, and those whose Machine was never made, by name.
    pub objects: BTreeMap<String, Arc<DynamicObject>>,
    /// Why the objects could not be listed.
    pub problem: Option<String>,
}

/// Reads, and writes nothing.
pub async fn observe(set: Arc<MachineSet>, context: &Context) -> Observed {
    let asker = Key::of(set.as_ref());
    let namespace = asker.namespace.clone();
    let cluster = context.clusters.get(&Key::new(namespace.clone(), set.spec.cluster_name.clone()));
    let machines: Vec<_> =
        context.machines.list_in(&namespace).into_iter().filter(|machine| belongs(&set, machine)).collect();
    let template = &set.spec.template.spec;
    let infrastructure = source(&asker, &set, &machines, &template.infrastructure_ref, context).await;
    let bootstrap = match &template.bootstrap.config_ref {
        Some(reference) => Some(source(&asker, &set, &machines, reference, context).await),
        None => None,
    };
    let preflight = preflight(&asker, &set, cluster.as_deref(), context).await;
    let deployment = owner_of_kind::<MachineDeployment>(&set.metadata)
        .and_then(|owner| context.deployments.get(&Key::new(namespace.clone(), owner.name.clone())));
    Observed { set, cluster, deployment, machines, infrastructure, bootstrap, preflight }
}

/// Whether a Machine is the set's, or an orphan that the set selects.
#[must_use]
pub fn belongs(set: &MachineSet, machine: &Machine) -> bool {
    if is_controlled_by(&machine.metadata, set.metadata.uid.as_deref()) {
        return true;
    }
    controller(&machine.metadata).is_none()
        && machine.metadata.deletion_timestamp.is_none()
        && set.metadata.deletion_timestamp.is_none()
        && machine.spec.cluster_name == set.spec.cluster_name
        && selector::matches(&set.spec.selector, machine.labels())
}

async fn source(
    asker: &Key,
    set: &MachineSet,
    machines: &[Arc<Machine>],
    reference: &ContractRef,
    context: &Context,
) -> Source {
    let template = context.externals.get(asker, &asker.namespace, reference).await;
    let mut source = Source {
        reference: reference.clone(),
        template,
        resource: None,
        objects: BTreeMap::new(),
        problem: None,
    };
    let served = match &source.template {
        Found::Object(External { served, .. }) => {
            Ok(Served { resource: templated(served), contract: served.contract })
        }
        // The objects can outlive their template.
        _ => context.externals.served(asker, &reference.api_group, templated_kind(&reference.kind)).await,
    };
    let Ok(served) = served else { return source };
    match context.externals.list(asker, &asker.namespace, &served).await {
        Ok(objects) => {
            let uid = set.metadata.uid.as_deref();
            source.objects = objects
                .into_iter()
                .filter(|object| {
                    is_controlled_by(&object.metadata, uid)
                        || machines.iter().any(|machine| machine.name_any() == object.name_any())
                })
                .map(|object| (object.name_any(), object))
                .collect();
        }
        Err(found) => source.problem = found.unknown(true),
    }
    source.resource = Some(served.resource);
    source
}

async fn preflight(asker: &Key, set: &MachineSet, cluster: Option<&Cluster>, context: &Context) -> Facts {
    let mut facts = Facts {
        machines: set.spec.template.spec.version.clone(),
        kubeadm: set
            .spec
            .template
            .spec
            .bootstrap
            .config_ref
            .as_ref()
            .is_some_and(|reference| reference.kind == "KubeadmConfigTemplate"),
        skip: skipped(set.annotations().get(SKIP_PREFLIGHT_CHECKS_ANNOTATION)),
        ..Facts::default()
    };
    let Some(reference) = cluster.and_then(|cluster| cluster.spec.control_plane_ref.as_ref()) else {
        return facts;
    };
    let found = context.externals.get(asker, &asker.namespace, reference).await;
    if let Some(why) = found.unknown(cluster.is_some_and(Cluster::is_initialized)) {
        facts.unknown = Some(format!("{} cannot be looked up: {why}", named(reference)));
    }
    if let Some(external) = found.object() {
        facts.wanted = fields::wanted_version(&external.object);
        facts.has = fields::versions(&external.object).into_iter().map(|version| version.version).collect();
    }
    facts
}
