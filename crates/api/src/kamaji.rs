//! `kamaji.clastix.io/v1alpha1`: TenantControlPlane and DataStore.

mod datastore;
mod deployment;
mod settings;
mod status;
mod tenantcontrolplane;

pub use datastore::*;
pub use deployment::*;
pub use settings::*;
pub use status::*;
pub use tenantcontrolplane::*;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// Finalizer of a TenantControlPlane that still owns a user, a role or keys in a DataStore.
pub const TENANT_FINALIZER: &str = "finalizer.kamaji.clastix.io";
/// Finalizer of a DataStore that TenantControlPlanes may use.
pub const DATASTORE_FINALIZER: &str = "kamaji.clastix.io/TenantControlPlane";
/// Finalizer of the Secret that names the user and the prefix of a tenant.
pub const DATASTORE_SECRET_FINALIZER: &str = "finalizer.kamaji.clastix.io/datastore-secret";
/// `kamaji.clastix.io/project`: the value is always `kamaji`.
pub const PROJECT_LABEL: &str = "kamaji.clastix.io/project";
/// `kamaji.clastix.io/name`: name of the TenantControlPlane that an object belongs to.
pub const NAME_LABEL: &str = "kamaji.clastix.io/name";
/// `kamaji.clastix.io/component`: what the object is for.
pub const COMPONENT_LABEL: &str = "kamaji.clastix.io/component";
/// `kamaji.clastix.io/certificate_lifecycle_controller`: `x509` or `kubeconfig`, on renewable Secrets.
pub const LIFECYCLE_LABEL: &str = "kamaji.clastix.io/certificate_lifecycle_controller";
/// `kamaji.clastix.io/checksum`: digest of what a generated object holds.
pub const CHECKSUM_ANNOTATION: &str = "kamaji.clastix.io/checksum";
/// `kamaji.clastix.io/paused`: its presence stops the controllers on the object.
pub const KAMAJI_PAUSED_ANNOTATION: &str = "kamaji.clastix.io/paused";
/// `certs.kamaji.clastix.io/rotate`: empty on a Secret asks for a new certificate; the answer is the time.
pub const ROTATE_ANNOTATION: &str = "certs.kamaji.clastix.io/rotate";
/// `kamaji.clastix.io/kubeconfig-secret-key`: which key of `T-admin-kubeconfig` Cluster API gets.
pub const KUBECONFIG_KEY_ANNOTATION: &str = "kamaji.clastix.io/kubeconfig-secret-key";
/// `scute.dev/deletion-policy` on a TenantControlPlane or KamajiControlPlane: `Retain` leaves user, role and keys in the
/// DataStore when it is deleted, `Delete` (the default) removes them.
pub const DELETION_POLICY_ANNOTATION: &str = "scute.dev/deletion-policy";
/// `scute.dev/egress: unrestricted` on a TenantControlPlane or KamajiControlPlane: no NetworkPolicy limits what its Pods
/// reach.
pub const EGRESS_ANNOTATION: &str = "scute.dev/egress";
/// `scute.dev/allowed-namespaces` on a DataStore: the namespaces, with commas between, whose TenantControlPlanes may use
/// it; without it all may.
pub const ALLOWED_NAMESPACES_ANNOTATION: &str = "scute.dev/allowed-namespaces";

/// The CustomResourceDefinitions of this module.
pub(crate) fn crds() -> Vec<CustomResourceDefinition> {
    vec![DataStore::crd(), TenantControlPlane::crd()]
}
