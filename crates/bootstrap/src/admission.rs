//! What is refused at the door. The rules stand beside the types, in `scute_api`.

use std::future::ready;

use futures::FutureExt;
use kube::Resource;
use scute_api::Invalid;
use scute_api::bootstrap::{
    KubeadmConfig, KubeadmConfigTemplate, validate_kubeadm_config, validate_kubeadm_config_template,
};
use scute_kit::{Admission, AdmissionRequest, FieldError, Verdict};
use serde::de::DeserializeOwned;

/// Adds the decoders and handlers of this room's kinds.
#[must_use]
pub fn admission(admission: Admission) -> Admission {
    let admission = judged::<KubeadmConfig>(admission, validate_kubeadm_config);
    judged::<KubeadmConfigTemplate>(admission, validate_kubeadm_config_template)
}

fn judged<K>(admission: Admission, rules: fn(&K) -> Vec<Invalid>) -> Admission
where
    K: Resource<DynamicType = ()> + DeserializeOwned + 'static,
{
    let handler = move |request| ready(verdict(&request, rules)).boxed();
    admission.decodes::<K>().on(&K::group(&()), &K::kind(&()), handler)
}

/// A write is refused for what it makes wrong only: what an older release has taken can be changed elsewhere.
fn verdict<K: DeserializeOwned>(request: &AdmissionRequest, rules: fn(&K) -> Vec<Invalid>) -> Verdict {
    if !request.changes_spec() {
        return Verdict::Allow;
    }
    // What cannot be decoded was denied before.
    let Ok(new) = serde_json::from_value::<K>(request.object.clone()) else { return Verdict::Allow };
    let old = request.old.as_ref().and_then(|old| serde_json::from_value::<K>(old.clone()).ok());
    let known = old.map(|old| rules(&old)).unwrap_or_default();
    let bad: Vec<_> = rules(&new).into_iter().filter(|bad| !known.contains(bad)).collect();
    if bad.is_empty() {
        return Verdict::Allow;
    }
    Verdict::Deny(bad.into_iter().map(|bad| FieldError::new(bad.path, bad.value, bad.detail)).collect())
}

#[cfg(test)]
mod tests {
    use scute_kit::Operation;
    use serde_json::{Value, json};

    use super::*;

    fn judge(spec: Value, old: Option<Value>) -> Verdict {
        let object = |spec: Value| {
            json!({"apiVersion": "bootstrap.cluster.x-k8s.io/v1beta2", "kind": "KubeadmConfig",
            "metadata": {"name": "m"}, "spec": spec})
        };
        let request = AdmissionRequest {
            operation: if old.is_some() { Operation::Update } else { Operation::Create },
            namespace: "n".into(),
            name: "m".into(),
            subresource: String::new(),
            object: object(spec),
            old: old.map(object),
            dry_run: false,
            user: String::new(),
        };
        verdict(&request, validate_kubeadm_config)
    }

    #[test]
    fn a_fault_is_held_against_the_write_that_brings_it() {
        let wrong = json!({"format": "ignition", "bootCommands": ["x"]});
        let Verdict::Deny(bad) = judge(wrong.clone(), None) else { panic!("refused") };
        assert_eq!(bad[0].path, "spec.bootCommands");
        let mut other = wrong.clone();
        other["verbosity"] = json!(3);
        assert_eq!(judge(other, Some(wrong)), Verdict::Allow);
    }
}
