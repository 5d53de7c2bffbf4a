//! Which Machines are woken by which Node of a tenant.

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use scute_api::cluster::{Machine, NODE_CLUSTER_NAMESPACE_ANNOTATION, NODE_MACHINE_ANNOTATION};
use scute_kit::tenants::TenantKey;
use scute_kit::{Key, Watch};

/// The Machines that a tenant wakes: that of a Node, or all.
pub fn machines_of(machines: &Watch<Machine>, tenant: &TenantKey, node: Option<&Node>) -> Vec<Key> {
    match node {
        Some(node) => machine_of(machines, &tenant.namespace, node).into_iter().collect(),
        None => machines
            .list_in(&tenant.namespace)
            .iter()
            .filter(|machine| TenantKey::capi(&tenant.namespace, &machine.spec.cluster_name) == *tenant)
            .map(|machine| Key::of(machine.as_ref()))
            .collect(),
    }
}

/// The Machine of a Node: the one that it names, or the one with its providerID.
fn machine_of(machines: &Watch<Machine>, namespace: &str, node: &Node) -> Option<Key> {
    let annotations = node.annotations();
    if let (Some(name), Some(named_in)) =
        (annotations.get(NODE_MACHINE_ANNOTATION), annotations.get(NODE_CLUSTER_NAMESPACE_ANNOTATION))
        && named_in == namespace
    {
        return Some(Key::new(namespace, name.clone()));
    }
    let provider_id = node.spec.as_ref()?.provider_id.as_ref()?;
    machines
        .list_in(namespace)
        .iter()
        .find(|machine| machine.spec.provider_id.as_ref() == Some(provider_id))
        .map(|machine| Key::of(machine.as_ref()))
}
