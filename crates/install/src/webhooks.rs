//! Where the API server calls the manager: for admission, one rule per group that we serve and both kinds of webhook, and
//! for conversion between versions.

use crate::parts::{When, namespace, when};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::ByteString;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use scute_api::engines::{Engine, engine_of};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Name of both configurations.
pub const NAME: &str = "scute";
/// The Service through which the API server calls the webhooks.
pub const SERVICE: &str = scute_api::conversion::WEBHOOK[1];

/// Definitions whose conversions trust the webhook's authority.
pub fn trusting(mut crds: Vec<CustomResourceDefinition>, ca: &str) -> Vec<CustomResourceDefinition> {
    let conversions = crds.iter_mut().filter_map(|crd| crd.spec.conversion.as_mut()?.webhook.as_mut());
    for config in conversions.filter_map(|webhook| webhook.client_config.as_mut()) {
        config.ca_bundle = Some(ByteString(ca.as_bytes().to_vec()));
    }
    crds
}

/// Both configurations. They name only our own kinds and evictions, which an absent manager does not hold up; status
/// is not named, so that the manager's own reports do not call it back. Kinds of engines that are off are not ours.
pub fn configurations(ca: Option<&str>) -> Vec<Value> {
    let mut validating =
        configuration("ValidatingWebhookConfiguration", "validate.scute.dev", "/validate", ca);
    if let Some(webhooks) = validating["webhooks"].as_array_mut() {
        webhooks.push(when(When::On(Engine::Kubevirt), evictions(ca)));
    }
    vec![validating, configuration("MutatingWebhookConfiguration", "default.scute.dev", "/mutate", ca)]
}

/// The eviction of a launcher Pod marks its VMI. When nobody answers, the Pod's PodDisruptionBudget refuses.
fn evictions(ca: Option<&str>) -> Value {
    json!({
        "name": "evictions.scute.dev",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "NoneOnDryRun",
        "failurePolicy": "Ignore",
        "timeoutSeconds": 5,
        "clientConfig": client_config("/validate", ca),
        "rules": [{
            "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods/eviction"],
        }],
    })
}

/// Where to call, and the authority to trust there (PEM), unless somebody else says that.
fn client_config(path: &str, ca: Option<&str>) -> Value {
    let mut config =
        json!({"service": {"namespace": namespace(), "name": SERVICE, "path": path, "port": 443}});
    if let Some(ca) = ca {
        config["caBundle"] = STANDARD.encode(ca).into();
    }
    config
}

fn configuration(kind: &str, name: &str, path: &str, ca: Option<&str>) -> Value {
    let mut operations = vec!["CREATE", "UPDATE"];
    if kind.starts_with("Validating") {
        operations.push("DELETE");
    }
    let mut webhook = json!({
        "name": name,
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "timeoutSeconds": 10,
        "clientConfig": client_config(path, ca),
        "rules": rules(&operations),
    });
    if kind.starts_with("Mutating") {
        webhook["reinvocationPolicy"] = "Never".into();
    }
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": NAME},
        "webhooks": [webhook],
    })
}

/// The versions that are stored: an object of another one is converted before it is sent here.
fn rules(operations: &[&str]) -> Vec<Value> {
    let mut groups: BTreeMap<(String, Engine), (Vec<String>, Vec<String>)> = BTreeMap::new();
    for crd in scute_api::crds() {
        let engine = engine_of(&crd);
        let (resources, versions) = groups.entry((crd.spec.group, engine)).or_default();
        resources.push(crd.spec.names.plural);
        let stored = crd.spec.versions.into_iter().filter(|version| version.storage);
        versions.extend(stored.map(|version| version.name));
    }
    let rule = |((group, engine), (mut resources, mut versions)): (_, (Vec<String>, Vec<String>))| {
        resources.sort();
        versions.sort();
        versions.dedup();
        let rule: Value = json!({"apiGroups": [group as String], "apiVersions": versions, "operations": operations, "resources": resources});
        when(When::On(engine), rule)
    };
    groups.into_iter().map(rule).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NAMESPACE;

    #[test]
    fn every_conversion_asks_the_managers_service_and_trusts_its_authority() {
        let crds = trusting(scute_api::crds(), "PEM");
        let conversions: Vec<_> = crds.iter().filter_map(|crd| crd.spec.conversion.as_ref()).collect();
        assert!(conversions.len() >= 9, "{}", conversions.len());
        for conversion in conversions {
            let webhook = serde_json::to_value(conversion).unwrap()["webhook"].take();
            let service = json!({"namespace": NAMESPACE, "name": SERVICE, "path": "/convert", "port": 443});
            let config = json!({"caBundle": STANDARD.encode("PEM"), "service": service});
            assert_eq!(webhook, json!({"clientConfig": config, "conversionReviewVersions": ["v1"]}));
        }
    }

    fn chosen() -> Vec<Value> {
        let options = crate::Options::site(crate::ManagerConfig::default());
        crate::parts::Choice::new(&options).unwrap().resolve(&rules(&["CREATE"])).unwrap()
    }

    #[test]
    fn what_is_asked_about_is_in_the_version_that_is_stored() {
        let rules = chosen();
        let of = |kinds: &str| {
            let names = |rule: &&Value| rule["resources"].as_array().unwrap().contains(&json!(kinds));
            rules.iter().find(names).unwrap()["apiVersions"].clone()
        };
        assert_eq!(of("kubevirtmachines"), json!(["v1alpha1"]));
        assert_eq!(of("metal3machines"), json!(["v1beta2"]));
        assert_eq!(of("ipaddressclaims"), json!(["v1beta2"]));
    }

    #[test]
    fn only_our_own_kinds_are_named_and_no_subresource() {
        for rule in chosen() {
            let text = |key: &str| {
                rule[key]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|v| v.as_str().unwrap().to_owned())
                    .collect::<Vec<_>>()
            };
            assert!(
                text("apiGroups")
                    .iter()
                    .all(|group| group.contains('.') && !group.ends_with("k8s.io")
                        || group.contains("x-k8s.io"))
            );
            assert!(text("resources").iter().all(|resource| !resource.contains(['/', '*'])));
        }
    }
}
