//! The kinds that are kept inside a tenant. A short list in place of discovery: two requests less per tenant.

use kube::api::ApiResource;
use kube::core::GroupVersionKind;

/// Where something of ours may be: one namespace, or the whole cluster for kinds without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// An object of no namespace.
    Cluster,
    /// A namespace.
    Namespace(&'static str),
}

/// API version, kind and place of everything that is made inside a tenant. Only these places are listed: a tenant may
/// have any number of objects elsewhere.
pub const KINDS: [(&str, &str, Place); 12] = [
    ("v1", "ConfigMap", SYSTEM),
    ("v1", "ConfigMap", PUBLIC),
    ("v1", "Service", SYSTEM),
    ("v1", "ServiceAccount", SYSTEM),
    ("apps/v1", "DaemonSet", SYSTEM),
    ("apps/v1", "Deployment", SYSTEM),
    ("rbac.authorization.k8s.io/v1", "ClusterRole", Place::Cluster),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", Place::Cluster),
    ("rbac.authorization.k8s.io/v1", "Role", SYSTEM),
    ("rbac.authorization.k8s.io/v1", "Role", PUBLIC),
    ("rbac.authorization.k8s.io/v1", "RoleBinding", SYSTEM),
    ("rbac.authorization.k8s.io/v1", "RoleBinding", PUBLIC),
];

const SYSTEM: Place = Place::Namespace("kube-system");
const PUBLIC: Place = Place::Namespace("kube-public");

/// The resource of a kind; all of ours have regular plurals.
pub fn resource(api_version: &str, kind: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let plural = format!("{}s", kind.to_lowercase());
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), &plural)
}
