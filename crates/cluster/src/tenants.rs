//! Which Machines are woken by which Node of a tenant.

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use scute_api::cluster::{Machine, NODE_CLUSTER_NAMESPACE_ANNOTATION, NODE_MACHINE_ANNOTATION};
use scute_kit::tenants::TenantKey;
use scute_kit::{Key, Watch};

/// The Machines that a tenant wakes: that of a Node, or all.
pub fn machines_of(machines: &Watch<Machine>, tenant: &TenantKey, node: Option<&Node>) -> Vec<Key> {
    match node {
        Some(node) => machine_of(machines, tenant, node).into_iter().collect(),
        None => machines
            .list_in(&tenant.namespace)
            .iter()
            .filter(|machine| is_of(machine, tenant))
            .map(|machine| Key::of(machine.as_ref()))
            .collect(),
    }
}

/// The Machine of a Node: the one that it names, or else the one with its providerID or its name in nodeRef.
fn machine_of(machines: &Watch<Machine>, tenant: &TenantKey, node: &Node) -> Option<Key> {
    let (namespace, annotations) = (&tenant.namespace, node.annotations());
    if let (Some(name), Some(named_in)) =
        (annotations.get(NODE_MACHINE_ANNOTATION), annotations.get(NODE_CLUSTER_NAMESPACE_ANNOTATION))
        && named_in == namespace
    {
        return Some(Key::new(namespace, name.clone()));
    }
    let (name, provider_id) =
        (node.name_any(), node.spec.as_ref().and_then(|spec| spec.provider_id.as_ref()));
    let referred =
        |machine: &Machine| machine.status.as_ref()?.node_ref.as_ref().map(|node| node.name.clone());
    let is_its = |machine: &Machine| {
        is_of(machine, tenant)
            && (provider_id.is_some() && machine.spec.provider_id.as_ref() == provider_id
                || referred(machine).as_ref() == Some(&name))
    };
    let machines = machines.list_in(namespace);
    machines.iter().find(|machine| is_its(machine)).map(|machine| Key::of(machine.as_ref()))
}

fn is_of(machine: &Machine, tenant: &TenantKey) -> bool {
    TenantKey::capi(&tenant.namespace, &machine.spec.cluster_name) == *tenant
}
