//! What has to go into which Cluster. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use scute_api::addons::{
    ClusterResourceSetBindingSpec, ClusterResourceSetStrategy as Strategy, ResourceBinding, ResourceRef,
    ResourceSetBinding,
};
use scute_api::cluster::Cluster;
use scute_kit::conditions::{find, is_true, whole_seconds};

/// Why nothing can go into a Cluster now; what ends it is an event of the Cluster.
#[must_use]
pub fn hindrance(cluster: &Cluster) -> Option<&'static str> {
    let conditions = cluster.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    if cluster.spec.paused == Some(true) {
        return Some("it is paused");
    }
    if !is_true(conditions, "ControlPlaneInitialized") {
        return Some("its control plane is not initialized yet");
    }
    let probe = find(conditions, "RemoteConnectionProbe");
    probe.filter(|probe| probe.status == "False").map(|_| "its control plane does not answer")
}

/// What a binding says of one resource of a set.
#[must_use]
pub fn said<'a>(
    binding: &'a ClusterResourceSetBindingSpec,
    set: &str,
    resource: &ResourceRef,
) -> Option<&'a ResourceBinding> {
    let of_set = binding.bindings.iter().find(|binding| binding.cluster_resource_set_name == set)?;
    of_set.resources.iter().find(|known| known.is_of(resource))
}

/// Whether a resource has to go into a Cluster. `hash` is that of its content, as far as it is known.
#[must_use]
pub fn is_due(said: Option<&ResourceBinding>, strategy: Strategy, hash: Option<&str>) -> bool {
    match (said, strategy) {
        (Some(said), _) if !said.applied => true,
        (Some(_), Strategy::ApplyOnce) => false,
        (Some(said), Strategy::Reconcile) => hash.is_none() || said.hash.as_deref() != hash,
        (None, _) => true,
    }
}

/// What came of one resource in one Cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The resource.
    pub resource: ResourceRef,
    /// Hash of its content.
    pub hash: String,
    /// Whether all of it is there.
    pub applied: bool,
}

/// The binding with what came of it; a failure that has been told before changes nothing.
#[must_use]
pub fn bound(
    before: &ClusterResourceSetBindingSpec,
    set: &str,
    outcomes: &[Outcome],
    now: Timestamp,
) -> ClusterResourceSetBindingSpec {
    let mut spec = before.clone();
    let at = spec.bindings.iter().position(|binding| binding.cluster_resource_set_name == set);
    let at = at.unwrap_or_else(|| {
        let name = set.to_owned();
        spec.bindings.push(ResourceSetBinding { cluster_resource_set_name: name, resources: Vec::new() });
        spec.bindings.len() - 1
    });
    let resources = &mut spec.bindings[at].resources;
    for Outcome { resource, hash, applied } in outcomes {
        let new = ResourceBinding {
            kind: resource.kind,
            name: resource.name.clone(),
            hash: Some(hash.clone()),
            last_applied_time: Some(Time(whole_seconds(now))),
            applied: *applied,
        };
        match resources.iter_mut().find(|known| known.is_of(resource)) {
            Some(known) if !applied && !known.applied && known.hash == new.hash => {}
            Some(known) => *known = new,
            None => resources.push(new),
        }
    }
    spec
}

/// The binding without a set.
#[must_use]
pub fn unbound(before: &ClusterResourceSetBindingSpec, set: &str) -> ClusterResourceSetBindingSpec {
    let mut spec = before.clone();
    spec.bindings.retain(|binding| binding.cluster_resource_set_name != set);
    spec
}

#[cfg(test)]
mod tests {
    use scute_api::addons::ResourceKind;
    use serde_json::{Value, json};

    use super::*;

    fn resource(name: &str) -> ResourceRef {
        ResourceRef { kind: ResourceKind::ConfigMap, name: name.to_owned() }
    }

    fn outcome(name: &str, hash: &str, applied: bool) -> Outcome {
        Outcome { resource: resource(name), hash: hash.to_owned(), applied }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn a_binding_grows_and_keeps_what_others_have_written() {
        let others = ResourceSetBinding { cluster_resource_set_name: "other".into(), resources: Vec::new() };
        let before =
            ClusterResourceSetBindingSpec { bindings: vec![others.clone()], cluster_name: "c".into() };
        let failed = bound(&before, "cni", &[outcome("a", "1", false)], at(10));
        assert_eq!(failed.bindings[0], others);
        let again = bound(&failed, "cni", &[outcome("a", "1", false)], at(20));
        assert_eq!(again, failed, "the same failure is not written again");
        let done = bound(&again, "cni", &[outcome("a", "1", true), outcome("b", "2", true)], at(30));
        let said = said(&done, "cni", &resource("a")).expect("said");
        assert_eq!((said.applied, said.last_applied_time.clone()), (true, Some(Time(at(30)))));
        assert_eq!(done.bindings[1].resources.len(), 2);
        assert_eq!(unbound(&done, "cni").bindings, [others]);
    }

    #[test]
    fn what_has_gone_in_goes_in_again_only_when_it_changed_and_shall() {
        let binding = ClusterResourceSetBindingSpec::default();
        let done = bound(&binding, "cni", &[outcome("a", "1", true)], at(1));
        let done = said(&done, "cni", &resource("a"));
        assert!(!is_due(done, Strategy::ApplyOnce, Some("2")));
        assert!(!is_due(done, Strategy::Reconcile, Some("1")));
        assert!(is_due(done, Strategy::Reconcile, Some("2")));
        assert!(is_due(done, Strategy::Reconcile, None), "it has to be read first");
        assert!(is_due(None, Strategy::ApplyOnce, None));
        let failed = bound(&binding, "cni", &[outcome("a", "1", false)], at(1));
        assert!(is_due(said(&failed, "cni", &resource("a")), Strategy::ApplyOnce, Some("1")));
    }

    #[test]
    fn a_cluster_says_when_it_can_take_something() {
        let cluster = |paused: bool, conditions: Value| -> Cluster {
            serde_json::from_value(json!({
                "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": {"name": "c"},
                "spec": {"paused": paused}, "status": {"conditions": conditions}
            }))
            .expect("a Cluster")
        };
        let condition = |type_: &str, status: &str| {
            json!({"type": type_, "status": status, "reason": "R", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        let initialized = || condition("ControlPlaneInitialized", "True");
        let probe = |status: &str| condition("RemoteConnectionProbe", status);
        assert_eq!(hindrance(&cluster(true, json!([initialized()]))), Some("it is paused"));
        assert!(hindrance(&cluster(false, json!([]))).is_some());
        assert!(hindrance(&cluster(false, json!([initialized(), probe("False")]))).is_some());
        assert_eq!(hindrance(&cluster(false, json!([initialized(), probe("True")]))), None);
        assert_eq!(
            hindrance(&cluster(false, json!([initialized()]))),
            None,
            "it has not been asked yet: it is tried"
        );
    }
}
