//! What is wrong with the Pods of a control plane, as the kubelet says it: an image that does not exist, a process that
//! ends. A Deployment only counts Pods.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, Pod};
use kube::ResourceExt;
use scute_api::kamaji::NAME_LABEL;
use scute_kit::{Key, Why};

/// What the kubelet calls the first try; it alternates with the pause before the next one.
const FIRST_PULL: &str = "ErrImagePull";
const PULL: &str = "ImagePullBackOff";
/// Reasons of a container that is on its way.
const ON_ITS_WAY: [&str; 2] = ["ContainerCreating", "PodInitializing"];
/// As much of a message as fits into a sentence.
const LONGEST: usize = 400;

/// The first trouble among Pods, in the order of their names, so that it stays the same while it lasts.
pub fn of<'a>(pods: impl Iterator<Item = &'a Pod>) -> Option<Why> {
    let mut pods: Vec<_> = pods.filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
    pods.sort_by_key(|pod| pod.name_any());
    pods.into_iter().find_map(pod)
}

/// Pods of a control plane that have trouble: the control plane to look at.
pub fn whose(pod: &Pod) -> Option<Key> {
    let name = pod.labels().get(NAME_LABEL)?;
    of([pod].into_iter()).map(|_| Key::new(pod.namespace().unwrap_or_default(), name.clone()))
}

fn pod(pod: &Pod) -> Option<Why> {
    unscheduled(pod).or_else(|| container(pod))
}

fn unscheduled(pod: &Pod) -> Option<Why> {
    let mut conditions = pod.status.as_ref()?.conditions.iter().flatten();
    let found = conditions.find(|one| one.type_ == "PodScheduled" && one.status == "False")?;
    let message = sentence(found.message.as_deref().unwrap_or_default());
    Some(Why::new(found.reason.clone()?, format!("Pod {}: {message}", pod.name_any())))
}

fn container(pod: &Pod) -> Option<Why> {
    let statuses = pod.status.as_ref()?.container_statuses.iter().flatten();
    let (status, why) = statuses
        .filter(|status| !status.ready)
        .find_map(|status| Some((status, waiting(status).or_else(|| ended(status))?)))?;
    let message = format!("Pod {}, container {}: {}", pod.name_any(), status.name, why.message);
    Some(Why::new(why.reason, message))
}

fn waiting(status: &ContainerStatus) -> Option<Why> {
    let ContainerStateWaiting { reason, message } = status.state.as_ref()?.waiting.clone()?;
    let (reason, message) = (reason?, message.unwrap_or_default());
    match reason.as_str() {
        reason if ON_ITS_WAY.contains(&reason) => None,
        // The last words say more than how long the kubelet waits before the next try.
        "CrashLoopBackOff" => ended(status),
        FIRST_PULL | PULL => {
            let said = message.rsplit_once("ErrImagePull: ").map_or(message.as_str(), |(_, said)| said);
            Some(Why::new(PULL, format!("image {} cannot be pulled: {}", status.image, sentence(said))))
        }
        _ => Some(Why::new(reason, sentence(&message))),
    }
}

/// A container that ended and is started again and again; its last words come with `FallbackToLogsOnError`.
fn ended(status: &ContainerStatus) -> Option<Why> {
    let now = status.state.as_ref().and_then(|state| state.terminated.clone());
    let before = status.last_state.as_ref().and_then(|state| state.terminated.clone());
    let ContainerStateTerminated { exit_code, message, .. } = now.or(before)?;
    let words = message.map(|message| last_words(&message)).filter(|words| !words.is_empty());
    let words = words.map_or_else(String::new, |words| format!(": {words}"));
    Some(Why::new("CrashLoopBackOff", format!("ended with exit code {exit_code}{words}")))
}

/// The last line of a log without what changes from one run to the next: the time and the process that klog puts in
/// front.
fn last_words(log: &str) -> String {
    let line = log.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let is_klog =
        line.starts_with(['I', 'W', 'E', 'F']) && line[1..].starts_with(|c: char| c.is_ascii_digit());
    let said = line.split_once("] ").filter(|_| is_klog).map_or(line, |(_, said)| said);
    sentence(said)
}

fn sentence(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pods(containers: &[(&str, Value)]) -> Vec<Pod> {
        let pod = |(name, container): &(&str, Value)| {
            let mut status = json!({
                "name": "kube-apiserver", "image": "registry.k8s.io/kube-apiserver:v1.35.99", "imageID": "",
                "ready": false, "restartCount": 0,
            });
            crate::tenant::fixture::merge(&mut status, container.clone());
            json!({ "metadata": { "name": name }, "status": { "containerStatuses": [status] } })
        };
        containers.iter().map(|given| serde_json::from_value(pod(given)).expect("a Pod")).collect()
    }

    fn said(containers: &[(&str, Value)]) -> String {
        let why = of(pods(containers).iter());
        why.map_or_else(|| "nothing".to_owned(), |why| format!("{}: {}", why.reason, why.message))
    }

    fn waits(reason: &str, message: &str) -> Value {
        json!({ "state": { "waiting": { "reason": reason, "message": message } } })
    }

    #[test]
    fn an_image_that_does_not_exist_is_named_and_the_kubelets_pauses_change_nothing() {
        let error = "rpc error: code = NotFound desc = kube-apiserver:v1.35.99: not found";
        let first = said(&[("t-1", waits("ErrImagePull", error))]);
        assert_eq!(
            first,
            format!(
                "ImagePullBackOff: Pod t-1, container kube-apiserver: image registry.k8s.io/kube-apiserver:v1.35.99 \
                 cannot be pulled: {error}"
            )
        );
        let pause = format!(
            "Back-off pulling image \"registry.k8s.io/kube-apiserver:v1.35.99\": ErrImagePull: {error}"
        );
        assert_eq!(said(&[("t-1", waits("ImagePullBackOff", &pause))]), first);
    }

    #[test]
    fn a_crash_is_told_with_its_last_words_from_one_run_to_the_next() {
        let ended = |time: &str| {
            let log = format!(
                "I{time} 1 options.go:249] external host was not specified\n\
                 E{time} 1 run.go:72] \"command failed\" err=\"service IP family must match\"\n\n"
            );
            json!({ "terminated": { "exitCode": 1, "message": log } })
        };
        let crash = json!({
            "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 10s restarting" } },
            "lastState": ended("1129 10:00:00.1"),
        });
        let words = said(&[("t-1", crash)]);
        assert_eq!(
            words,
            "CrashLoopBackOff: Pod t-1, container kube-apiserver: ended with exit code 1: \"command failed\" \
             err=\"service IP family must match\""
        );
        assert_eq!(
            said(&[("t-1", json!({ "state": ended("1129 10:00:40.7") }))]),
            words,
            "it has just ended"
        );
        let again = json!({ "state": { "running": {} }, "lastState": ended("1129 10:01:20.3") });
        assert_eq!(said(&[("t-1", again)]), words, "it has just been started again");
    }

    #[test]
    fn a_pod_that_finds_no_node_is_told() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "t-1", "namespace": "ns", "labels": { "kamaji.clastix.io/name": "t" } },
            "status": { "conditions": [{
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": "0/1 nodes are available: 1 Insufficient cpu.",
            }] },
        }))
        .expect("a Pod");
        let why = of([&pod].into_iter()).expect("trouble");
        assert_eq!(why, Why::new("Unschedulable", "Pod t-1: 0/1 nodes are available: 1 Insufficient cpu."));
        assert_eq!(whose(&pod), Some(Key::new("ns", "t")));
    }

    #[test]
    fn what_starts_or_serves_is_no_trouble() {
        let ready = json!({ "ready": true, "lastState": { "terminated": { "exitCode": 137 } } });
        assert_eq!(said(&[("t-1", ready), ("t-2", waits("ContainerCreating", ""))]), "nothing");
        assert_eq!(said(&[("t-1", json!({ "state": { "running": {} } }))]), "nothing");
        assert_eq!(said(&[]), "nothing");
    }

    #[test]
    fn a_long_message_is_cut_and_two_pods_are_told_in_their_order() {
        let long = "é".repeat(1000);
        let text = said(&[
            ("t-2", waits("CreateContainerError", "b")),
            ("t-1", waits("CreateContainerError", &long)),
        ]);
        assert!(text.starts_with("CreateContainerError: Pod t-1") && text.ends_with("é..."), "{text}");
        assert!(text.chars().count() < 500);
    }
}
