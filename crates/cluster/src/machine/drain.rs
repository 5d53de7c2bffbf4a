//! Which Pods of a Node are evicted, which are waited for and which are left alone. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use scute_api::cluster::DRAIN_LABEL;
use scute_contract::summary::listed;

/// What is done about the Pods of a Node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrainPlan {
    /// To evict now, as `namespace/name`.
    pub evict: Vec<PodId>,
    /// Evicted, and not gone yet.
    pub terminating: Vec<PodId>,
    /// Not evicted, but waited for.
    pub completing: Vec<PodId>,
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
    pub fn add(&mut self, pods: &[Pod], unreachable: bool, now: Timestamp) {
        for pod in pods {
            let id = PodId { namespace: pod.namespace().unwrap_or_default(), name: pod.name_any() };
            match treatment(pod, unreachable, now) {
                Treatment::Leave => {}
                Treatment::Evict => self.evict.push(id),
                Treatment::Await => self.terminating.push(id),
                Treatment::AwaitCompletion => self.completing.push(id),
            }
        }
    }

    /// Orders all by namespace and name.
    pub fn sort(&mut self) {
        for list in [&mut self.evict, &mut self.terminating, &mut self.completing] {
            list.sort();
        }
    }

    /// How many Pods there are to look after.
    #[must_use]
    pub fn len(&self) -> usize {
        self.evict.len() + self.terminating.len() + self.completing.len()
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

fn treatment(pod: &Pod, unreachable: bool, now: Timestamp) -> Treatment {
    let finished = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .is_some_and(|phase| phase == "Succeeded" || phase == "Failed");
    let of_daemon_set = pod.owner_references().iter().any(|owner| owner.kind == "DaemonSet");
    let rule = pod.labels().get(DRAIN_LABEL).map(String::as_str);
    if pod.annotations().contains_key(MIRROR_ANNOTATION) || rule == Some("skip") {
        return Treatment::Leave;
    }
    if of_daemon_set && !finished {
        return Treatment::Leave;
    }
    if let Some(due) = &pod.metadata.deletion_timestamp {
        return if unreachable && due.0 <= now { Treatment::Leave } else { Treatment::Await };
    }
    if rule == Some("wait-completed") {
        return if finished { Treatment::Leave } else { Treatment::AwaitCompletion };
    }
    Treatment::Evict
}

/// Names of volumes that must be detached before the infrastructure of a Node may go: those in use by
/// nobody that was left alone.
#[must_use]
pub fn claims_left_alone(pods: &[Pod]) -> Vec<(String, String)> {
    pods.iter()
        .filter(|pod| {
            pod.owner_references().iter().any(|owner| owner.kind == "DaemonSet")
                || pod.annotations().contains_key(MIRROR_ANNOTATION)
                || pod.labels().get(DRAIN_LABEL).is_some_and(|rule| rule == "skip")
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
        plan.add(pods, unreachable, now);
        plan
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
