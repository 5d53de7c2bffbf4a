//! The manager's rights, each group with its reason. No wildcard, and nothing that widens rights; but who may write
//! Secrets and Pods of all namespaces is to be trusted like an administrator.

use crate::parts::{When, either, namespace, when};
use crate::{MANAGER, webhooks};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use scute_api::engines::{ENGINES, Engine, engine_of};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 8] = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

/// Role with the rights on other providers' kinds.
const PROVIDERS: &str = "scute-manager-providers";
/// By this label a provider's ClusterRole counts for the manager of Cluster API, whichever that is.
const AGGREGATE_TO_MANAGER: &str = "cluster.x-k8s.io/aggregate-to-manager";

/// ServiceAccount, ClusterRoles and bindings. Rights hang on the engines that are on.
pub fn objects() -> Vec<Value> {
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": MANAGER, "namespace": namespace()}}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": MANAGER},
            "rules": rules(),
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": MANAGER},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": MANAGER},
            "subjects": [{"kind": "ServiceAccount", "name": MANAGER, "namespace": namespace()}],
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
            "subjects": [{"kind": "ServiceAccount", "name": MANAGER, "namespace": namespace()}],
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

fn rules() -> Vec<Value> {
    let mut rules = kinds();
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
    rules.extend(trust());
    rules
}

/// By name: our webhooks and definitions, nobody else's. A rule without names would be one for all: each engine has its own,
/// and none where it converts nothing. In the status of a definition stands in which versions its objects are stored.
fn trust() -> Vec<Value> {
    let named = |group: &str, resources: &[&str], names: Vec<String>| {
        let mut rule = rule(group, resources, &["patch"]);
        rule["resourceNames"] = names.into();
        rule
    };
    let configurations = ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"];
    let mut rules =
        vec![named("admissionregistration.k8s.io", &configurations, vec![webhooks::NAME.to_owned()])];
    let all = scute_api::crds();
    for engine in ENGINES {
        let names = |is: fn(&CustomResourceDefinition) -> bool| -> Vec<String> {
            let ours = all.iter().filter(|crd| engine_of(crd) == engine && is(crd));
            ours.filter_map(|crd| crd.metadata.name.clone()).collect()
        };
        for (resource, names) in [
            ("customresourcedefinitions", names(|crd| crd.spec.conversion.is_some())),
            ("customresourcedefinitions/status", names(|_| true)),
        ] {
            if !names.is_empty() {
                rules.push(when(When::On(engine), named("apiextensions.k8s.io", &[resource], names)));
            }
        }
    }
    rules
}

/// Every kind that we serve: the manager writes specs (defaults, replicas, endpoints), status and finalizers. Kinds of an
/// engine that is off are somebody else's, and read only, but for what is said on Machines. (What a provider's contract asks the
/// core to write comes with the provider's own role.)
fn kinds() -> Vec<Value> {
    let mut groups: BTreeMap<(String, Engine), Vec<String>> = BTreeMap::new();
    for crd in scute_api::crds() {
        let engine = engine_of(&crd);
        groups.entry((crd.spec.group, engine)).or_default().push(crd.spec.names.plural);
    }
    let rule_of = |((group, engine), plurals): ((String, Engine), Vec<String>)| {
        let below = |sub: &str| plurals.iter().map(|plural| format!("{plural}/{sub}")).collect::<Vec<_>>();
        let resources: Vec<_> = plurals
            .iter()
            .cloned()
            .chain(below("status"))
            .chain(below("finalizers"))
            .chain(below("scale"))
            .collect();
        either(
            When::On(engine),
            json!({"apiGroups": [group], "resources": resources, "verbs": WRITE}),
            json!({"apiGroups": [group], "resources": plurals, "verbs": READ}),
        )
    };
    let machines = rule("cluster.x-k8s.io", &["machines/status"], &["patch"]);
    let said = when(When::Off(Engine::ClusterApi), machines);
    groups.into_iter().map(rule_of).chain([said]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::Choice;
    use crate::{ManagerConfig, Options};

    fn chosen(objects: &[Value], without: &[Engine]) -> Vec<Value> {
        let configuration = ManagerConfig { without: without.to_vec(), ..ManagerConfig::default() };
        Choice::new(&Options::site(configuration)).unwrap().resolve(objects).unwrap()
    }

    #[test]
    fn the_kinds_of_other_providers_come_with_their_roles() {
        let objects = chosen(&objects(), &[]);
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
        let rules = chosen(&rules(), &[Engine::Kubevirt, Engine::ClusterApi]);
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
        for without in [&[][..], &[Engine::ClusterApi, Engine::Metal3], &ENGINES] {
            let rules = chosen(&rules(), without);
            let text = json!(rules).to_string();
            let named = rules.iter().filter_map(|rule| rule["resourceNames"].as_array());
            assert!(named.clone().count() > 0 && named.clone().all(|names| !names.is_empty()), "{text}");
            assert!(!text.contains('*'), "{text}");
            assert!(!text.contains("rbac.authorization") && !text.contains("impersonate"), "{text}");
        }
    }
}
