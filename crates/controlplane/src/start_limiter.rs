//! Whose Pods may start now. A start takes CPU for seconds; many side by side are in each other's way, so that each
//! ends later than it would have in a line, and the first as late as the last.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use scute_api::kubevirt;
use scute_kit::Key;

/// Who starts and who waits. Lost with the process: then some more start at once.
#[derive(Default)]
pub struct StartLimiter(Mutex<Starts>);

impl StartLimiter {
    /// How long a start may keep others waiting: without its image it never ends.
    pub const LIMIT: Duration = Duration::from_secs(20);

    /// Whether the Pods of `key` may start while `at_once` may do so together; if not, it waits for its turn.
    pub fn enter(&self, key: &Key, at_once: usize, now: Instant) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).enter(key, at_once, now)
    }

    /// The start of `key` is over, or it starts no more. Gives who may start instead.
    pub fn leave(&self, key: &Key, now: Instant) -> Option<Key> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).leave(key, now)
    }
}

#[derive(Default)]
struct Starts {
    starting: HashMap<Key, Instant>,
    waiting: VecDeque<Key>,
}

impl Starts {
    fn enter(&mut self, key: &Key, at_once: usize, now: Instant) -> bool {
        self.starting.retain(|_, since| now.duration_since(*since) < StartLimiter::LIMIT);
        if self.starting.contains_key(key) {
            return true;
        }
        if self.starting.len() < at_once {
            self.waiting.retain(|waiting| waiting != key);
            self.starting.insert(key.clone(), now);
            return true;
        }
        if !self.waiting.contains(key) {
            self.waiting.push_back(key.clone());
        }
        false
    }

    fn leave(&mut self, key: &Key, now: Instant) -> Option<Key> {
        if self.starting.remove(key).is_none() {
            self.waiting.retain(|waiting| waiting != key);
            return None;
        }
        let next = self.waiting.pop_front()?;
        self.starting.insert(next.clone(), now);
        Some(next)
    }
}

/// How many may start together on these Nodes: one per CPU. An API server that starts keeps most of one busy.
pub fn at_once<'a>(nodes: impl Iterator<Item = &'a Node>) -> usize {
    let cpus: usize = nodes.filter(|node| takes_pods(node)).filter_map(cpus).sum();
    match cpus {
        // Where no Node is known nothing is in anything's way.
        0 => usize::MAX,
        cpus => cpus.max(2),
    }
}

fn takes_pods(node: &Node) -> bool {
    let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default();
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    !cordoned
        && conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Whole CPUs that Pods may have.
fn cpus(node: &Node) -> Option<usize> {
    let Quantity(text) = node.status.as_ref()?.allocatable.as_ref()?.get("cpu")?;
    usize::try_from(kubevirt::Quantity(text.clone()).units().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key(name: &str) -> Key {
        Key::new("ns", name)
    }

    #[test]
    fn they_start_in_their_order_and_so_many_at_once() {
        let (starts, now) = (StartLimiter::default(), Instant::now());
        let enter = |name| starts.enter(&key(name), 2, now);
        assert_eq!(["a", "b", "c", "d", "c"].map(enter), [true, true, false, false, false]);
        assert!(enter("a"), "who starts is asked again and again");
        assert_eq!(starts.leave(&key("b"), now), Some(key("c")));
        assert_eq!(starts.leave(&key("b"), now), None, "it is over once");
        assert_eq!(["c", "d", "e"].map(enter), [true, false, false]);
        assert_eq!(starts.leave(&key("d"), now), None, "who waited may be deleted");
        assert_eq!(starts.leave(&key("a"), now), Some(key("e")));
        assert_eq!(["c", "e"].map(|name| starts.leave(&key(name), now)), [None, None]);
        assert!(enter("d"), "and come again");
    }

    #[test]
    fn a_start_that_never_ends_does_not_hold_the_others_up() {
        let (starts, now) = (StartLimiter::default(), Instant::now());
        assert!(starts.enter(&key("stuck"), 1, now));
        assert!(!starts.enter(&key("next"), 1, now + StartLimiter::LIMIT / 2));
        assert!(starts.enter(&key("next"), 1, now + StartLimiter::LIMIT));
        // Its late end frees no place that it no longer has.
        assert!(!starts.enter(&key("third"), 1, now + StartLimiter::LIMIT));
        assert_eq!(starts.leave(&key("stuck"), now + StartLimiter::LIMIT), None);
        assert!(!starts.enter(&key("third"), 1, now + StartLimiter::LIMIT));
    }

    #[test]
    fn one_start_per_cpu_of_the_nodes_that_take_pods() {
        let node = |cpu: &str, cordoned: bool, ready: &str| -> Node {
            serde_json::from_value(json!({
                "metadata": {},
                "spec": { "unschedulable": cordoned },
                "status": {
                    "allocatable": { "cpu": cpu },
                    "conditions": [{ "type": "Ready", "status": ready }],
                },
            }))
            .expect("a Node")
        };
        let count = |nodes: &[Node]| at_once(nodes.iter());
        assert_eq!(count(&[]), usize::MAX);
        assert_eq!(count(&[node("1", false, "True")]), 2);
        assert_eq!(count(&[node("64", false, "True"), node("31500m", false, "True")]), 96);
        assert_eq!(
            count(&[node("4", false, "True"), node("8", true, "True"), node("8", false, "Unknown")]),
            4
        );
    }
}
