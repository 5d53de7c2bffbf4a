//! What a Metal3Remediation depends on, read from the watches; and what is left on a Node that is out of service, which only
//! its tenant knows.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use kube::{Resource, ResourceExt};
use scute_api::cluster::{Cluster, Machine};
use scute_api::infrastructure::{Metal3Machine, Metal3Remediation, RemediationPhase};
use scute_api::metal3::{BareMetalHost, REBOOT_ANNOTATION};
use scute_contract::owners::owner_of_kind;
use scute_kit::tenants::{Standing, TenantKey, Tenants};
use scute_kit::{Hub, Key};

use super::tenant::{is_out_of_service, left_on};
use crate::metal3machine::{CONSUMER, is_consumer};

/// What the controller has seen.
#[derive(Clone, Default)]
pub struct Observed {
    /// The Machine that owns the remediation, or has its name.
    pub machine: Option<Arc<Machine>>,
    /// The Cluster of the Machine.
    pub cluster: Option<Arc<Cluster>>,
    /// The server of the Machine.
    pub host: Option<Arc<BareMetalHost>>,
    /// Hosts that this remediation holds off.
    pub held: Vec<Arc<BareMetalHost>>,
    /// The Node of the Machine.
    pub node: Seen,
    /// What is left on the Node.
    pub left: Left,
}

/// What is known of the Node.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Seen {
    /// The Machine has none, or it is gone.
    #[default]
    None,
    /// The tenant cannot be asked, and why.
    Unknown(String),
    /// It is there.
    Found(Arc<Node>),
}

/// What is left on a Node that is out of service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Left {
    /// Nobody has asked.
    #[default]
    NotAsked,
    /// Nothing that could run or be written to twice.
    Nothing,
    /// These, or why that cannot be said.
    Something(String),
}

/// The annotation by which a remediation holds a host off, as upstream names it.
#[must_use]
pub fn hold(object: &Metal3Remediation) -> String {
    format!("{REBOOT_ANNOTATION}/metal3-remediation-{}", object.uid().unwrap_or_default())
}

/// The Machine that a remediation is for: its owner, or else the one of its name.
#[must_use]
pub fn machine_of(object: &Metal3Remediation) -> Key {
    let owner = owner_of_kind::<Machine>(&object.metadata).map(|owner| owner.name.clone());
    Key::new(object.namespace().unwrap_or_default(), owner.unwrap_or_else(|| object.name_any()))
}

/// The only reader.
pub async fn observe(hub: &Hub, tenants: &Arc<Tenants>, object: &Metal3Remediation) -> Observed {
    let key = machine_of(object);
    let at = |name: &str| Key::new(key.namespace.clone(), name);
    let machine = hub.watch::<Machine>().get(&key);
    let cluster =
        machine.as_ref().and_then(|machine| hub.watch::<Cluster>().get(&at(&machine.spec.cluster_name)));
    let hosts = hub.watch::<BareMetalHost>();
    let reference = machine.as_ref().map(|machine| &machine.spec.infrastructure_ref);
    let server = reference
        .filter(|reference| reference.kind == Metal3Machine::kind(&()))
        .and_then(|reference| hub.watch::<Metal3Machine>().get(&at(&reference.name)));
    let host = server.and_then(|server| {
        let taken = hosts.list_by(&CONSUMER, &key.namespace, &server.name_any());
        taken.into_iter().find(|host| is_consumer(host, &server))
    });
    let hold = hold(object);
    let mut held = hosts.list_in(&key.namespace);
    held.retain(|host| host.annotation(&hold).is_some());
    let mut seen = Observed { machine, cluster, host, held, ..Observed::default() };
    let Some(tenant) = tenant(&seen) else { return seen };
    seen.node = node(tenants, &tenant, &seen);
    let phase = object.status.as_ref().and_then(|status| status.phase);
    let off = seen.host.as_ref().is_some_and(|host| !is_on(host));
    if let Seen::Found(node) = &seen.node
        && (phase, off, is_out_of_service(node)) == (Some(RemediationPhase::Running), true, true)
    {
        seen.left = match tenants.client(&tenant).await {
            Ok(client) => left_on(&client, &node.name_any()).await,
            Err(error) => Left::Something(error.to_string()),
        };
    }
    seen
}

/// Whether the host is on, as far as its BMC has said.
pub fn is_on(host: &BareMetalHost) -> bool {
    host.status.as_ref().is_some_and(|status| status.powered_on)
}

/// The tenant of the Machine.
#[must_use]
pub fn tenant(seen: &Observed) -> Option<TenantKey> {
    let machine = seen.machine.as_ref()?;
    Some(TenantKey::capi(&machine.namespace().unwrap_or_default(), &machine.spec.cluster_name))
}

fn node(tenants: &Arc<Tenants>, tenant: &TenantKey, seen: &Observed) -> Seen {
    let status = seen.machine.as_ref().and_then(|machine| machine.status.as_ref());
    let Some(name) = status.and_then(|status| status.node_ref.as_ref()).map(|node| &node.name) else {
        return Seen::None;
    };
    let nodes = tenants.nodes(tenant);
    match (nodes.get(name), nodes.standing()) {
        (_, standing @ (Standing::NotYet | Standing::Silent)) | (None, standing @ Standing::Partial) => {
            Seen::Unknown(standing.message().unwrap_or_default())
        }
        (Some(node), Standing::Known | Standing::Partial) => Seen::Found(node),
        (None, Standing::Known) => Seen::None,
    }
}
