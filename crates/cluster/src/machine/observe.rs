//! Everything that a Machine's reconcile looks at.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use scute_api::cluster::{
    Cluster, Machine, MachineDeployment, MachineInitializationStatus, MachineSet, REVISION_ANNOTATION,
};
use scute_api::meta::{CLUSTER_NAME_LABEL, CONTROL_PLANE_LABEL};
use scute_contract::owners::{controller, owner, owner_of_kind};
use scute_contract::{Found, fields, named};
use scute_kit::Key;
use scute_kit::tenants::{Standing, TenantKey};

use super::Context;
use super::rules::Rules;
use super::tenant::{Answer, Ask};
use crate::calls::Call;
use crate::machinedeployment::{overtaken, template};

/// A Machine and what surrounds it.
pub struct Observed {
    /// The Machine.
    pub machine: Arc<Machine>,
    /// Its Cluster, if it exists and can be read.
    pub cluster: Option<Arc<Cluster>>,
    /// Why it is not known what its Cluster is like.
    pub cluster_unknown: Option<String>,
    /// Its bootstrap configuration; `None` when it names none.
    pub bootstrap: Option<Found>,
    /// Its infrastructure Machine.
    pub infrastructure: Found,
    /// Its Node.
    pub nodes: Nodes,
    /// Whether it is as its MachineDeployment wants it.
    pub rollout: Rollout,
    /// Whether anything in the tenant cluster can still be asked about the Node.
    pub control_plane: ControlPlane,
    /// What is done about the Pods of a Machine that goes away.
    pub rules: Rules,
    /// How the latest call to the tenant stands.
    pub call: Call<Ask, Answer>,
}

/// What is known about a Machine's Nodes.
#[derive(Clone, Debug)]
pub enum Nodes {
    /// The tenant has not been asked long enough to say that it does not answer: what was said last counts.
    NotYet(String),
    /// The tenant has not been asked, or does not answer; and why.
    Unknown(String),
    /// The Nodes with the Machine's providerID, or, when it has none, with the name in `nodeRef`.
    Known(Vec<Arc<Node>>),
}

/// How a Machine relates to its MachineDeployment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollout {
    /// What differs; `None` for a Machine of no MachineDeployment.
    pub differences: Option<Vec<String>>,
    /// Whether its MachineSet is of an earlier revision.
    pub outdated: bool,
}

/// What the control plane means for the deletion of a Machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlPlane {
    /// It is there.
    Usable,
    /// It is going away.
    Deleting,
    /// No Machine of it is left, and it runs nowhere else.
    Gone,
    /// It cannot be looked up, and why.
    Unknown(String),
}

/// Reads, and writes nothing.
pub async fn observe(machine: Arc<Machine>, context: &Context) -> Observed {
    let (asker, me) = (Key::of(machine.as_ref()), owner(machine.as_ref(), true));
    let namespace = asker.namespace.clone();
    let (cluster, cluster_unknown) = cluster(&machine, context);
    let bootstrap = match &machine.spec.bootstrap.config_ref {
        Some(reference) => Some(context.externals.get(&asker, &namespace, reference).await.for_owner(&me)),
        None => None,
    };
    let infrastructure = context.externals.get(&asker, &namespace, &machine.spec.infrastructure_ref).await;
    let infrastructure = infrastructure.for_owner(&me);
    let nodes = nodes(&machine, cluster.as_deref(), &infrastructure, context);
    let control_plane = match &cluster {
        Some(cluster) if machine.metadata.deletion_timestamp.is_some() => {
            control_plane(&asker, cluster, context).await
        }
        _ => ControlPlane::Usable,
    };
    let rules = match machine.metadata.deletion_timestamp {
        Some(_) => {
            let all = context.rules.list_in(&namespace);
            Rules::of(all.iter().map(AsRef::as_ref), &machine, cluster.as_deref())
        }
        None => Rules::default(),
    };
    let (rollout, call) = (rollout(&machine, context), context.calls.look(&asker));
    Observed {
        machine,
        cluster,
        cluster_unknown,
        bootstrap,
        infrastructure,
        nodes,
        rollout,
        control_plane,
        rules,
        call,
    }
}

fn cluster(machine: &Machine, context: &Context) -> (Option<Arc<Cluster>>, Option<String>) {
    let key = Key::new(machine.namespace().unwrap_or_default(), machine.spec.cluster_name.clone());
    match context.clusters.find(&key) {
        scute_kit::Found::Object(cluster) => (Some(cluster), None),
        scute_kit::Found::Absent => (None, None),
        scute_kit::Found::Unreadable(bad) => (None, Some(bad.message())),
        scute_kit::Found::NotListed => (None, Some(format!("Cluster {key} is not listed yet"))),
    }
}

fn nodes(machine: &Machine, cluster: Option<&Cluster>, infrastructure: &Found, context: &Context) -> Nodes {
    if !cluster.is_some_and(Cluster::may_answer) {
        return Nodes::Unknown("Waiting for the control plane of the Cluster to be initialized".to_owned());
    }
    let provider_id = machine.spec.provider_id.clone().or_else(|| match infrastructure {
        Found::Object(external) => fields::provider_id(&external.object),
        _ => None,
    });
    let name = machine.status.as_ref().and_then(|status| status.node_ref.as_ref()).map(|node| &node.name);
    let key = TenantKey::capi(&machine.namespace().unwrap_or_default(), &machine.spec.cluster_name);
    let known = context.tenants.nodes(&key);
    let found = match (provider_id, name) {
        (Some(id), _) => known.with_provider_id(&id),
        (None, Some(name)) => known.get(name).into_iter().collect(),
        (None, None) => Vec::new(),
    };
    match (known.standing(), known.standing().message()) {
        (Standing::NotYet, Some(why)) => Nodes::NotYet(why),
        (Standing::Silent, Some(why)) => Nodes::Unknown(why),
        // A Node that is not among those that are kept may be there all the same.
        (_, Some(why)) if found.is_empty() => Nodes::Unknown(why),
        _ => Nodes::Known(found),
    }
}

fn rollout(machine: &Machine, context: &Context) -> Rollout {
    let namespace = machine.namespace().unwrap_or_default();
    let set = owner_of_kind::<MachineSet>(&machine.metadata)
        .and_then(|owner| context.sets.get(&Key::new(namespace.clone(), owner.name.clone())));
    let deployment = set.as_ref().and_then(|set| {
        let owner = owner_of_kind::<MachineDeployment>(&set.metadata)?;
        context.deployments.get(&Key::new(namespace.clone(), owner.name.clone()))
    });
    let (Some(set), Some(deployment)) = (set, deployment) else { return Rollout::default() };
    let mut differences = template::differences(&set.spec.template.spec, &deployment.spec.template.spec);
    let overtaken = overtaken(&deployment, &set, context.hub.now());
    differences.extend(overtaken.map(|after| format!("spec.rollout.after {after} has passed")));
    let revision = |annotations: &std::collections::BTreeMap<String, String>| {
        annotations.get(REVISION_ANNOTATION).and_then(|revision| revision.parse::<i64>().ok())
    };
    let outdated = revision(set.annotations()) < revision(deployment.annotations());
    Rollout { differences: Some(differences), outdated }
}

async fn control_plane(asker: &Key, cluster: &Cluster, context: &Context) -> ControlPlane {
    if let Some(reference) = &cluster.spec.control_plane_ref {
        let found = context.externals.get(asker, &asker.namespace, reference).await;
        if let Some(why) = found.unknown(cluster.is_initialized()) {
            return ControlPlane::Unknown(format!("{} cannot be looked up: {why}", named(reference)));
        }
        match found.object() {
            Some(external) if external.is_deleting() => return ControlPlane::Deleting,
            Some(external) if fields::externally_managed(&external.object) => return ControlPlane::Usable,
            _ => {}
        }
    }
    let machines = context.machines.list_in(&asker.namespace);
    let left = machines.iter().any(|machine| {
        machine.spec.cluster_name == cluster.name_any()
            && machine.labels().contains_key(CONTROL_PLANE_LABEL)
            && machine.metadata.deletion_timestamp.is_none()
    });
    let unreadable = context.machines.unreadable();
    let unreadable = unreadable.iter().find(|bad| {
        let labels = bad.metadata.labels.clone().unwrap_or_default();
        bad.key().namespace == asker.namespace
            && labels.get(CLUSTER_NAME_LABEL) == Some(&cluster.name_any())
            && labels.contains_key(CONTROL_PLANE_LABEL)
    });
    match (left, unreadable) {
        (true, _) => ControlPlane::Usable,
        (false, Some(bad)) => ControlPlane::Unknown(bad.message()),
        (false, None) => ControlPlane::Gone,
    }
}

impl Observed {
    /// Why it is not known whether the infrastructure Machine is there.
    #[must_use]
    pub fn infrastructure_unknown(&self) -> Option<String> {
        self.infrastructure.unknown(self.initialization().infrastructure_provisioned == Some(true))
    }

    /// Why it is not known whether the bootstrap configuration is there.
    #[must_use]
    pub fn bootstrap_unknown(&self) -> Option<String> {
        let made = self.initialization().bootstrap_data_secret_created == Some(true);
        self.bootstrap.as_ref()?.unknown(made)
    }

    /// Why it is not known which Node the Machine has; `None` when that is known, or when it cannot have one yet.
    #[must_use]
    pub fn node_unknown(&self) -> Option<&str> {
        match &self.nodes {
            Nodes::NotYet(why) | Nodes::Unknown(why)
                if self.cluster.as_deref().is_some_and(Cluster::is_initialized) =>
            {
                Some(why)
            }
            Nodes::NotYet(_) | Nodes::Unknown(_) | Nodes::Known(_) => None,
        }
    }

    fn initialization(&self) -> MachineInitializationStatus {
        self.machine.status.as_ref().and_then(|status| status.initialization.clone()).unwrap_or_default()
    }

    /// The only Node, if there is exactly one.
    #[must_use]
    pub fn node(&self) -> Option<&Arc<Node>> {
        match &self.nodes {
            Nodes::Known(nodes) if nodes.len() == 1 => nodes.first(),
            _ => None,
        }
    }

    /// Whether the Machine belongs to no set, pool or control plane.
    #[must_use]
    pub fn is_standalone(&self) -> bool {
        controller(&self.machine.metadata).is_none()
            && !self.machine.labels().contains_key(scute_api::meta::SET_NAME_LABEL)
            && !self.machine.labels().contains_key(scute_api::cluster::CONTROL_PLANE_NAME_LABEL)
    }

    /// Whether a deletion has been asked for.
    #[must_use]
    pub fn is_deleting(&self) -> bool {
        self.machine.metadata.deletion_timestamp.is_some()
    }
}
