//! Defaults, and what is refused at the door. The rules stand beside the types, in `scute_api`.

use std::future::ready;

use futures::FutureExt;
use kube::Resource;
use scute_api::Invalid;
use scute_api::controlplane::{
    KubeadmControlPlaneTemplate, default_kubeadm_control_plane, validate_kubeadm_control_plane,
    validate_kubeadm_control_plane_change, validate_kubeadm_control_plane_template,
    validate_kubeadm_control_plane_template_change,
};
use scute_contract::dry_run::of_topology;
use scute_kit::{Admission, AdmissionRequest, FieldError, Operation, Verdict};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What is asked of a kind.
struct Rules<K> {
    fill: fn(&K) -> K,
    object: fn(&K) -> Vec<Invalid>,
    change: fn(&K, &K) -> Vec<Invalid>,
}

/// Adds the decoders and handlers of this room's kinds.
#[must_use]
pub fn admission(admission: Admission) -> Admission {
    let plane = Rules {
        fill: default_kubeadm_control_plane,
        object: validate_kubeadm_control_plane,
        change: validate_kubeadm_control_plane_change,
    };
    let template = Rules {
        fill: KubeadmControlPlaneTemplate::clone,
        object: validate_kubeadm_control_plane_template,
        change: validate_kubeadm_control_plane_template_change,
    };
    judged(judged(admission, plane), template)
}

fn judged<K>(admission: Admission, rules: Rules<K>) -> Admission
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Serialize + PartialEq + 'static,
{
    let handler = move |request| ready(verdict(&request, &rules)).boxed();
    admission.decodes::<K>().on(&K::group(&()), &K::kind(&()), handler)
}

fn verdict<K: DeserializeOwned + Serialize + PartialEq>(
    request: &AdmissionRequest,
    rules: &Rules<K>,
) -> Verdict {
    let writes = matches!(request.operation, Operation::Create | Operation::Update);
    if !writes || !request.subresource.is_empty() || request.is_departure() {
        return Verdict::Allow;
    }
    // What cannot be decoded was denied before.
    let Ok(new) = serde_json::from_value::<K>(request.object.clone()) else { return Verdict::Allow };
    let old = request.old.as_ref().and_then(|old| serde_json::from_value::<K>(old.clone()).ok());
    let filled = (rules.fill)(&new);
    let bad = match old.map(|old| (rules.fill)(&old)).filter(|_| !of_topology(request)) {
        None => (rules.object)(&filled),
        Some(old) => {
            // A fault is held against the write that brings it.
            let known = (rules.object)(&old);
            let bad = (rules.change)(&old, &filled);
            bad.into_iter().filter(|bad| !known.contains(bad)).collect()
        }
    };
    if !bad.is_empty() {
        return Verdict::Deny(
            bad.into_iter().map(|bad| FieldError::new(bad.path, bad.value, bad.detail)).collect(),
        );
    }
    Verdict::filled(request, &new, &filled)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn plane(spec: Value) -> Value {
        let mut object = json!({"apiVersion": "controlplane.cluster.x-k8s.io/v1beta2", "kind": "KubeadmControlPlane",
            "metadata": {"name": "c", "namespace": "n"}, "spec": spec});
        object["spec"]["machineTemplate"] =
            json!({"spec": {"infrastructureRef": {"apiGroup": "g", "kind": "K", "name": "n"}}});
        object
    }

    fn judge(object: Value, old: Option<Value>) -> Verdict {
        let request = AdmissionRequest {
            operation: if old.is_some() { Operation::Update } else { Operation::Create },
            namespace: "n".into(),
            name: "c".into(),
            subresource: String::new(),
            object,
            old,
            dry_run: false,
            user: String::new(),
        };
        let rules = Rules {
            fill: default_kubeadm_control_plane,
            object: validate_kubeadm_control_plane,
            change: validate_kubeadm_control_plane_change,
        };
        verdict(&request, &rules)
    }

    #[test]
    fn defaults_are_written_and_unknown_fields_stay() {
        let Verdict::Replace(filled) = judge(plane(json!({"version": "1.35.4", "other": 1})), None) else {
            panic!("filled in")
        };
        assert_eq!(filled["spec"]["version"], "v1.35.4");
        assert_eq!(filled["spec"]["replicas"], 1);
        assert_eq!(filled["spec"]["other"], 1);
        assert_eq!(judge(filled.clone(), Some(filled)), Verdict::Allow);
    }

    #[test]
    fn a_fault_is_refused_with_its_field_and_held_against_the_write_that_brings_it() {
        let wrong = |replicas: i32| {
            let rollout = json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}});
            plane(json!({"version": "latest", "replicas": replicas, "rollout": rollout}))
        };
        let Verdict::Deny(bad) = judge(wrong(1), None) else { panic!("refused") };
        assert_eq!(bad[0].path, "spec.version");
        assert!(!matches!(judge(wrong(3), Some(wrong(1))), Verdict::Deny(_)));
    }
}
