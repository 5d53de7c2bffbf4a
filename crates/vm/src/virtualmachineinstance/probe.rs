//! What a guest's readiness probe said when it failed. Pure.
//!
//! A kubelet puts the words of a probe into an event of the Pod and nowhere else. That a guest is not ready is the Pod's status to
//! say; why, is this event's. Kubelets hold events back (25 of a Pod at once, then one in five minutes), so the words
//! may come late.

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::ResourceExt;
use scute_kit::Key;

/// Events of failed probes of containers that have the launcher's name. Its name is in it: [`super::pod::COMPUTE`].
pub const SELECTOR: &str =
    "reason=Unhealthy,involvedObject.kind=Pod,involvedObject.fieldPath=spec.containers{compute}";
const PREFIX: &str = "Readiness probe failed: ";
/// An event is at most this much older than the change of the Pod's condition that it led to. The last event of an
/// earlier change is two looks older.
const SLACK: SignedDuration = SignedDuration::from_secs(10);
/// Anybody who may write events of a namespace may write a long one.
const LONGEST: usize = 512;

/// The Pod that a failed readiness probe is of.
#[must_use]
pub fn pod_of(event: &Event) -> Option<Key> {
    let about = &event.involved_object;
    event.message.as_ref().filter(|message| message.starts_with(PREFIX))?;
    Some(Key::new(about.namespace.clone()?, about.name.clone()?))
}

/// The latest words of the readiness probe of `pod` since it is not ready.
pub fn complaint<'a>(events: impl IntoIterator<Item = &'a Event>, pod: &Pod) -> Option<String> {
    let since = not_ready_since(pod);
    let latest = events
        .into_iter()
        .filter(|event| event.involved_object.uid == pod.uid())
        .filter_map(|event| {
            let words = event.message.as_deref()?.strip_prefix(PREFIX)?.trim();
            Some((event.last_timestamp.as_ref()?.0, words))
        })
        .filter(|(told, _)| since.is_none_or(|since| *told >= since - SLACK))
        .max()?;
    let mut words = latest.1.to_owned();
    words.truncate(words.floor_char_boundary(LONGEST));
    Some(words)
}

fn not_ready_since(pod: &Pod) -> Option<jiff::Timestamp> {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.find(|condition| condition.type_ == "ContainersReady")?;
    Some(ready.last_transition_time.as_ref()?.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::virtualmachineinstance::pod::COMPUTE;

    fn event(pod: &str, at: &str, message: &str) -> Event {
        serde_json::from_value(json!({
            "metadata": {"name": "e", "namespace": "b"}, "message": message,
            "involvedObject": {"kind": "Pod", "namespace": "b", "name": "p", "uid": pod},
            "lastTimestamp": format!("2026-01-01T10:{at}Z"),
        }))
        .unwrap()
    }

    fn pod(since: &str) -> Pod {
        let condition = json!({"type": "ContainersReady", "status": "False",
            "lastTransitionTime": format!("2026-01-01T10:{since}Z")});
        serde_json::from_value(json!({"metadata": {"uid": "1"}, "status": {"conditions": [condition]}}))
            .unwrap()
    }

    #[test]
    fn the_latest_words_of_this_pod_since_it_is_not_ready_count() {
        let events = [
            event("1", "00:00", "Readiness probe failed: of an earlier time\n"),
            event("1", "05:00", "Readiness probe failed: the first\n"),
            event("1", "06:00", "Readiness probe failed: the latest\n"),
            event("1", "06:30", "Startup probe failed: "),
            event("2", "07:00", "Readiness probe failed: of another Pod\n"),
        ];
        assert_eq!(complaint(&events, &pod("05:02")).as_deref(), Some("the latest"));
        assert_eq!(complaint(&events, &pod("20:00")), None, "nothing of this time yet");
        assert_eq!(complaint(&events, &Pod::default()), None);
        assert!(pod_of(&events[3]).is_none());
        assert_eq!(pod_of(&events[2]), Some(Key::new("b", "p")));
    }

    #[test]
    fn words_have_a_limit() {
        let long = event("1", "06:00", &format!("{PREFIX}{}", "\u{f6}".repeat(1000)));
        assert_eq!(complaint([&long], &pod("05:00")).unwrap().len(), LONGEST);
    }

    #[test]
    fn the_selector_names_the_container() {
        assert!(SELECTOR.ends_with(&format!("spec.containers{{{COMPUTE}}}")));
    }
}
