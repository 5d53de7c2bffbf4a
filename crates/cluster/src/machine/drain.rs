//! Which Pods of a Node are evicted, which are waited for and which are left alone. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use scute_api::cluster::{DRAIN_LABEL, DrainBehavior};
use scute_contract::summary::listed;

use super::rules::Rules;

/// What is done about the Pods of a Node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrainPlan {
    /// To evict now, as `namespace/name`.
    pub evict: Vec<PodId>,
    /// Evicted, and not gone yet.
    pub terminating: Vec<PodId>,
    /// Not evicted, but waited for.
    pub completing: Vec<PodId>,
    /// To evict when those of a lower order are gone.
    pub later: Vec<PodId>,
    /// Orders that are not 0.
    orders: BTreeMap<PodId, i32>,
}

/// Namespace and name of a Pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodId {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl std::fmt::Display for PodId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl DrainPlan {
    /// Adds what to do about some Pods of a Node. Those of an unreachable one are not waited for once their
    /// deletion is due: its kubelet will never say that they are gone.
    pub fn add(&mut self, pods: &[Pod], rules: &Rules, unreachable: bool, now: Timestamp) {
        for pod in pods {
            let id = PodId { namespace: pod.namespace().unwrap_or_default(), name: pod.name_any() };
            let (treatment, order) = treatment(pod, rules, unreachable, now);
            if order != 0 {
                self.orders.insert(id.clone(), order);
            }
            match treatment {
                Treatment::Leave => {}
                Treatment::Evict => self.evict.push(id),
                Treatment::Await => self.terminating.push(id),
                Treatment::AwaitCompletion => self.completing.push(id),
            }
        }
    }

    /// Orders all by namespace and name, and leaves for later who has a higher order than somebody who is still there.
    pub fn settle(&mut self) {
        let order = |pod: &PodId| self.orders.get(pod).copied().unwrap_or_default();
        let all = self.evict.iter().chain(&self.terminating).chain(&self.completing);
        if let Some(least) = all.map(order).min() {
            let (now, later) =
                std::mem::take(&mut self.evict).into_iter().partition(|pod| order(pod) == least);
            (self.evict, self.later) = (now, later);
        }
        for list in [&mut self.evict, &mut self.terminating, &mut self.completing, &mut self.later] {
            list.sort();
        }
    }

    /// How many Pods there are to look after.
    #[must_use]
    pub fn len(&self) -> usize {
        self.evict.len() + self.terminating.len() + self.completing.len() + self.later.len()
    }

    /// Whether nothing is left to do or to wait for.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.len() == 0
    }
}

enum Treatment {
    Leave,
    Evict,
    Await,
    AwaitCompletion,
}

/// Annotation of Pods that the kubelet runs from a file.
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// What to do about a Pod, and in which turn.
fn treatment(pod: &Pod, rules: &Rules, unreachable: bool, now: Timestamp) -> (Treatment, i32) {
    let finished = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .is_some_and(|phase| phase == "Succeeded" || phase == "Failed");
    let of_daemon_set = pod.owner_references().iter().any(|owner| owner.kind == "DaemonSet");
    let (behavior, order) = behavior(pod, rules);
    let is_left = pod.annotations().contains_key(MIRROR_ANNOTATION) || (of_daemon_set && !finished);
    if is_left || behavior == DrainBehavior::Skip {
        return (Treatment::Leave, 0);
    }
    if let Some(due) = &pod.metadata.deletion_timestamp {
        let given_up = unreachable && due.0 <= now;
        return (if given_up { Treatment::Leave } else { Treatment::Await }, order);
    }
    match behavior {
        DrainBehavior::WaitCompleted if finished => (Treatment::Leave, 0),
        DrainBehavior::WaitCompleted => (Treatment::AwaitCompletion, 0),
        _ => (Treatment::Evict, order),
    }
}

/// The label of a Pod counts before all rules.
fn behavior(pod: &Pod, rules: &Rules) -> (DrainBehavior, i32) {
    match pod.labels().get(DRAIN_LABEL).map(|label| label.to_lowercase().replacen('-', "", 1)).as_deref() {
        Some("skip") => (DrainBehavior::Skip, 0),
        Some("waitcompleted") => (DrainBehavior::WaitCompleted, 0),
        _ => rules.for_pod(pod),
    }
}

/// Names of volumes that must be detached before the infrastructure of a Node may go: those in use by
/// nobody that was left alone.
#[must_use]
pub fn claims_left_alone(pods: &[Pod], rules: &Rules) -> Vec<(String, String)> {
    pods.iter()
        .filter(|pod| {
            pod.owner_references().iter().any(|owner| owner.kind == "DaemonSet")
                || pod.annotations().contains_key(MIRROR_ANNOTATION)
                || behavior(pod, rules).0 == DrainBehavior::Skip
        })
        .flat_map(|pod| {
            let namespace = pod.namespace().unwrap_or_default();
            pod.spec
                .iter()
                .flat_map(|spec| spec.volumes.iter().flatten())
                .filter_map(|volume| volume.persistent_volume_claim.as_ref())
                .map(|claim| (namespace.clone(), claim.claim_name.clone()))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Pods that a message names.
const NAMED: usize = 5;

/// What to say about a drain that is not done. `blocked` has the Pods whose eviction was refused, and why.
#[must_use]
pub fn message(node: &str, plan: &DrainPlan, blocked: &[(PodId, String)]) -> String {
    let mut lines = vec![format!("Drain of Node {node} not completed:")];
    for (pod, why) in blocked {
        lines.push(format!("* Pod {pod}: cannot be evicted: {why}"));
    }
    let refused = |pod: &&PodId| !blocked.iter().any(|(blocked, _)| blocked == *pod);
    let groups = [
        (
            "evicted, not gone yet",
            plan.evict.iter().filter(refused).chain(&plan.terminating).collect::<Vec<_>>(),
        ),
        ("waiting for completion", plan.completing.iter().collect()),
        ("evicted when those before them are gone", plan.later.iter().collect()),
    ];
    for (what, pods) in groups.iter().filter(|(_, pods)| !pods.is_empty()) {
        lines.push(format!("* {}: {what}", listed("Pod", pods.iter().copied(), NAMED)));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, extra: Value) -> Pod {
        let mut pod = json!({"metadata": {"name": name, "namespace": "ns"}});
        for (key, value) in extra.as_object().into_iter().flatten() {
            if key == "phase" {
                pod["status"]["phase"] = value.clone();
            } else {
                pod["metadata"][key] = value.clone();
            }
        }
        serde_json::from_value(pod).expect("a Pod")
    }

    fn plan(pods: &[Pod], unreachable: bool, now: Timestamp) -> DrainPlan {
        let mut plan = DrainPlan::default();
        plan.add(pods, &Rules::default(), unreachable, now);
        plan.settle();
        plan
    }

    #[test]
    fn rules_say_who_goes_first_and_the_label_counts_before_them() {
        let rule = |name: &str, app: &str, drain: Value| {
            serde_json::from_value(json!({
                "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDrainRule", "metadata": {"name": name},
                "spec": {"drain": drain, "pods": [{"selector": {"matchLabels": {"app": app}}}]}
            }))
            .expect("a MachineDrainRule")
        };
        let all: [scute_api::cluster::MachineDrainRule; 4] = [
            rule("db", "db", json!({"behavior": "Drain", "order": 10})),
            rule("web", "web", json!({"behavior": "Drain", "order": -1})),
            rule("log", "log", json!({"behavior": "Skip"})),
            rule("job", "job", json!({"behavior": "WaitCompleted"})),
        ];
        let rules = Rules::of(&all, &scute_api::cluster::Machine::default(), None);
        let of = |name: &str, app: &str| pod(name, json!({"labels": {"app": app}}));
        let mut pods =
            vec![of("db", "db"), of("web", "web"), of("log", "log"), of("job", "job"), of("plain", "x")];
        let drained = |pods: &[Pod]| {
            let mut plan = DrainPlan::default();
            plan.add(pods, &rules, false, Timestamp::UNIX_EPOCH);
            plan.settle();
            plan
        };
        let first = drained(&pods);
        assert_eq!((names_of(&first.evict), names_of(&first.later)), (vec!["web"], vec!["db", "plain"]));
        assert_eq!(names_of(&first.completing), ["job"]);
        pods.retain(|pod| pod.name_any() != "web");
        let second = drained(&pods);
        assert_eq!((names_of(&second.evict), names_of(&second.later)), (vec!["plain"], vec!["db"]));
        pods.retain(|pod| !["plain", "job"].contains(&pod.name_any().as_str()));
        assert_eq!(names_of(&drained(&pods).evict), ["db"]);
        pods[0].labels_mut().insert(DRAIN_LABEL.into(), "skip".into());
        assert!(drained(&pods).is_done(), "the label counts before the rule");
        assert!(
            message("n", &first, &[])
                .ends_with("* Pods ns/db, ns/plain: evicted when those before them are gone")
        );
    }

    fn names_of(ids: &[PodId]) -> Vec<&str> {
        ids.iter().map(|id| id.name.as_str()).collect()
    }

    #[test]
    fn who_is_evicted_who_is_awaited_who_is_left() {
        let daemon = json!({"ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "1"}]});
        let pods = [
            pod("plain", json!({})),
            pod("daemon", daemon),
            pod("mirror", json!({"annotations": {MIRROR_ANNOTATION: "x"}})),
            pod("skipped", json!({"labels": {DRAIN_LABEL: "skip"}})),
            pod("job", json!({"labels": {DRAIN_LABEL: "wait-completed"}})),
            pod("job-done", json!({"labels": {DRAIN_LABEL: "wait-completed"}, "phase": "Succeeded"})),
            pod("going", json!({"deletionTimestamp": "2026-01-01T00:00:00Z"})),
        ];
        let plan = plan(&pods, false, Timestamp::UNIX_EPOCH);
        assert_eq!(names_of(&plan.evict), ["plain"]);
        assert_eq!(names_of(&plan.terminating), ["going"]);
        assert_eq!(names_of(&plan.completing), ["job"]);
        assert!(!plan.is_done());
    }

    #[test]
    fn an_unreachable_node_does_not_hold_its_pods_for_ever() {
        let pods = [pod("going", json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}))];
        let later: Timestamp = "2026-01-01T00:00:01Z".parse().expect("a time");
        assert!(plan(&pods, true, later).is_done());
        assert!(!plan(&pods, false, later).is_done());
    }

    #[test]
    fn the_message_names_who_blocks() {
        let plan = DrainPlan {
            evict: (0..7).map(|n| PodId { namespace: "ns".into(), name: format!("p{n}") }).collect(),
            ..Default::default()
        };
        let blocked = [(plan.evict[0].clone(), "PodDisruptionBudget web needs 2 healthy Pods".to_owned())];
        let text = message("n1", &plan, &blocked);
        assert_eq!(
            text,
            "Drain of Node n1 not completed:\n\
             * Pod ns/p0: cannot be evicted: PodDisruptionBudget web needs 2 healthy Pods\n\
             * Pods ns/p1, ns/p2, ns/p3, ns/p4, ns/p5 and 1 more: evicted, not gone yet"
        );
    }
}
