//! What the schemas cannot check of ClusterResourceSets and their bindings.

use std::sync::Arc;

use futures::FutureExt;
use scute_api::addons::{ClusterResourceSet, ClusterResourceSetBinding};
use scute_contract::selector;
use scute_kit::{Admission, AdmissionRequest, Hub, Operation, Verdict};

/// Adds the decoders and handlers of this room's kinds.
#[must_use]
pub fn admission(_hub: &Arc<Hub>, admission: Admission) -> Admission {
    admission.decodes::<ClusterResourceSet>().decodes::<ClusterResourceSetBinding>().on(
        "addons.cluster.x-k8s.io",
        "ClusterResourceSet",
        |request| futures::future::ready(judge(&request)).boxed(),
    )
}

fn judge(request: &AdmissionRequest) -> Verdict {
    let writes = matches!(request.operation, Operation::Create | Operation::Update);
    let set = serde_json::from_value::<ClusterResourceSet>(request.object.clone());
    // What cannot be decoded was denied before.
    let (true, Ok(set)) = (writes && request.subresource.is_empty(), set) else { return Verdict::Allow };
    let faults = selector::faults(&set.spec.cluster_selector, "spec.clusterSelector");
    if faults.is_empty() { Verdict::Allow } else { Verdict::Deny(faults) }
}
