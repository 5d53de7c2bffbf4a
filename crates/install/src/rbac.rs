//! The manager's rights, each group with its reason. No wildcard, and nothing that widens rights; but who may write
//! Secrets and Pods of all namespaces is to be trusted like an administrator.

use crate::{MANAGER, NAMESPACE, webhooks};
use scute_api::engines::{Engine, crds_without, engine_of};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 8] = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

/// Role with the rights on other providers' kinds.
const PROVIDERS: &str = "scute-manager-providers";
/// By this label a provider's ClusterRole counts for the manager of Cluster API, whichever that is.
const AGGREGATE_TO_MANAGER: &str = "cluster.x-k8s.io/aggregate-to-manager";

/// ServiceAccount, ClusterRoles and bindings, for a manager without some engines.
pub fn objects(without: &[Engine]) -> Vec<Value> {
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": MANAGER, "namespace": NAMESPACE}}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": MANAGER},
            "rules": rules(without),
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": MANAGER},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": MANAGER},
            "subjects": [{"kind": "ServiceAccount", "name": MANAGER, "namespace": NAMESPACE}],
        }),
        // Other providers' kinds: each provider of Cluster API ships a ClusterRole with this label, and the cluster's
        // controller-manager fills the rules in. Who may write such a role may widen the manager's rights, and has them
        // already, as Kubernetes lets nobody write a role with more rights than his own.
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": PROVIDERS},
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {AGGREGATE_TO_MANAGER: "true"}}]},
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": PROVIDERS},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": PROVIDERS},
            "subjects": [{"kind": "ServiceAccount", "name": MANAGER, "namespace": NAMESPACE}],
        }),
    ]
}

/// Logs and exec on a site: its API server calls the kubelet as this user.
pub fn kubelets() -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "scute:apiserver-kubelet"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "system:kubelet-api-admin",
        },
        "subjects": [{
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "User",
            "name": scute_kubeadm::APISERVER_KUBELET_CLIENT,
        }],
    })
}

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": resources, "verbs": verbs})
}

fn rules(without: &[Engine]) -> Vec<Value> {
    let mut rules = kinds(without);
    rules.extend([
        // Tenants' certificates, kubeconfigs, bootstrap data and SSH keys.
        rule("", &["secrets"], &WRITE),
        // Tenants' endpoints; Services of a VM cluster's load balancer.
        rule("", &["services", "configmaps"], &WRITE),
        // The LoadBalancer controller reports addresses in Services' status.
        rule("", &["services/status"], &["get", "patch", "update"]),
        // VMs are Pods that the manager makes itself.
        rule("", &["pods"], &WRITE),
        rule("", &["pods/status"], &["get", "patch"]),
        // `evictionStrategy: External`: the manager is told of an eviction by the Pod's conditions and evicts itself.
        rule("", &["pods/eviction"], &["create"]),
        // Which Node a VM is on, its addresses, and whether it is cordoned.
        rule("", &["nodes"], &READ),
        // Names and labels of namespaces; persistent volumes of upstream YAML are looked up to be refused by name.
        rule("", &["namespaces", "persistentvolumeclaims", "endpoints", "serviceaccounts"], &READ),
        rule("discovery.k8s.io", &["endpointslices"], &WRITE),
        // Hosted control planes are Deployments; their upgrades and disruption budgets are the cluster's.
        rule("apps", &["deployments"], &WRITE),
        rule("policy", &["poddisruptionbudgets"], &WRITE),
        // What control planes may reach.
        rule("networking.k8s.io", &["networkpolicies"], &WRITE),
        // Ranges that no tenant with VM Nodes may have.
        rule("networking.k8s.io", &["servicecidrs"], &READ),
        // Reasons, told where a user looks for them; what a kubelet hears from a guest's readiness probe.
        rule("", &["events"], &["get", "list", "watch", "create", "patch"]),
        rule("events.k8s.io", &["events"], &["create", "patch"]),
        // Templates of Clusters are resolved by the kinds they name; MetalLB is detected by its kind.
        rule("apiextensions.k8s.io", &["customresourcedefinitions"], &READ),
        // The webhooks' authority is put where the API server looks for it: see `trust`.
        rule(
            "admissionregistration.k8s.io",
            &["validatingwebhookconfigurations", "mutatingwebhookconfigurations"],
            &READ,
        ),
        rule("coordination.k8s.io", &["leases"], &["get", "list", "watch", "create", "update", "patch"]),
    ]);
    rules.extend(trust(without));
    rules
}

/// By name: our webhooks and definitions, nobody else's.
fn trust(without: &[Engine]) -> [Value; 2] {
    let named = |group: &str, resources: &[&str], names: Vec<String>| {
        let mut rule = rule(group, resources, &["patch"]);
        rule["resourceNames"] = names.into();
        rule
    };
    let configurations = ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"];
    let converted = crds_without(without).into_iter().filter(|crd| crd.spec.conversion.is_some());
    let definitions = converted.filter_map(|crd| crd.metadata.name).collect();
    [
        named("admissionregistration.k8s.io", &configurations, vec![webhooks::NAME.to_owned()]),
        named("apiextensions.k8s.io", &["customresourcedefinitions"], definitions),
    ]
}

/// Every kind that we serve: the manager writes specs (defaults, replicas, endpoints), status and finalizers. Kinds of an
/// engine that is off are somebody else's, and read only, but for what is said on Machines. (What a provider's contract asks the
/// core to write comes with the provider's own role.)
fn kinds(without: &[Engine]) -> Vec<Value> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut others: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for crd in scute_api::crds() {
        let of = if without.contains(&engine_of(&crd)) { &mut others } else { &mut groups };
        of.entry(crd.spec.group).or_default().push(crd.spec.names.plural);
    }
    let mut foreign: Vec<_> = others
        .into_iter()
        .map(|(group, plurals)| {
            let plurals: Vec<&str> = plurals.iter().map(String::as_str).collect();
            rule(&group, &plurals, &READ)
        })
        .collect();
    if without.contains(&Engine::ClusterApi) {
        foreign.push(rule("cluster.x-k8s.io", &["machines/status"], &["patch"]));
    }
    let rule_of = |(group, plurals): (String, Vec<String>)| {
        let below = |sub: &str| plurals.iter().map(|plural| format!("{plural}/{sub}")).collect::<Vec<_>>();
        let resources: Vec<_> = plurals
            .iter()
            .cloned()
            .chain(below("status"))
            .chain(below("finalizers"))
            .chain(below("scale"))
            .collect();
        json!({"apiGroups": [group], "resources": resources, "verbs": WRITE})
    };
    groups.into_iter().map(rule_of).chain(foreign).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_of_other_providers_come_with_their_roles() {
        let objects = objects(&[]);
        let role = objects.iter().find(|object| object["metadata"]["name"] == PROVIDERS).expect("a role");
        let selected = &role["aggregationRule"]["clusterRoleSelectors"][0]["matchLabels"];
        assert_eq!(*selected, json!({"cluster.x-k8s.io/aggregate-to-manager": "true"}));
        assert!(
            role.get("rules").is_none(),
            "they are the controller-manager's: an apply must not take them away"
        );
        let bound = |object: &&Value| object["roleRef"]["name"] == PROVIDERS;
        assert_eq!(objects.iter().find(bound).expect("a binding")["subjects"][0]["name"], MANAGER);
    }

    #[test]
    fn kinds_of_an_engine_that_is_off_are_read_and_not_written() {
        let rules = rules(&[Engine::Kubevirt, Engine::ClusterApi]);
        let verbs_of = |group: &str, resource: &str| -> Vec<Value> {
            let about = rules.iter().filter(|rule| {
                rule["apiGroups"] == json!([group])
                    && rule["resources"].as_array().is_some_and(|all| all.contains(&json!(resource)))
            });
            about.map(|rule| rule["verbs"].clone()).collect()
        };
        assert_eq!(verbs_of("infrastructure.cluster.x-k8s.io", "kubevirtmachines"), [json!(READ)]);
        assert_eq!(verbs_of("infrastructure.cluster.x-k8s.io", "metal3machines"), [json!(WRITE)]);
        assert_eq!(verbs_of("cluster.x-k8s.io", "machines"), [json!(READ)]);
        assert_eq!(verbs_of("cluster.x-k8s.io", "machines/status"), [json!(["patch"])]);
    }

    #[test]
    fn nothing_is_granted_by_wildcard_and_no_rights_can_be_widened() {
        for rule in [rules(&[]), rules(&[Engine::ClusterApi, Engine::Metal3])].concat() {
            let text = rule.to_string();
            assert!(!text.contains('*'), "{text}");
            assert!(!text.contains("rbac.authorization") && !text.contains("impersonate"), "{text}");
        }
    }
}
