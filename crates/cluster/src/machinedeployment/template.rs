//! When a template asks for new Machines, and when a change is made in place. Pure.

use scute_api::cluster::{Bootstrap, MachineSpec};
use scute_api::meta::ContractRef;
use scute_api::naming::hash;
use serde_json::json;

/// What differs between a MachineSet's template and its MachineDeployment's so that Machines must be
/// replaced: version, bootstrap, infrastructure and failure domain. References are compared by group,
/// kind and name, so the content of templates does not count. All else is changed in place.
#[must_use]
pub fn differences(have: &MachineSpec, want: &MachineSpec) -> Vec<String> {
    let mut found = Vec::new();
    let mut differs = |what: &str, have: Option<String>, want: Option<String>| {
        if have != want {
            let (have, want) = (have.unwrap_or("none".into()), want.unwrap_or("none".into()));
            found.push(format!("{what} {have}, {want} required"));
        }
    };
    differs("Version", have.version.clone(), want.version.clone());
    differs("Failure domain", have.failure_domain.clone(), want.failure_domain.clone());
    differs("Bootstrap", Some(bootstrap(&have.bootstrap)), Some(bootstrap(&want.bootstrap)));
    differs("Infrastructure", Some(named(&have.infrastructure_ref)), Some(named(&want.infrastructure_ref)));
    found
}

fn named(reference: &ContractRef) -> String {
    format!("{}.{} {}", reference.kind, reference.api_group, reference.name)
}

fn bootstrap(bootstrap: &Bootstrap) -> String {
    match (&bootstrap.config_ref, &bootstrap.data_secret_name) {
        (Some(reference), _) => named(reference),
        (None, secret) => format!("Secret {}", secret.clone().unwrap_or_default()),
    }
}

/// A number for everything that asks for new Machines.
#[must_use]
pub fn template_hash(spec: &MachineSpec) -> u64 {
    let relevant = json!([
        spec.version,
        spec.failure_domain,
        bootstrap(&spec.bootstrap),
        named(&spec.infrastructure_ref)
    ]);
    hash(&relevant.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> MachineSpec {
        MachineSpec {
            cluster_name: "c".into(),
            version: Some("v1.35.4".into()),
            infrastructure_ref: ContractRef { api_group: "g".into(), kind: "K".into(), name: "a".into() },
            ..Default::default()
        }
    }

    #[test]
    fn what_can_be_changed_in_place_does_not_count() {
        let changed = MachineSpec {
            min_ready_seconds: Some(5),
            deletion: Some(Default::default()),
            provider_id: Some("x".into()),
            ..spec()
        };
        assert!(differences(&spec(), &changed).is_empty());
        assert_eq!(template_hash(&spec()), template_hash(&changed));
    }

    #[test]
    fn what_cannot_is_named() {
        let mut changed = spec();
        changed.version = Some("v1.36.0".into());
        changed.infrastructure_ref.name = "b".into();
        assert_eq!(
            differences(&spec(), &changed),
            ["Version v1.35.4, v1.36.0 required", "Infrastructure K.g a, K.g b required"]
        );
        assert_ne!(template_hash(&spec()), template_hash(&changed));
    }
}
