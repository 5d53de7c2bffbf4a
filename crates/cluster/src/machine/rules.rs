//! MachineDrainRules: what they say of the Pods of a Machine's Node. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use scute_api::cluster::{Cluster, DrainBehavior, Machine, MachineDrainRule};
use scute_contract::selector::fits;

/// The rules for one Machine, by name: of several that are about a Pod the first one counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    rules: Vec<Rule>,
    /// Labels of the tenant's namespaces, where a rule asks for them.
    namespaces: BTreeMap<String, Labels>,
}

type Labels = BTreeMap<String, String>;

#[derive(Clone, Debug, PartialEq)]
struct Rule {
    behavior: DrainBehavior,
    order: i32,
    /// Selectors of Pods and their namespaces; empty: all Pods.
    pods: Vec<(LabelSelector, LabelSelector)>,
}

impl Rules {
    /// Those of a namespace's rules that are about this Machine.
    #[must_use]
    pub fn of<'a>(
        all: impl IntoIterator<Item = &'a MachineDrainRule>,
        machine: &Machine,
        cluster: Option<&Cluster>,
    ) -> Self {
        let nothing = Labels::new();
        let of_cluster = cluster.map_or(&nothing, |cluster| cluster.labels());
        let mut about: Vec<&MachineDrainRule> = all
            .into_iter()
            .filter(|rule| {
                let machines = &rule.spec.machines;
                machines.is_empty()
                    || machines.iter().any(|one| {
                        let cluster_fits = |selector| fits(selector, of_cluster);
                        one.selector.as_ref().is_none_or(|selector| fits(selector, machine.labels()))
                            && one.cluster_selector.as_ref().is_none_or(cluster_fits)
                    })
            })
            .collect();
        about.sort_by_key(|rule| rule.name_any());
        let rules = about.into_iter().map(|rule| Rule {
            behavior: rule.spec.drain.behavior,
            order: rule.spec.drain.order.unwrap_or_default(),
            pods: rule
                .spec
                .pods
                .iter()
                .map(|one| {
                    let selector = one.selector.clone().unwrap_or_default();
                    (selector, one.namespace_selector.clone().unwrap_or_default())
                })
                .collect(),
        });
        Self { rules: rules.collect(), namespaces: BTreeMap::new() }
    }

    /// Whether labels of namespaces have to be known.
    #[must_use]
    pub fn ask_for_namespaces(&self) -> bool {
        let mut selectors = self.rules.iter().flat_map(|rule| &rule.pods);
        selectors.any(|(_, namespace)| !scute_contract::selector::is_empty(namespace))
    }

    /// The rules with the labels of the tenant's namespaces.
    #[must_use]
    pub fn with_namespaces(self, namespaces: BTreeMap<String, Labels>) -> Self {
        Self { namespaces, ..self }
    }

    /// What is done about a Pod, and in which turn.
    #[must_use]
    pub fn for_pod(&self, pod: &Pod) -> (DrainBehavior, i32) {
        let nothing = Labels::new();
        let namespace = pod.namespace().and_then(|name| self.namespaces.get(&name)).unwrap_or(&nothing);
        let about = self.rules.iter().find(|rule| {
            rule.pods.is_empty()
                || rule
                    .pods
                    .iter()
                    .any(|(pods, namespaces)| fits(pods, pod.labels()) && fits(namespaces, namespace))
        });
        about.map_or((DrainBehavior::Drain, 0), |rule| (rule.behavior, rule.order))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rule(name: &str, spec: Value) -> MachineDrainRule {
        serde_json::from_value(json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDrainRule", "metadata": {"name": name}, "spec": spec
        }))
        .expect("a MachineDrainRule")
    }

    fn machine(labels: Value) -> Machine {
        serde_json::from_value(json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine", "metadata": {"name": "m", "labels": labels},
            "spec": {"clusterName": "c", "bootstrap": {}, "infrastructureRef": {"apiGroup": "g", "kind": "k", "name": "n"}}
        }))
        .expect("a Machine")
    }

    fn cluster(labels: Value) -> Cluster {
        serde_json::from_value(json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
            "metadata": {"name": "c", "labels": labels}, "spec": {}}))
        .expect("a Cluster")
    }

    fn pod(namespace: &str, labels: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p", "namespace": namespace, "labels": labels}}))
            .expect("a Pod")
    }

    #[test]
    fn the_first_rule_by_name_counts() {
        let app = json!([{"selector": {"matchLabels": {"app": "db"}}}]);
        let rules = [
            rule("z-all", json!({"drain": {"behavior": "Drain", "order": -5}})),
            rule("a-db", json!({"drain": {"behavior": "WaitCompleted"}, "pods": app})),
        ];
        let rules = Rules::of(&rules, &machine(json!({})), None);
        assert_eq!(rules.for_pod(&pod("x", json!({"app": "db"}))), (DrainBehavior::WaitCompleted, 0));
        assert_eq!(rules.for_pod(&pod("x", json!({}))), (DrainBehavior::Drain, -5));
        assert_eq!(Rules::default().for_pod(&pod("x", json!({}))), (DrainBehavior::Drain, 0));
    }

    #[test]
    fn selectors_are_ored_and_their_halves_anded() {
        let machines = json!([
            {"selector": {"matchLabels": {"os": "linux"}}, "clusterSelector": {"matchLabels": {"stage": "production"}}},
            {"selector": {"matchLabels": {"special": ""}}}]);
        let all = [rule("r", json!({"drain": {"behavior": "Skip"}, "machines": machines}))];
        let about = |labels: Value, stage: &str| {
            let rules = Rules::of(&all, &machine(labels), Some(&cluster(json!({"stage": stage}))));
            rules.for_pod(&pod("x", json!({}))).0 == DrainBehavior::Skip
        };
        assert!(about(json!({"os": "linux"}), "production"));
        assert!(!about(json!({"os": "linux"}), "test"));
        assert!(about(json!({"special": ""}), "test"));
    }

    #[test]
    fn a_namespace_is_known_by_its_labels() {
        let pods =
            json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]);
        let all = [rule("r", json!({"drain": {"behavior": "Skip"}, "pods": pods}))];
        let rules = Rules::of(&all, &machine(json!({})), None);
        assert!(rules.ask_for_namespaces());
        let labels = Labels::from([("kubernetes.io/metadata.name".to_owned(), "monitoring".to_owned())]);
        let rules = rules.with_namespaces(BTreeMap::from([("monitoring".to_owned(), labels)]));
        assert_eq!(rules.for_pod(&pod("monitoring", json!({}))).0, DrainBehavior::Skip);
        assert_eq!(rules.for_pod(&pod("default", json!({}))).0, DrainBehavior::Drain);
    }
}
