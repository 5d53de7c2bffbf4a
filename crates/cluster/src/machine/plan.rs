//! What a Machine that is wanted needs next. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use scute_api::cluster::{MACHINE_FINALIZER, MachineAddress};
use scute_contract::owners::{belonging, owner};
use scute_contract::{External, Found, fields};
use scute_kit::finalizer;
use serde_json::{Map, Value, json};

use super::node::node_patch;
use super::observe::{Nodes, Observed};

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Put the finalizer.
    AddFinalizer,
    /// Make the Machine belong to its Cluster.
    BelongToCluster(Value),
    /// Make the bootstrap configuration or the infrastructure Machine belong to the Machine.
    Adopt(Part, OwnerReference),
    /// Write what was learned into `spec`.
    PatchSpec(Value),
    /// Bring the Node up to the Machine.
    PatchNode {
        /// Name of the Node.
        name: String,
        /// The merge patch.
        patch: Value,
    },
}

/// One of the two objects that a Machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The bootstrap configuration.
    Bootstrap,
    /// The infrastructure Machine.
    Infrastructure,
}

/// What the Machine has reached, with what this plan adds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reached {
    /// There is bootstrap data.
    pub bootstrap_data: bool,
    /// The infrastructure has been provisioned and has a providerID.
    pub infrastructure: bool,
    /// providerID.
    pub provider_id: Option<String>,
    /// Addresses, when the infrastructure told.
    pub addresses: Option<Vec<MachineAddress>>,
    /// Failure domain, when the infrastructure told.
    pub failure_domain: Option<String>,
    /// Name of the Node.
    pub node: Option<String>,
}

/// What to write, and what will have been reached then.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// Afterwards.
    pub reached: Reached,
}

impl Plan {
    /// Whether it writes what wakes the Machine again. (A Node is patched while others wait for nothing.)
    #[must_use]
    pub fn wakes(&self) -> bool {
        self.actions.iter().any(|action| !matches!(action, Action::PatchNode { .. }))
    }
}

/// What a Machine that is wanted needs next.
#[must_use]
pub fn plan(seen: &Observed) -> Plan {
    let machine = &seen.machine;
    let mut actions = Vec::new();
    if !finalizer::has(machine.as_ref(), MACHINE_FINALIZER) {
        actions.push(Action::AddFinalizer);
    }
    actions.extend(cluster_ownership(seen));
    let mut spec = Map::new();
    let mut reached = before(seen);

    let me = owner(machine.as_ref(), true);
    for (part, found) in
        [(Part::Bootstrap, seen.bootstrap.as_ref()), (Part::Infrastructure, Some(&seen.infrastructure))]
    {
        let Some(external) = found.and_then(Found::object) else { continue };
        if belonging(&external.object.metadata, &me, &machine.spec.cluster_name).is_some()
            && !external.is_deleting()
        {
            actions.push(Action::Adopt(part, me.clone()));
        }
        match part {
            Part::Bootstrap => bootstrap(seen, external, &mut reached, &mut spec),
            Part::Infrastructure => infrastructure(seen, external, &mut reached, &mut spec),
        }
    }
    if !spec.is_empty() {
        actions.push(Action::PatchSpec(json!({ "spec": spec })));
    }
    if let Some(node) = seen.node() {
        reached.node = Some(node.name_any());
        if let Some(patch) = node_patch(node, machine, seen.rollout.outdated) {
            actions.push(Action::PatchNode { name: node.name_any(), patch });
        }
    }
    Plan { actions, reached }
}

/// A standalone Machine belongs to its Cluster; one of a set or control plane is only labelled.
fn cluster_ownership(seen: &Observed) -> Option<Action> {
    let cluster = seen.cluster.as_ref()?;
    let machine = &seen.machine;
    let label =
        json!({ "metadata": { "labels": { scute_api::meta::CLUSTER_NAME_LABEL: cluster.name_any() } } });
    let patch = if seen.is_standalone() {
        belonging(&machine.metadata, &owner(cluster.as_ref(), false), &cluster.name_any())
    } else {
        let labelled = machine.labels().get(scute_api::meta::CLUSTER_NAME_LABEL) == Some(&cluster.name_any());
        (!labelled).then_some(label)
    };
    patch.map(Action::BelongToCluster)
}

fn before(seen: &Observed) -> Reached {
    let status = seen.machine.status.clone().unwrap_or_default();
    let initialization = status.initialization.unwrap_or_default();
    Reached {
        bootstrap_data: has_data(&seen.machine.spec.bootstrap.data_secret_name)
            || initialization.bootstrap_data_secret_created == Some(true),
        infrastructure: initialization.infrastructure_provisioned == Some(true),
        provider_id: seen.machine.spec.provider_id.clone(),
        addresses: None,
        failure_domain: status.failure_domain,
        node: match seen.nodes {
            // Two Nodes with one providerID: none of them can be trusted to be this Machine's.
            Nodes::Known(ref nodes) if nodes.len() > 1 => None,
            _ => status.node_ref.map(|node| node.name),
        },
    }
}

fn has_data(name: &Option<String>) -> bool {
    name.as_ref().is_some_and(|name| !name.is_empty())
}

fn bootstrap(seen: &Observed, external: &External, reached: &mut Reached, spec: &mut Map<String, Value>) {
    if has_data(&seen.machine.spec.bootstrap.data_secret_name) {
        return;
    }
    if let Some(name) = fields::data_secret_name(&external.object, external.served.contract) {
        reached.bootstrap_data = true;
        spec.insert("bootstrap".to_owned(), json!({ "dataSecretName": name }));
    }
}

fn infrastructure(
    seen: &Observed,
    external: &External,
    reached: &mut Reached,
    spec: &mut Map<String, Value>,
) {
    let object = &external.object;
    let provisioned = fields::provisioned(object, external.served.contract);
    let provider_id = fields::provider_id(object);
    if !(reached.infrastructure || provisioned && provider_id.is_some()) {
        return;
    }
    reached.infrastructure = true;
    reached.addresses = Some(fields::addresses(object));
    reached.failure_domain = fields::failure_domain(object, external.served.contract)
        .or_else(|| seen.machine.spec.failure_domain.clone());
    if let Some(id) = provider_id
        && seen.machine.spec.provider_id.as_ref() != Some(&id)
    {
        reached.provider_id = Some(id.clone());
        spec.insert("providerID".to_owned(), json!(id));
    }
}
