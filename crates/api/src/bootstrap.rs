//! KubeadmConfig and its template.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

/// The CustomResourceDefinitions of this module.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    Vec::new()
}
