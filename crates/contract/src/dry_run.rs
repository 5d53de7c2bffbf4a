//! Writes of a topology that are never made: it asks what would become of a template, which cannot be changed otherwise.

use scute_api::cluster::topology::TOPOLOGY_DRY_RUN_ANNOTATION;
use scute_kit::AdmissionRequest;

/// Whether this is one.
#[must_use]
pub fn of_topology(request: &AdmissionRequest) -> bool {
    let annotations = request.object.pointer("/metadata/annotations");
    request.dry_run && annotations.is_some_and(|all| all.get(TOPOLOGY_DRY_RUN_ANNOTATION).is_some())
}
